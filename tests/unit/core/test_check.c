/* Deciding, rule by rule: all or nothing, time, holds, peeks, candidates. */
#include "fixture.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(check, .timeout = 60);

Test(check, D1_charges_every_level_and_the_shared_one)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *bucket = fx_token_limit(&f, QD_TOKEN_BUCKET);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *pool = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, window, 10, "acme/search/key-7");
    fx_apply(&f, bucket, 10000, "acme/search");
    fx_apply(&f, month, 1000000, "acme");
    fx_apply(&f, pool, 5, "");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 100, 50), QD_ALLOW);
    cr_expect_eq(fx_used(&f, window, "acme/search/key-7"), 1);
    cr_expect_eq(fx_used(&f, bucket, "acme/search"), 150);
    cr_expect_eq(fx_held(&f, month, "acme"), 100);
    cr_expect_eq(fx_held(&f, pool, ""), 1);
    cr_expect_eq(f.verdict.estimate.amount[QD_METER_OUTPUT_TOKENS], 50);
    fx_release(&f);
}

Test(check, D2_denied_charges_nothing_at_any_level)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *key = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *team = fx_token_limit(&f, QD_TOKEN_BUCKET);
    struct qd_limit *org = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *shared = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, key, 10, "acme/search/key-7");
    fx_apply(&f, team, 10000, "acme/search");
    fx_apply(&f, org, 50, "acme");
    fx_apply(&f, shared, 10, "");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 100, 50), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_NEVER_FITS);
    cr_expect_eq(f.verdict.binding.limit, org);
    cr_expect_eq(f.verdict.reservation, 0);
    cr_expect_eq(fx_used(&f, key, "acme/search/key-7"), 0);
    cr_expect_eq(fx_used(&f, team, "acme/search"), 0);
    cr_expect_eq(fx_used(&f, shared, ""), 0);
    cr_expect_eq(fx_held(&f, org, "acme"), 0);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    fx_release(&f);
}

Test(check, D5_a_clock_that_steps_back_is_taken_as_the_latest_time_seen)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    fx_apply(&f, bucket, 600, "acme");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 600, 0), QD_ALLOW);
    for (unsigned i = 0; i < 10; i++) {
        f.now.ns = FX_START_NS - QD_NS_PER_HOUR + i;
        cr_expect_eq(fx_check(&f, 1, 0), QD_DENY, "a step back mints nothing");
        cr_expect_eq(f.verdict.retry_at.ns, FX_START_NS + QD_NS_PER_MINUTE / 600);
    }
    f.now.ns = FX_START_NS + QD_NS_PER_S;
    cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW);
    f.now.ns -= 5 * QD_NS_PER_S;
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    fx_advance(&f, 6 * QD_NS_PER_S);
    cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.made_at.ns, FX_START_NS + 2 * QD_NS_PER_S);
    fx_release(&f);
}

Test(check, D5_what_is_reserved_while_the_clock_is_back_belongs_to_the_latest_time)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 10, "acme");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    fx_advance(&f, -QD_NS_PER_HOUR);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.made_at.ns, FX_START_NS);
    cr_expect_eq(f.verdict.expires.ns, FX_START_NS + QD_TTL_DEFAULT_NS);
    fx_advance(&f, QD_NS_PER_HOUR + 61 * QD_NS_PER_S);
    cr_expect_eq(fx_used(&f, window, "acme"), 0);
    fx_release(&f);
}

Test(check, D7_rates_charge_the_estimate_and_budgets_hold_it)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *minute = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *hour = fx_limit(&f, QD_FIXED_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *prepaid = fx_limit(&f, QD_PREPAID, QD_METER_INPUT_TOKENS);
    struct qd_limit *rates[] = {bucket, window, minute};
    struct qd_limit *budgets[] = {hour, month, prepaid};
    hour->window_ns = QD_NS_PER_HOUR;
    for (unsigned i = 0; i < 3; i++) {
        fx_apply(&f, rates[i], 1000, "acme");
        fx_apply(&f, budgets[i], 1000, "acme");
    }
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(fx_used(&f, rates[i], "acme"), 100);
        cr_expect_eq(fx_held(&f, rates[i], "acme"), 0);
        cr_expect_eq(fx_used(&f, budgets[i], "acme"), 0);
        cr_expect_eq(fx_held(&f, budgets[i], "acme"), 100);
    }
    cr_assert_eq(fx_settle(&f, 40, 0), QD_OK);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(fx_used(&f, rates[i], "acme"), 40);
        cr_expect_eq(fx_used(&f, budgets[i], "acme"), 40);
        cr_expect_eq(fx_held(&f, budgets[i], "acme"), 0);
    }
    fx_release(&f);
}

