/* Look-up and matching of a compiled policy (P2, P3), and the identity of counters (P6). */
#include "server/core/hash.h"
#include "server/core/policy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct qd_str str(const char *s)
{
    return (struct qd_str){s, s == NULL ? 0 : strlen(s)};
}

Test(policy, P2_paths_are_one_to_eight_segments)
{
    static const char *const good[] = {"acme",    "acme/search", "a/b/c/d/e/f/g/h",
                                       "A-z_0.9", ".",           ".."};
    static const char *const bad[] = {
        "",    "/",   "acme/", "/acme", "a//b",  "a/b/c/d/e/f/g/h/i", "ac me", "a@b",
        "a[b", "a{b", "a`b",   "a,b",   "acme*", "\xc3\xa9",          "a\nb",  "a:b"};
    for (size_t i = 0; i < COUNT(good); i++) {
        cr_assert(qd_tenant_path_valid(str(good[i])), "%s", good[i]);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        cr_assert_not(qd_tenant_path_valid(str(bad[i])), "%s", bad[i]);
    }
    cr_assert_not(qd_tenant_path_valid((struct qd_str){"a\0b", 3}));
    char path[QD_TENANT_PATH_MAX + 2];
    for (size_t i = 0; i < QD_TENANT_PATH_MAX; i++) {
        path[i] = i % 64 == 63 ? '/' : 'x';
    }
    cr_assert(qd_tenant_path_valid((struct qd_str){path, QD_TENANT_PATH_MAX}));
    path[QD_TENANT_PATH_MAX] = 'x';
    cr_assert_not(qd_tenant_path_valid((struct qd_str){path, QD_TENANT_PATH_MAX + 1}));
    path[63] = 'x';
    cr_assert_not(qd_tenant_path_valid((struct qd_str){path, 64}));
}

static void assert_prefix(const char *path, uint8_t depth, const char *wanted)
{
    struct qd_str prefix = qd_tenant_path_prefix(str(path), depth);
    cr_assert_eq(prefix.len, strlen(wanted), "%s at %u", path, depth);
    cr_assert_eq(memcmp(prefix.ptr, wanted, prefix.len), 0);
}

Test(policy, P2_limits_on_every_ancestor_apply_by_prefix)
{
    assert_prefix("acme/search/key-7", 0, "");
    assert_prefix("acme/search/key-7", 1, "acme");
    assert_prefix("acme/search/key-7", 2, "acme/search");
    assert_prefix("acme/search/key-7", 3, "acme/search/key-7");
    assert_prefix("acme/search/key-7", 8, "acme/search/key-7");
    cr_assert_eq(qd_tenant_path_depth(str("acme/search/key-7")), 3);
    cr_assert_eq(qd_tenant_path_depth(str("acme")), 1);
    cr_assert_eq(qd_tenant_path_depth(str("")), 0);
    char slashes[300];
    memset(slashes, '/', sizeof slashes);
    cr_assert_eq(qd_tenant_path_depth((struct qd_str){slashes, sizeof slashes}), UINT8_MAX);
}

/* A policy of 40 names, sorted, and patterns from the most specific on. */
static char name_text[40][16];
static struct qd_model model_table[40];
static struct qd_pool pool_table[40];
static struct qd_plan plan_table[40];
static struct qd_tenant_rule rule_table[47];
static struct qd_meter_def meter_table[QD_METER_FIRST_CUSTOM + 3];

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct qd_policy sample(void)
{
    for (size_t i = 0; i < 40; i++) {
        snprintf(name_text[i], sizeof name_text[i], "n%zu%s", i / 4 + 10, &"...x"[3 - i % 4]);
    }
    qsort(name_text, 40, sizeof name_text[0], by_name);
    static const char *const patterns[] = {"acme/search/*", "acme/*/*", "*/search", "acme/*",
                                           "x/*",           "*/*",      "*"};
    for (size_t i = 0; i < 40; i++) {
        model_table[i].name = name_text[i];
        pool_table[i].name = name_text[i];
        plan_table[i].name = name_text[i];
        rule_table[i] = (struct qd_tenant_rule){.pattern = name_text[i], .segments = 1};
    }
    for (size_t i = 0; i < COUNT(patterns); i++) {
        uint8_t segments = qd_tenant_path_depth(str(patterns[i]));
        rule_table[40 + i] = (struct qd_tenant_rule){
            .pattern = patterns[i], .is_pattern = true, .segments = segments};
    }
    static const char *const meters[] = {
        "requests",
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "tokens",
        "gpu_ms",
        "processing_ms",
        "memory_gb_ms",
        "images",
        "cost",
        "charge",
        "concurrency",
        "pages",
        "credits",
        "double_credits",
    };
    for (size_t i = 0; i < COUNT(meters); i++) {
        meter_table[i] = (struct qd_meter_def){.name = meters[i]};
    }
    meter_table[15].derived = true;
    meter_table[15].weights = (struct qd_weights){
        .count = 2, .den = 10, .item = {{QD_METER_OUTPUT_TOKENS, 10}, {QD_METER_FIRST_CUSTOM, 5}}};
    meter_table[16].derived = true; /* of a derived one */
    meter_table[16].weights = (struct qd_weights){.count = 1, .den = 1, .item = {{15, 2}}};
    return (struct qd_policy){
        .models = model_table,
        .model_count = 40,
        .pools = pool_table,
        .pool_count = 40,
        .plans = plan_table,
        .plan_count = 40,
        .tenants = rule_table,
        .tenant_exact_count = 40,
        .tenant_count = 47,
        .meters = meter_table,
        .meter_count = COUNT(meters),
    };
}

