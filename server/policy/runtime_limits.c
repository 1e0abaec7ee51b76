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
    const struct qd_limit_set *set; /* to check */
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
}

static bool has_prices(const struct qd_policy *p)
{
    bool has = p->uses_money || p->unknown_price == QD_UNKNOWN_PRICE_CAP;
    for (size_t i = 0; i < p->model_count; i++) {
        has = has || p->models[i].cost.count > 0;
    }
    for (size_t i = 0; i < p->pool_count; i++) {
        has = has || p->pools[i].cost.count > 0;
    }
    return has;
}

static void check_all(struct job *j)
{
    struct qd_compiler *c = &j->compiler;
    struct qd_at top = {0};
    struct qd_at limits = {&top, "limits"};
    for (size_t i = 0; i < j->set->count; i++) {
        const struct qd_limit *limit = j->set->uses[i].limit;
        struct qd_at at = {&limits, limit->name};
        struct qd_pending_check check = {.limit = limit, .path = qd_at_text(c, &at)};
        qd_check_limit(c, &check, has_prices(c->policy));
    }
}

static bool run_guarded(struct job *j, void (*run)(struct job *))
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        qd_problems_add(j->compiler.problems, QD_SEVERITY_ERROR, "", 0, 0, "out of memory");
        return false;
    }
    qd_arena_init(&j->arena, &oom);
    run(j);
    return true;
}

/* NULL, and reported: out of memory. */
static struct job *job_new(const struct qd_policy *policy, struct qd_problems *problems)
{
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL) {
        qd_problems_add(problems, QD_SEVERITY_ERROR, "", 0, 0, "out of memory");
        return NULL;
    }
    j->compiler = (struct qd_compiler){.file = "", .problems = problems, .is_runtime = true};
    j->policy = *policy;
    j->compiler.arena = &j->arena;
    j->compiler.policy = &j->policy;
    return j;
}

struct qd_limit_set *qd_policy_compile_limits(const struct qd_policy *policy,
                                              const struct qd_plan *plan,
                                              const struct qd_limit_entry *entries, size_t count,
                                              struct qd_problems *problems)
{
    size_t errors = qd_problems_errors(problems);
    struct job *j = job_new(policy, problems);
    if (j == NULL) {
        return NULL;
    }
    j->plan = plan;
    j->entries = entries;
    j->count = count;
    bool good = run_guarded(j, compile_all) && qd_problems_errors(problems) == errors;
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

bool qd_policy_check_limits(const struct qd_policy *policy, const struct qd_limit_set *set,
                            struct qd_problems *problems)
{
    size_t errors = qd_problems_errors(problems);
    struct job *j = job_new(policy, problems);
    if (j == NULL) {
        return false;
    }
    j->set = set;
    bool good = run_guarded(j, check_all) && qd_problems_errors(problems) == errors;
    qd_arena_release(&j->arena);
    free(j);
    return good;
}

void qd_limit_set_free(struct qd_limit_set *set)
{
    free(set);
}
