/* Configuration files of envoyproxy/ratelimit: what is taken, and the exact text of what is not. */
#include "helper.h"

#include "tests/lib/failalloc.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS                                                                          \
    "descriptors, key, value, rate_limit, shadow_mode, quota_mode, detailed_metric, " \
    "value_to_metric, share_threshold, metadata"
#define UNITS "second, minute, hour, day, week, month, year"

/* "domain: d\ndescriptors:\n- " and the lines of one descriptor, which begin on line 3. */
#define ONE(lines) "domain: d\ndescriptors:\n- " lines "\n"

static const struct qd_rls_rule *only_rule(const struct qd_rls_rules *rules)
{
    const struct qd_rls_domain *domain = qd_rls_rules_file(rules, 0)->domain;
    cr_assert(domain != NULL && domain->rule_count == 1);
    return domain->rules[0];
}

Test(rules, I3_every_key_of_a_rule_is_read)
{
    struct qd_rls_rules *rules =
        load_rules(ONE("key: k\n"
                       "  value: v*\n"
                       "  rate_limit: {unit: WEEK, requests_per_unit: 4294967295, name: mine,\n"
                       "    replaces: [{name: other}, {name: third}]}\n"
                       "  shadow_mode: true\n"
                       "  quota_mode: yes\n"
                       "  detailed_metric: on\n"
                       "  value_to_metric: true\n"
                       "  share_threshold: true\n"
                       "  metadata: {a: b}"));
    const struct qd_rls_rule *rule = only_rule(rules);
    cr_expect_str_eq(rule->path, "d.k_v*");
    cr_expect_eq(rule->line, 3);
    cr_expect_eq(rule->unit, QD_RLS_UNIT_WEEK);
    cr_expect_eq(rule->requests_per_unit, UINT32_MAX);
    cr_expect_not(rule->unlimited);
    cr_expect(rule->shadow_mode && rule->quota_mode && rule->detailed_metric);
    cr_expect_str_eq(rule->name, "mine");
    cr_assert_eq(rule->replace_count, 2);
    cr_expect_str_eq(rule->replaces[0], "other");
    cr_expect_str_eq(rule->replaces[1], "third");
    cr_expect_not_null(rule->metadata);
    qd_rls_rules_free(rules);
}

Test(rules, I3_what_is_left_out_has_the_defaults_of_the_reference)
{
    struct qd_rls_rules *rules =
        load_rules(ONE("key: k\n  rate_limit: {unit: day, requests_per_unit: 5}\n  value: ''\n"
                       "  shadow_mode:\n  descriptors:\n  metadata: ~"));
    const struct qd_rls_rule *rule = only_rule(rules);
    cr_expect_str_eq(rule->path, "d.k");
    cr_expect_not(rule->shadow_mode || rule->quota_mode || rule->detailed_metric);
    cr_expect_null(rule->name);
    cr_expect_null(rule->metadata);
    cr_expect_eq(rule->replace_count, 0);
    qd_rls_rules_free(rules);
    /* A domain without descriptors is a known one. */
    rules = load_rules("domain: d\n");
    cr_expect_not_null(qd_rls_rules_domain(rules, text("d")));
    cr_expect_null(qd_rls_rules_domain(rules, text("D")));
    cr_expect_null(qd_rls_rules_domain(rules, text("")));
    cr_expect_str_eq(rule_path(rules, "d", "k=v"), "-");
    qd_rls_rules_free(rules);
}

Test(rules, I3_values_that_yaml_takes_for_numbers_are_texts)
{
    struct qd_rls_rules *rules = load_rules(
        "---\ndomain: 5\ndescriptors:\n"
        "- {key: 1, value: 2061234567, rate_limit: {unit: day, requests_per_unit: 0x10}}\n"
        "- {key: flag, value: true, rate_limit: {unit: day, requests_per_unit: 1_000}}\n");
    cr_expect_str_eq(rule_path(rules, "5", "1=2061234567"), "5.1_2061234567");
    cr_expect_str_eq(rule_path(rules, "5", "flag=true"), "5.flag_true");
    cr_expect_eq(qd_rls_rules_file(rules, 0)->domain->rules[0]->requests_per_unit, 16);
    cr_expect_eq(qd_rls_rules_file(rules, 0)->domain->rules[1]->requests_per_unit, 1000);
    qd_rls_rules_free(rules);
}

