/* Events: thresholds that what was used reaches, and leaves by a tenth before it can again (P3). */
#include "fixture.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(event, .timeout = 60);

/* The thresholds that were reported since the last look, as "800 1000 "; "" if none. */
static const char *reported(struct qd_core *core)
{
    static char text[128];
    struct qd_event event;
    size_t size = 0;
    text[0] = '\0';
    while (qd_core_event(core, &event)) {
        if (event.kind == QD_EVENT_THRESHOLD) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%u ", event.permille);
        }
    }
    return text;
}

/* A report of this many input tokens, without a hold. */
static void book(struct fx *f, int64_t tokens)
{
    struct qd_settle *s = fx_settle_begin(f, 0);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, tokens);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
}

/* A check of this many; returns its hold. */
static uint64_t charge(struct fx *f, int64_t tokens)
{
    cr_assert_eq(fx_check(f, tokens, 0), QD_ALLOW);
    return f->verdict.reservation;
}

static void settle(struct fx *f, uint64_t hold, int64_t tokens)
{
    struct qd_settle *s = fx_settle_begin(f, hold);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, tokens);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
}

Test(event, P3_a_threshold_is_reported_once_until_it_was_left_by_a_tenth)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    limit->threshold_permille[0] = 500;
    fx_apply(&f, limit, 100, "acme");
    fx_bind(&f);
    uint64_t held[100];
    unsigned open = 0;
    while (open < 49) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        held[open++] = f.verdict.reservation;
    }
    cr_expect_str_eq(reported(f.home), "");
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    held[open++] = f.verdict.reservation;
    cr_expect_str_eq(reported(f.home), "500 ", "at half, of what is held");

    /* Down to 45, which is nine tenths of it, and up again: nothing. */
    while (open > 45) {
        cr_assert_eq(fx_cancel(&f, held[--open]), QD_OK);
    }
    while (open < 60) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        held[open++] = f.verdict.reservation;
    }
    cr_expect_str_eq(reported(f.home), "", "it was not left");

    /* Down to 43 and one more, which is 44 and below nine tenths, then up: reported again. */
    while (open > 43) {
        cr_assert_eq(fx_cancel(&f, held[--open]), QD_OK);
    }
    while (open < 60) {
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        held[open++] = f.verdict.reservation;
    }
    cr_expect_str_eq(reported(f.home), "500 ", "it was left");
    fx_release(&f);
}

/* The exact edges of "left": at nine tenths of the threshold not yet, one below it. */
Test(event, P3_a_threshold_is_left_below_nine_tenths_and_not_at_them)
{
    const struct {
        int64_t down_to;
        const char *again;
    } cases[] = {{799, ""}, {721, ""}, {720, ""}, {719, "800 "}, {1, "800 "}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        limit->threshold_permille[0] = 800;
        fx_apply(&f, limit, 1000, "acme");
        fx_bind(&f);
        uint64_t hold = charge(&f, 799);
        cr_expect_str_eq(reported(f.home), "");
        (void)charge(&f, 1);
        cr_expect_str_eq(reported(f.home), "800 ");
        settle(&f, hold, cases[i].down_to - 1);
        cr_assert_eq(fx_used(&f, limit, "acme"), cases[i].down_to);
        cr_expect_str_eq(reported(f.home), "");
        (void)charge(&f, 800 - cases[i].down_to);
        cr_expect_str_eq(reported(f.home), cases[i].again, "down to %ld", (long)cases[i].down_to);
        fx_release(&f);
    }
}

Test(event, P3_thresholds_are_passed_together_and_left_one_by_one)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    for (uint16_t i = 0; i < QD_THRESHOLDS_MAX; i++) { /* all that there may be */
        limit->threshold_permille[i] = (uint16_t)(100 * (i + 1));
    }
    fx_apply(&f, limit, 1000, "acme");
    fx_bind(&f);
    (void)charge(&f, 350);
    cr_expect_str_eq(reported(f.home), "100 200 300 ");
    uint64_t hold = charge(&f, 650);
    cr_expect_str_eq(reported(f.home), "400 500 600 700 800 ");
    book(&f, 100);
    cr_expect_str_eq(reported(f.home), "", "there is none above");
    settle(&f, hold, 150); /* 600: 700 and 800 are left (below 630 and 720), 600 isn't */
    cr_expect_str_eq(reported(f.home), "");
    book(&f, 500);
    cr_expect_str_eq(reported(f.home), "700 800 ");
    fx_release(&f);
}