Test(policy, P3_names_are_found_and_nothing_else)
{
    struct qd_policy p = sample();
    for (size_t i = 0; i < 40; i++) {
        struct qd_str name = str(name_text[i]);
        cr_assert_eq(qd_policy_model(&p, name), &model_table[i]);
        cr_assert_eq(qd_policy_pool(&p, name), &pool_table[i]);
        cr_assert_eq(qd_policy_plan(&p, name), &plan_table[i]);
        cr_assert_eq(qd_policy_tenant_rule(&p, name), &rule_table[i]);
    }
    static const char *const strangers[] = {"", "n", "n1", "n10.....", "n99", "a", "z", "N10"};
    for (size_t i = 0; i < COUNT(strangers); i++) {
        cr_assert_null(qd_policy_model(&p, str(strangers[i])));
        cr_assert_null(qd_policy_pool(&p, str(strangers[i])));
        cr_assert_null(qd_policy_plan(&p, str(strangers[i])));
    }
    cr_assert_null(qd_policy_model(&p, (struct qd_str){"n10\0", 4}));
    cr_assert_eq(qd_policy_meter(&p, str("gpu_ms")), QD_METER_GPU_MS);
    cr_assert_eq(qd_policy_meter(&p, str("credits")), 15);
    cr_assert_eq(qd_policy_meter(&p, str("credit")), -1);
    p.model_count = 0;
    cr_assert_null(qd_policy_model(&p, str(name_text[0])));
}

