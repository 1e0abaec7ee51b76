/* Descriptors of requests: no entries crash the match, and what it says holds together: the same
 * entries have the same counter, wildcards match as a naive matcher says, names fit their buffer.
 *
 * The first line of an input has wildcards, with blanks between; each other line is an entry
 * "key=value". Fixed wildcards stand behind them, so that they are many enough for an automaton. */
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
#define PATTERN_STARS    3 /* the naive matcher tries everything */
#define PATTERNS_MAX     8 /* of the input */
#define ENTRIES_MAX      20
#define CONFIG_BYTES_MAX 8192

#define LIMIT "rate_limit: {unit: day, requests_per_unit: 1}"

static const char before[] = "domain: d\n"
                             "descriptors:\n"
                             "- {key: a, " LIMIT ", detailed_metric: true}\n"
                             "- key: a\n"
                             "  value: b\n"
                             "  " LIMIT "\n"
                             "  descriptors:\n"
                             "  - {key: a, value: 'x*', share_threshold: true, " LIMIT "}\n"
                             "  - {key: a, value_to_metric: true, " LIMIT "}\n";

static const char *const fixed[] = {"ab*",   "*ab",     "a*b*a", "aa*aa",  "*ba*ab", "*bb*",
                                    "b*b*b", "*abc*c*", "c*abc", "a*b*c*", "*ba*c"};

#define FIXED_COUNT (sizeof fixed / sizeof fixed[0])

/* The wildcards of the key "w", in their order; no two are the same. */
struct patterns {
    char texts[PATTERNS_MAX + FIXED_COUNT][PATTERN_MAX + 1];
    size_t count;
};

static void keep_pattern(struct patterns *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->texts[i], p->texts[p->count]) == 0) {
            return;
        }
    }
    p->count++;
}

/* One wildcard, as far as YAML takes it in single quotes. */
static void read_pattern(const char *word, size_t len, struct patterns *p)
{
    char *pattern = p->texts[p->count];
    size_t used = 0;
    size_t stars = 0;
    for (size_t i = 0; i < len && used < PATTERN_MAX; i++) {
        unsigned char c = (unsigned char)word[i];
        if (c > ' ' && c < 0x7F && c != '\'' && (c != '*' || stars++ < PATTERN_STARS)) {
            pattern[used++] = word[i];
        }
    }
    if (stars == 0) {
        used = used == PATTERN_MAX ? used - 1 : used;
        pattern[used++] = '*';
    }
    pattern[used] = '\0';
    keep_pattern(p);
}

static void read_patterns(const char *line, size_t len, struct patterns *p)
{
    const char *end = line + len;
    p->count = 0;
    while (line < end && p->count < PATTERNS_MAX) {
        const char *blank = memchr(line, ' ', (size_t)(end - line));
        blank = blank != NULL ? blank : end;
        read_pattern(line, (size_t)(blank - line), p);
        line = blank + 1;
    }
    for (size_t i = 0; i < FIXED_COUNT; i++) {
        memcpy(p->texts[p->count], fixed[i], strlen(fixed[i]) + 1);
        keep_pattern(p);
    }
}

/* The wildcards' limits are their numbers, from 1 on. */
static size_t write_config(const struct patterns *p, char config[CONFIG_BYTES_MAX])
{
    size_t used = sizeof before - 1;
    memcpy(config, before, used);
    for (size_t i = 0; i < p->count; i++) {
        int len = snprintf(config + used, CONFIG_BYTES_MAX - used,
                           "- {key: w, value: '%s', rate_limit: {unit: day, "
                           "requests_per_unit: %zu}}\n",
                           p->texts[i], i + 1);
        assert(len > 0 && (size_t)len < CONFIG_BYTES_MAX - used);
        used += (size_t)len;
    }
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
    bool is_met = qd_rls_match(match->domain, entries, count, 1, NULL, &again);
    assert(is_met && again.rule == match->rule);
    assert(qd_hash128_equal(again.counter, match->counter));
    size_t len = qd_rls_match_name(match, entries, name, sizeof name);
    assert(len < sizeof name && strncmp(name, "d.", 2) == 0);
    size_t same = qd_rls_match_name(match, entries, small, sizeof small);
    assert(same == len && strncmp(small, name, strlen(small)) == 0);
}

/* The number of the first one that the naive matcher takes, from 1 on; 0: none. One that is the
 * value word for word comes before. */
static size_t first_of(const struct patterns *p, struct qd_str value)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strlen(p->texts[i]) == value.len && memcmp(p->texts[i], value.ptr, value.len) == 0) {
            return i + 1;
        }
    }
    for (size_t i = 0; i < p->count; i++) {
        if (naive_pattern_matches(p->texts[i], strlen(p->texts[i]), value.ptr, value.len)) {
            return i + 1;
        }
    }
    return 0;
}

/* An entry of the wildcards' key meets the one that the naive matcher says, whether they are tried
 * in one pass or one by one. */
static void check_wildcards(const struct qd_rls_domain *domain, const struct patterns *p,
                            struct qd_rls_scratch *scratch, struct qd_str value)
{
    struct qd_rls_match match;
    struct qd_rls_entry entry = {{"w", 1}, value};
    size_t expected = first_of(p, value);
    for (int i = 0; i < 2; i++) {
        bool is_met = qd_rls_match(domain, &entry, 1, 1, i == 0 ? scratch : NULL, &match);
        assert(is_met == (expected > 0));
        assert(!is_met || match.rule->requests_per_unit == expected);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct patterns patterns;
    char config[CONFIG_BYTES_MAX];
    struct qd_rls_scratch scratch = {0};
    struct qd_rls_entry entries[ENTRIES_MAX];
    struct qd_rls_match match;
    struct qd_problems *problems = size <= FUZZ_BYTES_MAX ? qd_problems_new(5) : NULL;
    if (problems == NULL) {
        return 0;
    }
    const char *bytes = (const char *)data;
    const char *line_end = size > 0 ? memchr(bytes, '\n', size) : NULL;
    size_t first = line_end != NULL ? (size_t)(line_end - bytes) : size;
    read_patterns(bytes, first, &patterns);
    size_t used = write_config(&patterns, config);
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("fuzz.yaml", config, used, problems);
    assert(rules != NULL && qd_rls_rules_failed_count(rules) == 0);
    const struct qd_rls_domain *domain = qd_rls_rules_domain(rules, (struct qd_str){"d", 1});
    size_t count = line_end != NULL ? read_entries(line_end + 1, bytes + size, entries) : (size_t)0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].value.len <= PATTERN_MAX) {
            check_wildcards(domain, &patterns, &scratch, entries[i].value);
        }
    }
    if (qd_rls_match(domain, entries, count, 1, &scratch, &match)) {
        check_match(&match, entries, count);
    }
    qd_rls_scratch_release(&scratch);
    qd_rls_rules_free(rules);
    qd_problems_free(problems);
    return 0;
}
