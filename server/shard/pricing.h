/* What a usage vector costs by the policy's price books, and which versions were applied (P7, P8).
 *
 * Layer:    shard
 * Threads:  none of its own; the policy must stay published during the call.
 * Memory:   version texts lie in the struct.
 */
#ifndef QD_SHARD_PRICING_H
#define QD_SHARD_PRICING_H

#include "server/core/policy.h"

#define QD_PRICE_TEXT_MAX 160U
#define QD_PRICE_TEXTS    4U

struct qd_priced {
    bool priced; /* false: book it as UNPRICED */
    bool charge_priced;
    bool capped; /* P8: the cap price stood in */
    uint32_t unpriced_meters;
    uint32_t overflow_meters; /* not 0: priced, and above what one entry can hold, at this meter */
    qd_int128 cost_pico;
    qd_int128 charge_pico;
    int64_t cost_nano;
    int64_t charge_nano;
    char versions[QD_PRICE_TEXTS][QD_PRICE_TEXT_MAX]; /* "gpt-4o@2026-01-01", each once */
    size_t version_count;
};

struct qd_pricing {
    const struct qd_policy *policy;
    const struct qd_model *model; /* may be NULL, as may the pool */
    const struct qd_pool *pool;
    const struct qd_usage *usage;
    enum qd_price_tier tier;
    enum qd_cache_write_ttl cache_write_ttl;
    struct qd_wall_ns at;
};

void qd_pricing_compute(const struct qd_pricing *pricing, struct qd_priced *ret_priced);

/* A version's name, as entries have it: "gpt-4o@2026-01-01", or "gpt-4o" for a price without a
 * date. */
void qd_price_version_text(const char *name, const struct qd_price_sheet *sheet,
                           char ret_text[QD_PRICE_TEXT_MAX]);

#endif /* QD_SHARD_PRICING_H */
