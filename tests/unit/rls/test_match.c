/* Which rule a descriptor meets, which counter, under which name. */
#include "helper.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT "rate_limit: {unit: minute, requests_per_unit: 5}"

static const char config[] = "domain: rl\n"
                             "descriptors:\n"
                             "- key: user\n"
                             "  " LIMIT "\n"
                             "- key: user\n"
                             "  value: alice\n"
                             "  " LIMIT "\n"
                             "  descriptors:\n"
                             "  - key: path\n"
                             "    value: /v1/*\n"
                             "    " LIMIT "\n"
                             "  - key: path\n"
                             "    value: '*'\n"
                             "    " LIMIT "\n"
                             "- key: user\n"
                             "  value: bot-*\n"
                             "  " LIMIT "\n"
                             "- key: user\n"
                             "  value: bot-*-internal\n"
                             "  " LIMIT "\n"
                             "- key: allowed\n"
                             "- key: tier\n"
                             "  descriptors:\n"
                             "  - key: user\n"
                             "    " LIMIT "\n"
                             "- key: a_b\n"
                             "  " LIMIT "\n";

static struct qd_rls_rules *rules;

static void set_up(void)
{
    rules = load_rules(config);
}

static void tear_down(void)
{
    qd_rls_rules_free(rules);
}

TestSuite(match, .init = set_up, .fini = tear_down);

static void expect_path(const char *words, const char *path)
{
    const char *got = rule_path(rules, "rl", words);
    cr_expect_str_eq(got, path, "%s: %s, not %s", words, got, path);
}

Test(match, I3_point_10_exact_then_wildcards_in_order_then_the_key)
{
    expect_path("user=alice", "rl.user_alice");
    expect_path("user=bob", "rl.user");
    expect_path("user=", "rl.user");
    expect_path("user=bot-1", "rl.user_bot-*");
    expect_path("user=bot-1-internal", "rl.user_bot-*");          /* the first in the file */
    expect_path("user=bot-*-internal", "rl.user_bot-*-internal"); /* word for word */
    expect_path("user=alice path=/v1/chat", "rl.user_alice.path_/v1/*");
    expect_path("user=alice path=/v2/chat", "rl.user_alice.path_*");
    expect_path("user=alice path=", "rl.user_alice.path_*");
}

Test(match, I3_point_10_letters_have_their_case)
{
    expect_path("user=Alice", "rl.user");
    expect_path("user=BOT-1", "rl.user");
    expect_path("User=alice", "-");
}

Test(match, I3_point_10_a_limit_needs_as_many_entries_as_levels)
{
    expect_path("tier=gold", "-");
    expect_path("tier=gold user=alice", "rl.tier.user");
    expect_path("tier=gold user=alice path=/v1/x", "-");
    expect_path("user=bob path=/v1/x", "-");
    expect_path("", "-");
}

/* The exact "alice" leads to paths only: what stands beside it is not tried again. */
Test(match, I3_point_10_no_way_back_to_what_stands_beside)
{
    struct qd_rls_rules *other = load_rules("domain: d\n"
                                            "descriptors:\n"
                                            "- {key: k, value: v}\n"
                                            "- {key: k, value: 'v*', " LIMIT "}\n"
                                            "- {key: k, " LIMIT "}\n");
    cr_expect_str_eq(rule_path(other, "d", "k=v"), "-");
    cr_expect_str_eq(rule_path(other, "d", "k=v2"), "d.k_v*");
    qd_rls_rules_free(other);
}

Test(match, I3_point_2_no_rule_for_what_nobody_limits)
{
    expect_path("allowed=x", "-");
    expect_path("nobody=x", "-");
    expect_path("=x", "-");
    expect_path("=", "-");
    cr_expect_null(qd_rls_rules_domain(rules, text("other")));
}

/* As in the reference server: one text is what a descriptor is known by. */
Test(match, I3_point_10_key_and_value_are_one_text)
{
    expect_path("a_b=c", "rl.a_b");
    expect_path("a=b", "rl.a_b");
    expect_path("a_b=", "rl.a_b");
    expect_path("user_alice=x", "rl.user_alice");
}

