/* envoyproxy/ratelimit's files: no input crashes the loader, a file is either in the set or has an
 * error, and each rule of it is found by its own keys and values, or by what stands before it. */
#include "server/policy/problem.h"
#include "server/rls/match.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX 65536
#define RULES_MAX      50
#define NAME_MAX_BYTES 100

/* Ask for the words of a rule's path: any answer will do, if it holds together. */
static void ask(const struct qd_rls_domain *domain, const struct qd_rls_rule *rule)
{
    struct qd_rls_entry entries[QD_RLS_DEPTH_MAX + 1];
    struct qd_rls_match match;
    char name[NAME_MAX_BYTES];
    size_t count = 0;
    const char *at = rule->path + domain->name.len;
    while (*at == '.' && count <= QD_RLS_DEPTH_MAX) {
        size_t len = strcspn(at + 1, ".");
        const char *line = memchr(at + 1, '_', len);
        size_t key = line != NULL ? (size_t)(line - at - 1) : len;
        entries[count].key = (struct qd_str){at + 1, key};
        entries[count].value =
            line != NULL ? (struct qd_str){line + 1, len - key - 1} : (struct qd_str){NULL, 0};
        count++;
        at += 1 + len;
    }
    if (qd_rls_match(domain, entries, count, 1, &match)) {
        size_t len = qd_rls_match_name(&match, entries, name, sizeof name);
        assert(match.rule != NULL && match.depth == count && match.steps > 0);
        assert(len >= domain->name.len && strlen(name) <= len);
    }
    (void)qd_rls_override_counter(domain, entries, count, 1);
}

static void check_rule(const struct qd_rls_domain *domain, const struct qd_rls_rule *rule)
{
    assert(rule->unlimited == (rule->unit == QD_RLS_UNIT_UNKNOWN));
    assert(rule->unlimited || qd_rls_unit_seconds((int)rule->unit) > 0);
    assert(strncmp(rule->path, domain->name.ptr, domain->name.len) == 0);
    assert(!qd_rls_rule_replaces(rule, rule));
    ask(domain, rule);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_problems *problems = size <= FUZZ_BYTES_MAX ? qd_problems_new(5) : NULL;
    if (problems == NULL) {
        return 0;
    }
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("fuzz.yaml", data, size, problems);
    assert(rules != NULL);
    const struct qd_rls_domain *domain = qd_rls_rules_file(rules, 0)->domain;
    assert((domain == NULL) == (qd_problems_errors(problems) > 0));
    assert(qd_rls_rules_failed_count(rules) == (domain == NULL));
    free(qd_problems_text(problems));
    if (domain != NULL) {
        assert(qd_rls_rules_domain(rules, domain->name) == domain);
        for (size_t i = 0; i < domain->rule_count && i < RULES_MAX; i++) {
            check_rule(domain, domain->rules[i]);
        }
    }
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return 0;
}
