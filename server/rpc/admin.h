/* The handlers of quota.v1.AdminService, one file for each group of calls. Internal to rpc. */
#ifndef QD_RPC_ADMIN_H
#define QD_RPC_ADMIN_H

#include "server/rpc/call.h"

/* Handler, name, roles, and what a bound caller may (X1). */
#define QD_ADMIN_HANDLERS(X)                                                           \
    X(get_policy, "GetPolicy", QD_ROLE_ADMIN, QD_BOUND_REFUSED)                        \
    X(validate_policy, "ValidatePolicy", QD_ROLE_ADMIN, QD_BOUND_REFUSED)              \
    X(reload_policy, "ReloadPolicy", QD_ROLE_ADMIN, QD_BOUND_REFUSED)                  \
    X(put_tenant, "PutTenant", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                       \
    X(delete_tenant, "DeleteTenant", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                 \
    X(set_plan, "SetPlan", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                           \
    X(list_tenants, "ListTenants", QD_ROLE_ADMIN | QD_ROLE_BILLING, QD_BOUND_CONFINED) \
    X(block, "Block", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                                \
    X(grant, "Grant", QD_ROLE_ADMIN | QD_ROLE_BILLING, QD_BOUND_ADMIN_ONLY)            \
    X(boost, "Boost", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                                \
    X(reset_counter, "ResetCounter", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                 \
    X(get_effective_limits, "GetEffectiveLimits", QD_ROLE_ADMIN | QD_ROLE_BILLING,     \
      QD_BOUND_CONFINED)                                                               \
    X(explain_check, "ExplainCheck", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                 \
    X(list_counters, "ListCounters", QD_ROLE_ADMIN, QD_BOUND_CONFINED)                 \
    X(list_reservations, "ListReservations", QD_ROLE_ADMIN, QD_BOUND_CONFINED)         \
    X(release_reservation, "ReleaseReservation", QD_ROLE_ADMIN, QD_BOUND_CONFINED)     \
    X(get_status, "GetStatus", QD_ROLE_ADMIN, QD_BOUND_REFUSED)                        \
    X(verify_ledger, "VerifyLedger", QD_ROLE_ADMIN, QD_BOUND_REFUSED)                  \
    X(rebuild_rollups, "RebuildRollups", QD_ROLE_ADMIN, QD_BOUND_REFUSED)              \
    X(checkpoint, "Checkpoint", QD_ROLE_ADMIN, QD_BOUND_REFUSED)                       \
    X(drain, "Drain", QD_ROLE_ADMIN, QD_BOUND_REFUSED)                                 \
    X(list_audit_records, "ListAuditRecords", QD_ROLE_ADMIN, QD_BOUND_REFUSED)

#define QD_ADMIN_DECLARE(name, text, roles, bound)                                   \
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
