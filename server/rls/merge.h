/* Several files' domains of one name as one. Internal to this folder.
 *
 * Layer:    rls
 * Threads:  one thread merges; then the domain is immutable.
 * Memory:   the whole is in one arena, and points to the parts' descriptors and rules.
 *
 * As the reference server does with MERGE_DOMAIN_CONFIG: the files' top descriptors stand beside
 * each other, in the order of the files. Nothing is merged below the top: two files with the same
 * top descriptor are an error.
 */
#ifndef QD_RLS_MERGE_H
#define QD_RLS_MERGE_H

#include "server/rls/level.h"

struct qd_rls_merge {
    struct qd_arena *arena;     /* of the whole */
    struct qd_arena *meanwhile; /* what is only needed until it returns */
    struct qd_problems *problems;
    struct qd_rls_budget *budget; /* of the set: wildcards are counted here */
};

/* The domain of `parts` (at least one, none of them NULL), whose own `top` may lack its wildcards.
 * A part that does not fit to those before it is reported, left out, and NULL afterwards; so are
 * all of them, and the domain is empty, if there is no room for their wildcards. */
const struct qd_rls_domain *qd_rls_merge(const struct qd_rls_merge *m,
                                         const struct qd_rls_domain **parts, size_t count);

#endif /* QD_RLS_MERGE_H */
