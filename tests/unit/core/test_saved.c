/* Saved states that are damaged, or find no room, and what is seen of them (X5, D12). Stories of
 * slices that go on from what was stored: test_snapshot.c. */
#include "fixture.h"

#include "server/core/bucket.h"
#include "server/core/bytes.h"
#include "server/core/gauge.h"
#include "server/core/quantile.h"
#include "server/core/window.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(saved, .timeout = 60);

static void bind(struct fx *f, struct qd_limit *limit, int64_t amount, const char *path)
{
    limit->spec = limit->index;
    fx_apply(f, limit, amount, path);
    fx_bind(f);
}

/* The first of this kind; false: there is none. */
static bool first(struct qd_core *core, struct qd_core *commons, enum qd_saved_kind kind,
                  struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    uint64_t cursor = 0;
    while (qd_core_walk(core, commons, QD_WALK_ALL, &cursor, now, ret_saved)) {
        if (ret_saved->kind == kind && ret_saved->size > 0) {
            return true;
        }
    }
    return false;
}

/* What a limit's counter is stored as, once it has counted 10. */
static void counter_of(enum qd_algorithm algorithm, const char *path, struct qd_limit *ret_limit,
                       struct qd_saved *ret_saved)
{
    struct fx f;
    fx_init(&f, NULL);
    f.tenant = path;
    struct qd_limit *limit = fx_limit(&f, algorithm, QD_METER_INPUT_TOKENS);
    bind(&f, limit, 1000, path);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
    cr_assert(first(f.home, f.commons, QD_SAVED_COUNTER, f.now, ret_saved));
    *ret_limit = *limit;
    fx_release(&f);
}

/* --- counters --- */

Test(saved, X5_a_counter_that_was_cut_short_is_no_counter)
{
    static const enum qd_algorithm algorithms[] = {QD_SLIDING_WINDOW, QD_TOKEN_BUCKET,
                                                   QD_LEAKY_BUCKET, QD_FIXED_WINDOW, QD_CALENDAR};
    for (size_t k = 0; k < sizeof(algorithms) / sizeof(algorithms[0]); k++) {
        struct qd_limit limit;
        struct qd_saved saved;
        struct fx f;
        fx_init(&f, NULL);
        counter_of(algorithms[k], "acme", &limit, &saved);
        uint32_t size = saved.size;
        for (saved.size = 0; saved.size < size; saved.size++) {
            cr_expect_eq(qd_core_load_counter(f.home, &limit, &saved, f.now), QD_LOAD_BAD,
                         "%zu: %u of %u", k, saved.size, size);
        }
        cr_expect_eq(qd_core_load_counter(f.home, &limit, &saved, f.now), QD_LOADED);
        cr_expect_eq(qd_core_load_counter(f.home, &limit, &saved, f.now), QD_LOAD_BAD, "twice");
        fx_release(&f);
    }
}

Test(saved, D12_a_counter_without_room_stays_stored)
{
    static const struct qd_core_config one_root = {.roots = 1};
    static const struct qd_core_config one_gauge = {.gauges = 1};
    const struct qd_core_config *const tables[] = {&one_root, &one_gauge};
    for (size_t k = 0; k < 2; k++) {
        struct qd_limit limit[2];
        struct qd_saved saved[2];
        struct fx f;
        fx_init(&f, tables[k]);
        counter_of(QD_CALENDAR, "acme", &limit[0], &saved[0]);
        counter_of(QD_CALENDAR, "other", &limit[1], &saved[1]);
        cr_expect_eq(qd_core_load_counter(f.home, &limit[0], &saved[0], f.now), QD_LOADED);
        cr_expect_eq(qd_core_load_counter(f.home, &limit[1], &saved[1], f.now), QD_LOAD_FULL);
        struct qd_core_stats stats = fx_stats(&f);
        cr_expect_eq(stats.counters_live[3], 1);
        fx_release(&f);
    }
}