Test(policy, P2_the_most_specific_pattern_wins)
{
    struct qd_policy p = sample();
    static const struct {
        const char *path;
        const char *pattern;
    } cases[] = {
        {"acme/search/key-7", "acme/search/*"},
        {"acme/chat/key-7", "acme/*/*"},
        {"other/search", "*/search"},
        {"acme/search", "*/search"},
        {"acme/sear", "acme/*"},
        {"acme/searching", "acme/*"},
        {"acm/x", "*/*"},
        {"x/y", "x/*"},
        {"y/y", "*/*"},
        {"acme", "*"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct qd_tenant_rule *rule = qd_policy_tenant_rule(&p, str(cases[i].path));
        cr_assert_not_null(rule);
        cr_assert_str_eq(rule->pattern, cases[i].pattern, "%s", cases[i].path);
    }
    cr_assert_null(qd_policy_tenant_rule(&p, str("other/chat/key-7")));
    cr_assert_null(qd_policy_tenant_rule(&p, str("a/b/c/d")));
}

static const struct qd_label labels[] = {
    {{"team", 4}, {"blue", 4}},
    {{"env", 3}, {"prod", 4}},
    {{"empty", 5}, {"", 0}},
};

static struct qd_attributes request(void)
{
    return (struct qd_attributes){
        .tenant = str("acme/search/key-7"),
        .model = str("gpt-4o-2026"),
        .family = str("gpt-4o"),
        .pool = str(NULL),
        .user = str("ann"),
        .labels = labels,
        .label_count = COUNT(labels),
    };
}

Test(policy, P3_selectors_test_each_attribute)
{
    static const char *const gpt[] = {"gpt-4o", "gpt-5"};
    static const char *const ann[] = {"bob", "ann"};
    static const char *const blue[] = {"blue"};
    static const char *const path[] = {"acme/search/key-7"};
    static const char *const empty[] = {""};
    static const struct {
        struct qd_match match;
        bool wanted;
    } cases[] = {
        {{.attribute = QD_ATTR_MODEL, .any = gpt, .any_count = 2}, false},
        {{.attribute = QD_ATTR_FAMILY, .any = gpt, .any_count = 2}, true},
        {{.attribute = QD_ATTR_FAMILY, .any = gpt, .any_count = 2, .negate = true}, false},
        {{.attribute = QD_ATTR_USER, .any = ann, .any_count = 2}, true},
        {{.attribute = QD_ATTR_USER}, true},
        {{.attribute = QD_ATTR_POOL}, false},
        {{.attribute = QD_ATTR_POOL, .negate = true}, true},
        {{.attribute = QD_ATTR_POOL, .any = gpt, .any_count = 2, .negate = true}, true},
        {{.attribute = QD_ATTR_TENANT, .any = path, .any_count = 1}, true},
        {{.attribute = QD_ATTR_LABEL, .label = "team", .any = blue, .any_count = 1}, true},
        {{.attribute = QD_ATTR_LABEL, .label = "env", .any = blue, .any_count = 1}, false},
        {{.attribute = QD_ATTR_LABEL, .label = "tea"}, false},
        {{.attribute = QD_ATTR_LABEL, .label = "empty"}, true},
        {{.attribute = QD_ATTR_LABEL, .label = "empty", .any = empty, .any_count = 1}, true},
        {{.attribute = QD_ATTR_MODEL, .any = gpt, .any_count = 0}, false},
    };
    struct qd_attributes a = request();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct qd_limit limit = {.selector = &cases[i].match, .selector_count = 1};
        cr_assert_eq(qd_limit_selects(&limit, &a), cases[i].wanted, "case %zu", i);
    }
    struct qd_match both[] = {cases[1].match, cases[2].match};
    struct qd_limit limit = {.selector = both, .selector_count = 2};
    cr_assert_not(qd_limit_selects(&limit, &a));
    limit.selector_count = 0;
    cr_assert(qd_limit_selects(&limit, &a));
    /* A model without a family is its own. */
    a.family = str(NULL);
    a.model = str("gpt-5");
    limit = (struct qd_limit){.selector = &cases[1].match, .selector_count = 1};
    cr_assert(qd_limit_selects(&limit, &a));
}

Test(policy, P6_a_counters_identity_is_its_limit_scope_and_per)
{
    static struct qd_hash128 seen[2000];
    size_t count = 0;
    struct qd_attributes a = request();
    a.pool = str("h100");
    for (uint64_t limit_id = 0; limit_id < 3; limit_id++) {
        for (uint8_t depth = 0; depth <= 3; depth++) {
            for (uint32_t per = 0; per < 64; per++) {
                struct qd_limit limit = {
                    .identity = {limit_id, 5}, .per = per, .per_label = "team"};
                seen[count++] = qd_counter_identity(&limit, &a, depth, 42);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i + 1; k < count; k++) {
            cr_assert_not(qd_hash128_equal(seen[i], seen[k]));
        }
    }
    /* What is not in `per` does not split; what is, does; absent is not empty. */
    struct qd_limit limit = {.identity = {1, 1}, .per = QD_ATTR_USER};
    struct qd_hash128 ann = qd_counter_identity(&limit, &a, 1, 42);
    a.model = str("other");
    cr_assert(qd_hash128_equal(ann, qd_counter_identity(&limit, &a, 1, 42)));
    a.tenant = str("acme/chat");
    cr_assert(qd_hash128_equal(ann, qd_counter_identity(&limit, &a, 1, 42)));
    cr_assert_not(qd_hash128_equal(ann, qd_counter_identity(&limit, &a, 2, 42)));
    cr_assert_not(qd_hash128_equal(ann, qd_counter_identity(&limit, &a, 1, 43)));
    a.user = str("");
    struct qd_hash128 nobody = qd_counter_identity(&limit, &a, 1, 42);
    a.user = str(NULL);
    cr_assert_not(qd_hash128_equal(nobody, qd_counter_identity(&limit, &a, 1, 42)));
}

Test(policy, P6_identities_are_stored_and_never_change)
{
    struct qd_attributes a = request();
    struct qd_limit limit = {
        .identity = {1, 2}, .per = QD_ATTR_FAMILY | QD_ATTR_LABEL, .per_label = "team"};
    struct qd_hash128 id = qd_counter_identity(&limit, &a, 2, 7);
    char got[64];
    snprintf(got, sizeof got, "%016llx%016llx", (unsigned long long)id.hi,
             (unsigned long long)id.lo);
    cr_assert_str_eq(got, "943cd14fd69991a80c197c3b75454d0f");
}

Test(policy, S4_a_sum_of_what_is_missing_is_missing)
{
    struct qd_policy p = sample();
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_REQUESTS, 1);
    qd_policy_derive(&p, &u);
    cr_assert_eq(u.present, QD_METER_BIT(QD_METER_REQUESTS));
    qd_usage_set(&u, QD_METER_INPUT_TOKENS, 0);
    qd_policy_derive(&p, &u);
    cr_assert(qd_usage_has(&u, QD_METER_TOKENS));
    cr_assert_eq(u.amount[QD_METER_TOKENS], 0);
    cr_assert_not(qd_usage_has(&u, 15));
    qd_usage_set(&u, QD_METER_FIRST_CUSTOM, 3);
    qd_policy_derive(&p, &u);
    cr_assert_eq(qd_usage_get(&u, 15), 2); /* 1.5, rounded up */
    cr_assert_eq(qd_usage_get(&u, 16), 4);
}

