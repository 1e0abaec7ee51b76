/* Counters that had to make room: out to the store, and back when their tenant comes again (D12).
 *
 * Layer:    shard
 * Threads:  the worker's own thread, with the home shard (and commons, if shared) locked.
 * Memory:   none of its own.
 *
 * A counter goes when the store has it as it is: see snapshot.h.
 */
#ifndef QD_SHARD_EVICT_H
#define QD_SHARD_EVICT_H

#include "server/shard/node.h"

#define QD_EVICT_TRIES 16U

/* After a binding was made: put back what the store has of the counters that were made anew.
 * Nothing but a load when no counter was ever evicted. */
void qd_evict_bring_back(struct qd_worker *worker, struct qd_shard *home,
                         const struct qd_bind *bind, struct qd_wall_ns now);

/* X4: does the store fail to give back what it has of a counter that the binding would make anew?
 * That counter would forget what it had; *ret_item is its item. At boot it is not asked: a start
 * that cannot read is refused. */
bool qd_evict_unreadable(struct qd_worker *worker, struct qd_shard *home,
                         const struct qd_bind *bind, struct qd_wall_ns now, size_t *ret_item);

/* Make room for one counter of this shard, which may be commons. False: nothing can go, or the
 * store refuses (then nothing is lost). */
bool qd_evict_one(struct qd_worker *worker, struct qd_shard *shard, struct qd_wall_ns now);

/* The stored state of one counter. False: there is none. Size 0: it is damaged or cannot be read.
 * Any thread, nothing locked. */
bool qd_evict_read(struct qd_node *node, struct qd_hash128 id, struct qd_saved *ret_saved);

#endif /* QD_SHARD_EVICT_H */
