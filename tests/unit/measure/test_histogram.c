/* I6: the buckets of /metrics against a naive oracle. */
#include "server/measure/histogram.h"

#include "tests/lib/prng.h"

#include <criterion/criterion.h>

/* The first bound that the value does not exceed, by looking at each. */
static unsigned naive_bucket(unsigned first, uint64_t value)
{
    for (unsigned i = 0; i < QD_HISTOGRAM_BOUNDS; i++) {
        if (value <= qd_histogram_bound(first, i)) {
            return i;
        }
    }
    return QD_HISTOGRAM_BOUNDS;
}

static const unsigned firsts[] = {QD_HISTOGRAM_SIZE, QD_HISTOGRAM_LATENCY};

Test(histogram, I6_a_bound_belongs_to_its_own_bucket)
{
    for (unsigned f = 0; f < 2; f++) {
        for (unsigned i = 0; i < QD_HISTOGRAM_BOUNDS; i++) {
            uint64_t bound = qd_histogram_bound(firsts[f], i);
            cr_expect_eq(qd_histogram_bucket(firsts[f], bound), i);
            cr_expect_eq(qd_histogram_bucket(firsts[f], bound + 1), i + 1);
        }
        cr_expect_eq(qd_histogram_bucket(firsts[f], 0), 0);
        cr_expect_eq(qd_histogram_bucket(firsts[f], UINT64_MAX), QD_HISTOGRAM_BOUNDS);
    }
    cr_expect_eq(qd_histogram_bound(QD_HISTOGRAM_LATENCY, 0), 16384);
    cr_expect_eq(qd_histogram_bound(QD_HISTOGRAM_LATENCY, QD_HISTOGRAM_BOUNDS - 1), 17179869184);
}

Test(histogram, I6_buckets_and_sum_are_those_of_a_naive_count)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("histogram", 1));
    for (unsigned f = 0; f < 2; f++) {
        struct qd_histogram histogram = {0};
        struct qd_histogram_sum got = {0};
        struct qd_histogram_sum wanted = {0};
        for (unsigned i = 0; i < 100000; i++) {
            uint64_t value = qd_prng_next(&prng) >> qd_prng_below(&prng, 64);
            wanted.counts[naive_bucket(firsts[f], value)]++;
            wanted.sum += value;
            qd_histogram_add(&histogram, firsts[f], value);
        }
        qd_histogram_collect(&histogram, &got);
        cr_expect_arr_eq(got.counts, wanted.counts, sizeof(wanted.counts));
        cr_expect_eq(got.sum, wanted.sum);
    }
}

Test(histogram, I6_several_are_added_up)
{
    struct qd_histogram a = {0};
    struct qd_histogram b = {0};
    struct qd_histogram_sum sum = {0};
    qd_histogram_add(&a, QD_HISTOGRAM_SIZE, 3);
    qd_histogram_add(&b, QD_HISTOGRAM_SIZE, 4);
    qd_histogram_add(&b, QD_HISTOGRAM_SIZE, 1000);
    qd_histogram_collect(&a, &sum);
    qd_histogram_collect(&b, &sum);
    cr_expect_eq(sum.counts[2], 2);
    cr_expect_eq(sum.counts[10], 1);
    cr_expect_eq(sum.sum, 1007);
}
