#include "server/policy/policy_diff.h"

#include "server/core/decimal.h"
#include "server/policy/arena.h"
#include "server/policy/limit_detail.h"
#include "server/policy/limit_text.h"

#include <stdlib.h>
#include <string.h>

/* The public struct comes first. */
struct owned_changes {
    struct qd_policy_changes list;
    struct qd_arena arena;
};

struct diff {
    struct qd_arena *arena;
    const struct qd_policy *old;
    const struct qd_policy *new;
    struct qd_policy_changes *list;
    struct qd_policy_change *changes;
    size_t capacity;
};

/* The policies may go before the list. */
static const char *copy(struct diff *d, const char *text)
{
    return text == NULL ? "" : qd_arena_text(d->arena, text, strlen(text));
}

static void note(struct diff *d, const char *path, const char *before, const char *after,
                 bool restarts, uint32_t line)
{
    if (d->list->count == QD_CHANGES_MAX) {
        d->list->dropped++;
        return;
    }
    d->changes =
        qd_arena_grow(d->arena, d->changes, d->list->count, &d->capacity, sizeof *d->changes);
    d->changes[d->list->count++] = (struct qd_policy_change){
        .kind = before == NULL  ? QD_CHANGE_ADDED
                : after == NULL ? QD_CHANGE_REMOVED
                                : QD_CHANGE_CHANGED,
        .path = path,
        .before = copy(d, before),
        .after = copy(d, after),
        .restarts_counters = restarts,
        .line = line,
    };
    d->list->changes = d->changes;
}

/* Notes a value that may have changed; NULL: there is none. */
static void compare(struct diff *d, const char *path, const char *before, const char *after)
{
    bool same = before == NULL ? after == NULL : after != NULL && strcmp(before, after) == 0;
    if (!same) {
        note(d, path, before, after, false, 0);
    }
}

static const char *number_text(struct diff *d, int64_t value)
{
    return value == 0 ? NULL : qd_arena_printf(d->arena, "%lld", (long long)value);
}

static const char *max_output_text(struct diff *d, const struct qd_model *m)
{
    return m->no_output ? "0" : number_text(d, m->max_output_tokens);
}

/* 0 and nothing said are not the same: see qd_gpu_time_of. */
static const char *gpu_time_text(struct diff *d, int64_t us)
{
    return us == QD_GPU_TIME_DEFAULT ? NULL : qd_arena_printf(d->arena, "%lldus", (long long)us);
}

/* --- limits -------------------------------------------------------------------------------------
 */

static const struct qd_limit_use *find_use(const struct qd_limit_use *uses, size_t count,
                                           const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(uses[i].limit->name, name) == 0) {
            return &uses[i];
        }
    }
    return NULL;
}

static void compare_limits(struct diff *d, const char *path, const struct qd_limit_use *old,
                           size_t old_count, const struct qd_limit_use *new, size_t new_count)
{
    for (size_t i = 0; i < old_count; i++) {
        if (find_use(new, new_count, old[i].limit->name) == NULL) {
            note(d, qd_arena_printf(d->arena, "%s.%s", path, old[i].limit->name),
                 qd_limit_detail(d->arena, d->old, &old[i]), NULL, false, 0);
        }
    }
    for (size_t i = 0; i < new_count; i++) {
        const struct qd_limit_use *was = find_use(old, old_count, new[i].limit->name);
        const char *after = qd_limit_detail(d->arena, d->new, &new[i]);
        const char *name = qd_arena_printf(d->arena, "%s.%s", path, new[i].limit->name);
        if (was == NULL) {
            note(d, name, NULL, after, false, new[i].line);
            continue;
        }
        const char *before = qd_limit_detail(d->arena, d->old, was);
        bool restarts = !qd_hash128_equal(was->limit->identity, new[i].limit->identity);
        if (restarts || strcmp(before, after) != 0) {
            note(d, name, before, after, restarts, new[i].line);
        }
    }
}

/* --- prices -------------------------------------------------------------------------------------
 */

static const char *price_text(struct diff *d, const struct qd_price_line *line,
                              const struct qd_policy *p)
{
    static const char *const tiers[] = {"", "batch ", "priority ", "flex "};
    char money[QD_DECIMAL_TEXT_MAX];
    (void)qd_money_format_pico(line->amount_pico, money);
    const char *text =
        qd_arena_printf(d->arena, "%s%s%s %s", tiers[line->tier], p->meters[line->meter].name,
                        line->cache_write_ttl == QD_CACHE_WRITE_1H ? " (1h)" : "", money);
    if (line->quantity != 1) {
        text = qd_arena_printf(d->arena, "%s/%lld", text, (long long)line->quantity);
    }
    if (line->above_input != 0) {
        text = qd_arena_printf(d->arena, "%s above %lld", text, (long long)line->above_input);
    }
    return text;
}

