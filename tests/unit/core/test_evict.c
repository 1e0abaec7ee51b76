/* Bounded memory: quotas, eviction with state, and what happens when all is live (D12). */
#include "fixture.h"

#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(evict, .timeout = 60);

static void use_tenant(struct fx *f, const char *tenant, const struct qd_limit *limit)
{
    f->tenant = tenant;
    f->item_count = 0;
    fx_apply(f, limit, 1000, tenant);
}

Test(evict, D12_empty_counters_make_room_silently)
{
    struct qd_core_config config = {.narrow_windows = 4};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    char tenants[50][8];
    f.check.reserve = false;
    for (unsigned i = 0; i < 50; i++) {
        snprintf(tenants[i], sizeof(tenants[i]), "t%u", i);
        use_tenant(&f, tenants[i], window);
        fx_bind(&f);
        cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
        fx_advance(&f, 20 * QD_NS_PER_S); /* three in the last minute */
    }
    cr_expect_eq(fx_stats(&f).evicted, 0);
    fx_release(&f);
}

Test(evict, D12_the_least_recently_used_goes_and_comes_back_with_its_state)
{
    struct qd_core_config config = {
        .narrow_windows = 3, .wide_windows = 3, .buckets = 3, .gauges = 3};
    const enum qd_algorithm algorithms[] = {QD_SLIDING_WINDOW, QD_SLIDING_WINDOW, QD_TOKEN_BUCKET,
                                            QD_FIXED_WINDOW,   QD_CALENDAR,       QD_PREPAID};
    for (unsigned i = 0; i < 6; i++) {
        struct fx f;
        struct qd_saved state;
        fx_init(&f, &config);
        struct qd_limit *limit = fx_limit(&f, algorithms[i], QD_METER_INPUT_TOKENS);
        const char *tenants[] = {"a", "b", "c", "d"};
        int64_t amount = i == 1 ? INT64_C(5000000000) : 1000;
        for (unsigned t = 0; t < 3; t++) {
            use_tenant(&f, tenants[t], limit);
            fx_set_amount(&f, limit, amount);
            fx_bind(&f);
            cr_assert_eq(fx_check(&f, 100 + t, 0), QD_ALLOW);
            cr_assert_eq(fx_settle(&f, 100 + t, 0), QD_OK);
            fx_advance(&f, 2 * QD_NS_PER_S);
        }
        use_tenant(&f, "d", limit);
        fx_set_amount(&f, limit, amount);
        cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
        cr_expect_not(qd_core_evict(f.home, f.now, &state), "their leases are not over");
        fx_advance(&f, QD_TTL_DEFAULT_NS);
        if (algorithms[i] != QD_CALENDAR && algorithms[i] != QD_PREPAID) {
            cr_expect_eq(fx_try_bind(&f), QD_BOUND, "by now the others are empty");
            fx_release(&f);
            continue;
        }
        cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
        cr_assert(qd_core_evict(f.home, f.now, &state));
        cr_expect(qd_hash128_equal(state.id, fx_counter_id(limit, "a")), "it was the least used");
        cr_expect_eq(fx_try_bind(&f), QD_BOUND);
        cr_expect_eq(qd_core_bound_new(f.home), 1);
        cr_expect_not(qd_core_restore(f.home, &state, f.now), "a isn't bound");

        fx_advance(&f, 2 * QD_NS_PER_S);
        struct qd_saved other;
        cr_expect_eq(fx_try_bind(&f), QD_BOUND);
        fx_advance(&f, 2 * QD_NS_PER_S);
        cr_assert(qd_core_evict(f.home, f.now, &other));
        use_tenant(&f, "a", limit);
        fx_set_amount(&f, limit, amount);
        fx_bind(&f);
        cr_expect_eq(fx_used(&f, limit, "a"), 0);
        cr_expect(qd_core_restore(f.home, &state, f.now));
        cr_expect_eq(fx_used(&f, limit, "a"), 100);
        cr_expect_not(qd_core_restore(f.home, &state, f.now), "once");
        fx_release(&f);
    }
}

