/* Audit records of what changes no tenant's record: admin actions, and files that were read again
 * (X6).
 *
 * Layer:    rpc
 * Threads:  any that may block: for a synced write.
 */
#ifndef QD_RPC_AUDIT_H
#define QD_RPC_AUDIT_H

#include "server/shard/node.h"

struct qd_call;  /* call.h */
struct qd_place; /* likewise */

/* Who: whoever wrote a file that was read again. Nobody else is: a caller has "/ROLE" behind its
 * name, or is "local". */
#define QD_ACTOR_FILE "file"

/* What was done, to be told of. Texts; empty ones tell of nothing. */
struct qd_audit_action {
    const char *action;    /* "Drain" */
    struct qd_str subject; /* a tenant, or what it is in parentheses: "(node)" is nobody's name */
    struct qd_str detail;  /* for people */
    struct qd_str before;  /* whose hashes the record has */
    struct qd_str after;
};

/* After it was done: by `actor`, a C string. An action goes through where the store takes no writes
 * (X4): then the log has it. */
void qd_audit_write_by(struct qd_node *node, const char *actor, const struct qd_audit_action *done);
/* By the call's caller; on the handler's thread. */
void qd_audit_write(struct qd_place *place, const struct qd_call *call,
                    const struct qd_audit_action *done);

#endif /* QD_RPC_AUDIT_H */
