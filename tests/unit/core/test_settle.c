/* Settling, rule by rule: slots, debt, parts, outcomes, late and post-paid reports. */
#include "fixture.h"

#include <criterion/criterion.h>

TestSuite(settle, .timeout = 60);

#define SECOND QD_NS_PER_S

Test(settle, S2_the_actual_replaces_the_estimate_in_its_slot)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 500, 0), QD_ALLOW);
    fx_advance(&f, 30 * SECOND);
    cr_assert_eq(fx_settle(&f, 200, 0), QD_OK);
    cr_expect(f.settled.had_reservation);
    cr_expect(f.settled.closed);
    cr_expect_eq(fx_used(&f, window, "acme"), 200);
    fx_advance(&f, 31 * SECOND); /* 61 s after the check: its slot has left, settled late or not */
    cr_expect_eq(fx_used(&f, window, "acme"), 0);
    fx_release(&f);
}

Test(settle, S2_above_the_estimate_is_debt_and_is_always_booked)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 500, 0), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 5000, 0), QD_OK);
    cr_expect_eq(f.settled.over_limits, 2);
    cr_expect_eq(fx_used(&f, window, "acme"), 5000);
    cr_expect_eq(fx_used(&f, month, "acme"), 5000);
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    fx_release(&f);
}

Test(settle, S2_settle_weights_book_what_admit_weights_did_not_hold)
{
    /* Bedrock: input + max_tokens are held, output counts five times when it is known (P5). */
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *tpm = fx_token_limit(&f, QD_SLIDING_WINDOW);
    tpm->settle.item[1].num = 0; /* cache reads are free */
    tpm->settle.item[3].num = 5;
    fx_apply(&f, tpm, 100000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(fx_used(&f, tpm, "acme"), 1400);
    cr_assert_eq(fx_settle(&f, 900, 300), QD_OK);
    cr_expect_eq(fx_used(&f, tpm, "acme"), 900 + 5 * 300);
    fx_release(&f);
}

Test(settle, S2_parts_from_two_sources_settle_the_meters_they_carry)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *tokens = fx_token_limit(&f, QD_SLIDING_WINDOW);
    struct qd_limit *gpu = fx_month(&f, QD_METER_GPU_MS);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, tokens, 100000, "acme");
    fx_apply(&f, gpu, 1000000, "acme");
    fx_apply(&f, parallel, 5, "acme");
    fx_bind(&f);
    f.candidates[0].gpu_us_per_input_token = 1000;
    f.candidates[0].gpu_us_per_output_token = 10000;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(fx_held(&f, gpu, "acme"), 1000 + 4000);

    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    qd_usage_set(&s->used, QD_METER_GPU_MS, 3210);
    s->final = false;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_not(f.settled.closed);
    cr_expect_eq(fx_used(&f, gpu, "acme"), 3210);
    cr_expect_eq(fx_held(&f, gpu, "acme"), 0, "the pool has told");
    cr_expect_eq(fx_used(&f, tokens, "acme"), 1400, "the gateway hasn't");
    cr_expect_eq(fx_held(&f, parallel, "acme"), 1);

    cr_assert_eq(fx_settle(&f, 900, 300), QD_OK);
    cr_expect(f.settled.closed);
    cr_expect_eq(fx_used(&f, gpu, "acme"), 3210);
    cr_expect_eq(fx_used(&f, tokens, "acme"), 1200);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 0);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    fx_release(&f);
}

