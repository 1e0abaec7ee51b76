#include "server/rpc/audit.h"

#include "server/ledger/tenant_store.h"
#include "server/log/log.h"
#include "server/rpc/call.h"

#include <stdio.h>

static struct qd_log_value quoted(struct qd_str text)
{
    char bounded[QD_LOG_VALUE_MAX];

    (void)snprintf(bounded, sizeof(bounded), "%.*s", (int)text.len,
                   text.ptr != NULL ? text.ptr : "");
    return qd_log_quote(bounded);
}

void qd_audit_write_by(struct qd_node *node, const char *actor, const struct qd_audit_action *done)
{
    struct qd_store_error error = {0};
    struct qd_tenant_change change = {.actor = qd_slice_of(actor),
                                      .action = qd_slice_of(done->action),
                                      .detail = done->detail,
                                      .now = qd_clock_now(&node->clock)};

    if (qd_tenant_store_audit_alone(node->tenants, &change, done->subject, done->before,
                                    done->after, &error) != QD_STORE_OK) {
        qd_log(QD_LOG_WARN, "an admin action has no audit record: the store takes no writes",
               "actor=%s action=%s subject=%s detail=%s why=%s", qd_log_quote(actor).text,
               done->action, quoted(done->subject).text, quoted(done->detail).text,
               qd_log_quote(error.text).text);
    }
}

void qd_audit_write(struct qd_place *place, const struct qd_call *call,
                    const struct qd_audit_action *done)
{
    qd_audit_write_by(place->node, qd_place_actor(place, call).ptr, done);
}
