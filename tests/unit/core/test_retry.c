/* D3: which limit a verdict names, and when the same request passes: exactly, or as a hint. */
#include "fixture.h"

#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(retry, .timeout = 60);

Test(retry, D3_names_the_tightest_limit_when_allowed)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *wide = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *tight = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *cap = fx_limit(&f, QD_PER_REQUEST, QD_METER_INPUT_TOKENS);
    fx_apply(&f, wide, 1000, "acme/search/key-7");
    fx_apply(&f, tight, 1000, "acme/search");
    fx_apply(&f, cap, 900, "acme");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 600, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.binding.limit, tight);
    cr_expect_eq(f.verdict.binding.remaining, 1000, "before the request");
    cr_expect_eq(f.verdict.binding.estimate, 600);
    cr_expect_eq(f.verdict.binding.name.len, 11);
    cr_expect_eq(memcmp(f.verdict.binding.name.ptr, "acme/search", 11), 0);
    cr_expect_eq(f.verdict.binding.resets_at.ns, FX_START_NS + 61 * QD_NS_PER_S);
    cr_expect_eq(f.state_count, 3);
    fx_release(&f);
}

Test(retry, D3_an_estimate_above_the_capacity_never_fits)
{
    const enum qd_algorithm algorithms[] = {QD_TOKEN_BUCKET, QD_SLIDING_WINDOW, QD_FIXED_WINDOW,
                                            QD_CALENDAR,     QD_PREPAID,        QD_PER_REQUEST};
    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, algorithms[i], QD_METER_INPUT_TOKENS);
        fx_apply(&f, limit, 40000, "acme");
        fx_bind(&f);
        cr_expect_eq(fx_check(&f, 40001, 0), QD_DENY);
        cr_expect_eq(f.verdict.reason, QD_REASON_NEVER_FITS);
        cr_expect_not(f.verdict.retry_useful);
        cr_expect_eq(f.verdict.retry_at.ns, QD_WALL_NEVER);
        cr_expect_eq(fx_check(&f, 40000, 0), QD_ALLOW, "algorithm %d", (int)algorithms[i]);
        fx_release(&f);
    }
}

Test(retry, D3_a_spent_calendar_budget_says_when_it_resets)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, month, 100, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 90, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 95, 0), QD_OK);
    cr_expect_eq(fx_check(&f, 10, 0), QD_DENY);
    cr_expect_eq(f.verdict.retry_at.ns, INT64_C(1790812800) * QD_NS_PER_S, "2026-10-01 00:00 UTC");
    cr_expect(f.verdict.retry_useful);
    cr_expect_not(f.verdict.retry_is_hint);
    fx_release(&f);
}

Test(retry, D3_what_depends_on_others_is_a_hint)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, parallel, 1, "acme");
    fx_apply(&f, month, 100, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 90, 0), QD_ALLOW);
    cr_expect_eq(fx_check(&f, 5, 0), QD_DENY);
    cr_expect_eq(f.verdict.binding.limit, parallel);
    cr_expect(f.verdict.retry_is_hint);
    cr_expect(f.verdict.retry_useful);
    cr_expect_eq(fx_check(&f, 20, 0), QD_DENY);
    cr_expect(f.verdict.retry_is_hint, "held, not used, is in the way");
    cr_expect_geq(f.verdict.retry_at.ns, FX_START_NS + QD_TTL_DEFAULT_NS, "when its lease ends");
    cr_expect_leq(f.verdict.retry_at.ns, FX_START_NS + QD_TTL_DEFAULT_NS + 2 * QD_NS_PER_S);
    fx_release(&f);
}

/* S5: nothing but a report, an operator or the month's end frees what a hard limit kept. */
Test(retry, D3_kept_holds_send_nobody_back_before_the_reset)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    month->consistency = QD_HARD;
    fx_apply(&f, month, 100, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 90, 0), QD_ALLOW);
    f.now.ns += QD_TTL_DEFAULT_NS + 5 * QD_NS_PER_S;
    (void)fx_expire(&f);
    cr_assert_eq(fx_check(&f, 20, 0), QD_DENY);
    cr_expect_eq(f.verdict.binding.held, 90);
    cr_expect_eq(f.verdict.retry_at.ns, INT64_C(1790812800) * QD_NS_PER_S, "2026-10-01 00:00 UTC");
    cr_expect(f.verdict.retry_useful && f.verdict.retry_is_hint);
    fx_release(&f);
}

