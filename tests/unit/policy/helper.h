/* What the policy tests share. */
#ifndef QD_TESTS_UNIT_POLICY_HELPER_H
#define QD_TESTS_UNIT_POLICY_HELPER_H

#include "server/policy/policy_file.h"

/* A policy from text, in the folder deploy/examples (for imports). Prints problems and returns NULL
 * if it is refused. */
struct qd_policy *load(const char *yaml);

/* All problems of a text, one a line; free it. Asserts that it is refused if `refused`. */
char *problems_of(const char *yaml, bool refused);

/* Asserts that `yaml` is refused with exactly these lines. */
void expect_refused(const char *yaml, const char *lines);

/* The use of a plan's limit; asserts that it exists. */
const struct qd_limit_use *limit_of(const struct qd_policy *p, const char *plan, const char *limit);

/* "version: 1\nplans:\n  p:\n    " and a limit, loaded; `name` is its key. */
struct qd_policy *load_limit(const char *limit);

/* The problems of load_limit's text without "policy.yaml:", and the path "plans.p." left in. */
void expect_limit_refused(const char *limit, const char *line);

/* A path below the source folder; free it. */
char *source_path(const char *path);

#endif /* QD_TESTS_UNIT_POLICY_HELPER_H */
