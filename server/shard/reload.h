/* Load a policy file and publish it, or leave everything as it was (P1, P6).
 *
 * Layer:    shard
 * Threads:  any that may block on reading files; takes node->admin for the whole of it.
 * Memory:   none kept.
 */
#ifndef QD_SHARD_RELOAD_H
#define QD_SHARD_RELOAD_H

#include "server/shard/node.h"

enum qd_reload {
    QD_RELOAD_DONE,      /* a new revision is in force */
    QD_RELOAD_UNCHANGED, /* the file says what is in force already: no new revision */
    QD_RELOAD_BAD,       /* `problems` says why; the policy in force stays */
};

/* From which policy to which. */
struct qd_reload_change {
    uint64_t before_revision;
    uint64_t after_revision;
    char before_sha256[65]; /* as in struct qd_policy_info */
    char after_sha256[65];
};

/* `problems` gets errors and warnings. DONE: *ret_change says what changed; may be NULL. */
enum qd_reload qd_reload_file(struct qd_node *node, const char *path, struct qd_problems *problems,
                              struct qd_reload_change *ret_change);

#endif /* QD_SHARD_RELOAD_H */
