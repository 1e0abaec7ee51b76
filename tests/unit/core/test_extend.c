/* Extending: renewal, progressive settling, stopping (S3). */
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(extend, .timeout = 60);

Test(extend, S3_renews_the_hold)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *parallel = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, parallel, 3, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    for (unsigned i = 0; i < 20; i++) {
        fx_advance(&f, 200 * QD_NS_PER_S);
        fx_expire(&f);
        cr_expect_eq(fx_held(&f, parallel, "acme"), 1);
        cr_expect_eq(fx_extend(&f, f.verdict.reservation, 0), QD_OK);
    }
    fx_advance(&f, 301 * QD_NS_PER_S);
    cr_expect_eq(fx_extend(&f, f.verdict.reservation, 0), QD_NO_RESERVATION, "too late");
    cr_expect_eq(fx_held(&f, parallel, "acme"), 0);
    cr_expect_eq(fx_stats(&f).expired, 1);
    fx_release(&f);
}

Test(extend, S3_a_shorter_renewal_ends_the_hold_sooner)
{
    struct fx f;
    fx_init(&f, NULL);
    fx_apply(&f, fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY), 3, "acme");
    fx_bind(&f);
    f.check.ttl_ns = QD_TTL_MAX_NS;
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    cr_expect_eq(fx_extend(&f, f.verdict.reservation, 0), QD_OK);
    fx_advance(&f, QD_TTL_DEFAULT_NS - 1);
    cr_expect_eq(fx_expire(&f), 0);
    fx_advance(&f, 1);
    cr_expect_eq(fx_expire(&f), 1);
    fx_release(&f);
}

Test(extend, S3_the_hold_grows_to_what_was_used_and_stops_at_the_limit)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *otpm = fx_limit(&f, QD_TOKEN_BUCKET, QD_METER_OUTPUT_TOKENS);
    struct qd_limit *month = fx_token_limit(&f, QD_CALENDAR);
    otpm->output_estimate = QD_OUTPUT_NONE; /* Anthropic: output counts as it is produced (P5) */
    fx_apply(&f, otpm, 1000, "acme");
    fx_apply(&f, month, 100000, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 300), QD_ALLOW);
    cr_expect_eq(fx_used(&f, otpm, "acme"), 0);
    cr_expect_eq(fx_held(&f, month, "acme"), 400);
    cr_expect_eq(fx_extend(&f, f.verdict.reservation, 250), QD_OK);
    cr_expect_eq(fx_used(&f, otpm, "acme"), 250);
    cr_expect_eq(fx_held(&f, month, "acme"), 400, "the larger of hold and use");
    cr_expect_eq(fx_extend(&f, f.verdict.reservation, 900), QD_OK);
    cr_expect_eq(fx_used(&f, otpm, "acme"), 900);
    cr_expect_eq(fx_held(&f, month, "acme"), 1000);
    cr_expect_eq(fx_extend(&f, f.verdict.reservation, 1001), QD_STOP);
    cr_expect_eq(f.states[0].limit, otpm);
    cr_expect_eq(fx_used(&f, otpm, "acme"), 1001, "it was used: it is counted all the same");
    cr_assert_eq(fx_settle(&f, 100, 1001), QD_OK);
    cr_expect_eq(fx_used(&f, otpm, "acme"), 1001);
    cr_expect_eq(fx_used(&f, month, "acme"), 1101);
    cr_expect_eq(fx_held(&f, month, "acme"), 0);
    cr_expect_eq(fx_stats(&f).stopped, 1);
    fx_release(&f);
}

Test(extend, S3_a_blocked_tenant_is_stopped)
{
    struct fx f;
    fx_init(&f, NULL);
    fx_apply(&f, fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY), 3, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    f.blocked = true;
    fx_bind(&f);
    cr_expect_eq(fx_extend(&f, f.verdict.reservation, 0), QD_STOP);
    cr_expect_null(f.states[0].limit);
    fx_release(&f);
}