Test(rules, I3_anchors_and_merge_keys_of_yaml)
{
    struct qd_rls_rules *rules =
        load_rules("domain: d\n"
                   "descriptors:\n"
                   "- key: a\n"
                   "  rate_limit: &base {unit: hour, requests_per_unit: 10, name: base}\n"
                   "- key: b\n"
                   "  rate_limit: {<<: *base, requests_per_unit: 20}\n"
                   "- key: c\n"
                   "  rate_limit: {<<: [{unit: day}, *base], name: mine}\n");
    const struct qd_rls_domain *domain = qd_rls_rules_file(rules, 0)->domain;
    cr_assert_eq(domain->rule_count, 3);
    cr_expect_eq(domain->rules[1]->unit, QD_RLS_UNIT_HOUR);
    cr_expect_eq(domain->rules[1]->requests_per_unit, 20);
    cr_expect_str_eq(domain->rules[1]->name, "base");
    cr_expect_eq(domain->rules[2]->unit, QD_RLS_UNIT_DAY);
    cr_expect_eq(domain->rules[2]->requests_per_unit, 10);
    cr_expect_str_eq(domain->rules[2]->name, "mine");
    qd_rls_rules_free(rules);
    expect_refused(ONE("key: a\n  <<: 5"),
                   "config.yaml:4:7: descriptors[0]: \"<<\" merges a map or a list of maps\n");
}

Test(rules, I3_P1_unknown_keys_are_errors_with_a_suggestion)
{
    expect_refused(ONE("key: a\n  shadow_mod: true"),
                   "config.yaml:4:3: descriptors[0]: \"shadow_mod\": unknown key; accepted: " KEYS
                   "; did you mean \"shadow_mode\"?\n");
    expect_refused("domain: d\ndescriptor: []\n",
                   "config.yaml:2:1: \"descriptor\": unknown key; accepted: domain, descriptors; "
                   "did you mean \"descriptors\"?\n");
    expect_refused(
        ONE("key: a\n  rate_limit: {unit: day, request_per_unit: 5}"),
        "config.yaml:4:15: warning: descriptors[0].rate_limit.requests_per_unit: not given: 0, "
        "which denies every request\n"
        "config.yaml:4:27: descriptors[0].rate_limit: \"request_per_unit\": unknown key; "
        "accepted: unit, requests_per_unit, unlimited, name, replaces; did you mean "
        "\"requests_per_unit\"?\n");
    expect_refused(ONE("key: a\n  key: b"),
                   "config.yaml:4:3: \"key\": given twice; the first is on line 3\n");
}

/* The reference server knows the key, but not here, and passes over it. */
Test(rules, I3_P1_misplaced_keys_are_warnings)
{
    expect_warned(ONE("key: a\n  rate_limit: {unit: day, requests_per_unit: 5, shadow_mode: true}"),
                  "config.yaml:4:49: warning: descriptors[0].rate_limit: \"shadow_mode\": has no "
                  "effect here; it belongs in a descriptor\n");
    expect_warned(ONE("key: a\n  unit: day\n  domain: e"),
                  "config.yaml:4:3: warning: descriptors[0]: \"unit\": has no effect here; it "
                  "belongs in a rate_limit\n"
                  "config.yaml:5:3: warning: descriptors[0]: \"domain\": has no effect here; it "
                  "belongs at the file's top\n");
}

Test(rules, I3_P1_options_of_a_rule_without_a_rule_are_warnings)
{
    expect_warned(ONE("key: a\n  value: b\n  quota_mode: true\n  value_to_metric: true"),
                  "config.yaml:5:15: warning: descriptors[0].quota_mode: has no effect: this "
                  "descriptor has no rate_limit\n"
                  "config.yaml:6:20: warning: descriptors[0].value_to_metric: has no effect: the "
                  "one value is in the metric's name already\n");
}

