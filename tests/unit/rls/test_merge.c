/* Several files with one domain, as with the reference server's MERGE_DOMAIN_CONFIG. */
#include "helper.h"

#include "server/rls/show.h"
#include "tests/lib/failalloc.h"
#include "tests/lib/prng.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qd_tempdir dir;

static void set_up(void)
{
    qd_tempdir_init(&dir);
}

static void tear_down(void)
{
    qd_tempdir_release(&dir);
}

TestSuite(rls_merge, .init = set_up, .fini = tear_down);

static void put(const char *name, const char *yaml)
{
    qd_tempdir_write(&dir, name, yaml, strlen(yaml));
}

/* The folder with its domains merged; its problems are exactly these, DIR for its path. */
static struct qd_rls_rules *load(const char *wanted)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules = qd_rls_rules_load_dir(dir.path, true, problems);
    char *lines = qd_problems_text(problems);

    cr_assert_not_null(rules, "%s", lines);
    for (char *at = strstr(lines, dir.path); at != NULL; at = strstr(at, dir.path)) {
        size_t len = strlen(dir.path);
        memcpy(at, "DIR", 3);
        memmove(at + 3, at + len, strlen(at + len) + 1);
    }
    cr_expect_str_eq(lines, wanted);
    free(lines);
    qd_problems_free(problems);
    return rules;
}

Test(rls_merge, I3_files_with_one_domain_stand_beside_each_other)
{
    put("a.yaml",
        "domain: d\ndescriptors:\n"
        "- {key: p, value: x*, rate_limit: {unit: day, requests_per_unit: 1}}\n"
        "- {key: p, rate_limit: {unit: day, requests_per_unit: 2}}\n"
        "- {key: q, descriptors: [{key: r, rate_limit: {unit: day, requests_per_unit: 3}}]}\n");
    put("b.yaml", "domain: other\ndescriptors:\n"
                  "- {key: p, value: xyz, rate_limit: {unit: day, requests_per_unit: 4}}\n");
    put("c.yaml", "domain: d\ndescriptors:\n"
                  "- {key: p, value: xyz, rate_limit: {unit: day, requests_per_unit: 5}}\n"
                  "- {key: p, value: \"*z\", rate_limit: {unit: day, requests_per_unit: 6}}\n"
                  "- {key: s, rate_limit: {unit: day, requests_per_unit: 7}}\n");
    struct qd_rls_rules *rules = load("");
    struct qd_rls_counts counts = qd_rls_rules_counts(rules);
    const struct qd_rls_domain *whole = qd_rls_rules_domain(rules, text("d"));
    cr_expect_str_eq(rule_path(rules, "d", "p=xyz"), "d.p_xyz"); /* exact before wildcards */
    cr_expect_str_eq(rule_path(rules, "d", "p=xz"), "d.p_x*");   /* the first file's wildcard */
    cr_expect_str_eq(rule_path(rules, "d", "p=az"), "d.p_*z");
    cr_expect_str_eq(rule_path(rules, "d", "p=a"), "d.p"); /* the bare key last */
    cr_expect_str_eq(rule_path(rules, "d", "q=1 r=2"), "d.q.r");
    cr_expect_str_eq(rule_path(rules, "d", "s=1"), "d.s");
    cr_expect_str_eq(rule_path(rules, "other", "p=az"), "-");
    cr_expect_eq(counts.domains, 2);
    cr_expect_eq(counts.rules, 7);
    cr_assert_eq(whole->rule_count, 6);
    cr_expect_eq(whole->rules[0]->requests_per_unit, 1);
    cr_expect_eq(whole->rules[5]->requests_per_unit, 7);
    cr_expect_eq(qd_rls_rules_file(rules, 0)->domain->rule_count, 3);
    cr_expect_eq(qd_rls_rules_file(rules, 2)->domain->rule_count, 3);
    qd_rls_rules_free(rules);
}

Test(rls_merge, I3_P1_a_descriptor_that_an_earlier_file_has_is_wrong)
{
    put("a.yaml", "domain: d\ndescriptors: [{key: a}, {key: b_c}]\n");
    put("b.yaml", "domain: d\n\ndescriptors:\n- {key: e}\n"
                  "- {key: b, value: c, rate_limit: {unit: day, requests_per_unit: 1}}\n");
    put("c.yaml", "domain: d\ndescriptors: [{key: e, rate_limit: {unlimited: true}}]\n");
    struct qd_rls_rules *rules = load(
        "DIR/b.yaml:5:3: descriptors[1]: \"d.b_c\": there is one already, in DIR/a.yaml on line "
        "2\n");
    cr_expect_eq(qd_rls_rules_failed_count(rules), 1);
    cr_expect_not_null(qd_rls_rules_file(rules, 0)->domain);
    cr_expect_null(qd_rls_rules_file(rules, 1)->domain);
    cr_expect_str_eq(rule_path(rules, "d", "e=1"), "d.e"); /* of the third */
    qd_rls_rules_free(rules);
}

Test(rls_merge, I3_P1_a_file_that_is_wrong_by_itself_is_no_part)
{
    put("a.yaml", "domain: d\ndescriptors: [{key: a, keey: b}]\n");
    put("b.yaml", "domain: d\ndescriptors: [{key: a, rate_limit: {unlimited: true}}]\n");
    put("c.yaml", "domain: d\n"); /* without descriptors: no harm */
    put("e.yaml", "domain: e\ndescriptors: []\n");
    struct qd_rls_rules *rules =
        load("DIR/a.yaml:2:24: descriptors[0]: \"keey\": unknown key; accepted: descriptors, key, "
             "value, rate_limit, shadow_mode, quota_mode, detailed_metric, value_to_metric, "
             "share_threshold, metadata; did you mean \"key\"?\n");
    cr_expect_eq(qd_rls_rules_failed_count(rules), 1);
    cr_expect_str_eq(rule_path(rules, "d", "a=1"), "d.a");
    cr_expect_str_eq(rule_path(rules, "e", "a=1"), "-");
    qd_rls_rules_free(rules);
}

