/* Running quantile of past outputs, to estimate the next one (P3).
 *
 * Layer:    core (pure: no I/O, clock, locks, allocation, floating point)
 * Units:    tokens.
 * Threads:  none. The owning slice serialises every call.
 * Memory:   364 bytes, caller-allocated, trivially copyable; all zero bytes are an empty one.
 *
 * A histogram with eight steps to the octave: 0..15 exactly, above within 1/8 (the answer is a
 * step's upper edge: at least the true quantile, and less than 9/8 of it). When 4,096 samples are
 * in, all counts are halved, so that it forgets what is long past. */
#ifndef QD_CORE_QUANTILE_H
#define QD_CORE_QUANTILE_H

#include "types.h"

#define QD_QUANTILE_BUCKETS     176 /* 16 + 8 for each octave from 2^4 to 2^23 */
#define QD_QUANTILE_VALUE_MAX   ((INT64_C(1) << 24) - 1) /* larger samples count as it */
#define QD_QUANTILE_SAMPLES_MIN 20
#define QD_QUANTILE_SAMPLES_MAX 4096

/* Invariant: total == sum of count; total < QD_QUANTILE_SAMPLES_MAX. */
struct qd_quantile {
    uint32_t total;
    uint32_t cached;          /* the answer for cached_permille */
    uint16_t cached_permille; /* 0: none */
    uint16_t reserved;        /* 0 */
    uint16_t count[QD_QUANTILE_BUCKETS];
};

/* Add one sample; below 0 counts as 0. */
void qd_quantile_add(struct qd_quantile *q, int64_t value);

/* A value that `permille` (1..1000) of the samples do not exceed: the smallest step edge for which
 * that holds. False, with *ret_value untouched, while there are fewer than QD_QUANTILE_SAMPLES_MIN
 * samples. The answer is kept until the next sample, so that asking again costs nothing. */
bool qd_quantile_get(struct qd_quantile *q, unsigned permille, int64_t *ret_value);

#endif /* QD_CORE_QUANTILE_H */
