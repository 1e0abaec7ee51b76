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
#include "server/ledger/ledger.h"
#include "server/policy/problem.h"
#include "storage/store.h"

/* Before a policy is published: does it leave the amounts alone of every version that entries name?
 * False: each that it changes is an error in `problems`, with what to do; the policy must not be
 * published. A version that was in force and that no entry names yet may change: what is kept of it
 * is forgotten here. Looks through the ledger, only when a version has changed. A store that cannot
 * be read refuses nothing. */
bool qd_prices_admit(struct qd_store *store, struct qd_ledger *ledger,
                     const struct qd_policy *policy, struct qd_problems *problems);

/* Keep all sheets of the models and pools of both books; versions that are there stay as they are.
 * One that was kept with other content, or a store that cannot be written, is a warning in
 * `problems` (may be NULL): the policy is good. */
void qd_prices_keep(struct qd_store *store, const struct qd_policy *policy, struct qd_wall_ns now,
                    struct qd_problems *problems);

#endif /* QD_SHARD_PRICE_KEEP_H */