Test(match, X2_long_and_odd_entries_match_nothing)
{
    static char big[300000];
    memset(big, 'a', sizeof big);
    static const char odd[] = "b\0c";
    struct qd_rls_match m;
    const struct qd_rls_domain *domain = qd_rls_rules_domain(rules, text("rl"));
    struct qd_rls_entry entries[] = {{{big, sizeof big}, {big, sizeof big}}};
    cr_expect_not(qd_rls_match(domain, entries, 1, 0, NULL, &m));
    entries[0].key = text("user");
    cr_assert(qd_rls_match(domain, entries, 1, 0, NULL, &m));
    cr_expect_str_eq(m.rule->path, "rl.user");
    entries[0] = (struct qd_rls_entry){text("a"), {odd, 3}};
    cr_expect_not(qd_rls_match(domain, entries, 1, 0, NULL, &m));
    entries[0] = (struct qd_rls_entry){{NULL, 0}, {NULL, 0}};
    cr_expect_not(qd_rls_match(domain, entries, 1, 0, NULL, &m));
    entries[0] = (struct qd_rls_entry){text("user"), {NULL, 0}};
    cr_expect(qd_rls_match(domain, entries, 1, 0, NULL, &m));
    cr_expect_not(qd_rls_match(domain, NULL, 0, 0, NULL, &m));
}

/* --- counters -----------------------------------------------------------------------------------
 */

Test(match, I3_point_10_every_tuple_of_values_has_its_own_counter)
{
    cr_expect(same_counter(rules, "rl", "user=bob", "user=bob"));
    cr_expect_not(same_counter(rules, "rl", "user=bob", "user=carol"));
    cr_expect_not(same_counter(rules, "rl", "user=bob", "user="));
    cr_expect_not(same_counter(rules, "rl", "user=bot-1", "user=bot-2"));
    cr_expect_not(same_counter(rules, "rl", "tier=a user=bc", "tier=ab user=c"));
    cr_expect_not(same_counter(rules, "rl", "user=alice", "user=alice path=x"));
}

Test(match, I3_point_10_domains_and_seeds_have_counters_of_their_own)
{
    struct qd_rls_rules *other = load_rules("domain: other\ndescriptors: [{key: user, " LIMIT "}]");
    struct qd_rls_match a;
    struct qd_rls_match b;
    cr_assert(match_words(rules, "rl", "user=bob", &a));
    cr_assert(match_words(other, "other", "user=bob", &b));
    cr_expect_not(qd_hash128_equal(a.counter, b.counter));
    struct qd_rls_entry entries[ENTRIES_MAX];
    size_t count = parse_entries("user=bob", entries);
    cr_assert(qd_rls_match(a.domain, entries, count, 12345, NULL, &b));
    cr_expect_not(qd_hash128_equal(a.counter, b.counter));
    qd_rls_rules_free(other);
}

/* A set that is loaded again goes on with the same counters, whatever else has changed. */
Test(match, I3_point_10_a_reload_keeps_the_counters)
{
    struct qd_rls_rules *again =
        load_rules("domain: rl\ndescriptors:\n- {key: user, rate_limit: {unit: minute, "
                   "requests_per_unit: 9}}\n");
    struct qd_rls_match a;
    struct qd_rls_match b;
    cr_assert(match_words(rules, "rl", "user=bob", &a));
    cr_assert(match_words(again, "rl", "user=bob", &b));
    cr_expect(qd_hash128_equal(a.counter, b.counter));
    qd_rls_rules_free(again);
}

static const char sharing[] = "domain: s\n"
                              "descriptors:\n"
                              "- key: files\n"
                              "  value: /files/*\n"
                              "  share_threshold: true\n"
                              "  " LIMIT "\n"
                              "- key: org\n"
                              "  value: 'o*'\n"
                              "  share_threshold: true\n"
                              "  descriptors:\n"
                              "  - key: user\n"
                              "    " LIMIT "\n"
                              "  - key: file\n"
                              "    value: '*.pdf'\n"
                              "    share_threshold: true\n"
                              "    " LIMIT "\n";

