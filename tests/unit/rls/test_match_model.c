/* Random configurations and descriptors against a matcher that is as simple as the words of
 * point 10.
 */
#include "helper.h"

#include "server/rls/level.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHILDREN_MAX  8
#define DEPTH_MAX     3
#define NODES_MAX     (1 + CHILDREN_MAX + CHILDREN_MAX * CHILDREN_MAX * (1 + CHILDREN_MAX))
#define TEXT_MAX      5
#define COMPOSITE_MAX 64
#define TUPLE_MAX     256
#define ROUNDS        400
#define ASKED         300

struct model {
    char key[TEXT_MAX];
    char value[TEXT_MAX];
    bool shares;
    bool in_metric;
    uint32_t limit; /* its own number; 0: no rate_limit */
    struct model *children[CHILDREN_MAX];
    size_t count;
};

static struct model nodes[NODES_MAX];
static size_t node_count;
static struct qd_prng g;
static size_t named; /* descriptors that met a rule whose name is the file's; and another */
static size_t unnamed;
static struct qd_rls_scratch scratch;

/* `min` to `max` letters, short ones more often. */
static void random_text(char text[TEXT_MAX], size_t min, size_t max, const char *letters)
{
    size_t len = min + qd_prng_below(&g, 1 + qd_prng_below(&g, max - min + 1));
    for (size_t i = 0; i < len; i++) {
        text[i] = letters[qd_prng_below(&g, strlen(letters))];
    }
    text[len] = '\0';
}

static void composite(const char *key, const char *value, char text[COMPOSITE_MAX])
{
    (void)snprintf(text, COMPOSITE_MAX, "%s%s%s", key, value[0] != '\0' ? "_" : "", value);
}

static bool is_twin(const struct model *parent, const struct model *node)
{
    char mine[COMPOSITE_MAX];
    char other[COMPOSITE_MAX];
    composite(node->key, node->value, mine);
    for (size_t i = 0; i < parent->count; i++) {
        composite(parent->children[i]->key, parent->children[i]->value, other);
        if (strcmp(mine, other) == 0) {
            return true;
        }
    }
    return false;
}

static void grow(struct model *parent, unsigned depth)
{
    size_t wanted = depth >= DEPTH_MAX ? 0 : qd_prng_below(&g, CHILDREN_MAX + 1);
    for (size_t i = 0; i < wanted; i++) {
        struct model *node = &nodes[node_count];
        *node = (struct model){0};
        random_text(node->key, 1, 3, "ab_");
        if (qd_prng_chance(&g, 3, 4)) {
            random_text(node->value, 1, 4, "ab_*");
        }
        node->shares = strchr(node->value, '*') != NULL && qd_prng_chance(&g, 1, 2);
        node->in_metric = qd_prng_chance(&g, 1, 8);
        node->limit = qd_prng_chance(&g, 2, 3) ? (uint32_t)node_count : 0;
        if (is_twin(parent, node)) {
            continue;
        }
        node_count++;
        parent->children[parent->count++] = node;
        grow(node, depth + 1);
    }
}

static void print(FILE *out, const struct model *node)
{
    for (size_t i = 0; i < node->count; i++) {
        const struct model *child = node->children[i];
        (void)fprintf(out, "%s{key: '%s', value: '%s', share_threshold: %s", i > 0 ? ",\n" : "",
                      child->key, child->value, child->shares ? "true" : "false");
        if (child->limit > 0) {
            (void)fprintf(out, ", rate_limit: {unit: day, requests_per_unit: %u}", child->limit);
        }
        (void)fputs(child->limit > 0 && child->limit % 3 == 0 ? ", detailed_metric: true" : "",
                    out);
        (void)fputs(child->in_metric ? ", value_to_metric: true" : "", out);
        (void)fputs(", descriptors: [", out);
        print(out, child);
        (void)fputs("]}", out);
    }
}

static bool is_like(const char *pattern, const char *value)
{
    if (*pattern == '\0') {
        return *value == '\0';
    }
    if (*pattern != '*') {
        return *pattern == *value && is_like(pattern + 1, value + 1);
    }
    return is_like(pattern + 1, value) || (*value != '\0' && is_like(pattern, value + 1));
}

struct asked {
    char key[TEXT_MAX];
    char value[TEXT_MAX];
};

/* What point 10 says, word for word. `ret_shares`: by a wildcard that shares. */
static const struct model *find(const struct model *level, const struct asked *a, bool *ret_shares)
{
    char whole[COMPOSITE_MAX];
    char other[COMPOSITE_MAX];
    *ret_shares = false;
    (void)snprintf(whole, sizeof whole, "%s_%s", a->key, a->value);
    for (size_t i = 0; i < level->count; i++) {
        composite(level->children[i]->key, level->children[i]->value, other);
        if (strcmp(whole, other) == 0) {
            return level->children[i];
        }
    }
    for (size_t i = 0; i < level->count; i++) {
        const struct model *c = level->children[i];
        if (strchr(c->value, '*') != NULL && strcmp(c->key, a->key) == 0 &&
            is_like(c->value, a->value)) {
            *ret_shares = c->shares;
            return c;
        }
    }
    for (size_t i = 0; i < level->count; i++) {
        composite(level->children[i]->key, level->children[i]->value, other);
        if (strcmp(a->key, other) == 0) {
            return level->children[i];
        }
    }
    return NULL;
}