Test(evict, D12_every_kind_comes_back_exactly)
{
    const enum qd_algorithm algorithms[] = {QD_SLIDING_WINDOW, QD_SLIDING_WINDOW, QD_TOKEN_BUCKET,
                                            QD_LEAKY_BUCKET,   QD_FIXED_WINDOW,   QD_CALENDAR};
    for (unsigned i = 0; i < 6; i++) {
        struct fx a;
        struct fx b;
        fx_init(&a, NULL);
        fx_init(&b, NULL);
        struct qd_limit *limit_a = fx_limit(&a, algorithms[i], QD_METER_INPUT_TOKENS);
        struct qd_limit *limit_b = fx_limit(&b, algorithms[i], QD_METER_INPUT_TOKENS);
        int64_t amount = i == 1 ? INT64_C(5000000000) : 3000;
        fx_apply(&a, limit_a, amount, "acme");
        fx_apply(&b, limit_b, amount, "acme");
        fx_bind(&a);
        fx_bind(&b);
        a.check.reserve = false;
        b.check.reserve = false;
        struct qd_prng g;
        qd_prng_init(&g, i);
        for (unsigned n = 0; n < 400; n++) {
            int64_t step = qd_prng_between(&g, 0, 5 * QD_NS_PER_S);
            int64_t cost = qd_prng_between(&g, 1, 500);
            fx_advance(&a, step);
            fx_advance(&b, step);
            cr_assert_eq(fx_check(&a, cost, 0), fx_check(&b, cost, 0));
            cr_assert_eq(a.verdict.retry_at.ns, b.verdict.retry_at.ns);
            cr_assert_eq(fx_used(&a, limit_a, "acme"), fx_used(&b, limit_b, "acme"));
            struct qd_saved state;
            fx_advance(&a, 2 * QD_NS_PER_S);
            fx_advance(&b, 2 * QD_NS_PER_S);
            /* One of the two goes out and comes back. */
            fx_bind(&b);
            fx_advance(&a, QD_NS_PER_S);
            fx_advance(&b, QD_NS_PER_S);
            if (qd_core_evict(b.home, b.now, &state)) {
                cr_assert_eq(fx_used(&b, limit_b, "acme"), 0);
                fx_bind(&b);
                cr_assert(qd_core_restore(b.home, &state, b.now));
            }
        }
        cr_expect_geq(fx_stats(&b).evicted, 1, "algorithm %u", i);
        fx_release(&a);
        fx_release(&b);
    }
}

/* P6: what drained so far drained at the old rate, in memory or away. */
Test(evict, P6_a_bucket_that_was_away_drained_at_the_rate_it_had_when_it_left)
{
    const enum qd_algorithm algorithms[] = {QD_TOKEN_BUCKET, QD_LEAKY_BUCKET};
    const int64_t amounts[] = {1, 60, 6000, 0};
    const struct qd_core_config one = {.buckets = 1};
    for (unsigned n = 0; n < 8; n++) {
        struct fx here;
        struct fx away;
        struct fx *both[] = {&here, &away};
        struct qd_saved state;
        for (unsigned i = 0; i < 2; i++) {
            struct fx *f = both[i];
            fx_init(f, &one);
            struct qd_limit *limit = fx_limit(f, algorithms[n % 2], QD_METER_INPUT_TOKENS);
            f->check.reserve = false;
            fx_apply(f, limit, 600, "acme");
            fx_bind(f);
            cr_assert_eq(fx_check(f, 600, 0), QD_ALLOW);
            fx_advance(f, 2 * QD_NS_PER_S);
            f->epoch++;
        }
        use_tenant(&away, "other", &away.limits[0]);
        cr_assert_eq(fx_try_bind(&away), QD_BIND_FULL);
        cr_assert(qd_core_evict(away.home, away.now, &state));
        use_tenant(&away, "acme", &away.limits[0]);
        for (unsigned i = 0; i < 2; i++) {
            fx_advance(both[i], 10 * QD_NS_PER_S);
            fx_set_amount(both[i], &both[i]->limits[0], amounts[n / 2]);
            fx_bind(both[i]);
        }
        cr_assert(qd_core_restore(away.home, &state, away.now));
        for (unsigned i = 0; i < 5; i++) {
            cr_expect_eq(fx_used(&away, &away.limits[0], "acme"),
                         fx_used(&here, &here.limits[0], "acme"));
            if (i == 0) {
                cr_expect_eq(fx_used(&away, &away.limits[0], "acme"), 480);
            }
            fx_advance(&here, QD_NS_PER_S / 3);
            fx_advance(&away, QD_NS_PER_S / 3);
        }
        fx_release(&here);
        fx_release(&away);
    }
}

