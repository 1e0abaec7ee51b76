#include "server/rpc/audit.h"

#include "server/ledger/tenant_store.h"
#include "server/log/log.h"

void qd_audit_write(struct qd_place *place, const struct qd_call *call,
                    const struct qd_audit_action *done)
{
    struct qd_node *node = place->node;
    struct qd_store_error error = {0};
    struct qd_tenant_change change = {.actor = qd_place_actor(place, call),
                                      .action = qd_slice_of(done->action),
                                      .detail = done->detail,
                                      .now = qd_clock_now(&node->clock)};

    if (qd_tenant_store_audit_alone(node->tenants, &change, done->subject, done->before,
                                    done->after, &error) != QD_STORE_OK) {
        qd_log(QD_LOG_WARN, "an admin action has no audit record: the store takes no writes",
               "actor=%s action=%s subject=%s detail=%s why=%s",
               qd_log_quote(change.actor.ptr).text, done->action,
               qd_log_quote(qd_scratch_text(&place->arena, done->subject)).text,
               qd_log_quote(qd_scratch_text(&place->arena, done->detail)).text,
               qd_log_quote(error.text).text);
    }
}
