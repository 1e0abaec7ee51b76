/* What gRPC itself has to say, as log lines of ours (X8) instead of its own on standard error.
 *
 * Layer:    rpc
 * Threads:  any; gRPC logs from whichever thread it is on.
 * Memory:   none; the hook is kept for the life of the process, as gRPC's own log function is.
 */
#ifndef QD_RPC_GRPC_LOG_H
#define QD_RPC_GRPC_LOG_H

#include "server/rpc/server.h"

/* Before grpc_init: gRPC's errors go to hooks.log, at most 5 a second; what is less than an error
 * goes nowhere. */
void qd_grpc_log_take(const struct qd_rpc_hooks *hooks);

/* While the caller reports a failure in words of its own. */
void qd_grpc_log_mute(bool mute);

#endif /* QD_RPC_GRPC_LOG_H */