/* The number of the rule, 0 for none; `tuple` is what its counter is known by. */
static uint32_t oracle(const struct model *root, const struct asked *asked, size_t count,
                       char tuple[TUPLE_MAX])
{
    const struct model *at = root;
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        bool shares;
        at = find(at, &asked[i], &shares);
        if (at == NULL) {
            return 0;
        }
        len += (size_t)snprintf(tuple + len, TUPLE_MAX - len, "%s=%s;", asked[i].key,
                                shares ? at->value : asked[i].value);
    }
    return at->limit;
}

struct seen {
    char tuple[TUPLE_MAX];
    struct qd_hash128 counter;
};

/* Two counters are one exactly if their tuples are. */
static void check_counter(struct seen *seen, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool is_same = strcmp(seen[i].tuple, seen[count].tuple) == 0;
        cr_assert_eq(qd_hash128_equal(seen[i].counter, seen[count].counter), is_same, "%s %s",
                     seen[i].tuple, seen[count].tuple);
    }
}

/* An entry meets a text in two ways: ("a", "b") and ("a_b", any) both have that of {key: a, value:
 * b}. Only the first is what the file means. */
static bool is_meant(const struct qd_rls_match *match, const struct qd_rls_entry *entries)
{
    for (size_t i = 0; i < match->depth; i++) {
        const struct qd_rls_step *step = &match->path[i];
        bool has_value = qd_rls_node_value(step->node).ptr != NULL;
        if (entries[i].value.len == 0 || (step->found == (int)QD_RLS_FOUND_KEY && has_value)) {
            return false;
        }
    }
    return true;
}

/* X2: a name of the file's is no client's to choose; any other has a value that is. */
static void check_name(const struct qd_rls_match *match, const struct qd_rls_entry *entries)
{
    char name[TUPLE_MAX];
    bool free = false;

    (void)qd_rls_match_name(match, entries, name, sizeof(name));
    for (size_t i = 0; i < match->depth; i++) {
        const struct qd_rls_step *step = &match->path[i];
        bool any = (step->found == (int)QD_RLS_FOUND_WILDCARD && !step->node->share_threshold) ||
                   step->found == (int)QD_RLS_FOUND_KEY;
        free = free || (any && (step->node->value_to_metric || match->rule->detailed_metric));
    }
    if (match->rule->named_by_file) {
        cr_assert_str_eq(name, match->rule->path);
        named++;
    } else {
        cr_assert(free || strcmp(name, match->rule->path) == 0, "%s %s", name, match->rule->path);
        unnamed += free;
    }
}

static size_t ask(const struct model *root, const struct qd_rls_domain *domain, const char *yaml)
{
    static struct seen seen[ASKED];
    size_t met = 0;
    for (int i = 0; i < ASKED; i++) {
        struct asked asked[DEPTH_MAX];
        struct qd_rls_entry entries[DEPTH_MAX];
        struct qd_rls_match match;
        size_t count = 1 + qd_prng_below(&g, DEPTH_MAX);
        for (size_t k = 0; k < count; k++) {
            random_text(asked[k].key, 1, 3, "ab_");
            random_text(asked[k].value, 0, 4, qd_prng_chance(&g, 1, 8) ? "ab_*" : "ab_");
            entries[k] = (struct qd_rls_entry){text(asked[k].key), text(asked[k].value)};
        }
        uint32_t expected = oracle(root, asked, count, seen[met].tuple);
        bool is_met = qd_rls_match(domain, entries, count, 1, &scratch, &match);
        cr_assert_eq(is_met ? match.rule->requests_per_unit : 0, expected, "%s=%s... in\n%s",
                     asked[0].key, asked[0].value, yaml);
        if (is_met) {
            seen[met].counter = match.counter;
            check_counter(seen, met);
            met++;
            if (is_meant(&match, entries)) {
                check_name(&match, entries);
            }
        }
    }
    return met;
}

Test(match_model, I3_point_10_matches_as_a_naive_matcher_says)
{
    qd_prng_init(&g, qd_prng_seed("match_model", 10));
    size_t met = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char *yaml = NULL;
        size_t size = 0;
        nodes[0] = (struct model){0};
        node_count = 1;
        grow(&nodes[0], 0);
        FILE *out = open_memstream(&yaml, &size);
        cr_assert_not_null(out);
        (void)fputs("domain: d\ndescriptors: [", out);
        print(out, &nodes[0]);
        (void)fputs("]\n", out);
        (void)fclose(out);
        struct qd_rls_rules *rules = load_rules(yaml);
        met += ask(&nodes[0], qd_rls_rules_domain(rules, text("d")), yaml);
        qd_rls_rules_free(rules);
        free(yaml);
    }
    qd_rls_scratch_release(&scratch);
    printf("%zu of %d descriptors met a rule\n", met, ROUNDS * ASKED);
    cr_expect_gt(met, ROUNDS * ASKED / 40);
    cr_expect_gt(named, met / 10);
    cr_expect_gt(unnamed, met / 20);
}
