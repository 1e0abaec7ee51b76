/* Estimates: how the output is formed, what it costs, clamps, unknown prices (P3, P7, P8). */
#include "fixture.h"

#include <criterion/criterion.h>

TestSuite(estimate, .timeout = 60);

static const struct qd_price_line token_lines[] = {
    {.meter = QD_METER_INPUT_TOKENS, .amount_pico = 2500, .quantity = 1},
    {.meter = QD_METER_OUTPUT_TOKENS, .amount_pico = 10000, .quantity = 1}};
static const struct qd_price_sheet token_sheet = {
    .version = 1, .lines = token_lines, .line_count = 2};
static const struct qd_price_list token_prices = {.name = "m", .sheets = &token_sheet, .count = 1};

/* What one limit holds of a check of 1,000 input tokens. */
static int64_t held_by(struct qd_limit *limit, struct fx *f, int64_t max_output)
{
    f->item_count = 0;
    fx_apply(f, limit, 1000000, "acme");
    fx_bind(f);
    cr_assert_eq(fx_check(f, 1000, max_output), QD_ALLOW);
    return f->states[0].estimate;
}

Test(estimate, P3_output_as_given_as_bounded_or_not_at_all)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_token_limit(&f, QD_SLIDING_WINDOW);
    cr_expect_eq(held_by(limit, &f, 400), 1400);
    cr_expect_eq(held_by(limit, &f, 0), 1000, "nobody knows");
    limit->default_max_output = 300;
    cr_expect_eq(held_by(limit, &f, 0), 1300);
    f.candidates[0].max_output_tokens = 200; /* the model's; not given by the request */
    f.check.estimate.present = 0;
    qd_usage_set(&f.check.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&f.check.estimate, QD_METER_INPUT_TOKENS, 1000);
    cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 1200, "no more than the model's maximum");
    limit->default_max_output = 0;
    cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 1200);
    limit->output_estimate = QD_OUTPUT_NONE;
    cr_expect_eq(held_by(limit, &f, 400), 1000);
    limit->output_estimate = QD_OUTPUT_MAX_OF;
    cr_expect_eq(held_by(limit, &f, 400), 1000);
    cr_expect_eq(held_by(limit, &f, 4000), 4000);
    fx_release(&f);
}

static enum qd_decision ask(struct fx *f, int64_t guess)
{
    f->check.estimate.present = 0;
    qd_usage_set(&f->check.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&f->check.estimate, QD_METER_INPUT_TOKENS, 1000);
    if (guess >= 0) {
        qd_usage_set(&f->check.estimate, QD_METER_OUTPUT_TOKENS, guess);
    }
    return fx_check_as_is(f);
}

static void expect_unbounded(const struct fx *f, const struct qd_limit *limit,
                             enum qd_unbounded what)
{
    cr_expect_eq(f->verdict.decision, QD_DENY);
    cr_expect_eq(f->verdict.reason, QD_REASON_NEVER_FITS);
    cr_expect_eq(f->verdict.binding.limit, limit);
    cr_expect_eq(f->verdict.binding.unbounded, what);
    cr_expect_not(f->verdict.retry_useful);
    cr_assert_geq(f->state_count, 1);
    cr_expect(f->states[0].denies && f->states[0].never_fits);
}