Test(settle, S2_parts_of_one_meter_add_up_and_money_is_held_until_all_is_told)
{
    struct fx f;
    fx_init(&f, NULL);
    static const struct qd_price_line lines[] = {
        {.meter = QD_METER_INPUT_TOKENS, .amount_pico = 1000, .quantity = 1},
        {.meter = QD_METER_OUTPUT_TOKENS, .amount_pico = 2000, .quantity = 1}};
    static const struct qd_price_sheet sheet = {.version = 1, .lines = lines, .line_count = 2};
    static const struct qd_price_list prices = {.name = "m", .sheets = &sheet, .count = 1};
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    fx_apply(&f, cost, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].cost_model = &prices;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.estimate_cost_nano, 1800);
    cr_expect_eq(fx_held(&f, cost, "acme"), 1800);

    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 1000);
    qd_usage_set(&s->used, QD_METER_COST, 1000);
    s->final = false;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, cost, "acme"), 1000);
    cr_expect_eq(fx_held(&f, cost, "acme"), 800, "the output's part");

    s = fx_settle_begin(&f, f.verdict.reservation);
    qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, 100);
    qd_usage_set(&s->used, QD_METER_COST, 200);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, cost, "acme"), 1200);
    cr_expect_eq(fx_held(&f, cost, "acme"), 0);
    fx_release(&f);
}

Test(settle, S2_a_hold_of_the_period_before_changes_nothing_in_the_new_one)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, month, 1000, "acme");
    f.now.ns = INT64_C(1790812800) * SECOND - 10 * SECOND; /* ten seconds before October */
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 700, 0), QD_ALLOW);
    uint64_t before = f.verdict.reservation;
    fx_advance(&f, 20 * SECOND);
    cr_expect_eq(fx_held(&f, month, "acme"), 0, "it held in September");
    cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
    cr_expect_eq(fx_held(&f, month, "acme"), 900);

    struct qd_settle *s = fx_settle_begin(&f, before);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 650);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_held(&f, month, "acme"), 900);
    cr_expect_eq(fx_used(&f, month, "acme"), 0, "September's books are closed here");
    fx_release(&f);
}

Test(settle, S2_a_limit_without_refunds_gives_nothing_back_before_its_reset)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *minute = fx_token_limit(&f, QD_FIXED_WINDOW); /* Azure PAYG (P5) */
    minute->refunds = false;
    fx_apply(&f, minute, 10000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 900, 300), QD_OK);
    cr_expect_eq(fx_used(&f, minute, "acme"), 1400);
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 900, 800), QD_OK);
    cr_expect_eq(fx_used(&f, minute, "acme"), 1400 + 1700, "debt is added all the same");
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    fx_settle_begin(&f, f.verdict.reservation)->outcome = QD_OUTCOME_NOT_DISPATCHED;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, minute, "acme"), 3100, "the provider never saw it");
    fx_release(&f);
}

struct outcome_case {
    enum qd_outcome outcome;
    enum qd_keep on_failed;
    int64_t input; /* reported; -1: missing */
    int64_t rpm, tpm;
};

Test(settle, S4_outcomes_refund_keep_or_book)
{
    static const struct outcome_case cases[] = {
        {QD_OUTCOME_OK, QD_KEEP_NOTHING, 900, 1, 900},
        {QD_OUTCOME_OK, QD_KEEP_NOTHING, -1, 1, 0},
        {QD_OUTCOME_NOT_DISPATCHED, QD_KEEP_ALL, -1, 0, 0},
        {QD_OUTCOME_FAILED, QD_KEEP_NOTHING, -1, 0, 0},
        {QD_OUTCOME_FAILED, QD_KEEP_INPUT, -1, 1, 1000},
        {QD_OUTCOME_FAILED, QD_KEEP_ALL, -1, 1, 1400},
        {QD_OUTCOME_FAILED, QD_KEEP_NOTHING, 800, 0, 800},
        {QD_OUTCOME_FAILED, QD_KEEP_ALL, 800, 1, 1200},
        {QD_OUTCOME_DISCONNECTED, QD_KEEP_ALL, 900, 1, 900},
        {QD_OUTCOME_DISCONNECTED, QD_KEEP_ALL, 0, 1, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *rpm = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
        struct qd_limit *tpm = fx_token_limit(&f, QD_SLIDING_WINDOW);
        struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
        struct qd_limit *all[] = {rpm, tpm, month};
        for (unsigned j = 0; j < 3; j++) {
            all[j]->on_failed = cases[i].on_failed;
            fx_apply(&f, all[j], 100000, "acme");
        }
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
        struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
        s->outcome = cases[i].outcome;
        if (cases[i].input >= 0) {
            qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, cases[i].input);
        }
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(fx_used(&f, rpm, "acme"), cases[i].rpm, "case %zu: requests", i);
        cr_expect_eq(fx_used(&f, tpm, "acme"), cases[i].tpm, "case %zu: tokens", i);
        struct qd_limit_state state = fx_state(&f, month, "acme");
        cr_expect_eq(state.used + state.held, cases[i].tpm, "case %zu: month", i);
        cr_expect_eq(state.used, cases[i].input > 0 ? cases[i].input : 0,
                     "case %zu: a budget's used is what was reported (D7)", i);
        fx_release(&f);
    }
}