Test(evict, D12_states_that_are_not_ours_are_refused)
{
    struct fx f;
    struct qd_saved state;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_bind(&f);
    f.check.reserve = false;
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    fx_advance(&f, 2 * QD_NS_PER_S);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    fx_apply(&f, bucket, 1000, "acme");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    struct qd_saved bad = state;
    bad.bytes[0] = 9; /* version */
    cr_expect_not(qd_core_restore(f.home, &bad, f.now));
    bad = state;
    bad.size--;
    cr_expect_not(qd_core_restore(f.home, &bad, f.now));
    bad = state;
    bad.size = 0;
    cr_expect_not(qd_core_restore(f.home, &bad, f.now));
    bad.size = QD_SAVED_MAX + 1;
    cr_expect_not(qd_core_restore(f.home, &bad, f.now));
    bad = state;
    bad.bytes[4] = 77; /* more thresholds than a limit has */
    cr_expect_not(qd_core_restore(f.home, &bad, f.now));
    bad = state;
    bad.id = fx_counter_id(bucket, "acme");
    cr_expect_not(qd_core_restore(f.home, &bad, f.now), "a window is no bucket");
    bad.id = fx_counter_id(month, "acme");
    cr_expect_not(qd_core_restore(f.home, &bad, f.now));
    cr_expect_eq(fx_stats(&f).states_lost, 7, "each is counted");
    cr_expect(qd_core_restore(f.home, &state, f.now));
    cr_expect_eq(fx_used(&f, window, "acme"), 10);
    fx_release(&f);
}

Test(evict, D12_a_counter_with_an_open_reservation_stays)
{
    struct qd_core_config config = {.narrow_windows = 1, .gauges = 1};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    f.tenant = "a";
    fx_apply(&f, window, 1000, "a");
    fx_apply(&f, month, 1000, "a");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    uint64_t open = f.verdict.reservation;
    fx_advance(&f, 200 * QD_NS_PER_S);
    f.tenant = "b";
    f.item_count = 0;
    fx_apply(&f, window, 1000, "b");
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_expect_not(qd_core_evict(f.home, f.now, &state));
    f.item_count = 0;
    fx_apply(&f, month, 1000, "b");
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_expect_not(qd_core_evict(f.home, f.now, &state));
    cr_assert_eq(fx_cancel(&f, open), QD_OK);
    fx_advance(&f, 200 * QD_NS_PER_S);
    fx_bind(&f);
    fx_release(&f);
}

Test(evict, D12_a_root_has_its_quota_of_counters)
{
    struct qd_core_config config = {.counters_per_root = 3};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    const char *keys[] = {"acme/1", "acme/2", "acme/3", "acme/4"};
    for (unsigned i = 0; i < 4; i++) {
        f.tenant = keys[i];
        f.item_count = 0;
        fx_apply(&f, month, 1000, keys[i]);
        fx_apply(&f, month, 1000, ""); /* shared ones are nobody's */
        cr_expect_eq(fx_try_bind(&f), i < 3 ? QD_BOUND : QD_BIND_ROOT_QUOTA);
        if (i < 3) {
            cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
            cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
        }
    }
    f.tenant = "globex";
    f.item_count = 0;
    fx_apply(&f, month, 1000, "globex");
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);

    fx_advance(&f, QD_TTL_DEFAULT_NS);
    f.tenant = "acme/4";
    f.item_count = 0;
    fx_apply(&f, month, 1000, "acme/4");
    cr_expect_eq(fx_try_bind(&f), QD_BIND_ROOT_QUOTA);
    cr_assert(qd_core_evict(f.home, f.now, &state), "one of its own goes");
    cr_expect_neq(state.id.lo, fx_counter_id(month, "globex").lo);
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    fx_release(&f);
}

