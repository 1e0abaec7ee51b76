/* The unary calls of quota.v1.QuotaService, as StreamQuota's items use them too. Internal to
 * rpc. */
#ifndef QD_RPC_QUOTA_H
#define QD_RPC_QUOTA_H

#include "server/rpc/call.h"

/* Appends the fields of place->check_answer to place->out. */
void qd_quota_put_check(struct qd_place *place, const struct qd_check_args *args);
enum qd_error_code qd_quota_malformed(const char *what, struct qd_error *ret_error);

/* Each appends its answer's fields to place->out. */
void qd_quota_put_report(struct qd_place *place, const struct qd_report_answer *answer);
enum qd_error_code qd_quota_extend(struct qd_place *place, const struct qd_call *call,
                                   struct qd_str bytes, struct qd_error *ret_error);
enum qd_error_code qd_quota_cancel(struct qd_place *place, const struct qd_call *call,
                                   struct qd_str bytes, struct qd_error *ret_error);

/* Read a request, and see that it is within what its caller may ask for (X1). */
enum qd_error_code qd_quota_read_check(const struct qd_caller *caller, struct qd_str bytes,
                                       struct qd_check_args *args, struct qd_error *ret_error);
enum qd_error_code qd_quota_read_report(const struct qd_caller *caller, struct qd_node *node,
                                        struct qd_str bytes, struct qd_report_args *args,
                                        struct qd_error *ret_error);

/* StreamQuota: one message of items, answered by one. */
enum qd_error_code qd_stream_message(struct qd_place *place, struct qd_call *call,
                                     struct qd_str bytes, struct qd_error *ret_error);

#endif /* QD_RPC_QUOTA_H */