/* A budget's state: used, and the period's two ends. */
Test(saved, X5_a_budget_beyond_what_counters_hold_is_refused)
{
    static const int64_t used[] = {QD_GAUGE_MAX + 1, -QD_GAUGE_MAX - 1};
    struct qd_limit limit;
    struct qd_saved saved;
    struct fx f;
    fx_init(&f, NULL);
    for (size_t k = 0; k < 2; k++) {
        counter_of(QD_CALENDAR, "acme", &limit, &saved);
        uint8_t ends[16];
        memcpy(ends, saved.bytes + saved.size - sizeof(ends), sizeof(ends));
        struct qd_writer w = {.at = saved.bytes + saved.size - sizeof(ends) - 1}; /* 10: a byte */
        qd_write_signed(&w, used[k]);
        memcpy(w.at, ends, sizeof(ends));
        saved.size = (uint32_t)(w.at + sizeof(ends) - saved.bytes);
        cr_expect_eq(qd_core_load_counter(f.home, &limit, &saved, f.now), QD_LOAD_BAD);
    }
    fx_release(&f);
}

/* P6: an amount that was large enough for wide slots became small. */
Test(saved, P6_a_wide_windows_slot_comes_back_as_large_as_a_narrow_one_can_be)
{
    struct qd_saved saved;
    struct fx f;
    struct fx g;
    fx_init(&f, NULL);
    fx_init(&g, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    bind(&f, limit, INT64_C(10000000000), "acme");
    cr_assert_eq(fx_check(&f, INT64_C(5000000000), 0), QD_ALLOW);
    cr_assert(first(f.home, f.commons, QD_SAVED_COUNTER, f.now, &saved));
    bind(&g, fx_limit(&g, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS), 1000, "acme");
    cr_assert(qd_core_restore(g.home, &saved, g.now));
    cr_expect_eq(fx_used(&g, &g.limits[0], "acme"), QD_WINDOW_NARROW_MAX);
    fx_release(&f);
    fx_release(&g);
}

Test(saved, X5_a_bucket_that_no_bucket_can_be_is_refused)
{
    const int64_t window = QD_NS_PER_MINUTE;
    struct qd_bucket good = {.level = 5, .updated_ns = FX_START_NS, .low = {3, 4}};
    uint32_t slot = (uint32_t)(FX_START_NS >> QD_BUCKET_SLOT_SHIFT);
    good.slot[0] = slot - 9;
    good.slot[1] = slot - 5;
    cr_assert(qd_bucket_is_valid(&good, window));
    struct qd_bucket bad[10];
    for (size_t k = 0; k < 10; k++) {
        bad[k] = good;
    }
    bad[0].level = -1;
    bad[1].level = QD_BUCKET_LEVEL_MAX + 1;
    bad[2].frac = -1;
    bad[3].frac = window;
    bad[4].updated_ns = -1;
    bad[5].updated_ns = QD_BUCKET_TIME_MAX + 1;
    bad[6].low[1] = 2;          /* falls */
    bad[7].slot[1] = slot - 10; /* before the step before it */
    bad[8].low[1] = UINT32_MAX - 1;
    bad[9].low[3] = 5; /* behind an unused one */
    for (size_t k = 0; k < 10; k++) {
        cr_expect_not(qd_bucket_is_valid(&bad[k], window), "%zu", k);
    }
}

/* P6: stored with another burst than it has now. */
Test(saved, X5_a_burst_that_changes_is_stored)
{
    struct qd_saved saved;
    struct fx f;
    uint64_t cursor = 0;
    fx_init(&f, NULL);
    bind(&f, fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS), 1000, "acme");
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_assert(first(f.home, f.commons, QD_SAVED_COUNTER, f.now, &saved));
    fx_bind(&f);
    cr_expect_not(qd_core_walk(f.home, f.commons, QD_WALK_CHANGED, &cursor, f.now, &saved) &&
                  saved.kind == QD_SAVED_COUNTER);
    f.items[0].burst = 2000;
    f.epoch++;
    fx_bind(&f);
    cursor = 0;
    cr_assert(qd_core_walk(f.home, f.commons, QD_WALK_CHANGED, &cursor, f.now, &saved));
    struct qd_saved_counter counter;
    cr_assert(saved.kind == QD_SAVED_COUNTER && qd_core_saved_counter(&saved, &counter));
    cr_expect_eq(counter.burst, 2000);
    cr_expect_eq(counter.amount, 1000);
    fx_release(&f);
}

