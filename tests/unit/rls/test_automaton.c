/* Many wildcards in one pass, against a naive matcher that tries them in order. */
#include "helper.h"

#include "server/rls/automaton.h"
#include "tests/lib/failalloc.h"
#include "tests/lib/naive_pattern.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WILDCARDS_MAX 60
#define RANDOM_MAX    8
#define PATTERN_MAX   12
#define PIECE_MAX     2
#define PIECES_MAX    5
#define ROUNDS        20000
#define ASKED         20

static jmp_buf oom;
static struct qd_arena arena;
static struct qd_rls_scratch scratch; /* one for all automata of a test */

static void set_up(void)
{
    qd_arena_init(&arena, &oom);
    if (setjmp(oom) != 0) {
        abort();
    }
}

static void tear_down(void)
{
    qd_arena_release(&arena);
    qd_rls_scratch_release(&scratch);
}

TestSuite(automaton, .init = set_up, .fini = tear_down);

static const struct qd_rls_automaton *make(const struct qd_str *texts, size_t count)
{
    const struct qd_rls_pattern **patterns = qd_arena_array(&arena, count + 1, sizeof *patterns);
    for (size_t i = 0; i < count; i++) {
        struct qd_rls_pattern *pattern = qd_arena_alloc(&arena, sizeof *pattern);
        *pattern = qd_rls_pattern_make(&arena, texts[i]);
        patterns[i] = pattern;
    }
    return qd_rls_automaton_make(&arena, &arena, patterns, count);
}

static size_t find(const struct qd_rls_automaton *a, struct qd_str value, uint32_t *steps)
{
    cr_assert(qd_rls_automaton_begin(a, &scratch));
    return qd_rls_automaton_find(a, &scratch, value, steps);
}

static void expect_found(const char *words, const char *value, size_t expected)
{
    struct qd_str texts[WILDCARDS_MAX];
    uint32_t steps = 0;
    size_t count = 0;
    for (const char *at = words; *at != '\0'; at += at[0] == ' ') {
        size_t len = strcspn(at, " ");
        texts[count++] = (struct qd_str){at, len};
        at += len;
    }
    size_t found = find(make(texts, count), text(value), &steps);
    cr_expect_eq(found, expected, "%s in %s: %zu", value, words, found);
}

Test(automaton, I3_point_10_the_first_wildcard_in_order_is_found)
{
    expect_found("a* *b *c*", "ab", 0);
    expect_found("*b a* *c*", "ab", 0);
    expect_found("*c* *b a*", "ab", 1);
    expect_found("*c* *b a*", "bcb", 0); /* found last, stands first */
    expect_found("*c* *d x*", "ab", 3);
    expect_found("x* * a*", "a", 1);
    expect_found("x* ** a*", "", 1);
    expect_found("*", "a", 0);
    expect_found("", "a", 0);
    expect_found("a* *a *a*", "", 3);
}

Test(automaton, I3_point_10_pieces_follow_each_other_and_share_no_byte)
{
    expect_found("a*a", "a", 1);
    expect_found("a*a", "aa", 0);
    expect_found("aa*aa", "aaa", 1);
    expect_found("aa*aa", "aaaa", 0);
    expect_found("*aa*aa*", "aaa", 1);
    expect_found("*aa*aa*", "aaaa", 0);
    expect_found("*ab*ba*", "aba", 1);
    expect_found("*ab*ba* *aba*", "aba", 1);
    expect_found("*/v1/*/x* */v1*/x*", "/x/v1/x", 1); /* the slash is taken */
    expect_found("*b*a*", "ab", 1);
    expect_found("a*bc", "abcbc", 0);
    expect_found("*bc* *c", "abc", 0);
    expect_found("abc* *bc* *c", "abd", 3);
}

static size_t random_text(struct qd_prng *g, char *to, size_t max, const char *letters)
{
    size_t len = qd_prng_below(g, max + 1);
    for (size_t i = 0; i < len; i++) {
        to[i] = letters[qd_prng_below(g, strlen(letters))];
    }
    return len;
}

