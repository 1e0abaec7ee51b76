/* The policy reference's examples are policies. */
#include "helper.h"

#include "server/policy/policy_test.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Calls `each` with every fenced block of YAML; returns how many. */
static size_t each_example(void (*each)(const char *yaml))
{
    char *path = source_path("server/policy/README.md");
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    char block[8192] = "";
    char line[512];
    bool inside = false;
    size_t count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "```", 3) == 0) {
            if (inside) {
                each(block);
                count++;
            }
            inside = !inside && strcmp(line, "```yaml\n") == 0;
            block[0] = '\0';
        } else if (inside) {
            cr_assert_lt(strlen(block) + strlen(line), sizeof block);
            (void)strncat(block, line, sizeof block - strlen(block) - 1);
        }
    }
    fclose(file);
    free(path);
    return count;
}

static void load_example(const char *yaml)
{
    if (strncmp(yaml, "version: 1\n", 11) == 0) {
        struct qd_policy *p = load(yaml);
        cr_expect_not_null(p, "%s", yaml);
        qd_policy_free(p);
    }
}

static void run_example(const char *yaml)
{
    if (strncmp(yaml, "policy: ", 8) != 0) {
        return;
    }
    char path[] = "/tmp/qd_reference_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    close(fd);
    char *policy = source_path("deploy/examples/first-hour.yaml");
    struct qd_problems *problems = qd_problems_new(5);
    struct qd_policy_test_report *report = qd_policy_test_run(path, policy, problems);
    cr_assert_not_null(report);
    qd_policy_test_print(report, stderr);
    cr_expect_eq(report->failed, 0);
    qd_policy_test_free(report);
    qd_problems_free(problems);
    free(policy);
    unlink(path);
}

Test(reference, P1_every_example_of_the_reference_is_accepted)
{
    cr_expect_eq(each_example(load_example), 6);
}

Test(reference, I7_the_references_test_passes)
{
    (void)each_example(run_example);
}
