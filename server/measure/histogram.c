#include "server/measure/histogram.h"

void qd_histogram_collect(const struct qd_histogram *histogram, struct qd_histogram_sum *sum)
{
    for (unsigned i = 0; i < QD_HISTOGRAM_BUCKETS; i++) {
        sum->counts[i] += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    }
    sum->sum += atomic_load_explicit(&histogram->sum, memory_order_relaxed);
}
