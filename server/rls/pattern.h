/* A value with wildcards: "files-*.pdf". `*` stands for any bytes, also none; nothing else is
 * special. Internal to this folder.
 *
 * Layer:    rls
 * Threads:  immutable once it is made.
 * Memory:   the pieces are in the arena and point into `text`, which must live as long.
 */
#ifndef QD_RLS_PATTERN_H
#define QD_RLS_PATTERN_H

#include "server/core/types.h"
#include "server/policy/arena.h"

struct qd_rls_pattern {
    struct qd_str prefix;         /* before the first `*` */
    struct qd_str suffix;         /* behind the last */
    const struct qd_str *middles; /* between two, none of them empty */
    size_t middle_count;
};

/* True if `text` has a `*`. */
bool qd_rls_is_pattern(struct qd_str text);

/* Take a text with a `*` apart. */
struct qd_rls_pattern qd_rls_pattern_make(struct qd_arena *arena, struct qd_str text);

/* Whether `value` matches, case-sensitive (point 10). Each middle is found leftmost, and never
 * again: takes as long as memmem over the value once; without middles, as long as the pattern is.
 * Values from elsewhere go to an automaton if there are middles. */
bool qd_rls_pattern_matches(const struct qd_rls_pattern *pattern, struct qd_str value);

#endif /* QD_RLS_PATTERN_H */