/* All sheets of a list in one text; NULL: not priced. */
static const char *list_text(struct diff *d, const struct qd_price_list *list,
                             const struct qd_policy *p)
{
    const char *text = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const struct qd_price_sheet *sheet = &list->sheets[i];
        text = qd_arena_printf(d->arena, "%s%sv%u", text == NULL ? "" : text,
                               text == NULL ? "" : "; ", sheet->version);
        for (size_t k = 0; k < sheet->line_count && k < 6; k++) {
            text = qd_arena_printf(d->arena, "%s%s %s", text, k > 0 ? "," : ":",
                                   price_text(d, &sheet->lines[k], p));
        }
        if (sheet->line_count > 6) {
            text = qd_arena_printf(d->arena, "%s, ...", text);
        }
    }
    return text;
}

static bool same_versions(const struct qd_price_list *a, const struct qd_price_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = a->sheets[i].version == b->sheets[i].version;
    }
    return same;
}

static void compare_prices(struct diff *d, const char *path, const struct qd_price_list *old,
                           const struct qd_price_list *new)
{
    if (!same_versions(old, new)) {
        note(d, path, list_text(d, old, d->old), list_text(d, new, d->new), false, 0);
    }
}

/* --- sections -----------------------------------------------------------------------------------
 */

static const char *weights_detail(struct diff *d, const struct qd_policy *p,
                                  const struct qd_meter_def *meter)
{
    char sum[QD_LIMIT_TEXT_MAX];
    if (!meter->derived) {
        return qd_arena_printf(d->arena, "plain, in %s", meter->unit);
    }
    (void)qd_weights_text(p, &meter->weights, sum);
    return qd_arena_printf(d->arena, "%s, in %s", sum, meter->unit);
}

/* Meters are told apart by their place, in holds that are open: a meter whose place changes is
 * another one. */
static void compare_meters(struct diff *d)
{
    size_t most =
        d->old->meter_count > d->new->meter_count ? d->old->meter_count : d->new->meter_count;
    for (size_t i = QD_METER_FIRST_CUSTOM; i < most; i++) {
        const struct qd_meter_def *old = i < d->old->meter_count ? &d->old->meters[i] : NULL;
        const struct qd_meter_def *new = i < d->new->meter_count ? &d->new->meters[i] : NULL;
        if (old != NULL && new != NULL && strcmp(old->name, new->name) == 0) {
            compare(d, qd_arena_printf(d->arena, "meters.%s", old->name),
                    weights_detail(d, d->old, old), weights_detail(d, d->new, new));
            continue;
        }
        if (old != NULL) {
            note(d, qd_arena_printf(d->arena, "meters.%s", old->name),
                 weights_detail(d, d->old, old), NULL, false, 0);
        }
        if (new != NULL) {
            note(d, qd_arena_printf(d->arena, "meters.%s", new->name), NULL,
                 weights_detail(d, d->new, new), false, 0);
        }
    }
}

/* Order of two names where either list may have ended. */
static int order(const char *a, const char *b)
{
    return a == NULL ? 1 : b == NULL ? -1 : strcmp(a, b);
}

static void compare_model(struct diff *d, const struct qd_model *old, const struct qd_model *new)
{
    static const struct qd_model none = {.gpu_us_per_input_token = QD_GPU_TIME_DEFAULT,
                                         .gpu_us_per_output_token = QD_GPU_TIME_DEFAULT};
    const char *name = old != NULL ? old->name : new != NULL ? new->name : "";
    const char *path = qd_arena_printf(d->arena, "models.%s", name);
    if (old == NULL || new == NULL) {
        note(d, path, old == NULL ? NULL : "a model", new == NULL ? NULL : "a model", false, 0);
        old = old != NULL ? old : &none;
        new = new != NULL ? new : &none;
    }
    compare(d, qd_arena_printf(d->arena, "%s.pool", path), old->pool, new->pool);
    if (order(old->family, new->family) != 0 && (old->family != NULL || new->family != NULL)) {
        note(d, qd_arena_printf(d->arena, "%s.family", path), old->family, new->family, true, 0);
    }
    compare(d, qd_arena_printf(d->arena, "%s.max_output_tokens", path), max_output_text(d, old),
            max_output_text(d, new));
    compare(d, qd_arena_printf(d->arena, "%s.max_input_tokens", path),
            number_text(d, old->max_input_tokens), number_text(d, new->max_input_tokens));
    compare(d, qd_arena_printf(d->arena, "%s.gpu_time.input_token", path),
            gpu_time_text(d, old->gpu_us_per_input_token),
            gpu_time_text(d, new->gpu_us_per_input_token));
    compare(d, qd_arena_printf(d->arena, "%s.gpu_time.output_token", path),
            gpu_time_text(d, old->gpu_us_per_output_token),
            gpu_time_text(d, new->gpu_us_per_output_token));
    compare_limits(d, qd_arena_printf(d->arena, "%s.limits", path), old->limits, old->limit_count,
                   new->limits, new->limit_count);
    path = qd_arena_printf(d->arena, "prices.%s", name);
    compare_prices(d, path, &old->cost, &new->cost);
    compare_prices(d, qd_arena_printf(d->arena, "%s.charge", path), &old->charge, &new->charge);
}

