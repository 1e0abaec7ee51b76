/* Reports that are begun together: each as if it had come alone, in their order. */
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>

static const char policy[] = "version: 1\n"
                             "models:\n"
                             "  m: {max_output_tokens: 100}\n"
                             "prices:\n"
                             "  m: {input_tokens: $2/1M, output_tokens: $4/1M}\n"
                             "plans:\n"
                             "  basic:\n"
                             "    input: {limit: 100k/month, meter: input_tokens}\n"
                             "tenants:\n"
                             "  \"*\": {plan: basic}\n";

static struct fixture f;
static struct qd_reports *reports;
static char ids[16][16];

static void open_node(void)
{
    fixture_open(&f, policy);
    reports = qd_reports_new(f.worker, 8);
    cr_assert_not_null(reports);
}

static void end_node(void)
{
    qd_reports_free(reports);
    fixture_end(&f);
}

TestSuite(reports, .init = open_node, .fini = end_node);

/* Post-paid (S7): `tokens` of input for acme under a request id of its own. */
static struct qd_report_args paid_after(unsigned i, int64_t tokens)
{
    struct qd_report_args args = report_of("", tokens);

    (void)snprintf(ids[i], sizeof(ids[i]), "r%u", i);
    args.tenant = str("acme");
    args.model = str("m");
    args.request_id = str(ids[i]);
    return args;
}

Test(reports, L2_several_are_booked_in_their_order)
{
    struct qd_report_args args[4];

    for (unsigned i = 0; i < 4; i++) {
        args[i] = paid_after(i, 100 + (int64_t)i);
        cr_assert(qd_reports_begin(reports, &args[i]));
    }
    cr_expect_eq(used_of(&f, "acme", "input"), 0); /* X5: nothing counts before it is booked */
    cr_assert_eq(qd_reports_finish(reports), 4);
    uint64_t before = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const struct qd_report_result *r = qd_reports_result(reports, i);
        cr_assert_eq(r->code, QD_ERROR_NONE, "%s", r->error.text);
        cr_expect_gt(r->answer.entry_sequence, before);
        before = r->answer.entry_sequence;
        cr_expect_eq(r->answer.cost_nano, (100 + (int64_t)i) * 2000);
    }
    cr_expect_eq(used_of(&f, "acme", "input"), 406);
}

Test(reports, a_full_batch_is_finished_first_and_then_starts_anew)
{
    struct qd_report_args args[9];

    for (unsigned i = 0; i < 9; i++) {
        args[i] = paid_after(i, 10);
        cr_assert_eq(qd_reports_begin(reports, &args[i]), i < 8);
    }
    cr_assert_eq(qd_reports_finish(reports), 8);
    cr_assert(qd_reports_begin(reports, &args[8]));
    cr_assert_eq(qd_reports_finish(reports), 1);
    cr_expect_eq(qd_reports_result(reports, 0)->code, QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "input"), 90);
}

Test(reports, I1_one_that_is_refused_fails_alone)
{
    struct qd_report_args args[3] = {paid_after(0, 10), paid_after(1, 20), paid_after(2, 30)};

    args[1].request_id = str("");
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(qd_reports_begin(reports, &args[i]));
    }
    cr_assert_eq(qd_reports_finish(reports), 3);
    cr_expect_eq(qd_reports_result(reports, 0)->code, QD_ERROR_NONE);
    cr_expect_eq(qd_reports_result(reports, 1)->code, QD_ERROR_REQUEST_ID_REQUIRED);
    cr_expect_eq(qd_reports_result(reports, 2)->code, QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "input"), 40);
}

Test(reports, S6_the_same_report_twice_in_a_batch_books_once)
{
    struct qd_report_args args[3] = {paid_after(0, 10), paid_after(0, 10), paid_after(0, 11)};

    for (unsigned i = 0; i < 3; i++) {
        cr_assert(qd_reports_begin(reports, &args[i]));
    }
    (void)qd_reports_finish(reports);
    cr_expect_eq(qd_reports_result(reports, 0)->code, QD_ERROR_NONE);
    cr_expect(!qd_reports_result(reports, 0)->answer.duplicate);
    cr_expect_eq(qd_reports_result(reports, 1)->code, QD_ERROR_NONE);
    cr_expect(qd_reports_result(reports, 1)->answer.duplicate);
    cr_expect_eq(qd_reports_result(reports, 2)->code, QD_ERROR_REPORT_CONFLICT);
    cr_expect_eq(used_of(&f, "acme", "input"), 10);
}

Test(reports, S2_two_of_one_reservation_go_one_by_one)
{
    cr_assert(check(&f, "acme", 1000));
    struct qd_report_args gateway = report_of(f.token, 700);
    struct qd_report_args pool = report_of(f.token, 70);
    struct qd_report_args other = paid_after(0, 5);
    pool.source = str("pool");

    cr_assert(qd_reports_begin(reports, &gateway));
    cr_assert_not(qd_reports_begin(reports, &pool));
    cr_assert(qd_reports_begin(reports, &other), "others go on");
    cr_assert_eq(qd_reports_finish(reports), 2);
    cr_expect_eq(qd_reports_result(reports, 0)->answer.settlement, QD_SETTLEMENT_CLOSED);
    cr_assert(qd_reports_begin(reports, &pool));
    cr_assert_eq(qd_reports_finish(reports), 1);
    cr_expect_eq(qd_reports_result(reports, 0)->answer.settlement, QD_SETTLEMENT_LATE);
    cr_expect_eq(used_of(&f, "acme", "input"), 775);
    cr_expect_eq(held_of(&f, "acme", "input"), 0);
}

/* --- turns --- */

static void *take_seven(void *turns)
{
    qd_turns_take(turns, 7 + QD_TURNS); /* the same low bits */
    qd_turns_end(turns, 7 + QD_TURNS);
    return NULL;
}

Test(turns, S2_a_turn_is_one_reservations_until_it_ends)
{
    static struct qd_turns turns;
    pthread_t waiter;

    qd_turns_init(&turns);
    cr_assert(qd_turns_try(&turns, 7));
    cr_assert_not(qd_turns_try(&turns, 7));
    cr_assert(qd_turns_try(&turns, 8));
    cr_assert_eq(pthread_create(&waiter, NULL, take_seven, &turns), 0);
    qd_turns_end(&turns, 7);
    cr_assert_eq(pthread_join(waiter, NULL), 0);
    cr_assert(qd_turns_try(&turns, 7));
    qd_turns_end(&turns, 7);
    qd_turns_end(&turns, 8);
    qd_turns_release(&turns);
}
