/* Models and pools, and the limits that all tenants share there (P1, P3). */
#include "server/policy/compile.h"

#include <stdlib.h>
#include <string.h>

#define MODELS_MAX 65536

/* --- look-up ------------------------------------------------------------------------------------
 */

static int compare_model(const void *name, const void *model)
{
    return strcmp(name, ((const struct qd_model *)model)->name);
}

static int compare_pool(const void *name, const void *pool)
{
    return strcmp(name, ((const struct qd_pool *)pool)->name);
}

static int compare_plan(const void *name, const void *plan)
{
    return strcmp(name, ((const struct qd_plan *)plan)->name);
}

const struct qd_model *qd_find_model(const struct qd_policy *p, const char *name)
{
    return p->model_count == 0
               ? NULL
               : bsearch(name, p->models, p->model_count, sizeof *p->models, compare_model);
}

const struct qd_pool *qd_find_pool(const struct qd_policy *p, const char *name)
{
    return p->pool_count == 0
               ? NULL
               : bsearch(name, p->pools, p->pool_count, sizeof *p->pools, compare_pool);
}

const struct qd_plan *qd_find_plan(const struct qd_policy *p, const char *name)
{
    return p->plan_count == 0
               ? NULL
               : bsearch(name, p->plans, p->plan_count, sizeof *p->plans, compare_plan);
}

struct qd_model *qd_own_model(const struct qd_compiler *c, const struct qd_model *model)
{
    return &c->models[model - c->policy->models];
}

struct qd_pool *qd_own_pool(const struct qd_compiler *c, const struct qd_pool *pool)
{
    return &c->pools[pool - c->policy->pools];
}

/* At most this many names are compared for a suggestion. */
#define OFFERS_MAX 2000

static void unknown(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                    const char *kind, struct qd_suggest *s, size_t count)
{
    const char *text = node->kind == QD_NODE_SCALAR ? node->text : "";
    if (count == 0) {
        qd_fail(c, at, node, "\"%.127s\": unknown %s; the policy declares none", text, kind);
        return;
    }
    qd_fail(c, at, node, "\"%.127s\": unknown %s; a name under \"%ss\" is accepted%s", text, kind,
            kind, qd_did_you_mean(c, s));
}

void qd_unknown_model(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    struct qd_suggest s;
    qd_suggest_init(&s, node->kind == QD_NODE_SCALAR ? node->text : "");
    for (size_t i = 0; i < c->policy->model_count && i < OFFERS_MAX; i++) {
        qd_suggest_offer(&s, c->policy->models[i].name);
    }
    unknown(c, at, node, "model", &s, c->policy->model_count);
}

void qd_unknown_pool(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    struct qd_suggest s;
    qd_suggest_init(&s, node->kind == QD_NODE_SCALAR ? node->text : "");
    for (size_t i = 0; i < c->policy->pool_count && i < OFFERS_MAX; i++) {
        qd_suggest_offer(&s, c->policy->pools[i].name);
    }
    unknown(c, at, node, "pool", &s, c->policy->pool_count);
}

void qd_unknown_plan(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    struct qd_suggest s;
    qd_suggest_init(&s, node->kind == QD_NODE_SCALAR ? node->text : "");
    for (size_t i = 0; i < c->policy->plan_count && i < OFFERS_MAX; i++) {
        qd_suggest_offer(&s, c->policy->plans[i].name);
    }
    unknown(c, at, node, "plan", &s, c->policy->plan_count);
}

/* --- models -------------------------------------------------------------------------------------
 */

static void read_family(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                        void *object)
{
    ((struct qd_model *)object)->family = qd_read_name(c, at, value);
}

static void read_model_pool(struct qd_compiler *c, const struct qd_at *at,
                            const struct qd_node *value, void *object)
{
    struct qd_model *m = object;
    m->pool = qd_read_name(c, at, value);
    if (m->pool != NULL && c->has_pools_section && qd_find_pool(c->policy, m->pool) == NULL) {
        qd_unknown_pool(c, at, value);
    }
}

static void read_max_output(struct qd_compiler *c, const struct qd_at *at,
                            const struct qd_node *value, void *object)
{
    struct qd_model *m = object;
    m->no_output = qd_read_amount(c, at, value, 0, QD_AMOUNT_MAX, &m->max_output_tokens) &&
                   m->max_output_tokens == 0;
}

static void read_max_input(struct qd_compiler *c, const struct qd_at *at,
                           const struct qd_node *value, void *object)
{
    (void)qd_read_amount(c, at, value, 1, QD_AMOUNT_MAX,
                         &((struct qd_model *)object)->max_input_tokens);
}

