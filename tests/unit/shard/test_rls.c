/* Envoy's rate limits on the core's counters (I3). */
#include "tests/unit/shard/fixture.h"

#include "server/shard/reconcile.h"
#include "server/shard/rls.h"
#include "server/shard/snapshot.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(rls, .timeout = 60);

static const char policy[] = "version: 1\n"
                             "plans: {pro: {requests: 10/min}}\n"
                             "tenants: {acme: {plan: pro}}\n";

static struct fixture f;

static struct qd_rls_hits minute(uint64_t counter, int64_t hits)
{
    return (struct qd_rls_hits){.limit = qd_rls_limit(QD_NS_PER_MINUTE, false),
                                .amount = 5,
                                .counter = {counter, counter << 52 | 7},
                                .name = str("domain.key_value"),
                                .hits = hits};
}

static int64_t count(const struct qd_rls_hits *hits)
{
    struct qd_rls_counted counted;

    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_rls_count(f.worker, hits, &counted, &f.error), QD_ERROR_NONE, "%s",
                 f.error.text);
    qd_worker_leave(f.worker);
    return counted.used;
}

static int64_t count_minute(uint64_t counter, int64_t hits)
{
    struct qd_rls_hits h = minute(counter, hits);

    return count(&h);
}

Test(rls, I3_point_4_hits_count_whether_they_fit_or_not)
{
    fixture_open(&f, policy);
    cr_expect_eq(count_minute(1, 1), 1);
    cr_expect_eq(count_minute(1, 4), 5, "at the limit");
    cr_expect_eq(count_minute(1, 10), 15, "a batch that does not fit");
    cr_expect_eq(count_minute(2, 1), 1, "another counter");
    fixture_end(&f);
}

/* What a node tells of its reservations is not about Envoy's hits. */
Test(rls, I2_hits_are_no_reservations)
{
    uint64_t settled = 0;

    fixture_open(&f, policy);
    cr_expect_eq(count_minute(1, 3), 3);
    cr_expect_eq(count_minute(1, -1), 2);
    for (uint32_t i = 0; i < f.node->shards.count; i++) {
        struct qd_core_stats stats;
        qd_core_stats(f.node->shards.home[i].core, &stats);
        settled += stats.settled;
    }
    cr_expect_eq(settled, 0);
    fixture_end(&f);
}

