/* The accept loop: the gRPC ports' listening sockets, and the caps on what connects to them.
 *
 * Layer:    rpc
 * Threads:  new, listen, start, stop, free from one thread; it has a thread of its own in between.
 * Memory:   what its caps need, at new.
 *
 *     accept = qd_accept_new(...)
 *     qd_accept_args(accept, args)            for grpc_server_create
 *     qd_accept_listen(accept, server, ...)   once a port
 *     grpc_server_start(server)
 *     qd_accept_start(accept)
 *     qd_accept_stop(accept)                  before grpc_server_shutdown_and_notify
 *     qd_accept_free(accept)                  after grpc_server_destroy
 *
 * What is over a cap is closed at once and counted. When no descriptor is left, a spare one is
 * given up for a moment: what connects is accepted and closed, instead of waiting for nobody
 * knows how long; it serves again by itself as soon as there are descriptors (X3).
 *
 * With a gRPC that handover.h does not know, gRPC's own listeners serve, without caps; hooks.log
 * says so. That is better than not to serve: later versions' listeners do not wedge.
 */
#ifndef QD_RPC_ACCEPT_H
#define QD_RPC_ACCEPT_H

#include "server/rpc/server.h"

#include <grpc/grpc.h>

#define QD_ACCEPT_PORTS_MAX 4U

struct qd_accept_config {
    uint32_t connections_max; /* of all ports together */
    uint32_t per_address_max;
    bool grpc_listener; /* as with an unknown gRPC: for tests */
    struct qd_connection_figures *figures;
    const struct qd_rpc_hooks *hooks; /* outlive it */
};

struct qd_accept;

/* NULL: out of memory or descriptors. */
struct qd_accept *qd_accept_new(const struct qd_accept_config *config);
void qd_accept_free(struct qd_accept *accept);

/* Writes QD_ACCEPT_PORTS_MAX arguments, and returns their number. */
size_t qd_accept_args(struct qd_accept *accept, grpc_arg *ret_args);

/* Bind HOST:PORT; what connects there is the server's, under these credentials (the caller's).
 * `flag` names the setting, for the message. */
enum qd_error_code qd_accept_listen(struct qd_accept *accept, grpc_server *server,
                                    const char *address, const char *flag,
                                    grpc_server_credentials *credentials, int *ret_port,
                                    struct qd_error *ret_error);

/* From any thread: a peer (grpc_call_get_peer) has too many calls in hand. It is cut off (X3),
 * unless it was gRPC that accepted it. `why`: as qd_guard_report. */
void qd_accept_report(struct qd_accept *accept, const char *peer, enum qd_cutoff why);

/* From any thread: as qd_guard_asks_who, qd_guard_cancelled. */
bool qd_accept_asks_who(const struct qd_accept *accept);
void qd_accept_cancelled(struct qd_accept *accept, const uint8_t *from);

/* False: no thread. */
bool qd_accept_start(struct qd_accept *accept);
/* Accept no more, close the listening sockets. Without a start: the latter. */
void qd_accept_stop(struct qd_accept *accept);

#endif /* QD_RPC_ACCEPT_H */
