/* A set of rules as plain text, for people: much as the reference server's /rlconfig has it (I3).
 *
 * Layer:    rls
 * Threads:  any number at a time: a set is immutable.
 * Memory:   none; writes to the caller's stream.
 */
#ifndef QD_RLS_SHOW_H
#define QD_RLS_SHOW_H

#include "server/rls/rules.h"

#include <stdio.h>

#define QD_RLS_SHOW_BYTES_MAX ((size_t)16 << 20) /* about: the line that is over it is the last */

struct qd_rls_counts {
    size_t domains;
    size_t rules; /* rate limits: descriptors that have one */
};
struct qd_rls_counts qd_rls_rules_counts(const struct qd_rls_rules *rules);

/* A comment for each domain, with its file, then a line for each of its rules, in the order of the
 * files:
 *
 *   # domain shop: 2 rules of config/shop.yaml
 *   shop.path_/buy: unit=DAY requests_per_unit=3, shadow_mode: false, quota_mode: false, line: 4
 *
 * What a rule has besides comes behind that: name, replaces, unlimited, detailed_metric, metadata.
 * Control characters are written as \xNN. Beyond the bound on bytes it says how many rules are left
 * out. */
void qd_rls_rules_show(const struct qd_rls_rules *rules, FILE *out);

#endif /* QD_RLS_SHOW_H */
