/* The messages of Envoy's rate limit service, envoy.service.ratelimit.v3 (I3), to and from plain
 * values, without allocation.
 *
 * Layer:    rpc
 * Units:    hits; seconds where the name says _s.
 * Threads:  none of its own.
 * Memory:   a request's strings point into the bytes that were decoded; the encoder fills the
 * caller's buffer. A request takes 66 KiB: not for a stack.
 *
 * What a request means is not looked into here: an empty domain, no descriptors, an empty key, a
 * unit that nobody knows are read as they came. A known field with another wire type is malformed;
 * unknown fields are skipped; of a field that came twice the last one counts, messages are merged.
 */
#ifndef QD_RPC_RLS_CODEC_H
#define QD_RPC_RLS_CODEC_H

#include "server/rls/match.h"
#include "server/rpc/wire.h"
#include "server/shard/error.h"

/* X2: more is refused, INVALID_ARGUMENT. */
#define QD_RLS_DESCRIPTORS_MAX 64 /* of a request */
#define QD_RLS_ENTRIES_MAX     32 /* of a descriptor */

#define QD_RLS_HEADERS_MAX 8 /* of an answer */

/* RateLimitResponse.Code */
enum qd_rls_code {
    QD_RLS_UNKNOWN = 0,
    QD_RLS_OK = 1,
    QD_RLS_OVER_LIMIT = 2
};

/* --- requests --- */

struct qd_rls_descriptor {
    size_t entry_count;
    /* As many as entry_count are set; absent and empty are the same. Keys are valid UTF-8, control
     * characters included. Values are any bytes: Envoy copies them from a client's headers, and
     * lets the client pass if its call is refused (X2). */
    struct qd_rls_entry entries[QD_RLS_ENTRIES_MAX];
    uint64_t hits;           /* its own hits_addend; 0 is a peek, when has_hits */
    uint32_t limit_requests; /* its override's requests_per_unit */
    uint32_t limit_unit;     /* any number: the enum is open */
    bool has_hits;           /* false: the request's hits_addend counts */
    bool has_limit;          /* an override was given, maybe an empty one */
    bool negative;           /* is_negative_hits: a refund */
};

struct qd_rls_request {
    struct qd_str domain;
    uint32_t hits_addend; /* 0: absent or 0, which both mean 1 */
    size_t descriptor_count;
    struct qd_rls_descriptor descriptors[QD_RLS_DESCRIPTORS_MAX]; /* ... descriptor_count are set */
};

/* Reads a RateLimitRequest. Refusals: MALFORMED; BATCH_TOO_LARGE (descriptors), TOO_MANY_LABELS
 * (entries); INVALID_UTF8 (the domain, a key). *ret_request is of no use after one. */
enum qd_error_code qd_rls_decode(struct qd_str bytes, struct qd_rls_request *ret_request,
                                 struct qd_error *ret_error);

/* "MINUTE": the name of an override's unit, which are those of RateLimitUnit: it knows no week.
 * NULL: it has none. */
const char *qd_rls_override_unit(uint32_t unit);

/* --- answers --- */

struct qd_rls_status {
    enum qd_rls_code code;
    bool has_limit;             /* current_limit is written, with the next three */
    uint32_t requests_per_unit; /* 0 is a limit that always denies */
    uint32_t unit;              /* enum qd_rls_unit, or any number */
    struct qd_str name;         /* may be empty */
    uint32_t limit_remaining;
    bool has_reset;  /* duration_until_reset is written, also when 0 */
    int64_t reset_s; /* whole seconds, >= 0 */
};

struct qd_rls_header {
    struct qd_str key;
    struct qd_str value;
};

/* Strings must be UTF-8: Envoy refuses an answer with others. raw_body may be any bytes. */
struct qd_rls_answer {
    enum qd_rls_code overall_code;
    size_t status_count; /* as many as the request's descriptors, in their order */
    struct qd_rls_status statuses[QD_RLS_DESCRIPTORS_MAX];
    size_t header_count; /* response_headers_to_add */
    struct qd_rls_header headers[QD_RLS_HEADERS_MAX];
    struct qd_str raw_body;
};

/* Appends a RateLimitResponse's fields, but for dynamic_metadata (rls_metadata.h). The caller looks
 * at out->full at the end. */
void qd_rls_encode(const struct qd_rls_answer *answer, struct qd_out *out);

#endif /* QD_RPC_RLS_CODEC_H */