/* Each file has room, both together have not. */
Test(rls_merge, X2_the_wildcards_of_all_files_have_one_bound)
{
    static const char head[] = "domain: d\ndescriptors:\n";
    size_t size = (QD_RLS_WILDCARD_BYTES_MAX / 2000 + 1) * (size_t)2100;
    char *yaml = malloc(size);
    char filler[1990];

    cr_assert_not_null(yaml);
    memset(filler, 'x', sizeof filler);
    for (int file = 0; file < 2; file++) {
        size_t len = sizeof head - 1;
        memcpy(yaml, head, len);
        for (unsigned i = 0; i * 2000 < QD_RLS_WILDCARD_BYTES_MAX * 2 / 3; i++) {
            len +=
                (size_t)snprintf(yaml + len, size - len, "- {key: k, value: \"*%d-%04u%.*s*\"}\n",
                                 file, i, (int)sizeof filler, filler);
        }
        qd_tempdir_write(&dir, file == 0 ? "a.yaml" : "b.yaml", yaml, len);
    }
    free(yaml);
    struct qd_rls_rules *rules =
        load("DIR/b.yaml:1401:1: too many wildcards; at most 4194304 bytes "
             "of them are accepted in all files\n");
    cr_expect_eq(qd_rls_rules_failed_count(rules), 2);
    cr_expect_str_eq(rule_path(rules, "d", "k=1"), "-");
    cr_expect_eq(qd_rls_rules_counts(rules).domains, 0);
    qd_rls_rules_free(rules);
}

#define HEAD     "domain: d\ndescriptors:\n"
#define TEXT_MAX 4096

static void append(char text[TEXT_MAX], const char *more)
{
    size_t len = strlen(text);

    (void)snprintf(text + len, TEXT_MAX - len, "%s", more);
}

/* However the descriptors of a file are dealt to several, they say the same. */
Test(rls_merge, I3_several_files_say_what_one_would)
{
    static const char *const keys[] = {"a", "b", "a_b"};
    static const char *const values[] = {"", "x", "x*", "*y", "*x*y*", "b", "b_x", "xy"};
    struct qd_prng g;

    qd_prng_init(&g, qd_prng_seed("rls_merge", 7));
    for (int round = 0; round < 300; round++) {
        char files[3][TEXT_MAX] = {"", "", ""};
        char one[TEXT_MAX] = HEAD;
        for (int i = 0; i < 3; i++) {
            append(files[i], HEAD);
        }
        bool given[3][8] = {{false}};
        int f = 0; /* what is dealt keeps the order of the whole */
        unsigned count = 0;
        for (unsigned i = 0; i < 12; i++) {
            unsigned k = (unsigned)qd_prng_below(&g, 3);
            unsigned v = (unsigned)qd_prng_below(&g, 8);
            char line[128];
            /* "a" with "b_x" is "a_b" with "x": one descriptor. */
            if (given[k][v] || (k == 0 && v >= 5) || (k == 2 && (v <= 1 || v >= 5))) {
                continue;
            }
            given[k][v] = true;
            (void)snprintf(line, sizeof line,
                           "- {key: %s, value: \"%s\", rate_limit: {unit: day, "
                           "requests_per_unit: %u}}\n",
                           keys[k], values[v], ++count);
            f += qd_prng_chance(&g, 1, 4) && f < 2 ? 1 : 0;
            append(files[f], line);
            append(one, line);
        }
        put("a.yaml", files[0]);
        put("b.yaml", files[1]);
        put("c.yaml", files[2]);
        struct qd_rls_rules *split = load("");
        struct qd_rls_rules *whole = load_rules(one);
        for (unsigned k = 0; k < 3; k++) {
            static const char *const asked[] = {"", "x", "xx", "zy", "zxzyz", "b", "b_x", "xy"};
            for (unsigned v = 0; v < 8; v++) {
                char words[64];
                struct qd_rls_match a;
                struct qd_rls_match b;
                (void)snprintf(words, sizeof words, "%s=%s", keys[k], asked[v]);
                bool found = match_words(split, "d", words, &a);
                cr_assert_eq(found, match_words(whole, "d", words, &b), "%s\n%s", words, one);
                if (found) {
                    cr_assert_eq(a.rule->requests_per_unit, b.rule->requests_per_unit, "%s\n%s",
                                 words, one);
                    cr_assert(a.counter.lo == b.counter.lo && a.counter.hi == b.counter.hi);
                }
            }
        }
        qd_rls_rules_free(split);
        qd_rls_rules_free(whole);
    }
}

static int load_once(void *context)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    if (problems == NULL) {
        return 1;
    }
    struct qd_rls_rules *rules = qd_rls_rules_load_dir(context, true, problems);
    bool good = rules != NULL && qd_rls_rules_failed_count(rules) == 0;
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return good ? 0 : 1;
}

Test(rls_merge, X2_every_allocation_may_fail)
{
    put("a.yaml", "domain: d\ndescriptors: [{key: a, value: \"*x*\"}]\n");
    put("b.yaml", "domain: d\ndescriptors: [{key: a, value: \"*y*\"}]\n");
    cr_expect_gt(qd_failalloc_each(load_once, dir.path, false), 10);
}
