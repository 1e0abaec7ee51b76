/* Counters that had to make room: out to the store, and back when their tenant comes again (D12).
 *
 * Layer:    shard
 * Threads:  the worker's own thread, with the home shard (and commons, if shared) locked.
 * Memory:   none of its own.
 *
 * States go to the store un-synced: a crash loses them as it loses the counters in memory. They are
 * wiped at boot, when budgets are rebuilt from the ledger.
 */
#ifndef QD_SHARD_EVICT_H
#define QD_SHARD_EVICT_H

#include "server/shard/node.h"

#define QD_EVICT_TRIES 16U

/* After a binding was made: put back what the store has of the counters that were made anew.
 * Nothing but a load when no counter was ever evicted. */
void qd_evict_bring_back(struct qd_worker *worker, struct qd_shard *home,
                         const struct qd_bind *bind, struct qd_wall_ns now);

/* Make room for one counter. False: nothing can go, or the store refuses (then nothing is lost). */
bool qd_evict_one(struct qd_worker *worker, struct qd_core *core, struct qd_wall_ns now);

/* The stored state of one counter. False: there is none. Size 0: it is damaged or cannot be read.
 * Any thread, nothing locked. */
bool qd_evict_read(struct qd_node *node, struct qd_hash128 id, struct qd_saved *ret_state);

/* Forget all stored states (boot). False: store error. */
bool qd_evict_wipe(struct qd_store *store, struct qd_store_error *error);

#endif /* QD_SHARD_EVICT_H */
