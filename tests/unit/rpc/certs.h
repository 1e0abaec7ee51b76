/* Certificates of tests, made by the openssl command in a folder of their own.
 *
 * Memory:   texts are the caller's, to be freed.
 */
#ifndef QD_TESTS_UNIT_RPC_CERTS_H
#define QD_TESTS_UNIT_RPC_CERTS_H

#include "tests/lib/tempdir.h"

#include <grpc/grpc_security.h>
#include <stdint.h>

/* NAME.pem and NAME.key of an authority. */
void certs_authority(const struct qd_tempdir *dir, const char *name);

/* NAME.pem and NAME.key, signed by an authority (NULL: by itself), with these alternative names
 * ("DNS:localhost,URI:spiffe://x/y"), for so many days (-1: expired). */
void certs_make(const struct qd_tempdir *dir, const char *name, const char *authority,
                const char *names, int days);

/* What certs_make leaves open. */
struct certs_kind {
    const char *key;       /* "rsa:1024": openssl's -newkey; NULL: P-256 */
    const char *digest;    /* "sha1": it is signed with this; NULL: SHA-256 */
    const char *extension; /* "basicConstraints=CA:TRUE" */
    int days;
};
void certs_make_as(const struct qd_tempdir *dir, const char *name, const char *authority,
                   const struct certs_kind *kind);

/* Give NAME.pem other dates (Unix time), signed anew by its authority. */
void certs_date(const struct qd_tempdir *dir, const char *name, const char *authority,
                int64_t begins_s, int64_t ends_s);

/* Append the certificate of what is between `name` and its authority to NAME.pem. */
void certs_chain(const struct qd_tempdir *dir, const char *name, const char *between);

/* Replace `to`.pem and `to`.key by those of `from`. */
void certs_replace(const struct qd_tempdir *dir, const char *from, const char *to);

/* The text of DIR/FILE. */
char *certs_text(const struct qd_tempdir *dir, const char *file);

/* For a channel that trusts an authority, with a certificate of its own (NULL: none). */
grpc_channel_credentials *certs_channel(const struct qd_tempdir *dir, const char *authority,
                                        const char *own);

#endif /* QD_TESTS_UNIT_RPC_CERTS_H */
