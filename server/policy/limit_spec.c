/* One limit of a policy, short or long form, to an interned spec and its use (P1, P3). */
#include "server/policy/intern.h"
#include "server/policy/limit_draft.h"

#include <stdio.h>
#include <string.h>

static const char *const key_names[QD_KEY_COUNT] = {
#define X(id, name) [QD_KEY_##id] = (name),
    QD_LIMIT_KEYS(X)
#undef X
};

struct qd_at qd_draft_at(const struct qd_limit_draft *d, enum qd_limit_key key)
{
    bool is_short = d->value->kind != QD_NODE_MAP;
    return is_short ? *d->at : (struct qd_at){d->at, key_names[key]};
}

void qd_draft_fail(struct qd_limit_draft *d, enum qd_limit_key key, const char *format, ...)
{
    va_list args;
    char message[QD_PROBLEM_TEXT_MAX];
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    d->is_bad = true;
    struct qd_at at = qd_draft_at(d, key);
    bool is_given = d->given[key] != NULL;
    qd_fail(d->c, is_given ? &at : d->at, is_given ? d->given[key] : d->key, "%s", message);
}

static void unknown_limit_key(struct qd_limit_draft *d, const struct qd_node *key)
{
    struct qd_field fields[QD_KEY_COUNT];
    for (size_t i = 0; i < QD_KEY_COUNT; i++) {
        fields[i] = (struct qd_field){.name = key_names[i]};
    }
    qd_unknown_key(d->c, d->at, key, fields, QD_KEY_COUNT);
    d->is_bad = true;
}

static void collect_keys(struct qd_limit_draft *d)
{
    if (d->value->kind == QD_NODE_SCALAR) {
        d->given[QD_KEY_LIMIT] = d->value;
        return;
    }
    if (d->value->kind != QD_NODE_MAP) {
        qd_fail(d->c, d->at, d->value,
                "%s; a limit is accepted here, as 600/min or {limit: 600/min, per: model}",
                qd_node_kind_text(d->value));
        d->is_bad = true;
        return;
    }
    for (size_t i = 0; i < d->value->count; i++) {
        const struct qd_node *key = qd_node_key(d->value, i);
        size_t k = 0;
        while (k < QD_KEY_COUNT && strcmp(key_names[k], key->text) != 0) {
            k++;
        }
        if (k == QD_KEY_COUNT) {
            unknown_limit_key(d, key);
        } else {
            d->given[k] = qd_node_value(d->value, i);
        }
    }
}

/* The limit of the plan that a tenant's own limit of this name replaces, or NULL. */
static const struct qd_limit *replaced(const struct qd_limit_draft *d)
{
    const struct qd_plan *plan = d->scope->plan;
    for (size_t i = 0; plan != NULL && i < plan->limit_count; i++) {
        if (strcmp(plan->limits[i].limit->name, d->key->text) == 0) {
            return plan->limits[i].limit;
        }
    }
    return NULL;
}

static void unknown_limit_name(struct qd_limit_draft *d)
{
    const struct qd_plan *plan = d->scope->plan;
    struct qd_suggest s;
    qd_suggest_init(&s, d->key->text);
    qd_meter_suggest(d->c->policy, &s);
    for (size_t i = 0; plan != NULL && i < plan->limit_count; i++) {
        qd_suggest_offer(&s, plan->limits[i].limit->name);
    }
    const char *also =
        plan == NULL ? "" : qd_arena_printf(d->c->arena, ", a limit of plan %s", plan->name);
    qd_fail(d->c, d->at->up, d->key,
            "\"%s\": unknown meter; accepted: %s%s, or any name with \"meter\" or \"weights\"%s",
            d->key->text, qd_meter_names(d->c), also, qd_did_you_mean(d->c, &s));
    d->is_bad = true;
}

static void use_counted(struct qd_limit_draft *d)
{
    qd_weights_of_meter(d->c->policy, d->counted.meter, &d->spec.admit);
    d->spec.settle = d->spec.admit;
    d->spec.unit = d->counted.unit;
    d->spec.unit_scale = d->counted.unit_scale;
    d->spec.money = d->counted.is_money;
}

/* True if `w` weighs `meter`. */
static bool weighs(const struct qd_weights *w, int meter)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->item[i].meter == meter) {
            return true;
        }
    }
    return false;
}