Test(rules, I3_P1_what_the_reference_refuses)
{
    expect_refused("descriptors: []\n",
                   "config.yaml:1:1: no domain; begin with \"domain: NAME\"\n");
    expect_refused("", "config.yaml:1:1: no domain; begin with \"domain: NAME\"\n");
    expect_refused("[]", "config.yaml:1:1: a map, not a list, is accepted here\n");
    expect_refused(ONE("value: v"),
                   "config.yaml:3:3: descriptors[0]: no key; every descriptor has one\n");
    expect_refused(ONE("key: ''"),
                   "config.yaml:3:3: descriptors[0]: no key; every descriptor has one\n");
    expect_refused(ONE("just words"), "config.yaml:3:3: descriptors[0]: a descriptor, not a single "
                                      "value, is accepted here\n");
    expect_refused(ONE("key: a\n- key: a"),
                   "config.yaml:4:3: descriptors[1]: \"d.a\": there is one already, on line 3\n");
    expect_refused(ONE("{key: a, value: b_c}\n- {key: a_b, value: c}"),
                   "config.yaml:4:3: descriptors[1]: \"d.a_b_c\": there is one already, on line "
                   "3\n");
    expect_refused(ONE("key: a\n  descriptors: [{key: b}, {key: b}]"),
                   "config.yaml:4:27: descriptors[0].descriptors[1]: \"d.a.b\": there is one "
                   "already, on line 4\n");
    expect_refused(ONE("key: a\n  descriptors: {key: b}"),
                   "config.yaml:4:16: descriptors[0].descriptors: a list of descriptors, not a "
                   "map, is accepted here\n");
}

Test(rules, I3_P1_units_as_the_reference_refuses_them)
{
    expect_refused(ONE("key: a\n  rate_limit: {unit: minut, requests_per_unit: 5}"),
                   "config.yaml:4:22: descriptors[0].rate_limit.unit: \"minut\": unknown unit; "
                   "accepted: " UNITS "; did you mean \"minute\"?\n");
    expect_refused(ONE("key: a\n  rate_limit: {requests_per_unit: 5}"),
                   "config.yaml:4:15: descriptors[0].rate_limit.unit: no unit; accepted: " UNITS
                   "\n");
    expect_refused(ONE("key: a\n  rate_limit: {unit: unknown, requests_per_unit: 5}"),
                   "config.yaml:4:22: descriptors[0].rate_limit.unit: \"unknown\": unknown unit; "
                   "accepted: " UNITS "\n");
    expect_refused(ONE("key: a\n  rate_limit: {unit: day, unlimited: true}"),
                   "config.yaml:4:22: descriptors[0].rate_limit.unit: unlimited and a unit exclude "
                   "each other; leave one out\n");
    expect_warned(ONE("key: a\n  rate_limit: {unit: none, unlimited: true}"),
                  "config.yaml:4:22: warning: descriptors[0].rate_limit.unit: no unit, and none is "
                  "needed: this is unlimited\n");
}

Test(rules, I3_P1_numbers_that_are_no_amounts)
{
    static const char *const bad[] = {"-1", "4294967296", "1.5", "many", "'5'"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char yaml[200];
        char line[200];
        (void)snprintf(yaml, sizeof yaml,
                       ONE("key: a\n  rate_limit: {unit: day, requests_per_unit: %s}"), bad[i]);
        (void)snprintf(line, sizeof line,
                       "config.yaml:4:46: descriptors[0].rate_limit.requests_per_unit: \"%s\": a "
                       "whole number from 0 to 4294967295 is accepted\n",
                       strcmp(bad[i], "'5'") == 0 ? "5" : bad[i]);
        expect_refused(yaml, line);
    }
    expect_refused(ONE("key: a\n  rate_limit: {unlimited: maybe}"),
                   "config.yaml:4:27: descriptors[0].rate_limit.unlimited: \"maybe\": true or "
                   "false, without quotes, is accepted\n");
    expect_refused(ONE("key: [a]"),
                   "config.yaml:3:8: descriptors[0].key: a text, not a list, is accepted here\n");
}

Test(rules, I3_point_11_replaces_as_the_reference_refuses_it)
{
    expect_refused(
        ONE("key: a\n  rate_limit: {unit: day, requests_per_unit: 1, name: me, replaces: [{name: "
            "me}]}"),
        "config.yaml:4:70: descriptors[0].rate_limit.replaces[0]: \"me\": a rate_limit cannot "
        "replace itself\n");
    expect_refused(
        ONE("key: a\n  rate_limit: {unit: day, requests_per_unit: 1, replaces: [{}]}"),
        "config.yaml:4:60: descriptors[0].rate_limit.replaces[0]: no name; give the name of the "
        "rate_limit that is replaced\n");
    expect_refused(
        ONE("key: a\n  rate_limit: {unit: day, requests_per_unit: 1, replaces: [x]}"),
        "config.yaml:4:60: descriptors[0].rate_limit.replaces[0]: a map with a name, not a single "
        "value, is accepted here\n");
}

