/* Latencies, to within 1.6%: 64 steps to each power of two. Units: ns. Threads: none. */
#ifndef QD_BENCH_HISTOGRAM_H
#define QD_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEPS 64U
#define HISTOGRAM_SIZE  ((size_t)(64 - 5) * HISTOGRAM_STEPS)

struct histogram {
    uint64_t total;
    uint64_t counts[HISTOGRAM_SIZE];
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* The latency that `permille` of a thousand do not exceed; 0 when there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, unsigned permille);

#endif /* QD_BENCH_HISTOGRAM_H */
