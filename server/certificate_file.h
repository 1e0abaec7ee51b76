/* The certificate, key and authorities of --tls-*: a server takes new ones over at its next
 * handshake, and here though nobody calls, so that its figures and the audit tell of them (X1, X6).
 *
 * Layer:    composition (main.c)
 * Threads:  one starts and stops; a thread of its own looks once a second.
 */
#ifndef QD_SERVER_CERTIFICATE_FILE_H
#define QD_SERVER_CERTIFICATE_FILE_H

#include "server/reread.h"
#include "server/rpc/server.h"

/* Of a server that speaks TLS; stopped before it. `path` is the certificate's, and must outlive it.
 * NULL: out of memory or threads. */
struct qd_reread *qd_certificate_watch_start(const char *path, struct qd_node *node,
                                             struct qd_rpc *rpc);

#endif /* QD_SERVER_CERTIFICATE_FILE_H */
