/* The flows of requests through a whole node, without gRPC. */
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
                             "    requests: 100/min\n"
                             "    input: {limit: 1000/min, meter: input_tokens}\n"
                             "    cost: $1/month\n"
                             "tenants:\n"
                             "  acme: {plan: basic}\n"
                             "  globex: {plan: basic}\n";

static struct fixture f;

static void open_node(void)
{
    fixture_open(&f, policy);
}

static void end_node(void)
{
    fixture_end(&f);
}

TestSuite(node, .init = open_node, .fini = end_node);

Test(node, S1_an_allowed_check_returns_a_token_and_a_short_id)
{
    cr_assert(check(&f, "acme", 100));
    cr_assert_eq(memcmp(f.answer.token, "qr1.", 4), 0);
    cr_assert_eq(memcmp(f.answer.id, "r_", 2), 0);
    cr_assert_eq(f.answer.verdict.expires.ns, T0 + 300 * S);
    cr_assert_eq(f.answer.policy_revision, 1);
}

Test(node, D3_a_denial_names_the_limit_and_when_to_come_back)
{
    cr_assert(check(&f, "acme", 900));
    cr_assert_not(check(&f, "acme", 200));
    cr_assert_eq(f.answer.denial, QD_DENIAL_LIMIT);
    cr_assert(f.answer.retry_useful);
    cr_assert_str_eq(f.answer.message,
                     "basic.input 900 used + 200 estimated > 1,000/min; retry in about 1 min 1 s");
    int64_t wait = f.answer.retry_after_ns;
    fixture_pass(&f, wait - 1);
    cr_assert_not(check(&f, "acme", 200), "not one nanosecond earlier");
    fixture_pass(&f, 1);
    cr_assert(check(&f, "acme", 200));
}

Test(node, D3_never_fits_says_so)
{
    cr_assert_not(check(&f, "acme", 5000));
    cr_assert_eq(f.answer.denial, QD_DENIAL_NEVER_FITS);
    cr_assert_not(f.answer.retry_useful);
    cr_assert_str_eq(f.answer.message,
                     "basic.input: estimate 5,000 > 1,000; never fits, make the request smaller");
}

Test(node, P2_unknown_tenant_is_denied_with_the_next_command)
{
    cr_assert_not(check(&f, "hooli", 1));
    cr_assert_eq(f.answer.denial, QD_DENIAL_UNKNOWN_TENANT);
    cr_assert_str_eq(f.answer.message, "\"hooli\": unknown tenant; add it to the policy's "
                                       "`tenants:`, or run: quotactl tenants put hooli");
}

Test(node, S1_the_same_request_id_gets_the_same_reservation)
{
    struct qd_check_args args = args_of("acme", 100);
    char first[QD_TOKEN_TEXT_MAX];

    args.request_id = str("req-1");
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    size_t len = f.answer.token_len;
    memcpy(first, f.answer.token, len);
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    cr_assert(f.answer.verdict.repeated);
    cr_assert(f.answer.token_len == len && memcmp(first, f.answer.token, len) == 0);
    cr_assert_eq(used_of(&f, "acme", "input"), 100);
    args.estimate[0].amount = 101;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_REQUEST_CONFLICT);
    cr_assert_not_null(
        strstr(f.error.text, "request_id \"req-1\", attempt 0 was checked before with another"));
}

Test(node, S1_an_undelivered_answer_cancels_its_hold)
{
    struct qd_check_args args = args_of("acme", 100);

    cr_assert(check(&f, "acme", 100));
    qd_node_undelivered(f.worker, f.answer.number);
    cr_assert_eq(used_of(&f, "acme", "input"), 0);
    args.request_id = str("req-2");
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    qd_node_undelivered(f.worker, f.answer.number);
    cr_assert_eq(used_of(&f, "acme", "input"), 100, "it was delivered the second time");
}

