/* tests/data/rls: every example loads and decides as the lines in it say. */
#include "helper.h"
#include "server/rls/value.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qd_rls_rules *rules;

static void set_up(void)
{
    char *dir = source_path("tests/data/rls");
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    rules = qd_rls_rules_load_dir(dir, false, problems);
    char *lines = qd_problems_text(problems);
    cr_assert_not_null(rules);
    cr_assert_str_eq(lines, ""); /* no warnings either */
    free(lines);
    free(dir);
    qd_problems_free(problems);
}

static void tear_down(void)
{
    qd_rls_rules_free(rules);
}

TestSuite(examples, .init = set_up, .fini = tear_down);

/* "#= ENTRIES -> PATH [METRIC]". */
static void check_line(const struct qd_rls_file *file, char *line)
{
    char *arrow = strstr(line, " -> ");
    cr_assert_not_null(arrow, "%s: %s", file->path, line);
    *arrow = '\0';
    char *path = arrow + strlen(" -> ");
    path[strcspn(path, "\n")] = '\0';
    char *metric = strchr(path, ' ');
    if (metric != NULL) {
        *metric++ = '\0';
    } else {
        metric = path;
    }
    const char *domain = file->domain->name.ptr;
    const char *words = line + strlen("#= ");
    const char *got = rule_path(rules, domain, words);
    cr_expect_str_eq(got, path, "%s: %s meets %s, not %s", file->path, words, got, path);
    cr_expect_str_eq(metric_name(rules, domain, words), metric);
}

Test(examples, I3_every_example_decides_as_it_says)
{
    size_t checked = 0;
    for (size_t i = 0; i < qd_rls_rules_file_count(rules); i++) {
        const struct qd_rls_file *file = qd_rls_rules_file(rules, i);
        size_t before = checked;
        char line[512];
        FILE *in = fopen(file->path, "r");
        cr_assert(in != NULL && file->domain != NULL);
        while (fgets(line, sizeof line, in) != NULL) {
            if (strncmp(line, "#= ", 3) == 0) {
                check_line(file, line);
                checked++;
            }
        }
        (void)fclose(in);
        cr_expect_gt(checked, before, "%s says nothing", file->path);
    }
    cr_expect_geq(checked, 40);
}

/* The one rule that entries meet. */
static const struct qd_rls_rule *rule_of(const char *domain, const char *words)
{
    struct qd_rls_match match;
    cr_assert(match_words(rules, domain, words, &match), "%s: %s", domain, words);
    return match.rule;
}

Test(examples, I3_point_4_zero_requests_are_a_ban)
{
    cr_expect_eq(rule_of("edge", "client_address=192.0.2.66")->requests_per_unit, 0);
}

Test(examples, I3_point_5_quota_mode)
{
    cr_expect(rule_of("pools", "pool=east")->quota_mode);
    cr_expect_not(rule_of("edge", "client_address=x")->quota_mode);
}

Test(examples, I3_point_6_shadow_mode)
{
    cr_expect(rule_of("trial", "feature=export")->shadow_mode);
}

Test(examples, I3_point_7_units)
{
    static const struct {
        const char *words;
        enum qd_rls_unit unit;
    } units[] = {{"per=second", QD_RLS_UNIT_SECOND}, {"per=minute", QD_RLS_UNIT_MINUTE},
                 {"per=hour", QD_RLS_UNIT_HOUR},     {"per=day", QD_RLS_UNIT_DAY},
                 {"per=week", QD_RLS_UNIT_WEEK},     {"per=month", QD_RLS_UNIT_MONTH},
                 {"per=year", QD_RLS_UNIT_YEAR}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        cr_expect_eq(rule_of("units", units[i].words)->unit, units[i].unit);
        cr_expect_eq(rule_of("units", units[i].words)->requests_per_unit, i + 1);
    }
}

Test(examples, I3_point_8_unlimited)
{
    cr_expect(rule_of("internal", "team=platform")->unlimited);
    cr_expect_not(rule_of("internal", "team=search")->unlimited);
}

Test(examples, I3_point_10_share_threshold)
{
    cr_expect(same_counter(rules, "downloads", "file=/public/a", "file=/public/b"));
    cr_expect_not(same_counter(rules, "downloads", "file=/private/a", "file=/private/b"));
}

Test(examples, I3_point_11_replaces)
{
    cr_expect(qd_rls_rule_replaces(rule_of("api", "page=status"), rule_of("api", "access=read")));
    cr_expect_not(
        qd_rls_rule_replaces(rule_of("api", "access=read"), rule_of("api", "page=status")));
}

Test(examples, I3_point_13_metadata)
{
    const struct qd_rls_value *metadata = rule_of("tagged", "tier=gold")->metadata;
    cr_assert_not_null(metadata);
    cr_expect_str_eq(qd_rls_value_get(metadata, "queue")->string.ptr, "fast");
    cr_expect_eq(qd_rls_value_get(metadata, "features")->count, 2);
}

Test(examples, I3_anchors)
{
    cr_expect_eq(rule_of("anchors", "plan=large")->requests_per_unit, 1000);
    cr_expect_eq(rule_of("anchors", "plan=large")->unit, QD_RLS_UNIT_MINUTE);
}