Test(settle, S4_what_a_failed_request_keeps_a_later_report_replaces)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *tpm = fx_token_limit(&f, QD_SLIDING_WINDOW);
    struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
    tpm->on_failed = QD_KEEP_ALL;
    month->on_failed = QD_KEEP_ALL;
    fx_apply(&f, tpm, 100000, "acme");
    fx_apply(&f, month, 100000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    fx_settle_begin(&f, f.verdict.reservation)->outcome = QD_OUTCOME_FAILED;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_held(&f, month, "acme"), 1400);
    cr_assert_eq(fx_settle(&f, 700, 10), QD_OK);
    cr_expect_eq(fx_used(&f, tpm, "acme"), 710);
    cr_expect_eq(fx_used(&f, month, "acme"), 710);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    cr_expect_eq(fx_stats(&f).reservations_kept, 0);
    fx_release(&f);
}

Test(settle, S5_a_late_report_books_in_its_own_slot_exactly_once)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, window, 1000, "acme");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    f.check.ttl_ns = 5 * SECOND;
    cr_assert_eq(fx_check(&f, 500, 0), QD_ALLOW);
    struct qd_wall_ns made_at = f.verdict.made_at;
    struct qd_usage estimate = f.verdict.estimate;
    fx_advance(&f, 10 * SECOND);
    cr_expect_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_used(&f, window, "acme"), 0);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);

    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    s->charged_at = made_at;
    s->estimate = estimate;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 300);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_not(f.settled.had_reservation);
    cr_expect_eq(fx_used(&f, window, "acme"), 300);
    cr_expect_eq(fx_used(&f, month, "acme"), 300);
    cr_expect_eq(fx_stats(&f).late, 1);
    f.now.ns = made_at.ns + 61 * SECOND;
    cr_expect_eq(fx_used(&f, window, "acme"), 0, "it lay in the check's slot");
    cr_expect_eq(fx_used(&f, month, "acme"), 300);
    fx_release(&f);
}

Test(settle, S7_post_paid_reports_charge_the_same_limits)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *rpm = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS);
    struct qd_limit *bucket = fx_token_limit(&f, QD_TOKEN_BUCKET);
    struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, rpm, 10, "acme");
    fx_apply(&f, bucket, 1000, "");
    fx_apply(&f, month, 1000, "acme");
    fx_apply(&f, parallel, 1, "acme");
    struct qd_settle *s = fx_settle_begin(&f, 0);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 200);
    qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, 900);
    cr_expect_eq(fx_settle_as_is(&f), QD_RESULT_NEEDS_BINDING);
    fx_bind(&f);
    cr_expect_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, rpm, "acme"), 1, "it was a request, said or not");
    cr_expect_eq(fx_used(&f, bucket, ""), 1100);
    cr_expect_eq(fx_used(&f, month, "acme"), 1100);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 0);
    cr_expect_eq(f.settled.over_limits, 2);
    fx_release(&f);
}

