/* Audit records of admin actions that change no tenant's record (X6).
 *
 * Layer:    rpc
 * Threads:  the handler's; blocks for a synced write.
 */
#ifndef QD_RPC_AUDIT_H
#define QD_RPC_AUDIT_H

#include "server/rpc/call.h"

/* What was done, to be told of. Texts; empty ones tell of nothing. */
struct qd_audit_action {
    const char *action;    /* "Drain" */
    struct qd_str subject; /* a tenant, or what it is in parentheses: "(node)" is nobody's name */
    struct qd_str detail;  /* for people */
    struct qd_str before;  /* whose hashes the record has */
    struct qd_str after;
};

/* After it was done: by the call's caller. An action goes through where the store takes no writes
 * (X4): then the log has it. */
void qd_audit_write(struct qd_place *place, const struct qd_call *call,
                    const struct qd_audit_action *done);

#endif /* QD_RPC_AUDIT_H */
