/* What only the whole policy can tell of a limit: bounded estimates of hard ones (H1), prices
 * behind those of money (P8). Limits of run-time tenants get the same checks (runtime_limits.c). */
#include "server/policy/compile.h"
#include "server/policy/gpu_time.h"

#include <string.h>

static bool weighs_any(const struct qd_weights *w, uint32_t meters)
{
    for (size_t i = 0; i < w->count; i++) {
        if ((meters >> w->item[i].meter) & 1U) {
            return true;
        }
    }
    return false;
}

/* Whether the selector of `limit` can accept requests for `m`. */
static bool may_apply(const struct qd_limit *limit, const struct qd_model *m)
{
    for (size_t i = 0; i < limit->selector_count; i++) {
        const struct qd_match *test = &limit->selector[i];
        const char *value = test->attribute == QD_ATTR_MODEL ? m->name
                            : test->attribute == QD_ATTR_FAMILY
                                ? (m->family != NULL ? m->family : m->name)
                            : test->attribute == QD_ATTR_POOL ? m->pool
                                                              : NULL;
        bool is_about_model =
            (test->attribute & (QD_ATTR_MODEL | QD_ATTR_FAMILY | QD_ATTR_POOL)) != 0;
        bool found = test->any == NULL && value != NULL;
        for (size_t k = 0; test->any != NULL && value != NULL && k < test->any_count; k++) {
            found = found || strcmp(test->any[k], value) == 0;
        }
        if (is_about_model && found == test->negate) {
            return false;
        }
    }
    return true;
}

/* H1: a hard limit must know the most that a request can use. */
static void check_bound(struct qd_compiler *c, const struct qd_pending_check *check)
{
    const struct qd_limit *limit = check->limit;
    uint32_t outputs = QD_METER_BIT(QD_METER_OUTPUT_TOKENS) |
                       QD_METER_BIT(QD_METER_REASONING_TOKENS) | QD_METER_BIT(QD_METER_COST) |
                       QD_METER_BIT(QD_METER_CHARGE) | QD_METER_BIT(QD_METER_GPU_MS);
    struct qd_at at = {NULL, check->path};
    if (limit->consistency != QD_HARD || limit->default_max_output > 0 ||
        !weighs_any(&limit->admit, outputs)) {
        return;
    }
    if (c->policy->model_count == 0) {
        qd_fail(
            c, &at, check->node,
            "a hard limit needs an upper bound of the output, and the policy declares no models; "
            "declare them with \"max_output_tokens\", or give \"default_max_output\" here");
    }
    for (size_t i = 0; i < c->policy->model_count; i++) {
        const struct qd_model *m = &c->policy->models[i];
        if (m->max_output_tokens == 0 && !m->no_output && may_apply(limit, m)) {
            qd_fail(c, &at, check->node,
                    "a hard limit needs an upper bound of the output, and model \"%s\" has no "
                    "\"max_output_tokens\"; give it there, or \"default_max_output\" here",
                    m->name);
            return;
        }
    }
}

static bool estimates_gpu_time(const struct qd_policy *p, const struct qd_model *m)
{
    const struct qd_pool *pool = m->pool != NULL ? qd_find_pool(p, m->pool) : NULL;
    struct qd_gpu_time gpu = qd_gpu_time_of(p, m, pool);
    return gpu.us_per_input_token > 0 || gpu.us_per_output_token > 0;
}

/* H1: time that nothing estimates would be held as 0. */
static void check_held_time(struct qd_compiler *c, const struct qd_pending_check *check)
{
    const struct qd_limit *limit = check->limit;
    uint32_t never = QD_METER_BIT(QD_METER_PROCESSING_MS) | QD_METER_BIT(QD_METER_MEMORY_GB_MS);
    struct qd_at at = {NULL, check->path};
    if (limit->consistency != QD_HARD) {
        return;
    }
    if (weighs_any(&limit->admit, never)) {
        qd_fail(c, &at, check->node,
                "a hard limit must hold an estimate, and nothing estimates processing or memory "
                "time; GPU-time (\"gpu_seconds\") is accepted, it is estimated from the tokens");
        return;
    }
    if (!weighs_any(&limit->admit, QD_METER_BIT(QD_METER_GPU_MS))) {
        return;
    }
    for (size_t i = 0; i < c->policy->model_count; i++) {
        const struct qd_model *m = &c->policy->models[i];
        if (may_apply(limit, m) && !estimates_gpu_time(c->policy, m)) {
            qd_fail(c, &at, check->node,
                    "a hard limit of GPU-time needs an estimate of it, and model \"%s\" has none; "
                    "a \"gpu_time\" above 0 there is accepted",
                    m->name);
            return;
        }
    }
}

