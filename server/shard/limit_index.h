/* Finding the limit that a stored counter was of, among all that this process knows (P6).
 *
 * Layer:    shard
 * Threads:  the owner's; limits that are interned later are not in it.
 * Memory:   two arrays; release it.
 */
#ifndef QD_SHARD_LIMIT_INDEX_H
#define QD_SHARD_LIMIT_INDEX_H

#include "server/core/core.h"

struct qd_limit_place {
    uint64_t hash;
    const struct qd_limit *limit;
};

struct qd_limit_index {
    struct qd_limit_place *by_spec; /* sorted */
    struct qd_limit_place *by_identity;
    size_t count;
};

/* False: out of memory. Release it in any case. */
bool qd_limit_index_init(struct qd_limit_index *index);
void qd_limit_index_release(struct qd_limit_index *index);

/* The limit that it was stored of, or one that counts in the same counters; NULL: none. */
const struct qd_limit *qd_limit_index_find(const struct qd_limit_index *index,
                                           const struct qd_saved_counter *counter);

#endif /* QD_SHARD_LIMIT_INDEX_H */
