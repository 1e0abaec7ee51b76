/* Expiry: holds end by their limits' rules, on time, however long or odd the time was (S5). */
#include "fixture.h"

#include "server/core/bucket.h"

#include <criterion/criterion.h>

TestSuite(expire, .timeout = 60);

#define SECOND QD_NS_PER_S

Test(expire, S5_a_hold_lives_until_the_first_whole_second_after_its_expiry)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 3, "acme");
    fx_bind(&f);
    f.check.ttl_ns = SECOND;
    fx_advance(&f, SECOND / 2);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    f.now.ns = FX_START_NS + 2 * SECOND - 1;
    cr_expect_eq(fx_expire(&f), 0);
    f.now.ns = FX_START_NS + 2 * SECOND;
    cr_expect_eq(fx_expire(&f), 1);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 0);
    struct qd_event event;
    cr_assert(qd_core_event(f.home, &event));
    cr_expect_eq(event.kind, QD_EVENT_EXPIRED);
    cr_expect_eq(event.reservation, f.verdict.reservation);
    cr_expect_str_eq(event.name, "acme/search/key-7");
    fx_release(&f);
}

struct keep_case {
    enum qd_keep keep;
    enum qd_consistency consistency;
    int64_t kept;
};

Test(expire, S5_release_keep_input_or_charge_and_hard_limits_keep_all)
{
    static const struct keep_case cases[] = {{QD_KEEP_NOTHING, QD_GOSSIP, 0},
                                             {QD_KEEP_INPUT, QD_GOSSIP, 1000},
                                             {QD_KEEP_ALL, QD_GOSSIP, 1400},
                                             {QD_KEEP_NOTHING, QD_HARD, 1400}};
    for (size_t i = 0; i < 4; i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *window = fx_token_limit(&f, QD_SLIDING_WINDOW);
        struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
        struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
        struct qd_limit *all[] = {window, month, parallel};
        for (unsigned j = 0; j < 3; j++) {
            all[j]->on_expiry = cases[i].keep;
            all[j]->consistency = cases[i].consistency;
            fx_apply(&f, all[j], 100000, "acme");
        }
        fx_bind(&f);
        f.check.ttl_ns = 5 * SECOND;
        cr_assert_eq(fx_check(&f, 1000, 400), QD_ALLOW);
        fx_advance(&f, 10 * SECOND);
        cr_expect_eq(fx_expire(&f), 1);
        cr_expect_eq(fx_used(&f, window, "acme"), cases[i].kept, "case %zu", i);
        cr_expect_eq(fx_held(&f, month, "acme"), cases[i].kept, "case %zu", i);
        cr_expect_eq(fx_used(&f, month, "acme"), 0);
        cr_expect_eq(fx_held(&f, parallel, "acme"), 0, "a lease is over in any case (D7)");
        cr_expect_eq(fx_stats(&f).reservations_kept, cases[i].kept > 0);

        struct qd_hold hold;
        uint64_t cursor = 0;
        cr_expect_eq(qd_core_hold_next(f.home, &cursor, &hold), cases[i].kept > 0);

        /* What expiry assumed is undone by the report. */
        fx_advance(&f, 10 * SECOND);
        struct qd_usage estimate = f.verdict.estimate;
        struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
        s->charged_at = f.verdict.made_at;
        s->estimate = estimate;
        qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 800);
        qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, 11);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
        cr_expect_eq(fx_used(&f, window, "acme"), 811, "case %zu", i);
        cr_expect_eq(fx_used(&f, month, "acme"), 811, "case %zu", i);
        cr_expect_eq(fx_held(&f, month, "acme"), 0, "case %zu", i);
        cr_expect_eq(fx_stats(&f).reservations_kept, 0);
        cr_expect_eq(fx_stats(&f).late, 1);
        fx_release(&f);
    }
}

Test(expire, S5_what_is_kept_ends_with_its_window)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *month = fx_month(&f, QD_METER_INPUT_TOKENS);
    struct qd_limit *window = fx_token_limit(&f, QD_SLIDING_WINDOW);
    month->consistency = QD_HARD;
    window->on_expiry = QD_KEEP_ALL;
    fx_apply(&f, month, 100000, "acme");
    fx_apply(&f, window, 100000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1000, 0), QD_ALLOW);
    for (unsigned day = 0; day < 9; day++) {
        fx_advance(&f, QD_NS_PER_DAY);
        fx_expire(&f);
        cr_expect_eq(fx_held(&f, month, "acme"), 1000);
        cr_expect_eq(fx_used(&f, window, "acme"), 0);
        cr_expect_eq(fx_stats(&f).reservations_kept, 1);
    }
    fx_advance(&f, QD_NS_PER_DAY); /* October */
    fx_expire(&f);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    cr_expect_eq(fx_stats(&f).reservations_kept, 0);
    fx_release(&f);
}

Test(expire, S9_an_operator_releases_what_is_kept)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *prepaid = fx_limit(&f, QD_PREPAID, QD_METER_INPUT_TOKENS);
    prepaid->consistency = QD_HARD;
    fx_apply(&f, prepaid, 100000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1000, 0), QD_ALLOW);
    for (unsigned year = 0; year < 5; year++) {
        fx_advance(&f, 365 * QD_NS_PER_DAY);
        fx_expire(&f);
        cr_expect_eq(fx_held(&f, prepaid, "acme"), 1000, "its window has no end");
    }
    cr_expect_eq(fx_cancel(&f, f.verdict.reservation), QD_OK);
    cr_expect_eq(fx_held(&f, prepaid, "acme"), 0);
    fx_release(&f);
}

