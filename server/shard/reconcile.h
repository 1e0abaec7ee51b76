/* What budgets have counted against what the ledger says (D7, L4): counted again from the entries,
 * one by one, by today's policy, beside the counters and not through them.
 *
 * Layer:    shard
 * Threads:  the worker's own, entered. Reports wait while the counters are copied; nobody while the
 *           ledger is read.
 * Memory:   some 100 bytes a budget, for the length of the call.
 */
#ifndef QD_SHARD_RECONCILE_H
#define QD_SHARD_RECONCILE_H

#include "server/shard/node.h"

struct qd_reconciled {
    bool clean;
    uint64_t budgets; /* compared */
    /* Not compared: no entry of their period finds them by today's policy (their tenant has another
     * plan now), or the ledger begins after them. */
    uint64_t skipped;
    uint64_t entries;     /* read */
    char difference[512]; /* the first one, if not clean */
};

/* QD_ERROR_NONE and an answer, or STORE_ERROR. A budget whose limit a tenant had, lost and got
 * again within its period differs by what was used in between. */
enum qd_error_code qd_node_reconcile(struct qd_worker *worker, struct qd_reconciled *ret_answer,
                                     struct qd_error *ret_error);

#endif /* QD_SHARD_RECONCILE_H */