Test(evict, D12_names_that_find_no_room_are_a_full_table)
{
    struct qd_core_config config = {.name_bytes = 1024};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    char tenants[40][24];
    unsigned bound = 0;
    bool full = false;
    for (unsigned i = 0; i < 40 && !full; i++) {
        snprintf(tenants[i], sizeof(tenants[i]), "tenant-number-%u", i);
        use_tenant(&f, tenants[i], month);
        if (fx_try_bind(&f) == QD_BIND_FULL) {
            full = true;
            break;
        }
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
        bound++;
    }
    cr_expect(full);
    cr_expect_eq(bound, 32, "one granule each");
    struct qd_event event;
    bool told = false;
    while (qd_core_event(f.home, &event)) {
        told = told || event.kind == QD_EVENT_FULL;
    }
    cr_expect(told);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_expect(qd_core_evict(f.home, f.now, &state));
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    fx_release(&f);
}

Test(evict, D12_a_reset_counter_does_not_come_back_with_its_old_state)
{
    struct fx f;
    struct qd_saved old;
    struct qd_saved newer;
    struct qd_core_config config = {.gauges = 1};
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    use_tenant(&f, "a", month);
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    use_tenant(&f, "b", month);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    cr_assert(qd_core_evict(f.home, f.now, &old));
    use_tenant(&f, "a", month);
    fx_bind(&f);
    cr_assert(qd_core_restore(f.home, &old, f.now));
    cr_assert(qd_core_counter_reset(f.home, fx_counter_id(month, "a"), 0, f.now));
    fx_advance(&f, 2 * QD_NS_PER_S);
    use_tenant(&f, "b", month);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL, "not dropped silently: the store's state is older");
    cr_assert(qd_core_evict(f.home, f.now, &newer));
    cr_expect_eq(newer.id.lo, old.id.lo);
    fx_bind(&f);
    fx_release(&f);
}

Test(evict, D12_a_slice_of_nothing_refuses_and_lives)
{
    struct qd_core_config config = {.hash_seed = 1};
    static _Alignas(64) uint8_t memory[2 << 20];
    cr_assert_leq(qd_core_memory(&config), sizeof(memory));
    struct qd_core *core = qd_core_init(memory, sizeof(memory), &config);
    struct qd_bind bind = {.tenant = fx_str("a")};
    struct qd_wall_ns now = {.ns = FX_START_NS};
    cr_expect_neq(qd_core_bind(core, NULL, &bind, now, NULL), QD_BOUND);
    struct qd_candidate candidate = {0};
    struct qd_check check = {.candidates = &candidate, .candidate_count = 1};
    struct qd_verdict verdict;
    qd_core_prefetch(core, candidate.binding);
    qd_core_check(core, NULL, &check, now, &verdict, NULL, NULL);
    cr_expect_eq(verdict.decision, QD_NEEDS_BINDING);
    cr_expect_eq(qd_core_expire(core, NULL, now, 10), 0);
    cr_expect_eq(qd_core_cancel(core, NULL, 1, now), QD_NO_RESERVATION);
    config.buckets = UINT32_C(1) << 24;
    cr_expect_eq(qd_core_memory(&config), 0, "2^24 and more is out of range");
}

Test(evict, D12_a_full_table_of_roots_is_a_full_table)
{
    struct qd_core_config config = {.roots = 2};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    const char *tenants[] = {"a", "b", "c"};
    for (unsigned i = 0; i < 3; i++) {
        use_tenant(&f, tenants[i], month);
        cr_expect_eq(fx_try_bind(&f) == QD_BOUND, i < 2);
        if (i < 2) {
            cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        }
    }
    fx_release(&f);
}

Test(evict, D12_a_tenant_name_that_finds_no_room_is_a_full_table)
{
    struct qd_core_config config = {.name_bytes = 1024};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *shared = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    char tenants[70][24];
    unsigned refused = 0;
    for (unsigned i = 0; i < 70; i++) {
        snprintf(tenants[i], sizeof(tenants[i]), "tenant-number-%u", i);
        f.tenant = tenants[i];
        f.item_count = 0;
        fx_apply(&f, shared, 1000, "");
        refused += fx_try_bind(&f) != QD_BOUND;
        fx_advance(&f, i == 40 ? QD_NS_PER_HOUR : 0); /* later the old bindings make room */
    }
    cr_expect_eq(refused, 41 - 32);
    fx_release(&f);
}

