/* What changes from one policy to another, as repeated quota.v1.PolicyChange. Internal to rpc. */
#ifndef QD_RPC_POLICY_DIFF_H
#define QD_RPC_POLICY_DIFF_H

#include "server/core/policy.h"
#include "server/rpc/wire.h"

#define QD_POLICY_CHANGES_MAX 1000U

/* Append at most QD_POLICY_CHANGES_MAX changes as field `id`; returns how many there are. */
size_t qd_policy_diff(struct qd_out *out, uint32_t id, const struct qd_policy *before, const struct qd_policy *after);

#endif /* QD_RPC_POLICY_DIFF_H */