static void compare_models(struct diff *d)
{
    size_t i = 0;
    size_t k = 0;
    while (i < d->old->model_count || k < d->new->model_count) {
        const struct qd_model *old = i < d->old->model_count ? &d->old->models[i] : NULL;
        const struct qd_model *new = k < d->new->model_count ? &d->new->models[k] : NULL;
        int by_name = order(old != NULL ? old->name : NULL, new != NULL ? new->name : NULL);
        compare_model(d, by_name <= 0 ? old : NULL, by_name >= 0 ? new : NULL);
        i += by_name <= 0;
        k += by_name >= 0;
    }
}

static void compare_pools(struct diff *d)
{
    static const struct qd_pool none;
    size_t i = 0;
    size_t k = 0;
    while (i < d->old->pool_count || k < d->new->pool_count) {
        const struct qd_pool *old = i < d->old->pool_count ? &d->old->pools[i] : &none;
        const struct qd_pool *new = k < d->new->pool_count ? &d->new->pools[k] : &none;
        int by_name = order(old->name, new->name);
        i += by_name <= 0;
        k += by_name >= 0;
        old = by_name > 0 ? &none : old;
        new = by_name < 0 ? &none : new;
        const char *name = old->name != NULL ? old->name : new->name;
        compare(d, qd_arena_printf(d->arena, "pools.%s", name), old->name != NULL ? "a pool" : NULL,
                new->name != NULL ? "a pool" : NULL);
        compare_limits(d, qd_arena_printf(d->arena, "pools.%s.limits", name), old->limits,
                       old->limit_count, new->limits, new->limit_count);
        compare_prices(d, qd_arena_printf(d->arena, "prices.%s", name), &old->cost, &new->cost);
        compare_prices(d, qd_arena_printf(d->arena, "prices.%s.charge", name), &old->charge,
                       &new->charge);
    }
}

static void compare_plans(struct diff *d)
{
    static const struct qd_plan none;
    size_t i = 0;
    size_t k = 0;
    while (i < d->old->plan_count || k < d->new->plan_count) {
        const struct qd_plan *old = i < d->old->plan_count ? &d->old->plans[i] : &none;
        const struct qd_plan *new = k < d->new->plan_count ? &d->new->plans[k] : &none;
        int by_name = order(old->name, new->name);
        i += by_name <= 0;
        k += by_name >= 0;
        old = by_name > 0 ? &none : old;
        new = by_name < 0 ? &none : new;
        const char *path =
            qd_arena_printf(d->arena, "plans.%s", old->name != NULL ? old->name : new->name);
        compare(d, path, old->name != NULL ? "a plan" : NULL, new->name != NULL ? "a plan" : NULL);
        compare_limits(d, path, old->limits, old->limit_count, new->limits, new->limit_count);
    }
}

/* Rules in order of their text, whatever the order in which patterns are tried. */
static const struct qd_tenant_rule **sorted_rules(struct diff *d, const struct qd_policy *p);

static int order_rules(const void *left, const void *right)
{
    const struct qd_tenant_rule *const *a = left;
    const struct qd_tenant_rule *const *b = right;
    return strcmp((*a)->pattern, (*b)->pattern);
}

static const struct qd_tenant_rule **sorted_rules(struct diff *d, const struct qd_policy *p)
{
    const struct qd_tenant_rule **rules =
        qd_arena_array(d->arena, p->tenant_count + 1, sizeof *rules);
    for (size_t i = 0; i < p->tenant_count; i++) {
        rules[i] = &p->tenants[i];
    }
    qsort(rules, p->tenant_count, sizeof *rules, order_rules);
    return rules;
}

