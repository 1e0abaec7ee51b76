/* A limit with everything about it that is not the default: what a diff compares and shows.
 *
 * Layer:    policy. Threads, memory: the arena's.
 */
#ifndef QD_POLICY_LIMIT_DETAIL_H
#define QD_POLICY_LIMIT_DETAIL_H

#include "server/core/policy.h"
#include "server/policy/arena.h"

/* "1,000,000/min, per model, burst 2,000,000": two uses of limits have the same text if and only if
 * they behave the same. */
const char *qd_limit_detail(struct qd_arena *arena, const struct qd_policy *policy,
                            const struct qd_limit_use *use);

#endif /* QD_POLICY_LIMIT_DETAIL_H */