Test(node, S1_another_tenants_reservation_is_refused)
{
    cr_assert(check(&f, "acme", 100));
    struct qd_report_args args = report_of(f.token, 50);
    args.tenant = str("globex");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_TENANT_MISMATCH);
    cr_assert_str_eq(
        f.error.text,
        "reservation: it is not \"globex\"'s; leave `tenant` out, or give the tenant of the check");
    args.tenant = str("acme");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE);
}

Test(node, S1_a_damaged_token_is_refused)
{
    cr_assert(check(&f, "acme", 100));
    f.token[20] = f.token[20] == 'A' ? 'B' : 'A';
    cr_assert_eq(report_tokens(&f, 1), QD_ERROR_INVALID_TOKEN);
    cr_assert_not_null(
        strstr(f.error.text, "is no reservation of this cluster; pass the token as CheckQuota"));
}

Test(node, S2_a_report_replaces_the_estimate)
{
    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert_eq(used_of(&f, "acme", "input"), 150);
    cr_assert_eq(used_of(&f, "acme", "requests"), 1, "the check counted the request");
    cr_assert_eq(used_of(&f, "acme", "cost"), 300000, "150 tokens at $2 a million, in nano-USD");
    cr_assert_eq(held_of(&f, "acme", "cost"), 0);
    cr_assert_str_eq(f.report.cost_pico, "300000000");
    cr_assert_eq(qd_usage_get(&f.report.released, QD_METER_INPUT_TOKENS), 250);
}

Test(node, S2_more_than_held_is_booked_as_debt)
{
    cr_assert(check(&f, "acme", 900));
    cr_assert_eq(report_tokens(&f, 2500), QD_ERROR_NONE);
    cr_assert_eq(used_of(&f, "acme", "input"), 2500);
    cr_assert_eq(qd_usage_get(&f.report.overrun, QD_METER_INPUT_TOKENS), 1600);
    cr_assert_eq(f.report.limits_over, 1);
    cr_assert_not(check(&f, "acme", 1));
}

Test(node, S2_parts_of_two_sources_settle_once)
{
    cr_assert(check(&f, "acme", 400));
    struct qd_report_args gateway = report_of(f.token, 300);
    struct qd_report_args pool = report_of(f.token, 0);
    pool.source = str("pool");
    pool.usage[0] = (struct qd_amount_arg){str("gpu_ms"), 1500};
    pool.partial = true;
    cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_PARTIAL);
    cr_assert_eq(report_args(&f, &gateway), QD_ERROR_NONE);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert_eq(used_of(&f, "acme", "input"), 300);
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
    pool.partial = false;
    pool.sequence = 1;
    cr_assert_eq(report_args(&f, &pool), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_LATE,
                 "a part that comes after the end is booked");
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
}

Test(node, S3_extend_renews_and_stops)
{
    cr_assert(check(&f, "acme", 100));
    struct qd_extend_args args;
    struct qd_extend_answer *answer = malloc(sizeof(*answer));
    memset(&args, 0, sizeof(args));
    args.reservation = str(f.token);
    fixture_pass(&f, 200 * S);
    cr_assert_eq(qd_node_extend(f.worker, &args, answer, &f.error), QD_ERROR_NONE, "%s",
                 f.error.text);
    cr_assert(answer->go_on);
    cr_assert_eq(answer->expires.ns, T0 + 500 * S);
    args.used[0] = (struct qd_amount_arg){str("input_tokens"), 5000};
    args.used_count = 1;
    cr_assert_eq(qd_node_extend(f.worker, &args, answer, &f.error), QD_ERROR_NONE);
    cr_assert_not(answer->go_on);
    cr_assert_eq(answer->denial, QD_DENIAL_LIMIT);
    free(answer);
}

