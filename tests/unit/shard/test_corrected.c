/* Corrections of what some of today's limits have never counted, and of whom they may name (L3). */
#include "fixture.h"

#include "server/shard/correct.h"
#include "server/shard/reconcile.h"

#include <criterion/criterion.h>

static struct fixture f;

static enum qd_error_code correct(const struct qd_correct_args *args)
{
    struct qd_correct_work *work = qd_correct_work_new();

    (void)qd_worker_enter(f.worker);
    enum qd_error_code code = qd_correct(f.worker, args, work, &f.error);
    qd_worker_leave(f.worker);
    qd_correct_work_free(work);
    return code;
}

static void take_back(uint64_t sequence)
{
    const struct qd_correct_args args = {.sequence = sequence,
                                         .correction_id = str("c1"),
                                         .reason = str("wrong"),
                                         .take_back = true};

    cr_assert_eq(correct(&args), QD_ERROR_NONE, "%s", f.error.text);
}

static const char day[] =
    "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
    "plans:\n  basic:\n"
    "    budget: {limit: 5000/day, meter: input_tokens, algorithm: calendar}\n"
    "tenants: {acme: {plan: basic}}\n";

static const char day2[] =
    "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
    "plans:\n  basic:\n"
    "    budget: {limit: 5000/day, meter: input_tokens, algorithm: calendar}\n"
    "    month: {limit: 5000/month, meter: input_tokens, algorithm: calendar}\n"
    "tenants: {acme: {plan: basic}}\n";

Test(corrected, L3_a_limit_that_was_added_later_gets_no_credit)
{
    fixture_open(&f, day);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 4000), QD_ERROR_NONE);
    uint64_t sequence = f.report.entry_sequence;
    fixture_publish(&f, day2);
    cr_assert(check(&f, "acme", 1));
    cr_assert_eq(report_tokens(&f, 1), QD_ERROR_NONE);
    take_back(sequence);
    cr_expect_eq(used_of(&f, "acme", "month"), 1, "%ld", (long)used_of(&f, "acme", "month"));
    fixture_end(&f);
}

Test(corrected, L3_a_limit_that_took_the_place_of_another_gets_no_credit)
{
    fixture_open(&f, day);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(report_tokens(&f, 4000), QD_ERROR_NONE);
    uint64_t sequence = f.report.entry_sequence;
    static const char late[] =
        "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
        "plans:\n  basic:\n"
        "    month: {limit: 5000/month, meter: input_tokens, algorithm: calendar}\n"
        "tenants: {acme: {plan: basic}}\n";
    fixture_publish(&f, late);
    cr_assert(check(&f, "acme", 1));
    cr_assert_eq(report_tokens(&f, 1), QD_ERROR_NONE);
    take_back(sequence);
    int64_t admitted = 1;
    while (check(&f, "acme", 1000)) {
        cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
        admitted += 1000;
    }
    cr_expect_leq(admitted, 5000, "%ld admitted of 5000", (long)admitted);
    struct qd_reconciled answer;
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_reconcile(f.worker, &answer, &f.error), QD_ERROR_NONE, "%s", f.error.text);
    qd_worker_leave(f.worker);
    cr_expect(answer.clean, "%s", answer.difference);
    fixture_end(&f);
}

static const char one[] =
    "version: 1\nmodels: {m: {max_output_tokens: 100}, n: {max_output_tokens: 100}}\n"
    "prices: {m: {input_token: $1/1M, output_token: $1/1M}}\n"
    "plans:\n  basic:\n    cost: $500/day\n"
    "tenants: {acme: {plan: basic}}\n";

Test(corrected, L3_usage_is_moved_to_known_tenants_and_priced_models_only)
{
    struct qd_correct_args args = {.correction_id = str("c1"), .reason = str("wrong")};

    fixture_open(&f, one);
    cr_assert(check(&f, "acme", 1000), "%s", f.answer.message);
    cr_assert_eq(report_tokens(&f, 4000), QD_ERROR_NONE);
    args.sequence = f.report.entry_sequence;
    args.tenant = str("acmme");
    cr_expect_eq(correct(&args), QD_ERROR_UNKNOWN_TENANT);
    args.dry_run = true;
    cr_expect_eq(correct(&args), QD_ERROR_UNKNOWN_TENANT);
    args.dry_run = false;
    args.tenant = str("");
    args.model = str("n");
    cr_expect_eq(correct(&args), QD_ERROR_INVALID_FIELD, "P8: what was paid for stays paid for");
    cr_expect_eq(used_of(&f, "acme", "cost"), 4000000);
    fixture_end(&f);
}
