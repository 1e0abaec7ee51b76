/* What a check is told, and what it holds (H1, P7, D9, D10, S1). */
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(check, .timeout = 60);

static struct fixture f;

static bool ask(struct qd_check_args *args)
{
    cr_assert_eq(check_args(&f, args), QD_ERROR_NONE, "%s", f.error.text);
    return f.answer.allowed;
}

static const char fell[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100}}\n"
    "prices:\n"
    "  m:\n"
    "    - {input_token: $100/1M, output_token: $100/1M}\n"
    "    - {effective: 2025-11-24, input_token: $1/1M, output_token: $1/1M}\n"
    "plans: {basic: {cost: {limit: $1/month, hard: true}}}\n"
    "tenants: {acme: {plan: basic}}\n";

/* A price that fell today: yesterday's requests are held, and extended, at yesterday's. */
Test(check, P7_a_check_is_priced_by_its_event_time_as_its_report_is)
{
    struct qd_extend_args extend = {.used_count = 1};
    struct qd_extend_answer *answer = malloc(sizeof(*answer));
    cr_assert_not_null(answer);
    fixture_open(&f, fell);
    struct qd_check_args args = args_of("acme", 8900);
    cr_assert(ask(&args));
    cr_expect_eq(held_of(&f, "acme", "cost"), 9000000, "$0.009 today");
    struct qd_report_args report = report_of(f.token, 0);
    report.usage_count = 0;
    report.outcome = 2; /* not dispatched */
    cr_assert_eq(report_args(&f, &report), QD_ERROR_NONE);
    args.event_time_given = true;
    args.event_time_ns = T0 - 86400 * S;
    cr_assert(ask(&args));
    cr_expect_eq(held_of(&f, "acme", "cost"), 900000000, "$0.90 yesterday");
    extend.reservation = str(f.token);
    extend.used[0] = (struct qd_amount_arg){str("input_tokens"), 9500};
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_extend(f.worker, &extend, answer, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_expect_eq(held_of(&f, "acme", "cost"), 950000000);
    cr_expect_not(ask(&args));
    report = report_of(f.token, 8900);
    report.usage[1] = (struct qd_amount_arg){str("output_tokens"), 100};
    report.usage_count = 2;
    cr_assert_eq(report_args(&f, &report), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "cost"), 900000000);
    cr_expect_eq(held_of(&f, "acme", "cost"), 0);
    free(answer);
    fixture_end(&f);
}

/* As seen: a model that the policy doesn't declare held no output at all, and then cost $2.40 of
 * $1. */
static const char hard[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100, gpu_time: {input_token: 0us, output_token: 1ms}}}\n"
    "prices: {m: {input_token: $1/1M, output_token: $1/1M}}\n"
    "unknown_price: {cap: {input_token: $20/1M, output_token: $80/1M}}\n"
    "plans:\n"
    "  money: {cost: {limit: $1/day, hard: true}}\n"
    "  prepaid: {cost: {limit: prepaid, hard: true}}\n"
    "  tokens: {tokens: {limit: 2000/day, hard: true}}\n"
    "  time: {gpu_seconds: {limit: 10/day, hard: true}}\n"
    "tenants: {money: {plan: money}, prepaid: {plan: prepaid}, tokens: {plan: tokens}, time: "
    "{plan: time}}\n";

static void expect_refused(struct qd_check_args *args, const char *what, const char *hint)
{
    cr_expect_not(ask(args));
    cr_expect_eq(f.answer.denial, QD_DENIAL_NEVER_FITS, "%s", f.answer.message);
    cr_expect_not(f.answer.retry_useful);
    cr_expect_not_null(strstr(f.answer.message, what), "%s", f.answer.message);
    cr_expect_not_null(strstr(f.answer.message, hint), "%s", f.answer.message);
}

Test(check, H1_a_hard_limit_denies_what_has_no_bound_and_says_what_to_do)
{
    static const char *const tenants[] = {"money", "prepaid", "tokens"};
    fixture_open(&f, hard);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned named = 0; named < 2; named++) {
            struct qd_check_args args = args_of(tenants[i], 100);
            args.model = str(named ? "unheard-of" : NULL);
            expect_refused(&args, " is hard and cannot hold an output without an upper bound",
                           "give max_output_tokens, or declare the model's");
            args.max_output_given = true;
            args.max_output_tokens = 10;
            cr_expect_eq(ask(&args), i != 1, "%s", f.answer.message);
        }
    }
    cr_expect_eq(held_of(&f, "money", "cost"), INT64_C(2) * (100 * 20000 + 10 * 80000));
    cr_expect_eq(held_of(&f, "tokens", "tokens"), 220);
    struct qd_check_args args = args_of("time", 100);
    cr_expect(ask(&args));
    cr_expect_eq(held_of(&f, "time", "gpu_seconds"), 100, "in ms");
    args.model = str("unheard-of");
    expect_refused(&args, "GPU-time that nobody estimates",
                   "give gpu_ms in the estimate, or declare");
    args.estimate[1] = (struct qd_amount_arg){str("gpu_ms"), 50};
    args.estimate_count = 2;
    cr_expect(ask(&args));
    cr_expect_eq(held_of(&f, "time", "gpu_seconds"), 150);
    fixture_end(&f);
}

