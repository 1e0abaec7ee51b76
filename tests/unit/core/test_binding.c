/* Bindings: reload and usage (P6), forgetting (P2), handles (D13), resets. */
#include "fixture.h"
#include "server/core/binding.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(binding, .timeout = 60);

Test(binding, P6_a_reload_keeps_what_was_used)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limits[] = {
        fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS),
        fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS),
        fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS),
        fx_month(&f, QD_METER_INPUT_TOKENS),
    };
    for (unsigned i = 0; i < 4; i++) {
        fx_apply(&f, limits[i], 1000, "acme");
    }
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 600, 0), QD_ALLOW);
    f.epoch = 2;
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING, "the policy's epoch changed");
    for (unsigned i = 0; i < 4; i++) {
        fx_set_amount(&f, limits[i], 700);
    }
    fx_bind(&f);
    for (unsigned i = 0; i < 4; i++) {
        struct qd_limit_state state = fx_state(&f, limits[i], "acme");
        cr_expect_eq(state.amount, 700);
        cr_expect_eq(state.used + state.held, 600, "limit %u", i);
    }
    cr_expect_eq(fx_check(&f, 101, 0), QD_DENY);
    cr_expect_eq(fx_check(&f, 100, 0), QD_ALLOW);
    fx_release(&f);
}

Test(binding, P6_another_identity_starts_empty)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *minute = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *other = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    other->window_ns = 30 * QD_NS_PER_S;
    fx_apply(&f, minute, 10, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    f.epoch = 2;
    f.item_count = 0;
    fx_apply(&f, other, 10, "acme");
    fx_bind(&f);
    cr_expect_eq(fx_used(&f, other, "acme"), 0);
    /* Even if somebody mistakes one for the other, nothing is read as what it isn't. */
    f.items[0].counter = fx_counter_id(minute, "acme");
    fx_bind(&f);
    struct qd_limit_state state = fx_state(&f, minute, "acme");
    cr_expect_eq(state.limit, other);
    cr_expect_eq(state.used, 0);
    cr_expect_eq(fx_settle(&f, 1, 0), QD_OK, "the hold on the old one ends in peace");
    fx_release(&f);
}

Test(binding, P6_an_amount_beyond_31_bits_widens_the_window_and_keeps_its_use)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 600000, 0), QD_ALLOW);
    uint64_t first = f.verdict.reservation;
    fx_advance(&f, 20 * QD_NS_PER_S);
    f.epoch = 2;
    fx_set_amount(&f, window, INT64_C(10000000000));
    fx_bind(&f);
    cr_expect_eq(fx_used(&f, window, "acme"), 600000);
    cr_expect_eq(fx_check(&f, INT64_C(9000000000), 0), QD_ALLOW);
    cr_expect_eq(fx_stats(&f).counters_live[0], 1, "the old record tells where the window went");
    struct qd_settle *s = fx_settle_begin(&f, first);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 500000);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, window, "acme"), INT64_C(9000500000));
    fx_advance(&f, 41 * QD_NS_PER_S);
    cr_expect_eq(fx_used(&f, window, "acme"), INT64_C(9000000000), "slots keep their times");
    f.epoch = 3;
    fx_set_amount(&f, window, 1000000);
    fx_bind(&f);
    cr_expect_eq(fx_used(&f, window, "acme"), INT64_C(9000000000));
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    fx_release(&f);
}

Test(binding, P2_forgetting_a_root_makes_its_requests_bind_again)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 10, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    qd_core_forget_root(f.home, fx_str("globex"));
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    qd_core_forget_root(f.home, fx_str("acme"));
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING);
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_expect_eq(fx_used(&f, window, "acme"), 3);
    fx_release(&f);
}

Test(binding, P6_a_boost_ends_by_itself)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 2, "acme");
    f.valid_until.ns = FX_START_NS + 5 * QD_NS_PER_S;
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    fx_advance(&f, 5 * QD_NS_PER_S - 1);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    fx_advance(&f, 1);
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING);
    fx_set_amount(&f, window, 1);
    f.valid_until.ns = QD_WALL_NEVER;
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    fx_release(&f);
}