Test(node, S4_not_dispatched_gives_all_back)
{
    cr_assert(check(&f, "acme", 100));
    struct qd_report_args args = report_of(f.token, 5);
    args.outcome = 2;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_USAGE_NOT_EMPTY);
    args.usage_count = 0;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE);
    cr_assert_eq(used_of(&f, "acme", "input"), 0);
    cr_assert_eq(used_of(&f, "acme", "requests"), 0);
}

Test(node, S5_an_expired_hold_is_released_and_a_late_report_books_once)
{
    cr_assert(check(&f, "acme", 400));
    cr_assert_gt(held_of(&f, "acme", "cost"), 0);
    fixture_pass(&f, 302 * S);
    cr_assert_eq(held_of(&f, "acme", "cost"), 0);
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    cr_assert_eq(used_of(&f, "acme", "cost"), 300000);
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    cr_assert(f.report.duplicate);
    cr_assert_eq(used_of(&f, "acme", "cost"), 300000);
}

Test(node, S6_the_same_report_again_gets_the_first_answer)
{
    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    struct qd_report_answer first = f.report;
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    cr_assert(f.report.duplicate);
    cr_assert_eq(f.report.entry_sequence, first.entry_sequence);
    cr_assert_eq(f.report.settlement, first.settlement);
    cr_assert_str_eq(f.report.cost_pico, first.cost_pico);
    cr_assert_eq(used_of(&f, "acme", "input"), 150);
    cr_assert_eq(used_of(&f, "acme", "cost"), 300000);
}

Test(node, S6_a_short_id_finds_its_report_after_the_hold_has_closed)
{
    cr_assert(check(&f, "acme", 400));
    char id[QD_SHORT_ID_MAX + 1] = "";
    memcpy(id, f.answer.id, f.answer.id_len);
    struct qd_report_args args = report_of(id, 150);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    uint64_t entry = f.report.entry_sequence;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.report.duplicate);
    cr_assert_eq(f.report.entry_sequence, entry);
    cr_assert_eq(used_of(&f, "acme", "cost"), 300000);
    args = report_of(id, 151);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_REPORT_CONFLICT);
    args = report_of("r_7ZZZZ", 150);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_UNKNOWN_RESERVATION);
}

Test(node, S6_the_same_key_with_other_content_is_refused)
{
    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    cr_assert_eq(report_tokens(&f, 151), QD_ERROR_REPORT_CONFLICT);
    cr_assert_not_null(strstr(f.error.text, "input_tokens 150, now 151; nothing is booked"), "%s",
                       f.error.text);
    cr_assert_eq(used_of(&f, "acme", "input"), 150);
}

Test(node, S6_each_sequence_is_a_part_of_its_own)
{
    struct qd_report_args args = report_of(NULL, 10);
    args.tenant = str("acme");
    args.model = str("m");
    args.request_id = str("q");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    args.sequence = 1;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE);
    cr_assert_not(f.report.duplicate);
    cr_assert_eq(used_of(&f, "acme", "input"), 20);
    cr_assert_eq(used_of(&f, "acme", "requests"), 1);
}

Test(node, S6_a_report_two_years_late_is_refused)
{
    struct qd_report_args args = report_of(NULL, 10);
    args.tenant = str("acme");
    args.request_id = str("old");
    args.event_time_given = true;
    args.event_time_ns = T0 - 730 * QD_NS_PER_DAY;
    cr_assert_eq(report_args(&f, &args), QD_ERROR_REPORT_TOO_OLD);
    cr_assert_str_eq(
        f.error.text,
        "event_time: 730 days ago; reports are accepted for 35 days (report_horizon in "
        "the policy); nothing is booked: see what was booked in time with quotactl "
        "ledger ls TENANT");
    struct qd_check_args check = args_of("acme", 10);
    check.event_time_given = true;
    check.event_time_ns = args.event_time_ns;
    cr_assert_eq(check_args(&f, &check), QD_ERROR_INVALID_TIME);
    cr_assert_str_eq(
        f.error.text,
        "event_time: 730 days ago; accepted are at most 35 days (report_horizon in the "
        "policy); leave it out for now");
}

