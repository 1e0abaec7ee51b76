#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const names[] = {
#define QUOTA_STATUS_NAME(name, text) #name,
    QUOTA_STATUS_LIST(QUOTA_STATUS_NAME)
#undef QUOTA_STATUS_NAME
};

const char *quota_status_name(enum quota_status status)
{
    size_t index = (size_t)status;
    return index < sizeof names / sizeof names[0] ? names[index] : "UNKNOWN";
}

void lq_error_set(struct quota_error *error, enum quota_status status, const char *format, ...)
{
    if (error == NULL) {
        return;
    }
    *error = (struct quota_error){.status = status};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
}

void lq_result_reason(struct lq_result *result, int code, const char *reason)
{
    result->refused = reason[0] != '\0';
    (void)snprintf(result->reason, sizeof result->reason, "%s", reason);
    if (code == GRPC_STATUS_RESOURCE_EXHAUSTED && result->refused) {
        result->status = QUOTA_UNAVAILABLE; /* quotad's own: its queue of reports is full */
    }
}

enum quota_status lq_status_from_grpc(int code)
{
    switch (code) {
    case GRPC_STATUS_OK:
        return QUOTA_OK;
    case GRPC_STATUS_INVALID_ARGUMENT:
    case GRPC_STATUS_OUT_OF_RANGE:
    case GRPC_STATUS_RESOURCE_EXHAUSTED: /* gRPC's own word for a message over the size limit */
        return QUOTA_INVALID;
    case GRPC_STATUS_NOT_FOUND:
        return QUOTA_NOT_FOUND;
    case GRPC_STATUS_ALREADY_EXISTS:
        return QUOTA_CONFLICT;
    case GRPC_STATUS_FAILED_PRECONDITION:
    case GRPC_STATUS_ABORTED:
        return QUOTA_PRECONDITION;
    case GRPC_STATUS_PERMISSION_DENIED:
    case GRPC_STATUS_UNAUTHENTICATED:
        return QUOTA_REFUSED;
    case GRPC_STATUS_UNAVAILABLE:
    case GRPC_STATUS_CANCELLED: /* not by us: the client asks `closing` first */
        return QUOTA_UNAVAILABLE;
    case GRPC_STATUS_DEADLINE_EXCEEDED:
        return QUOTA_TIMEOUT;
    case GRPC_STATUS_UNIMPLEMENTED:
        return QUOTA_UNSUPPORTED;
    default:
        return QUOTA_INTERNAL;
    }
}
