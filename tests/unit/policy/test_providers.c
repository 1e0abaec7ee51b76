/* P5: each provider's real rules as a policy, with the tests that prove them. */
#include "helper.h"

#include "server/policy/policy_test.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run(const char *file, size_t at_least)
{
    char *path = source_path(file);
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_policy_test_report *report = qd_policy_test_run(path, NULL, problems);
    if (report == NULL) {
        char *text = qd_problems_text(problems);
        cr_assert_fail("%s", text);
    }
    if (report->failed > 0) {
        qd_policy_test_print(report, stderr);
    }
    cr_expect_eq(report->failed, 0);
    cr_expect_geq(report->passed, at_least);
    qd_policy_test_free(report);
    qd_problems_free(problems);
    free(path);
}

Test(providers, P5_openai)
{
    run("deploy/examples/providers/openai.test.yaml", 7);
}

Test(providers, P5_anthropic)
{
    run("deploy/examples/providers/anthropic.test.yaml", 6);
}

Test(providers, P5_azure_payg)
{
    run("deploy/examples/providers/azure-payg.test.yaml", 3);
}

Test(providers, P5_azure_ptu)
{
    run("deploy/examples/providers/azure-ptu.test.yaml", 3);
}

Test(providers, P5_bedrock)
{
    run("deploy/examples/providers/bedrock.test.yaml", 5);
}

Test(providers, P5_gemini)
{
    run("deploy/examples/providers/gemini.test.yaml", 3);
}

Test(providers, P2_P3_P4_P7_P8_the_example_company)
{
    run("deploy/examples/policy.test.yaml", 11);
}