Test(expire, S5_many_holds_end_on_time_a_few_at_each_check)
{
    struct qd_core_config config = {.reservations = 1000};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 100000, "acme");
    fx_bind(&f);
    f.check.ttl_ns = 2 * SECOND;
    for (unsigned i = 0; i < 20000; i++) { /* 250 a second */
        fx_advance(&f, 4 * QD_NS_PER_MS);
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
        int64_t held = fx_held(&f, parallel, "acme");
        cr_assert_leq(held, 1000);
        cr_assert(i < 2000 || held >= 500, "%u: %ld", i, (long)held);
    }
    fx_release(&f);
}

Test(expire, S5_a_jump_of_a_year_ends_all_and_a_step_back_ends_none)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 100, "acme");
    fx_bind(&f);
    for (unsigned i = 0; i < 10; i++) {
        f.check.ttl_ns = (int64_t)(1 + 2000 * i) * SECOND;
        cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    }
    fx_advance(&f, -QD_NS_PER_HOUR);
    cr_expect_eq(fx_expire(&f), 0);
    fx_advance(&f, 365 * QD_NS_PER_DAY);
    cr_expect_eq(fx_expire(&f), 10);
    cr_expect_eq(fx_held(&f, parallel, "acme"), 0);
    fx_release(&f);
}

/* A kept hold in a bucket whose rate became 0 ends when nothing could be given back for it any
 * more, or its window is over: it doesn't stay for ever. What it charged does, since nothing
 * drains. */
Test(expire, S5_what_a_bucket_keeps_ends_though_nothing_drains)
{
    static const int64_t windows_ns[] = {QD_NS_PER_MINUTE, QD_NS_PER_DAY, 30 * QD_NS_PER_DAY};
    for (unsigned i = 0; i < 3; i++) {
        struct fx f;
        fx_init(&f, NULL);
        struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
        int64_t end_ns = windows_ns[i];
        if (end_ns < QD_BUCKET_HORIZON_NS) {
            end_ns = QD_BUCKET_HORIZON_NS;
        }
        bucket->on_expiry = QD_KEEP_ALL;
        bucket->window_ns = windows_ns[i];
        fx_apply(&f, bucket, 1000, "acme");
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
        fx_set_amount(&f, bucket, 0);
        f.epoch++;
        fx_bind(&f);
        fx_advance(&f, QD_TTL_DEFAULT_NS);
        cr_assert_eq(fx_expire(&f), 1);
        for (int64_t passed_ns = QD_TTL_DEFAULT_NS; passed_ns < end_ns - 8 * QD_NS_PER_HOUR;) {
            fx_advance(&f, 8 * QD_NS_PER_HOUR);
            passed_ns += 8 * QD_NS_PER_HOUR;
            fx_expire(&f);
            cr_expect_eq(fx_stats(&f).reservations_kept, 1, "window %u", i);
        }
        fx_advance(&f, 8 * QD_NS_PER_HOUR + SECOND);
        fx_expire(&f);
        cr_expect_eq(fx_stats(&f).reservations_kept, 0, "window %u", i);
        cr_expect_eq(fx_used(&f, bucket, "acme"), 900);
        fx_release(&f);
    }
}

/* Until then a report is settled in place of what was kept, whenever the rate comes back. */
Test(expire, S5_a_report_undoes_what_a_bucket_without_a_rate_keeps)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *bucket = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_INPUT_TOKENS);
    bucket->on_expiry = QD_KEEP_ALL;
    fx_apply(&f, bucket, 1000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 900, 0), QD_ALLOW);
    fx_set_amount(&f, bucket, 0);
    f.epoch++;
    fx_bind(&f);
    fx_advance(&f, 12 * QD_NS_PER_HOUR);
    cr_assert_eq(fx_expire(&f), 1);
    fx_bind(&f);
    cr_assert_eq(fx_settle(&f, 200, 0), QD_OK);
    cr_expect(f.settled.had_reservation);
    cr_expect_eq(fx_used(&f, bucket, "acme"), 200);
    fx_release(&f);
}

/* Holds with more limits than a record has room for end like the others, next to them. */
Test(expire, S5_holds_of_many_limits_end_beside_small_ones)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limits[20];
    for (unsigned i = 0; i < 20; i++) {
        limits[i] = fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_INPUT_TOKENS);
    }
    for (unsigned n = 0; n < 12; n++) {
        f.item_count = 0;
        f.epoch++;
        for (unsigned i = 0; i < (n % 2 == 0 ? 20 : 2); i++) {
            fx_apply(&f, limits[i], 1000, "acme");
        }
        fx_bind(&f);
        cr_assert_eq(fx_check(&f, 10, 0), QD_ALLOW);
    }
    cr_expect_eq(fx_used(&f, limits[19], "acme"), 60);
    fx_advance(&f, QD_TTL_DEFAULT_NS);
    cr_expect_eq(fx_expire(&f), 12);
    for (unsigned i = 0; i < 20; i++) {
        cr_expect_eq(fx_used(&f, limits[i], "acme"), 0);
    }
    fx_release(&f);
}