/* Tokens, money, or a sum with output in it: what a hard limit can't hold it doesn't let pass. */
Test(estimate, H1_a_hard_limit_denies_an_output_without_a_bound)
{
    for (unsigned money = 0; money < 2; money++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *hard =
            money ? fx_month(&f, QD_METER_COST) : fx_token_limit(&f, QD_CALENDAR);
        struct qd_limit *input = fx_month(&f, QD_METER_INPUT_TOKENS);
        hard->consistency = QD_HARD;
        input->consistency = QD_HARD;
        fx_apply(&f, hard, 1000000, "acme");
        fx_apply(&f, input, 1000000, "acme");
        fx_bind(&f);
        f.candidates[0].cost_model = &token_prices;
        (void)ask(&f, -1);
        expect_unbounded(&f, hard, QD_UNBOUNDED_OUTPUT);
        cr_expect_not(f.states[1].denies, "it counts no output");
        (void)ask(&f, 10);
        expect_unbounded(&f, hard, QD_UNBOUNDED_OUTPUT);
        cr_expect_eq(fx_held(&f, input, "acme"), 0, "D2");
        hard->consistency = QD_GOSSIP;
        cr_expect_eq(ask(&f, -1), QD_ALLOW, "others hold what is known");
        hard->consistency = QD_HARD;
        hard->default_max_output = 300;
        cr_expect_eq(ask(&f, -1), QD_ALLOW);
        cr_expect_eq(f.states[0].estimate, money ? 5500 : 1300);
        hard->default_max_output = 0;
        f.candidates[0].max_output_tokens = 200; /* the model's */
        cr_expect_eq(ask(&f, -1), QD_ALLOW);
        cr_expect_eq(f.states[0].estimate, money ? 4500 : 1200);
        f.candidates[0].max_output_given = true;
        f.candidates[0].max_output_tokens = 0;
        cr_expect_eq(ask(&f, -1), QD_ALLOW, "no output is a bound");
        fx_release(&f);
    }
}

Test(estimate, H1_a_hard_limit_denies_gpu_time_that_nobody_estimates)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *hard = fx_month(&f, QD_METER_GPU_MS);
    hard->consistency = QD_HARD;
    fx_apply(&f, hard, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].max_output_tokens = 200;
    (void)ask(&f, -1);
    expect_unbounded(&f, hard, QD_UNBOUNDED_GPU_TIME);
    f.candidates[0].gpu_us_per_input_token = 1000;
    cr_expect_eq(ask(&f, -1), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 1000);
    f.candidates[0].gpu_us_per_output_token = 1000;
    cr_expect_eq(ask(&f, -1), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 1200);
    f.candidates[0].max_output_tokens = 0;
    (void)ask(&f, -1);
    expect_unbounded(&f, hard, QD_UNBOUNDED_OUTPUT);
    qd_usage_set(&f.check.estimate, QD_METER_GPU_MS, 70);
    cr_expect_eq(fx_check_as_is(&f), QD_ALLOW, "the check says itself");
    cr_expect_eq(f.states[0].estimate, 70);
    fx_release(&f);
}

/* A hard limit holds the larger of what the request expects and what it, or the model, allows; and
 * goes on holding it after a report of the input. Others take the request's word. */
Test(estimate, H1_a_guess_bounds_nothing)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *hard = fx_token_limit(&f, QD_CALENDAR);
    struct qd_limit *soft = fx_token_limit(&f, QD_CALENDAR);
    hard->consistency = QD_HARD;
    fx_apply(&f, hard, 1000000, "acme");
    fx_apply(&f, soft, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].max_output_given = true;
    f.candidates[0].max_output_tokens = 100;
    cr_assert_eq(ask(&f, 150), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 1150);
    cr_assert_eq(fx_cancel(&f, f.verdict.reservation), QD_OK);
    cr_assert_eq(ask(&f, 1), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 1100);
    cr_expect_eq(f.states[1].estimate, 1001);
    cr_expect_eq(qd_usage_get(&f.verdict.estimate, QD_METER_OUTPUT_TOKENS), 100);
    struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
    s->final = false;
    qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 1000);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_held(&f, hard, "acme"), 100);
    fx_release(&f);
}

Test(estimate, P3_a_clamp_bounds_the_estimate_to_a_part_of_the_limit)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_token_limit(&f, QD_SLIDING_WINDOW);
    limit->clamp_permille_of_amount = 1;
    cr_expect_eq(held_by(limit, &f, 400), 1000, "a thousandth of a million");
    fx_release(&f);
}

