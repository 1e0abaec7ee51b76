/* A policy test file, read: names, steps and expectations. Internal to policy_test*.c.
 *
 * Threads, memory: everything is in the compiler's arena.
 */
#ifndef QD_POLICY_POLICY_TEST_FILE_H
#define QD_POLICY_POLICY_TEST_FILE_H

#include "server/policy/compile.h"
#include "server/policy/policy_test.h"
#include "server/policy/world.h"

#define QD_TEST_STATES_MAX 16

enum qd_test_action {
    QD_TEST_WAIT,
    QD_TEST_CHECK,
    QD_TEST_REPORT,
    QD_TEST_CANCEL
};
enum qd_test_verdict {
    QD_TEST_ANY,
    QD_TEST_ALLOW,
    QD_TEST_DENY
};

/* What a limit's state must be; texts are in the limit's unit, NULL: not looked at. */
struct qd_test_state {
    const char *limit; /* full name */
    const char *used;
    const char *held;
    const char *remaining;
    const char *estimate;
    uint32_t line;
};

struct qd_test_expect {
    uint32_t line; /* 0: nothing is expected */
    enum qd_test_verdict verdict;
    const char *limit;  /* full name of the binding limit; NULL: any */
    const char *reason; /* "limit", "never_fits", ...; NULL: any */
    bool has_retry;
    bool retry_never;
    int64_t retry_ns;
    bool has_cost;
    int64_t cost_nano;
    size_t state_count;
    struct qd_test_state states[QD_TEST_STATES_MAX];
};

struct qd_test_step {
    enum qd_test_action action;
    struct qd_wall_ns at;
    uint32_t line;
    uint32_t repeat;
    const char *id; /* under which a check's hold is kept, or which one a report or cancel means */
    struct qd_world_check check;
    struct qd_world_report report;
    struct qd_test_expect expect;
};

struct qd_test_case {
    const char *name;
    uint32_t line;
    struct qd_wall_ns start;
    struct qd_test_step *steps;
    size_t step_count;
};

struct qd_test_file {
    const char *policy; /* as written; NULL: none */
    struct qd_test_case *cases;
    size_t case_count;
};

/* Read the top of the file only: `policy`. */
void qd_test_file_read_policy(struct qd_compiler *c, const struct qd_node *root,
                              struct qd_test_file *file);
/* Read everything; c->policy is the policy under test, for its meters. */
void qd_test_file_read(struct qd_compiler *c, const struct qd_node *root,
                       struct qd_test_file *file);

#endif /* QD_POLICY_POLICY_TEST_FILE_H */
