/* Storing counters and holds every second or so, and which entries of the ledger they have counted
 * (X5, S1).
 *
 * A slice is written as it is at one moment, in one batch with its cut: so that a restart counts
 * exactly those entries that came after. The batch is not synced: a crash forgets the last second
 * of rates and holds, no budget (D7: what the cut does not have is in the ledger).
 *
 * Layer:    shard
 * Threads:  as each function says.
 * Memory:   a batch for what has changed.
 */
#ifndef QD_SHARD_SNAPSHOT_H
#define QD_SHARD_SNAPSHOT_H

#include "server/shard/node.h"

/* With the shard locked (commons alone, if it is that): an entry has been counted here. */
void qd_snapshot_counted(struct qd_shard *shard, uint64_t sequence);

/* Store all slices. False: the store does not take it; what is missing is stored by a later call.
 * `synced`: it is on disk on true. One thread at a time. */
bool qd_snapshot_round(struct qd_node *node, bool synced, struct qd_store_error *error);

/* With the shard locked by qd_shards_lock (commons: its own lock held): store it now. False: the
 * store does not take it. */
bool qd_snapshot_locked(struct qd_node *node, struct qd_shard *shard);

/* At boot, while nobody else is in the node: all slices and `extra` in one synced batch. */
bool qd_snapshot_boot(struct qd_node *node, const struct qd_batch *extra,
                      struct qd_store_error *error);

#endif /* QD_SHARD_SNAPSHOT_H */