Test(binding, D13_a_binding_of_an_evicted_counter_is_bound_again)
{
    struct qd_core_config config = {.narrow_windows = 2};
    struct fx f;
    struct qd_saved state;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    f.check.reserve = false;
    f.tenant = "a";
    fx_apply(&f, window, 10, "a");
    fx_bind(&f);
    struct qd_hash128 key_a = f.candidates[0].binding;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    fx_advance(&f, 2 * QD_NS_PER_S);
    cr_assert(qd_core_evict(f.home, f.now, &state));
    f.tenant = "b";
    f.item_count = 0;
    fx_apply(&f, window, 10, "b"); /* takes a's place */
    fx_bind(&f);
    f.candidates[0].binding = key_a;
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING, "a's binding names b's counter's place");
    cr_expect_eq(fx_used(&f, window, "b"), 0);
    fx_release(&f);
}

Test(binding, D13_a_binding_whose_root_is_gone_is_bound_again)
{
    struct qd_core_config config = {.roots = 1};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *shared = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, shared, 10, "");
    f.tenant = "a";
    fx_bind(&f);
    struct qd_hash128 key_a = f.candidates[0].binding;
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_expect_eq(fx_cancel(&f, f.verdict.reservation), QD_OK);
    f.tenant = "b";
    fx_bind(&f); /* nothing of a is in memory: b takes its root */
    f.candidates[0].binding = key_a;
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING);
    fx_release(&f);
}

Test(binding, D13_requests_with_many_limits_have_several_entries)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limits[QD_LIMITS_PER_CHECK_MAX];
    for (unsigned i = 0; i < QD_LIMITS_PER_CHECK_MAX; i++) {
        limits[i] =
            fx_limit(&f, i % 2 == 0 ? QD_SLIDING_WINDOW : QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
        fx_apply(&f, limits[i], i == 31 ? 100 : 1000, i % 3 == 0 ? "acme" : "");
    }
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 60, 0), QD_ALLOW);
    cr_expect_eq(f.state_count, 32);
    cr_expect_eq(fx_check(&f, 60, 0), QD_DENY);
    cr_expect_eq(f.verdict.binding.limit, limits[31]);
    for (unsigned i = 0; i < QD_LIMITS_PER_CHECK_MAX; i++) {
        cr_expect_eq(fx_used(&f, limits[i], i % 3 == 0 ? "acme" : ""), 60);
    }
    fx_release(&f);
}

Test(binding, D12_the_cache_forgets_the_least_recently_used)
{
    struct qd_core_config config = {.bindings = 8};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    char tenants[400][8];
    f.check.reserve = false;
    for (unsigned i = 0; i < 400; i++) {
        snprintf(tenants[i], sizeof(tenants[i]), "t%u", i);
        f.tenant = tenants[i];
        f.item_count = 0;
        fx_apply(&f, window, 1000, "");
        fx_advance(&f, QD_NS_PER_S);
        fx_bind(&f);
        cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW, "the newest is always there");
    }
    cr_expect_leq(fx_stats(&f).bindings_live, 2 * 8 + 32);
    cr_expect_leq(fx_stats(&f).roots_live, 64, "roots with nothing in memory make room");
    fx_release(&f);
}

Test(binding, P2_a_reset_forgives_rates_and_keeps_holds)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *minute = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *rates[] = {window, bucket, minute};
    for (unsigned i = 0; i < 3; i++) {
        fx_apply(&f, rates[i], 1000, "acme");
    }
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 100, 0), QD_OK);
    cr_assert_eq(fx_check(&f, 500, 0), QD_ALLOW);
    uint64_t open = f.verdict.reservation;
    for (unsigned i = 0; i < 3; i++) {
        cr_expect(qd_core_counter_reset(f.home, fx_counter_id(rates[i], "acme"), 0, f.now));
    }
    cr_expect(qd_core_counter_reset(f.home, fx_counter_id(month, "acme"), 0, f.now));
    cr_expect_not(qd_core_counter_reset(f.home, fx_counter_id(month, "nobody"), 0, f.now));
    cr_assert_eq(fx_check(&f, 300, 0), QD_ALLOW);
    struct qd_settle *s = fx_settle_begin(&f, open);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 50);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(fx_used(&f, rates[i], "acme"), 300,
                     "rate %u: what was forgiven is not given back a second time", i);
    }
    cr_expect_eq(fx_held(&f, month, "acme"), 300);
    cr_expect_eq(fx_used(&f, month, "acme"), 50);
    fx_release(&f);
}

