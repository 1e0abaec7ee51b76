/* From a request's attributes to a binding in the core: the key on the hot path, the resolution on
 * a miss.
 *
 * Layer:    shard
 * Threads:  the worker's own thread; entered.
 * Memory:   the worker's scratch.
 */
#ifndef QD_SHARD_BIND_H
#define QD_SHARD_BIND_H

#include "server/shard/node.h"

/* What a request is about, completed from the policy, with its binding's key. Do not copy it. */
struct qd_subject {
    struct qd_attributes attributes;
    struct qd_label labels[QD_TOKEN_LABELS_MAX]; /* the request's, and `provider` */
    const struct qd_model *model;                /* NULL: not in the policy */
    const struct qd_pool *pool;
    struct qd_hash128 key;
};

struct qd_subject_args {
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_str provider; /* {NULL, 0}: as labelled */
    const struct qd_label *labels;
    size_t label_count; /* <= QD_LABELS_MAX; a token's or an entry's, which may have one more,
                           without `provider` */
};

/* A request's identity within its tenant (S1); never zero. */
struct qd_hash128 qd_request_hash(const struct qd_node *node, struct qd_str tenant,
                                  struct qd_str request_id);

void qd_subject_init(struct qd_subject *subject, const struct qd_policy *policy, uint64_t seed,
                     const struct qd_subject_args *args);

enum qd_bind_outcome {
    QD_BIND_DONE = 0, /* bound; the home shard is locked */
    QD_BIND_STALE,    /* another policy was published meanwhile: begin again; nothing is locked */
    QD_BIND_UNKNOWN_TENANT, /* P2; nothing is locked */
    QD_BIND_TOO_MANY,       /* more limits than one check may have; nothing is locked */
    QD_BIND_NO_ROOM,        /* D12: no room, and a limit fails closed; the home shard is locked */
    QD_BIND_ALL_OPEN,       /* D12: no room for any binding, and all limits fail open; as above */
};

/* Resolve and bind. Nothing may be locked. On QD_BIND_NO_ROOM *ret_state describes the limit that
 * fails closed, in the worker's memory. worker->resolution says what was resolved. */
enum qd_bind_outcome qd_bind_locked(struct qd_worker *worker, const struct qd_published *published,
                                    const struct qd_subject *subject, struct qd_shard *home,
                                    struct qd_wall_ns now, struct qd_limit_state *ret_state);

/* The same for usage that has happened: a tenant that nobody knows any more counts in the limits
 * that all tenants share, and a limit that finds no room is left out by itself (counted as
 * unsettled). *ret_key: the key to settle by; a binding of a part lies apart from the checks'.
 * QD_BIND_NO_ROOM: not even a binding finds room; nothing is locked. */
enum qd_bind_outcome qd_bind_to_settle(struct qd_worker *worker,
                                       const struct qd_published *published,
                                       const struct qd_subject *subject, struct qd_shard *home,
                                       struct qd_wall_ns now, struct qd_hash128 *ret_key);

/* With the home shard locked: bind the worker's items, making room where there is none. DONE,
 * NO_ROOM (as above) or ALL_OPEN. */
enum qd_bind_outcome qd_bind_items(struct qd_worker *worker, struct qd_shard *home,
                                   struct qd_bind *bind, struct qd_wall_ns now,
                                   struct qd_limit_state *ret_state);

/* Resolve only, into worker->resolution, which points into the directory: the caller holds its
 * shared lock for as long as it looks. `all`: see struct qd_resolve_input. */
void qd_bind_resolve(struct qd_worker *worker, const struct qd_published *published,
                     const struct qd_attributes *attributes, bool all, struct qd_wall_ns now);

/* The tenant path of a counter's name ("acme/search" of "acme/search model=gpt-4o"), and the rest
 * after it. */
struct qd_str qd_name_tenant(struct qd_str name, struct qd_str *ret_keys);

struct qd_str qd_path_root(struct qd_str path);

#endif /* QD_SHARD_BIND_H */