Test(estimate, P3_a_limit_leaves_requests_alone_that_bring_none_of_its_meters)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *images = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_IMAGES);
    fx_apply(&f, images, 10, "acme");
    fx_bind(&f);
    fx_settle_begin(&f, 0);
    qd_usage_set(&f.settle.used, QD_METER_IMAGES, 50);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_check(&f, 1000, 0), QD_ALLOW, "debt in images stops no text");
    cr_expect_eq(f.state_count, 0);
    qd_usage_set(&f.check.estimate, QD_METER_IMAGES, 1);
    cr_expect_eq(fx_check_as_is(&f), QD_DENY);
    fx_release(&f);
}

Test(estimate, P7_cost_and_charge_are_estimated_in_dollars)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_price_line twice_lines[2];
    for (unsigned i = 0; i < 2; i++) {
        twice_lines[i] = token_lines[i];
        twice_lines[i].amount_pico *= 2;
    }
    struct qd_price_sheet twice_sheet = {.version = 2, .lines = twice_lines, .line_count = 2};
    struct qd_price_list twice = {.name = "m", .sheets = &twice_sheet, .count = 1};
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    struct qd_limit *charge = fx_month(&f, QD_METER_CHARGE);
    fx_apply(&f, cost, 1000000, "acme");
    fx_apply(&f, charge, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].cost_model = &token_prices;
    cr_assert_eq(fx_check(&f, 1001, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.estimate_cost_nano, 6503, "2502.5 + 4000, rounded up once");
    cr_expect_eq(f.verdict.estimate_charge_nano, 6503, "the cost, where nothing else is said");
    f.candidates[0].charge_model = &twice;
    cr_assert_eq(fx_check(&f, 1001, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.estimate_charge_nano, 13005);
    cr_expect_eq(fx_held(&f, cost, "acme"), INT64_C(2) * 6503);
    cr_expect_eq(fx_held(&f, charge, "acme"), 6503 + 13005);
    fx_release(&f);
}

Test(estimate, P7_gpu_time_is_estimated_from_tokens_where_none_is_given)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *gpu = fx_month(&f, QD_METER_GPU_MS);
    fx_apply(&f, gpu, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].gpu_us_per_input_token = 100;
    f.candidates[0].gpu_us_per_output_token = 9001;
    cr_assert_eq(fx_check(&f, 1000, 10), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 100 + 91, "rounded up once");
    qd_usage_set(&f.check.estimate, QD_METER_GPU_MS, 77);
    cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 77);
    f.check.estimate.present &= ~QD_METER_BIT(QD_METER_GPU_MS);
    f.check.estimate.amount[QD_METER_INPUT_TOKENS] = QD_AMOUNT_MAX;
    f.candidates[0].gpu_us_per_input_token = INT64_MAX;
    cr_expect_eq(fx_check_as_is(&f), QD_DENY, "no overflow makes it small");
    fx_release(&f);
}

Test(estimate, P8_an_unknown_price_is_never_0)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    fx_apply(&f, cost, 1000000, "acme");
    fx_bind(&f);
    f.check.unknown_price = QD_UNKNOWN_PRICE_DENY;
    cr_expect_eq(fx_check(&f, 1000, 400), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_UNKNOWN_PRICE);
    cr_expect_not(f.verdict.retry_useful);
    f.check.unknown_price = QD_UNKNOWN_PRICE_CAP;
    f.check.cap_price = &token_prices;
    cr_expect_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.estimate_cost_nano, 6500);
    cr_expect_not(f.verdict.unpriced);
    f.check.unknown_price = QD_UNKNOWN_PRICE_UNPRICED;
    cr_expect_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect(f.verdict.unpriced);
    cr_expect_not(qd_usage_has(&f.verdict.estimate, QD_METER_COST), "missing, not 0");
    fx_release(&f);
}

Test(estimate, P8_a_price_beyond_what_can_be_said_fits_no_budget)
{
    struct fx f;
    fx_init(&f, NULL);
    const struct qd_price_line line = {
        .meter = QD_METER_INPUT_TOKENS, .amount_pico = INT64_MAX, .quantity = 1};
    const struct qd_price_sheet sheet = {.version = 1, .lines = &line, .line_count = 1};
    const struct qd_price_list list = {.name = "m", .sheets = &sheet, .count = 1};
    fx_apply(&f, fx_month(&f, QD_METER_COST), INT64_C(1) << 60, "acme");
    fx_bind(&f);
    f.candidates[0].cost_model = &list;
    cr_expect_eq(fx_check(&f, QD_AMOUNT_MAX, 0), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_NEVER_FITS);
    fx_release(&f);
}