/* As a shell does: bind when asked to (a binding that was idle for hours is stale), then again. */
static enum qd_decision peek(struct fx *f, int64_t cost)
{
    f->check.dry_run = true;
    if (fx_check(f, cost, 0) == QD_NEEDS_BINDING) {
        fx_bind(f);
        fx_check(f, cost, 0);
    }
    return f->verdict.decision;
}

static void apply_three_at_random(struct fx *f, struct qd_prng *g)
{
    static const enum qd_algorithm algorithms[] = {QD_TOKEN_BUCKET, QD_LEAKY_BUCKET,
                                                   QD_FIXED_WINDOW, QD_SLIDING_WINDOW, QD_CALENDAR};
    for (unsigned i = 0; i < 3; i++) {
        struct qd_limit *limit =
            fx_limit(f, algorithms[qd_prng_below(g, 5)], QD_METER_INPUT_TOKENS);
        limit->window_ns = qd_prng_between(g, 1, 4000) * QD_NS_PER_S;
        limit->slots = (uint16_t)qd_prng_between(g, 1, 60);
        limit->weighted = qd_prng_chance(g, 1, 2);
        limit->calendar.unit = (enum qd_calendar_unit)qd_prng_below(g, 5);
        limit->on_expiry = (enum qd_keep)qd_prng_below(g, 3);
        limit->admit_test =
            qd_prng_chance(g, 1, 4) ? QD_ADMIT_USED_BELOW : QD_ADMIT_USED_PLUS_ESTIMATE;
        fx_apply(f, limit, qd_prng_between(g, 100, 1000), i == 2 ? "" : "acme");
        f->items[i].burst = qd_prng_between(g, 100, 1000);
    }
    fx_bind(f);
}

/* Time passes; budgets are used by reports. */
static void pass_and_book(struct fx *f, struct qd_prng *g)
{
    fx_advance(f, qd_prng_between(g, 0, 20 * QD_NS_PER_S));
    if (qd_prng_chance(g, 1, 3)) {
        fx_settle_begin(f, 0);
        qd_usage_set(&f->settle.used, QD_METER_INPUT_TOKENS, qd_prng_between(g, 0, 100));
        f->settle.budgets_only = true;
        cr_assert_eq(fx_settle_as_is(f), QD_OK);
    }
}

/* Denied just now: the same passes at the time told, and not 1 ns earlier. */
static void expect_exact(struct fx *f, int64_t cost)
{
    int64_t retry_ns = f->verdict.retry_at.ns;
    cr_assert_gt(retry_ns, f->now.ns);
    f->now.ns = retry_ns - 1;
    cr_assert_eq(peek(f, cost), QD_DENY, "one ns before it passes already");
    cr_assert_eq(f->verdict.retry_at.ns, retry_ns, "and it says the same");
    f->now.ns = retry_ns;
    cr_assert_eq(peek(f, cost), QD_ALLOW, "it doesn't pass when it was told to");
}

static bool may_retry(const struct fx *f)
{
    return f->verdict.decision == QD_DENY && f->verdict.retry_useful &&
           f->verdict.retry_at.ns != QD_WALL_NEVER;
}

/* Limits of random kinds, filled at random; then the property. */
static bool retry_property_holds(struct qd_prng *g)
{
    struct fx f;
    fx_init(&f, NULL);
    apply_three_at_random(&f, g);
    f.check.reserve = false; /* nothing else changes: no hold ends meanwhile */
    bool found = false;
    for (unsigned i = 0; i < 60 && !found; i++) {
        pass_and_book(&f, g);
        int64_t cost = qd_prng_between(g, 1, 130);
        fx_check(&f, cost, 0);
        if (may_retry(&f)) {
            found = true;
            expect_exact(&f, cost);
        }
    }
    fx_release(&f);
    return found;
}

Test(retry, D3_passes_at_retry_at_and_not_a_nanosecond_earlier)
{
    struct qd_prng g;
    unsigned found = 0;
    qd_prng_init(&g, qd_prng_seed("retry", 20261));
    for (unsigned i = 0; i < 1500; i++) {
        found += retry_property_holds(&g);
    }
    cr_expect_gt(found, 500, "only %u denials were looked at", found);
}

/* A budget's holds are in the way: its time is no bound, see D3_what_depends_on_others_is_a_hint.
 */
static bool some_budget_denies(const struct fx *f)
{
    for (size_t i = 0; i < f->state_count; i++) {
        if (f->states[i].denies && qd_limit_is_budget(f->states[i].limit)) {
            return true;
        }
    }
    return false;
}

/* The same with holds, of which some are settled and some expire: what is not flagged is exact, and
 * a rate's hint comes true at the latest when it says. */
