/* A set as text, and counted. */
#include "helper.h"

#include "server/rls/show.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *shown(const struct qd_rls_rules *rules)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);

    cr_assert_not_null(out);
    qd_rls_rules_show(rules, out);
    cr_assert_eq(fclose(out), 0);
    return bytes;
}

Test(show, I3_a_set_is_shown_rule_by_rule)
{
    struct qd_rls_rules *rules =
        load_rules("domain: shop\n"
                   "descriptors:\n"
                   "- key: path\n"
                   "  value: /buy\n"
                   "  rate_limit: {unit: day, requests_per_unit: 3, name: buys}\n"
                   "  descriptors:\n"
                   "  - {key: user, rate_limit: {unit: second, requests_per_unit: 2}}\n"
                   "- {key: none}\n"
                   "- {key: any, quota_mode: true, rate_limit: {unlimited: true}}\n"
                   "- key: gold\n"
                   "  value: \"*\"\n"
                   "  shadow_mode: true\n"
                   "  detailed_metric: true\n"
                   "  metadata: {a: b}\n"
                   "  rate_limit: {unit: week, requests_per_unit: 9,\n"
                   "    replaces: [{name: buys}, {name: x}]}\n"
                   "- {key: \"a\\nb\", rate_limit: {unit: hour, requests_per_unit: 1}}\n");
    char *got = shown(rules);
    cr_expect_str_eq(
        got,
        "# domain shop: 5 rules of config.yaml\n"
        "shop.path_/buy: unit=DAY requests_per_unit=3, shadow_mode: false, quota_mode: false, "
        "name: buys, line: 3\n"
        "shop.path_/buy.user: unit=SECOND requests_per_unit=2, shadow_mode: false, quota_mode: "
        "false, line: 7\n"
        "shop.any: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: true, "
        "unlimited: true, line: 9\n"
        "shop.gold_*: unit=WEEK requests_per_unit=9, shadow_mode: true, quota_mode: false, "
        "replaces: buys x, detailed_metric: true, metadata: given, line: 10\n"
        "shop.a\\x0ab: unit=HOUR requests_per_unit=1, shadow_mode: false, quota_mode: false, "
        "line: 17\n");
    struct qd_rls_counts counts = qd_rls_rules_counts(rules);
    cr_expect_eq(counts.domains, 1);
    cr_expect_eq(counts.rules, 5);
    free(got);
    qd_rls_rules_free(rules);
}

/* Aliases make much of a small file. */
Test(show, X2_what_is_shown_has_a_bound)
{
    char *yaml = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&yaml, &size);
    char long_name[2001];

    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    (void)fprintf(file, "domain: d\ndescriptors:\n");
    for (int i = 0; i < 10000; i++) {
        (void)fprintf(file,
                      "- {key: k%d, rate_limit: {unit: day, requests_per_unit: 1, name: %s}}\n", i,
                      long_name);
    }
    cr_assert_eq(fclose(file), 0);
    cr_assert_gt(size, QD_RLS_SHOW_BYTES_MAX);
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("config.yaml", yaml, size, problems);
    cr_assert_not_null(rules);
    char *got = shown(rules);
    cr_expect_lt(strlen(got), QD_RLS_SHOW_BYTES_MAX + 3000);
    const char *end = strstr(got, "# and ");
    cr_assert_not_null(end);
    size_t lines = 0;
    for (const char *c = got; c < end; c++) {
        lines += *c == '\n';
    }
    cr_expect_eq(strtoul(end + 6, NULL, 10), 10000 - (lines - 1));
    free(got);
    free(yaml);
    qd_problems_free(problems);
    qd_rls_rules_free(rules);
}
