/* Many wildcards as one automaton, which finds the first of them that matches in one pass over the
 * value (Aho and Corasick, 1975). Internal to this folder.
 *
 * Layer:    rls
 * Units:    a value of n bytes has n + 2 places: its beginning, which is 0, its bytes, its end.
 * Threads:  one thread makes an automaton; then it is immutable.
 * Memory:   all of it is in one arena: up to 110 bytes for each byte of the wildcards, where no
 *           beginnings of pieces are shared, and 52 for each piece, where no beginnings of
 *           wildcards are. While it is made, 36 and 85 besides, shared or not.
 *
 * A wildcard is a list of pieces, each to be found behind the one before it: "a*b*c" is "a" at the
 * value's beginning, "b", and "c" at its end. The automaton goes through the value once and says
 * where pieces end. Wildcards that begin with the same pieces share the stages on their way: one is
 * reached where its last piece ends, behind the stage before it, for the first time. Taking a later
 * one is never better. Which wildcards go on from a stage is only asked where a piece ends.
 *
 * What it costs: for each byte of the value one look into a table, or up to two into a hash table
 * on the average where the table would be too large; a look for each piece that ends there, the
 * first time one for each stage that was reached; and one for each stage that is. Only pieces that
 * end with each other end at the same place ("a", "aa" and "aaa"): how many do is for the file to
 * say, and not for the value. A value for which many pieces are looked for behind many stages has
 * four such looks for each byte; from there on each stage that it reaches costs a look for each
 * that may come next, once in all.
 */
#ifndef QD_RLS_AUTOMATON_H
#define QD_RLS_AUTOMATON_H

#include "server/rls/pattern.h"
#include "server/rls/scratch.h"

struct qd_rls_automaton;

/* `patterns` in the order in which they are to be tried; they are not needed afterwards.
 * `meanwhile` holds what is only needed until this returns. Their bytes and pieces together are at
 * most UINT32_MAX / 4. */
const struct qd_rls_automaton *qd_rls_automaton_make(struct qd_arena *arena,
                                                     struct qd_arena *meanwhile,
                                                     const struct qd_rls_pattern *const *patterns,
                                                     size_t count);

/* Get the scratch ready for one qd_rls_automaton_find. False if there is no memory. */
bool qd_rls_automaton_begin(const struct qd_rls_automaton *a, struct qd_rls_scratch *scratch);

/* The number of the first pattern that matches; `count` if none does. `steps` goes up by one for
 * each byte, each look into a hash table, each piece, and each stage that waits for one. The value
 * has at most UINT32_MAX / 4 bytes. */
size_t qd_rls_automaton_find(const struct qd_rls_automaton *a, struct qd_rls_scratch *scratch,
                             struct qd_str value, uint32_t *steps);

#endif /* QD_RLS_AUTOMATON_H */