static void look_at_hints(struct qd_prng *g, unsigned *exact, unsigned *hints, unsigned *sooner)
{
    struct fx f;
    fx_init(&f, NULL);
    apply_three_at_random(&f, g);
    int64_t ttl_ns = qd_prng_between(g, 1, 15) * QD_NS_PER_S;
    for (unsigned i = 0; i < 60; i++) {
        pass_and_book(&f, g);
        int64_t cost = qd_prng_between(g, 1, 130);
        f.check.dry_run = false;
        f.check.ttl_ns = ttl_ns + qd_prng_between(g, 0, QD_NS_PER_S - 1);
        if (fx_check(&f, cost, 0) == QD_ALLOW && qd_prng_chance(g, 1, 3)) {
            cr_assert_eq(fx_settle(&f, qd_prng_between(g, 0, cost), 0), QD_OK);
        }
        if (!may_retry(&f)) {
            continue;
        }
        if (!f.verdict.retry_is_hint) {
            ++*exact;
            expect_exact(&f, cost);
        } else if (!some_budget_denies(&f)) {
            ++*hints;
            int64_t retry_ns = f.verdict.retry_at.ns;
            f.now.ns += (retry_ns - f.now.ns) / 2;
            *sooner += peek(&f, cost) == QD_ALLOW;
            f.now.ns = retry_ns;
            cr_assert_eq(peek(&f, cost), QD_ALLOW, "it passes later than the hint said");
        }
        break;
    }
    fx_release(&f);
}

Test(retry, D3_with_open_holds_what_is_not_a_hint_is_exact_and_a_rates_hint_is_never_late)
{
    struct qd_prng g;
    unsigned exact = 0;
    unsigned hints = 0;
    unsigned sooner = 0;
    qd_prng_init(&g, qd_prng_seed("hints", 20262));
    for (unsigned i = 0; i < 3000; i++) {
        look_at_hints(&g, &exact, &hints, &sooner);
    }
    cr_expect_gt(exact, 100, "only %u exact times were looked at", exact);
    cr_expect_gt(hints, 300, "only %u hints were looked at", hints);
    cr_expect_gt(sooner, 100, "only %u of them passed sooner", sooner);
}

Test(retry, D3_a_rate_that_open_holds_may_free_is_a_hint)
{
    const enum qd_algorithm rates[] = {QD_SLIDING_WINDOW, QD_TOKEN_BUCKET, QD_LEAKY_BUCKET,
                                       QD_FIXED_WINDOW};
    for (unsigned i = 0; i < 4; i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, rates[i], QD_METER_INPUT_TOKENS);
        bool leaky = rates[i] == QD_LEAKY_BUCKET; /* which admits until it is over its capacity */
        int64_t used = leaky ? 1900 : 900;
        fx_apply(&f, limit, 1000, "acme");
        fx_bind(&f);
        f.check.ttl_ns = QD_NS_PER_S;
        cr_assert_eq(fx_check(&f, leaky ? 1000 : 900, 0), QD_ALLOW);
        if (leaky) {
            cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
        }
        cr_assert_eq(fx_used(&f, limit, "acme"), used);
        cr_assert_eq(fx_check(&f, 200, 0), QD_DENY);
        cr_expect(f.verdict.retry_is_hint && f.verdict.binding.retry_is_hint);
        fx_advance(&f, 2300 * QD_NS_PER_MS); /* they have expired */
        cr_assert_lt(f.now.ns, f.verdict.retry_at.ns);
        cr_expect_eq(fx_check(&f, 200, 0), QD_ALLOW);

        /* Without holds the same is exact. */
        fx_advance(&f, 2 * QD_NS_PER_S); /* the last one is over, too */
        f.check.reserve = false;
        while (fx_check(&f, 300, 0) == QD_ALLOW) {
        }
        cr_assert_eq(fx_check(&f, 900, 0), QD_DENY);
        cr_expect_not(f.verdict.retry_is_hint, "algorithm %d", (int)rates[i]);
        fx_release(&f);
    }
}

/* More are due than one check ends: those that wait may give something back. */
Test(retry, D3_holds_that_wait_to_be_ended_make_a_hint)
{
    for (unsigned late_s = 0; late_s < 2; late_s++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        fx_apply(&f, limit, 2000, "acme");
        fx_bind(&f);
        f.check.ttl_ns = QD_NS_PER_S;
        for (unsigned i = 0; i < 200; i++) {
            cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        }
        fx_advance(&f, (1 + late_s) * QD_NS_PER_S);
        cr_assert_eq(fx_check(&f, 2000, 0), QD_DENY);
        cr_expect(f.verdict.retry_is_hint, "%u s late", late_s);
        while (fx_expire(&f) > 0) {
        }
        cr_expect_eq(fx_check(&f, 2000, 0), QD_ALLOW);
        fx_release(&f);
    }
}

