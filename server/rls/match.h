/* Which rule is for one descriptor of a request, and which counter (I3, point 10).
 *
 * Layer:    rls
 * Threads:  any number at once: everything is read only.
 * Memory:   the caller's; nothing is allocated but what the scratch keeps for the next match. A
 *           match points into the rules and into the entries, and is good as long as both live.
 *
 * Entries are walked in order, one level of the file each. At each level the exact "key_value"
 * wins, then the first wildcard of the key that matches, then the bare key; a way that was taken is
 * not gone back on. There is a rule only if the last entry ends on a descriptor with a rate_limit.
 * Upper and lower case differ.
 *
 * The work for an entry does not depend on how many rules there are. The wildcards of the entry's
 * own key are all tried in one pass over the value, whose cost is in automaton.h. Up to
 * QD_RLS_TRIED_MAX of them are tried one by one if each has only a beginning and an end to compare.
 */
#ifndef QD_RLS_MATCH_H
#define QD_RLS_MATCH_H

#include "server/core/hash.h"
#include "server/rls/rules.h"
#include "server/rls/scratch.h"

/* Where an entry ended. */
struct qd_rls_step {
    const struct qd_rls_node *node;
    int found; /* enum qd_rls_found */
};

struct qd_rls_match {
    const struct qd_rls_rule *rule;
    /* The counter: the domain and all keys and values, with a wildcard's pattern in place of the
     * value where it shares its threshold. Every distinct tuple has its own. The unit is not in it:
     * a rule whose unit changes goes on with the same key, and it is for the caller to tell windows
     * apart. */
    struct qd_hash128 counter;
    uint32_t steps; /* what was looked at, as level.h says */
    const struct qd_rls_domain *domain;
    size_t depth; /* entries */
    struct qd_rls_step path[QD_RLS_DEPTH_MAX];
};

/* Find the rule for `entries`. `seed` is that of all counters' keys (server/core/hash.h). `scratch`
 * is the thread's, which wants it for requests from elsewhere: with NULL, and if there is no memory
 * for it, wildcards are tried one by one, with the same outcome. False if there is no rule: the
 * answer is OK without a limit (point 2); only `steps` is set then. */
bool qd_rls_match(const struct qd_rls_domain *domain, const struct qd_rls_entry *entries,
                  size_t count, uint64_t seed, struct qd_rls_scratch *scratch,
                  struct qd_rls_match *ret_match);

/* The counter of a descriptor that brings its own limit (point 9): the key is the descriptor
 * itself. As in the reference server it is the same as that of a rule which the descriptor would
 * match without sharing. */
struct qd_hash128 qd_rls_override_counter(const struct qd_rls_domain *domain,
                                          const struct qd_rls_entry *entries, size_t count,
                                          uint64_t seed);

/* The name of a match for metrics and listings, as the reference server makes it:
 * "domain.key_value.key". A wildcard is named by its pattern, a bare key without the value, unless
 * the descriptor has value_to_metric; with detailed_metric at the rule, all values are in it.
 * `entries` are those that were matched. Writes at most `size` bytes with the NUL, and returns the
 * length of the whole name. */
size_t qd_rls_match_name(const struct qd_rls_match *match, const struct qd_rls_entry *entries,
                         char *buffer, size_t size);

/* The name of a descriptor that brings its own limit, likewise: all values are in it. */
size_t qd_rls_override_name(const struct qd_rls_domain *domain, const struct qd_rls_entry *entries,
                            size_t count, char *buffer, size_t size);

#endif /* QD_RLS_MATCH_H */
