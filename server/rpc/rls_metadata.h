/* The dynamic metadata of an answer: what was asked, and the `metadata` of the rules that were
 * passed, as a google.protobuf.Struct (I3, point 13).
 *
 * Layer:    rpc
 * Units:    hits, as doubles: a Struct has no other numbers.
 * Threads:  none of its own.
 * Memory:   the caller's buffer is filled; nothing is allocated.
 */
#ifndef QD_RPC_RLS_METADATA_H
#define QD_RPC_RLS_METADATA_H

#include "server/rls/rules.h"
#include "server/rpc/rls_codec.h"

struct qd_rls_value; /* server/rls/value.h */

/* X2: values of different rules that are put together for one answer; the metadata of rules beyond
 * that is left out. */
#define QD_RLS_METADATA_MERGED_MAX 1024U

/* Append dynamic_metadata to a RateLimitResponse: `domain`, `descriptors` (`entries`, `limit`,
 * `hitsAddend`), `hitsAddend`, and the `metadata` of the `count` rules in `passed`: of two values
 * of one key the first stands, two structs are put together. NULLs in `passed` and rules without
 * metadata are passed over. Bytes of a request's values that are no UTF-8 are told as '?'. The
 * caller looks at out->full at the end. */
void qd_rls_metadata_put(const struct qd_rls_request *request,
                         const struct qd_rls_rule *const *passed, size_t count, struct qd_out *out);

/* Append one struct's fields, as a google.protobuf.Struct has them. */
void qd_rls_metadata_put_fields(const struct qd_rls_value *value, struct qd_out *out);

#endif /* QD_RPC_RLS_METADATA_H */
