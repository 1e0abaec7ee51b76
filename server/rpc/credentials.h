/* Credentials: who may call, as what, for whom (X1). The file of --credentials.
 *
 * Layer:    rpc (loading blocks)
 * Threads:  a set is immutable: all threads read it without locks.
 * Memory:   a set owns everything in it; it is freed at once.
 *
 * The file is a list:
 *
 *   - {name: edge, role: gateway, spiffe: 'spiffe://prod.example/ns/edge/sa/gateway'}
 *   - {name: acme-billing, role: billing, tenant: acme, token_sha256: 9f86d0...}
 *   - {name: h100, role: pool, pool: h100, san: h100.pools.example}
 *
 * Each has a name, a role and one proof: `spiffe`, a URI of its certificate, whose last segment may
 * be `*`; `san`, a DNS name of it; `token_sha256`, of a token's text. Tokens themselves are in no
 * file of the server's (X7). A tenant binds it: it then sees and changes this tenant and what is
 * below, nothing else.
 */
#ifndef QD_RPC_CREDENTIALS_H
#define QD_RPC_CREDENTIALS_H

#include "server/core/types.h"
#include "server/policy/problem.h"

#include <stdbool.h>

#define QD_CREDENTIALS_MAX            4096U
#define QD_CREDENTIALS_FILE_BYTES_MAX (2U << 20)
#define QD_CREDENTIAL_TOKEN_MAX       1024U /* bytes of a token */
#define QD_TOKEN_HASH_BYTES           32U

/* Bits, so that a method's row can name several. */
enum qd_role {
    QD_ROLE_GATEWAY = 1,
    QD_ROLE_POOL = 2,
    QD_ROLE_BILLING = 4,
    QD_ROLE_ADMIN = 8,
    QD_ROLE_PEER = 16,
};
const char *qd_role_name(enum qd_role role);

struct qd_credential {
    const char *name;
    enum qd_role role;
    struct qd_str tenant; /* empty: not bound */
    struct qd_str pool;   /* POOL */
};

struct qd_credentials; /* opaque */

/* NULL: `problems` say why, with places. */
struct qd_credentials *qd_credentials_load(const char *path, struct qd_problems *problems);
struct qd_credentials *qd_credentials_load_bytes(const char *name, const void *bytes, size_t size,
                                                 struct qd_problems *problems);
void qd_credentials_free(void *credentials); /* NULL is fine */

/* A hash of the file's text. */
struct qd_hash128 qd_credentials_content(const struct qd_credentials *set);
size_t qd_credentials_count(const struct qd_credentials *set);

/* NULL: nobody. A token's time says nothing of the hashes in the file. */
const struct qd_credential *qd_credentials_by_token(const struct qd_credentials *set,
                                                    struct qd_str token);
const struct qd_credential *qd_credentials_by_spiffe(const struct qd_credentials *set,
                                                     struct qd_str uri);
const struct qd_credential *qd_credentials_by_san(const struct qd_credentials *set,
                                                  struct qd_str dns);

#endif /* QD_RPC_CREDENTIALS_H */
