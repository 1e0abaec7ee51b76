/* Envoy's rate limits over HTTP, for callers that speak no gRPC: POST /json and GET /healthcheck
 * (I3, point 16).
 *
 * Layer:    rpc
 * Threads:  one of its own, which reads, decides and answers; start and stop from any one thread.
 * Memory:   owns its place and its connections.
 *
 * Nothing here is encrypted: it is for a sidecar or the loopback. With --credentials whoever asks
 * brings a gateway's token, which is taken from loopback only (X1).
 *
 * Bounds (X2): connections, their idle time and that until they are answered, a body of
 * QD_MESSAGE_BYTES_MAX. Who sends or reads slowly gives way to others (server/net/gate.h).
 */
#ifndef QD_RPC_RLS_HTTP_H
#define QD_RPC_RLS_HTTP_H

#include "server/rpc/server.h"

#define QD_RLS_HTTP_CONNECTIONS_MAX 256U /* the most that are of any use */

struct qd_rls_http;

/* Listen on `address` ("127.0.0.1:8080"; port 0: any) and serve by `rpc`, so many `connections` at
 * once (at least QD_GATE_PLACES_MIN). NULL: *ret_error says why. */
struct qd_rls_http *qd_rls_http_start(struct qd_rpc *rpc, const char *address, uint32_t connections,
                                      struct qd_error *ret_error);

/* The port in use. */
uint16_t qd_rls_http_port(const struct qd_rls_http *http);

/* Before the server stops: answers what it has read, closes all connections. NULL is fine. */
void qd_rls_http_stop(struct qd_rls_http *http);

#endif /* QD_RPC_RLS_HTTP_H */
