#include "helper.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 7

struct qd_str text(const char *words)
{
    return (struct qd_str){words, strlen(words)};
}

static char *problems_of(const char *yaml, size_t *ret_failed)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_MAX);
    struct qd_rls_rules *rules =
        qd_rls_rules_load_bytes("config.yaml", yaml, strlen(yaml), problems);
    cr_assert_not_null(rules);
    *ret_failed = qd_rls_rules_failed_count(rules);
    cr_assert_eq(*ret_failed > 0, qd_problems_errors(problems) > 0);
    cr_assert_eq(qd_rls_rules_file(rules, 0)->domain == NULL, *ret_failed > 0);
    char *lines = qd_problems_text(problems);
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return lines;
}

static void expect_lines(const char *yaml, const char *lines, bool is_refused)
{
    size_t failed;
    char *got = problems_of(yaml, &failed);
    cr_expect_eq(failed, is_refused, "for\n%s\ngot\n%s", yaml, got);
    cr_expect_str_eq(got, lines, "for\n%s\ngot\n%s\nnot\n%s", yaml, got, lines);
    free(got);
}

void expect_refused(const char *yaml, const char *lines)
{
    expect_lines(yaml, lines, true);
}

void expect_warned(const char *yaml, const char *lines)
{
    expect_lines(yaml, lines, false);
}

struct qd_rls_rules *load_rules(const char *yaml)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_rls_rules *rules =
        qd_rls_rules_load_bytes("config.yaml", yaml, strlen(yaml), problems);
    char *lines = qd_problems_text(problems);
    cr_assert_not_null(rules);
    cr_assert_eq(qd_problems_errors(problems), 0, "%s", lines);
    cr_assert_eq(qd_rls_rules_failed_count(rules), 0);
    free(lines);
    qd_problems_free(problems);
    return rules;
}

char *source_path(const char *path)
{
    const char *root = getenv("QUOTAD_SOURCE_DIR");
    char *joined = NULL;
    cr_assert(asprintf(&joined, "%s/%s", root != NULL ? root : ".", path) > 0);
    return joined;
}

size_t parse_entries(const char *words, struct qd_rls_entry entries[ENTRIES_MAX])
{
    size_t count = 0;
    while (*words != '\0') {
        size_t len = strcspn(words, " ");
        const char *equals = memchr(words, '=', len);
        cr_assert(equals != NULL && count < ENTRIES_MAX);
        entries[count].key = (struct qd_str){words, (size_t)(equals - words)};
        entries[count].value = (struct qd_str){equals + 1, len - (size_t)(equals + 1 - words)};
        count++;
        words += len + (words[len] == ' ');
    }
    return count;
}

bool match_words(const struct qd_rls_rules *rules, const char *domain, const char *words,
                 struct qd_rls_match *ret_match)
{
    struct qd_rls_entry entries[ENTRIES_MAX];
    size_t count = parse_entries(words, entries);
    const struct qd_rls_domain *found = qd_rls_rules_domain(rules, text(domain));
    cr_assert_not_null(found, "no domain %s", domain);
    return qd_rls_match(found, entries, count, SEED, NULL, ret_match);
}

const char *rule_path(const struct qd_rls_rules *rules, const char *domain, const char *words)
{
    struct qd_rls_match match;
    return match_words(rules, domain, words, &match) ? match.rule->path : "-";
}

const char *metric_name(const struct qd_rls_rules *rules, const char *domain, const char *words)
{
    static char name[512];
    struct qd_rls_entry entries[ENTRIES_MAX];
    struct qd_rls_match match;
    (void)parse_entries(words, entries);
    if (!match_words(rules, domain, words, &match)) {
        return "-";
    }
    size_t len = qd_rls_match_name(&match, entries, name, sizeof name);
    cr_assert(len < sizeof name && strlen(name) == len);
    return name;
}

bool same_counter(const struct qd_rls_rules *rules, const char *domain, const char *one,
                  const char *other)
{
    struct qd_rls_match a;
    struct qd_rls_match b;
    cr_assert(match_words(rules, domain, one, &a), "%s matches nothing", one);
    cr_assert(match_words(rules, domain, other, &b), "%s matches nothing", other);
    return qd_hash128_equal(a.counter, b.counter);
}