Test(check, D7_without_a_reservation_rates_are_charged_and_nothing_is_held)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    f.check.reserve = false;
    cr_expect_eq(fx_check(&f, 100, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.reservation, 0);
    cr_expect_eq(fx_used(&f, window, "acme"), 100);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    cr_expect_eq(fx_used(&f, month, "acme"), 0);
    fx_release(&f);
}

Test(check, D8_dry_run_and_amount_0_change_nothing)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, window, 2, "acme");
    fx_apply(&f, parallel, 2, "acme");
    fx_bind(&f);
    f.check.dry_run = true;
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW);
        cr_expect_eq(f.verdict.reservation, 0);
    }
    f.check.dry_run = false;
    f.check.estimate.present = 0;
    qd_usage_set(&f.check.estimate, QD_METER_REQUESTS, 0);
    f.candidates[0].max_output_tokens =
        4096; /* the model's: a peek doesn't take it for an estimate */
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_eq(fx_check_as_is(&f), QD_ALLOW);
        cr_expect_eq(f.verdict.reservation, 0);
        cr_expect_eq(f.state_count, 2);
    }
    cr_expect_eq(fx_used(&f, window, "acme"), 0);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 0);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    cr_expect_eq(fx_stats(&f).allowed, 0);
    fx_release(&f);
}

/* Two candidates with a model of their own each. */
static void two_candidates(struct fx *f, struct qd_limit *first, int64_t first_amount,
                           struct qd_limit *second, int64_t second_amount)
{
    f->model = "small";
    fx_apply(f, second, second_amount, "acme/search");
    fx_bind(f);
    f->candidates[1].binding = f->candidates[0].binding;
    f->model = "large";
    f->item_count = 0;
    fx_apply(f, first, first_amount, "acme/search");
    fx_bind(f);
    f->check.candidate_count = 2;
}

/* What is said of the limits is said of the candidate that the denial is about. */
Test(check, D9_of_candidates_that_are_all_denied_the_states_are_of_the_one_that_is_named)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *minute = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, minute, 100, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    f.item_count = 0;
    f.model = "other";
    f.candidates[1] = f.candidates[0];
    fx_apply(&f, month, 100, "acme");
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS), 100, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    f.check.candidate_count = 2;
    for (unsigned i = 0; i < 2; i++) {
        struct qd_candidate last = f.candidates[0]; /* the month's first, then the minute's */
        cr_expect_eq(fx_check(&f, 50, 0), QD_DENY);
        cr_expect_eq(f.verdict.binding.limit, minute);
        cr_expect_eq(f.verdict.candidate, 1 - i);
        cr_assert_eq(f.state_count, 1);
        cr_expect_eq(f.states[0].limit, minute);
        cr_expect(f.states[0].denies);
        f.candidates[0] = f.candidates[1];
        f.candidates[1] = last;
    }
    fx_release(&f);
}

Test(check, D9_the_first_candidate_that_fits_is_reserved)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *large = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *small = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    two_candidates(&f, large, 100, small, 1000);
    cr_expect_eq(fx_check(&f, 80, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.candidate, 0);
    cr_expect_eq(fx_check(&f, 80, 0), QD_ALLOW);
    cr_expect_eq(f.verdict.candidate, 1);
    cr_expect_eq(fx_used(&f, large, "acme/search"), 80);
    cr_expect_eq(fx_used(&f, small, "acme/search"), 80);
    fx_release(&f);
}

