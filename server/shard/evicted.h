/* Records of evicted counters that count nothing any more: their window or period has passed.
 * Nobody may ever ask for such a counter again (a limit by a request's header has as many as there
 * are values), so they are looked for (D12).
 *
 * Layer:    shard
 * Threads:  one at a time; locks a shard for a moment for each that is deleted.
 * Memory:   a small slice on the heap during the call.
 */
#ifndef QD_SHARD_EVICTED_H
#define QD_SHARD_EVICTED_H

#include "server/shard/node.h"

/* Where the next call goes on; zeros: at the beginning. */
struct qd_evicted_sweep {
    uint8_t next[32]; /* the first key to look at */
    size_t next_len;
};

/* Look at `looks` records of the store. Returns how many were deleted; 0 also when the store fails:
 * a later round comes by again. */
size_t qd_evicted_sweep(struct qd_node *node, struct qd_evicted_sweep *sweep, size_t looks);

#endif /* QD_SHARD_EVICTED_H */