Test(estimate, S5_keeping_the_input_keeps_what_the_input_costs)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    cost->on_expiry = QD_KEEP_INPUT;
    fx_apply(&f, cost, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].cost_model = &token_prices;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(fx_held(&f, cost, "acme"), 6500);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_held(&f, cost, "acme"), 2500);
    fx_release(&f);
}

struct told {
    bool partial;
    enum qd_outcome outcome;
    int64_t input, output; /* -1: not told; else as estimated */
    int64_t held, tokens;  /* after it, and after the expiry where the part isn't final */
};

/* What was booked of the input isn't kept beside it: not by a request that failed, not by a hold
 * that expires after a part, not by a report that leaves the output out. */
Test(estimate, S5_of_money_the_input_is_kept_until_it_is_booked)
{
    static const struct told cases[] = {
        {false, QD_OUTCOME_FAILED, 1000, -1, 0, 0},
        {false, QD_OUTCOME_FAILED, -1, 400, 2500, 1000},
        {false, QD_OUTCOME_FAILED, 1000, 400, 0, 0},
        {false, QD_OUTCOME_FAILED, -1, -1, 2500, 1000},
        {false, QD_OUTCOME_OK, 1000, -1, 0, 0},
        {false, QD_OUTCOME_OK, -1, 400, 2500, 1000},
        {true, QD_OUTCOME_OK, 1000, -1, 0, 0},
        {true, QD_OUTCOME_OK, -1, 400, 2500, 1000},
        {true, QD_OUTCOME_OK, -1, -1, 2500, 1000},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct told *c = &cases[i];
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *limits[2] = {fx_month(&f, QD_METER_COST), fx_token_limit(&f, QD_CALENDAR)};
        for (unsigned j = 0; j < 2; j++) {
            limits[j]->on_failed = QD_KEEP_INPUT;
            limits[j]->on_expiry = QD_KEEP_INPUT;
            fx_apply(&f, limits[j], 1000000, "acme");
        }
        fx_bind(&f);
        f.candidates[0].cost_model = &token_prices;
        cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
        struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
        int64_t cost = (c->input > 0 ? 2500 : 0) + (c->output > 0 ? 4000 : 0);
        s->final = !c->partial;
        s->outcome = c->outcome;
        if (c->input > 0) {
            qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, c->input);
        }
        if (c->output > 0) {
            qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, c->output);
        }
        qd_usage_set(&s->used, QD_METER_COST, cost);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        if (c->partial) {
            cr_expect_eq(fx_held(&f, limits[0], "acme"), 6500 - cost, "case %u: all that is open",
                         i);
            fx_advance(&f, QD_TTL_DEFAULT_NS);
            cr_expect_eq(fx_expire(&f), 1);
        }
        cr_expect_eq(fx_used(&f, limits[0], "acme"), cost, "case %u", i);
        cr_expect_eq(fx_held(&f, limits[0], "acme"), c->held, "case %u: money", i);
        cr_expect_eq(fx_held(&f, limits[1], "acme"), c->tokens, "case %u: tokens", i);

        /* What came to nobody's ears comes late, in a part. */
        fx_settle_begin(&f, f.verdict.reservation)->final = false;
        qd_usage_set(&f.settle.used, QD_METER_INPUT_TOKENS, 1000);
        qd_usage_set(&f.settle.used, QD_METER_COST, 2500);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(fx_held(&f, limits[0], "acme"), 0, "case %u: money", i);
        cr_expect_eq(fx_held(&f, limits[1], "acme"), 0, "case %u: tokens", i);
        fx_release(&f);
    }
}