Test(settle, S7_rebuilding_budgets_charges_no_rate)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *bucket = fx_token_limit(&f, QD_TOKEN_BUCKET);
    struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
    fx_apply(&f, bucket, 1000, "acme");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    struct qd_settle *s = fx_settle_begin(&f, 0);
    s->budgets_only = true;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 200);
    cr_expect_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, bucket, "acme"), 0);
    cr_expect_eq(fx_used(&f, month, "acme"), 200);
    s->charged_at.ns -= 60 * QD_NS_PER_DAY;
    cr_expect_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, month, "acme"), 200, "July's and August's are over");
    fx_release(&f);
}

/* What was rounded up goes whole: the booking of less than nothing would round the other way. */
Test(settle, L3_taking_back_undoes_a_booking_exactly)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *calls = fx_month(&f, QD_METER_REQUESTS);
    month->settle.den = 3;
    fx_apply(&f, month, 1000, "acme");
    fx_apply(&f, calls, 1000, "acme");
    fx_bind(&f);
    struct qd_settle *s = fx_settle_begin(&f, 0);
    s->budgets_only = true;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 10);
    qd_usage_set(&s->used, QD_METER_REQUESTS, 1);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_assert_eq(fx_used(&f, month, "acme"), 8);
    s->takes_back = true;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, month, "acme"), 4);
    cr_expect_eq(fx_used(&f, calls, "acme"), 1);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, month, "acme"), 0, "below nothing counts nothing");
    s->takes_back = false;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, month, "acme"), 4);
    fx_release(&f);
}

Test(settle, S8_a_token_whose_hold_is_elsewhere_books_the_actual_in_its_slot)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *window = fx_token_limit(&f, QD_SLIDING_WINDOW);
    struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
    fx_apply(&f, window, 1000, "acme");
    fx_apply(&f, month, 1000, "acme");
    fx_bind(&f);
    fx_advance(&f, 40 * SECOND);
    struct qd_settle *s = fx_settle_begin(&f, 0);
    s->charged_at.ns = f.now.ns - 30 * SECOND;
    qd_usage_set(&s->estimate, QD_METER_INPUT_TOKENS, 500);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 200);
    cr_expect_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_not(f.settled.had_reservation);
    cr_expect_eq(fx_used(&f, window, "acme"), 200, "the hold of 500 is its maker's to end");
    cr_expect_eq(fx_used(&f, month, "acme"), 200);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    fx_advance(&f, 32 * SECOND); /* 62 s after the slot, 32 s after the report */
    cr_expect_eq(fx_used(&f, window, "acme"), 0);
    fx_release(&f);
}

Test(settle, S1_booking_a_request_releases_its_other_attempts)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, month, 10000, "acme");
    fx_bind(&f);
    f.check.request = fx_request(1);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        f.check.attempt = attempt;
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    }
    cr_expect_eq(fx_held(&f, month, "acme"), 300);
    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    s->outcome = QD_OUTCOME_FAILED;
    s->request = f.check.request;
    s->attempt = 3;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(f.settled.released_attempts, 0, "a failed attempt says nothing of the others");
    cr_expect_eq(fx_held(&f, month, "acme"), 200);
    s->reservation = 0; /* the gateway lost the token: the request names the hold */
    s->outcome = QD_OUTCOME_OK;
    s->attempt = 2;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 70);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect(f.settled.had_reservation);
    cr_expect_eq(f.settled.released_attempts, 1);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    cr_expect_eq(fx_used(&f, month, "acme"), 70);
    cr_expect_eq(fx_stats(&f).reservations_open, 0);
    fx_release(&f);
}

/* The first hold has expired, the same attempt was checked again: the late report with the first
 * token is the request's, and the second hold waits for nothing. */
