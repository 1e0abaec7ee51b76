/* Storing counters and holds every second or so, and which entries of the ledger they have counted
 * (X5, S1).
 *
 * A slice is written as it is at one moment, in one batch with its cut: so that a restart counts
 * exactly those entries that came after. The batch is not synced: a crash forgets the last second
 * of rates and holds, no budget (D7: what the cut does not have is in the ledger).
 *
 * Counters and estimators have a record each (stored.h), which evicted ones are brought back from.
 * Most rounds write what has changed to the slice's journal (journal.h); in its turn, or when its
 * journal has grown, a slice is folded: records are brought up to date, and a new journal begins
 * with the holds of that moment.
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

/* Store part number `part` of `parts` of the slices: one after the other they make a round. False:
 * the store does not take it; what is missing is stored by a later call. `synced`: it and what came
 * before it is on disk on true. One thread at a time. */
bool qd_snapshot_part(struct qd_node *node, uint32_t part, uint32_t parts, bool synced,
                      struct qd_store_error *error);
/* All slices at once. */
bool qd_snapshot_round(struct qd_node *node, bool synced, struct qd_store_error *error);

/* With the shard locked by qd_shards_lock (commons: its own lock held): store it now. False: the
 * store does not take it. */
bool qd_snapshot_locked(struct qd_node *node, struct qd_shard *shard);

/* At boot, while nobody else is in the node: all slices and `extra` in one synced batch. Journals
 * begin with chunk `journal_next`. */
bool qd_snapshot_boot(struct qd_node *node, uint64_t journal_next, const struct qd_batch *extra,
                      struct qd_store_error *error);

/* All slices are in the store as they were then, or later: what a crash forgets is younger. 0: some
 * slice has not been stored yet. From any thread. */
struct qd_wall_ns qd_snapshot_oldest(struct qd_node *node);

#endif /* QD_SHARD_SNAPSHOT_H */