Test(event, P3_an_event_tells_which_limit_how_much_and_whose)
{
    struct fx f;
    struct qd_event event;
    char path[600]; /* longer than any tenant's */
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_month(&f, QD_METER_INPUT_TOKENS);
    limit->threshold_permille[0] = 500;
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    const char *names[] = {"acme", path, ""}; /* short, whole, none at all */
    for (unsigned i = 0; i < 3; i++) {
        f.item_count = 0;
        fx_apply(&f, limit, 1000, i < 2 ? names[i] : "x");
        f.items[0].name = fx_str(names[i]);
        f.items[0].counter = fx_request(i + 1);
        f.epoch++;
        fx_bind(&f);
        book(&f, 600);
        cr_assert(qd_core_event(f.home, &event));
        cr_expect_eq(event.kind, QD_EVENT_THRESHOLD);
        cr_expect_eq(event.limit, limit);
        cr_expect(event.permille == 500 && event.used == 600 && event.amount == 1000);
        cr_expect_str_eq(event.name, names[i]);
        cr_expect_not(qd_core_event(f.home, &event));
    }
    fx_release(&f);
}

/* Nobody looks while it drains: the next request finds it left, even one that reaches it at once.
 */
Test(event, P3_a_threshold_that_drained_away_is_reported_by_the_first_that_reaches_it)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    limit->threshold_permille[0] = 800;
    fx_apply(&f, limit, 1000, "acme");
    fx_bind(&f);
    (void)charge(&f, 900);
    cr_expect_str_eq(reported(f.home), "800 ");
    fx_advance(&f, 2 * limit->window_ns);
    fx_bind(&f);
    (void)charge(&f, 900);
    cr_expect_str_eq(reported(f.home), "800 ", "by a check");
    fx_advance(&f, 2 * limit->window_ns);
    fx_bind(&f);
    book(&f, 900);
    cr_expect_str_eq(reported(f.home), "800 ", "by a report");
    fx_release(&f);
}

/* It lay in the store while a reload took thresholds away. */
Test(event, P3_a_state_with_more_reported_than_there_are_thresholds_is_taken)
{
    struct fx f;
    struct qd_saved state;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    for (uint16_t i = 0; i < 3; i++) {
        limit->threshold_permille[i] = (uint16_t)(100 * (i + 1));
    }
    fx_apply(&f, limit, 1000, "acme");
    fx_bind(&f);
    book(&f, 400);
    cr_expect_str_eq(reported(f.home), "100 200 300 ");
    fx_advance(&f, limit->window_ns / 2);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    limit->threshold_permille[0] = 450;
    limit->threshold_permille[1] = limit->threshold_permille[2] = 0;
    fx_bind(&f);
    cr_assert(qd_core_restore(f.home, &state, f.now));
    book(&f, 1);
    cr_expect_str_eq(reported(f.home), "");
    book(&f, 60);
    cr_expect_str_eq(reported(f.home), "450 ");
    fx_release(&f);
}

Test(event, D12_the_ring_loses_the_oldest_counts_them_and_holds_names_until_they_are_read)
{
    enum {
        COUNTERS = 100,
        LOST = 3 * COUNTERS - 256
    };
    struct fx f;
    struct qd_event event;
    struct qd_saved state;
    struct qd_core_config config = {.gauges = COUNTERS, .name_bytes = 65536};
    char names[COUNTERS][24];
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    month->threshold_permille[0] = 500;
    month->threshold_permille[1] = 800;
    month->threshold_permille[2] = 1000;
    fx_bind(&f); /* without limits */
    size_t before = fx_stats(&f).name_bytes_used;
    fx_apply(&f, month, 1000, "acme");
    for (unsigned i = 0; i < COUNTERS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "acme model=m-%u", i);
        f.items[0].name = fx_str(names[i]);
        f.items[0].counter = fx_request(i + 1);
        f.epoch++;
        fx_bind(&f);
        book(&f, 1000);
    }
    fx_advance(&f, QD_NS_PER_HOUR);
    while (qd_core_evict(f.home, f.now, &state)) {
    }
    cr_assert_eq(fx_stats(&f).counters_live[3], 0);
    cr_expect_eq(fx_stats(&f).events_lost, LOST);
    for (unsigned i = LOST; i < 3 * COUNTERS;
         i++) { /* the counters are gone, their names are not */
        cr_assert(qd_core_event(f.home, &event));
        cr_assert_str_eq(event.name, names[i / 3]);
        cr_assert_eq(event.lost, i == LOST ? LOST : 0);
    }
    cr_expect_not(qd_core_event(f.home, &event));
    cr_expect_eq(fx_stats(&f).name_bytes_used, before);
    fx_release(&f);
}

