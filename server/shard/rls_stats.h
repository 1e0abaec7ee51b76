/* What Envoy's rate limits did, by rule: the reference server's statistics, in a bounded number of
 * series (I3, I6, X2).
 *
 * Layer:    shard
 * Units:    hits.
 * Threads:  any thread counts and lists at any time. A series is found without a lock; a new one
 *           takes one.
 * Memory:   a table for each set of rules, with pointers to its series; what is in several tables
 *           goes with the last of them. Names are cut off.
 *
 * Who publishes rules makes a table: first the rules that the files name have their series, each
 * the one that it had before; then whatever names are met, such as have values of requests in them,
 * until there are `max`. All others share one. So no client that invents values takes a series of
 * the files' rules, and those that its values have are given up with the next table, hits and all.
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
    QD_RLS_NEAR_LIMIT,      /* above a part of the limit, and not above it */
    QD_RLS_OVER_LIMIT_HITS, /* above it; the part of a batch that is */
    QD_RLS_SHADOW_MODE,     /* over it, but shadow_mode says OK */
    QD_RLS_OUTCOMES
};

/* "total_hits" ... */
const char *qd_rls_outcome_name(enum qd_rls_outcome outcome);

struct qd_rls_stats;
struct qd_rls_table;

/* NULL: out of memory. max 0: all share one series. Above `near_percent` (0 to 100) of a limit is
 * near it. */
struct qd_rls_stats *qd_rls_stats_new(size_t max, uint32_t near_percent);
/* After all tables but the one that is shown. NULL is fine. */
void qd_rls_stats_free(struct qd_rls_stats *stats);

/* A table without series, the caller's to release. NULL: out of memory. */
struct qd_rls_table *qd_rls_table_new(struct qd_rls_stats *stats);
/* Once no thread counts by it any more. NULL is fine. */
void qd_rls_table_release(struct qd_rls_table *table);

/* Give a rule its series: the one that the table which is shown has, or one of its own. Before the
 * table is shown. False: there is no room for more. */
bool qd_rls_table_name(struct qd_rls_table *table, struct qd_str domain, struct qd_str rule);

/* List this table from now on. */
void qd_rls_stats_show(struct qd_rls_stats *stats, struct qd_rls_table *table);
/* The table that is shown, to be released. */
struct qd_rls_table *qd_rls_stats_hold(struct qd_rls_stats *stats);

/* One descriptor's hits. */
struct qd_rls_seen {
    struct qd_str domain; /* UTF-8 */
    struct qd_str rule;   /* "key_value.key" */
    int64_t before;       /* what had been counted */
    int64_t hits;         /* >= 0 */
    int64_t amount;       /* of the limit; INT64_MAX: unlimited */
    bool shadow;
};
void qd_rls_stats_add(struct qd_rls_table *table, const struct qd_rls_seen *seen);

struct qd_rls_series {
    const char *domain; /* "": all that have none of their own */
    const char *rule;   /* "other" then */
    uint64_t hits[QD_RLS_OUTCOMES];
};

/* How many there are now; the first is what all others share. */
size_t qd_rls_table_count(const struct qd_rls_table *table);
void qd_rls_table_get(const struct qd_rls_table *table, size_t index,
                      struct qd_rls_series *ret_series);

#endif /* QD_SHARD_RLS_STATS_H */
