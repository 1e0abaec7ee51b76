/* Prices as exact rationals, and what a usage vector costs (P7, P8).
 *
 * Layer:    core (pure)
 * Units:    amount_pico per `quantity` units of the meter; results in pico-USD (10^-12 $).
 * Threads:  sheets are immutable after construction.
 * Memory:   the policy owns its sheets.
 */
#ifndef QD_CORE_PRICE_H
#define QD_CORE_PRICE_H

#include "types.h"
#include "usage.h"

enum qd_price_tier {
    QD_TIER_STANDARD = 0,
    QD_TIER_BATCH,
    QD_TIER_PRIORITY,
    QD_TIER_FLEX,
    QD_TIER_COUNT,
};

/* Variants of one meter's price that a request can select. */
enum qd_cache_write_ttl {
    QD_CACHE_WRITE_5M = 0, /* the default */
    QD_CACHE_WRITE_1H,
};

/* One line of a price sheet: `amount_pico` for each `quantity` units of `meter`.
 * Among the lines that fit (meter, tier, cache-write TTL), the one with the largest `above_input`
 * that is less than the request's whole input (input + cached + cache write) wins, so that a tier
 * above N input tokens switches the whole request. Tier lines fall back to STANDARD ones. */
struct qd_price_line {
    uint8_t meter;
    uint8_t tier;            /* enum qd_price_tier */
    uint8_t cache_write_ttl; /* enum qd_cache_write_ttl; only for QD_METER_CACHE_WRITE_TOKENS */
    int64_t above_input;     /* 0: any */
    int64_t amount_pico;     /* >= 0 */
    int64_t quantity;        /* >= 1 */
};

/* The prices of one model or pool from `effective` on, until the next sheet's `effective`. */
struct qd_price_sheet {
    uint32_t version; /* Process-wide number of this immutable sheet, stored on entries. */
    struct qd_wall_ns effective;
    const struct qd_price_line *lines;
    size_t line_count;
};

/* A book entry: the sheets of one subject in ascending `effective`. */
struct qd_price_list {
    const char *name; /* Of the model or pool. */
    const struct qd_price_sheet *sheets;
    size_t count;
};

struct qd_price_query {
    const struct qd_usage *usage;
    enum qd_price_tier tier;
    enum qd_cache_write_ttl cache_write_ttl;
    struct qd_wall_ns at;
};

enum qd_price_result {
    QD_PRICE_OK = 0,
    QD_PRICE_UNKNOWN,  /* no sheet at that time, or a billable meter with an amount > 0 has no line
                        */
    QD_PRICE_OVERFLOW, /* above INT64_MAX pico-USD for one entry: $9.22 million */
};

/* What `query` costs by `model` (tokens, images, requests) and `pool` (gpu_ms, processing_ms,
 * memory_gb_ms) prices; either list may be NULL. Each meter is priced by its own list's sheet in
 * force, else by the other's; reasoning tokens without a line of their own are output tokens.
 *
 * P8: the answer is UNKNOWN if neither list has a sheet and something was used, or if a meter needs
 * a price and has none. Token meters and images need one where the model has a sheet (or the pool's
 * prices any of them): a self-hosted model whose pool is priced by GPU-time needs no token price.
 * Of the times one price is enough: they measure the same work. Requests and the policy's own
 * meters cost something only where a line says so. Derived `tokens`, cost, charge and concurrency
 * are never billed. Each line's product is exact and rounded half up to a pico-USD once.
 *
 * ret_unpriced_meters: bit set of the meters that made it UNKNOWN, or of the one with which it came
 * to OVERFLOW, else 0. ret_pico_usd is untouched unless OK. */
enum qd_price_result qd_price_compute(const struct qd_price_list *model,
                                      const struct qd_price_list *pool,
                                      const struct qd_price_query *query, qd_int128 *ret_pico_usd,
                                      uint32_t *ret_unpriced_meters);

/* Pico to nano, rounded up (L1). `pico_usd` >= 0. Saturates at INT64_MAX. */
int64_t qd_nano_usd_from_pico(qd_int128 pico_usd);

#endif /* QD_CORE_PRICE_H */