Test(node, S7_post_paid_usage_charges_the_same_limits)
{
    struct qd_report_args args = report_of(NULL, 700);
    args.tenant = str("acme");
    args.model = str("m");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_REQUEST_ID_REQUIRED);
    args.request_id = str("p-1");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_NONE);
    cr_assert_eq(used_of(&f, "acme", "input"), 700);
    cr_assert_not(check(&f, "acme", 400));
}

Test(node, X5_what_was_booked_comes_back_after_a_crash_and_holds_do_not)
{
    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    cr_assert(check(&f, "acme", 400));
    char token[QD_TOKEN_TEXT_MAX + 1];
    memcpy(token, f.token, sizeof(token));
    fixture_close(&f);
    qd_store_memory_crash(f.store, 0);
    fixture_open(&f, policy);
    cr_assert_eq(used_of(&f, "acme", "cost"), 300000, "budgets come from the ledger");
    cr_assert_eq(held_of(&f, "acme", "cost"), 0);
    struct qd_report_args args = report_of(token, 100);
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "tokens outlive the memory: %s",
                 f.error.text);
    cr_assert_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    cr_assert_eq(used_of(&f, "acme", "cost"), 500000);
}

Test(node, X5_a_boot_reads_the_ledger_from_the_open_period_on)
{
    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    fixture_pass(&f, 40 * QD_NS_PER_DAY);
    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 100), QD_ERROR_NONE);
    cr_assert_eq(used_of(&f, "acme", "cost"), 200000);
    fixture_close(&f);
    fixture_forget_snapshot(&f);
    fixture_open(&f, policy);
    cr_assert(f.recovery.from_ledger);
    cr_assert_eq(f.recovery.entries, 1, "the entry of two months ago is not read");
    cr_assert_eq(used_of(&f, "acme", "cost"), 200000);
    cr_assert_eq(f.node->rebuild_left_out, 0);
}

static const char lifelong[] = "version: 1\n"
                               "models:\n"
                               "  m: {max_output_tokens: 100}\n"
                               "plans:\n"
                               "  basic:\n"
                               "    life: {limit: 0, algorithm: prepaid, meter: input_tokens}\n"
                               "    day: {limit: 1M/day, meter: input_tokens}\n"
                               "tenants:\n"
                               "  acme: {plan: basic}\n";

Test(node, X5_a_prepaid_balance_is_counted_from_the_first_entry)
{
    fixture_publish(&f, lifelong);
    struct qd_report_args args = report_of(NULL, 150);
    args.tenant = str("acme");
    args.model = str("m");
    args.request_id = str("first");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    fixture_pass(&f, 1000 * QD_NS_PER_DAY);
    fixture_close(&f);
    fixture_open(&f, lifelong);
    cr_assert_eq(f.recovery.entries, 1);
    cr_assert_eq(used_of(&f, "acme", "life"), 150);
}

Test(node, D12_entries_that_find_no_room_at_boot_are_counted)
{
    fixture_publish(&f, lifelong);
    struct qd_report_args args = report_of(NULL, 150);
    args.tenant = str("acme");
    args.model = str("m");
    args.request_id = str("first");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    fixture_close(&f);
    f.gauges = 1;
    fixture_open(&f, lifelong);
    cr_assert_eq(f.node->rebuild_left_out, 1);
}

Test(node, X4_a_report_that_cannot_be_written_is_refused_and_checks_go_on)
{
    cr_assert(check(&f, "acme", 400));
    qd_store_memory_faults(f.store)->write =
        (struct qd_store_fault){.countdown = 0, .repeat = true};
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_STORE_ERROR);
    cr_assert_not_null(strstr(f.error.text, "retry the same report"), "%s", f.error.text);
    cr_assert_eq(used_of(&f, "acme", "input"), 400, "nothing was settled");
    cr_assert(check(&f, "acme", 100));
    qd_store_memory_faults(f.store)->write = (struct qd_store_fault){.countdown = -1};
}

