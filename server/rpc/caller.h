/* Who calls, and what that one may do (X1).
 *
 * Layer:    rpc
 * Threads:  a caller belongs to its call.
 * Memory:   a copy: a set of credentials may be replaced while the call runs.
 *
 * A call is identified as it comes in, a stream's with each message: a credential that was taken
 * out of the file is refused from then on. Without --credentials everybody is whoever it takes, but
 * what is for neither gateways nor pools is served to this machine only.
 */
#ifndef QD_RPC_CALLER_H
#define QD_RPC_CALLER_H

#include "server/rpc/credentials.h"
#include "server/shard/node.h"

#include <grpc/grpc.h>

/* What a method asks of a caller that is bound to a tenant. 0 is for methods whose row says
 * nothing: they are refused. */
enum qd_bound {
    QD_BOUND_REFUSED,
    QD_BOUND_CONFINED,   /* its handler keeps to the caller's subtree */
    QD_BOUND_ADMIN_ONLY, /* likewise, but who is bound for billing only reads: a tenant that is
                          * given such a credential does not write its own bill */
    QD_BOUND_FREE,       /* it tells and changes nothing of any tenant */
};

/* Of a method's row. No role: refused to all; QD_ROLES_OPEN: nobody is asked for credentials. */
#define QD_ROLES_OPEN 0x100U
#define QD_ROLES_ALL \
    (QD_ROLE_GATEWAY | QD_ROLE_POOL | QD_ROLE_BILLING | QD_ROLE_ADMIN | QD_ROLE_PEER)

struct qd_caller {
    enum qd_role role;
    uint16_t tenant_len; /* 0: not bound */
    uint16_t pool_len;   /* 0: any pool */
    char name[64];       /* "" without --credentials */
    char tenant[QD_TENANT_PATH_MAX + 1];
    char pool[QD_NAME_MAX + 1];
};

/* Everybody, where nobody is asked who it is. */
void qd_caller_anyone(struct qd_caller *ret_caller);

/* ROLE_FORBIDS: may somebody, of whom nothing is known, call `path`, whose row has these roles?
 * The peer is looked at only where it matters. */
enum qd_error_code qd_caller_may_call_unnamed(grpc_call *call, const char *path, uint32_t roles,
                                              struct qd_error *ret_error);

/* By its token, else by the certificate of its connection. NO_CREDENTIALS, UNKNOWN_CREDENTIALS,
 * INSECURE_TOKEN. The set must stay for the duration. */
enum qd_error_code qd_caller_identify(const struct qd_credentials *credentials, grpc_call *call,
                                      const grpc_metadata_array *metadata,
                                      struct qd_caller *ret_caller, struct qd_error *ret_error);

/* By the value of an Authorization header ("Bearer TOKEN") alone. `private`: it came over TLS or
 * loopback. UNKNOWN_CREDENTIALS, INSECURE_TOKEN. */
enum qd_error_code qd_caller_by_token(const struct qd_credentials *credentials, bool private,
                                      struct qd_str value, struct qd_caller *ret_caller,
                                      struct qd_error *ret_error);

/* ROLE_FORBIDS, TENANT_FORBIDDEN: may it call `path` at all, whose row says this? */
enum qd_error_code qd_caller_may_call(const struct qd_caller *caller, const char *path,
                                      uint32_t roles, enum qd_bound bound,
                                      struct qd_error *ret_error);

static inline bool qd_caller_is_bound(const struct qd_caller *caller)
{
    return caller->tenant_len > 0;
}
static inline struct qd_str qd_caller_tenant(const struct qd_caller *caller)
{
    return (struct qd_str){caller->tenant, caller->tenant_len};
}

/* TENANT_FORBIDDEN: the caller is bound, and `tenant` (a path, "" too) is not within. */
enum qd_error_code qd_caller_reaches(const struct qd_caller *caller, struct qd_str tenant,
                                     struct qd_error *ret_error);
/* The same for what narrows a question: an empty tenant becomes all that the caller may see. */
enum qd_error_code qd_caller_narrow(const struct qd_caller *caller, struct qd_str *tenant,
                                    struct qd_error *ret_error);

/* May it act on a reservation, which it calls by a token or short id, and says is `tenant`'s (may
 * be empty)? Whoever acts then must refuse a token that is not `tenant`'s. */
enum qd_error_code qd_caller_reaches_hold(const struct qd_caller *caller, struct qd_node *node,
                                          struct qd_str reservation, struct qd_str tenant,
                                          struct qd_error *ret_error);
/* And a pool: may it report usage as `pool`'s? POOL_FORBIDDEN. */
enum qd_error_code qd_caller_reports_for(const struct qd_caller *caller, struct qd_node *node,
                                         struct qd_str reservation, struct qd_str pool,
                                         struct qd_error *ret_error);

/* "edge/gateway", "local": for audit records (X6). */
#define QD_ACTOR_MAX 80U
struct qd_str qd_caller_actor(const struct qd_caller *caller, char ret_text[QD_ACTOR_MAX]);

/* "ipv4:127.0.0.1:5000", as gRPC names a peer: does it come over loopback, where nobody listens? */
bool qd_peer_is_loopback(const char *peer);

/* And from what is usual for somebody on this machine, 127.0.0.1 or ::1? Proxies beside a node may
 * take others of 127.0.0.0/8 for calls from elsewhere, as Istio's does 127.0.0.6. */
bool qd_peer_is_of_this_machine(const char *peer);

#endif /* QD_RPC_CALLER_H */
