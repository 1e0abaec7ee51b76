/* Counting a ledger entry on the counters from the entry alone: at boot, and when an entry was
 * booked whose report nobody is waiting with.
 *
 * Layer:    shard
 * Threads:  the worker's own, entered; locks the entry's home shard.
 * Memory:   the worker's resolution is used up.
 */
#ifndef QD_SHARD_RECOUNT_H
#define QD_SHARD_RECOUNT_H

#include "server/shard/node.h"

/* Count it in the budgets of the subject that was counted when it was booked (X5), in the slot of
 * its charged time; what lies in a period that is over changes nothing. A reset is done again.
 * False: its limits are gone, or found no room; that is counted in rebuild_left_out. */
bool qd_recount(struct qd_worker *worker, const struct qd_published *published,
                const struct qd_entry *entry);

#endif /* QD_SHARD_RECOUNT_H */