static size_t oracle(const struct qd_str *texts, size_t count, const char *value, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (naive_pattern_matches(texts[i].ptr, texts[i].len, value, len)) {
            return i;
        }
    }
    return count;
}

/* Up to five pieces of a few, with a star before and behind most of them: many begin with the same
 * ones, and have the same ones in the middle. */
static size_t random_pieces(struct qd_prng *g, char *to, char pieces[][PIECE_MAX + 1], size_t count)
{
    size_t len = 0;
    size_t wanted = 1 + qd_prng_below(g, PIECES_MAX);
    if (qd_prng_chance(g, 3, 4)) {
        to[len++] = '*';
    }
    for (size_t i = 0; i < wanted && len + PIECE_MAX < PATTERN_MAX; i++) {
        const char *piece = pieces[qd_prng_below(g, count)];
        memcpy(to + len, piece, strlen(piece));
        len += strlen(piece);
        if (i + 1 < wanted || qd_prng_chance(g, 1, 2)) {
            to[len++] = '*';
        }
    }
    return len;
}

static size_t wildcards_that_share(struct qd_prng *g, char room[][PATTERN_MAX],
                                   struct qd_str *texts)
{
    char pieces[8][PIECE_MAX + 1] = {0};
    const char *letters = qd_prng_chance(g, 1, 2) ? "ab" : "abc";
    size_t piece_count = 2 + qd_prng_below(g, 7);
    size_t wanted = qd_prng_below(g, WILDCARDS_MAX + 1);
    size_t count = 0;
    for (size_t i = 0; i < piece_count; i++) {
        while (random_text(g, pieces[i], PIECE_MAX, letters) == 0) {
        }
    }
    while (count < wanted) {
        size_t len = random_pieces(g, room[count], pieces, piece_count);
        texts[count] = (struct qd_str){room[count], len};
        if (len >= 4 && qd_rls_is_pattern(texts[count])) {
            count++;
        }
    }
    return count;
}

/* Long wildcards now and then, so that not all values meet the first few. */
static size_t random_wildcards(struct qd_prng *g, char room[][PATTERN_MAX], struct qd_str *texts)
{
    size_t wanted = qd_prng_below(g, WILDCARDS_MAX + 1);
    size_t count = 0;
    const char *letters = qd_prng_chance(g, 1, 2) ? "ab*" : "abcab*";
    size_t min = qd_prng_chance(g, 2, 3) ? 4 : 1;
    while (count < wanted) {
        size_t len = random_text(g, room[count], RANDOM_MAX, letters);
        texts[count] = (struct qd_str){room[count], len};
        if (len >= min && qd_rls_is_pattern(texts[count])) {
            count++;
        }
    }
    return count;
}

typedef size_t make_wildcards(struct qd_prng *g, char room[][PATTERN_MAX], struct qd_str *texts);

static void expect_as_naive(make_wildcards *wildcards, uint64_t seed)
{
    static char room[WILDCARDS_MAX][PATTERN_MAX];
    struct qd_str texts[WILDCARDS_MAX];
    struct qd_prng g;
    size_t found = 0;
    size_t late = 0; /* not by the first eight */
    qd_prng_init(&g, qd_prng_seed("automaton", seed));
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = wildcards(&g, room, texts);
        const struct qd_rls_automaton *a = make(texts, count);
        for (int i = 0; i < ASKED; i++) {
            char value[12];
            uint32_t steps = 0;
            size_t len = random_text(&g, value, sizeof value, "abcab");
            size_t expected = oracle(texts, count, value, len);
            size_t got = find(a, (struct qd_str){value, len}, &steps);
            cr_assert_eq(got, expected, "%.*s: %zu, not %zu of %zu, in round %d", (int)len, value,
                         got, expected, count, round);
            found += got < count;
            late += got < count && got >= 8;
        }
        qd_arena_release(&arena);
        qd_arena_init(&arena, &oom);
    }
    printf("%d values: %zu met a wildcard, %zu of them a late one\n", ROUNDS * ASKED, found, late);
    cr_expect_gt(found, ROUNDS * ASKED / 4);
    cr_expect_gt(late, ROUNDS * ASKED / 40);
}

