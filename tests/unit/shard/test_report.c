/* What reports do to counters and the ledger when they come in parts, twice, late, or too large. */
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char policy[] = "version: 1\n"
                             "models:\n"
                             "  m: {max_output_tokens: 100}\n"
                             "prices:\n"
                             "  m: {input_tokens: $2/1M, output_tokens: $4/1M}\n"
                             "unknown_price: unpriced\n"
                             "plans:\n"
                             "  basic:\n"
                             "    requests: {limit: 7/min, algorithm: token_bucket, burst: 3}\n"
                             "    input: {limit: 1000/min, meter: input_tokens}\n"
                             "    cost: $1/month\n"
                             "    concurrency: 10\n"
                             "tenants:\n"
                             "  acme: {plan: basic}\n";

static struct fixture f;

static void open_node(void)
{
    fixture_open(&f, policy);
}

static void end_node(void)
{
    fixture_end(&f);
}

TestSuite(report, .init = open_node, .fini = end_node);

Test(report, X2_sixteen_labels_and_a_provider_fit_the_token_and_the_entry)
{
    static char names[QD_LABELS_MAX][4];
    struct qd_check_args args = args_of("acme", 100);

    for (size_t i = 0; i < QD_LABELS_MAX; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "l%zu", i);
        args.labels[i] = (struct qd_label){str(names[i]), str("v")};
    }
    args.label_count = QD_LABELS_MAX;
    args.candidates[0] = (struct qd_candidate_arg){str("m"), str(NULL), str("azure")};
    args.candidate_count = 1;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed);
    cr_assert_eq(report_tokens(&f, 40), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert_eq(used_of(&f, "acme", "input"), 40);
    cr_assert_eq(used_of(&f, "acme", "cost"), 80000);
    fixture_close(&f);
    fixture_open(&f, policy); /* the entry is read again */
    cr_assert_eq(used_of(&f, "acme", "cost"), 80000);
}

Test(report, S2_a_part_without_requests_leaves_the_request_counted)
{
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(check(&f, "acme", 10));
        struct qd_report_args part = report_of(f.token, 10);
        part.partial = true;
        cr_assert_eq(report_args(&f, &part), QD_ERROR_NONE, "%s", f.error.text);
        cr_assert_eq(f.report.settlement, QD_SETTLEMENT_PARTIAL);
    }
    cr_assert_not(check(&f, "acme", 10), "the bucket's burst is 3");
    cr_assert_eq(used_of(&f, "acme", "requests"), 3);
    struct qd_report_args last = report_of(f.token, 0);
    last.usage_count = 0;
    last.sequence = 1;
    cr_assert_eq(report_args(&f, &last), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert_eq(used_of(&f, "acme", "requests"), 3, "and is counted once at the end");
    cr_assert_eq(used_of(&f, "acme", "input"), 30);
}

Test(report, S6_both_sources_that_closed_may_retry)
{
    cr_assert(check(&f, "acme", 400));
    struct qd_report_args gateway = report_of(f.token, 300);
    struct qd_report_args pool = report_of(f.token, 0);
    pool.source = str("pool");
    pool.usage[0] = (struct qd_amount_arg){str("gpu_ms"), 1500};
    cr_assert_eq(report_args(&f, &gateway), QD_ERROR_NONE);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(report_args(&f, &gateway), QD_ERROR_NONE, "%s", f.error.text);
        cr_assert(f.report.duplicate);
        cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED, "the first answer again");
        cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE, "%s", f.error.text);
        cr_assert(f.report.duplicate);
        cr_assert_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    }
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
    cr_assert_eq(used_of(&f, "acme", "input"), 300);
    gateway.usage[0].amount = 301;
    cr_assert_eq(report_args(&f, &gateway), QD_ERROR_REPORT_CONFLICT);
    cr_assert_not_null(strstr(f.error.text, "input_tokens 300, now 301"), "%s", f.error.text);
}

Test(report, S6_a_duplicate_releases_the_hold_of_a_second_check)
{
    struct qd_check_args args = args_of("acme", 100);

    args.request_id = str("req-1");
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    struct qd_report_args part = report_of(f.token, 30);
    part.partial = true;
    cr_assert_eq(report_args(&f, &part), QD_ERROR_NONE);
    cr_assert_eq(report_args(&f, &part), QD_ERROR_NONE);
    cr_assert(f.report.duplicate);
    cr_assert_eq(held_of(&f, "acme", "concurrency"), 1, "a part's retry leaves the hold open");
    struct qd_report_args last = report_of(f.token, 10);
    last.sequence = 1;
    cr_assert_eq(report_args(&f, &last), QD_ERROR_NONE);
    cr_assert_eq(held_of(&f, "acme", "concurrency"), 0);
    int64_t cost = used_of(&f, "acme", "cost");

    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    cr_assert(f.answer.allowed);
    cr_assert_not(f.answer.verdict.repeated);
    cr_assert_eq(held_of(&f, "acme", "concurrency"), 1);
    cr_assert_eq(used_of(&f, "acme", "input"), 140);
    last.reservation = str(f.token);
    cr_assert_eq(report_args(&f, &last), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.report.duplicate);
    cr_assert_eq(held_of(&f, "acme", "concurrency"), 0);
    cr_assert_eq(held_of(&f, "acme", "cost"), 0);
    cr_assert_eq(used_of(&f, "acme", "input"), 40);
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
    cr_assert_eq(used_of(&f, "acme", "cost"), cost, "booked once");
}

