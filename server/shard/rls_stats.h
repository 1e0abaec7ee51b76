/* What Envoy's rate limits did, by rule: the reference server's statistics, in a bounded number of
 * series (I3, I6).
 *
 * Layer:    shard
 * Units:    hits.
 * Threads:  any thread adds and lists at any time. A rule is found without a lock; a new one takes
 *           one.
 * Memory:   all of it is taken at the start. Series are never given up: the first `max` rules have
 *           theirs, also when a reload drops them, all others share one. Names are cut off.
 */
#ifndef QD_SHARD_RLS_STATS_H
#define QD_SHARD_RLS_STATS_H

#include "server/core/types.h"

#define QD_RLS_STATS_DOMAIN_MAX 128U /* bytes of names, with the NUL */
#define QD_RLS_STATS_RULE_MAX   192U
#define QD_RLS_STATS_MAX        10000U /* series */

/* The reference server's: they overlap. */
enum qd_rls_outcome {
    QD_RLS_TOTAL_HITS,      /* all but what is given back */
    QD_RLS_WITHIN_LIMIT,    /* of requests that fitted */
    QD_RLS_NEAR_LIMIT,      /* above 80% of the limit, and not above it */
    QD_RLS_OVER_LIMIT_HITS, /* above it; the part of a batch that is */
    QD_RLS_SHADOW_MODE,     /* over it, but shadow_mode says OK */
    QD_RLS_OUTCOMES
};

/* "total_hits" ... */
const char *qd_rls_outcome_name(enum qd_rls_outcome outcome);

struct qd_rls_stats;

/* NULL: out of memory. max 0: all share one series. */
struct qd_rls_stats *qd_rls_stats_new(size_t max);
void qd_rls_stats_free(struct qd_rls_stats *stats); /* NULL is fine */

/* One descriptor's hits. */
struct qd_rls_seen {
    struct qd_str domain; /* UTF-8 */
    struct qd_str rule;   /* "key_value.key" */
    int64_t before;       /* what had been counted */
    int64_t hits;         /* >= 0 */
    int64_t amount;       /* of the limit; INT64_MAX: unlimited */
    bool shadow;
};
void qd_rls_stats_add(struct qd_rls_stats *stats, const struct qd_rls_seen *seen);

struct qd_rls_series {
    const char *domain; /* "": all that have none of their own */
    const char *rule;   /* "other" then */
    uint64_t hits[QD_RLS_OUTCOMES];
};

/* How many there are now; the first is what all others share. */
size_t qd_rls_stats_count(const struct qd_rls_stats *stats);
void qd_rls_stats_get(const struct qd_rls_stats *stats, size_t index,
                      struct qd_rls_series *ret_series);

#endif /* QD_SHARD_RLS_STATS_H */