Test(match, I3_point_10_share_threshold_has_one_counter_for_the_wildcard)
{
    struct qd_rls_rules *s = load_rules(sharing);
    cr_expect(same_counter(s, "s", "files=/files/a", "files=/files/b/c"));
    /* Above the rule, the other entries count as they are. */
    cr_expect(same_counter(s, "s", "org=o1 user=ann", "org=o2 user=ann"));
    cr_expect_not(same_counter(s, "s", "org=o1 user=ann", "org=o1 user=bob"));
    cr_expect(same_counter(s, "s", "org=o1 file=a.pdf", "org=o2 file=b.pdf"));
    /* The pattern word for word is the same tuple, as in the reference server. */
    cr_expect(same_counter(s, "s", "files=/files/*", "files=/files/a"));
    qd_rls_rules_free(s);
}

Test(match, I3_point_9_an_override_counts_by_the_descriptor_itself)
{
    struct qd_rls_match m;
    struct qd_rls_entry entries[ENTRIES_MAX];
    size_t count = parse_entries("user=bob", entries);
    cr_assert(match_words(rules, "rl", "user=bob", &m));
    struct qd_hash128 counter = qd_rls_override_counter(m.domain, entries, count, 7);
    cr_expect(qd_hash128_equal(counter, m.counter));
    count = parse_entries("unknown=x path=", entries);
    counter = qd_rls_override_counter(m.domain, entries, count, 7);
    cr_expect_not(qd_hash128_equal(counter, m.counter));
    char name[64];
    size_t len = qd_rls_override_name(m.domain, entries, count, name, sizeof name);
    cr_expect_str_eq(name, "rl.unknown_x.path");
    cr_expect_eq(len, strlen(name));
}

Test(match, I3_point_11_a_rule_replaces_others_by_name)
{
    struct qd_rls_rules *r =
        load_rules("domain: d\n"
                   "descriptors:\n"
                   "- {key: read, rate_limit: {unit: hour, requests_per_unit: 5, name: reads}}\n"
                   "- {key: fast, rate_limit: {unit: hour, requests_per_unit: 9, name: fast,\n"
                   "                           replaces: [{name: writes}, {name: reads}]}}\n"
                   "- {key: plain, rate_limit: {unit: hour, requests_per_unit: 9}}\n");
    const struct qd_rls_domain *d = qd_rls_rules_domain(r, text("d"));
    cr_expect(qd_rls_rule_replaces(d->rules[1], d->rules[0]));
    cr_expect_not(qd_rls_rule_replaces(d->rules[0], d->rules[1]));
    cr_expect_not(qd_rls_rule_replaces(d->rules[1], d->rules[1]));
    cr_expect_not(qd_rls_rule_replaces(d->rules[1], d->rules[2]));
    qd_rls_rules_free(r);
}

/* --- names --------------------------------------------------------------------------------------
 */

static const char names[] = "domain: m\n"
                            "descriptors:\n"
                            "- {key: plain, " LIMIT "}\n"
                            "- {key: exact, value: x, " LIMIT "}\n"
                            "- {key: wild, value: 'w*', " LIMIT "}\n"
                            "- {key: shown, value_to_metric: true, " LIMIT "}\n"
                            "- {key: wildshown, value: 'w*', value_to_metric: true, " LIMIT "}\n"
                            "- {key: shared, value: 'w*', value_to_metric: true,\n"
                            "   share_threshold: true, " LIMIT "}\n"
                            "- key: route\n"
                            "  descriptors:\n"
                            "  - {key: some, " LIMIT "}\n"
                            "  - {key: all, detailed_metric: true, " LIMIT "}\n"
                            "- key: grouped\n"
                            "  value: 'g*'\n"
                            "  share_threshold: true\n"
                            "  descriptors: [{key: all, detailed_metric: true, " LIMIT "}]\n";

