/* What a request may contain (X2, I8): each function refuses with the sentence that the caller is
 * shown.
 *
 * Layer:    shard
 * Threads:  none of its own; the policy must stay published during the call.
 * Memory:   the caller's.
 */
#ifndef QD_SHARD_VALIDATE_H
#define QD_SHARD_VALIDATE_H

#include "server/core/policy.h"
#include "server/shard/request.h"

#define QD_EVENT_AHEAD_MAX_NS (5 * QD_NS_PER_MINUTE)

/* A required tenant path. */
enum qd_error_code qd_validate_tenant(struct qd_str tenant, struct qd_error *ret_error);

/* A name of at most QD_NAME_MAX bytes, may be absent; `field` is what the message calls it. */
enum qd_error_code qd_validate_name(const char *field, struct qd_str name,
                                    struct qd_error *ret_error);

enum qd_error_code qd_validate_labels(const struct qd_label *labels, size_t count,
                                      struct qd_error *ret_error);
/* The same for those that a request carries, where `user` is a field of its own (a limit's keys
 * name both alike). */
enum qd_error_code qd_validate_request_labels(const struct qd_label *labels, size_t count,
                                              struct qd_error *ret_error);

/* A usage vector by meters' names -> *ret_usage by index. */
enum qd_error_code qd_validate_usage(const char *field, const struct qd_policy *policy,
                                     const struct qd_amount_arg *amounts, size_t count,
                                     struct qd_usage *ret_usage, struct qd_error *ret_error);

/* 0: `absent_ns`. */
enum qd_error_code qd_validate_ttl(int64_t ttl_ms, int64_t absent_ns, int64_t *ret_ns,
                                   struct qd_error *ret_error);

/* Not older than the policy's report horizon (S6) and not more than 5 minutes ahead. */
enum qd_error_code qd_validate_event_time(const char *field, struct qd_wall_ns event,
                                          struct qd_wall_ns now, int64_t horizon_ns,
                                          enum qd_error_code too_old, struct qd_error *ret_error);

enum qd_error_code qd_validate_tier(uint32_t wire, enum qd_price_tier *ret_tier,
                                    struct qd_error *ret_error);
enum qd_error_code qd_validate_cache_ttl(uint32_t wire, enum qd_cache_write_ttl *ret_ttl,
                                         struct qd_error *ret_error);

/* What must hold before a check's binding key is computed, and what the key doesn't cover. A
 * binding is only made after qd_validate_check: a check that finds one has valid names of tenant,
 * model and pool. */
enum qd_error_code qd_validate_check_quickly(const struct qd_check_args *args,
                                             struct qd_error *ret_error);

/* Everything of a check but its usage vector, ttl and candidates' meaning. */
enum qd_error_code qd_validate_check(const struct qd_check_args *args, struct qd_error *ret_error);

#endif /* QD_SHARD_VALIDATE_H */