Test(settle, S1_booking_an_attempt_releases_the_hold_of_its_second_check)
{
    static const enum qd_keep keeps[] = {QD_KEEP_NOTHING, QD_KEEP_ALL};
    for (unsigned i = 0; i < 2; i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
        month->on_expiry = keeps[i];
        fx_apply(&f, month, 10000, "acme");
        fx_bind(&f);
        f.check.request = fx_request(1);
        f.check.attempt = 1;
        f.check.ttl_ns = QD_NS_PER_S;
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
        uint64_t first = f.verdict.reservation;
        fx_advance(&f, 2 * QD_NS_PER_S);
        cr_assert_eq(fx_expire(&f), 1);
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
        cr_assert_not(f.verdict.repeated);
        struct qd_settle *s = fx_settle_begin(&f, first);
        s->request = f.check.request;
        s->attempt = 1;
        qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 70);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(f.settled.released_attempts, 1);
        cr_expect_eq(fx_held(&f, month, "acme"), 0);
        cr_expect_eq(fx_used(&f, month, "acme"), 70);
        cr_expect_eq(fx_stats(&f).reservations_open, 0);
        cr_expect_eq(fx_stats(&f).reservations_kept, 0);
        fx_release(&f);
    }
}

/* And the other way round: what the expired one keeps goes with the report of the second. A part
 * leaves its own hold open. */
Test(settle, S1_booking_an_attempt_ends_what_its_first_check_kept)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    month->on_expiry = QD_KEEP_ALL;
    fx_apply(&f, month, 10000, "acme");
    fx_bind(&f);
    f.check.request = fx_request(1);
    f.check.attempt = 1;
    f.check.ttl_ns = QD_NS_PER_S;
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    fx_advance(&f, 2 * QD_NS_PER_S);
    cr_assert_eq(fx_expire(&f), 1);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    s->final = false;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 70);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(f.settled.released_attempts, 1);
    cr_expect_eq(fx_stats(&f).reservations_kept, 0);
    cr_expect_eq(fx_stats(&f).reservations_open, 1);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(f.settled.released_attempts, 0);
    cr_expect_eq(fx_stats(&f).reservations_open, 1);
    fx_release(&f);
}

/* A hard limit keeps what the first check held (S5), the same attempt is checked again, and one
 * report tells how it ended, by the second token or by the request alone: the first charge goes.
 * A request that failed ends nothing but that: another attempt may be on its way. */
Test(settle, S5_a_report_undoes_what_a_hard_limit_kept_of_the_same_attempt)
{
    static const enum qd_outcome outcomes[] = {QD_OUTCOME_OK, QD_OUTCOME_NOT_DISPATCHED,
                                               QD_OUTCOME_FAILED, QD_OUTCOME_DISCONNECTED};
    for (unsigned i = 0; i < 8; i++) {
        struct fx f;
        enum qd_outcome outcome = outcomes[i / 2];
        bool served = outcome == QD_OUTCOME_OK || outcome == QD_OUTCOME_DISCONNECTED;
        fx_init(&f, NULL);
        struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
        month->consistency = QD_HARD;
        fx_apply(&f, month, 10000, "acme");
        fx_bind(&f);
        f.check.request = fx_request(1);
        f.check.attempt = 2;
        cr_assert_eq(fx_check(&f, 1000, 0), QD_ALLOW);
        f.check.attempt = 1;
        f.check.ttl_ns = QD_NS_PER_S;
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
        fx_advance(&f, 2 * QD_NS_PER_S);
        cr_assert_eq(fx_expire(&f), 1);
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
        cr_expect_eq(fx_held(&f, month, "acme"), 1200, "kept, and held again");
        struct qd_settle *s = fx_settle_begin(&f, i % 2 == 0 ? f.verdict.reservation : 0);
        s->outcome = outcome;
        s->request = f.check.request;
        s->attempt = 1;
        if (served) {
            qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 70);
        }
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect(f.settled.had_reservation);
        cr_expect_eq(f.settled.released_attempts, served ? 2 : 1);
        cr_expect_eq(fx_held(&f, month, "acme"), served ? 0 : 1000, "outcome %d", (int)outcome);
        cr_expect_eq(fx_used(&f, month, "acme"), served ? 70 : 0);
        cr_expect_eq(fx_stats(&f).reservations_kept, 0);
        fx_release(&f);
    }
}