/* Of the tenant's name there is all, unless the names are what is full. */
Test(event, D12_a_full_table_is_told_with_the_whole_tenant)
{
    struct fx f;
    struct qd_event event;
    struct qd_core_config config = {.gauges = 1};
    char path[QD_TENANT_PATH_MAX + 1];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    f.tenant = path;
    f.item_count = 0;
    fx_apply(&f, month, 1000, path);
    cr_assert_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_assert(qd_core_event(f.home, &event));
    cr_expect_eq(event.kind, QD_EVENT_FULL);
    cr_expect_str_eq(event.name, path);
    cr_expect_eq(event.at.ns, f.now.ns);
    fx_release(&f);
}

/* --- once a period --- */

static struct qd_limit *with_thresholds(struct qd_limit *limit, uint16_t a, uint16_t b, uint16_t c)
{
    limit->threshold_permille[0] = a;
    limit->threshold_permille[1] = b;
    limit->threshold_permille[2] = c;
    return limit;
}

Test(event, P3_what_has_periods_reports_a_threshold_once_in_each)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, with_thresholds(limit, 500, 800, 0), 1000, "acme");
    fx_bind(&f);
    f.now.ns = FX_START_NS / limit->window_ns * limit->window_ns + limit->window_ns;
    uint64_t hold = charge(&f, 850);
    cr_expect_str_eq(reported(f.home), "500 800 ");
    settle(&f, hold, 10);
    (void)charge(&f, 900);
    cr_expect_str_eq(reported(f.home), "", "the same minute");
    fx_advance(&f, limit->window_ns);
    (void)charge(&f, 499);
    cr_expect_str_eq(reported(f.home), "");
    (void)charge(&f, 1);
    cr_expect_str_eq(reported(f.home), "500 ", "the next one");
    fx_release(&f);
}

Test(event, P3_a_period_that_begins_above_a_threshold_reports_it)
{
    struct fx f;
    struct qd_event event;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, with_thresholds(month, 500, 800, 1000), 1000, "acme");
    fx_bind(&f);
    book(&f, 900);
    cr_expect_str_eq(reported(f.home), "500 800 ");
    fx_advance(&f, 31 * QD_NS_PER_DAY);
    fx_bind(&f);
    book(&f, 600);
    cr_assert(qd_core_event(f.home, &event));
    cr_expect_eq(event.permille, 500);
    cr_expect_eq(event.at.ns, f.now.ns);
    cr_expect(event.period.start.ns <= f.now.ns && f.now.ns < event.period.end.ns);
    cr_expect_str_eq(reported(f.home), "");
    fx_release(&f);
}

Test(event, P3_a_raised_amount_is_reported_anew_a_lowered_one_is_not)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, with_thresholds(month, 500, 800, 0), 1000, "acme");
    fx_bind(&f);
    book(&f, 600);
    cr_expect_str_eq(reported(f.home), "500 ");
    fx_set_amount(&f, month, 2000); /* 600 are 30% */
    f.epoch++;
    fx_bind(&f);
    book(&f, 399);
    cr_expect_str_eq(reported(f.home), "");
    book(&f, 1);
    cr_expect_str_eq(reported(f.home), "500 ");
    fx_set_amount(&f, month, 1100); /* 1000 are 90% */
    f.epoch++;
    fx_bind(&f);
    book(&f, 1);
    cr_expect_str_eq(reported(f.home), "800 ");
    fx_release(&f);
}