/* A shared counter's holds lie in any slice, which ends them at its own time. */
Test(retry, D3_another_slices_holds_on_a_shared_rate_make_a_hint)
{
    struct fx f;
    struct fx g;
    fx_init(&f, NULL);
    fx_init(&g, NULL);
    struct qd_core *own = g.commons;
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, limit, 1000, "");
    fx_apply(&g, limit, 1000, "");
    g.commons = f.commons;
    fx_bind(&f);
    fx_bind(&g);
    f.check.ttl_ns = QD_NS_PER_S;
    cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
    fx_advance(&g, QD_NS_PER_S);
    cr_assert_eq(fx_check(&g, 200, 0), QD_DENY);
    cr_expect(g.verdict.retry_is_hint, "due, and not ended yet");
    f.now = g.now;
    cr_assert_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_check(&g, 200, 0), QD_ALLOW);
    g.commons = own;
    fx_release(&f);
    fx_release(&g);
}

/* D3: the tightest limit is named by its scope, also where an attribute splits it or it is shared.
 */
Test(retry, D3_an_allowed_check_names_the_tightest_limits_scope)
{
    for (unsigned kind = 0; kind < 3; kind++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        fx_apply(&f, limit, 1000, kind == 1 ? "" : "acme/search");
        const char *wanted = kind == 1 ? "shared" : "acme/search";
        if (kind == 2) {
            limit->per = QD_ATTR_MODEL;
            wanted = "acme/search model=gpt-4o";
            f.items[0].name = fx_str(wanted);
        }
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        struct qd_str name = f.verdict.binding.name;
        cr_expect(name.len == strlen(wanted) && memcmp(name.ptr, wanted, name.len) == 0,
                  "%.*s, not %s", (int)name.len, name.ptr, wanted);
        fx_release(&f);
    }
}

/* D3: the wheel is behind on a lease of long ago, and this second's use says nothing of it. */
Test(retry, D3_leases_of_long_ago_that_wait_to_be_ended_make_a_hint)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, limit, 2000, "acme");
    fx_bind(&f);
    f.check.ttl_ns = QD_NS_PER_S;
    for (unsigned i = 0; i < 199; i++) {
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    }
    fx_advance(&f, 5 * QD_NS_PER_S);
    f.check.reserve = false;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_assert_eq(fx_check(&f, 2000, 0), QD_DENY);
    cr_expect(f.verdict.retry_is_hint);
    while (fx_expire(&f) > 0) {
    }
    cr_assert_eq(fx_check(&f, 2000, 0), QD_DENY);
    cr_expect_not(f.verdict.retry_is_hint, "none waits any more");
    fx_release(&f);
}

/* D3: what a budget holds for leases that are over is a hint of a second: they are about to end. */
Test(retry, D3_a_budgets_due_holds_are_a_hint_of_a_second)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, month, 2000, "acme");
    fx_bind(&f);
    f.check.ttl_ns = QD_NS_PER_S;
    for (unsigned i = 0; i < 200; i++) {
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    }
    fx_advance(&f, 2 * QD_NS_PER_S);
    cr_assert_eq(fx_check(&f, 2000, 0), QD_DENY);
    cr_expect(f.verdict.retry_is_hint);
    cr_expect_gt(f.verdict.retry_at.ns, f.now.ns);
    fx_release(&f);
}

/* What a prepaid balance keeps (S5) has no end: only a report or an operator frees it. */
Test(retry, D3_a_balance_that_is_kept_for_ever_names_no_time)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *balance = fx_limit(&f, QD_PREPAID, QD_METER_INPUT_TOKENS);
    balance->consistency = QD_HARD;
    fx_apply(&f, balance, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
    fx_advance(&f, QD_TTL_DEFAULT_NS + QD_NS_PER_S);
    cr_assert_eq(fx_expire(&f), 1);
    cr_assert_eq(fx_check(&f, 200, 0), QD_DENY);
    cr_expect_eq(f.verdict.binding.held, 900);
    cr_expect_eq(f.verdict.retry_at.ns, QD_WALL_NEVER);
    cr_expect_not(f.verdict.retry_useful);
    cr_assert_eq(fx_cancel(&f, 1), QD_OK);
    cr_expect_eq(fx_check(&f, 200, 0), QD_ALLOW);
    fx_release(&f);
}
