/* Changes of run-time tenants: durable and audited first, then effective at once (P2, X6).
 *
 * Layer:    shard
 * Threads:  any that may block on the disk; takes node->admin for the whole of it.
 * Memory:   what is returned points into the caller's buffer and into the caller's arguments.
 *
 * A change reads the record, edits a copy, sees that its limits compile, stores it with an audit
 * record in one synced batch, puts it into the directory and forgets the bindings of its root: the
 * next check decides by it.
 */
#ifndef QD_SHARD_TENANTS_H
#define QD_SHARD_TENANTS_H

#include "server/ledger/tenant_store.h"
#include "server/shard/node.h"

/* Who acts where nobody is asked for credentials. An empty actor is this one. */
#define QD_ACTOR_LOCAL "local"
static inline struct qd_str qd_actor_or_local(struct qd_str actor)
{
    return actor.len > 0 ? actor : qd_slice_of(QD_ACTOR_LOCAL);
}

/* Edits *record (of the policy in force; an empty one with its path if there was none: `exists`
 * false). */
typedef enum qd_error_code (*qd_tenant_edit)(void *context, const struct qd_policy *policy,
                                             bool exists, struct qd_tenant_record *record,
                                             struct qd_error *ret_error);

struct qd_tenants_edit {
    struct qd_str path; /* valid */
    const char *action; /* "PutTenant" */
    qd_tenant_edit edit;
    void *context;
    bool new_limits;     /* it sets limits or the plan: see qd_directory_try */
    struct qd_str actor; /* X6 */
};

/* A place for one change and what came of it: large, keep it on the heap. */
struct qd_tenants_work {
    struct qd_buf bytes;
    struct qd_tenant_record record; /* as stored */
    bool created;
};

enum qd_error_code qd_tenants_change(struct qd_node *node, const struct qd_tenants_edit *edit,
                                     struct qd_tenants_work *work, struct qd_error *ret_error);

/* NOT_FOUND if there is no record; TENANT_HAS_CHILDREN if there are some below it and `subtree` is
 * false. */
enum qd_error_code qd_tenants_delete(struct qd_node *node, struct qd_str path, bool subtree,
                                     struct qd_str actor, uint32_t *ret_deleted,
                                     struct qd_error *ret_error);

struct qd_grant_args {
    struct qd_str path;
    const char *limit;         /* last part of the name */
    struct qd_hash128 counter; /* with one_counter */
    bool one_counter;
    bool money;
    int64_t amount;
    struct qd_str grant_id;
    struct qd_str note;
    struct qd_str actor; /* X6 */
};

/* Raise a prepaid balance: the ledger's entry and the record in one batch, once per grant_id. */
enum qd_error_code qd_tenants_grant(struct qd_node *node, const struct qd_grant_args *args,
                                    struct qd_tenants_work *work, bool *ret_duplicate,
                                    uint64_t *ret_sequence, struct qd_error *ret_error);

#endif /* QD_SHARD_TENANTS_H */