/* The core tells a counter's resets apart by a number of few bits: it must not come round. */
Test(binding, P2_a_hold_stays_forgiven_after_any_number_of_resets)
{
    static const char *const paths[] = {"acme", ""};
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *rates[2][3];
    for (unsigned p = 0; p < 2; p++) {
        rates[p][0] = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        rates[p][1] = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
        rates[p][2] = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS);
        for (unsigned i = 0; i < 3; i++) {
            fx_apply(&f, rates[p][i], 1000, paths[p]);
        }
    }
    fx_bind(&f);
    for (unsigned resets = 1; resets <= 17; resets++) {
        cr_assert_eq(fx_check(&f, 500, 0), QD_ALLOW);
        uint64_t open = f.verdict.reservation;
        for (unsigned i = 0; i < 6 * resets; i++) {
            unsigned p = i % 6 / 3;
            struct qd_hash128 id = fx_counter_id(rates[p][i % 3], paths[p]);
            cr_expect(fx_reset(&f, p == 0 ? f.home : f.commons, id));
        }
        cr_assert_eq(fx_check(&f, 300, 0), QD_ALLOW);
        uint64_t others = f.verdict.reservation;
        struct qd_settle *s = fx_settle_begin(&f, open);
        qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 50);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        for (unsigned i = 0; i < 6; i++) {
            cr_expect_eq(fx_used(&f, rates[i / 3][i % 3], paths[i / 3]), 300, "rate %u, %u resets",
                         i, resets);
        }
        cr_assert_eq(fx_cancel(&f, others), QD_OK);
    }
    fx_release(&f);
}

Test(binding, P3_thresholds_are_reported_once_until_left)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_event event;
    month->threshold_permille[0] = 500;
    month->threshold_permille[1] = 800;
    month->threshold_permille[2] = 1000;
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
    cr_expect_not(qd_core_event(f.home, &event), "held is not spent");
    cr_assert_eq(fx_settle(&f, 850, 0), QD_OK);
    cr_assert(qd_core_event(f.home, &event));
    cr_expect_eq(event.kind, QD_EVENT_THRESHOLD);
    cr_expect_eq(event.permille, 500);
    cr_assert(qd_core_event(f.home, &event));
    cr_expect_eq(event.permille, 800);
    cr_expect_eq(event.used, 850);
    cr_expect_eq(event.limit, month);
    cr_expect_str_eq(event.name, "acme");
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
    cr_expect_not(qd_core_event(f.home, &event));
    fx_advance(&f, 31 * QD_NS_PER_DAY); /* a new period */
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 0), QD_OK);
    cr_expect_not(qd_core_event(f.home, &event));
    cr_assert_eq(fx_check(&f, 600, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 600, 0), QD_OK);
    cr_assert(qd_core_event(f.home, &event));
    cr_expect_eq(event.permille, 500);
    fx_release(&f);
}

Test(binding, I2_counters_are_listed)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_REQUESTS);
    fx_apply(&f, window, 10, "acme");
    fx_apply(&f, window, 10, "acme/search");
    fx_apply(&f, bucket, 10, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    uint64_t cursor = 0;
    struct qd_hash128 id;
    struct qd_limit_state state;
    unsigned count = 0;
    while (qd_core_counter_next(f.home, &cursor, f.now, &id, &state)) {
        cr_expect_eq(state.used, 1);
        cr_expect_eq(state.remaining, 9);
        count++;
    }
    cr_expect_eq(count, 3);
    fx_release(&f);
}

