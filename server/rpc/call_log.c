#include "server/rpc/call_log.h"

#include "server/log/log.h"
#include "server/rpc/trace_context.h"

#include <grpc/support/alloc.h>
#include <inttypes.h>
#include <stdio.h>

#define LINES_PER_SECOND 5
#define SLOW_NS          ((uint64_t)QD_NS_PER_S)

/* One for each reason: a flood of one hides no other. */
#define SAMPLER(name, status) [QD_ERROR_##name] = {.per_second = LINES_PER_SECOND},
static struct qd_log_sampler failed[QD_ERROR_COUNT] = {QD_ERRORS(SAMPLER)};
#undef SAMPLER
static struct qd_log_sampler slow = {.per_second = LINES_PER_SECOND};

/* The caller's mistakes are no trouble of ours. */
static enum qd_log_level level_of(enum qd_error_code code)
{
    switch (qd_error_status(code)) {
    case QD_STATUS_DEADLINE_EXCEEDED:
    case QD_STATUS_RESOURCE_EXHAUSTED:
    case QD_STATUS_INTERNAL:
    case QD_STATUS_UNAVAILABLE:
        return QD_LOG_WARN;
    case QD_STATUS_OK:
    case QD_STATUS_CANCELLED:
    case QD_STATUS_INVALID_ARGUMENT:
    case QD_STATUS_NOT_FOUND:
    case QD_STATUS_ALREADY_EXISTS:
    case QD_STATUS_FAILED_PRECONDITION:
    case QD_STATUS_UNIMPLEMENTED:
    case QD_STATUS_PERMISSION_DENIED:
    case QD_STATUS_UNAUTHENTICATED:
        break;
    }
    return QD_LOG_INFO;
}

#define TRACE_FIELDS_MAX 96

/* " trace_id=... parent_id=...", or "": there is none, or it is not one, or there are several. */
static void trace_fields(const struct qd_call *call, char text[TRACE_FIELDS_MAX])
{
    struct qd_trace_context context;
    const grpc_slice *found = NULL;
    size_t count = 0;

    text[0] = '\0';
    for (size_t i = 0; i < call->metadata.count; i++) {
        if (grpc_slice_str_cmp(call->metadata.metadata[i].key, "traceparent") == 0) {
            found = &call->metadata.metadata[i].value;
            count++;
        }
    }
    if (count != 1) {
        return;
    }
    struct qd_str value = {(const char *)GRPC_SLICE_START_PTR(*found), GRPC_SLICE_LENGTH(*found)};
    if (qd_trace_context_parse(value, &context)) {
        (void)snprintf(text, TRACE_FIELDS_MAX, " trace_id=%s parent_id=%s", context.trace_id,
                       context.parent_id);
    }
}

#define WHO_FIELDS_MAX ((size_t)2 * QD_LOG_VALUE_MAX)

/* " peer=... caller=...": what is not known is left out. */
static void who_fields(const struct qd_call *call, enum qd_error_code code,
                       char text[WHO_FIELDS_MAX])
{
    char actor[QD_ACTOR_MAX];
    char *peer = call->call != NULL ? grpc_call_get_peer(call->call) : NULL;
    int len = 0;

    text[0] = '\0';
    if (peer != NULL) {
        len = snprintf(text, WHO_FIELDS_MAX, " peer=%s", qd_log_quote(peer).text);
    }
    gpr_free(peer);
    /* Before it is known the call has the caller of another. */
    if (qd_error_status(code) == QD_STATUS_PERMISSION_DENIED) {
        (void)qd_caller_actor(&call->caller, actor);
        (void)snprintf(text + len, WHO_FIELDS_MAX - (size_t)len, " caller=%s",
                       qd_log_quote(actor).text);
    }
}

/* Users choose the path of what nobody serves: it is "". */
static const char *path_of(const struct qd_call *call)
{
    const char *path = call->method->path;

    return path[0] != '\0' ? path : "unknown";
}

static void write_line(const struct qd_call *call, enum qd_error_code code, uint64_t ns,
                       uint64_t left_out)
{
    char trace[TRACE_FIELDS_MAX];
    char who[WHO_FIELDS_MAX];

    trace_fields(call, trace);
    who_fields(call, code, who);
    if (code == QD_ERROR_NONE) {
        qd_log(QD_LOG_WARN, "call was slow",
               "method=%s duration_us=%" PRIu64 "%s%s left_out=%" PRIu64, path_of(call), ns / 1000,
               who, trace, left_out);
    } else {
        qd_log(level_of(code), "call failed",
               "method=%s reason=%s duration_us=%" PRIu64 "%s%s left_out=%" PRIu64, path_of(call),
               qd_error_reason(code), ns / 1000, who, trace, left_out);
    }
}

void qd_call_log(const struct qd_call *call, enum qd_measured measured, enum qd_error_code code,
                 uint64_t ns)
{
    uint64_t left_out = 0;

    /* Queries, backups and the like take their time. */
    bool is_slow = ns >= SLOW_NS && measured != QD_MEASURED_OTHER;
    if (code == QD_ERROR_NONE && !is_slow) {
        return;
    }
    if (qd_log_sample(code == QD_ERROR_NONE ? &slow : &failed[code], &left_out)) {
        write_line(call, code, ns, left_out);
    }
}

void qd_call_log_json(const char *peer, enum qd_error_code code, uint64_t ns)
{
    uint64_t left_out = 0;

    if ((code == QD_ERROR_NONE && ns < SLOW_NS) ||
        !qd_log_sample(code == QD_ERROR_NONE ? &slow : &failed[code], &left_out)) {
        return;
    }
    if (code == QD_ERROR_NONE) {
        qd_log(QD_LOG_WARN, "call was slow",
               "method=/json duration_us=%" PRIu64 " peer=%s left_out=%" PRIu64, ns / 1000, peer,
               left_out);
    } else {
        qd_log(level_of(code), "call failed",
               "method=/json reason=%s duration_us=%" PRIu64 " peer=%s left_out=%" PRIu64,
               qd_error_reason(code), ns / 1000, peer, left_out);
    }
}

void qd_call_log_item(const struct qd_call *call, enum qd_error_code code)
{
    char trace[TRACE_FIELDS_MAX];
    char who[WHO_FIELDS_MAX];
    uint64_t left_out = 0;

    if (qd_error_status(code) != QD_STATUS_PERMISSION_DENIED ||
        !qd_log_sample(&failed[code], &left_out)) {
        return;
    }
    trace_fields(call, trace);
    who_fields(call, code, who);
    qd_log(level_of(code), "item refused", "method=%s reason=%s%s%s left_out=%" PRIu64,
           path_of(call), qd_error_reason(code), who, trace, left_out);
}