/* Input of two kinds, and one of them told: what that cost is off what both were to cost. */
Test(estimate, S5_of_money_what_parts_of_the_input_cost_is_kept_no_more)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    cost->on_expiry = QD_KEEP_INPUT;
    fx_apply(&f, cost, 1000000, "acme");
    fx_bind(&f);
    const struct qd_price_line lines[2] = {
        token_lines[0],
        {.meter = QD_METER_CACHED_INPUT_TOKENS, .amount_pico = 2500, .quantity = 1}};
    const struct qd_price_sheet sheet = {.version = 1, .lines = lines, .line_count = 2};
    const struct qd_price_list list = {.name = "m", .sheets = &sheet, .count = 1};
    f.candidates[0].cost_model = &list;
    for (unsigned i = 0; i < 2; i++) {
        f.check.estimate.present = 0;
        qd_usage_set(&f.check.estimate, QD_METER_INPUT_TOKENS, 1000);
        qd_usage_set(&f.check.estimate, QD_METER_CACHED_INPUT_TOKENS, 200);
        cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
        cr_expect_eq(fx_held(&f, cost, "acme"), 3000, "a cached token costs what others do");
        fx_settle_begin(&f, f.verdict.reservation);
        qd_usage_set(&f.settle.used, QD_METER_INPUT_TOKENS, i == 0 ? 900 : 1600);
        qd_usage_set(&f.settle.used, QD_METER_COST, i == 0 ? 2250 : 4000);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(fx_held(&f, cost, "acme"), i == 0 ? 750 : 0);
        cr_expect_eq(fx_cancel(&f, f.verdict.reservation), i == 0 ? QD_OK : QD_NO_RESERVATION);
    }
    fx_release(&f);
}

/* A report of it is priced by when the request came; so is what is held for it. */
Test(estimate, P7_a_price_is_picked_by_when_the_request_came)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_price_line half[2] = {token_lines[0], token_lines[1]};
    half[0].amount_pico /= 2;
    half[1].amount_pico /= 2;
    const struct qd_price_sheet sheets[2] = {
        token_sheet, {.version = 2, .effective = f.now, .lines = half, .line_count = 2}};
    const struct qd_price_list list = {.name = "m", .sheets = sheets, .count = 2};
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    cost->on_expiry = QD_KEEP_INPUT;
    fx_apply(&f, cost, 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].cost_model = &list;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(fx_held(&f, cost, "acme"), 3250, "half price since now");
    cr_assert_eq(fx_cancel(&f, f.verdict.reservation), QD_OK);
    f.check.event_time.ns = f.now.ns - 1;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(fx_held(&f, cost, "acme"), 6500, "it came before");
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_held(&f, cost, "acme"), 2500);
    fx_release(&f);
}

Test(estimate, D9_each_candidate_is_priced_by_itself)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    fx_apply(&f, cost, 6000, "acme");
    f.model = "other";
    fx_bind(&f);
    f.candidates[1] = f.candidates[0];
    f.model = "gpt-4o";
    fx_bind(&f);
    f.check.candidate_count = 2;
    f.candidates[0].cost_model = &token_prices;
    f.candidates[1].cost_model = &token_prices;
    f.candidates[1].max_output_given = true;
    f.candidates[1].max_output_tokens = 100;
    cr_expect_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.candidate, 1);
    cr_expect_eq(f.verdict.estimate_cost_nano, 3500);
    cr_expect_eq(fx_held(&f, cost, "acme"), 3500);
    fx_release(&f);
}

static struct qd_price_list times(struct qd_price_line lines[2], struct qd_price_sheet *sheet,
                                  int64_t factor)
{
    for (unsigned i = 0; i < 2; i++) {
        lines[i] = token_lines[i];
        lines[i].amount_pico *= factor;
    }
    *sheet = (struct qd_price_sheet){.version = 2, .lines = lines, .line_count = 2};
    return (struct qd_price_list){.name = "m", .sheets = sheet, .count = 1};
}

