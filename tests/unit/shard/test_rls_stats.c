/* I3, I6: what Envoy's rate limits did, by rule. */
#include "server/shard/rls_stats.h"

#include "tests/lib/failalloc.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct qd_rls_stats *stats;
static struct qd_rls_table *table; /* what is counted by */

static void open_stats(size_t max)
{
    stats = qd_rls_stats_new(max, 80);
    cr_assert_not_null(stats);
    table = qd_rls_stats_hold(stats);
}

static void close_stats(void)
{
    qd_rls_table_release(table);
    qd_rls_stats_free(stats);
}

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

static void see(const char *rule, int64_t before, int64_t hits, int64_t amount, bool shadow)
{
    qd_rls_stats_add(table, &(struct qd_rls_seen){.domain = str("d"),
                                                  .rule = str(rule),
                                                  .before = before,
                                                  .hits = hits,
                                                  .amount = amount,
                                                  .shadow = shadow});
}

/* "total within near over shadow" of a rule; "-": it has no series. */
static const char *hits_of(const char *rule)
{
    static char text[128];

    for (size_t i = 0; i < qd_rls_table_count(table); i++) {
        struct qd_rls_series s;
        qd_rls_table_get(table, i, &s);
        if (strcmp(s.rule, rule) == 0) {
            (void)snprintf(text, sizeof(text), "%llu %llu %llu %llu %llu",
                           (unsigned long long)s.hits[QD_RLS_TOTAL_HITS],
                           (unsigned long long)s.hits[QD_RLS_WITHIN_LIMIT],
                           (unsigned long long)s.hits[QD_RLS_NEAR_LIMIT],
                           (unsigned long long)s.hits[QD_RLS_OVER_LIMIT_HITS],
                           (unsigned long long)s.hits[QD_RLS_SHADOW_MODE]);
            return text;
        }
    }
    return "-";
}

/* What the reference server would count for one request: see its GetResponseDescriptorStatus. */
Test(rls_stats, I3_each_outcome_has_its_part_of_the_hits)
{
    static const struct {
        int64_t before, hits, amount;
        bool shadow;
        const char *counts;
    } cases[] = {
        {0, 1, 10, false, "1 1 0 0 0"},
        {0, 8, 10, false, "8 8 0 0 0"}, /* 80% is not near yet */
        {0, 9, 10, false, "9 9 1 0 0"}, /* the part above 80% */
        {8, 2, 10, false, "2 2 2 0 0"}, /* all of it */
        {9, 1, 10, false, "1 1 1 0 0"},
        {0, 12, 10, false, "12 0 2 2 0"}, /* some over, some near */
        {9, 3, 10, false, "3 0 1 2 0"},
        {10, 3, 10, false, "3 0 0 3 0"},
        {50, 3, 10, false, "3 0 0 3 0"},
        {9, 3, 10, true, "3 0 1 2 2"},
        {9, 1, 10, true, "1 1 1 0 0"},
        {0, 1, 0, false, "1 0 0 1 0"}, /* a ban */
        {3, 0, 10, false, "0 0 0 0 0"},
        {-5, 3, 10, false, "3 3 0 0 0"},
        {0, 7, INT64_MAX, false, "7 7 0 0 0"}, /* unlimited */
        {0, 4, 5, false, "4 4 0 0 0"},
        {0, 5, 5, false, "5 5 1 0 0"},
        {0, 1, 1, false, "1 1 1 0 0"}, /* 80% of 1 is 0 */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_stats(1);
        see("r", cases[i].before, cases[i].hits, cases[i].amount, cases[i].shadow);
        cr_expect_str_eq(hits_of("r"), cases[i].counts, "case %zu: %s", i, hits_of("r"));
        close_stats();
    }
}

