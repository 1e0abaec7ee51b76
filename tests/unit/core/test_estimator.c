/* Estimators: a bounded cache of output quantiles, one for each (tenant, model) (P3). */
#include "fixture.h"
#include "server/core/estimator.h"

#include <criterion/criterion.h>

TestSuite(estimator, .timeout = 60);

/* All of these have the same hash. */
static struct qd_hash128 id_of(uint64_t number)
{
    return (struct qd_hash128){.lo = number, .hi = 77};
}

static uint32_t obtain(struct fx *f, uint64_t number)
{
    uint32_t handle;
    uint16_t generation;
    qd_estimator_obtain(f->home, id_of(number), f->now, &handle, &generation);
    cr_expect(handle == 0 || (generation & 1U), "live");
    return handle;
}

Test(estimator, P3_the_same_identity_is_the_same_estimator)
{
    struct fx f;
    fx_init(&f, NULL);
    uint32_t first = obtain(&f, 1);
    uint32_t second = obtain(&f, 2);
    cr_expect_neq(first, 0);
    cr_expect_neq(first, second, "a shared hash is no identity");
    cr_expect_eq(obtain(&f, 1), first);
    cr_expect_eq(obtain(&f, 2), second);
    cr_expect_eq(fx_stats(&f).estimators_live, 2);
    fx_release(&f);
}

Test(estimator, D12_the_least_recently_used_of_a_few_starts_anew)
{
    for (uint32_t room = 3; room <= 40; room += 37) { /* fewer and more than are looked at */
        struct qd_core_config config = {.estimators = room};
        struct fx f;
        fx_init(&f, &config);
        for (uint32_t i = 1; i <= 3 * room; i++) {
            uint32_t handle = obtain(&f, i);
            cr_assert(handle >= 1 && handle <= room);
            cr_assert_eq(obtain(&f, i), handle, "it is there now");
            fx_advance(&f, QD_NS_PER_S);
        }
        cr_expect_eq(fx_stats(&f).estimators_live, room);
        uint32_t last = obtain(&f, UINT64_C(3) * room);
        cr_expect_neq(obtain(&f, UINT64_C(3) * room + 1), last, "the last one used stays");
        fx_release(&f);
    }
}

Test(estimator, D12_without_room_for_any_the_worst_case_is_estimated)
{
    struct qd_core_config config = {
        .narrow_windows = 4, .bindings = 4, .reservations = 4, .roots = 4, .name_bytes = 1024};
    struct fx f;
    fx_init_exactly(&f, &config);
    struct qd_limit *limit = fx_token_limit(&f, QD_SLIDING_WINDOW);
    limit->output_estimate = QD_OUTPUT_QUANTILE;
    limit->quantile_permille = 900;
    fx_apply(&f, limit, 1000000, "acme");
    fx_bind(&f);
    cr_expect_eq(obtain(&f, 1), 0);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(fx_check(&f, 10, 500), QD_ALLOW);
        cr_assert_eq(f.states[0].estimate, 510);
        cr_assert_eq(fx_settle(&f, 10, 20), QD_OK);
    }
    fx_release(&f);
}

/* What the next check is estimated at, of 10 input tokens and at most 500 output tokens. */
static int64_t estimate(struct fx *f)
{
    cr_assert_eq(fx_check(f, 10, 500), QD_ALLOW);
    return f->states[0].estimate;
}

static void report_often(struct fx *f, enum qd_outcome outcome, bool budgets_only, bool output)
{
    for (unsigned i = 0; i < 100; i++) {
        struct qd_settle *s = fx_settle_begin(f, 0);
        s->outcome = outcome;
        s->budgets_only = budgets_only;
        qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, 10);
        if (output) {
            qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, 20);
        }
        cr_assert_eq(fx_settle_as_is(f), QD_OK);
    }
}

/* Only what was served tells what the next output may be; each report tells it once. */
Test(estimator, P3_learns_from_outputs_that_were_served)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *limit = fx_token_limit(&f, QD_SLIDING_WINDOW);
    limit->output_estimate = QD_OUTPUT_QUANTILE;
    limit->quantile_permille = 900;
    fx_apply(&f, limit, 1000000, "acme");
    fx_bind(&f);
    cr_expect_eq(estimate(&f), 510);
    report_often(&f, QD_OUTCOME_FAILED, false, true);
    cr_expect_eq(estimate(&f), 510, "failed requests say nothing");
    report_often(&f, QD_OUTCOME_OK, true, true);
    cr_expect_eq(estimate(&f), 510, "nor do those of before the boot");
    report_often(&f, QD_OUTCOME_OK, false, false);
    cr_expect_eq(estimate(&f), 510, "nor does a part without output");
    report_often(&f, QD_OUTCOME_OK, false, true);
    int64_t learned = estimate(&f);
    cr_expect(learned >= 30 && learned <= 33, "%ld", (long)learned);

    /* A request that gives its output is taken at its word. */
    qd_usage_set(&f.check.estimate, QD_METER_OUTPUT_TOKENS, 400);
    cr_assert_eq(fx_check_as_is(&f), QD_ALLOW);
    cr_expect_eq(f.states[0].estimate, 410);
    fx_release(&f);
}

/* A report that is settled without its binding teaches nothing, nor does one of a binding that has
 * no estimator. */
Test(estimator, P3_a_report_whose_binding_is_gone_or_has_none_teaches_nothing)
{
    struct fx f;
    fx_init(&f, NULL);
    struct qd_limit *plain = fx_token_limit(&f, QD_SLIDING_WINDOW);
    struct qd_limit *quantile = fx_token_limit(&f, QD_SLIDING_WINDOW);
    quantile->output_estimate = QD_OUTPUT_QUANTILE;
    quantile->quantile_permille = 900;
    fx_apply(&f, quantile, 1000000, "acme");
    fx_bind(&f);
    f.tenant = "globex";
    f.item_count = 0;
    fx_apply(&f, plain, 1000000, "globex");
    fx_bind(&f);
    cr_assert_eq(fx_stats(&f).estimators_live, 1);
    cr_assert_eq(fx_check(&f, 10, 500), QD_ALLOW);
    cr_assert_eq(fx_settle(&f, 10, 20), QD_OK); /* of a binding without one */

    f.tenant = "acme/search/key-7";
    f.candidates[0].binding = fx_key(&f, f.tenant, f.model);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(fx_check(&f, 10, 500), QD_ALLOW);
        struct qd_settle *s = fx_settle_begin(&f, f.verdict.reservation);
        s->unbound = true;
        qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, 20);
        cr_assert_eq(fx_settle_as_is(&f), QD_OK);
    }
    cr_expect_eq(estimate(&f), 510);
    fx_release(&f);
}
