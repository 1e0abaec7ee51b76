/* The headers of an answer that tell a client its limit (I3, point 12; I5).
 *
 * Layer:    rpc
 * Threads:  none of its own.
 * Memory:   the answer's headers point into the rooms and into the options.
 */
#ifndef QD_RPC_RLS_HEADERS_H
#define QD_RPC_RLS_HEADERS_H

#include "server/rpc/rls_codec.h"
#include "server/rpc/rls_options.h"

/* The texts of the values. */
struct qd_rls_header_room {
    char text[QD_RLS_HEADER_KINDS][24];
};

#define QD_RLS_DENIAL_NAME_MAX 128U

/* The texts of a denial's values. */
struct qd_rls_denial_room {
    char retry[24], policy[QD_RLS_DENIAL_NAME_MAX + 64], limit[QD_RLS_DENIAL_NAME_MAX + 64];
};

/* Add the limit, what remains of it, and the seconds until it is whole again, of the descriptor
 * with the least remaining, or of the last one that is over and is no quota. Adds nothing where no
 * descriptor has a limit. `quota`: which of the answer's descriptors are quotas. */
void qd_rls_headers_add(const struct qd_rls_options *options, const bool *quota,
                        struct qd_rls_header_room *room, struct qd_rls_answer *answer);

/* Of an answer that is OVER_LIMIT (I5): add retry-after, when all descriptors that are over are
 * whole again; and ratelimit-policy and ratelimit, of the descriptor that the others tell of, as
 * the IETF's draft has them, by the rule's name, or "limit" where it has none that may stand there.
 * OpenAI's form knows requests and tokens: what a rule's hits are is not known here. */
void qd_rls_headers_deny(const bool *quota, struct qd_rls_denial_room *room,
                         struct qd_rls_answer *answer);

#endif /* QD_RPC_RLS_HEADERS_H */