/* P8 holds for each book by itself: what a tenant is billed has an unknown price, too. */
Test(estimate, P8_an_unknown_charge_is_never_0_nor_the_cost)
{
    struct fx f;
    struct qd_price_line lines[2];
    struct qd_price_sheet sheet;
    fx_init(&f, NULL);
    struct qd_price_list cap = times(lines, &sheet, 3);
    const struct qd_price_list nothing = {.name = "m"};
    struct qd_limit *charge = fx_month(&f, QD_METER_CHARGE);
    fx_apply(&f, charge, 1000000, "acme");
    fx_bind(&f);
    f.check.cap_price = &cap;
    for (unsigned by_pool = 0; by_pool < 2; by_pool++) {
        f.check.dry_run = true;
        f.candidates[0].cost_model = &token_prices;
        f.candidates[0].charge_model = by_pool ? NULL : &nothing;
        f.candidates[0].charge_pool = by_pool ? &nothing : NULL;
        f.check.unknown_price = QD_UNKNOWN_PRICE_DENY;
        cr_expect_eq(fx_check(&f, 1000, 400), QD_DENY);
        cr_expect_eq(f.verdict.reason, QD_REASON_UNKNOWN_PRICE);
        f.check.unknown_price = QD_UNKNOWN_PRICE_UNPRICED;
        cr_expect_eq(fx_check(&f, 1000, 400), QD_ALLOW);
        cr_expect(f.verdict.unpriced);
        cr_expect_not(qd_usage_has(&f.verdict.estimate, QD_METER_CHARGE), "missing, not 0");
        f.check.unknown_price = QD_UNKNOWN_PRICE_CAP;
        cr_expect_eq(fx_check(&f, 1000, 400), QD_ALLOW);
        cr_expect_not(f.verdict.unpriced);
        cr_expect_eq(f.verdict.estimate_cost_nano, 6500, "which is known");
        cr_expect_eq(f.verdict.estimate_charge_nano, 19500, "the stated price's");
        f.check.dry_run = false;
        cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
        cr_expect_eq(fx_held(&f, charge, "acme"), INT64_C(19500) * (by_pool + 1));

        /* A cap that knows no price of it either. */
        f.check.dry_run = true;
        f.check.cap_price = &nothing;
        cr_expect_eq(fx_check(&f, 1000, 400), QD_DENY);
        cr_expect_eq(f.verdict.reason, QD_REASON_UNKNOWN_PRICE);
        f.check.cap_price = &cap;
    }
    fx_release(&f);
}

/* The stated price stands in for each book that is unknown, and for the input's part (S5). */
Test(estimate, P8_a_cap_prices_both_books)
{
    struct fx f;
    struct qd_price_line lines[2];
    struct qd_price_sheet sheet;
    fx_init(&f, NULL);
    struct qd_price_list cap = times(lines, &sheet, 3);
    const struct qd_price_list nothing = {.name = "m"};
    struct qd_limit *cost = fx_month(&f, QD_METER_COST);
    cost->on_expiry = QD_KEEP_INPUT;
    fx_apply(&f, cost, 1000000, "acme");
    fx_bind(&f);
    f.check.unknown_price = QD_UNKNOWN_PRICE_CAP;
    f.check.cap_price = &cap;
    f.candidates[0].charge_model = &nothing;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.estimate_cost_nano, 19500);
    cr_expect_eq(f.verdict.estimate_charge_nano, 19500);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_held(&f, cost, "acme"), 7500, "the input at the stated price");
    fx_release(&f);
}

Test(estimate, P7_a_pool_may_be_billed_by_another_book_than_it_costs)
{
    struct fx f;
    struct qd_price_line lines[2];
    struct qd_price_sheet sheet;
    const struct qd_price_line second = {
        .meter = QD_METER_GPU_MS, .amount_pico = 1000, .quantity = 1};
    const struct qd_price_sheet seconds = {.version = 1, .lines = &second, .line_count = 1};
    const struct qd_price_list cheap = {.name = "h100", .sheets = &seconds, .count = 1};
    fx_init(&f, NULL);
    struct qd_price_list twice = times(lines, &sheet, 2);
    fx_apply(&f, fx_month(&f, QD_METER_COST), 1000000, "acme");
    fx_bind(&f);
    f.candidates[0].cost_model = &token_prices;
    f.candidates[0].charge_model = &token_prices;
    f.candidates[0].cost_pool = &cheap;
    f.candidates[0].gpu_us_per_output_token = 10000; /* none for the input */
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(qd_usage_get(&f.verdict.estimate, QD_METER_GPU_MS), 4000);
    cr_expect_eq(f.verdict.estimate_cost_nano, 6500 + 4000);
    cr_expect_eq(f.verdict.estimate_charge_nano, 6500);
    f.candidates[0].charge_pool = &twice;
    f.candidates[0].charge_model = NULL;
    f.candidates[0].cost_pool = NULL;
    cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
    cr_expect_eq(f.verdict.estimate_cost_nano, 6500);
    cr_expect_eq(f.verdict.estimate_charge_nano, 13000);
    fx_release(&f);
}