Test(evict, D12_capacities_out_of_range_are_refused)
{
    struct qd_core_config good = {.hash_seed = 1};
    uint32_t *const fields[] = {&good.narrow_windows, &good.wide_windows, &good.buckets,
                                &good.gauges,         &good.bindings,     &good.reservations,
                                &good.progress,       &good.estimators,   &good.roots};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        *fields[i] = UINT32_C(1) << 24;
        cr_expect_eq(qd_core_memory(&good), 0, "field %zu", i);
        *fields[i] = (UINT32_C(1) << 24) - 1;
        cr_expect_gt(qd_core_memory(&good), 0, "field %zu", i);
        *fields[i] = 0;
    }
    good.name_bytes = (size_t)1 << 35;
    cr_expect_eq(qd_core_memory(&good), 0);
}

/* Any byte may be another, and any word an extreme one. */
static void damage(struct qd_prng *g, struct qd_saved *state)
{
    static const uint64_t extremes[] = {0,
                                        1,
                                        UINT64_MAX,
                                        INT64_MAX,
                                        (uint64_t)INT64_MIN,
                                        UINT64_C(1) << 62,
                                        UINT64_C(1) << 60,
                                        UINT64_C(1) << 57};
    for (uint64_t i = 0; i < qd_prng_below(g, 6); i++) {
        uint32_t at = (uint32_t)qd_prng_below(g, state->size);
        if (qd_prng_chance(g, 1, 2) || state->size < at + 8) {
            state->bytes[at] = (uint8_t)qd_prng_next(g);
            continue;
        }
        uint64_t word = extremes[qd_prng_below(g, 8)];
        at = 4 + (at & ~3U); /* after the head words are aligned to 4 */
        for (unsigned b = 0; b < 8 && at + b < state->size; b++) {
            state->bytes[at + b] = (uint8_t)(word >> 8 * b);
        }
    }
}

/* A counter that came back from such bytes lives on: time, checks, settles, another eviction. */
static void live_on(struct fx *f, struct qd_prng *g, const struct qd_limit *limit)
{
    for (unsigned i = 0; i < 4; i++) {
        f->check.reserve = qd_prng_chance(g, 1, 2);
        if (fx_check(f, qd_prng_between(g, 0, 500), 0) == QD_ALLOW && f->check.reserve) {
            cr_expect_eq(fx_settle(f, qd_prng_between(g, 0, 500), 0), QD_OK);
        }
        cr_expect_geq(f->verdict.retry_at.ns, f->now.ns);
        cr_expect_geq(fx_used(f, limit, "acme"), 0);
        fx_advance(f, qd_prng_between(g, 0, 40 * QD_NS_PER_S));
    }
}

/* Bytes from the store, broken in any way: refused or read, never trusted. */
static unsigned restore_damaged(uint64_t seed, enum qd_algorithm algorithm, int64_t amount)
{
    struct fx f;
    struct qd_prng g;
    unsigned restored = 0;
    qd_prng_init(&g, seed * 16 + (uint64_t)algorithm);
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, algorithm, QD_METER_INPUT_TOKENS);
    limit->weighted = qd_prng_chance(&g, 1, 2);
    fx_apply(&f, limit, amount, "acme");
    for (unsigned round = 0; round < 10; round++) {
        struct qd_saved state;
        fx_bind(&f);
        f.check.reserve = false;
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
        fx_advance(&f, 2 * QD_NS_PER_S);
        cr_assert(qd_core_evict(f.home, f.now, &state));
        damage(&g, &state);
        bool widened = qd_prng_chance(&g, 1, 4); /* it may come back into another kind (P6) */
        fx_set_amount(&f, limit, widened ? INT64_C(5000000000) : amount);
        fx_bind(&f);
        restored += qd_core_restore(f.home, &state, f.now);
        live_on(&f, &g, limit);
        fx_advance(&f, 2 * QD_TTL_DEFAULT_NS);
        fx_expire(&f);
        cr_assert(qd_core_evict(f.home, f.now, &state),
                  "and goes again: seed %lu algorithm %d round %u", (unsigned long)seed,
                  (int)algorithm, round);
        fx_set_amount(&f, limit, amount);
    }
    fx_release(&f);
    return restored;
}