Test(automaton, I3_point_10_finds_what_a_naive_matcher_finds_first)
{
    expect_as_naive(random_wildcards, 1);
}

Test(automaton, I3_point_10_wildcards_that_share_pieces_are_found_as_a_naive_matcher_says)
{
    expect_as_naive(wildcards_that_share, 2);
}

/* --- what it costs ------------------------------------------------------------------------------
 */

static char hostile[60000];

/* The words again and again. */
static struct qd_str repeat(const char *words)
{
    size_t len = strlen(words);
    for (size_t i = 0; i < sizeof hostile; i++) {
        hostile[i] = words[i % len];
    }
    return (struct qd_str){hostile, sizeof hostile};
}

/* All that the wildcards look for, in the wrong order. */
static struct qd_str all_reversed(size_t count)
{
    size_t used = 2;
    struct qd_str value = repeat("/x");
    for (size_t i = count; i-- > 0 && used + 16 < sizeof hostile;) {
        used += (size_t)snprintf(hostile + used, 16, "/v%zu/", i);
    }
    memset(hostile + used, '/', sizeof hostile - used);
    return value;
}

static const struct qd_rls_automaton *make_many(size_t count)
{
    struct qd_str *texts = qd_arena_array(&arena, count, sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        const char *one = qd_arena_printf(&arena, "*/v%zu/*/x*", i);
        texts[i] = text(one);
    }
    return make(texts, count);
}

/* Nothing matches. */
static void expect_cheap(const struct qd_rls_automaton *a, size_t count, struct qd_str value)
{
    uint32_t steps = 0;
    cr_expect_eq(find(a, value, &steps), count, "%.20s", value.ptr);
    printf("%zu wildcards, \"%.10s...\": %.2f steps a byte\n", count, value.ptr,
           (double)steps / (double)value.len);
    /* A byte, up to two looks where free slots are near, a piece; each wildcard once. */
    cr_expect_leq(steps, 6 * value.len + 2 * count, "%.20s: %u", value.ptr, steps);
}

Test(automaton, X2_a_hostile_value_takes_steps_by_its_bytes_whatever_the_number_of_wildcards)
{
    static const size_t counts[] = {10, 1000, 20000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const struct qd_rls_automaton *a = make_many(counts[i]);
        expect_cheap(a, counts[i], repeat("/v99"));
        expect_cheap(a, counts[i], repeat("/v9"));
        expect_cheap(a, counts[i], repeat("/v9/"));
        expect_cheap(a, counts[i], repeat("a"));
        expect_cheap(a, counts[i], repeat("/"));
        expect_cheap(a, counts[i], all_reversed(counts[i]));
    }
}

/* 20,000 wildcards, 200 of each 100 that have a number in place of the `#`; `@` has their own. */
static void expect_few_steps(const char *pattern, const char *value)
{
    struct qd_str texts[20000];
    uint32_t steps = 0;
    size_t hash = strcspn(pattern, "#");
    size_t at = strcspn(pattern, "@");
    for (size_t i = 0; i < 20000; i++) {
        texts[i] = text(qd_arena_printf(&arena, "%.*s%zu%.*s%03zu%s", (int)hash, pattern, i / 200,
                                        (int)(at - hash - 1), pattern + hash + 1, i % 200,
                                        pattern + at + 1));
    }
    cr_expect_eq(find(make(texts, 20000), text(value), &steps), 5077, "%s", value);
    printf("%s, %s: %u steps\n", pattern, value, steps);
    cr_expect_leq(steps, 6 * strlen(value), "%s: %u steps", value, steps);
}

Test(automaton, X2_wildcards_that_share_pieces_cost_what_can_match)
{
    expect_few_steps("/api/*/users/#/@*", "/api/v1/users/25/077/x");
    expect_few_steps("/api/v#/*/users/@/", "/api/v25/x/users/077/");
    expect_few_steps("*/api/*/v#/*/users/@/*", "/x/api/x/v25/x/users/077/x");
    expect_few_steps("/#/*/a/*/b/*/c*/x/*/@/*d", "/25//a//b//c//x//077/d");
}

