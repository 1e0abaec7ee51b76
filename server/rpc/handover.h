/* Accepted sockets handed to gRPC, under any server credentials (TLS among them).
 *
 * Layer:    rpc
 * Threads:  attach before the server starts; give from one thread at a time, between the server's
 *           start and its shutdown.
 * Memory:   the caller's struct, which the server's arguments point to: it must outlive the server.
 *           The handler in it is gRPC's and ends with its listener.
 *
 * gRPC's core can take connections that others accepted ("external:NAME" ports); only its C++
 * wrapper shows that (ServerBuilder::AddExternalConnectionAcceptor). The core fills a pointer given
 * as a channel argument with an object of the abstract class grpc_core::TcpServerFdHandler:
 *
 *     virtual ~TcpServerFdHandler();
 *     virtual void Handle(int listener_fd, int fd, grpc_byte_buffer *pending_data) = 0;
 *
 * C reaches `Handle` by the Itanium C++ ABI, which all of Debian's ports follow: the object begins
 * with a pointer to its table, whose first two entries are the destructors and whose third is
 * Handle. That class is no promise of gRPC's: qd_handover_supported tells whether it was tried with
 * this version, and nobody must attach otherwise. tests/unit/rpc/test_accept.c uses it.
 *
 * Why: gRPC 1.51's own listener never accepts again once accept(2) has failed for lack of
 * descriptors (CVE-2023-4785), and knows no bound on connections (X2, X3). The alternative,
 * grpc_server_add_channel_from_fd, takes neither TLS nor a handshake's time limit.
 */
#ifndef QD_RPC_HANDOVER_H
#define QD_RPC_HANDOVER_H

#include <grpc/grpc.h>
#include <stdbool.h>

struct qd_handover {
    void *handler; /* grpc_core::TcpServerFdHandler *; NULL before attach */
    char name[24]; /* "external:quotad0" */
};

/* grpc_g_stands_for(), which is another word in each minor version (grpc_version_string is the same
 * for several): that of 1.51, Debian 12's, is known. */
bool qd_handover_supported(const char *g_stands_for);

void qd_handover_init(struct qd_handover *handover, unsigned index);

/* For grpc_server_create. Without an attach it does nothing. */
grpc_arg qd_handover_arg(struct qd_handover *handover);

/* Add a port that takes what is given. False: the credentials are not usable. */
bool qd_handover_attach(struct qd_handover *handover, grpc_server *server,
                        grpc_server_credentials *credentials);

/* The socket is gRPC's from then on; it does not block, and its peer is an IPv4 or IPv6 address. */
void qd_handover_give(struct qd_handover *handover, int fd);

#endif /* QD_RPC_HANDOVER_H */
