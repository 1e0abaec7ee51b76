/* Policy tests: a YAML file of checks and reports with the verdicts that a policy must give, run on
 * a fake clock against the deciding core itself.
 *
 * Layer:    policy (reads files)
 * Threads:  none of its own; a report belongs to its caller.
 * Memory:   the report owns everything in it.
 *
 * The format is described in server/policy/README.md ("Testing a policy").
 */
#ifndef QD_POLICY_POLICY_TEST_H
#define QD_POLICY_POLICY_TEST_H

#include "server/core/policy.h"
#include "server/policy/problem.h"

#include <stdio.h>

#define QD_TEST_BYTES_MAX  (4U << 20)
#define QD_TESTS_MAX       1000
#define QD_TEST_STEPS_MAX  10000
#define QD_TEST_REPEAT_MAX 100000

struct qd_policy_test_failure {
    uint32_t line; /* of the expectation */
    const char
        *message; /* "expected deny, got allow (tightest free.tokens, 1,600 of 40,000/min)" */
};

struct qd_policy_test_case {
    const char *name;
    uint32_t line;
    size_t steps;
    bool passed;
    struct qd_policy_test_failure failure; /* the first one; the test ends there */
};

struct qd_policy_test_report {
    const char *file;
    const char *policy_file;
    size_t passed;
    size_t failed;
    const struct qd_policy_test_case *cases;
    size_t case_count;
};

/* Run the tests of `path`. The policy is the one that the file names (`policy: policy.yaml`, beside
 * the file), or `policy_path` if that is not NULL. NULL with problems if the file or the policy
 * cannot be read or has errors. A failed test is no problem: see the report. */
struct qd_policy_test_report *qd_policy_test_run(const char *path, const char *policy_path,
                                                 struct qd_problems *problems)
    __attribute__((warn_unused_result));
void qd_policy_test_free(struct qd_policy_test_report *report);

/* "PASS name" and "FAIL name" lines with reasons and a count at the end; -o json. */
void qd_policy_test_print(const struct qd_policy_test_report *report, FILE *out);
void qd_policy_test_print_json(const struct qd_policy_test_report *report, FILE *out);

#endif /* QD_POLICY_POLICY_TEST_H */