Test(rules, I3_point_10_share_threshold_is_for_wildcards)
{
    expect_refused(ONE("key: a\n  value: b\n  share_threshold: true"),
                   "config.yaml:5:20: descriptors[0].share_threshold: only values with a wildcard "
                   "can share; give a value with a \"*\"\n");
    expect_refused(ONE("key: a\n  share_threshold: true"),
                   "config.yaml:4:20: descriptors[0].share_threshold: only values with a wildcard "
                   "can share; give a value with a \"*\"\n");
    expect_warned(ONE("key: a\n  share_threshold: false"), "");
}

Test(rules, I3_P1_lists_where_a_single_value_belongs)
{
    expect_refused(ONE("key: a\n  rate_limit: {unit: [day]}"),
                   "config.yaml:4:15: warning: descriptors[0].rate_limit.requests_per_unit: not "
                   "given: 0, which denies every request\n"
                   "config.yaml:4:22: descriptors[0].rate_limit.unit: a text, not a list, is "
                   "accepted here\n");
    expect_refused(ONE("key: a\n  shadow_mode: [true]"),
                   "config.yaml:4:16: descriptors[0].shadow_mode: true or false, not a list, is "
                   "accepted here\n"
                   "config.yaml:4:16: warning: descriptors[0].shadow_mode: has no effect: this "
                   "descriptor has no rate_limit\n");
    expect_refused(ONE("key: a\n  rate_limit: {unlimited: true, replaces: [{name: {a: b}}]}"),
                   "config.yaml:4:51: descriptors[0].rate_limit.replaces[0].name: a text, not a "
                   "map, is accepted here\n");
}

/* --- bounds -------------------------------------------------------------------------------------
 */

/* `head`, and then `before`, a number and `after` for each number. */
static char *many(const char *head, const char *before, const char *after, size_t count)
{
    char *yaml = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&yaml, &size);
    cr_assert_not_null(out);
    (void)fputs(head, out);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(out, "%s%zu%s", before, i, after);
    }
    (void)fclose(out);
    return yaml;
}

/* Each wildcard has 2,000 bytes and its number. */
static char *long_wildcards(size_t count)
{
    char before[2100];
    int len = snprintf(before, sizeof before, "- {key: k, value: '%02000d*", 0);
    cr_assert(len > 2000 && (size_t)len < sizeof before);
    return many("domain: d\ndescriptors:\n", before, "'}\n", count);
}

Test(rules, X2_P1_wildcards_have_a_bound)
{
    size_t bound = QD_RLS_WILDCARD_BYTES_MAX / 2005; /* its number has four digits */
    char *yaml = long_wildcards(bound);
    qd_rls_rules_free(load_rules(yaml));
    free(yaml);
    yaml = long_wildcards(bound + 3);
    expect_refused(yaml, "config.yaml:2096:1: descriptors: too many wildcards; at most 4194304 "
                         "bytes of them are accepted in all files\n");
    free(yaml);
}

Test(rules, I3_a_key_may_have_a_hundred_thousand_wildcards)
{
    char *yaml = many("domain: d\ndescriptors:\n", "- {key: k, value: '*/v",
                      "/*', rate_limit: {unlimited: true}}\n", 100000);
    struct qd_rls_rules *rules = load_rules(yaml);
    struct qd_rls_scratch scratch = {0};
    struct qd_rls_match m;
    struct qd_rls_entry entry = {text("k"), text("/api/v99998/v77777/x")};
    cr_assert(qd_rls_match(qd_rls_rules_domain(rules, text("d")), &entry, 1, 0, &scratch, &m));
    cr_expect_str_eq(m.rule->path, "d.k_*/v77777/*"); /* the first in the file */
    qd_rls_scratch_release(&scratch);
    qd_rls_rules_free(rules);
    free(yaml);
}