Test(saved, D12_a_counter_that_is_gone_is_not_stored_again)
{
    struct qd_saved saved;
    struct fx f;
    fx_init(&f, NULL);
    f.check.reserve = false;
    bind(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS), 1000, "acme");
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    fx_advance(&f, 2 * QD_NS_PER_S);
    cr_assert(qd_core_evict(f.home, f.now, &saved));
    cr_expect_not(first(f.home, f.commons, QD_SAVED_COUNTER, f.now, &saved));
    fx_release(&f);
}

/* --- budgets --- */

Test(saved, D7_budgets_are_listed_and_nothing_else)
{
    struct qd_budget budget;
    struct fx f;
    uint64_t cursor = 0;
    fx_init(&f, NULL);
    cr_assert_not(qd_core_budget_next(f.home, &cursor, f.now, &budget), "there is none");
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS), 1000, "acme");
    fx_apply(&f, fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY), 5, "acme");
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    bind(&f, month, 1000, "acme/search");
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
    cursor = 0;
    cr_assert(qd_core_budget_next(f.home, &cursor, f.now, &budget));
    cr_expect_eq(budget.limit, month);
    cr_expect_eq(budget.used, 10);
    cr_expect_eq(budget.depth, 2);
    cr_expect_eq(budget.since, 0);
    cr_expect(qd_hash128_equal(budget.id, fx_counter_id(month, "acme/search")));
    cr_expect(budget.name.len == 11 && memcmp(budget.name.ptr, "acme/search", 11) == 0);
    cr_expect(budget.start.ns <= f.now.ns && f.now.ns < budget.end.ns);
    cr_expect_not(qd_core_budget_next(f.home, &cursor, f.now, &budget));
    fx_release(&f);
}

/* --- estimators --- */

static struct qd_saved estimator_of(const uint8_t *pairs, unsigned count, unsigned number)
{
    struct qd_saved saved = {.kind = QD_SAVED_ESTIMATOR, .id = {number, number}};
    struct qd_writer w = {.at = saved.bytes};
    qd_write(&w, 1, 1);
    qd_write(&w, count, 1);
    for (unsigned i = 0; i < count; i++) {
        qd_write(&w, pairs[2 * i], 1);
        qd_write_varint(&w, pairs[2 * i + 1]);
    }
    saved.size = (uint32_t)(w.at - saved.bytes);
    return saved;
}

Test(saved, X5_outputs_that_no_quantile_can_have_are_refused)
{
    static const uint8_t good[] = {3, 20, 9, 100};
    static const uint8_t twice[] = {3, 20, 3, 20};
    static const uint8_t beyond[] = {QD_QUANTILE_BUCKETS, 20};
    struct fx f;
    fx_init(&f, NULL);
    struct qd_saved saved = estimator_of(good, 2, 1);
    uint32_t size = saved.size;
    for (saved.size = 0; saved.size < size; saved.size++) {
        cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now), QD_LOAD_BAD, "%u", saved.size);
    }
    saved.size = QD_SAVED_MAX + 1;
    cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now), QD_LOAD_BAD);
    saved.size = size + 1;
    cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now), QD_LOAD_BAD, "more than all");
    saved = estimator_of(twice, 2, 1);
    cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now), QD_LOAD_BAD);
    saved = estimator_of(beyond, 1, 1);
    cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now), QD_LOAD_BAD);
    struct qd_writer w = {.at = saved.bytes + 2};
    qd_write(&w, 3, 1);
    qd_write_varint(&w, QD_QUANTILE_SAMPLES_MAX);
    saved.size = (uint32_t)(w.at - saved.bytes);
    cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now), QD_LOAD_BAD, "as many as halve");
    cr_expect_eq(fx_stats(&f).estimators_live, 0);
    fx_release(&f);
}

