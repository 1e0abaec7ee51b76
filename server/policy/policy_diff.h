/* What changes from one policy to another, and which counters start empty by it (P6).
 *
 * Layer:    policy
 * Threads:  none of its own.
 * Memory:   the list owns its texts; the policies may go before it.
 */
#ifndef QD_POLICY_POLICY_DIFF_H
#define QD_POLICY_POLICY_DIFF_H

#include "server/core/policy.h"

#define QD_CHANGES_MAX 1000

enum qd_change_kind {
    QD_CHANGE_ADDED,
    QD_CHANGE_REMOVED,
    QD_CHANGE_CHANGED
};

struct qd_policy_change {
    enum qd_change_kind kind;
    const char *path;       /* "plans.pro.tokens" */
    const char *before;     /* "" when added: "1,000,000/min, per model" */
    const char *after;      /* "" when removed */
    bool restarts_counters; /* the limit's identity changes: its counters start empty */
    uint32_t line;          /* in the new policy; 0: unknown */
};

struct qd_policy_changes {
    const struct qd_policy_change *changes; /* in the order of sections, then of names */
    size_t count;                           /* at most QD_CHANGES_MAX */
    size_t dropped;                         /* beyond that */
};

/* Differences from `before` to `after`. Comments, order and spelling of the files do not matter.
 * NULL: out of memory. */
struct qd_policy_changes *qd_policy_diff(const struct qd_policy *before,
                                         const struct qd_policy *after)
    __attribute__((warn_unused_result));
void qd_policy_changes_free(struct qd_policy_changes *changes);

#endif /* QD_POLICY_POLICY_DIFF_H */