/* The unit of a sum: that of its meters if they agree, else "units". */
static void unit_of_weights(struct qd_limit_draft *d, const struct qd_weights *w)
{
    const struct qd_meter_def *meters = d->c->policy->meters;
    bool is_money = weighs(w, QD_METER_COST) || weighs(w, QD_METER_CHARGE);
    const char *unit = meters[w->item[0].meter].unit;
    for (size_t i = 1; i < w->count; i++) {
        if (strcmp(unit, meters[w->item[i].meter].unit) != 0) {
            unit = "units";
        }
    }
    bool is_plain = w->count == 1 && w->den == 1 && w->item[0].num == 1;
    struct qd_counted one;
    if (is_plain && qd_meter_lookup(d->c->policy, meters[w->item[0].meter].name, &one)) {
        d->counted = one;
        d->counted.scale = one.is_money ? one.scale : 1;
    } else {
        d->counted = (struct qd_counted){
            .meter = -1,
            .scale = is_money ? INT64_C(1000000000) : 1,
            .unit = is_money ? "USD" : unit,
            .unit_scale = is_money ? INT64_C(1000000000) : 1,
            .is_money = is_money,
        };
    }
    d->spec.unit = d->counted.unit;
    d->spec.unit_scale = d->counted.unit_scale;
    d->spec.money = d->counted.is_money;
}

static bool read_meter(struct qd_limit_draft *d)
{
    const struct qd_node *node = d->given[QD_KEY_METER];
    if (node->kind == QD_NODE_SCALAR && qd_meter_lookup(d->c->policy, node->text, &d->counted)) {
        use_counted(d);
        return true;
    }
    struct qd_suggest s;
    qd_suggest_init(&s, node->kind == QD_NODE_SCALAR ? node->text : "");
    qd_meter_suggest(d->c->policy, &s);
    qd_draft_fail(d, QD_KEY_METER, "\"%s\": unknown meter; accepted: %s%s",
                  node->kind == QD_NODE_SCALAR ? node->text : "", qd_meter_names(d->c),
                  qd_did_you_mean(d->c, &s));
    return false;
}

static bool read_weights_key(struct qd_limit_draft *d, enum qd_limit_key key,
                             struct qd_weights *ret_weights)
{
    struct qd_at at = qd_draft_at(d, key);
    const struct qd_node *node = d->given[key];
    if (key == QD_KEY_ADMIT && node->kind == QD_NODE_SCALAR && strcmp(node->text, "none") == 0) {
        *ret_weights =
            d->spec.settle; /* the same meters, but nothing is held: counted as it happens */
        for (size_t i = 0; i < ret_weights->count; i++) {
            ret_weights->item[i].num = 0;
        }
        ret_weights->den = 1;
        return true;
    }
    if (!qd_read_weights(d->c, &at, node, key == QD_KEY_ADMIT, ret_weights)) {
        d->is_bad = true;
        return false;
    }
    if (ret_weights->count == 0) {
        qd_draft_fail(d, key, "all weights are 0; a limit must count something");
        return false;
    }
    return true;
}

/* What is counted: meter, weights, admit, settle, or else the limit's name. */
static void draft_weights(struct qd_limit_draft *d)
{
    const struct qd_limit *base = replaced(d);
    bool has_admit = d->given[QD_KEY_ADMIT] != NULL;
    bool has_settle = d->given[QD_KEY_SETTLE] != NULL;
    if (d->given[QD_KEY_METER] != NULL && d->given[QD_KEY_WEIGHTS] != NULL) {
        qd_draft_fail(d, QD_KEY_METER, "either \"meter\" or \"weights\" is accepted, not both");
        return;
    }
    if (d->given[QD_KEY_METER] != NULL) {
        if (!read_meter(d)) {
            return;
        }
    } else if (d->given[QD_KEY_WEIGHTS] != NULL) {
        if (!read_weights_key(d, QD_KEY_WEIGHTS, &d->spec.settle)) {
            return;
        }
        d->spec.admit = d->spec.settle;
        unit_of_weights(d, &d->spec.settle);
    } else if (qd_meter_lookup(d->c->policy, d->key->text, &d->counted)) {
        use_counted(d);
    } else if (base != NULL) {
        d->spec.admit = base->admit;
        d->spec.settle = base->settle;
        unit_of_weights(d, &base->settle);
        d->spec.unit = base->unit;
    } else if (!has_settle) {
        unknown_limit_name(d);
        return;
    }
    if (has_settle) {
        if (!read_weights_key(d, QD_KEY_SETTLE, &d->spec.settle)) {
            return;
        }
        if (d->spec.unit == NULL) {
            d->spec.admit = d->spec.settle;
            unit_of_weights(d, &d->spec.settle);
        }
    }
    if (has_admit) {
        (void)read_weights_key(d, QD_KEY_ADMIT, &d->spec.admit);
    }
}