Test(rls_stats, I3_where_near_the_limit_begins_is_configured)
{
    static const struct {
        uint32_t percent;
        int64_t hits, amount;
        const char *counts;
    } cases[] = {
        {0, 3, 10, "3 3 3 0 0"},
        {50, 5, 10, "5 5 0 0 0"},
        {50, 6, 10, "6 6 1 0 0"},
        {95, 10, 10, "10 10 1 0 0"}, /* 9 of 10: rounded down */
        {100, 10, 10, "10 10 0 0 0"},
        {99, INT64_MAX - 1, INT64_MAX - 1, /* 1% of it */
         "9223372036854775806 9223372036854775806 92233720368547759 0 0"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stats = qd_rls_stats_new(1, cases[i].percent);
        cr_assert_not_null(stats);
        table = qd_rls_stats_hold(stats);
        see("r", 0, cases[i].hits, cases[i].amount, false);
        cr_expect_str_eq(hits_of("r"), cases[i].counts, "case %zu: %s", i, hits_of("r"));
        close_stats();
    }
}

Test(rls_stats, X2_the_first_rules_have_series_and_the_others_share_one)
{
    char name[16];

    open_stats(100);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 150; i++) {
            (void)snprintf(name, sizeof(name), "r%u", i);
            see(name, 0, 1, 10, false);
        }
    }
    cr_expect_eq(qd_rls_table_count(table), 101);
    cr_expect_str_eq(hits_of("r0"), "2 2 0 0 0");
    cr_expect_str_eq(hits_of("r99"), "2 2 0 0 0");
    cr_expect_str_eq(hits_of("r100"), "-");
    cr_expect_str_eq(hits_of("other"), "100 100 0 0 0");
    close_stats();
    open_stats(0);
    see("r", 0, 1, 10, false);
    cr_expect_str_eq(hits_of("other"), "1 1 0 0 0");
    close_stats();
}

/* What is loaded next: these rules are in its files. What is counted goes on by it. */
static void load(const char *const *rules, size_t count)
{
    struct qd_rls_table *next = qd_rls_table_new(stats);

    cr_assert_not_null(next);
    for (size_t i = 0; i < count; i++) {
        (void)qd_rls_table_name(next, str("d"), str(rules[i]));
    }
    qd_rls_stats_show(stats, next);
    qd_rls_table_release(table);
    table = next;
}

static void flood(unsigned values)
{
    char name[32];

    for (unsigned i = 0; i < values; i++) {
        (void)snprintf(name, sizeof(name), "user_%u", i);
        see(name, 0, 1, 10, false);
    }
}

Test(rls_stats, X2_no_flood_of_values_takes_the_series_of_a_rule)
{
    static const char *const first[] = {"a", "b"};
    static const char *const second[] = {"b", "c", "d", "e"};
    static const char *const third[] = {"e"};

    open_stats(4);
    load(first, 2);
    see("b", 0, 3, 10, false);
    flood(1000);
    cr_expect_eq(qd_rls_table_count(table), 5);
    cr_expect_str_eq(hits_of("a"), "0 0 0 0 0"); /* nobody has asked it: it is there */
    cr_expect_str_eq(hits_of("user_1"), "1 1 0 0 0");
    cr_expect_str_eq(hits_of("other"), "998 998 0 0 0");
    load(second, 4);
    flood(1000);
    see("b", 3, 2, 10, false);
    see("e", 0, 1, 10, false);
    cr_expect_eq(qd_rls_table_count(table), 5);
    cr_expect_str_eq(hits_of("b"), "5 5 0 0 0"); /* goes on */
    cr_expect_str_eq(hits_of("e"), "1 1 0 0 0");
    cr_expect_str_eq(hits_of("a"), "-");
    cr_expect_str_eq(hits_of("user_1"), "-");
    load(third, 1);
    flood(2);
    cr_expect_eq(qd_rls_table_count(table), 4); /* what is dropped has no place */
    cr_expect_str_eq(hits_of("e"), "1 1 0 0 0");
    cr_expect_str_eq(hits_of("user_1"), "1 1 0 0 0");
    close_stats();
}

Test(rls_stats, X2_more_rules_than_series)
{
    static const char *const rules[] = {"a", "b", "c"};

    open_stats(2);
    load(rules, 3);
    see("a", 0, 1, 10, false);
    see("c", 0, 1, 10, false);
    cr_expect_str_eq(hits_of("a"), "1 1 0 0 0");
    cr_expect_str_eq(hits_of("c"), "-");
    cr_expect_str_eq(hits_of("other"), "1 1 0 0 0");
    close_stats();
}

