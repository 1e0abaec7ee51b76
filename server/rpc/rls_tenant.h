/* ShouldRateLimit for tenants of our policy: descriptors of the domain --rls-tenant-domain share
 * one budget with CheckQuota and ReportUsage (I3 and beyond it).
 *
 *   without `meter`   a check of so many requests; what is allowed is booked at once
 *   with `meter`      usage that has happened: booked as a report without a reservation (S7)
 *
 * A call's checks are one decision: where one is denied, none is charged (D2). Usage is booked all
 * the same.
 *
 * Layer:    rpc
 * Threads:  asked on the call's completion-queue thread, where it is decided; what is to be booked
 *           waits for the disk on a booking thread, with other calls' (L2).
 * Memory:   a call that waits lies in its own arena: about 1 KiB a descriptor, and its message.
 */
#ifndef QD_RPC_RLS_TENANT_H
#define QD_RPC_RLS_TENANT_H

#include "server/rpc/call.h"

bool qd_rls_tenant_is(const struct qd_rpc *rpc, struct qd_str domain);

/* Decide. Afterwards the answer is in place->out, or call->tenants is set: then the call goes to a
 * booking thread, or is given up there. `bytes` hold a RateLimitRequest. */
enum qd_error_code qd_rls_tenant_ask(struct qd_place *place, struct qd_call *call,
                                     struct qd_str bytes, struct qd_error *ret_error);

/* Book what these calls wait for, in as few synced writes as it takes, and reply to each. On a
 * booking thread that has no reports at hand, entered. */
void qd_rls_tenant_book(struct qd_place *place, struct qd_call *const *calls, uint32_t count);

/* It is not booked: what it holds is given back. The caller replies. */
void qd_rls_tenant_give_up(struct qd_place *place, struct qd_call *call);

#endif /* QD_RPC_RLS_TENANT_H */
