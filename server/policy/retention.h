/* How long ledger entries have to be kept, whatever the policy's ledger_retention (L7).
 *
 * Layer:    policy
 * Units:    ns.
 * Threads:  any.
 * Memory:   none.
 */
#ifndef QD_POLICY_RETENTION_H
#define QD_POLICY_RETENTION_H

#include "server/core/limit.h"

/* What comes late: events a little ahead, holds that are still open, clocks. An idempotency key
 * outlives the report horizon by it (S6), an entry the budgets' periods and its key. */
#define QD_RETENTION_MARGIN_NS (2 * QD_NS_PER_DAY)
#define QD_RETENTION_MAX_NS    (36500 * QD_NS_PER_DAY)

/* How old an entry can be that a budget still counts when it is rebuilt at a start; 0: it is no
 * budget; INT64_MAX: a prepaid balance counts them all. */
int64_t qd_retention_of_limit_ns(const struct qd_limit *limit);

/* The longest of all limits that this process has seen. */
int64_t qd_retention_of_budgets_ns(void);

#endif /* QD_POLICY_RETENTION_H */
