/* How often values of each size came: for latencies and sizes in /metrics (X8, I6).
 *
 * Layer:    measure (nothing below it)
 * Units:    the owner's: nanoseconds, entries. Integers only.
 * Threads:  one writer; any reader, who may see an addition in one field and not yet in the other.
 * Memory:   the struct, zeroed; nothing else.
 *
 * Bucket i counts values up to 2^(first + i), the last one all that are larger. `first` is the
 * histogram's own constant, which its owner passes each time. Powers of two, so that adding is one
 * count of leading zeros: a scrape shows to within a factor of two where a latency lies.
 * (tests/bench/histogram.h has 64 steps to each of them and is 30 times as large: it measures, this
 * watches.)
 */
#ifndef QD_MEASURE_HISTOGRAM_H
#define QD_MEASURE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define QD_HISTOGRAM_BOUNDS  21U
#define QD_HISTOGRAM_BUCKETS (QD_HISTOGRAM_BOUNDS + 1U)

#define QD_HISTOGRAM_LATENCY 14U /* first: 2^14 ns = 16 us, so that the last bound is 17 s */
#define QD_HISTOGRAM_SIZE    0U  /* first: 1, to 2^20 */

struct qd_histogram {
    _Atomic uint64_t counts[QD_HISTOGRAM_BUCKETS]; /* of this bucket alone */
    _Atomic uint64_t sum;
};

/* The same as plain numbers: what readers add up. */
struct qd_histogram_sum {
    uint64_t counts[QD_HISTOGRAM_BUCKETS];
    uint64_t sum;
};

/* The bucket that a value belongs to. */
static inline unsigned qd_histogram_bucket(unsigned first, uint64_t value)
{
    if (value <= UINT64_C(1) << first) {
        return 0;
    }
    unsigned above = 64U - (unsigned)__builtin_clzll(value - 1) - first;

    return above < QD_HISTOGRAM_BOUNDS ? above : QD_HISTOGRAM_BOUNDS;
}

/* The largest value of bucket i < QD_HISTOGRAM_BOUNDS. */
static inline uint64_t qd_histogram_bound(unsigned first, unsigned i)
{
    return UINT64_C(1) << (first + i);
}

/* The writer's: plain adds, no locked instruction. */
static inline void qd_histogram_add(struct qd_histogram *histogram, unsigned first, uint64_t value)
{
    _Atomic uint64_t *count = &histogram->counts[qd_histogram_bucket(first, value)];

    /* Relaxed: there is one writer, and readers only need whole values. */
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&histogram->sum,
                          atomic_load_explicit(&histogram->sum, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

/* Add what it has counted so far to *sum. */
void qd_histogram_collect(const struct qd_histogram *histogram, struct qd_histogram_sum *sum);

#endif /* QD_MEASURE_HISTOGRAM_H */