Test(check, D9_when_none_fits_the_one_that_passes_first_is_named)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *large = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    struct qd_limit *small = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    two_candidates(&f, large, 60, small, 6000);
    cr_expect_eq(fx_check(&f, 60, 0), QD_ALLOW);
    cr_expect_eq(fx_check(&f, 6000, 0), QD_ALLOW, "the small one takes it");
    cr_expect_eq(fx_check(&f, 30, 0), QD_DENY);
    cr_expect_eq(f.verdict.candidate, 1);
    cr_expect_eq(f.verdict.binding.limit, small);
    cr_expect_eq(f.verdict.retry_at.ns, FX_START_NS + 300 * QD_NS_PER_MS);
    fx_advance(&f, 300 * QD_NS_PER_MS);
    cr_expect_eq(fx_check(&f, 30, 0), QD_ALLOW);
    fx_release(&f);
}

Test(check, D10_shadow_limits_never_deny_and_say_what_they_would_have_done)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *shadow = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    shadow->action = QD_SHADOW;
    fx_apply(&f, shadow, 2, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
        cr_expect_eq(f.verdict.shadow_denials, i >= 2);
        cr_expect_eq(f.states[0].denies, i >= 2);
    }
    cr_expect_eq(fx_used(&f, shadow, "acme"), 5, "counted all the same");
    cr_expect_eq(fx_stats(&f).shadow_denied, 3);
    fx_release(&f);
}

Test(check, D11_priority_and_weight_are_carried_and_recorded)
{
    struct fx f;
    fx_init(&f, NULL);
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS), 2, "acme");
    fx_bind(&f);
    f.check.priority = 3;
    f.check.weight = 17;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    struct qd_hold hold;
    cr_assert(qd_core_hold(f.home, f.verdict.reservation, &hold));
    cr_expect_eq(hold.priority, 3);
    cr_expect_eq(hold.weight, 17);
    fx_release(&f);
}

Test(check, D13_without_its_binding_a_check_asks_for_it_and_charges_nothing)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, window, 2, "acme");
    f.candidates[0].binding = fx_key(&f, f.tenant, f.model);
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING);
    fx_bind(&f);
    cr_expect_eq(fx_used(&f, window, "acme"), 0);
    cr_expect_eq(fx_check(&f, 1, 0), QD_ALLOW);
    fx_release(&f);
}

Test(check, P2_a_blocked_tenant_is_denied_until_the_block_ends)
{
    struct fx f;
    fx_init(&f, NULL);
    fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS), 2, "acme");
    f.blocked = true;
    f.valid_until.ns = FX_START_NS + QD_NS_PER_MINUTE;
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_BLOCKED);
    cr_expect_eq(f.verdict.retry_at.ns, f.valid_until.ns);
    fx_advance(&f, QD_NS_PER_MINUTE);
    cr_expect_eq(fx_check(&f, 1, 0), QD_NEEDS_BINDING);
    fx_release(&f);
}

Test(check, P4_amount_0_forbids_whatever_the_algorithm)
{
    for (int algorithm = QD_TOKEN_BUCKET; algorithm <= QD_PREPAID; algorithm++) {
        struct fx f;
        fx_init(&f, NULL);
        enum qd_meter meter =
            algorithm == QD_CONCURRENCY ? QD_METER_CONCURRENCY : QD_METER_REQUESTS;
        fx_apply(&f, fx_limit(&f, (enum qd_algorithm)algorithm, meter), 0, "acme");
        fx_bind(&f);
        cr_expect_eq(fx_check(&f, 1, 0), QD_DENY, "algorithm %d", algorithm);
        cr_expect_eq(f.verdict.reason, QD_REASON_NEVER_FITS);
        fx_release(&f);
    }
}

Test(check, P4_a_leaky_bucket_overshoots_by_one_request)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *leaky = fx_limit(&f, QD_LEAKY_BUCKET, QD_METER_INPUT_TOKENS);
    fx_apply(&f, leaky, 60, "acme");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 500, 0), QD_ALLOW);
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    cr_expect_eq(f.verdict.retry_at.ns, FX_START_NS + 440 * QD_NS_PER_S);
    fx_release(&f);
}

Test(check, P4_a_cap_on_one_request_counts_nothing)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *cap = fx_limit(&f, QD_PER_REQUEST, QD_METER_INPUT_TOKENS);
    fx_apply(&f, cap, 100, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_eq(fx_check(&f, 100, 0), QD_ALLOW);
    }
    cr_expect_eq(fx_check(&f, 101, 0), QD_DENY);
    cr_expect_eq(fx_used(&f, cap, "acme"), 0);
    fx_release(&f);
}