/* What a model costs by the second, and nobody estimates. NULL: nothing, or it is estimated. */
static const char *unbounded_time(const struct qd_policy *p, const struct qd_model *m)
{
    static const struct {
        unsigned meter;
        const char *name;
    } times[] = {{QD_METER_PROCESSING_MS, "processing_second"},
                 {QD_METER_MEMORY_GB_MS, "memory_gb_second"}};
    const struct qd_pool *pool = m->pool != NULL ? qd_find_pool(p, m->pool) : NULL;
    if ((m->priced_by_gpu_time || (pool != NULL && pool->priced_by_gpu_time)) &&
        !estimates_gpu_time(p, m)) {
        return "gpu_second";
    }
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        uint32_t bit = QD_METER_BIT(times[i].meter);
        if (qd_price_list_prices(&m->cost, bit) || qd_price_list_prices(&m->charge, bit) ||
            (pool != NULL && (qd_price_list_prices(&pool->cost, bit) ||
                              qd_price_list_prices(&pool->charge, bit)))) {
            return times[i].name;
        }
    }
    return NULL;
}

/* H1, P8: time that has a price and no estimate would be held as $0. */
static void check_times(struct qd_compiler *c, const struct qd_pending_check *check)
{
    const struct qd_limit *limit = check->limit;
    struct qd_at at = {NULL, check->path};
    if (!limit->money ||
        !weighs_any(&limit->admit, QD_METER_BIT(QD_METER_COST) | QD_METER_BIT(QD_METER_CHARGE))) {
        return;
    }
    for (size_t i = 0; i < c->policy->model_count; i++) {
        const struct qd_model *m = &c->policy->models[i];
        const char *time = may_apply(limit, m) ? unbounded_time(c->policy, m) : NULL;
        if (time == NULL) {
            continue;
        }
        const char *fix = strcmp(time, "gpu_second") == 0
                              ? "a \"gpu_time\" above 0 there is accepted"
                              : "a price by \"gpu_second\" is estimated from the tokens";
        if (limit->consistency == QD_HARD) {
            qd_fail(c, &at, check->node,
                    "a hard limit of money needs an estimate of what costs money, and model \"%s\" "
                    "has a price by \"%s\" and no estimate of that time; %s",
                    m->name, time, fix);
        } else {
            qd_warn(c, &at, check->node,
                    "holds $0 of the price by \"%s\" of model \"%s\": nothing estimates that "
                    "time; %s",
                    time, m->name, fix);
        }
        return;
    }
}

static void check_money(struct qd_compiler *c, const struct qd_pending_check *check,
                        bool has_prices)
{
    struct qd_at at = {NULL, check->path};
    if (!check->limit->money) {
        return;
    }
    if (!has_prices) {
        qd_fail(c, &at, check->node, "a limit of money needs prices; add a \"prices\" section");
    } else if (check->limit->consistency == QD_HARD &&
               c->policy->unknown_price == QD_UNKNOWN_PRICE_UNPRICED) {
        qd_fail(c, &at, check->node,
                "a hard limit of money cannot hold what has no price; \"unknown_price: deny\" or a "
                "cap is accepted");
    }
}

/* Models that money limits will refuse, said before a tenant finds out. */
static void warn_of_unpriced(struct qd_compiler *c, const struct qd_node *root)
{
    const struct qd_policy *p = c->policy;
    const struct qd_node *models = qd_node_get(root, "models");
    struct qd_at top = {0};
    struct qd_at at = {&top, "models"};
    if (p->unknown_price != QD_UNKNOWN_PRICE_DENY || !p->uses_money || models == NULL) {
        return;
    }
    for (size_t i = 0; i < models->count; i++) {
        const struct qd_node *key = qd_node_key(models, i);
        const struct qd_model *m = qd_find_model(p, key->text);
        const struct qd_pool *pool = m != NULL && m->pool != NULL ? qd_find_pool(p, m->pool) : NULL;
        if (m != NULL && m->cost.count == 0 && (pool == NULL || pool->cost.count == 0)) {
            qd_warn(c, &at, key,
                    "\"%s\" has no price: with \"unknown_price: deny\" its requests are denied",
                    m->name);
        }
    }
}

void qd_check_limit(struct qd_compiler *c, const struct qd_pending_check *check, bool has_prices)
{
    qd_check_reach(c, check);
    check_bound(c, check);
    check_held_time(c, check);
    check_times(c, check);
    check_money(c, check, has_prices);
    qd_check_budget_kept(c, check);
}

void qd_check_policy(struct qd_compiler *c, const struct qd_node *root)
{
    bool has_prices =
        qd_node_get(root, "prices") != NULL || c->policy->unknown_price == QD_UNKNOWN_PRICE_CAP;
    for (size_t i = 0; i < c->pending_count; i++) {
        qd_check_limit(c, &c->pending[i], has_prices);
    }
    qd_check_retention(c, root);
    warn_of_unpriced(c, root);
}
