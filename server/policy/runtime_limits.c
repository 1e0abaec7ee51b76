/* Limits of run-time tenants: the same compiler over keys and values (P2). */
#include "server/policy/compile.h"

#include <stdlib.h>
#include <string.h>

struct job {
    struct qd_compiler compiler;
    struct qd_policy policy; /* a copy of the top: the compiler may write to what it builds */
    struct qd_arena arena;
    const struct qd_plan *plan;
    const struct qd_limit_entry *entries;
    size_t count;
    struct qd_use_list list;
};

static struct qd_node *key_node(struct qd_arena *a, const char *text)
{
    struct qd_node *node = qd_arena_alloc(a, sizeof *node);
    node->kind = QD_NODE_SCALAR;
    node->text = text;
    node->len = strlen(text);
    return node;
}

static void compile_entry(struct job *j, size_t i)
{
    struct qd_compiler *c = &j->compiler;
    const struct qd_limit_entry *e = &j->entries[i];
    struct qd_at top = {0};
    struct qd_at limits = {&top, "limits"};
    struct qd_at at = {&limits, e->key};
    struct qd_limit_scope scope = {.kind = "tenant", .origin = "PutTenant", .plan = j->plan};
    const struct qd_node *key = key_node(c->arena, e->key);
    for (size_t k = 0; k < i; k++) {
        if (strcmp(j->entries[k].key, e->key) == 0) {
            qd_fail(c, &limits, key, "\"%.63s\": given twice", e->key);
            return;
        }
    }
    const char *place = qd_arena_printf(c->arena, "limits.%.63s", e->key);
    const struct qd_node *value =
        qd_node_parse(c->arena, place, e->value, strlen(e->value), c->problems);
    if (value != NULL) {
        qd_compile_limit(c, &at, key, value, &scope, &j->list);
    }
}

static void compile_all(struct job *j)
{
    struct qd_compiler *c = &j->compiler;
    struct qd_at top = {0};
    struct qd_at limits = {&top, "limits"};
    if (j->count > QD_OWN_LIMITS_MAX) {
        qd_fail(c, &limits, NULL, "too many limits; at most %d are accepted", QD_OWN_LIMITS_MAX);
        return;
    }
    for (size_t i = 0; i < j->count; i++) {
        compile_entry(j, i);
    }
    for (size_t i = 0; i < j->list.count; i++) {
        if (j->list.uses[i].limit->money && !c->policy->uses_money) {
            bool has_prices = c->policy->cap_price.count > 0;
            for (size_t m = 0; m < c->policy->model_count; m++) {
                has_prices = has_prices || c->policy->models[m].cost.count > 0;
            }
            for (size_t m = 0; m < c->policy->pool_count; m++) {
                has_prices = has_prices || c->policy->pools[m].cost.count > 0;
            }
            if (!has_prices) {
                qd_fail(c, &limits, NULL, "%s: a limit of money needs prices; the policy has none",
                        j->list.uses[i].limit->name);
            }
        }
    }
}

static bool run_guarded(struct job *j)
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_problems_add(j->compiler.problems, QD_SEVERITY_ERROR, "", 0, 0, "out of memory");
        return false;
    }
    qd_arena_init(&j->arena, &oom);
    compile_all(j);
    return true;
}

struct qd_limit_set *qd_policy_compile_limits(const struct qd_policy *policy,
                                              const struct qd_plan *plan,
                                              const struct qd_limit_entry *entries, size_t count,
                                              struct qd_problems *problems)
{
    size_t errors = qd_problems_errors(problems);
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, "", 0, 0, "out of memory");
        return NULL;
    }
    *j = (struct job){
        .compiler = {.file = "", .problems = problems, .is_runtime = true},
        .policy = *policy,
        .plan = plan,
        .entries = entries,
        .count = count,
    };
    j->compiler.arena = &j->arena;
    j->compiler.policy = &j->policy;
    bool good = run_guarded(j) && qd_problems_errors(problems) == errors;
    struct qd_limit_set *set = NULL;
    if (good) {
        set = calloc(1, sizeof *set + j->list.count * sizeof set->uses[0]);
        if (set == NULL) {
            qd_problems_add(problems, QD_SEVERITY_ERROR, "", 0, 0, "out of memory");
        } else {
            set->count = j->list.count;
            if (j->list.count > 0) {
                memcpy(set->uses, j->list.uses, j->list.count * sizeof set->uses[0]);
            }
        }
    }
    qd_arena_release(&j->arena);
    free(j);
    return set;
}

void qd_limit_set_free(struct qd_limit_set *set)
{
    free(set);
}
