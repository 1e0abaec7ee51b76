/* The messages of Envoy's rate limit service as JSON, as protobuf has it: for callers that speak no
 * gRPC (I3, point 16).
 *
 * Layer:    rpc
 * Threads:  any, each with its own buffers.
 * Memory:   json-c's, for the length of a call; the caller's where that is said.
 *
 * As Go's protojson, which the reference server reads with: names in lowerCamel or as in the .proto
 * file; a number may be a text, and a whole one such as 1e3; null is absent; an unknown field, or
 * one that is given by both of its names, is refused. Otherwise than there, of two equal keys the
 * last one counts, and half a surrogate pair is read as U+FFFD.
 */
#ifndef QD_RPC_RLS_JSON_H
#define QD_RPC_RLS_JSON_H

#include "server/rpc/wire.h"
#include "server/shard/error.h"

#include <protobuf-c/protobuf-c.h>

#define QD_RLS_JSON_DEPTH_MAX 16 /* a request has 6 */

/* Append the RateLimitRequest whose JSON this is. What it means is not looked into. Refusals:
 * MALFORMED (no JSON), INVALID_FIELD, MESSAGE_TOO_LARGE (no room in `out`). */
enum qd_error_code qd_rls_json_read(struct qd_str json, struct qd_out *out,
                                    struct qd_error *ret_error);

struct qd_rls_json_answer {
    char *text; /* to be freed; NULL: out of memory */
    size_t len;
    uint32_t overall_code; /* enum qd_rls_code */
};

/* The JSON of an encoded RateLimitResponse; `allocator`: for what is needed meanwhile. */
struct qd_rls_json_answer qd_rls_json_write(struct qd_str bytes, ProtobufCAllocator *allocator);

#endif /* QD_RPC_RLS_JSON_H */
