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
