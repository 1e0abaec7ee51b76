/* Who calls in the tests of roles: a credential of each role, each by a token that is its name.
 *
 *   gateway, pool (of "h100"), billing, admin, peer; and bound to acme: acme-gateway, acme-billing,
 *   acme-admin, acme-pool (of "h100").
 */
#ifndef QD_TESTS_UNIT_RPC_CAST_H
#define QD_TESTS_UNIT_RPC_CAST_H

#include "server/rpc/credentials.h"
#include "tests/unit/rpc/served.h"

/* All of them, or all but one. */
struct qd_credentials *cast_all(void);
struct qd_credentials *cast_without(const char *name);
/* One alone: "role: billing, tenant: globex". */
struct qd_credentials *cast_one(const char *name, const char *rest);

/* A server that knows them, and a reload that does nothing. */
struct served_with cast_with(void);

/* The text as protobuf-c wants it. */
char *cast_text(const char *text);

#endif /* QD_TESTS_UNIT_RPC_CAST_H */
