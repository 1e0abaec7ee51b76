/* Counting a ledger entry on the counters from the entry alone: at boot, and when an entry was
 * booked whose report nobody is waiting with.
 *
 * Layer:    shard
 * Threads:  the worker's own, entered; locks the entry's home shard.
 * Memory:   the worker's resolution is used up.
 */
#ifndef QD_SHARD_RECOUNT_H
#define QD_SHARD_RECOUNT_H

#include "server/shard/bind.h"

/* The usage that counters count for an entry, derived meters and money included. */
void qd_recount_usage(const struct qd_policy *policy, const struct qd_entry *entry,
                      struct qd_usage *ret_usage);
/* X5: whom they counted it for, which may be another than the report's. Points into the entry. */
struct qd_subject_args qd_recount_subject(const struct qd_entry *entry);

/* What of it is counted. */
struct qd_recount_how {
    bool budgets_only; /* rates are not charged, holds not settled */
    bool in_home;      /* the counters of its home slice count it */
    bool in_commons;   /* those that tenants share do */
    bool live;         /* others are in the node: snapshots learn of it */
};

/* Count it for the subject that was counted when it was booked (X5), in the slot of its charged
 * time; what lies in a period that is over changes nothing. If its reservation is open here, that
 * is settled. A reversal counts down what its original counted (L3). A reset is done again. False:
 * its limits are gone, or found no room; that is counted in rebuild_left_out. */
bool qd_recount(struct qd_worker *worker, const struct qd_published *published,
                const struct qd_entry *entry, const struct qd_recount_how *how);

#endif /* QD_SHARD_RECOUNT_H */
