/* Log lines of calls that failed or were slow, with the trace that they belong to (X8).
 *
 * Layer:    rpc
 * Threads:  any, for a call that is the caller's.
 * Memory:   none. Of each reason, and of slow calls, so many lines a second; `left_out` says how
 *           many were not written since the line before. quotad_errors_total counts all.
 *
 * A line says where its call comes from (`peer`), and, where the caller is known but may not do
 * what it asks, who that is (`caller`: the credential's name and role, as in audit records): what
 * somebody needs who looks for them.
 *
 * What a call said is not in its line, nor is the sentence of its error, which may quote it: no
 * secret gets into a log (X7). A denial is an answer: it is counted, not logged. So are items of a
 * stream, and descriptors, that fail for any other reason than their caller's rights.
 */
#ifndef QD_RPC_CALL_LOG_H
#define QD_RPC_CALL_LOG_H

#include "server/rpc/call.h"

/* A call's reply is under way, `ns` after it came. Writes a line if it failed or was slow. */
void qd_call_log(const struct qd_call *call, enum qd_measured measured, enum qd_error_code code,
                 uint64_t ns);

/* The same of a request at /json of the HTTP port; its client is at `peer` ("127.0.0.1"). */
void qd_call_log_json(const char *peer, enum qd_error_code code, uint64_t ns);

/* A part of a call has failed: an item of a stream, a descriptor. Writes a line if it is something
 * that its caller may not do (X1). */
void qd_call_log_item(const struct qd_call *call, enum qd_error_code code);

#endif /* QD_RPC_CALL_LOG_H */
