/* What the tests of rls share. */
#ifndef QD_TESTS_UNIT_RLS_HELPER_H
#define QD_TESTS_UNIT_RLS_HELPER_H

#include "server/rls/match.h"

/* A text of the tests as it comes from a request: without a NUL. */
struct qd_str text(const char *words);

/* A set from one good file, "config.yaml"; asserts that it has no errors. Warnings are fine. */
struct qd_rls_rules *load_rules(const char *yaml);

/* Asserts that `yaml` is refused (or taken, with warnings) with exactly these lines. */
void expect_refused(const char *yaml, const char *lines);
void expect_warned(const char *yaml, const char *lines);

/* A folder of example files below the source folder; free it. */
char *source_path(const char *path);

#define ENTRIES_MAX 20

/* The entries of "key=value key=value"; returns how many. An entry ends at a blank. */
size_t parse_entries(const char *words, struct qd_rls_entry entries[ENTRIES_MAX]);

/* Match "key=value ..." in a domain of the set; asserts that the domain exists. */
bool match_words(const struct qd_rls_rules *rules, const char *domain, const char *words,
                 struct qd_rls_match *ret_match);

/* The path of the rule that matches, or "-". */
const char *rule_path(const struct qd_rls_rules *rules, const char *domain, const char *words);

/* The metric's name of a match, or "-". The text is good until the next call. */
const char *metric_name(const struct qd_rls_rules *rules, const char *domain, const char *words);

/* Whether two descriptors, which both match, have the same counter. */
bool same_counter(const struct qd_rls_rules *rules, const char *domain, const char *one,
                  const char *other);

#endif /* QD_TESTS_UNIT_RLS_HELPER_H */
