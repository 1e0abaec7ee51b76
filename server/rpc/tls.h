/* TLS of a listener: its certificate, key and the authority of its clients, read again when their
 * files change (X1, X7).
 *
 * Layer:    rpc
 * Threads:  open and free: the server's starter; look and read_again: any; gRPC asks for the newest
 * at each handshake, on its own threads.
 * Memory:   opaque; must outlive the credentials made of it, and so the server.
 *
 * gRPC accepts TLS 1.2 and 1.3 only. At most once a second a handshake looks at the files, and
 * whoever calls qd_tls_read_again. What
 * does not load, does not belong together, or OpenSSL would not serve with, is told once, and what
 * was in force stays: a certificate and its key may be replaced one after the other. So does a
 * valid one where the next has expired, or has not begun: that one is taken when it begins. A start
 * takes such a one with a warning. Connections that live keep what they began with.
 */
#ifndef QD_RPC_TLS_H
#define QD_RPC_TLS_H

#include "server/shard/node.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#define QD_TLS_PORTS_MAX 4U

/* PEM files. Their names must outlive the qd_tls. */
struct qd_tls_files {
    const char *cert;      /* the certificate, then what leads to its authority */
    const char *key;       /* not encrypted; that nobody else can read */
    const char *client_ca; /* authorities of client certificates; NULL or "": none is asked for */
    bool client_optional;  /* a client may come without */
    struct qd_tls_figures
        *figures; /* what /metrics says of them; the server fills it in; may be NULL */
};

struct qd_tls; /* opaque */

/* NULL: *ret_error says which file is wrong, and what is accepted. */
struct qd_tls *qd_tls_open(const struct qd_tls_files *files, struct qd_error *ret_error);
void qd_tls_free(struct qd_tls *tls); /* NULL is fine */

/* What the files look like now (look.h); otherwise, too, when the time of what was too early has
 * come. */
uint64_t qd_tls_look(const struct qd_tls *tls);
/* Load them now if they have changed since they were tried last, as the next handshake would.
 * Returns a hash of the certificate and the authorities in force; *ret_look: what was tried last.
 */
bool qd_tls_read_again(struct qd_tls *tls, struct qd_hash128 *ret_content, uint64_t *ret_look);

/* For one port, released by the caller. At most QD_TLS_PORTS_MAX. */
grpc_server_credentials *qd_tls_credentials(struct qd_tls *tls);

#endif /* QD_RPC_TLS_H */