Test(saved, D12_estimators_without_room_are_left_out)
{
    static const uint8_t outputs[] = {3, 20};
    static const struct qd_core_config two = {.estimators = 2};
    struct fx f;
    fx_init(&f, &two);
    for (unsigned i = 1; i <= 3; i++) {
        struct qd_saved saved = estimator_of(outputs, 1, i);
        cr_expect_eq(qd_core_load_estimator(f.home, &saved, f.now),
                     i <= 2 ? QD_LOADED : QD_LOAD_FULL);
    }
    fx_release(&f);
}

/* --- holds --- */

struct charge {
    unsigned flags; /* 1: of commons */
    struct qd_hash128 counter;
    int64_t amount;
};

struct hold {
    unsigned flags; /* 1: kept */
    uint64_t number;
    int64_t made_at_ns;
    int64_t expires_ns;
    struct charge charge;
    uint32_t meters; /* as many are expected, the last of them this: */
    int64_t expected;
};

static struct qd_saved hold_of(const struct hold *hold)
{
    struct qd_saved saved = {.kind = QD_SAVED_HOLD, .id = {.lo = hold->number}};
    struct qd_writer w = {.at = saved.bytes};
    qd_write(&w, 1, 1);
    qd_write(&w, hold->flags, 1);
    qd_write(&w, 0, 2); /* priority, candidate */
    qd_write(&w, hold->number, 8);
    qd_write(&w, (uint64_t)hold->made_at_ns, 8);
    qd_write(&w, (uint64_t)hold->expires_ns, 8);
    qd_write_hash(&w, (struct qd_hash128){1, 2});
    qd_write(&w, 0, 8);
    qd_write_varint(&w, 0); /* attempt */
    qd_write_varint(&w, 0); /* weight */
    qd_write_signed(&w, 0);
    qd_write_str(&w, fx_str("acme"));
    qd_write(&w, 1, 1);
    qd_write(&w, hold->charge.flags, 1);
    qd_write(&w, hold->charge.counter.hi, 8);
    qd_write_signed(&w, hold->charge.amount);
    qd_write(&w, (UINT64_C(1) << hold->meters) - 1, 4);
    for (uint32_t i = 0; i < hold->meters; i++) {
        qd_write_signed(&w, i + 1 == hold->meters ? hold->expected : 0);
    }
    saved.size = (uint32_t)(w.at - saved.bytes);
    return saved;
}

static struct hold good_hold(const struct qd_limit *limit)
{
    return (struct hold){.number = 5,
                         .made_at_ns = FX_START_NS,
                         .expires_ns = FX_START_NS + QD_NS_PER_MINUTE,
                         .charge = {0, fx_counter_id(limit, "acme"), 7},
                         .meters = 2,
                         .expected = 7};
}

static enum qd_load load(struct fx *f, struct qd_core *commons, const struct hold *hold)
{
    struct qd_saved saved = hold_of(hold);
    return qd_core_load_hold(f->home, commons, &saved, f->now);
}

Test(saved, S1_a_hold_that_none_can_be_is_refused)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    bind(&f, month, 1000, "acme");
    struct hold good = good_hold(month);
    struct hold bad[5] = {good, good, good, good, good};
    bad[0].number = 0;
    bad[1].made_at_ns = -1;
    bad[2].expires_ns = good.made_at_ns - 1;
    bad[3].expected = -1;
    bad[4].expected = QD_AMOUNT_MAX + 1;
    for (size_t k = 0; k < 5; k++) {
        cr_expect_eq(load(&f, f.commons, &bad[k]), QD_LOAD_BAD, "%zu", k);
    }
    struct qd_saved saved = hold_of(&good);
    uint32_t size = saved.size;
    for (saved.size = 0; saved.size < size; saved.size++) {
        cr_expect_eq(qd_core_load_hold(f.home, f.commons, &saved, f.now), QD_LOAD_BAD, "%u",
                     saved.size);
    }
    saved.size = QD_SAVED_MAX + 1;
    cr_expect_eq(qd_core_load_hold(f.home, f.commons, &saved, f.now), QD_LOAD_BAD);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    cr_expect_eq(load(&f, f.commons, &good), QD_LOADED);
    cr_expect_eq(fx_held(&f, month, "acme"), 7);
    fx_release(&f);
}

