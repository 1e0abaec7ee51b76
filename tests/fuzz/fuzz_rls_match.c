/* Descriptors of requests: no entries crash the match, and what it says holds together: the same
 * entries have the same counter, wildcards match as a naive matcher says, names fit their buffer.
 *
 * The first line of an input is a wildcard, "*" without one; each other line is an entry
 * "key=value". */
#include "server/policy/problem.h"
#include "server/rls/match.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/naive_pattern.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_BYTES_MAX   2048
#define PATTERN_MAX      64
#define PATTERN_STARS    4 /* the naive matcher tries everything */
#define ENTRIES_MAX      20
#define CONFIG_BYTES_MAX 2048

#define LIMIT "rate_limit: {unit: day, requests_per_unit: 1}"

static const char before[] = "domain: d\n"
                             "descriptors:\n"
                             "- {key: a, " LIMIT ", detailed_metric: true}\n"
                             "- key: a\n"
                             "  value: b\n"
                             "  " LIMIT "\n"
                             "  descriptors:\n"
                             "  - {key: a, value: 'x*', share_threshold: true, " LIMIT "}\n"
                             "  - {key: a, value_to_metric: true, " LIMIT "}\n"
                             "- key: w\n"
                             "  value: '";
static const char after[] = "'\n"
                            "  " LIMIT "\n";

/* The wildcard of the first line, as far as YAML takes it in single quotes. */
static size_t read_pattern(const char *line, size_t len, char pattern[PATTERN_MAX + 1])
{
    size_t used = 0;
    size_t stars = 0;
    for (size_t i = 0; i < len && used < PATTERN_MAX; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c > ' ' && c < 0x7F && c != '\'' && (c != '*' || stars++ < PATTERN_STARS)) {
            pattern[used++] = line[i];
        }
    }
    if (stars == 0) {
        used = used == PATTERN_MAX ? used - 1 : used;
        pattern[used++] = '*';
    }
    pattern[used] = '\0';
    return used;
}

static size_t read_entries(const char *at, const char *end, struct qd_rls_entry *entries)
{
    size_t count = 0;
    while (at < end && count < ENTRIES_MAX) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end != NULL ? line_end : end;
        const char *equals = memchr(at, '=', (size_t)(line_end - at));
        equals = equals != NULL ? equals : line_end;
        const char *value = equals < line_end ? equals + 1 : line_end;
        entries[count].key = (struct qd_str){at, (size_t)(equals - at)};
        entries[count].value = (struct qd_str){value, (size_t)(line_end - value)};
        count++;
        at = line_end + 1;
    }
    return count;
}

static void check_match(const struct qd_rls_match *match, const struct qd_rls_entry *entries,
                        size_t count)
{
    static char name[FUZZ_BYTES_MAX * 2];
    char small[8];
    struct qd_rls_match again;
    assert(match->depth == count && match->rule != NULL);
    bool is_met = qd_rls_match(match->domain, entries, count, 1, &again);
    assert(is_met && again.rule == match->rule);
    assert(qd_hash128_equal(again.counter, match->counter));
    size_t len = qd_rls_match_name(match, entries, name, sizeof name);
    assert(len < sizeof name && strncmp(name, "d.", 2) == 0);
    size_t same = qd_rls_match_name(match, entries, small, sizeof small);
    assert(same == len && strncmp(small, name, strlen(small)) == 0);
}

/* An entry of the wildcard's key meets it exactly if the naive matcher says so. */
static void check_wildcard(const struct qd_rls_domain *domain, const char *pattern, size_t len,
                           struct qd_str value)
{
    struct qd_rls_match match;
    struct qd_rls_entry entry = {{"w", 1}, value};
    bool is_met = qd_rls_match(domain, &entry, 1, 1, &match);
    assert(is_met == naive_pattern_matches(pattern, len, value.ptr, value.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char pattern[PATTERN_MAX + 1];
    char config[CONFIG_BYTES_MAX];
    struct qd_rls_entry entries[ENTRIES_MAX];
    struct qd_rls_match match;
    struct qd_problems *problems = size <= FUZZ_BYTES_MAX ? qd_problems_new(5) : NULL;
    if (problems == NULL) {
        return 0;
    }
    const char *bytes = (const char *)data;
    const char *line_end = size > 0 ? memchr(bytes, '\n', size) : NULL;
    size_t first = line_end != NULL ? (size_t)(line_end - bytes) : size;
    size_t len = read_pattern(bytes, first, pattern);
    int used = snprintf(config, sizeof config, "%s%s%s", before, pattern, after);
    assert(used > 0 && (size_t)used < sizeof config);
    struct qd_rls_rules *rules =
        qd_rls_rules_load_bytes("fuzz.yaml", config, (size_t)used, problems);
    assert(rules != NULL && qd_rls_rules_failed_count(rules) == 0);
    const struct qd_rls_domain *domain = qd_rls_rules_domain(rules, (struct qd_str){"d", 1});
    size_t count = line_end != NULL ? read_entries(line_end + 1, bytes + size, entries) : (size_t)0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].value.len <= PATTERN_MAX) {
            check_wildcard(domain, pattern, len, entries[i].value);
        }
    }
    if (qd_rls_match(domain, entries, count, 1, &match)) {
        check_match(&match, entries, count);
    }
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return 0;
}
