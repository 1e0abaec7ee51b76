/* Plans and tenants (P2). */
#include "server/policy/compile.h"

#include <stdlib.h>
#include <string.h>

#define PLANS_MAX   4096
#define TENANTS_MAX 2000000

/* --- plans --------------------------------------------------------------------------------------
 */

static int order_plans(const void *left, const void *right)
{
    return strcmp(((const struct qd_plan *)left)->name, ((const struct qd_plan *)right)->name);
}

void qd_compile_plans(struct qd_compiler *c, const struct qd_node *node)
{
    struct qd_policy *p = c->policy;
    struct qd_at top = {0};
    struct qd_at at = {&top, "plans"};
    if (!qd_expect_map(c, &at, node, "a map of plans")) {
        return;
    }
    if (node->count > PLANS_MAX) {
        qd_fail(c, &at, node, "too many plans; at most %d are accepted", PLANS_MAX);
        return;
    }
    struct qd_plan *plans = qd_arena_array(c->arena, node->count + 1, sizeof *plans);
    size_t count = 0;
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const char *name = qd_read_ident(c, &at, key, "a plan's name");
        if (name == NULL) {
            continue;
        }
        struct qd_at below = {&at, name};
        struct qd_limit_scope scope = {
            .kind = "tenant",
            .owner = name,
            .origin = qd_arena_printf(c->arena, "plan %s", name),
        };
        struct qd_use_list list = {0};
        qd_compile_limits(c, &below, qd_node_value(node, i), &scope, &list);
        plans[count++] =
            (struct qd_plan){.name = name, .limits = list.uses, .limit_count = list.count};
    }
    qsort(plans, count, sizeof *plans, order_plans);
    p->plans = plans;
    p->plan_count = count;
}

/* --- tenants ------------------------------------------------------------------------------------
 */

/* Segments of a path or pattern, 0 if it is not one (P2). A "*" stands for a whole segment. */
static uint8_t pattern_segments(const char *text, bool *ret_is_pattern)
{
    static const char accepted[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    uint8_t segments = 0;
    bool is_pattern = false;
    for (;;) {
        size_t len = strspn(text, accepted);
        if (text[0] == '*') {
            is_pattern = true;
            len = 1;
        }
        if (len == 0 || len > 63 || segments == QD_TENANT_SEGMENTS_MAX ||
            (text[len] != '/' && text[len] != '\0')) {
            return 0;
        }
        segments++;
        if (text[len] == '\0') {
            *ret_is_pattern = is_pattern;
            return segments;
        }
        text += len + 1;
    }
}

static const struct qd_plan *read_plan(struct qd_compiler *c, const struct qd_at *at,
                                       const struct qd_node *node)
{
    const struct qd_plan *plan =
        node->kind == QD_NODE_SCALAR ? qd_find_plan(c->policy, node->text) : NULL;
    if (plan == NULL) {
        qd_unknown_plan(c, at, node);
    }
    return plan;
}

static void compile_own_limits(struct qd_compiler *c, const struct qd_at *at,
                               const struct qd_node *node, struct qd_tenant_rule *rule)
{
    struct qd_use_list list = {0};
    struct qd_limit_scope scope = {
        .kind = "tenant",
        .origin = qd_arena_printf(c->arena, "tenant %s", rule->pattern),
        .plan = rule->plan,
        .tenant = rule->pattern,
    };
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const struct qd_node *value = qd_node_value(node, i);
        struct qd_at below = {at, key->text};
        if (strcmp(key->text, "limits") == 0) {
            qd_compile_limits(c, &below, value, &scope, &list);
        } else if (strcmp(key->text, "plan") != 0 && strcmp(key->text, "blocked") != 0) {
            qd_compile_limit(c, &below, key, value, &scope, &list);
        }
    }
    for (size_t i = 0; i < list.count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(list.uses[i].limit->name, list.uses[k].limit->name) == 0) {
                qd_fail(c, at, node, "\"%s\": given both here and under \"limits\"",
                        list.uses[i].limit->name);
            }
        }
    }
    rule->limits = list.uses;
    rule->limit_count = list.count;
}

/* False if nothing of the rule can be used. */
static bool compile_tenant(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                           const struct qd_node *value, struct qd_tenant_rule *rule)
{
    rule->pattern = key->text;
    rule->line = key->line;
    rule->segments = pattern_segments(key->text, &rule->is_pattern);
    if (rule->segments == 0) {
        qd_fail(
            c, at->up, key,
            "\"%.127s\": not a tenant; 1 to 8 segments of 1 to 63 of a-z, A-Z, 0-9, \".\", \"_\", "
            "\"-\" are accepted, as acme/search, or \"*\" for a whole segment",
            key->text);
        return false;
    }
    if (!qd_expect_map(c, at, value, "a map, as {plan: free}")) {
        return false;
    }
    const struct qd_node *plan = qd_node_get(value, "plan");
    const struct qd_node *blocked = qd_node_get(value, "blocked");
    if (plan != NULL) {
        struct qd_at below = {at, "plan"};
        rule->plan = read_plan(c, &below, plan);
    }
    if (blocked != NULL) {
        struct qd_at below = {at, "blocked"};
        (void)qd_read_bool(c, &below, blocked, &rule->blocked);
    }
    compile_own_limits(c, at, value, rule);
    return true;
}

/* Literal segments as bits from the left: what has more and earlier ones is more specific. */
static unsigned specificity(const struct qd_tenant_rule *rule)
{
    unsigned bits = 0;
    unsigned literals = 0;
    const char *p = rule->pattern;
    for (unsigned i = 0; i < rule->segments; i++) {
        if (*p != '*') {
            bits |= 1U << (QD_TENANT_SEGMENTS_MAX - 1 - i);
            literals++;
        }
        p = strchr(p, '/');
        p = p == NULL ? "" : p + 1;
    }
    return literals << QD_TENANT_SEGMENTS_MAX | bits;
}

static int order_tenants(const void *left, const void *right)
{
    const struct qd_tenant_rule *a = left;
    const struct qd_tenant_rule *b = right;
    if (a->is_pattern != b->is_pattern) {
        return a->is_pattern ? 1 : -1;
    }
    if (a->is_pattern && specificity(a) != specificity(b)) {
        return specificity(a) > specificity(b) ? -1 : 1;
    }
    return strcmp(a->pattern, b->pattern);
}

void qd_compile_tenants(struct qd_compiler *c, const struct qd_node *node)
{
    struct qd_policy *p = c->policy;
    struct qd_at top = {0};
    struct qd_at at = {&top, "tenants"};
    if (!qd_expect_map(c, &at, node, "a map of tenants")) {
        return;
    }
    if (node->count > TENANTS_MAX) {
        qd_fail(c, &at, node, "too many tenants; at most %d are accepted in a file", TENANTS_MAX);
        return;
    }
    struct qd_tenant_rule *rules = qd_arena_array(c->arena, node->count + 1, sizeof *rules);
    size_t count = 0;
    for (size_t i = 0; i < node->count; i++) {
        struct qd_at below = {&at, qd_node_key(node, i)->text};
        if (compile_tenant(c, &below, qd_node_key(node, i), qd_node_value(node, i),
                           &rules[count])) {
            count++;
        } else {
            rules[count] = (struct qd_tenant_rule){0};
        }
    }
    qsort(rules, count, sizeof *rules, order_tenants);
    size_t exact = 0;
    while (exact < count && !rules[exact].is_pattern) {
        exact++;
    }
    p->tenants = rules;
    p->tenant_count = count;
    p->tenant_exact_count = exact;
}
