/* A check's answer in the terms of Envoy's rate limit service (I3): a descriptor's status, and what
 * a denied request is told (I5).
 *
 * Layer:    rpc
 * Units:    seconds where Envoy's messages have them, rounded up.
 * Threads:  none of its own.
 * Memory:   texts go to the caller's buffers.
 */
#ifndef QD_RPC_RLS_DENIAL_H
#define QD_RPC_RLS_DENIAL_H

#include "server/rpc/rls_codec.h"
#include "server/shard/request.h"

#define QD_RLS_STATUS_NAME_MAX 128U

/* Whether it says that the tenant may not: anything else that denies is this node's trouble, and an
 * error to Envoy, which then does what its user wants (failure_mode_deny). */
bool qd_rls_denies(const struct qd_check_answer *answer);

/* The status: of the limit that denies, or the tightest. One of money shows no amount. `name` is
 * where the limit's name goes, cut off if it is longer. */
void qd_rls_status_of(const struct qd_check_answer *answer, struct qd_rls_status *ret_status,
                      char name[QD_RLS_STATUS_NAME_MAX]);

/* What the status says is left of that limit, less what was `taken` of it. */
uint32_t qd_rls_remaining(const struct qd_check_answer *answer, int64_t taken);

/* For facts that are no native call's, or not the caller's to name: raw_body says what is wrong. */
bool qd_rls_put_unfit(const struct qd_error *error, struct qd_str tenant, struct qd_out *out);

/* For a denial: response_headers_to_add, as CheckQuota's, and raw_body, an error in OpenAI's form.
 * False: out of memory. */
bool qd_rls_put_denial(const struct qd_check_answer *answer, struct qd_str tenant,
                       struct qd_out *out);

#endif /* QD_RPC_RLS_DENIAL_H */