Test(check, D7_a_check_whose_end_nobody_tells_takes_no_place)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    fx_apply(&f, parallel, 1, "acme");
    fx_apply(&f, window, 4, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    cr_expect_eq(fx_check(&f, 10, 0), QD_DENY);
    f.check.instant = true;
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW);
        cr_expect_eq(f.state_count, 1);
    }
    cr_expect_eq(fx_held(&f, parallel, "acme"), 1);
    cr_expect_eq(fx_check(&f, 10, 0), QD_DENY);
    cr_expect_eq(f.verdict.binding.limit, window);
    fx_release(&f);
}

/* Who is over a budget that no estimate of nothing names is told so all the same. */
Test(check, D8_amount_0_sees_budgets_of_money_and_of_gpu_time)
{
    static const unsigned meters[] = {QD_METER_COST, QD_METER_CHARGE, QD_METER_GPU_MS};
    for (size_t i = 0; i < sizeof(meters) / sizeof(meters[0]); i++) {
        struct qd_settle settle = {.outcome = QD_OUTCOME_OK, .final = true};
        struct qd_settled settled;
        struct fx f;
        fx_init(&f, NULL);
        fx_apply(&f, fx_month(&f, meters[i]), 100, "acme");
        fx_bind(&f);
        f.candidates[0].gpu_us_per_output_token = 1;
        settle.binding = f.candidates[0].binding;
        settle.epoch = f.epoch;
        settle.charged_at = f.now;
        f.check.estimate.present = 0;
        for (int64_t used = 100; used <= 101; used++) {
            settle.used.present = 0;
            qd_usage_set(&settle.used, meters[i], used == 100 ? 100 : 1);
            cr_assert_eq(qd_core_settle(f.home, f.commons, &settle, f.now, &settled), QD_OK);
            qd_usage_set(&f.check.estimate, QD_METER_REQUESTS, 0);
            cr_expect_eq(fx_check_as_is(&f), used == 100 ? QD_ALLOW : QD_DENY, "%lld used of 100",
                         (long long)used);
            cr_expect_eq(f.verdict.binding.used, used);
        }
        f.candidates[0].gpu_us_per_output_token = 0;
        cr_expect_eq(fx_check_as_is(&f), meters[i] == QD_METER_GPU_MS ? QD_ALLOW : QD_DENY,
                     "a model of no pool takes no GPU time");
        fx_release(&f);
    }
}

Test(check, D8_a_caller_may_want_the_states_without_their_number)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, limit, 1000, "acme");
    fx_bind(&f);
    f.check.estimate.present = 0;
    qd_usage_set(&f.check.estimate, QD_METER_INPUT_TOKENS, 1001);
    f.check.epoch = f.epoch;
    f.check.candidates = f.candidates;
    f.states[0].limit = NULL;
    qd_core_check(f.home, f.commons, &f.check, f.now, &f.verdict, f.states, NULL);
    cr_expect_eq(f.verdict.decision, QD_DENY);
    cr_expect_eq(f.states[0].limit, limit);
    cr_expect_eq(f.states[0].estimate, 1001);
    fx_release(&f);
}

/* Asking ahead, in either step, whether the binding is there or not: nothing changes by it. */
Test(check, D8_asking_ahead_changes_nothing)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_apply(&f, fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS), 1000, "");
    for (unsigned i = 0; i < 12; i++) { /* more than an entry of the cache names */
        fx_apply(&f, fx_month(&f, QD_METER_INPUT_TOKENS), 1000, "acme");
    }
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    struct qd_core_stats before = fx_stats(&f);
    const struct qd_hash128 keys[] = {f.candidates[0].binding, fx_key(&f, "nobody", "nothing")};
    for (unsigned i = 0; i < 2; i++) {
        qd_core_prefetch(f.home, keys[i]);
        qd_core_prefetch_counters(f.home, f.commons, keys[i]);
    }
    struct qd_core_stats after = fx_stats(&f);
    cr_expect(after.allowed == before.allowed && after.denied == before.denied);
    cr_expect_eq(after.bindings_live, before.bindings_live);
    cr_expect_eq(after.reservations_open, before.reservations_open);
    cr_expect_eq(fx_used(&f, window, "acme"), 10);
    cr_expect_eq(fx_check(&f, 10, 0), QD_ALLOW);
    fx_release(&f);
}
