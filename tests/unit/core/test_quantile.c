/* Running quantiles against the sorted samples. */
#include "server/core/quantile.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

Test(quantile, P3_takes_little_memory)
{
    cr_assert_leq(sizeof(struct qd_quantile), 512);
}

Test(quantile, P3_needs_twenty_samples)
{
    struct qd_quantile q = {0};
    int64_t value = -7;
    for (int i = 0; i < QD_QUANTILE_SAMPLES_MIN; i++) {
        cr_assert_not(qd_quantile_get(&q, 500, &value));
        cr_assert_eq(value, -7);
        qd_quantile_add(&q, 3);
    }
    cr_assert(qd_quantile_get(&q, 500, &value));
    cr_assert_eq(value, 3);
}

Test(quantile, P3_is_at_least_the_true_quantile_and_within_an_eighth)
{
    static int64_t samples[QD_QUANTILE_SAMPLES_MAX];
    static const unsigned permilles[] = {1, 500, 900, 950, 990, 999, 1000};
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P3_is_at_least_the_true_quantile_and_within_an_eighth", 1));
    for (int round = 0; round < 400; round++) {
        struct qd_quantile q = {0};
        size_t count =
            (size_t)qd_prng_between(&r, QD_QUANTILE_SAMPLES_MIN, QD_QUANTILE_SAMPLES_MAX - 1);
        unsigned bits = (unsigned)qd_prng_between(&r, 1, 24);
        for (size_t i = 0; i < count; i++) {
            samples[i] = qd_prng_magnitude(&r, bits);
            qd_quantile_add(&q, samples[i]);
        }
        cr_assert_eq(q.total, count);
        qsort(samples, count, sizeof samples[0], by_value);
        for (size_t p = 0; p < sizeof permilles / sizeof permilles[0]; p++) {
            size_t rank = (count * permilles[p] + 999) / 1000;
            int64_t exact = samples[rank - 1];
            int64_t value;
            cr_assert(qd_quantile_get(&q, permilles[p], &value));
            cr_assert_geq(value, exact);
            cr_assert(exact < 16 ? value == exact : value - exact < exact / 8 + 1,
                      "%" PRId64 " for %" PRId64, value, exact);
            int64_t again;
            cr_assert(qd_quantile_get(&q, permilles[p], &again));
            cr_assert_eq(again, value);
        }
    }
}

Test(quantile, P3_edges_of_steps)
{
    /* Every power of two, its neighbours, and the edges of an octave's eighths. */
    for (unsigned e = 0; e < 24; e++) {
        for (int64_t k = 0; k < 9; k++) {
            for (int64_t d = -1; d <= 1; d++) {
                int64_t exact = (INT64_C(1) << e) + (k << e) / 8 + d;
                if (exact < 0 || exact > QD_QUANTILE_VALUE_MAX) {
                    continue;
                }
                struct qd_quantile q = {0};
                int64_t value;
                for (int i = 0; i < QD_QUANTILE_SAMPLES_MIN; i++) {
                    qd_quantile_add(&q, exact);
                }
                cr_assert(qd_quantile_get(&q, 1000, &value));
                cr_assert(value >= exact && value - exact <= exact / 8);
            }
        }
    }
}

Test(quantile, P3_values_out_of_range_count_as_the_nearest)
{
    struct qd_quantile q = {0};
    int64_t value;
    for (int i = 0; i < 10; i++) {
        qd_quantile_add(&q, INT64_MIN);
        qd_quantile_add(&q, INT64_MAX);
    }
    cr_assert(qd_quantile_get(&q, 500, &value));
    cr_assert_eq(value, 0);
    cr_assert(qd_quantile_get(&q, 501, &value));
    cr_assert_eq(value, QD_QUANTILE_VALUE_MAX);
}

Test(quantile, P3_forgets_what_is_long_past)
{
    struct qd_quantile q = {0};
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P3_forgets_what_is_long_past", 2));
    int64_t value;
    for (int i = 0; i < 100000; i++) {
        qd_quantile_add(&q, 4000 + qd_prng_number(&r, 100));
        cr_assert_lt(q.total, QD_QUANTILE_SAMPLES_MAX);
    }
    cr_assert(qd_quantile_get(&q, 900, &value));
    cr_assert_geq(value, 4000);
    for (int i = 0; i < 4 * QD_QUANTILE_SAMPLES_MAX; i++) {
        qd_quantile_add(&q, 100);
    }
    cr_assert(qd_quantile_get(&q, 900, &value));
    cr_assert_leq(value, 103);
}

Test(quantile, P3_halving_keeps_enough_samples)
{
    struct qd_quantile q = {0};
    int64_t value;
    for (int i = 0; i < 3 * QD_QUANTILE_SAMPLES_MAX; i++) { /* spread over all steps */
        qd_quantile_add(&q, (INT64_C(1) << (i % 24)) + (i % 8 << (i % 24)) / 8);
        cr_assert(i + 1 < QD_QUANTILE_SAMPLES_MIN || qd_quantile_get(&q, 990, &value));
        uint32_t total = 0;
        for (size_t k = 0; k < QD_QUANTILE_BUCKETS; k++) {
            total += q.count[k];
        }
        cr_assert_eq(total, q.total);
    }
}
