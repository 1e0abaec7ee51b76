/* The policy tester itself: it fails where it must, and says why. */
#include "helper.h"

#include "server/policy/policy_test.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs steps against first-hour.yaml and returns the printed report without its first line's name.
 */
static char *run(const char *steps, bool json)
{
    char path[] = "/tmp/qd_policy_test_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    FILE *file = fdopen(fd, "w");
    fprintf(file, "start: 2026-11-02T10:00:00Z\ntests:\n- name: t\n  steps:\n%s", steps);
    fclose(file);
    char *policy = source_path("deploy/examples/first-hour.yaml");
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_policy_test_report *report = qd_policy_test_run(path, policy, problems);
    char *text = NULL;
    if (report == NULL) {
        text = qd_problems_text(problems);
    } else {
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        if (json) {
            qd_policy_test_print_json(report, out);
        } else {
            qd_policy_test_print(report, out);
        }
        fclose(out);
    }
    qd_policy_test_free(report);
    qd_problems_free(problems);
    unlink(path);
    free(policy);
    /* The file's name differs from run to run. */
    for (char *at; (at = strstr(text, path)) != NULL;) {
        memmove(at + 1, at + strlen(path), strlen(at + strlen(path)) + 1);
        *at = 'T';
    }
    return text;
}

static void expect_failure(const char *steps, const char *want)
{
    char *text = run(steps, false);
    char *line = strstr(text, "T:");
    cr_assert_not_null(line, "%s", text);
    char *end = strchr(line, '\n');
    *end = '\0';
    cr_expect_str_eq(line, want);
    free(text);
}

#define CHECK                                                                                    \
    "  - check: {tenant: hobby, model: llama-70b, use: {input_tokens: 1000, max_output_tokens: " \
    "600}, id: a}\n"

Test(policy_test, I7_wrong_expectations_fail_with_what_was_seen)
{
    expect_failure(CHECK "    expect: deny\n",
                   "T:6: expected deny, got allow (tightest free.requests: 0 used, 0 held, 1 "
                   "estimated of 20/min)");
    expect_failure(CHECK "    expect: {limit: free.tokens}\n",
                   "T:6: expected limit free.tokens, got allow (tightest free.requests: 0 used, 0 "
                   "held, 1 estimated of "
                   "20/min)");
    expect_failure(CHECK "    expect: {reason: blocked}\n",
                   "T:6: expected reason blocked, got none: allow (tightest free.requests: 0 used, "
                   "0 held, 1 estimated "
                   "of 20/min)");
    expect_failure(CHECK "    expect: {limits: {free.tokens: {estimate: 1601}}}\n",
                   "T:6: expected estimate of free.tokens to be 1601, got 1,600");
    expect_failure(CHECK "    expect: {limits: {pro.tokens: {used: 0}}}\n",
                   "T:6: limit pro.tokens does not apply; those that do: free.requests, "
                   "free.tokens, free.cost");
    expect_failure("  - check: {tenant: hobby, model: gpt-4o, use: {input_tokens: 50000}}\n    "
                   "expect: {retry_after: 1s}\n",
                   "T:6: expected retry_after 1s, got never");
    expect_failure("  - check: {tenant: hobby, model: gpt-4o, use: {input_tokens: 1000, "
                   "max_output_tokens: 0}}\n"
                   "    expect: {cost: $0.1}\n",
                   "T:6: expected a cost of $0.10, got $0.0025");
    expect_failure("  - report: {id: b, use: {input_tokens: 1}}\n",
                   "T:5: no allowed check has the id \"b\"");
    expect_failure(CHECK "  - cancel: a\n  - cancel: a\n", "T:7: no hold of \"a\" to cancel");
}

Test(policy_test, I7_what_is_expected_passes)
{
    char *text =
        run(CHECK
            "    expect: {verdict: allow, limits: {free.tokens: {used: 0, held: 0, remaining: 40k, "
            "estimate: 1600}}}\n"
            "  - report: {id: a, use: {input_tokens: 1000, output_tokens: 100, gpu_seconds: 2}}\n"
            "    expect: {cost: $0.0022}\n"
            "  - after: 10s\n"
            "    check: {tenant: hobby, model: llama-70b, use: {input_tokens: 38901, "
            "max_output_tokens: 0}}\n"
            "    expect: {verdict: deny, limit: free.tokens, reason: limit, retry_after: 51s}\n",
            false);
    cr_expect_eq(strncmp(text, "PASS  t\n1 passed, 0 failed (", 28), 0, "%s", text);
    free(text);
}

Test(policy_test, I7_files_are_checked_like_policies)
{
    static const struct {
        const char *steps;
        const char *want;
    } rows[] = {
        {"  - chek: {}\n", "T:5:5: tests[0].steps[0]: \"chek\": unknown key; accepted: at, after, "
                           "check, report, cancel, expect; did you mean "
                           "\"check\"?\n"},
        {"  - check: {tenant: a, use: {inptu_tokens: 5}}\n",
         "T:5:30: tests[0].steps[0].check.use: \"inptu_tokens\": not a meter that is reported; "
         "accepted: requests, input_tokens, cached_input_tokens, cache_write_tokens, "
         "output_tokens, reasoning_tokens, gpu_seconds, processing_ms, memory_gb_ms, images, "
         "max_output_tokens; did you mean \"input_tokens\"?\n"},
        {"  - check: {tenant: a, use: {cost: 5}}\n",
         "T:5:30: tests[0].steps[0].check.use: \"cost\": not a meter that is reported; accepted: "
         "requests, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, "
         "reasoning_tokens, gpu_seconds, processing_ms, memory_gb_ms, images, max_output_tokens\n"},
        {"  - at: 5s\n  - at: 4s\n",
         "T:6:9: tests[0].steps[1].at: before the step above; times only go forward\n"},
        {"  - after: 106751d\n",
         "T:5:12: tests[0].steps[0].after: \"106751d\": too late; times before 2262-04-11 are "
         "accepted\n"},
        {"  - at: 106751d\n", "T:5:9: tests[0].steps[0].at: \"106751d\": too late; times before "
                              "2262-04-11 are accepted\n"},
        {"  - check: {tenant: a, model: gpt-5o}\n",
         "T:5:31: tests[0].steps[0].check.model: \"gpt-5o\": unknown model; a name under "
         "\"models\" is accepted; did you mean "
         "\"gpt-4o\"?\n"},
        {"  - at: soon\n", "T:5:9: tests[0].steps[0].at: \"soon\": a length of time is accepted, "
                           "as 12.4s, 500ms, 10min, 1h, 2d\n"},
        {"  - check: {tenant: a}\n    expect: maybe\n",
         "T:6:13: tests[0].steps[0].expect: \"maybe\": unknown verdict; accepted: allow, deny\n"},
        {"  - report: {use: {}}\n", "T:5:13: tests[0].steps[0].report: either the \"id\" of a "
                                    "check or a \"tenant\" is accepted\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = run(rows[i].steps, false);
        cr_expect_str_eq(text, rows[i].want, "got\n%swant\n%s", text, rows[i].want);
        free(text);
    }
}

Test(policy_test, I7_json)
{
    char *text = run(CHECK "    expect: deny\n", true);
    struct json_object *o = json_tokener_parse(text);
    cr_assert_not_null(o, "%s", text);
    struct json_object *failed;
    cr_expect(json_object_object_get_ex(o, "failed", &failed));
    cr_expect_eq(json_object_get_int(failed), 1);
    json_object_put(o);
    free(text);
}