Test(evict, D12_broken_states_break_nothing)
{
    static const enum qd_algorithm algorithms[] = {QD_SLIDING_WINDOW, QD_TOKEN_BUCKET,
                                                   QD_LEAKY_BUCKET, QD_FIXED_WINDOW, QD_CALENDAR};
    uint64_t first = qd_prng_seed("states", 5);
    unsigned restored = 0;
    for (uint64_t seed = first; seed < first + 200; seed++) {
        for (unsigned i = 0; i < 5; i++) {
            restored += restore_damaged(seed, algorithms[i], 1000);
        }
        restored += restore_damaged(seed, QD_SLIDING_WINDOW, INT64_C(5000000000));
    }
    cr_expect_gt(restored, 2000, "only %u of 12,000 were read at all", restored);
}

/* Bindings that are over give their tenants' names back at once, others when they were idle. */
Test(evict, D12_bindings_that_are_over_make_room_for_names)
{
    struct qd_core_config config = {.name_bytes = 1024};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *shared = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    char tenants[40][24];
    unsigned bound = 0;
    f.valid_until.ns = f.now.ns + 10 * QD_NS_PER_S;
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(tenants[i], sizeof(tenants[i]), "tenant-number-%u", i);
        f.tenant = tenants[i];
        f.item_count = 0;
        fx_apply(&f, shared, 1000, "");
        bound += fx_try_bind(&f) == QD_BOUND;
    }
    cr_expect_eq(bound, 32);
    fx_advance(&f, 9 * QD_NS_PER_S);
    cr_expect_eq(fx_try_bind(&f), QD_BIND_FULL);
    fx_advance(&f, QD_NS_PER_S);
    cr_expect_eq(fx_try_bind(&f), QD_BOUND);
    fx_release(&f);
}

/* Nobody has ended the hold yet, and its counter is another's by now: a reset leaves that alone. */
Test(evict, P2_a_reset_forgives_nothing_in_a_counter_that_is_gone)
{
    struct qd_core_config config = {.narrow_windows = 1};
    struct fx f;
    uint64_t cursor = 0;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    use_tenant(&f, "a", window);
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    fx_advance(&f, QD_TTL_DEFAULT_NS + 2 * QD_NS_PER_S);
    use_tenant(&f, "b", window);
    cr_assert_eq(fx_try_bind(&f), QD_BOUND);
    while (qd_core_forgive(f.home, f.commons, &cursor, 1000)) {
    }
    cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW, "which ends the first");
    cr_expect_eq(fx_stats(&f).expired, 1);
    cr_expect_eq(fx_used(&f, window, "b"), 10);
    fx_release(&f);
}

static enum qd_decision check_unbound(struct fx *f, const struct qd_unbound *unbound)
{
    (void)fx_check(f, 100, 50); /* which asks for a binding */
    cr_assert_eq(f->verdict.decision, QD_NEEDS_BINDING);
    f->candidates[0].unbound = unbound;
    enum qd_decision decision = fx_check_as_is(f);
    f->candidates[0].unbound = NULL;
    return decision;
}

Test(evict, D12_a_check_without_a_binding_gets_a_hold_that_charges_nothing)
{
    struct fx f;
    struct qd_unbound open = {.valid_until = {QD_WALL_NEVER}};
    fx_init(&f, NULL);
    cr_assert_eq(check_unbound(&f, &open), QD_ALLOW);
    cr_expect_null(f.verdict.binding.limit);
    cr_expect_eq(qd_usage_get(&f.verdict.estimate, QD_METER_OUTPUT_TOKENS), 50);
    uint64_t number = f.verdict.reservation;
    cr_expect_neq(number, 0);
    cr_expect_eq(fx_stats(&f).allowed, 1);
    cr_expect_eq(fx_stats(&f).roots_live, 0);
    cr_expect_eq(fx_extend(&f, number, 10), QD_OK);
    struct qd_settle *s = fx_settle_begin(&f, number);
    s->unbound = true;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect(f.settled.had_reservation && f.settled.closed);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);

    cr_assert_eq(check_unbound(&f, &open), QD_ALLOW); /* two that nobody reports */
    cr_assert_eq(check_unbound(&f, &open), QD_ALLOW);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_expire(&f), 2);
    f.check.dry_run = true;
    cr_assert_eq(check_unbound(&f, &open), QD_ALLOW);
    cr_expect_eq(f.verdict.reservation, 0);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    fx_release(&f);
}

