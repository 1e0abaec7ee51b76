/* Policies from text, for race programs that link qd_policy. */
#ifndef QD_TESTS_RACE_POLICY_H
#define QD_TESTS_RACE_POLICY_H

#include "server/policy/policy_file.h"
#include "tests/race/race.h"

#include <string.h>

/* Ends the program, with the reasons, when the policy is bad. */
static inline struct qd_policy *race_policy(const char *yaml)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_policy *policy =
        qd_policy_load_bytes("policy.yaml", NULL, yaml, strlen(yaml), problems);
    if (policy == NULL) {
        (void)fputs(qd_problems_text(problems), stderr);
        abort();
    }
    qd_problems_free(problems);
    return policy;
}

#endif /* QD_TESTS_RACE_POLICY_H */
