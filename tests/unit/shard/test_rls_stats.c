/* I3, I6: what Envoy's rate limits did, by rule. */
#include "server/shard/rls_stats.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct qd_rls_stats *stats;

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

static void see(const char *rule, int64_t before, int64_t hits, int64_t amount, bool shadow)
{
    qd_rls_stats_add(stats, &(struct qd_rls_seen){.domain = str("d"),
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

    for (size_t i = 0; i < qd_rls_stats_count(stats); i++) {
        struct qd_rls_series s;
        qd_rls_stats_get(stats, i, &s);
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
        stats = qd_rls_stats_new(1);
        see("r", cases[i].before, cases[i].hits, cases[i].amount, cases[i].shadow);
        cr_expect_str_eq(hits_of("r"), cases[i].counts, "case %zu: %s", i, hits_of("r"));
        qd_rls_stats_free(stats);
    }
}

Test(rls_stats, X2_the_first_rules_have_series_and_the_others_share_one)
{
    char name[16];

    stats = qd_rls_stats_new(100);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 150; i++) {
            (void)snprintf(name, sizeof(name), "r%u", i);
            see(name, 0, 1, 10, false);
        }
    }
    cr_expect_eq(qd_rls_stats_count(stats), 101);
    cr_expect_str_eq(hits_of("r0"), "2 2 0 0 0");
    cr_expect_str_eq(hits_of("r99"), "2 2 0 0 0");
    cr_expect_str_eq(hits_of("r100"), "-");
    cr_expect_str_eq(hits_of("other"), "100 100 0 0 0");
    qd_rls_stats_free(stats);
    stats = qd_rls_stats_new(0);
    see("r", 0, 1, 10, false);
    cr_expect_str_eq(hits_of("other"), "1 1 0 0 0");
    qd_rls_stats_free(stats);
}

Test(rls_stats, X2_names_are_cut_to_whole_characters)
{
    static char rule[400];
    static char domain[400];
    struct qd_rls_series s;

    memset(rule, 'r', sizeof(rule) - 1);
    memcpy(rule + QD_RLS_STATS_RULE_MAX - 2, "\xc3\xbc", 2);
    memset(domain, 'd', sizeof(domain) - 1);
    stats = qd_rls_stats_new(10);
    qd_rls_stats_add(stats, &(struct qd_rls_seen){
                                .domain = str(domain), .rule = str(rule), .hits = 1, .amount = 9});
    cr_assert_eq(qd_rls_stats_count(stats), 2);
    qd_rls_stats_get(stats, 1, &s);
    cr_expect_eq(strlen(s.rule), QD_RLS_STATS_RULE_MAX - 2);
    cr_expect_eq(strlen(s.domain), QD_RLS_STATS_DOMAIN_MAX - 1);
    /* A NUL would cut it where nobody sees. */
    qd_rls_stats_add(stats, &(struct qd_rls_seen){
                                .domain = str("d"), .rule = {"a\0b", 3}, .hits = 5, .amount = 9});
    cr_expect_eq(qd_rls_stats_count(stats), 2);
    cr_expect_str_eq(hits_of("other"), "5 5 0 0 0");
    /* X2: Prometheus would take nothing of the page. */
    see("path_\xff", 0, 3, 9, false);
    cr_expect_eq(qd_rls_stats_count(stats), 2);
    cr_expect_str_eq(hits_of("other"), "8 8 0 0 0");
    qd_rls_stats_free(stats);
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

    stats = qd_rls_stats_new(30);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, see_many, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < qd_rls_stats_count(stats); i++) {
        struct qd_rls_series s;
        qd_rls_stats_get(stats, i, &s);
        total += s.hits[QD_RLS_TOTAL_HITS];
        cr_expect(i == 0 || s.hits[QD_RLS_TOTAL_HITS] == 1600, "%s", s.rule);
    }
    cr_expect_eq(qd_rls_stats_count(stats), 31);
    cr_expect_eq(total, 80000);
    qd_rls_stats_free(stats);
}
