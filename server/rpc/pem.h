/* PEM files: read, and looked at by OpenSSL before gRPC gets them, because it cannot say what is
 * wrong.
 *
 * Layer:    rpc
 * Threads:  any; blocks.
 * Memory:   the caller's, from malloc; a key's is cleared before it is freed.
 */
#ifndef QD_RPC_PEM_H
#define QD_RPC_PEM_H

#include "server/shard/error.h"

#define QD_PEM_BYTES_MAX ((size_t)1 << 20)

struct qd_pem {
    char *text; /* NUL-terminated */
    size_t size;
};

/* False: *ret_error says what is wrong with the file. `secret`: one that others can read is
 * refused (X7); the group may where root owns it, as a Kubernetes secret with fsGroup does. */
bool qd_pem_read(const char *path, bool secret, struct qd_pem *ret_pem, struct qd_error *ret_error);
void qd_pem_release(struct qd_pem *pem);

/* From when until when a certificate is good, Unix time. */
struct qd_pem_span {
    int64_t begins_s;
    int64_t ends_s;
};

/* There is a certificate and a key, and they belong together. *ret_span: of the first certificate.
 */
bool qd_pem_check_pair(const char *cert_path, const struct qd_pem *cert, const char *key_path,
                       const struct qd_pem *key, struct qd_pem_span *ret_span,
                       struct qd_error *ret_error);
/* All of it are certificates, at least one. */
bool qd_pem_check_authorities(const char *path, const struct qd_pem *pem,
                              struct qd_error *ret_error);

#endif /* QD_RPC_PEM_H */
