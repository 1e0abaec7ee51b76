/* quota.v1.QuotaService. */
#include "server/rpc/quota.h"

#include "server/rpc/codec.h"
#include "server/rpc/stream.h"

enum qd_error_code qd_quota_malformed(const char *what, struct qd_error *ret_error)
{
    return qd_error_set(ret_error, QD_ERROR_MALFORMED, "not a quota.v1.%s message", what);
}

void qd_quota_put_check(struct qd_place *place, const struct qd_check_args *args)
{
    qd_codec_put_check(&place->out, &place->check_answer, args->brief, place->check_answer.now);
}

enum qd_error_code qd_quota_read_check(const struct qd_caller *caller, struct qd_str bytes,
                                       struct qd_check_args *args, struct qd_error *ret_error)
{
    if (!qd_codec_check(bytes, args)) {
        return qd_quota_malformed("CheckQuotaRequest", ret_error);
    }
    return qd_caller_is_bound(caller) ? qd_caller_reaches(caller, args->tenant, ret_error)
                                      : QD_ERROR_NONE;
}

enum qd_error_code qd_quota_read_report(const struct qd_caller *caller, struct qd_node *node,
                                        struct qd_str bytes, struct qd_report_args *args,
                                        struct qd_error *ret_error)
{
    if (!qd_codec_report(bytes, args)) {
        return qd_quota_malformed("ReportUsageRequest", ret_error);
    }
    enum qd_error_code code =
        qd_caller_reaches_hold(caller, node, args->reservation, args->tenant, ret_error);
    return code != QD_ERROR_NONE
               ? code
               : qd_caller_reports_for(caller, node, args->reservation, args->pool, ret_error);
}

static enum qd_error_code unary_check(struct qd_place *place, const struct qd_call *call,
                                      struct qd_str bytes, uint64_t *ret_number,
                                      struct qd_error *ret_error)
{
    if (qd_quota_read_check(&call->caller, bytes, &place->check_args, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    enum qd_error_code code =
        qd_node_check(place->worker, &place->check_args, &place->check_answer, ret_error);
    if (code == QD_ERROR_NONE) {
        *ret_number = place->check_answer.number;
        qd_quota_put_check(place, &place->check_args);
    }
    return code;
}

void qd_quota_put_report(struct qd_place *place, const struct qd_report_answer *answer)
{
    qd_codec_put_report(&place->out, answer, place->node->name);
}

enum qd_error_code qd_quota_extend(struct qd_place *place, const struct qd_call *call,
                                   struct qd_str bytes, struct qd_error *ret_error)
{
    const struct qd_extend_args *args = &place->extend_args;

    if (!qd_codec_extend(bytes, &place->extend_args)) {
        return qd_quota_malformed("ExtendReservationRequest", ret_error);
    }
    if (qd_caller_reaches_hold(&call->caller, place->node, args->reservation, args->tenant,
                               ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    enum qd_error_code code =
        qd_node_extend(place->worker, &place->extend_args, &place->extend_answer, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_codec_put_extend(&place->out, &place->extend_answer, qd_clock_now(&place->node->clock));
    }
    return code;
}

enum qd_error_code qd_quota_cancel(struct qd_place *place, const struct qd_call *call,
                                   struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_str reservation;
    struct qd_str tenant;
    bool cancelled = false;

    if (!qd_codec_cancel(bytes, &reservation, &tenant)) {
        return qd_quota_malformed("CancelReservationRequest", ret_error);
    }
    if (qd_caller_reaches_hold(&call->caller, place->node, reservation, tenant, ret_error) !=
        QD_ERROR_NONE) {
        return ret_error->code;
    }
    enum qd_error_code code =
        qd_node_cancel(place->worker, reservation, tenant, &cancelled, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_codec_put_cancel(&place->out, cancelled);
    }
    return code;
}

/* --- as unary calls --- */

static enum qd_error_code check(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                struct qd_error *ret_error)
{
    enum qd_error_code code = unary_check(place, call, bytes, &call->number, ret_error);
    if (call->number != 0 && (code != QD_ERROR_NONE || place->out.full)) {
        qd_node_undelivered(place->worker, call->number); /* S1: no answer tells of the hold */
        call->number = 0;
    }
    return code;
}

static enum qd_error_code extend(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                 struct qd_error *ret_error)
{
    return qd_quota_extend(place, call, bytes, ret_error);
}

static enum qd_error_code cancel(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                 struct qd_error *ret_error)
{
    return qd_quota_cancel(place, call, bytes, ret_error);
}

#define ASKERS    (QD_ROLE_GATEWAY | QD_ROLE_ADMIN)
#define REPORTERS (ASKERS | QD_ROLE_POOL)

/* A stream's items are as their unary calls: stream.c. */
const struct qd_method qd_quota_methods[] = {
    {"/quota.v1.QuotaService/CheckQuota", QD_METHOD_CHECK, 256, check, NULL, ASKERS,
     QD_BOUND_CONFINED},
    {"/quota.v1.QuotaService/ReportUsage", QD_METHOD_REPORT, 128, NULL, NULL, REPORTERS,
     QD_BOUND_CONFINED},
    {"/quota.v1.QuotaService/ExtendReservation", QD_METHOD_INLINE, 32, extend, NULL, ASKERS,
     QD_BOUND_CONFINED},
    {"/quota.v1.QuotaService/CancelReservation", QD_METHOD_INLINE, 32, cancel, NULL, ASKERS,
     QD_BOUND_CONFINED},
    {"/quota.v1.QuotaService/StreamQuota", QD_METHOD_STREAM, 16, qd_stream_message,
     qd_stream_needs_booking, REPORTERS, QD_BOUND_CONFINED},
    {NULL, QD_METHOD_INLINE, 0, NULL, NULL, 0, QD_BOUND_REFUSED},
};
