/* Errors of requests: a gRPC status, a machine-readable reason and a sentence (I8).
 *
 * Layer:    shard (used by rpc and admin too)
 * Threads:  values only.
 * Memory:   the text lies in the struct.
 *
 * A denial is never an error. The sentence says what, where, what is accepted and the next command.
 */
#ifndef QD_SHARD_ERROR_H
#define QD_SHARD_ERROR_H

#include "server/core/types.h"

/* gRPC status codes, as numbers: this folder doesn't know gRPC. */
enum qd_status {
    QD_STATUS_OK = 0,
    QD_STATUS_CANCELLED = 1,
    QD_STATUS_INVALID_ARGUMENT = 3,
    QD_STATUS_DEADLINE_EXCEEDED = 4,
    QD_STATUS_NOT_FOUND = 5,
    QD_STATUS_ALREADY_EXISTS = 6,
    QD_STATUS_PERMISSION_DENIED = 7,
    QD_STATUS_RESOURCE_EXHAUSTED = 8,
    QD_STATUS_FAILED_PRECONDITION = 9,
    QD_STATUS_UNIMPLEMENTED = 12,
    QD_STATUS_INTERNAL = 13,
    QD_STATUS_UNAVAILABLE = 14,
    QD_STATUS_UNAUTHENTICATED = 16,
};

/* Reason (what `quotad-reason` says) and status. */
#define QD_ERRORS(X)                            \
    X(NONE, OK)                                 \
    X(MALFORMED, INVALID_ARGUMENT)              \
    X(MESSAGE_TOO_LARGE, INVALID_ARGUMENT)      \
    X(BATCH_TOO_LARGE, INVALID_ARGUMENT)        \
    X(INVALID_UTF8, INVALID_ARGUMENT)           \
    X(INVALID_TENANT, INVALID_ARGUMENT)         \
    X(INVALID_NAME, INVALID_ARGUMENT)           \
    X(INVALID_AMOUNT, INVALID_ARGUMENT)         \
    X(INVALID_TIME, INVALID_ARGUMENT)           \
    X(INVALID_TTL, INVALID_ARGUMENT)            \
    X(INVALID_FIELD, INVALID_ARGUMENT)          \
    X(INVALID_LIMIT, INVALID_ARGUMENT)          \
    X(INVALID_PAGE_TOKEN, INVALID_ARGUMENT)     \
    X(UNKNOWN_METER, INVALID_ARGUMENT)          \
    X(DERIVED_METER, INVALID_ARGUMENT)          \
    X(DUPLICATE_METER, INVALID_ARGUMENT)        \
    X(DUPLICATE_LABEL, INVALID_ARGUMENT)        \
    X(TOO_MANY_METERS, INVALID_ARGUMENT)        \
    X(TOO_MANY_LABELS, INVALID_ARGUMENT)        \
    X(TOO_MANY_CANDIDATES, INVALID_ARGUMENT)    \
    X(TOO_MANY_LIMITS, FAILED_PRECONDITION)     \
    X(TOKEN_TOO_LARGE, INVALID_ARGUMENT)        \
    X(INVALID_TOKEN, INVALID_ARGUMENT)          \
    X(TENANT_MISMATCH, INVALID_ARGUMENT)        \
    X(USAGE_NOT_EMPTY, INVALID_ARGUMENT)        \
    X(REQUEST_ID_REQUIRED, INVALID_ARGUMENT)    \
    X(UNKNOWN_RESERVATION, NOT_FOUND)           \
    X(UNKNOWN_TENANT, NOT_FOUND)                \
    X(UNKNOWN_PLAN, NOT_FOUND)                  \
    X(UNKNOWN_SERVICE, NOT_FOUND)               \
    X(UNKNOWN_LIMIT, NOT_FOUND)                 \
    X(UNKNOWN_ENTRY, NOT_FOUND)                 \
    X(ENTRY_CORRECTED, ALREADY_EXISTS)          \
    X(NOT_CORRECTABLE, FAILED_PRECONDITION)     \
    X(TENANT_EXISTS, ALREADY_EXISTS)            \
    X(REQUEST_CONFLICT, ALREADY_EXISTS)         \
    X(REPORT_CONFLICT, ALREADY_EXISTS)          \
    X(GRANT_CONFLICT, ALREADY_EXISTS)           \
    X(REPORT_TOO_OLD, FAILED_PRECONDITION)      \
    X(NOT_PREPAID, FAILED_PRECONDITION)         \
    X(TENANT_HAS_CHILDREN, FAILED_PRECONDITION) \
    X(REVISION_MISMATCH, FAILED_PRECONDITION)   \
    X(POLICY_INVALID, FAILED_PRECONDITION)      \
    X(NO_POLICY_FILE, FAILED_PRECONDITION)      \
    X(NO_RLS_CONFIG, FAILED_PRECONDITION)       \
    X(BACKUP_FAILED, FAILED_PRECONDITION)       \
    X(ENTRIES_EXPIRED, FAILED_PRECONDITION)     \
    X(LEDGER_DAMAGED, FAILED_PRECONDITION)      \
    X(BACKUP_EXISTS, ALREADY_EXISTS)            \
    X(BACKUP_RUNNING, UNAVAILABLE)              \
    X(TENANTS_FULL, UNAVAILABLE)                \
    X(OVERLOADED, UNAVAILABLE)                  \
    X(REPORTS_QUEUE_FULL, RESOURCE_EXHAUSTED)   \
    X(STORE_ERROR, UNAVAILABLE)                 \
    X(SHUTTING_DOWN, UNAVAILABLE)               \
    X(DEADLINE, DEADLINE_EXCEEDED)              \
    X(UNSUPPORTED, UNIMPLEMENTED)               \
    X(NO_CREDENTIALS, UNAUTHENTICATED)          \
    X(UNKNOWN_CREDENTIALS, UNAUTHENTICATED)     \
    X(INSECURE_TOKEN, UNAUTHENTICATED)          \
    X(ROLE_FORBIDS, PERMISSION_DENIED)          \
    X(TENANT_FORBIDDEN, PERMISSION_DENIED)      \
    X(POOL_FORBIDDEN, PERMISSION_DENIED)        \
    X(INTERNAL, INTERNAL)

#define QD_ERROR_ENUM(name, status) QD_ERROR_##name,
enum qd_error_code {
    QD_ERRORS(QD_ERROR_ENUM) QD_ERROR_COUNT
};
#undef QD_ERROR_ENUM

#define QD_ERROR_TEXT_MAX 480

struct qd_error {
    enum qd_error_code code;
    char text[QD_ERROR_TEXT_MAX];
};

const char *qd_error_reason(enum qd_error_code code);
enum qd_status qd_error_status(enum qd_error_code code);

/* Fill *error in; returns `code`. A text that is too long is cut off. */
__attribute__((format(printf, 3, 4))) enum qd_error_code qd_error_set(struct qd_error *error,
                                                                      enum qd_error_code code,
                                                                      const char *format, ...);

/* Texts that came from outside, for messages: printable, at most QD_QUOTED_MAX bytes, in quotes. */
#define QD_QUOTED_MAX 96
struct qd_quoted {
    char text[QD_QUOTED_MAX];
};
struct qd_quoted qd_quote(struct qd_str text);

/* True if `text` is UTF-8 without control characters. */
bool qd_utf8_valid(struct qd_str text);

#endif /* QD_SHARD_ERROR_H */