/* What it has charged elsewhere, or what is no counter's, is left out. */
Test(saved, S1_a_hold_comes_back_without_what_it_cannot_have_charged)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *cap = fx_limit(&f, QD_PER_REQUEST, QD_METER_INPUT_TOKENS);
    bind(&f, cap, 1000, "acme");
    struct hold hold = good_hold(cap);
    cr_expect_eq(load(&f, f.commons, &hold), QD_LOADED);
    hold.number = 6;
    hold.charge.flags = 1;
    cr_expect_eq(load(&f, NULL, &hold), QD_LOADED, "nothing is shared");
    cr_expect_eq(fx_stats(&f).reservations_open, 2);
    f.now.ns += 2 * QD_NS_PER_MINUTE;
    while (fx_expire(&f) > 0) {
    }
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    fx_release(&f);
}

/* 33 words: two for a charge, and one for each meter. */
Test(saved, D12_a_hold_without_room_for_what_it_expects_is_left_out)
{
    struct qd_core_config config = {.hash_seed = 7,
                                    .gauges = 4,
                                    .bindings = 4,
                                    .reservations = 16,
                                    .roots = 4,
                                    .name_bytes = 4096};
    struct fx f;
    fx_init_exactly(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    bind(&f, month, 1000, "acme");
    struct hold hold = good_hold(month);
    hold.meters = 32;
    cr_expect_eq(load(&f, f.commons, &hold), QD_LOAD_FULL);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    hold.meters = 31;
    cr_expect_eq(load(&f, f.commons, &hold), QD_LOADED);
    fx_release(&f);
}

/* D12: it counts in no root's quota then. */
Test(saved, D12_a_hold_comes_back_though_its_root_finds_no_room)
{
    static const struct qd_core_config one_root = {.roots = 1};
    struct fx f;
    fx_init(&f, &one_root);
    f.tenant = "other";
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    bind(&f, month, 1000, "other");
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    struct hold hold = good_hold(month);
    hold.charge.counter = fx_counter_id(month, "other");
    cr_expect_eq(load(&f, f.commons, &hold), QD_LOADED);
    cr_expect_eq(fx_stats(&f).reservations_open, 2);
    cr_expect_eq(fx_cancel(&f, 5), QD_OK);
    cr_expect_eq(fx_held(&f, month, "other"), 1);
    fx_release(&f);
}

/* S5, D12: a hold is due, and its counter idle then: it may go before the hold ends. */
Test(saved, S5_a_due_hold_is_stored_without_a_counter_that_is_gone)
{
    struct qd_saved saved;
    struct fx f;
    fx_init(&f, NULL);
    bind(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS), 1000, "acme");
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_assert(first(f.home, f.commons, QD_SAVED_HOLD, f.now, &saved));
    uint32_t with = saved.size;
    f.now.ns += QD_TTL_DEFAULT_NS + 2 * QD_NS_PER_S;
    cr_assert(qd_core_evict(f.home, f.now, &saved));
    cr_assert(first(f.home, f.commons, QD_SAVED_HOLD, f.now, &saved));
    cr_expect_lt(saved.size, with);
    cr_expect_eq(fx_expire(&f), 1);
    fx_release(&f);
}

/* --- entries that one slice has counted, and the other not --- */

struct halves {
    struct fx f;
    struct qd_limit *month;
    struct qd_limit *rate;
    struct qd_limit *shared_month;
    struct qd_limit *shared_rate;
};

