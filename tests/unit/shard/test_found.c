/* What a failed write left in the ledger all the same, found when it is sent again (X4, S6). */
#include "fixture.h"

#include "server/shard/tenants.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct fixture f;

static const char paid[] = "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
                           "plans:\n"
                           "  paid:\n"
                           "    balance: {limit: 10, meter: requests, algorithm: prepaid}\n"
                           "tenants: {acme: {plan: paid}}\n";

static enum qd_error_code grant(const char *id, int64_t amount, bool *duplicate)
{
    struct qd_grant_args args = {
        .path = str("prepaid-co"), .limit = "balance", .amount = amount, .grant_id = str(id)};
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    uint64_t sequence = 0;
    enum qd_error_code code = qd_tenants_grant(f.node, &args, work, duplicate, &sequence, &f.error);
    qd_buf_release(&work->bytes);
    free(work);
    return code;
}

static bool fits(int64_t n)
{
    struct qd_check_args a = args_of("prepaid-co", 0);
    a.estimate[0] = (struct qd_amount_arg){str("requests"), n};
    a.dry_run = true;
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE);
    return f.answer.allowed;
}

Test(found, S6_a_grant_that_a_failed_write_left_is_effective_when_repeated)
{
    bool dup = false;
    fixture_open(&f, paid);
    cr_assert_eq(put_tenant(&f, "prepaid-co", "paid", NULL, NULL), QD_ERROR_NONE);
    cr_assert_eq(qd_ledger_heartbeat(f.ledger, qd_clock_now(&f.node->clock), NULL), QD_STORE_OK);
    qd_store_memory_faults(f.store)->sync = (struct qd_store_fault){.countdown = 0};
    cr_assert_eq(grant("g1", 100, &dup), QD_ERROR_STORE_ERROR);
    cr_assert_eq(grant("g1", 100, &dup), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(dup, "acknowledged");
    cr_expect(fits(110), "acknowledged grant is not effective");
    cr_assert_eq(grant("g2", 1, &dup), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(fits(111), "live: %d", (int)fits(11));
    fixture_close(&f);
    fixture_open(&f, paid);
    cr_expect(fits(111), "after a restart: 111 %d 12 %d 11 %d", fits(111), fits(12), fits(11));
    fixture_end(&f);
}

static const char rates[] =
    "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
    "plans:\n  basic:\n"
    "    hourly: {limit: 5000/hour, algorithm: sliding_window, meter: input_tokens}\n"
    "    day: {limit: 5000/day, meter: input_tokens, on_expiry: charge}\n"
    "tenants: {acme: {plan: basic}}\n";

Test(found, X4_what_a_failed_write_left_charges_rates_too)
{
    fixture_open(&f, rates);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(qd_ledger_heartbeat(f.ledger, qd_clock_now(&f.node->clock), NULL), QD_STORE_OK);
    qd_store_memory_faults(f.store)->sync = (struct qd_store_fault){.countdown = 0};
    struct qd_report_args args = report_of(f.token, 700);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_STORE_ERROR);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(f.report.duplicate);
    cr_expect_eq(used_of(&f, "acme", "hourly"), 700, "hourly %ld",
                 (long)used_of(&f, "acme", "hourly"));
    cr_expect_eq(used_of(&f, "acme", "day"), 700);
    fixture_end(&f);
}

Test(found, X4_what_a_failed_write_left_has_settled_its_hold)
{
    fixture_open(&f, rates);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(qd_ledger_heartbeat(f.ledger, qd_clock_now(&f.node->clock), NULL), QD_STORE_OK);
    qd_store_memory_faults(f.store)->sync = (struct qd_store_fault){.countdown = 0};
    struct qd_report_args args = report_of(f.token, 700);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_STORE_ERROR);
    cr_assert_eq(qd_ledger_heartbeat(f.ledger, qd_clock_now(&f.node->clock), NULL), QD_STORE_OK);
    fixture_pass(&f, 301 * S);
    cr_expect_eq(used_of(&f, "acme", "day"), 700);
    cr_expect_eq(held_of(&f, "acme", "day"), 0, "held %ld beside",
                 (long)held_of(&f, "acme", "day"));
    fixture_end(&f);
}