/* Every piece of the second half is one that might go on behind each of the first half. */
Test(automaton, X2_a_value_that_meets_all_pieces_behind_all_others_takes_steps_by_its_bytes)
{
    size_t count = 3000;
    size_t used = 0;
    struct qd_str *texts = qd_arena_array(&arena, count, sizeof *texts);
    struct qd_str value = repeat("-");
    uint32_t steps = 0;
    for (size_t i = 0; i < count; i++) {
        texts[i] = text(qd_arena_printf(&arena, "*/a%zu/*/b%zu/*x*", i, i));
        used += (size_t)snprintf(hostile + used, 16, "/a%zu/", i);
    }
    for (size_t i = count; i-- > 0;) {
        used += (size_t)snprintf(hostile + used, 16, "/b%zu/", i);
    }
    hostile[used] = '-';
    cr_expect_eq(find(make(texts, count), value, &steps), count);
    printf("%zu times %zu: %u steps\n", count, count, steps);
    cr_expect_gt(steps, 2 * value.len, "only %u: this is not the case", steps);
    cr_expect_leq(steps, (6 + 8) * value.len + 4 * count, "%u", steps);
    hostile[sizeof hostile - 1] = 'x'; /* the first that may take the last piece is found in time */
    cr_expect_eq(find(make(texts, count), value, &steps), 0);
}

Test(automaton, X2_a_value_is_left_once_no_wildcard_can_match_it)
{
    static const char *const words[] = {"/v1/*", "/v2/*.pdf", "/v1/x/*y*", "/v2*"};
    struct qd_str texts[] = {text(words[0]), text(words[1]), text(words[2]), text(words[3])};
    const struct qd_rls_automaton *a = make(texts, 4);
    uint32_t steps = 0;
    cr_expect_eq(find(a, repeat("/v3/"), &steps), 4);
    cr_expect_eq(find(a, repeat("/v1/"), &steps), 0);
    cr_expect_lt(steps, 50);
}

/* A file may have pieces that all end at one place; each still costs its wildcards only once. */
Test(automaton, X2_pieces_that_end_with_each_other)
{
    struct qd_str texts[30];
    uint32_t steps = 0;
    for (int i = 0; i < 30; i++) {
        texts[i] =
            text(qd_arena_printf(&arena, "*%.*s*b", i + 1, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    }
    cr_expect_eq(find(make(texts, 30), repeat("a"), &steps), 30);
    cr_expect_leq(steps, (6 + 30) * sizeof hostile);
}

/* --- without memory -----------------------------------------------------------------------------
 */

static int match_late(void *context)
{
    const struct qd_rls_domain *domain = context;
    struct qd_rls_scratch mine = {0};
    struct qd_rls_match m;
    struct qd_rls_entry entry = {text("k"), text("zzbzz")};
    bool is_met = qd_rls_match(domain, &entry, 1, 0, &mine, &m);
    cr_assert(is_met);
    cr_assert_str_eq(m.rule->path, "d.k_*b*z*");
    qd_rls_scratch_release(&mine);
    return 0;
}

Test(automaton, X2_without_memory_wildcards_are_tried_one_by_one)
{
    char yaml[2000] = "domain: d\ndescriptors:\n";
    for (int i = 0; i < 20; i++) {
        size_t len = strlen(yaml);
        (void)snprintf(yaml + len, sizeof yaml - len, "- {key: k, value: 'a%d*'}\n", i);
    }
    (void)strcat(yaml, "- {key: k, value: '*b*z*', rate_limit: {unlimited: true}}\n"
                       "- {key: k, value: '*', rate_limit: {unlimited: true}}\n");
    struct qd_rls_rules *rules = load_rules(yaml);
    const struct qd_rls_domain *domain = qd_rls_rules_domain(rules, text("d"));
    union {
        const struct qd_rls_domain *domain;
        void *context;
    } body = {domain};
    cr_expect_eq(qd_failalloc_each(match_late, body.context, true), 3);
    qd_rls_rules_free(rules);
}
