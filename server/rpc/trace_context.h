/* The trace that a call belongs to: W3C Trace Context, version 00 and those after it (X8).
 *
 * Layer:    rpc
 * Threads:  values only.
 * Memory:   the caller's struct.
 */
#ifndef QD_RPC_TRACE_CONTEXT_H
#define QD_RPC_TRACE_CONTEXT_H

#include "server/core/types.h"

#include <stdbool.h>

#define QD_TRACE_ID_LEN  32U
#define QD_PARENT_ID_LEN 16U

struct qd_trace_context {
    char trace_id[QD_TRACE_ID_LEN + 1];   /* lower-case hex, not all zeros */
    char parent_id[QD_PARENT_ID_LEN + 1]; /* of the caller's span; likewise */
    bool sampled;
};

/* The value of a `traceparent`. False: it is none, and is to be ignored; *ret_context is untouched.
 * Of a later version only what version 00 has is read, as the recommendation asks. */
bool qd_trace_context_parse(struct qd_str text, struct qd_trace_context *ret_context);

#endif /* QD_RPC_TRACE_CONTEXT_H */
