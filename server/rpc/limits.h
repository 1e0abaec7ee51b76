/* Limits as admin calls see them: resolved for a tenant, found by name, with their counters'
 * states. Internal to rpc.
 *
 * Between qd_limits_open and qd_limits_close the directory's shared lock is held, and
 * place->worker->resolution is valid. */
#ifndef QD_RPC_LIMITS_H
#define QD_RPC_LIMITS_H

#include "server/rpc/text.h"
#include "server/shard/bind.h"

struct qd_limits {
    struct qd_place *place;
    const struct qd_published *published;
    struct qd_subject subject;
    struct qd_shard *home;
    struct qd_wall_ns now;
};

/* Resolve for these attributes; `all`: limits that need an attribute that is absent are listed too.
 */
void qd_limits_open(struct qd_place *place, const struct qd_subject_args *args, bool all,
                    struct qd_limits *ret_limits);
void qd_limits_close(struct qd_limits *limits);

/* The resolved limit of a full or last name: UNKNOWN_LIMIT lists those that there are. */
enum qd_error_code qd_limits_find(const struct qd_limits *limits, struct qd_str name,
                                  const struct qd_resolved_limit **ret_limit,
                                  struct qd_error *ret_error);

/* Its counter now, in memory or out in the store; zeros where nothing was counted yet. */
void qd_limits_state(const struct qd_limits *limits, const struct qd_resolved_limit *limit,
                     struct qd_state_copy *ret_state);

/* "free.tokens" */
void qd_limits_full_name(const struct qd_resolved_limit *limit, char *name, size_t size);

/* False: the limit is split by something that was not given, so that it has many counters, and none
 * to show. */
bool qd_limits_has_counter(const struct qd_limits *limits, const struct qd_resolved_limit *limit);

/* quota.v1.EffectiveLimit as field `id`. A NULL state: no counter is shown. */
void qd_limits_put(const struct qd_limits *limits, uint32_t id,
                   const struct qd_resolved_limit *limit, const struct qd_limit_state *state);

/* Lock the core that has a limit's counters, and unlock it. */
struct qd_core *qd_limits_lock(const struct qd_limits *limits,
                               const struct qd_resolved_limit *limit);
void qd_limits_unlock(const struct qd_limits *limits);

/* quota.v1.BlockState of the tenant or its nearest blocked ancestor as field `id`, if it is
 * blocked. */
void qd_limits_put_block(struct qd_place *place, uint32_t id, struct qd_str path,
                         struct qd_wall_ns now);

#endif /* QD_RPC_LIMITS_H */