Test(binding, P6_the_old_record_of_a_widened_window_is_given_back)
{
    struct qd_core_config config = {.narrow_windows = 2, .wide_windows = 1};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *other = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_apply(&f, other, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    fx_set_amount(&f, window, INT64_C(10000000000));
    fx_set_amount(&f, other, INT64_C(10000000000));
    fx_bind(&f); /* there is room for one wide window: the other stays as it is */
    cr_expect_eq(fx_stats(&f).counters_live[1], 1);
    cr_expect_eq(fx_used(&f, window, "acme"), 100);
    cr_expect_eq(fx_used(&f, other, "acme"), 100);
    cr_expect_eq(fx_check(&f, 1000000, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 1000000, 0), QD_OK);
    fx_advance(&f, 2 * QD_TTL_DEFAULT_NS);
    fx_expire(&f);
    f.tenant = "globex";
    f.item_count = 0;
    fx_apply(&f, window, 10, "globex");
    fx_bind(&f); /* takes the place that only told where the window went */
    cr_expect_eq(fx_stats(&f).counters_live[0], 2);
    fx_apply(&f, other, INT64_C(10000000000), "globex");
    fx_bind(&f); /* acme's wide window is empty by now */
    cr_expect_eq(fx_stats(&f).counters_live[1], 1);
    fx_release(&f);
}

/* Keys that differ in a half, or name the further entry of another's, are different bindings. */
Test(binding, D13_keys_are_compared_whole)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limits[12];
    for (unsigned i = 0; i < 12; i++) {
        limits[i] = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    }
    const struct qd_hash128 keys[] = {
        {5, 1}, {5, 2}, {5 ^ UINT64_C(0x9e3779b97f4a7c15), 1}, {6, 1}};
    for (unsigned i = 0; i < 4; i++) {
        struct qd_bind bind = {.key = keys[i],
                               .epoch = f.epoch,
                               .valid_until.ns = QD_WALL_NEVER,
                               .tenant = fx_str("acme"),
                               .items = f.items};
        f.item_count = 0;
        for (unsigned k = 0; k < (i == 0 ? 12 : i); k++) { /* the first needs a further entry */
            fx_apply(&f, limits[k], 1000, "acme");
        }
        bind.item_count = f.item_count;
        cr_assert_eq(qd_core_bind(f.home, f.commons, &bind, f.now, NULL), QD_BOUND);
    }
    for (unsigned i = 0; i < 4; i++) {
        f.candidates[0].binding = keys[i];
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW, "%u", i);
        cr_expect_eq(f.state_count, i == 0 ? 12 : i);
    }
    fx_release(&f);
}

/* A binding whose further entry was pushed out is bound again: by checks, and by reports. */
Test(binding, D13_a_binding_that_lost_a_part_is_bound_again)
{
    struct qd_core_config config = {.bindings = 1};
    struct fx f;
    fx_init(&f, &config);
    for (unsigned i = 0; i < 12; i++) {
        fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS), 100000, "acme");
    }
    unsigned lost_to_checks = 0;
    unsigned lost_to_reports = 0;
    for (unsigned i = 0; i < 2000; i++) {
        struct qd_bind other = {.key = {i * UINT64_C(0x9e3779b97f4a7c15), i},
                                .epoch = f.epoch,
                                .valid_until.ns = QD_WALL_NEVER,
                                .tenant = fx_str("globex")};
        struct qd_hash128 key = fx_key(&f, f.tenant, f.model);
        f.candidates[0].binding = key;
        if (qd_binding_any(f.home, key) == NULL) {
            fx_bind(&f);
        }
        cr_assert_eq(qd_core_bind(f.home, f.commons, &other, f.now, NULL), QD_BOUND);
        if (qd_binding_any(f.home, key) == NULL) {
            continue;
        }
        if (i % 2 == 0 && fx_check(&f, 1, 0) == QD_NEEDS_BINDING) {
            lost_to_checks++;
            fx_bind(&f);
            cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        } else if (i % 2 == 1) {
            struct qd_settle *s = fx_settle_begin(&f, 0);
            qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 1);
            if (fx_settle_as_is(&f) == QD_RESULT_NEEDS_BINDING) {
                lost_to_reports++;
                fx_bind(&f);
                cr_assert_eq(fx_settle_as_is(&f), QD_OK);
            }
        }
        fx_expire(&f);
        if (f.verdict.reservation != 0) {
            fx_cancel(&f, f.verdict.reservation);
        }
    }
    cr_expect_gt(lost_to_checks, 0);
    cr_expect_gt(lost_to_reports, 0);
    fx_release(&f);
}

/* Without a cache of bindings each check asks for its own, in vain: it is answered as unbound. */
Test(binding, D12_without_a_cache_nothing_is_found)
{
    struct qd_core_config config = {
        .narrow_windows = 4, .reservations = 4, .roots = 4, .name_bytes = 1024};
    struct fx f;
    fx_init_exactly(&f, &config);
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS), 1000, "acme");
    for (unsigned i = 0; i < 10; i++) {
        fx_bind(&f);
        cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING);
    }
    cr_expect_eq(fx_stats(&f).bindings_live, 0);
    cr_expect_eq(fx_stats(&f).name_bytes_used, 32, "the counter's; none is left behind");
    fx_release(&f);
}
