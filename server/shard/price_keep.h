/* Price versions of a policy, kept beside the ledger before their first use (P7): what an entry
 * cost can be computed again.
 *
 * Layer:    shard
 * Threads:  one at a time (under node->admin); blocks for one synced write if there is a new
 * version. Memory:   none kept.
 */
#ifndef QD_SHARD_PRICE_KEEP_H
#define QD_SHARD_PRICE_KEEP_H

#include "server/core/policy.h"
#include "server/policy/problem.h"
#include "storage/store.h"

/* Keep all sheets of the models and pools of both books; versions that are there stay as they are.
 * One that was kept with other content, or a store that cannot be written, is a warning in
 * `problems` (may be NULL): the policy is good. */
void qd_prices_keep(struct qd_store *store, const struct qd_policy *policy, struct qd_wall_ns now,
                    struct qd_problems *problems);

#endif /* QD_SHARD_PRICE_KEEP_H */