Test(policy, P3_tokens_are_the_sum_of_the_five)
{
    struct qd_policy p = sample();
    struct qd_usage u = {0};
    for (unsigned m = QD_METER_INPUT_TOKENS; m <= QD_METER_REASONING_TOKENS; m++) {
        qd_usage_set(&u, m, 1 << m);
    }
    qd_policy_derive(&p, &u);
    cr_assert_eq(u.amount[QD_METER_TOKENS], 2 + 4 + 8 + 16 + 32);
    for (unsigned m = QD_METER_INPUT_TOKENS; m <= QD_METER_REASONING_TOKENS; m++) {
        qd_usage_set(&u, m, INT64_MAX);
    }
    qd_policy_derive(&p, &u);
    cr_assert_eq(u.amount[QD_METER_TOKENS], INT64_MAX);
}

/* --- hashes: fields are delimited ----------------------------------------------------------------
 */

static struct qd_hash128 hash_fields(const struct qd_str *fields, size_t count)
{
    struct qd_hasher h;
    qd_hasher_init(&h, 1);
    for (size_t i = 0; i < count; i++) {
        qd_hasher_str(&h, fields[i]);
    }
    return qd_hasher_end(&h);
}

Test(hash, P6_fields_cannot_run_into_each_other)
{
    struct qd_str ab_c[] = {{"ab", 2}, {"c", 1}};
    struct qd_str a_bc[] = {{"a", 1}, {"bc", 2}};
    struct qd_str abc[] = {{"abc", 3}};
    struct qd_str abc_[] = {{"abc", 3}, {"", 0}};
    struct qd_str abc_absent[] = {{"abc", 3}, {NULL, 0}};
    struct qd_hash128 all[] = {hash_fields(ab_c, 2), hash_fields(a_bc, 2), hash_fields(abc, 1),
                               hash_fields(abc_, 2), hash_fields(abc_absent, 2)};
    for (size_t i = 0; i < COUNT(all); i++) {
        for (size_t k = i + 1; k < COUNT(all); k++) {
            cr_assert_not(qd_hash128_equal(all[i], all[k]));
        }
    }
}

Test(hash, P6_any_length_and_number_of_fields)
{
    static char text[1000];
    static struct qd_hash128 seen[1000];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < 500; i++) { /* one field of every length, and that many short ones */
        struct qd_str one = {text, i};
        seen[2 * i] = hash_fields(&one, 1);
        struct qd_hasher h;
        qd_hasher_init(&h, 1);
        for (size_t k = 0; k < i; k++) {
            qd_hasher_u64(&h, k);
        }
        qd_hasher_hash(&h, (struct qd_hash128){1, 2});
        seen[2 * i + 1] = qd_hasher_end(&h);
    }
    for (size_t i = 0; i < COUNT(seen); i++) {
        for (size_t k = i + 1; k < COUNT(seen); k++) {
            cr_assert_not(qd_hash128_equal(seen[i], seen[k]), "%zu and %zu", i, k);
        }
    }
    cr_assert_neq(qd_hash64_bytes("a", 1, 1), qd_hash64_bytes("a", 1, 2));
    struct qd_hash128 known = qd_hash_bytes("", 0, 0); /* XXH3's published value */
    cr_assert_eq(known.hi, UINT64_C(0x99aa06d3014798d8));
    cr_assert_eq(known.lo, UINT64_C(0x6001c324468d497f));
}
