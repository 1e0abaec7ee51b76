/* The handlers of quota.v1.AdminService, one file for each group of calls. Internal to rpc. */
#ifndef QD_RPC_ADMIN_H
#define QD_RPC_ADMIN_H

#include "server/rpc/call.h"

#define QD_ADMIN_HANDLERS(X)                      \
    X(get_policy, "GetPolicy")                    \
    X(validate_policy, "ValidatePolicy")          \
    X(reload_policy, "ReloadPolicy")              \
    X(put_tenant, "PutTenant")                    \
    X(delete_tenant, "DeleteTenant")              \
    X(set_plan, "SetPlan")                        \
    X(list_tenants, "ListTenants")                \
    X(block, "Block")                             \
    X(grant, "Grant")                             \
    X(boost, "Boost")                             \
    X(reset_counter, "ResetCounter")              \
    X(get_effective_limits, "GetEffectiveLimits") \
    X(explain_check, "ExplainCheck")              \
    X(list_counters, "ListCounters")              \
    X(list_reservations, "ListReservations")      \
    X(release_reservation, "ReleaseReservation")  \
    X(get_status, "GetStatus")                    \
    X(verify_ledger, "VerifyLedger")              \
    X(rebuild_rollups, "RebuildRollups")          \
    X(checkpoint, "Checkpoint")                   \
    X(drain, "Drain")

#define QD_ADMIN_DECLARE(name, text)                                                 \
    enum qd_error_code qd_admin_##name(struct qd_place *place, struct qd_call *call, \
                                       struct qd_str bytes, struct qd_error *ret_error);
QD_ADMIN_HANDLERS(QD_ADMIN_DECLARE)
#undef QD_ADMIN_DECLARE

/* What a tenant and all below it hold now (empty: everybody). Slices are locked bit by bit. */
struct qd_held {
    uint64_t reservations;
    int64_t tokens;
    int64_t cost_nano_usd;
};
struct qd_held qd_admin_held(struct qd_place *place, struct qd_str tenant);

/* quota.v1.PolicyInfo as field `id`. */
void qd_admin_put_policy(struct qd_place *place, uint32_t id);

#endif /* QD_RPC_ADMIN_H */
