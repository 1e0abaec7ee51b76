/* Wildcards against a naive matcher. */
#include "helper.h"

#include "server/rls/pattern.h"
#include "tests/lib/naive_pattern.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Compiled pieces against one value. */
static bool matches(struct qd_str pattern, struct qd_str value)
{
    jmp_buf oom;
    struct qd_arena arena;
    if (setjmp(oom) != 0) {
        abort();
    }
    qd_arena_init(&arena, &oom);
    struct qd_rls_pattern compiled = qd_rls_pattern_make(&arena, pattern);
    bool is_match = qd_rls_pattern_matches(&compiled, value);
    qd_arena_release(&arena);
    return is_match;
}

Test(pattern, I3_point_10_a_star_stands_for_anything_anywhere)
{
    static const struct {
        const char *pattern;
        const char *value;
        bool is_match;
    } cases[] = {
        {"*", "", true},
        {"*", "anything", true},
        {"foo*", "foo", true},
        {"foo*", "foobar", true},
        {"foo*", "fo", false},
        {"foo*", "xfoo", false},
        {"*foo", "xfoo", true},
        {"*foo", "foox", false},
        {"a*c", "ac", true},
        {"a*c", "abc", true},
        {"a*c", "abcd", false},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxcyyb", false},
        {"*b*", "abc", true},
        {"*b*", "ac", false},
        {"aa*aa", "aaa", false},
        {"aa*aa", "aaaa", true},
        {"**", "x", true},
        {"foo*", "FOObar", false},
        {"a*a*a", "aa", false},
        {"*ab*ab*", "abab", true},
        {"*ab*ab*", "ab", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_expect_eq(matches(text(cases[i].pattern), text(cases[i].value)), cases[i].is_match,
                     "%s %s", cases[i].pattern, cases[i].value);
    }
}

Test(pattern, I3_point_10_wildcards_match_as_a_naive_matcher_says)
{
    struct qd_prng g;
    qd_prng_init(&g, qd_prng_seed("pattern", 1));
    size_t matched = 0;
    for (int round = 0; round < 200000; round++) {
        char pattern[8];
        char value[10];
        size_t m = 1 + qd_prng_below(&g, sizeof pattern);
        size_t n = qd_prng_below(&g, sizeof value + 1);
        for (size_t i = 0; i < m; i++) {
            pattern[i] = "ab*"[qd_prng_below(&g, 3)];
        }
        for (size_t i = 0; i < n; i++) {
            value[i] = "ab"[qd_prng_below(&g, 2)];
        }
        if (!qd_rls_is_pattern((struct qd_str){pattern, m})) {
            continue;
        }
        bool expected = naive_pattern_matches(pattern, m, value, n);
        matched += expected;
        cr_assert_eq(matches((struct qd_str){pattern, m}, (struct qd_str){value, n}), expected,
                     "%.*s %.*s", (int)m, pattern, (int)n, value);
    }
    cr_expect_gt(matched, 10000);
}

/* What a naive matcher takes years for. What values cost is in test_automaton.c. */
Test(pattern, X2_a_piece_that_was_found_is_not_looked_for_again)
{
    char pattern[200];
    size_t size = (size_t)1 << 20;
    char *value = malloc(size);
    cr_assert_not_null(value);
    memset(value, 'a', size);
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = i % 2 == 0 ? 'a' : '*';
    }
    pattern[sizeof pattern - 2] = 'b';
    cr_expect_not(matches((struct qd_str){pattern, sizeof pattern}, (struct qd_str){value, size}));
    value[size / 2] = 'b';
    cr_expect(matches((struct qd_str){pattern, sizeof pattern}, (struct qd_str){value, size}));
    free(value);
}