Test(rules, X2_P1_texts_replaces_and_metadata_have_bounds)
{
    char *yaml = many("domain: d\ndescriptors:\n- key: ", "", "", 1000);
    expect_refused(yaml, "config.yaml:3:8: descriptors[0].key: too long; at most 2048 bytes are "
                         "accepted\n");
    free(yaml);
    yaml = many("domain: d\ndescriptors:\n- key: k\n  rate_limit:\n    unit: day\n"
                "    requests_per_unit: 1\n    replaces:\n",
                "    - name: n", "\n", QD_RLS_REPLACES_MAX + 1);
    expect_refused(yaml,
                   "config.yaml:8:5: descriptors[0].rate_limit.replaces: a list of at most 64 "
                   "names is accepted here\n");
    free(yaml);
    yaml = many("domain: d\ndescriptors:\n- key: k\n  rate_limit: {unlimited: true}\n  metadata:\n",
                "    k", ": v\n", QD_RLS_METADATA_MAX / 2 + 1);
    expect_refused(yaml, "config.yaml:6:5: descriptors[0].metadata: a map of at most 256 values is "
                         "accepted here\n");
    free(yaml);
}

/* More than are kept: the rest is counted. */
Test(rules, X2_P1_errors_without_end_are_counted)
{
    char *yaml = many("domain: d\n", "k", ": v\n", 50000);
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules =
        qd_rls_rules_load_bytes("config.yaml", yaml, strlen(yaml), problems);
    cr_assert_not_null(rules);
    cr_expect_eq(qd_problems_errors(problems), 50000);
    cr_expect_eq(qd_problems_count(problems), QD_PROBLEMS_DEFAULT);
    cr_expect_eq(qd_rls_rules_failed_count(rules), 1);
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    free(yaml);
}

/* Aliases are counted each time: 10 of 10 of 10 of 10 of 10 of 10. */
Test(rules, X2_P1_descriptors_are_counted_with_aliases_written_out)
{
    char *yaml = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&yaml, &size);
    cr_assert_not_null(out);
    (void)fputs("domain: d\ndescriptors:\n", out);
    for (int level = 0; level < 6; level++) {
        (void)fprintf(out, "- key: top%d\n  descriptors: &l%d\n", level, level);
        for (int i = 0; i < 10; i++) {
            (void)fprintf(out, "  - {key: k%d", i);
            if (level > 0) {
                (void)fprintf(out, ", descriptors: *l%d", level - 1);
            }
            (void)fputs("}\n", out);
        }
    }
    (void)fclose(out);
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("config.yaml", yaml, size, problems);
    cr_assert_not_null(rules);
    cr_expect_eq(qd_rls_rules_failed_count(rules), 1);
    char *lines = qd_problems_text(problems);
    cr_expect_not_null(strstr(lines, "too many descriptors; at most 500000 in all files"));
    free(lines);
    free(yaml);
    qd_problems_free(problems);
    qd_rls_rules_free(rules);
}

/* As deep as YAML may be (32 levels of maps and lists). */
Test(rules, X2_P1_descriptors_are_as_deep_as_yaml_may_be)
{
    for (int depth = 10; depth <= 40; depth++) {
        char *yaml = many("domain: d\ndescriptors:\n", "", "", 0);
        for (int i = 0; i < depth; i++) {
            char *longer = NULL;
            cr_assert(asprintf(&longer, "%s%*s- key: k\n%*s  %s\n", yaml, 2 * i, "", 2 * i, "",
                               i + 1 < depth ? "descriptors:" : "value: v") > 0);
            free(yaml);
            yaml = longer;
        }
        struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
        struct qd_rls_rules *rules =
            qd_rls_rules_load_bytes("config.yaml", yaml, strlen(yaml), problems);
        cr_assert_not_null(rules);
        cr_expect_eq(qd_rls_rules_failed_count(rules), depth > 15, "%d", depth);
        qd_rls_rules_free(rules);
        qd_problems_free(problems);
        free(yaml);
    }
}

static int load_once(void *context)
{
    const char *yaml = context;
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    if (problems == NULL) {
        return 1;
    }
    struct qd_rls_rules *rules =
        qd_rls_rules_load_bytes("config.yaml", yaml, strlen(yaml), problems);
    bool good = rules != NULL && qd_rls_rules_failed_count(rules) == 0;
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return good ? 0 : 1;
}

Test(rules, X2_every_allocation_may_fail)
{
    char *yaml = many("domain: d\ndescriptors:\n", "- {key: k, value: 'v",
                      "*', rate_limit: {unit: day, requests_per_unit: 1}}\n", 200);
    cr_expect_gt(qd_failalloc_each(load_once, yaml, false), 5);
    free(yaml);
}