/* GPU-time of one token, 1 us to 1 h, in us. */
static void read_gpu_time(struct qd_compiler *c, const struct qd_at *at,
                          const struct qd_node *value, int64_t *ret_us)
{
    int64_t number;
    const char *unit = value->kind == QD_NODE_SCALAR ? strpbrk(value->text, "um") : NULL;
    char digits[32] = "";
    if (unit != NULL && (strcmp(unit, "us") == 0 || strcmp(unit, "ms") == 0) &&
        (size_t)(unit - value->text) < sizeof digits) {
        memcpy(digits, value->text, (size_t)(unit - value->text));
        char *end = NULL;
        number = strtoll(digits, &end, 10);
        if (end != digits && *end == '\0' && digits[0] >= '0' && digits[0] <= '9' &&
            number <= 3600000000) {
            *ret_us = unit[0] == 'm' ? number * 1000 : number;
            if (*ret_us <= 3600000000) {
                return;
            }
        }
    }
    qd_fail(c, at, value,
            "GPU-time of one token is accepted here, in whole us or ms, as 40us or 9ms");
}

static void read_gpu_input(struct qd_compiler *c, const struct qd_at *at,
                           const struct qd_node *value, void *object)
{
    read_gpu_time(c, at, value, &((struct qd_model *)object)->gpu_us_per_input_token);
}

static void read_gpu_output(struct qd_compiler *c, const struct qd_at *at,
                            const struct qd_node *value, void *object)
{
    read_gpu_time(c, at, value, &((struct qd_model *)object)->gpu_us_per_output_token);
}

static void read_gpu(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                     void *object)
{
    static const struct qd_field fields[] = {{"input_token", read_gpu_input},
                                             {"output_token", read_gpu_output}};
    (void)qd_read_fields(c, at, value, fields, 2, object);
}

/* Limits are read when all models are known. */
static void skip(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                 void *object)
{
    (void)c;
    (void)at;
    (void)value;
    (void)object;
}

static const struct qd_field model_fields[] = {
    {"pool", read_model_pool},
    {"family", read_family},
    {"max_output_tokens", read_max_output},
    {"max_input_tokens", read_max_input},
    {"gpu_time", read_gpu},
    {"limits", skip},
};

static int order_nodes(const void *left, const void *right)
{
    const struct qd_node *const *a = left;
    const struct qd_node *const *b = right;
    return strcmp((*a)->text, (*b)->text);
}

/* Keys and values of a map in order of the keys: {key, value} pairs. NULL count 0. */
static const struct qd_node **sorted_pairs(struct qd_compiler *c, const struct qd_node *map)
{
    const struct qd_node **pairs = qd_arena_array(c->arena, 2 * map->count + 1, sizeof *pairs);
    for (size_t i = 0; i < 2 * map->count; i++) {
        pairs[i] = map->items[i];
    }
    qsort(pairs, map->count, 2 * sizeof *pairs, order_nodes);
    return pairs;
}

static int order_pools(const void *left, const void *right)
{
    return strcmp(((const struct qd_pool *)left)->name, ((const struct qd_pool *)right)->name);
}

/* Pools as the "pools" section lists them. */
static void declare_pools(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    struct qd_policy *p = c->policy;
    if (!qd_expect_map(c, at, node, "a map of pools")) {
        return;
    }
    const struct qd_node **pairs = sorted_pairs(c, node);
    struct qd_pool *pools = qd_arena_array(c->arena, node->count + 1, sizeof *pools);
    size_t count = 0;
    for (size_t i = 0; i < node->count; i++) {
        static const struct qd_field fields[] = {{"limits", skip}};
        struct qd_at below = {at, pairs[2 * i]->text};
        const char *name = qd_read_name(c, at, pairs[2 * i]);
        if (name != NULL) {
            (void)qd_read_fields(c, &below, pairs[2 * i + 1], fields, 1, NULL);
            pools[count++].name = name;
        }
    }
    c->pools = pools;
    p->pools = pools;
    p->pool_count = count;
}

/* Without a "pools" section the models' pools are the pools. */
static void derive_pools(struct qd_compiler *c)
{
    struct qd_policy *p = c->policy;
    struct qd_pool *pools = qd_arena_array(c->arena, p->model_count + 1, sizeof *pools);
    size_t count = 0;
    for (size_t i = 0; i < p->model_count; i++) {
        if (p->models[i].pool != NULL) {
            pools[count++].name = p->models[i].pool;
        }
    }
    qsort(pools, count, sizeof *pools, order_pools);
    size_t unique = 0;
    for (size_t i = 0; i < count; i++) {
        if (unique == 0 || strcmp(pools[unique - 1].name, pools[i].name) != 0) {
            pools[unique++] = pools[i];
        }
    }
    c->pools = pools;
    p->pools = pools;
    p->pool_count = unique;
}

