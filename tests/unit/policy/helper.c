#include "helper.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *source_path(const char *path)
{
    const char *root = getenv("QUOTAD_SOURCE_DIR");
    char *joined = NULL;
    cr_assert(asprintf(&joined, "%s/%s", root != NULL ? root : ".", path) > 0);
    return joined;
}

static struct qd_policy *load_with(const char *yaml, struct qd_problems *problems)
{
    char *folder = source_path("deploy/examples");
    struct qd_policy *p = qd_policy_load_bytes("policy.yaml", folder, yaml, strlen(yaml), problems);
    free(folder);
    return p;
}

struct qd_policy *load(const char *yaml)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_policy *p = load_with(yaml, problems);
    if (p == NULL) {
        char *text = qd_problems_text(problems);
        fprintf(stderr, "%s", text);
        free(text);
    }
    qd_problems_free(problems);
    return p;
}

char *problems_of(const char *yaml, bool refused)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_policy *p = load_with(yaml, problems);
    char *text = qd_problems_text(problems);
    cr_assert_eq(p == NULL, refused, "%s", text);
    qd_policy_free(p);
    qd_problems_free(problems);
    return text;
}

void expect_refused(const char *yaml, const char *lines)
{
    char *text = problems_of(yaml, true);
    cr_expect_str_eq(text, lines, "for\n%s\ngot\n%s\nnot\n%s", yaml, text, lines);
    free(text);
}

const struct qd_limit_use *limit_of(const struct qd_policy *p, const char *plan, const char *limit)
{
    const struct qd_plan *found = qd_policy_plan(p, (struct qd_str){plan, strlen(plan)});
    cr_assert_not_null(found, "no plan %s", plan);
    for (size_t i = 0; i < found->limit_count; i++) {
        if (strcmp(found->limits[i].limit->name, limit) == 0) {
            return &found->limits[i];
        }
    }
    cr_assert_fail("no limit %s.%s", plan, limit);
    return NULL;
}

static char *text_of_limit(const char *limit)
{
    char *yaml = NULL;
    cr_assert(
        asprintf(&yaml,
                 "version: 1\nmodels: {m: {max_output_tokens: 4096, pool: h100}}\n"
                 "prices: {m: {input_token: $1/1M, output_token: $2/1M}}\nplans:\n  p:\n    %s\n",
                 limit) > 0);
    return yaml;
}

struct qd_policy *load_limit(const char *limit)
{
    char *yaml = text_of_limit(limit);
    struct qd_policy *p = load(yaml);
    cr_assert_not_null(p, "refused: %s", limit);
    free(yaml);
    return p;
}

void expect_limit_refused(const char *limit, const char *line)
{
    char *yaml = text_of_limit(limit);
    char *text = problems_of(yaml, true);
    char *want = NULL;
    cr_assert(asprintf(&want, "policy.yaml:%s\n", line) > 0);
    cr_expect_str_eq(text, want, "for %s\ngot  %s\nwant %s", limit, text, want);
    free(want);
    free(text);
    free(yaml);
}
