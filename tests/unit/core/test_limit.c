/* Weighted sums against __int128 arithmetic, and the providers' weights (P5). */
#include "server/core/limit.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <string.h>

Test(limit, P3_weighted_sums_equal_exact_ones_rounded_up)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P3_weighted_sums_equal_exact_ones_rounded_up", 1));
    for (int round = 0; round < 200000; round++) {
        struct qd_weights w = {.count = (uint8_t)qd_prng_number(&r, QD_WEIGHTS_MAX + 1)};
        struct qd_usage u = {0};
        w.den = qd_prng_number(&r, 3) == 0 ? 1 : (int32_t)qd_prng_between(&r, 1, 1000000);
        for (unsigned m = 0; m < QD_METERS_MAX; m++) {
            u.amount[m] = -1; /* absent: must not be read */
            if (qd_prng_number(&r, 3) > 0) {
                qd_usage_set(
                    &u, m, qd_prng_number(&r, 4) == 0 ? QD_AMOUNT_MAX : qd_prng_magnitude(&r, 53));
            }
        }
        qd_int128 sum = 0;
        for (unsigned i = 0; i < w.count; i++) {
            w.item[i].meter = (uint8_t)qd_prng_number(&r, QD_METERS_MAX);
            w.item[i].num = (int32_t)qd_prng_between(&r, -1000000, 1000000);
            if (u.present >> w.item[i].meter & 1) {
                sum += (qd_int128)u.amount[w.item[i].meter] * w.item[i].num;
            }
        }
        int64_t got = qd_weights_apply(&w, &u);
        if (sum <= 0) {
            cr_assert_eq(got, 0);
        } else if (sum > (qd_int128)INT64_MAX * w.den) {
            cr_assert_eq(got, INT64_MAX);
        } else {
            cr_assert((qd_int128)got * w.den >= sum && (qd_int128)(got - 1) * w.den < sum);
        }
    }
}

static struct qd_usage usage(int64_t input, int64_t cached, int64_t cache_write, int64_t output)
{
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_REQUESTS, 1);
    qd_usage_set(&u, QD_METER_INPUT_TOKENS, input);
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, cached);
    qd_usage_set(&u, QD_METER_CACHE_WRITE_TOKENS, cache_write);
    qd_usage_set(&u, QD_METER_OUTPUT_TOKENS, output);
    return u;
}

Test(limit, P5_bedrock_holds_input_and_max_tokens_and_settles_output_five_times)
{
    struct qd_weights admit = {.count = 3,
                               .den = 1,
                               .item = {{QD_METER_INPUT_TOKENS, 1},
                                        {QD_METER_CACHE_WRITE_TOKENS, 1},
                                        {QD_METER_OUTPUT_TOKENS, 1}}};
    struct qd_weights settle = admit;
    settle.item[2].num = 5;
    struct qd_usage estimate = usage(1000, 500, 200, 4096); /* a cache read costs nothing */
    struct qd_usage actual = usage(1000, 500, 200, 300);
    cr_assert_eq(qd_weights_apply(&admit, &estimate), 5296);
    cr_assert_eq(qd_weights_apply(&settle, &actual), 2700);
}

Test(limit, P5_anthropic_cached_input_is_free)
{
    struct qd_weights itpm = {
        .count = 2,
        .den = 1,
        .item = {{QD_METER_INPUT_TOKENS, 1}, {QD_METER_CACHE_WRITE_TOKENS, 1}}};
    struct qd_usage u = usage(2000, 8000, 100, 50);
    cr_assert_eq(qd_weights_apply(&itpm, &u), 2100); /* L#18728: not 10,100 */
}

Test(limit, P5_azure_ptu_counts_what_is_not_cached)
{
    struct qd_weights w = {
        .count = 2, .den = 1, .item = {{QD_METER_INPUT_TOKENS, 1}, {QD_METER_OUTPUT_TOKENS, 4}}};
    struct qd_usage u = usage(1500, 500, 0, 100);
    cr_assert_eq(qd_weights_apply(&w, &u), 1900);
}

Test(limit, P3_fractions_round_up_once)
{
    /* credits: a tenth for each input token, 1 for each output token. */
    struct qd_weights w = {
        .count = 2, .den = 10, .item = {{QD_METER_INPUT_TOKENS, 1}, {QD_METER_OUTPUT_TOKENS, 10}}};
    struct qd_usage u = usage(11, 0, 0, 2);
    cr_assert_eq(qd_weights_apply(&w, &u), 4); /* 3.1 */
    u = usage(10, 0, 0, 2);
    cr_assert_eq(qd_weights_apply(&w, &u), 3);
}

Test(limit, D7_which_limits_are_budgets)
{
    struct qd_limit l = {.algorithm = QD_CALENDAR};
    cr_assert(qd_limit_is_budget(&l));
    l.algorithm = QD_PREPAID;
    cr_assert(qd_limit_is_budget(&l));
    l.algorithm = QD_FIXED_WINDOW;
    l.window_ns = QD_NS_PER_HOUR;
    cr_assert(qd_limit_is_budget(&l));
    l.window_ns -= 1;
    cr_assert_not(qd_limit_is_budget(&l));
    l.algorithm = QD_SLIDING_WINDOW;
    cr_assert_not(qd_limit_is_budget(&l));
}