/* A store that lets something happen just before the next write. */
static struct qd_store_ops meanwhile_ops;
static const struct qd_store_ops *usual_ops;
static uint64_t meanwhile_number;

static enum qd_store_err write_meanwhile(struct qd_store *store, const struct qd_batch *batch,
                                         bool sync, struct qd_store_error *error)
{
    struct qd_shard *home = qd_shards_of(&f.node->shards, str("acme"));
    uint64_t reservation = 0;

    store->ops = usual_ops;
    cr_assert_eq(qd_shards_by_number(&f.node->shards, meanwhile_number, &reservation), home);
    qd_shards_lock(&f.node->shards, home);
    cr_assert_eq(qd_core_cancel(home->core, qd_shards_commons(&f.node->shards), reservation,
                                qd_clock_now(&f.node->clock)),
                 QD_OK);
    qd_shards_unlock(&f.node->shards, home);
    return qd_store_write(store, batch, sync, error);
}

/* The report is the one that closes: it found the reservation open, and the mark that it wrote says
 * so to those that come later. An operator's release, a cancel or the expiry that comes while it is
 * written takes the hold away and nothing else. */
Test(report, S2_a_hold_that_goes_while_its_report_is_written_is_closed_by_the_report)
{
    cr_assert(check(&f, "acme", 100));
    meanwhile_number = f.answer.number;
    usual_ops = f.store->ops;
    meanwhile_ops = *usual_ops;
    meanwhile_ops.write = write_meanwhile;
    f.store->ops = &meanwhile_ops;
    cr_assert_eq(report_tokens(&f, 40), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.store->ops, usual_ops, "it was released meanwhile");
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert_eq(used_of(&f, "acme", "input"), 40);
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
    cr_assert_eq(used_of(&f, "acme", "cost"), 80000);
    cr_assert_eq(held_of(&f, "acme", "cost"), 0);
    cr_assert_eq(held_of(&f, "acme", "concurrency"), 0);
    cr_assert_eq(report_tokens(&f, 40), QD_ERROR_NONE);
    cr_assert(f.report.duplicate);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED, "a retry is told the same");

    struct qd_report_args pool = report_of(f.token, 0);
    pool.source = str("pool");
    pool.usage[0] = (struct qd_amount_arg){str("gpu_ms"), 7};
    cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_LATE, "the first one has closed it");
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
}

Test(report, P8_a_price_that_overflows_is_refused_and_books_nothing)
{
    struct qd_report_args args = report_of(NULL, QD_AMOUNT_MAX);

    cr_assert(check(&f, "acme", 100));
    args.reservation = str(f.token);
    args.usage[1] = (struct qd_amount_arg){str("output_tokens"), QD_AMOUNT_MAX};
    args.usage_count = 2;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_INVALID_AMOUNT);
    cr_assert_str_eq(
        f.error.text,
        "usage: input_tokens: with 9007199254740992 the report costs more than $9,223,372, the "
        "most "
        "that one report may; nothing was booked: correct the amount, or report it in parts");
    cr_assert_eq(held_of(&f, "acme", "concurrency"), 1, "the hold is open");
    cr_assert_eq(report_tokens(&f, 100), QD_ERROR_NONE, "the corrected report is the first");
    cr_assert_not(f.report.duplicate);
    cr_assert_eq(used_of(&f, "acme", "cost"), 200000);
    cr_assert_eq(used_of(&f, "acme", "input"), 100);
}

Test(report, S7_post_paid_parts_of_two_sources_count_one_request)
{
    struct qd_report_args gateway = report_of(NULL, 300);
    struct qd_report_args pool = report_of(NULL, 0);

    gateway.tenant = pool.tenant = str("acme");
    gateway.model = pool.model = str("m");
    gateway.request_id = pool.request_id = str("req-1");
    pool.source = str("pool");
    pool.usage[0] = (struct qd_amount_arg){str("gpu_ms"), 1500};
    cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(used_of(&f, "acme", "requests"), 0, "times alone are no request");
    cr_assert_eq(report_args(&f, &gateway), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
    pool.request_id = str("req-2");
    pool.usage[1] = (struct qd_amount_arg){str("requests"), 1};
    pool.usage_count = 2;
    cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(used_of(&f, "acme", "requests"), 2, "unless it says so");
}