static void open_halves(struct halves *h)
{
    fx_init(&h->f, NULL);
    h->month = fx_month(&h->f, QD_METER_INPUT_TOKENS);
    h->rate = fx_limit(&h->f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    h->shared_month = fx_month(&h->f, QD_METER_INPUT_TOKENS);
    h->shared_rate = fx_limit(&h->f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&h->f, h->month, 1000, "acme");
    fx_apply(&h->f, h->rate, 1000, "acme");
    fx_apply(&h->f, h->shared_month, 1000, "");
    fx_apply(&h->f, h->shared_rate, 1000, "");
    fx_bind(&h->f);
}

static void expect_halves(struct halves *h, int64_t home, int64_t common)
{
    cr_expect_eq(fx_used(&h->f, h->month, "acme"), home);
    cr_expect_eq(fx_used(&h->f, h->rate, "acme"), home);
    cr_expect_eq(fx_used(&h->f, h->shared_month, ""), common);
    cr_expect_eq(fx_used(&h->f, h->shared_rate, ""), common);
}

Test(saved, X5_an_entry_is_counted_where_it_is_not_yet)
{
    struct halves h;
    struct fx *f = &h.f;
    open_halves(&h);
    struct qd_settle *s = fx_settle_begin(f, 0);
    s->where = QD_SETTLE_COMMONS;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 30);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
    expect_halves(&h, 0, 30);
    s = fx_settle_begin(f, 0);
    s->where = QD_SETTLE_HOME;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 4);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
    expect_halves(&h, 4, 30);
    fx_release(f);
}

/* D7: of a budget in commons the hold is given back, and nothing is booked a second time. */
Test(saved, X5_a_hold_is_settled_where_its_entry_is_not_yet_counted)
{
    struct halves h;
    struct fx *f = &h.f;
    open_halves(&h);
    cr_assert_eq(fx_check(f, 50, 0), QD_ALLOW);
    struct qd_settle *s = fx_settle_begin(f, f->verdict.reservation);
    s->where = QD_SETTLE_HOME;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 20);
    cr_assert_eq(fx_settle_as_is(f), QD_OK);
    cr_expect_eq(fx_used(f, h.month, "acme"), 20);
    cr_expect_eq(fx_used(f, h.rate, "acme"), 20);
    cr_expect_eq(fx_used(f, h.shared_month, ""), 0);
    cr_expect_eq(fx_held(f, h.month, "acme") + fx_held(f, h.shared_month, ""), 0);
    cr_expect_eq(fx_used(f, h.shared_rate, ""), 50, "as commons had it stored");
    fx_release(f);
}

/* --- thresholds --- */

/* P3, P6: a limit with other thresholds goes on after the highest that was told. */
Test(saved, P3_other_thresholds_are_told_from_where_the_old_ones_were)
{
    static const uint16_t thresholds[][QD_THRESHOLDS_MAX] = {
        {500}, {100, 200, 300, 400, 500, 600, 700, 800}, {900, 950}};
    static const unsigned told_at_most[] = {0, 0, 2};
    for (size_t k = 0; k < 3; k++) {
        struct qd_event event;
        struct fx f;
        unsigned told = 0;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_month(&f, QD_METER_INPUT_TOKENS);
        limit->threshold_permille[0] = 850;
        bind(&f, limit, 1000, "acme");
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        cr_assert_eq(fx_settle(&f, 860, 0), QD_OK);
        cr_assert(qd_core_event(f.home, &event));
        cr_assert_eq(event.permille, 850);
        struct qd_limit *other = fx_month(&f, QD_METER_INPUT_TOKENS);
        memcpy(other->threshold_permille, thresholds[k], sizeof(thresholds[k]));
        f.items[0].limit = other;
        f.epoch++;
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        cr_assert_eq(fx_settle(&f, 100, 0), QD_OK);
        while (qd_core_event(f.home, &event)) {
            told++;
        }
        cr_expect_eq(told, told_at_most[k], "%zu: %u", k, told);
        fx_release(&f);
    }
}
