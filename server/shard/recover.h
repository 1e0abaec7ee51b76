/* Taking up at boot where the last process left off (X5, D7).
 *
 * Counters, holds and estimators come back as the last snapshot has them, and the entries that were
 * booked after it are counted: a second's worth, however long the ledger is. Without a snapshot, or
 * with a damaged one, budgets' used is counted from the ledger, from the start of the longest open
 * period on; rates and holds start empty then.
 *
 * Layer:    shard
 * Threads:  the boot's, before anybody else is in the node; the policy is published and the
 * tenants' records are loaded. Memory:   none kept.
 */
#ifndef QD_SHARD_RECOVER_H
#define QD_SHARD_RECOVER_H

#include "server/shard/node.h"

struct qd_recovery {
    uint64_t counters; /* brought back by the snapshot */
    uint64_t holds;
    uint64_t holds_lost; /* there was no place for them: they settle by their tokens (S1) */
    uint64_t entries;    /* of usage that were counted */
    bool from_ledger;    /* there was no snapshot to use */
    char damage[160];    /* why not, if there was one; else empty */
};

/* False: the store cannot be read or written, or was written by a newer version. */
bool qd_node_recover(struct qd_node *node, struct qd_worker *worker,
                     struct qd_recovery *ret_recovery, struct qd_error *ret_error);

/* While it runs, with a struct qd_node: the function of qd_ledger_on_found, for entries that a
 * store which failed had taken all the same. */
void qd_node_adopt(void *context, const struct qd_entry *entry);

#endif /* QD_SHARD_RECOVER_H */
