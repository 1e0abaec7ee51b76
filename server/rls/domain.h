/* One file as a domain. Internal to this folder.
 *
 * Layer:    rls
 * Threads:  one compiler belongs to one thread.
 * Memory:   the domain is in `arena`, with copies of all its texts; the nodes may go afterwards.
 */
#ifndef QD_RLS_DOMAIN_H
#define QD_RLS_DOMAIN_H

#include "server/policy/compile.h"
#include "server/rls/level.h"

/* Compile the nodes of a file. `c` says where problems go, and its arena holds what is only needed
 * meanwhile. `budget` is what the set has room for; it goes down. A `part` is to be merged
 * (merge.h): the wildcards of its top are left to that. NULL if there is an error; all that are
 * found are reported. */
struct qd_rls_domain *qd_rls_domain_compile(struct qd_compiler *c, const struct qd_node *root,
                                            struct qd_arena *arena, struct qd_rls_budget *budget,
                                            bool part);

#endif /* QD_RLS_DOMAIN_H */