Test(node, P6_a_reload_keeps_what_was_used)
{
    char changed[sizeof(policy) + 16];
    cr_assert(check(&f, "acme", 900));
    char *at = strstr(memcpy(changed, policy, sizeof(policy)), "1000/min");
    memcpy(at, "2000/min", 8);
    fixture_publish(&f, changed);
    cr_assert(check(&f, "acme", 1000));
    cr_assert_eq(f.answer.policy_revision, 2);
    cr_assert_eq(used_of(&f, "acme", "input"), 1900);
    cr_assert_not(check(&f, "acme", 200));
}

Test(node, P8_an_unknown_price_is_never_zero)
{
    struct qd_report_args args = report_of(NULL, 700);
    args.tenant = str("acme");
    args.model = str("unheard-of");
    args.request_id = str("p-2");
    cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.report.unpriced);
    cr_assert_str_eq(f.report.cost_pico, "");
    cr_assert_neq(f.report.unpriced_meters & QD_METER_BIT(QD_METER_INPUT_TOKENS), 0);
}

Test(node, D8_a_dry_run_changes_nothing)
{
    struct qd_check_args args = args_of("acme", 900);
    args.dry_run = true;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    cr_assert(f.answer.allowed);
    cr_assert_eq(f.answer.token_len, 0);
    cr_assert_eq(used_of(&f, "acme", "input"), 0);
}

Test(node, D9_the_first_candidate_that_fits_is_reserved)
{
    struct qd_check_args args = args_of("acme", 100);
    args.candidates[0].model = str("m");
    args.candidates[1].model = str("other");
    args.candidate_count = 2;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    cr_assert_eq(f.answer.verdict.candidate, 0);
    args.candidate_count = 17;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_TOO_MANY_CANDIDATES);
    cr_assert_str_eq(f.error.text, "candidates: 17 given; at most 16 are accepted");
}

Test(node, X5_draining_settles_but_reserves_nothing)
{
    cr_assert(check(&f, "acme", 100));
    atomic_store(&f.node->draining, true);
    cr_assert_eq(report_tokens(&f, 50), QD_ERROR_NONE);
    cr_assert_not(check(&f, "acme", 100));
    cr_assert_eq(f.answer.denial, QD_DENIAL_DRAINING);
    cr_assert_str_eq(f.answer.message,
                     "this node drains and makes no new reservations; ask another node");
}

Test(node, C7_a_step_of_the_systems_clock_changes_no_verdict)
{
    cr_assert(check(&f, "acme", 900));
    f.wall += 365 * QD_NS_PER_DAY;
    qd_node_tick(f.node);
    cr_assert_not(check(&f, "acme", 200), "a year forward doesn't refill a limit");
    f.wall -= 365 * QD_NS_PER_DAY + QD_NS_PER_HOUR;
    qd_node_tick(f.node);
    fixture_pass(&f, 62 * S);
    cr_assert(check(&f, "acme", 200), "an hour back doesn't stop time");
    cr_assert_neq(qd_clock_alarm(&f.node->clock, NULL), 0);
}

Test(node, S5_marks_of_closed_reservations_go_when_no_report_can_come)
{
    struct qd_str name;
    struct qd_str value;
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {"r", 1}, .upper = {"s", 1}};

    cr_assert(check(&f, "acme", 400));
    cr_assert_eq(report_tokens(&f, 150), QD_ERROR_NONE);
    for (int64_t days = 0; days < 40; days += 36) {
        struct qd_store_iter *iter = qd_store_iter_open(f.store, &range);
        cr_assert_eq(qd_store_iter_next(iter, &name, &value, NULL),
                     days == 0 ? QD_STORE_OK : QD_STORE_END);
        qd_store_iter_close(iter);
        fixture_pass(&f, 37 * QD_NS_PER_DAY);
    }
}