Test(evict, D12_a_check_without_a_binding_is_denied_by_what_fails_closed)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit_state full = {.limit = window, .name = fx_str("acme"), .amount = 9, .depth = 1};
    struct qd_unbound closed = {.full = &full, .valid_until = {QD_WALL_NEVER}};
    cr_assert_eq(check_unbound(&f, &closed), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
    cr_expect_eq(f.verdict.binding.limit, window);
    cr_expect_eq(f.verdict.binding.amount, 9);
    cr_expect(f.verdict.binding.denies && f.verdict.retry_useful && f.verdict.retry_is_hint);
    cr_expect_eq(f.verdict.retry_at.ns, f.now.ns + QD_NS_PER_S);
    cr_expect_eq(fx_stats(&f).capacity_denied, 1);
    f.check.dry_run = true;
    cr_assert_eq(check_unbound(&f, &closed), QD_DENY);
    cr_expect_eq(fx_stats(&f).capacity_denied, 1, "a peek is not counted (D8)");
    fx_release(&f);
}

/* P2, P8: what denies whatever the limits say still does. */
Test(evict, D12_a_check_without_a_binding_is_denied_when_blocked_or_unpriced)
{
    struct fx f;
    struct qd_limit_state full = {0};
    fx_init(&f, NULL);
    struct qd_unbound blocked = {.blocked = true, .valid_until = {f.now.ns + 5}};
    for (unsigned i = 0; i < 2; i++) {
        blocked.full = i == 0 ? NULL : &full;
        cr_assert_eq(check_unbound(&f, &blocked), QD_DENY);
        cr_expect_eq(f.verdict.reason, QD_REASON_BLOCKED);
        cr_expect_eq(f.verdict.retry_at.ns, f.now.ns + 5);
    }
    f.check.unknown_price = QD_UNKNOWN_PRICE_DENY;
    f.candidates[0].cost_model = NULL;
    cr_assert_eq(check_unbound(&f, &(struct qd_unbound){.valid_until = {QD_WALL_NEVER}}), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_UNKNOWN_PRICE);
    cr_expect_eq(fx_stats(&f).denied, 3);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    fx_release(&f);
}

Test(evict, D12_a_full_table_of_holds_denies_without_a_binding_too)
{
    struct qd_core_config config = {.reservations = 3};
    struct qd_unbound open = {.valid_until = {QD_WALL_NEVER}};
    struct fx f;
    fx_init(&f, &config);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(check_unbound(&f, &open), QD_ALLOW);
    }
    cr_assert_eq(check_unbound(&f, &open), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY);
    cr_expect_null(f.verdict.binding.limit);
    fx_release(&f);
}

/* D9: the next candidate is tried by its binding; a closed one is named if it passes sooner. */
Test(evict, D9_a_candidate_without_room_leaves_the_others_their_turn)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit_state full = {.limit = month, .name = fx_str("acme"), .amount = 9, .depth = 1};
    struct qd_unbound closed = {.full = &full, .valid_until = {QD_WALL_NEVER}};
    struct qd_unbound open = {.valid_until = {QD_WALL_NEVER}};
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    f.check.candidate_count = 2;
    f.candidates[1] = f.candidates[0];
    f.candidates[0] = (struct qd_candidate){.binding = {1, 2}, .unbound = &closed};
    cr_expect_eq(fx_check(&f, 600, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.candidate, 1);
    cr_expect_eq(f.state_count, 1);
    cr_expect_eq(fx_check(&f, 600, 0), QD_DENY);
    cr_expect_eq(f.verdict.candidate, 0);
    cr_expect_eq(f.verdict.reason, QD_REASON_CAPACITY, "in a second, not next month");
    cr_expect_eq(f.state_count, 0, "nothing is known of its limits");
    cr_expect_eq(fx_stats(&f).capacity_denied, 1);
    cr_expect_eq(fx_stats(&f).denied, 0);

    f.candidates[0].unbound = NULL; /* a bound one that is denied, and one that fails open */
    f.candidates[1].binding = f.candidates[0].binding;
    f.candidates[0].binding = fx_key(&f, f.tenant, f.model);
    cr_expect_eq(fx_check(&f, 600, 0), QD_NEEDS_BINDING);
    cr_expect_eq(f.verdict.candidate, 1);
    f.candidates[1].unbound = &open;
    cr_expect_eq(fx_check(&f, 600, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.candidate, 1);
    cr_expect_eq(fx_held(&f, month, "acme"), 600);
    fx_release(&f);
}
