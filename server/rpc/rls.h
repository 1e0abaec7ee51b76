/* envoy.service.ratelimit.v3.RateLimitService: their configuration, published, and how a call's
 * descriptors are decided by it (I3).
 *
 * Layer:    rpc
 * Threads:  a set is immutable; publishing: as qd_rpc_publish_rls says.
 * Memory:   a set owns its rules; it is freed before the statistics that it keeps.
 */
#ifndef QD_RPC_RLS_H
#define QD_RPC_RLS_H

#include "server/rls/rules.h"
#include "server/rpc/rls_codec.h"
#include "server/shard/rls.h"

/* Windows on multiples of their length, and such as slide. */
#define QD_RLS_WINDOW_KINDS 2

struct qd_rls_stats; /* server/shard/rls_stats.h */
struct qd_rls_table;

struct qd_rls_set {
    struct qd_rls_rules *rules;
    struct qd_rls_table *series; /* where hits are counted by rule; NULL: nowhere */
    const struct qd_limit *limits[QD_RLS_WINDOW_KINDS][QD_RLS_UNIT_MAX + 1]; /* by unit */
};

/* Takes the rules, also when it fails. NULL: out of memory or limits. */
struct qd_rls_set *qd_rls_set_new(struct qd_rls_rules *rules);
void qd_rls_set_free(void *thing); /* NULL is fine */

/* Before the set is published: the rules that its files name have series in `stats` from now on,
 * others only after them. One set at a time. */
void qd_rls_set_keep_stats(struct qd_rls_set *set, struct qd_rls_stats *stats);

struct qd_call; /* call.h */
struct qd_place;

/* ShouldRateLimit: decide an encoded RateLimitRequest, and append the RateLimitResponse to the
 * place's `out`. On the place's thread, its worker entered. Without a `call` descriptors that name
 * tenants are refused: they wait for the disk. */
enum qd_error_code qd_rls_decide(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                 struct qd_error *ret_error);

/* A handler's room: too large for a stack. */
struct qd_rls_work;
struct qd_rls_work *qd_rls_work_new(void);
void qd_rls_work_free(struct qd_rls_work *work); /* NULL is fine */
struct qd_rls_request *qd_rls_work_request(struct qd_rls_work *work);
struct qd_rls_answer *qd_rls_work_answer(struct qd_rls_work *work);

#endif /* QD_RPC_RLS_H */