Test(rls, I3_hits_that_do_not_fit_count_nothing_if_asked_so)
{
    struct qd_rls_counted counted;

    fixture_open(&f, policy);
    struct qd_rls_hits h = minute(1, 4);
    h.if_it_fits = true;
    cr_expect_eq(count(&h), 4);
    cr_expect_eq(count(&h), 4, "a batch of 4 does not fit in the 1 that is left");
    h.hits = 1;
    cr_expect_eq(count(&h), 5);
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_rls_count(f.worker, &h, &counted, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_expect(counted.over && counted.used == 5 && counted.before == 5);
    h.hits = -2;
    cr_expect_eq(count(&h), 3, "given back");
    h.hits = 0;
    cr_expect_eq(count(&h), 3, "a look");
    fixture_end(&f);
}

/* Who asks again and again is let in at the limit's rate all the same. */
Test(rls, I3_a_sliding_window_is_not_kept_full_by_what_it_denies)
{
    unsigned allowed = 0;

    fixture_open(&f, policy);
    struct qd_rls_hits h = minute(1, 1);
    h.limit = qd_rls_limit(QD_NS_PER_MINUTE, true);
    h.if_it_fits = true;
    for (unsigned i = 0; i < 600; i++) { /* one a second for ten minutes */
        struct qd_rls_counted counted;
        (void)qd_worker_enter(f.worker);
        cr_assert_eq(qd_rls_count(f.worker, &h, &counted, &f.error), QD_ERROR_NONE);
        qd_worker_leave(f.worker);
        allowed += !counted.over;
        fixture_pass(&f, QD_NS_PER_S);
    }
    cr_expect_geq(allowed, 9 * 5);
    cr_expect_leq(allowed, 11 * 5);
    fixture_end(&f);
}

Test(rls, I3_point_3_no_hits_are_a_look)
{
    fixture_open(&f, policy);
    cr_expect_eq(count_minute(1, 0), 0, "there was none");
    cr_expect_eq(count_minute(1, 3), 3);
    cr_expect_eq(count_minute(1, 0), 3);
    cr_expect_eq(count_minute(1, 0), 3);
    fixture_end(&f);
}

Test(rls, I3_point_14_hits_that_are_given_back_leave_at_least_nothing)
{
    fixture_open(&f, policy);
    cr_expect_eq(count_minute(1, -3), 0);
    cr_expect_eq(count_minute(1, 8), 8);
    cr_expect_eq(count_minute(1, -3), 5);
    cr_expect_eq(count_minute(1, INT64_MIN / 4), 0);
    cr_expect_eq(count_minute(1, 1), 1);
    fixture_end(&f);
}

Test(rls, I3_point_14_a_refund_is_never_over)
{
    struct qd_rls_counted counted;

    fixture_open(&f, policy);
    cr_expect_eq(count_minute(1, 9), 9);
    struct qd_rls_hits h = minute(1, -1);
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_rls_count(f.worker, &h, &counted, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_expect_eq(counted.used, 8, "above the limit still");
    cr_expect_not(counted.over);
    fixture_end(&f);
}

Test(rls, I3_point_7_windows_lie_on_multiples_of_their_length)
{
    static const int64_t days[] = {1, 7, 30, 365};
    struct qd_rls_counted counted;

    fixture_open(&f, policy);
    for (unsigned i = 0; i < 4; i++) {
        struct qd_rls_hits h = minute(10 + i, 2);
        h.limit = qd_rls_limit(days[i] * QD_NS_PER_DAY, false);
        (void)qd_worker_enter(f.worker);
        cr_assert_eq(qd_rls_count(f.worker, &h, &counted, &f.error), QD_ERROR_NONE);
        qd_worker_leave(f.worker);
        cr_expect_eq(counted.resets_at.ns % (days[i] * QD_NS_PER_DAY), 0, "%ld days",
                     (long)days[i]);
        cr_expect_gt(counted.resets_at.ns, counted.now.ns);
        cr_expect_leq(counted.resets_at.ns - counted.now.ns, days[i] * QD_NS_PER_DAY);
    }
    cr_expect_eq(count_minute(1, 4), 4);
    fixture_pass(&f, QD_NS_PER_MINUTE);
    cr_expect_eq(count_minute(1, 1), 1, "the next window");
    fixture_end(&f);
}

Test(rls, I3_a_sliding_window_remembers_across_the_boundary)
{
    fixture_open(&f, policy);
    struct qd_rls_hits h = minute(1, 10);
    h.limit = qd_rls_limit(QD_NS_PER_MINUTE, true);
    cr_expect_eq(count(&h), 10);
    fixture_pass(&f, QD_NS_PER_MINUTE / 2);
    h.hits = 0;
    cr_expect_eq(count(&h), 10);
    fixture_pass(&f, QD_NS_PER_MINUTE);
    cr_expect_eq(count(&h), 0);
    fixture_end(&f);
}

/* The limit is not part of the counter: it keeps what was counted. */
Test(rls, P6_another_amount_keeps_the_counter)
{
    fixture_open(&f, policy);
    struct qd_rls_hits h = minute(1, 4);
    cr_expect_eq(count(&h), 4);
    h.amount = 100;
    cr_expect_eq(count(&h), 8);
    h.amount = 5;
    cr_expect_eq(count(&h), 12);
    fixture_publish(&f, policy);
    cr_expect_eq(count(&h), 16, "and a new policy does");
    fixture_end(&f);
}

Test(rls, X5_a_restart_remembers_what_was_counted)
{
    fixture_open(&f, policy);
    struct qd_rls_hits day = minute(2, 4);
    day.limit = qd_rls_limit(QD_NS_PER_DAY, false);
    cr_expect_eq(count(&day), 4);
    cr_expect_eq(count_minute(1, 4), 4);
    fixture_snapshot(&f);
    fixture_close(&f);
    fixture_open(&f, policy);
    day.hits = 0;
    cr_expect_eq(count(&day), 4);
    cr_expect_eq(count_minute(1, 0), 4);
    (void)qd_worker_enter(f.worker);
    struct qd_reconciled answer;
    cr_assert_eq(qd_node_reconcile(f.worker, &answer, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_expect(answer.clean, "a day is no budget of the ledger's: %s", answer.difference);
    fixture_end(&f);
}

Test(rls, D12_more_counters_than_there_is_room_for_are_kept_in_the_store)
{
    fixture_open(&f, policy);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 1; i <= 1000; i++) {
            struct qd_rls_hits h = minute(i, 1);
            h.limit = qd_rls_limit(365 * QD_NS_PER_DAY, false);
            cr_assert_eq(count(&h), round, "counter %u", i);
            fixture_pass(&f, QD_NS_PER_S);
        }
    }
    cr_expect_gt(f.worker->figures.evictions, 0);
    fixture_end(&f);
}