/* Weights and amounts at their largest: their sum saturates, and fits nothing. */
Test(estimate, P3_no_weight_overflows)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *product = fx_token_limit(&f, QD_SLIDING_WINDOW);
    struct qd_limit *sum = fx_token_limit(&f, QD_SLIDING_WINDOW);
    product->admit =
        (struct qd_weights){.count = 1, .den = 1, .item = {{QD_METER_INPUT_TOKENS, INT32_MAX}}};
    sum->admit = (struct qd_weights){
        .count = 3,
        .den = 1,
        .item = {{QD_METER_INPUT_TOKENS, 1}, {QD_METER_IMAGES, 1000}, {QD_METER_GPU_MS, 1000}}};
    for (unsigned i = 0; i < 2; i++) {
        f.item_count = 0;
        fx_apply(&f, i == 0 ? product : sum, QD_AMOUNT_MAX, "acme");
        fx_bind(&f);
        f.check.estimate.present = 0;
        qd_usage_set(&f.check.estimate, QD_METER_INPUT_TOKENS, QD_AMOUNT_MAX);
        if (i == 1) {
            qd_usage_set(&f.check.estimate, QD_METER_IMAGES, QD_AMOUNT_MAX);
            qd_usage_set(&f.check.estimate, QD_METER_GPU_MS, QD_AMOUNT_MAX);
        }
        cr_expect_eq(fx_check_as_is(&f), QD_DENY);
        cr_expect_eq(f.verdict.reason, QD_REASON_NEVER_FITS);
        cr_expect_gt(f.states[0].estimate, QD_AMOUNT_MAX, "%ld", (long)f.states[0].estimate);
    }
    fx_release(&f);
}

/* D8: nothing is estimated and no output may come: what it would need is asked, nothing changes. */
Test(estimate, D8_an_estimate_of_nothing_is_a_peek_whatever_the_model_might_do)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_token_limit(&f, QD_SLIDING_WINDOW);
    fx_apply(&f, limit, 1000, "acme");
    fx_bind(&f);
    f.check.estimate.present = 0;
    qd_usage_set(&f.check.estimate, QD_METER_INPUT_TOKENS, 0);
    f.candidates[0].max_output_given = true;
    f.candidates[0].max_output_tokens = 0;
    cr_expect_eq(fx_check_as_is(&f), QD_ALLOW);
    cr_expect_eq(f.verdict.reservation, 0);
    cr_expect_eq(fx_stats(&f).allowed, 0);
    f.candidates[0].max_output_tokens = 1;
    cr_expect_eq(fx_check_as_is(&f), QD_ALLOW);
    cr_expect_neq(f.verdict.reservation, 0, "an output may come");
    cr_expect_eq(fx_used(&f, limit, "acme"), 1);
    fx_release(&f);
}

/* 0 forbids what costs something, and only that. */
Test(estimate, P3_an_amount_of_0_forbids_only_what_it_counts)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    fx_apply(&f, limit, 0, "acme");
    fx_bind(&f);
    cr_expect_eq(fx_check(&f, 1, 0), QD_DENY);
    cr_expect_eq(f.verdict.reason, QD_REASON_NEVER_FITS);
    cr_expect_eq(fx_check(&f, 0, 0), QD_ALLOW, "a request without input");
    fx_release(&f);
}