Test(match, I3_names_of_metrics_are_those_of_the_reference)
{
    static const struct {
        const char *words;
        const char *name;
    } cases[] = {
        {"plain=v", "m.plain"},
        {"exact=x", "m.exact_x"},
        {"wild=w1", "m.wild_w*"},
        {"shown=v", "m.shown_v"},
        {"shown=", "m.shown"},
        {"wildshown=w1", "m.wildshown_w1"},
        {"shared=w1", "m.shared_w*"},
        {"route=r some=s", "m.route.some"},
        {"route=r all=s", "m.route_r.all_s"},
        {"route= all=", "m.route_.all_"},
        {"grouped=g1 all=s", "m.grouped_g*.all_s"},
        {"grouped=g1 all=", "m.grouped_g*.all"},
    };
    struct qd_rls_rules *m = load_rules(names);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_expect_str_eq(metric_name(m, "m", cases[i].words), cases[i].name);
    }
    qd_rls_rules_free(m);
}

Test(match, X2_names_are_cut_off_at_the_buffer)
{
    struct qd_rls_match m;
    struct qd_rls_entry entries[ENTRIES_MAX];
    (void)parse_entries("user=alice path=/v1/x", entries);
    cr_assert(match_words(rules, "rl", "user=alice path=/v1/x", &m));
    static const char whole[] = "rl.user_alice.path_/v1/*";
    for (size_t size = 0; size < sizeof whole + 3; size++) {
        char buffer[sizeof whole + 4];
        memset(buffer, '#', sizeof buffer);
        cr_expect_eq(qd_rls_match_name(&m, entries, buffer, size), sizeof whole - 1);
        size_t kept = size == 0 ? 0 : size - 1 < sizeof whole - 1 ? size - 1 : sizeof whole - 1;
        cr_expect_eq(memcmp(buffer, whole, kept), 0);
        cr_expect(size == 0 || buffer[kept] == '\0');
        cr_expect_eq(buffer[size], '#');
    }
}

/* --- how fast -----------------------------------------------------------------------------------
 */

/* The mean and the worst number of steps for each of `count` exact rules, and for values that only
 * meet the bare key. */
struct effort {
    double mean;
    uint32_t worst;
};

static struct effort effort_with(size_t count, bool is_exact)
{
    char *yaml = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&yaml, &size);
    cr_assert_not_null(out);
    (void)fputs("domain: d\ndescriptors:\n- {key: k, " LIMIT "}\n- {key: k, value: 'z*', " LIMIT
                "}\n- {key: other, value: 'a*', " LIMIT "}\n",
                out);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(out, "- {key: k, value: v%zu, " LIMIT "}\n", i);
    }
    (void)fclose(out);
    struct qd_rls_rules *r = load_rules(yaml);
    const struct qd_rls_domain *d = qd_rls_rules_domain(r, text("d"));
    struct effort e = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        char value[32];
        struct qd_rls_match m;
        (void)snprintf(value, sizeof value, "%s%zu", is_exact ? "v" : "u", i);
        struct qd_rls_entry entry = {text("k"), text(value)};
        cr_assert(qd_rls_match(d, &entry, 1, 0, NULL, &m));
        cr_assert_eq(m.rule->path[strlen("d.k")] == '_', is_exact);
        sum += m.steps;
        e.worst = m.steps > e.worst ? m.steps : e.worst;
    }
    e.mean = (double)sum / (double)count;
    qd_rls_rules_free(r);
    free(yaml);
    return e;
}

Test(match, I3_point_10_a_hundred_thousand_rules_take_the_steps_of_a_hundred)
{
    static const double mean_max[] = {5.0, 1.5}; /* a bare key: three look-ups, one wildcard */
    for (int is_exact = 0; is_exact <= 1; is_exact++) {
        struct effort few = effort_with(100, is_exact != 0);
        struct effort many = effort_with(100000, is_exact != 0);
        printf("%s: 100 rules %.3f steps (worst %u), 100000 rules %.3f (worst %u)\n",
               is_exact ? "exact" : "bare key", few.mean, few.worst, many.mean, many.worst);
        cr_expect_lt(many.mean, few.mean * 1.1);
        cr_expect_lt(many.mean, mean_max[is_exact]);
        cr_expect_lt(many.worst, 40);
    }
}