/* A failed part leaves what a hard limit keeps of its own hold, and finds no other. */
Test(settle, S5_a_failed_part_leaves_its_own_kept_hold)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    month->consistency = QD_HARD;
    fx_apply(&f, month, 10000, "acme");
    fx_bind(&f);
    f.check.request = fx_request(1);
    f.check.request.lo ^= 2; /* another's, where the index looks first */
    cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    f.check.request = fx_request(1);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_assert_eq(fx_expire(&f), 2);
    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    s->outcome = QD_OUTCOME_FAILED;
    s->final = false;
    s->request = f.check.request;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(f.settled.released_attempts, 0);
    cr_expect_eq(fx_held(&f, month, "acme"), 110);
    cr_expect_eq(fx_stats(&f).reservations_kept, 2);
    fx_release(&f);
}

/* D12: a report counts in what its check had to do without, if there is room by now. */
Test(settle, D12_a_report_wants_more_than_a_part_of_the_binding)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_bind part = {.key = fx_key(&f, f.tenant, f.model),
                           .epoch = f.epoch,
                           .valid_until = f.valid_until,
                           .tenant = fx_str(f.tenant),
                           .partial = true};
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, month, 1000, "acme");
    f.candidates[0].binding = part.key;
    cr_assert_eq(qd_core_bind(f.home, f.commons, &part, f.now, NULL), QD_BOUND);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW, "a check goes by it");
    cr_expect_eq(f.state_count, 0);
    cr_expect_eq(fx_settle(&f, 70, 0), QD_RESULT_NEEDS_BINDING);
    fx_bind(&f);
    cr_expect_eq(fx_settle(&f, 70, 0), QD_OK);
    cr_expect_eq(fx_used(&f, month, "acme"), 70);
    fx_release(&f);
}

Test(settle, D10_a_shadow_above_its_amount_is_no_debt)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *shadow = fx_month(&f, QD_METER_INPUT_TOKENS);
    shadow->action = QD_SHADOW;
    fx_apply(&f, shadow, 100, "acme");
    fx_apply(&f, fx_month(&f, QD_METER_INPUT_TOKENS), 200, "acme");
    fx_bind(&f);
    for (unsigned held = 0; held < 2; held++) { /* post-paid, and what a hold had charged */
        if (held) {
            cr_assert_eq(fx_check(&f, 50, 0), QD_ALLOW);
            cr_expect_eq(f.verdict.shadow_denials, 1);
        }
        fx_settle_begin(&f, held ? f.verdict.reservation : 0);
        qd_usage_set(&f.settle.used, QD_METER_INPUT_TOKENS, held ? 51 : 150);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(f.settled.over_limits, held, "the enforced one alone denies further checks");
    }
    fx_release(&f);
}

Test(settle, P6_a_report_after_a_reload_books_in_the_limits_that_are_new)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *old = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *added = fx_month(&f, QD_METER_INPUT_TOKENS);
    fx_apply(&f, old, 10000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    f.epoch = 2;
    fx_apply(&f, added, 10000, "acme");
    cr_expect_eq(fx_settle(&f, 60, 0), QD_RESULT_NEEDS_BINDING);
    cr_expect_eq(fx_held(&f, old, "acme"), 100, "nothing changed");
    fx_bind(&f);
    cr_expect_eq(fx_settle(&f, 60, 0), QD_OK);
    cr_expect_eq(fx_used(&f, old, "acme"), 60);
    cr_expect_eq(fx_used(&f, added, "acme"), 60);
    fx_release(&f);
}

