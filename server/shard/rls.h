/* Envoy's rate limits (I3) on the core's counters.
 *
 * One descriptor's hits count in one counter, whether or not they fit, or only if they do. Nothing
 * is booked in the ledger; a crash forgets the last second of it, as of any rate.
 *
 * Counters lie in all slices alike: a domain may have millions, and no tenant to go by. Each has a
 * root of its own kind, "~" and three digits of its hash, which no tenant's name may begin with:
 * --root-counters bounds each of these 4,096 roots, not a domain.
 *
 * Layer:    shard
 * Units:    hits; window in ns.
 * Threads:  the worker's own thread; entered.
 */
#ifndef QD_SHARD_RLS_H
#define QD_SHARD_RLS_H

#include "server/shard/node.h"

/* What all rules of one window count by. Windows lie on multiples of their length since 1970, or
 * slide. NULL: the table of limits is full. Any thread. */
const struct qd_limit *qd_rls_limit(int64_t window_ns, bool sliding);

struct qd_rls_hits {
    const struct qd_limit *limit; /* qd_rls_limit's */
    int64_t amount;               /* the limit's, >= 0 */
    struct qd_hash128 counter;    /* of the domain, what the descriptor says, and the limit */
    struct qd_str name;           /* for people; the first QD_RLS_NAME_MAX bytes are kept */
    int64_t hits;                 /* < 0: given back, but not below nothing; 0: only a look */
    bool if_it_fits;              /* hits that do not fit count nothing, instead of all the same */
};

#define QD_RLS_NAME_MAX 180U

struct qd_rls_counted {
    int64_t before;
    int64_t used; /* with these hits, if they were counted */
    bool over;    /* they do not fit */
    struct qd_wall_ns now;
    struct qd_wall_ns resets_at; /* the window's end; sliding: when all would be free */
};

/* Count and tell. OVERLOADED: no room for its counter (D12). */
enum qd_error_code qd_rls_count(struct qd_worker *worker, const struct qd_rls_hits *hits,
                                struct qd_rls_counted *ret_counted, struct qd_error *ret_error);

#endif /* QD_SHARD_RLS_H */
