/* A trial of a certificate and its key: would gRPC serve with them? It refuses without a word to
 * us, and goes on with those before.
 *
 * Layer:    rpc
 * Threads:  any; a few milliseconds of arithmetic.
 * Memory:   none that stays.
 *
 * A context is made as gRPC 1.51 makes its own (ssl_transport_security.cc: versions, group,
 * ciphers, certificate, key, authorities; OpenSSL's own security level), and one handshake is done
 * with it in memory: weak digests and keys of a chain are noticed only there.
 */
#ifndef QD_RPC_TLS_TRIAL_H
#define QD_RPC_TLS_TRIAL_H

#include "server/rpc/pem.h"

/* What was read, and the files' names for messages. */
struct qd_tls_trial {
    const char *cert_path;
    const struct qd_pem *cert;
    const struct qd_pem *key;
    const char *authorities_path; /* NULL: no client is asked for a certificate */
    const struct qd_pem *authorities;
};

/* False: *ret_error names the file and says OpenSSL's reason. */
bool qd_tls_trial_run(const struct qd_tls_trial *trial, struct qd_error *ret_error);

#endif /* QD_RPC_TLS_TRIAL_H */
