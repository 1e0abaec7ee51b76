/* A descriptor that names a tenant of our policy, as what it says: whose request, of which model,
 * or what was used (I3 and beyond it). The domain of such descriptors is --rls-tenant-domain.
 *
 * Layer:    rpc
 * Threads:  none of its own; the policy must stay published during the call.
 * Memory:   facts point into the request's bytes.
 */
#ifndef QD_RPC_RLS_FACTS_H
#define QD_RPC_RLS_FACTS_H

#include "server/rpc/rls_codec.h"
#include "server/shard/request.h"

struct qd_rls_facts {
    struct qd_str tenant; /* a path, if valid: what a caller's confinement is compared with */
    struct qd_str model;  /* empty: none, as the next three */
    struct qd_str user;
    struct qd_str pool;
    struct qd_str meter; /* the hits are what was used of it; empty: they ask for requests */
    struct qd_label labels[QD_ARG_LABELS]; /* all other keys */
    size_t label_count;
    int64_t hits; /* >= 0; 0: a look */
};

/* Facts of request->descriptors[index]. An error's sentence names the descriptor: INVALID_FIELD,
 * and those of server/shard/validate.h. It is about what Envoy's configuration chooses: keys,
 * meters, refunds. Values, which Envoy copies from a client's headers, are looked at by
 * qd_rls_facts_validate; here only those of a usage, which is refused if one is wrong. */
enum qd_error_code qd_rls_facts_read(const struct qd_rls_request *request, size_t index,
                                     const struct qd_policy *policy, struct qd_rls_facts *ret_facts,
                                     struct qd_error *ret_error);

/* Are the values what a native call accepts? An error here is no reason to refuse the call: Envoy
 * lets its request pass then, unless it is told otherwise, and a header would be all it takes. */
enum qd_error_code qd_rls_facts_validate(const struct qd_rls_facts *facts,
                                         struct qd_error *ret_error);

/* Does it tell of a usage that has happened? */
static inline bool qd_rls_facts_used(const struct qd_rls_facts *facts)
{
    return facts->meter.len > 0 && facts->hits > 0;
}

#endif /* QD_RPC_RLS_FACTS_H */