Test(extend, S3_meters_that_were_not_estimated_join_the_hold)
{
    struct qd_core_config config = {.progress = 1};
    struct fx f;
    fx_init(&f, &config);
    struct qd_limit *images = fx_month(&f, QD_METER_IMAGES);
    for (unsigned i = 0; i < 11; i++) { /* so many charges that further meters need a spill */
        fx_apply(&f, fx_limit(&f, QD_SLIDING_WINDOW, QD_METER_REQUESTS), 100, "acme");
    }
    fx_apply(&f, images, 5, "acme");
    fx_bind(&f);
    struct qd_usage used = {0};
    qd_usage_set(&used, QD_METER_IMAGES, 3);
    for (unsigned m = QD_METER_FIRST_CUSTOM; m < QD_METER_FIRST_CUSTOM + 10; m++) {
        qd_usage_set(&used, m, 1);
    }
    f.check.estimate.present = 0;
    qd_usage_set(&f.check.estimate, QD_METER_REQUESTS, 1);
    qd_usage_set(&f.check.estimate, QD_METER_IMAGES, 1);
    struct qd_wall_ns expires;
    for (unsigned i = 0; i < 2; i++) { /* the second finds no spill: it grows as far as it can */
        cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
        cr_expect_eq(qd_core_extend(f.home, f.commons, f.verdict.reservation, &used,
                                    QD_TTL_DEFAULT_NS, f.now, &expires, NULL),
                     i == 0 ? QD_OK : QD_STOP);
        cr_expect_eq(fx_held(&f, images, "acme"), INT64_C(3) * (i + 1));
    }
    fx_release(&f);
}

Test(extend, S9_cancelling_undoes_the_check)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limits[] = {
        fx_token_limit(&f, QD_SLIDING_WINDOW), fx_token_limit(&f, QD_TOKEN_BUCKET),
        fx_token_limit(&f, QD_FIXED_WINDOW), fx_token_limit(&f, QD_CALENDAR),
        fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY)};
    for (unsigned i = 0; i < 5; i++) {
        fx_apply(&f, limits[i], 100000, i == 1 ? "" : "acme");
    }
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 100, 50), QD_ALLOW);
    cr_expect_eq(fx_cancel(&f, f.verdict.reservation), QD_OK);
    for (unsigned i = 0; i < 5; i++) {
        struct qd_limit_state state = fx_state(&f, limits[i], i == 1 ? "" : "acme");
        cr_expect_eq(state.used + state.held, 0, "limit %u", i);
    }
    cr_expect_eq(fx_cancel(&f, f.verdict.reservation), QD_NO_RESERVATION);
    cr_expect_eq(fx_stats(&f).cancelled, 1);
    fx_release(&f);
}

/* A binding that is gone from the cache, or whose block has ended, stops nobody. */
Test(extend, S3_only_a_block_that_is_known_and_goes_on_stops)
{
    struct qd_core_config config = {.bindings = 1};
    struct fx f;
    struct qd_wall_ns expires;
    struct qd_usage none = {0};
    fx_init(&f, &config);
    fx_apply(&f, fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY), 3, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    uint64_t hold = f.verdict.reservation;
    f.blocked = true;
    f.valid_until.ns = f.now.ns + 10 * QD_NS_PER_S;
    fx_bind(&f);
    cr_expect_eq(
        qd_core_extend(f.home, f.commons, hold, &none, QD_TTL_DEFAULT_NS, f.now, &expires, NULL),
        QD_STOP);
    fx_advance(&f, 10 * QD_NS_PER_S);
    cr_expect_eq(fx_extend(&f, hold, 0), QD_OK, "the block is over");

    f.valid_until.ns = QD_WALL_NEVER;
    fx_bind(&f);
    cr_expect_eq(fx_extend(&f, hold, 0), QD_STOP);
    f.blocked = false;
    char models[200][8];
    for (unsigned i = 0; i < 200 && fx_extend(&f, hold, 0) == QD_STOP; i++) {
        (void)snprintf(models[i], sizeof(models[i]), "m%u", i);
        f.model = models[i];
        fx_bind(&f);
        fx_advance(&f, QD_NS_PER_S);
    }
    cr_expect_eq(fx_extend(&f, hold, 0), QD_OK, "others have taken its place");
    fx_release(&f);
}

/* One reservation is one, whatever a report of concurrency says. */
Test(extend, S3_concurrency_is_not_extended)
{
    struct fx f;
    struct qd_wall_ns expires;
    struct qd_usage used = {0};
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_limit(&f, QD_CONCURRENCY, QD_METER_CONCURRENCY);
    fx_apply(&f, limit, 3, "acme");
    fx_bind(&f);
    cr_assert_eq(fx_check(&f, 1, 0), QD_ALLOW);
    uint64_t hold = f.verdict.reservation;
    qd_usage_set(&used, QD_METER_CONCURRENCY, 5);
    cr_expect_eq(
        qd_core_extend(f.home, f.commons, hold, &used, QD_TTL_DEFAULT_NS, f.now, &expires, NULL),
        QD_OK);
    cr_expect_eq(fx_held(&f, limit, "acme"), 1);
    struct qd_settle *s = fx_settle_begin(&f, hold);
    s->final = false;
    qd_usage_set(&s->used, QD_METER_CONCURRENCY, 5);
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_held(&f, limit, "acme"), 1, "a part of the report ends nothing");
    s->final = true;
    cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    cr_expect_eq(fx_held(&f, limit, "acme"), 0);
    fx_release(&f);
}