Test(settle, P3_outputs_are_learnt_and_estimated_by_their_quantile)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *tpm = fx_token_limit(&f, QD_SLIDING_WINDOW);
    struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
    tpm->output_estimate = QD_OUTPUT_QUANTILE;
    tpm->quantile_permille = 900;
    fx_apply(&f, tpm, 1000000, "acme");
    fx_apply(&f, month, 1000000, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 30; i++) {
        cr_assert_eq(fx_check(&f, 100, 4096), QD_ALLOW);
        cr_expect_eq(f.states[0].estimate, i < 20 ? 4196 : 115, "check %u", i);
        cr_expect_eq(f.states[1].estimate, 4196, "budgets take the worst case");
        cr_assert_eq(fx_settle(&f, 100, 15), QD_OK);
    }
    fx_release(&f);
}

Test(settle, P3_estimators_are_a_cache_and_forget_the_least_recently_used)
{
    struct qd_core_config config = {.estimators = 2};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *tpm = fx_token_limit(&f, QD_SLIDING_WINDOW);
    const char *names[] = {"a", "b", "c", "d"};
    tpm->output_estimate = QD_OUTPUT_QUANTILE;
    tpm->quantile_permille = 900;
    for (unsigned t = 0; t < 4; t++) {
        f.tenant = names[t];
        f.item_count = 0;
        fx_apply(&f, tpm, 1000000, names[t]);
        fx_bind(&f);
        for (unsigned i = 0; i < 21; i++) {
            cr_assert_eq(fx_check(&f, 100, 4096), QD_ALLOW);
            cr_assert_eq(fx_settle(&f, 100, 10 + t), QD_OK);
        }
        cr_assert_eq(fx_check(&f, 100, 4096), QD_ALLOW);
        cr_expect_eq(f.states[0].estimate, 110 + t);
        fx_advance(&f, QD_NS_PER_S);
    }
    cr_expect_eq(fx_stats(&f).estimators_live, 2);
    f.tenant = "a"; /* its binding is still there, its estimator another's by now (D13) */
    f.candidates[0].binding = fx_key(&f, "a", f.model);
    cr_assert_eq(fx_check(&f, 100, 4096), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 4196);
    cr_assert_eq(fx_settle(&f, 100, 7), QD_OK);
    f.tenant = "d";
    f.candidates[0].binding = fx_key(&f, "d", f.model);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 113, "with no bound known, what was seen");
    fx_release(&f);
}

/* Azure gives nothing back before the reset (P5), except what was never sent to it. */
Test(settle, S4_what_was_not_dispatched_is_given_back_even_without_refunds)
{
    const enum qd_outcome outcomes[] = {QD_OUTCOME_NOT_DISPATCHED, QD_OUTCOME_FAILED,
                                        QD_OUTCOME_DISCONNECTED, QD_OUTCOME_OK};
    for (unsigned i = 0; i < 4; i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
        limit->refunds = false;
        fx_apply(&f, limit, 1000, "acme");
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
        struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
        s->outcome = outcomes[i];
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(fx_used(&f, limit, "acme"), i == 0 ? 0 : 100, "outcome %u", i);
        fx_release(&f);
    }
}

/* A report whose binding cannot be made settles what its hold has charged, and no more. */
Test(settle, S2_an_unbound_report_settles_its_hold_alone)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *held = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    struct qd_limit *since = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, held, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 0), QD_ALLOW);
    uint64_t hold = f.verdict.reservation;
    f.epoch++;
    struct qd_settle *s = fx_settle_begin(&f, hold);
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 40);
    cr_expect_eq(fx_settle_as_is(&f), QD_RESULT_NEEDS_BINDING);
    fx_apply(&f, since, 1000, "acme");
    fx_bind(&f);
    s->unbound = true;
    cr_expect_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_used(&f, held, "acme"), 40);
    cr_expect_eq(fx_used(&f, since, "acme"), 0);
    fx_release(&f);
}