static void draft_unit(struct qd_limit_draft *d)
{
    if (d->given[QD_KEY_UNIT] == NULL) {
        return;
    }
    struct qd_at at = qd_draft_at(d, QD_KEY_UNIT);
    const char *unit = qd_read_name(d->c, &at, d->given[QD_KEY_UNIT]);
    if (unit == NULL) {
        d->is_bad = true;
    } else if (d->spec.money) {
        qd_draft_fail(d, QD_KEY_UNIT, "money is always shown in USD");
    } else {
        d->spec.unit = unit;
    }
}

/* Remembers what the policy as a whole must know of its limits. */
static void note_in_policy(struct qd_limit_draft *d, const struct qd_limit *limit)
{
    struct qd_policy *p = d->c->policy;
    if (d->c->is_runtime) {
        return;
    }
    p->uses_quantile = p->uses_quantile || limit->output_estimate == QD_OUTPUT_QUANTILE;
    p->uses_money = p->uses_money || limit->money;
    if (limit->consistency == QD_HARD || limit->money || limit->selector_count > 0 ||
        qd_limit_is_budget(limit)) {
        struct qd_compiler *c = d->c;
        c->pending = qd_arena_grow(c->arena, c->pending, c->pending_count, &c->pending_capacity,
                                   sizeof *c->pending);
        c->pending[c->pending_count++] = (struct qd_pending_check){.limit = limit,
                                                                   .node = d->key,
                                                                   .path = qd_at_text(c, d->at),
                                                                   .scope = *d->scope,
                                                                   .match = d->given[QD_KEY_MATCH]};
    }
}

static void append_use(struct qd_limit_draft *d, struct qd_use_list *list)
{
    struct qd_compiler *c = d->c;
    const struct qd_limit *limit = qd_intern_limit(&d->spec, d->scope->kind);
    const char *origin = qd_intern_text(d->scope->origin, strlen(d->scope->origin));
    if (limit == NULL || origin == NULL) {
        qd_arena_out_of_memory(c->arena);
    }
    note_in_policy(d, limit);
    list->uses =
        qd_arena_grow(c->arena, list->uses, list->count, &list->capacity, sizeof *list->uses);
    list->uses[list->count++] = (struct qd_limit_use){
        .limit = limit,
        .amount = d->amount,
        .burst = d->burst,
        .origin = origin,
        .file = c->is_runtime ? NULL : c->file,
        .line = c->is_runtime ? 0 : d->key->line,
        .column = c->is_runtime ? 0 : d->key->column,
    };
}

void qd_compile_limit(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                      const struct qd_node *value, const struct qd_limit_scope *scope,
                      struct qd_use_list *list)
{
    struct qd_limit_draft d = {
        .c = c,
        .at = at,
        .key = key,
        .value = value,
        .scope = scope,
        .spec = {.name = key->text, .owner = scope->owner, .refunds = true},
    };
    if (qd_read_ident(c, at->up, key, "a limit's name") == NULL) {
        return;
    }
    if (list->count == QD_OWN_LIMITS_MAX) {
        qd_fail(c, at->up, key, "too many limits; at most %d are accepted here", QD_OWN_LIMITS_MAX);
        return;
    }
    collect_keys(&d);
    if (d.value->kind != QD_NODE_LIST) {
        draft_weights(&d);
    }
    if (d.spec.unit == NULL) {
        return; /* reported: without a meter the rest makes no sense */
    }
    draft_unit(&d);
    qd_draft_window(&d);
    qd_draft_selector(&d);
    qd_draft_options(&d);
    if (!d.is_bad) {
        append_use(&d, list);
    }
}

void qd_compile_limits(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       const struct qd_limit_scope *scope, struct qd_use_list *list)
{
    if (!qd_expect_map(c, at, node, "a map of limits")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        struct qd_at below = {at, qd_node_key(node, i)->text};
        qd_compile_limit(c, &below, qd_node_key(node, i), qd_node_value(node, i), scope, list);
    }
}
