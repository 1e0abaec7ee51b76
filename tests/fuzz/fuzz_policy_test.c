/* Policy tests: no input crashes their reader, times go forward, and what is read can be run to a
 * report of all its tests. */
#include "server/policy/policy_test_file.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FUZZ_BYTES_MAX 16384
#define RUN_CASES_MAX  3    /* each makes a world */
#define RUN_STEPS_MAX  1000 /* repetitions counted */

static const char policy_yaml[] =
    "version: 1\n"
    "meters: {credits: {sum: {input_tokens: 1, output_tokens: 5}}}\n"
    "models: {m: {max_output_tokens: 1000}}\n"
    "prices: {m: {input_token: $1/1M, output_token: $2/1M}}\n"
    "plans: {free: {requests: 60/min, tokens: 40k/min, cost: $5/month, concurrency: 10}}\n"
    "tenants: {'*': {plan: free}, acme: {plan: free, credits: 100k/day}}\n";

struct input {
    const struct qd_policy *policy;
    const uint8_t *data;
    size_t size;
};

/* What a run of the file would cost, in steps; 0: it has errors. */
static size_t check_file(const struct qd_test_file *file)
{
    size_t steps = 0;
    for (size_t i = 0; i < file->case_count; i++) {
        const struct qd_test_case *test = &file->cases[i];
        struct qd_wall_ns now = test->start;
        for (size_t k = 0; k < test->step_count; k++) {
            const struct qd_test_step *step = &test->steps[k];
            assert(step->at.ns >= now.ns);
            assert(step->repeat >= 1 && step->repeat <= QD_TEST_REPEAT_MAX);
            assert(step->expect.state_count <= QD_TEST_STATES_MAX);
            now = step->at;
            steps += step->repeat;
        }
    }
    return steps;
}

/* True: it is right, and short enough to run. */
static bool read_file(const struct input *in)
{
    jmp_buf oom;
    struct qd_arena arena;
    struct qd_problems *problems = qd_problems_new(5);
    if (problems == NULL) {
        return false;
    }
    if (setjmp(oom) != 0) {
        abort();
    }
    qd_arena_init(&arena, &oom);
    /* A policy test only reads its policy; the compiler that made it could have changed it. */
    union {
        const struct qd_policy *in;
        struct qd_policy *out;
    } policy = {.in = in->policy};
    struct qd_compiler compiler = {
        .arena = &arena, .file = "fuzz.yaml", .problems = problems, .policy = policy.out};
    struct qd_test_file file = {0};
    const struct qd_node *root = qd_node_parse(&arena, "fuzz.yaml", in->data, in->size, problems);
    if (root != NULL) {
        qd_test_file_read_policy(&compiler, root, &file);
    }
    if (root != NULL && qd_problems_errors(problems) == 0) {
        qd_test_file_read(&compiler, root, &file);
    }
    bool good = root != NULL && qd_problems_errors(problems) == 0;
    bool brief = good && check_file(&file) <= RUN_STEPS_MAX && file.case_count <= RUN_CASES_MAX;
    free(qd_problems_text(problems));
    qd_problems_free(problems);
    qd_arena_release(&arena);
    return brief;
}

/* A path for bytes in memory. */
static int hold(const void *bytes, size_t size, char path[64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    (void)snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static void run_file(const struct input *in)
{
    char path[64];
    char policy_path[64];
    int fd = hold(in->data, in->size, path);
    int policy_fd = hold(policy_yaml, strlen(policy_yaml), policy_path);
    struct qd_problems *problems = qd_problems_new(5);
    struct qd_policy_test_report *report = qd_policy_test_run(path, policy_path, problems);
    char *text = qd_problems_text(problems);
    if (report == NULL) {
        fprintf(stderr, "%s\n", text);
        abort();
    }
    assert(report->passed + report->failed == report->case_count);
    qd_policy_test_free(report);
    free(text);
    qd_problems_free(problems);
    (void)close(fd);
    (void)close(policy_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct qd_policy *policy;
    if (policy == NULL) {
        struct qd_problems *problems = qd_problems_new(5);
        policy =
            qd_policy_load_bytes("policy.yaml", NULL, policy_yaml, strlen(policy_yaml), problems);
        if (policy == NULL) {
            fprintf(stderr, "%s\n", qd_problems_text(problems));
            abort();
        }
        qd_problems_free(problems);
    }
    struct input in = {policy, data, size};
    if (size <= FUZZ_BYTES_MAX && read_file(&in)) {
        run_file(&in);
    }
    return 0;
}