Test(check, H1_a_guess_of_the_output_bounds_nothing)
{
    fixture_open(&f, hard);
    struct qd_check_args args = args_of("tokens", 100);
    args.estimate[1] = (struct qd_amount_arg){str("output_tokens"), 1};
    args.estimate_count = 2;
    cr_assert(ask(&args));
    cr_expect_eq(held_of(&f, "tokens", "tokens"), 200, "the model's maximum");
    args.max_output_given = true;
    args.max_output_tokens = 50;
    cr_assert(ask(&args));
    cr_expect_eq(held_of(&f, "tokens", "tokens"), 350, "the request's");
    args.model = str("unheard-of");
    args.max_output_given = false;
    expect_refused(&args, " without an upper bound", "give max_output_tokens");
    fixture_end(&f);
}

/* Embeddings: a bound of 0, and no price of an output is missed. The request's own maximum wins. */
Test(check, H1_a_model_without_output_has_a_bound_and_needs_no_price_of_it)
{
    fixture_open(&f, "version: 1\n"
                     "models: {m: {max_output_tokens: 0}}\n"
                     "prices: {m: {input_token: $1/1M}}\n"
                     "unknown_price: deny\n"
                     "plans: {hard: {cost: {limit: $1/day, hard: true}, tokens: {limit: 2000/day, "
                     "hard: true, default_max_output: 500}}}\n"
                     "tenants: {acme: {plan: hard}}\n");
    struct qd_check_args args = args_of("acme", 100);
    cr_assert(ask(&args), "%s", f.answer.message);
    cr_expect_eq(held_of(&f, "acme", "cost"), 100000);
    cr_expect_eq(held_of(&f, "acme", "tokens"), 100);
    args.max_output_given = true;
    args.max_output_tokens = 10;
    cr_expect_not(ask(&args));
    cr_expect_eq(f.answer.denial, QD_DENIAL_UNKNOWN_PRICE);
    fixture_end(&f);
}

Test(check, P8_a_denial_for_want_of_a_price_names_the_meters)
{
    fixture_open(&f, "version: 1\n"
                     "models: {emb: {}, bare: {}}\n"
                     "prices: {emb: {input_token: $1/1M}}\n"
                     "unknown_price: deny\n"
                     "plans: {money: {cost: $1/day}}\n"
                     "tenants: {acme: {plan: money}}\n");
    struct qd_check_args args = args_of("acme", 100);
    args.max_output_given = true;
    args.max_output_tokens = 10;
    args.model = str("emb");
    cr_expect_not(ask(&args));
    cr_expect_str_eq(f.answer.message,
                     "no price for output_tokens of model \"emb\" (unknown_price: deny); add it "
                     "under `prices:` in the policy, or give max_output_tokens: 0 if it produces "
                     "no output");
    args.model = str("bare");
    cr_expect_not(ask(&args));
    cr_expect_str_eq(f.answer.message, "no price for model \"bare\" (unknown_price: deny); add it "
                                       "under `prices:` in the policy");
    args.model = str("emb");
    args.max_output_tokens = 0;
    cr_expect(ask(&args));
    fixture_end(&f);
}

static const char two[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100}, n: {max_output_tokens: 100}}\n"
    "plans:\n"
    "  two:\n"
    "    of-m: {meter: input_tokens, limit: 100/min, match: {model: m}}\n"
    "    of-n: {meter: input_tokens, limit: 100/day, match: {model: n}}\n"
    "    tried: {meter: input_tokens, limit: 80/min, action: shadow, match: {model: m}}\n"
    "tenants: {acme: {plan: two}}\n";

/* m is free in a minute, n tomorrow: the denial is about m, and so is what shadows say. */
Test(check, D10_shadows_speak_of_the_candidate_that_the_denial_is_about)
{
    fixture_open(&f, two);
    struct qd_check_args args = args_of("acme", 70);
    args.candidate_count = 2;
    args.candidates[0].model = str("m");
    args.candidates[1].model = str("n");
    cr_assert(ask(&args));
    cr_assert(ask(&args));
    cr_expect_eq(f.answer.verdict.candidate, 1);
    cr_assert_not(ask(&args));
    cr_expect_eq(f.answer.verdict.candidate, 0);
    cr_expect_str_eq(f.answer.verdict.binding.limit->name, "of-m");
    cr_assert_eq(f.answer.shadow_count, 1);
    cr_expect_str_eq(f.answer.shadow[0].state.limit->name, "tried");
    fixture_end(&f);
}

Test(check, S1_a_node_that_drains_repeats_its_answers_and_makes_no_new_hold)
{
    fixture_open(&f, two);
    struct qd_check_args args = args_of("acme", 70);
    args.request_id = str("one");
    cr_assert(ask(&args));
    uint64_t number = f.answer.number;
    char token[QD_TOKEN_TEXT_MAX + 1];
    memcpy(token, f.token, sizeof(token));
    atomic_store(&f.node->draining, true);
    cr_expect(ask(&args), "%s", f.answer.message);
    cr_expect(f.answer.verdict.repeated);
    cr_expect_eq(f.answer.number, number);
    cr_expect_str_eq(f.token, token);
    cr_expect_eq(f.worker->figures.draining, 0);
    args.estimate[0].amount = 71;
    cr_expect_eq(check_args(&f, &args), QD_ERROR_REQUEST_CONFLICT);
    args.attempt = 1;
    cr_expect_not(ask(&args));
    cr_expect_eq(f.answer.denial, QD_DENIAL_DRAINING);
    cr_expect_eq(f.answer.token_len, 0);
    cr_expect_eq(f.worker->figures.draining, 1);
    cr_assert_eq(report_tokens(&f, 70), QD_ERROR_NONE);
    args.attempt = 0;
    args.estimate[0].amount = 70;
    cr_expect_not(ask(&args), "its hold is gone");
    cr_expect_eq(f.answer.denial, QD_DENIAL_DRAINING);
    fixture_end(&f);
}