static void compare_tenants(struct diff *d)
{
    static const struct qd_tenant_rule none;
    const struct qd_tenant_rule **olds = sorted_rules(d, d->old);
    const struct qd_tenant_rule **news = sorted_rules(d, d->new);
    size_t i = 0;
    size_t k = 0;
    while (i < d->old->tenant_count || k < d->new->tenant_count) {
        const struct qd_tenant_rule *old = i < d->old->tenant_count ? olds[i] : &none;
        const struct qd_tenant_rule *new = k < d->new->tenant_count ? news[k] : &none;
        int by_name = order(old->pattern, new->pattern);
        i += by_name <= 0;
        k += by_name >= 0;
        old = by_name > 0 ? &none : old;
        new = by_name < 0 ? &none : new;
        const char *path = qd_arena_printf(d->arena, "tenants.%s",
                                           old->pattern != NULL ? old->pattern : new->pattern);
        compare(d, path, old->pattern != NULL ? "a tenant" : NULL,
                new->pattern != NULL ? "a tenant" : NULL);
        compare(d, qd_arena_printf(d->arena, "%s.plan", path),
                old->plan != NULL ? old->plan->name : NULL,
                new->plan != NULL ? new->plan->name : NULL);
        compare(d, qd_arena_printf(d->arena, "%s.blocked", path), old->blocked ? "true" : NULL,
                new->blocked ? "true" : NULL);
        compare_limits(d, path, old->limits, old->limit_count, new->limits, new->limit_count);
    }
}

static const char *labels_text(struct diff *d, const struct qd_policy *p)
{
    const char *text = NULL;
    for (size_t i = 0; i < p->rollup_label_count; i++) {
        text = qd_arena_printf(d->arena, "%s%s%s", text == NULL ? "" : text,
                               text == NULL ? "" : ", ", p->rollup_labels[i]);
    }
    return text;
}

static const char *retention_text(struct diff *d, const struct qd_policy *p)
{
    return p->ledger_retention_ns == 0
               ? NULL
               : qd_arena_printf(d->arena, "%llds",
                                 (long long)(p->ledger_retention_ns / QD_NS_PER_S));
}

static void compare_settings(struct diff *d)
{
    static const char *const rules[] = {"deny", "cap", "unpriced"};
    const struct qd_policy *a = d->old;
    const struct qd_policy *b = d->new;
    compare(d, "unknown_price", rules[a->unknown_price], rules[b->unknown_price]);
    compare_prices(d, "unknown_price.cap", &a->cap_price, &b->cap_price);
    compare(d, "default_plan", a->default_plan != NULL ? a->default_plan->name : NULL,
            b->default_plan != NULL ? b->default_plan->name : NULL);
    compare(d, "reservation_ttl",
            qd_arena_printf(d->arena, "%llds", (long long)(a->reservation_ttl_ns / QD_NS_PER_S)),
            qd_arena_printf(d->arena, "%llds", (long long)(b->reservation_ttl_ns / QD_NS_PER_S)));
    compare(d, "report_horizon",
            qd_arena_printf(d->arena, "%llds", (long long)(a->report_horizon_ns / QD_NS_PER_S)),
            qd_arena_printf(d->arena, "%llds", (long long)(b->report_horizon_ns / QD_NS_PER_S)));
    compare(d, "ledger_retention", retention_text(d, a), retention_text(d, b));
    compare(d, "rollup_labels", labels_text(d, a), labels_text(d, b));
}

/* --- public -------------------------------------------------------------------------------------
 */

static void compare_all(struct diff *d)
{
    compare_meters(d);
    compare_models(d);
    compare_pools(d);
    compare_limits(d, "limits", d->old->limits, d->old->limit_count, d->new->limits,
                   d->new->limit_count);
    compare_plans(d);
    compare_tenants(d);
    compare_settings(d);
}

static bool compare_guarded(struct owned_changes *o, const struct qd_policy *before,
                            const struct qd_policy *after)
{
    jmp_buf oom;
    if (setjmp(oom) != 0) {
        return false;
    }
    qd_arena_init(&o->arena, &oom);
    struct diff d = {.arena = &o->arena, .old = before, .new = after, .list = &o->list};
    compare_all(&d);
    o->arena.oom = NULL;
    return true;
}

struct qd_policy_changes *qd_policy_diff(const struct qd_policy *before,
                                         const struct qd_policy *after)
{
    struct owned_changes *o = calloc(1, sizeof *o);
    if (o != NULL && !compare_guarded(o, before, after)) {
        qd_policy_changes_free(&o->list);
        o = NULL;
    }
    return o == NULL ? NULL : &o->list;
}

void qd_policy_changes_free(struct qd_policy_changes *changes)
{
    if (changes == NULL) {
        return;
    }
    struct owned_changes *o = (struct owned_changes *)changes;
    qd_arena_release(&o->arena);
    free(o);
}