void qd_compile_models(struct qd_compiler *c, const struct qd_node *models,
                       const struct qd_node *pools)
{
    struct qd_policy *p = c->policy;
    struct qd_at top = {0};
    struct qd_at at_models = {&top, "models"};
    struct qd_at at_pools = {&top, "pools"};
    c->has_pools_section = pools != NULL;
    if (pools != NULL) {
        declare_pools(c, &at_pools, pools);
    }
    if (models != NULL && qd_expect_map(c, &at_models, models, "a map of models")) {
        if (models->count > MODELS_MAX) {
            qd_fail(c, &at_models, models, "too many models; at most %d are accepted", MODELS_MAX);
            return;
        }
        const struct qd_node **pairs = sorted_pairs(c, models);
        struct qd_model *list = qd_arena_array(c->arena, models->count + 1, sizeof *list);
        size_t count = 0;
        for (size_t i = 0; i < models->count; i++) {
            struct qd_at below = {&at_models, pairs[2 * i]->text};
            list[count].name = qd_read_name(c, &at_models, pairs[2 * i]);
            list[count].gpu_us_per_input_token = QD_GPU_TIME_DEFAULT;
            list[count].gpu_us_per_output_token = QD_GPU_TIME_DEFAULT;
            if (list[count].name != NULL) {
                (void)qd_read_fields(c, &below, pairs[2 * i + 1], model_fields,
                                     sizeof model_fields / sizeof model_fields[0], &list[count]);
                count++;
            }
        }
        c->models = list;
        p->models = list;
        p->model_count = count;
    }
    if (!c->has_pools_section) {
        derive_pools(c);
    }
}

/* --- limits of models and pools -----------------------------------------------------------------
 */

/* The "limits" of `entry` (a model's or pool's map). */
static struct qd_use_list shared_limits(struct qd_compiler *c, const struct qd_at *at,
                                        const struct qd_node *entry, const char *what,
                                        const char *name)
{
    struct qd_use_list list = {0};
    const struct qd_node *limits = qd_node_get(entry, "limits");
    if (limits == NULL) {
        return list;
    }
    struct qd_limit_scope scope = {
        .kind = qd_arena_printf(c->arena, "%s %s", what, name),
        .owner = qd_arena_printf(c->arena, "%s:%s", what, name),
        .origin = qd_arena_printf(c->arena, "%s %s", what, name),
        .is_shared = true,
        .model = strcmp(what, "model") == 0 ? name : NULL,
        .pool = strcmp(what, "pool") == 0 ? name : NULL,
    };
    struct qd_at below = {at, "limits"};
    qd_compile_limits(c, &below, limits, &scope, &list);
    return list;
}

void qd_compile_model_limits(struct qd_compiler *c, const struct qd_node *models,
                             const struct qd_node *pools)
{
    struct qd_policy *p = c->policy;
    struct qd_at top = {0};
    struct qd_at at_models = {&top, "models"};
    struct qd_at at_pools = {&top, "pools"};
    for (size_t i = 0; models != NULL && models->kind == QD_NODE_MAP && i < models->count; i++) {
        const struct qd_node *key = qd_node_key(models, i);
        struct qd_at at = {&at_models, key->text};
        const struct qd_model *model = qd_find_model(p, key->text);
        if (model != NULL) {
            struct qd_use_list list =
                shared_limits(c, &at, qd_node_value(models, i), "model", model->name);
            struct qd_model *mine = qd_own_model(c, model);
            mine->limits = list.uses;
            mine->limit_count = list.count;
        }
    }
    for (size_t i = 0; pools != NULL && pools->kind == QD_NODE_MAP && i < pools->count; i++) {
        const struct qd_node *key = qd_node_key(pools, i);
        struct qd_at at = {&at_pools, key->text};
        const struct qd_pool *pool = qd_find_pool(p, key->text);
        if (pool != NULL) {
            struct qd_use_list list =
                shared_limits(c, &at, qd_node_value(pools, i), "pool", pool->name);
            struct qd_pool *mine = qd_own_pool(c, pool);
            mine->limits = list.uses;
            mine->limit_count = list.count;
        }
    }
}