/* P6: the same counter under a limit with other thresholds. */
Test(event, P3_other_thresholds_report_what_was_not_reported_before)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *other = fx_month(&f, QD_METER_INPUT_TOKENS);
    other->identity = month->identity;
    fx_apply(&f, with_thresholds(month, 500, 800, 0), 1000, "acme");
    (void)with_thresholds(other, 600, 850, 900);
    fx_bind(&f);
    book(&f, 860);
    cr_expect_str_eq(reported(f.home), "500 800 ");
    f.items[0].limit = other;
    f.epoch++;
    fx_bind(&f);
    book(&f, 1);
    cr_expect_str_eq(reported(f.home), "850 ", "800 were reported: 600 is below");
    book(&f, 50);
    cr_expect_str_eq(reported(f.home), "900 ");
    fx_release(&f);
}

Test(event, P3_what_is_counted_anew_at_boot_was_reported_before)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, with_thresholds(month, 500, 800, 0), 1000, "acme");
    fx_bind(&f);
    struct qd_settle *s = fx_settle_begin(&f, 0);
    s->budgets_only = true;
    s->recounted = true;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 600);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_str_eq(reported(f.home), "");
    book(&f, 100);
    cr_expect_str_eq(reported(f.home), "");
    book(&f, 100);
    cr_expect_str_eq(reported(f.home), "800 ");
    fx_release(&f);
}

Test(event, P3_a_counter_that_comes_back_from_the_store_reports_nothing_twice)
{
    struct fx f;
    struct qd_saved state;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, with_thresholds(month, 500, 800, 0), 1000, "acme");
    for (unsigned months = 0; months < 2; months++) {
        fx_bind(&f);
        book(&f, 600);
        cr_expect_str_eq(reported(f.home), "500 ", "month %u", months);
        fx_advance(&f, QD_NS_PER_HOUR);
        cr_assert(qd_core_evict(f.home, f.now, &state));
        fx_bind(&f);
        cr_assert(qd_core_restore(f.home, &state, f.now));
        book(&f, 100);
        cr_expect_str_eq(reported(f.home), "", "month %u", months);
        fx_advance(&f, QD_NS_PER_HOUR);
        cr_assert(qd_core_evict(f.home, f.now, &state));
        fx_advance(&f, 31 * QD_NS_PER_DAY);
        fx_bind(&f);
        cr_assert(qd_core_restore(f.home, &state, f.now));
    }
    fx_release(&f);
}

/* Random charges, refunds and pauses on a minute's window, against what a list of the minute's
 * reports says. */
Test(event, P3_property_each_threshold_once_a_window_and_when_it_is_reached)
{
    static const uint16_t permille[] = {500, 800, 1000};
    struct fx f;
    struct qd_prng random;
    qd_prng_init(&random, qd_prng_seed("event", 20261129));
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, with_thresholds(limit, permille[0], permille[1], permille[2]), 1000, "acme");
    fx_bind(&f);
    int64_t window = 0;
    int64_t used = 0;
    unsigned told = 0;
    unsigned windows_told = 0;
    for (unsigned i = 0; i < 20000; i++) {
        fx_advance(&f, (int64_t)qd_prng_below(&random, 4) * QD_NS_PER_S);
        fx_bind(&f);
        if (f.now.ns / limit->window_ns != window) {
            window = f.now.ns / limit->window_ns;
            used = 0;
            told = 0;
        }
        char expected[64] = "";
        size_t size = 0;
        int64_t estimate = 1 + (int64_t)qd_prng_below(&random, 400);
        if (fx_check(&f, estimate, 0) != QD_ALLOW) {
            continue;
        }
        used += estimate;
        for (; told < 3 && used >= permille[told]; told++) {
            windows_told++;
            size +=
                (size_t)snprintf(expected + size, sizeof(expected) - size, "%u ", permille[told]);
        }
        cr_assert_str_eq(reported(f.home), expected, "step %u, %ld used", i, (long)used);
        int64_t actual = (int64_t)qd_prng_below(&random, (uint64_t)estimate + 1);
        settle(&f, f.verdict.reservation, actual);
        used += actual - estimate;
        cr_assert_eq(fx_used(&f, limit, "acme"), used);
        cr_assert_str_eq(reported(f.home), "", "a refund reaches nothing");
    }
    cr_expect_gt(windows_told, 1000);
    fx_release(&f);
}
