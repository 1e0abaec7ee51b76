/* A usage vector: amounts by meter, in which *missing* is not *zero* (S4).
 *
 * Layer:    core (pure)
 * Units:    each meter's own (tokens, ms, images, nano-USD for `cost` and `charge`).
 * Memory:   caller's; only the first `popcount` words that `present` names are meaningful.
 *
 * Meters are disjoint: a token is counted in exactly one meter. An input token that was read from a
 * prompt cache is a `cached_input_tokens`, never also an `input_tokens`.
 */
#ifndef QD_CORE_USAGE_H
#define QD_CORE_USAGE_H

#include "types.h"

#define QD_METERS_MAX 32

/* The built-in meters, at fixed indices. A policy declares its own from QD_METER_FIRST_CUSTOM on.
 * `tokens` is derived: the sum of the five token meters; it is never in a report. */
enum qd_meter {
    QD_METER_REQUESTS = 0,
    QD_METER_INPUT_TOKENS,
    QD_METER_CACHED_INPUT_TOKENS,
    QD_METER_CACHE_WRITE_TOKENS,
    QD_METER_OUTPUT_TOKENS,
    QD_METER_REASONING_TOKENS,
    QD_METER_TOKENS, /* derived */
    QD_METER_GPU_MS,
    QD_METER_PROCESSING_MS,
    QD_METER_MEMORY_GB_MS,
    QD_METER_IMAGES,
    QD_METER_COST,        /* nano-USD, computed from prices, rounded up once */
    QD_METER_CHARGE,      /* nano-USD, computed from prices, rounded up once */
    QD_METER_CONCURRENCY, /* 1 for each open reservation */
    QD_METER_FIRST_CUSTOM,
};

#define QD_METER_BIT(meter) (UINT32_C(1) << (meter))

struct qd_usage {
    uint32_t present;              /* bit m: amount[m] was given */
    int64_t amount[QD_METERS_MAX]; /* 0..QD_AMOUNT_MAX; undefined where absent */
};

static inline bool qd_usage_has(const struct qd_usage *u, unsigned meter)
{
    return (u->present >> meter) & 1U;
}

/* The amount of `meter`, 0 where it is absent. */
static inline int64_t qd_usage_get(const struct qd_usage *u, unsigned meter)
{
    return qd_usage_has(u, meter) ? u->amount[meter] : 0;
}

static inline void qd_usage_set(struct qd_usage *u, unsigned meter, int64_t amount)
{
    u->present |= QD_METER_BIT(meter);
    u->amount[meter] = amount;
}

#endif /* QD_CORE_USAGE_H */