/* Who began before a reload goes on by the table before, and its hits are those of the rule. */
Test(rls_stats, I3_a_reload_loses_no_hit_of_a_rule)
{
    static const char *const rules[] = {"a"};
    struct qd_rls_table *before;

    open_stats(2);
    load(rules, 1);
    before = qd_rls_stats_hold(stats);
    load(rules, 1);
    qd_rls_stats_add(before, &(struct qd_rls_seen){
                                 .domain = str("d"), .rule = str("a"), .hits = 1, .amount = 9});
    qd_rls_stats_add(before, &(struct qd_rls_seen){
                                 .domain = str("d"), .rule = str("late"), .hits = 1, .amount = 9});
    qd_rls_table_release(before);
    see("a", 1, 1, 9, false);
    cr_expect_str_eq(hits_of("a"), "2 2 0 0 0");
    cr_expect_str_eq(hits_of("late"), "-");
    close_stats();
}

Test(rls_stats, X2_names_are_cut_to_whole_characters)
{
    static char rule[400];
    static char domain[400];
    struct qd_rls_series s;

    memset(rule, 'r', sizeof(rule) - 1);
    memcpy(rule + QD_RLS_STATS_RULE_MAX - 2, "\xc3\xbc", 2);
    memset(domain, 'd', sizeof(domain) - 1);
    open_stats(10);
    qd_rls_stats_add(table, &(struct qd_rls_seen){
                                .domain = str(domain), .rule = str(rule), .hits = 1, .amount = 9});
    cr_assert_eq(qd_rls_table_count(table), 2);
    qd_rls_table_get(table, 1, &s);
    cr_expect_eq(strlen(s.rule), QD_RLS_STATS_RULE_MAX - 2);
    cr_expect_eq(strlen(s.domain), QD_RLS_STATS_DOMAIN_MAX - 1);
    /* A NUL would cut it where nobody sees. */
    qd_rls_stats_add(table, &(struct qd_rls_seen){
                                .domain = str("d"), .rule = {"a\0b", 3}, .hits = 5, .amount = 9});
    cr_expect_eq(qd_rls_table_count(table), 2);
    cr_expect_str_eq(hits_of("other"), "5 5 0 0 0");
    /* X2: Prometheus would take nothing of the page. */
    see("path_\xff", 0, 3, 9, false);
    cr_expect_eq(qd_rls_table_count(table), 2);
    cr_expect_str_eq(hits_of("other"), "8 8 0 0 0");
    close_stats();
}

/* A rule whose series finds no memory is `other`. */
static int load_and_count(void *context)
{
    struct qd_rls_stats *s = qd_rls_stats_new(4, 80);
    struct qd_rls_table *next = s != NULL ? qd_rls_table_new(s) : NULL;
    int code = next != NULL ? 0 : 1;

    (void)context;
    if (next != NULL) {
        struct qd_rls_seen seen = {.domain = str("d"), .rule = str("b"), .hits = 1, .amount = 9};
        (void)qd_rls_table_name(next, str("d"), str("a"));
        qd_rls_stats_show(s, next);
        qd_rls_stats_add(next, &seen);
        seen.rule = str("a");
        qd_rls_stats_add(next, &seen);
        qd_rls_table_release(next);
    }
    qd_rls_stats_free(s);
    return code;
}

Test(rls_stats, X2_without_memory_a_rule_is_among_the_others)
{
    cr_expect_gt(qd_failalloc_each(load_and_count, NULL, true), 5);
}

static void *see_many(void *argument)
{
    char name[16];

    (void)argument;
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "r%u", i % 50);
        see(name, 0, 1, 10, false);
    }
    return NULL;
}

Test(rls_stats, I3_threads_add_up)
{
    pthread_t threads[4];

    open_stats(30);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, see_many, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < qd_rls_table_count(table); i++) {
        struct qd_rls_series s;
        qd_rls_table_get(table, i, &s);
        total += s.hits[QD_RLS_TOTAL_HITS];
        cr_expect(i == 0 || s.hits[QD_RLS_TOTAL_HITS] == 1600, "%s", s.rule);
    }
    cr_expect_eq(qd_rls_table_count(table), 31);
    cr_expect_eq(total, 80000);
    close_stats();
}
