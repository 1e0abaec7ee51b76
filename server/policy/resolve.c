#include "server/policy/resolve.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Everything that one call works with. */
struct work {
    const struct qd_resolve_input *in;
    struct qd_resolution *out;
    uint8_t depths;
};

void qd_attributes_complete(const struct qd_policy *policy, struct qd_attributes *a)
{
    const struct qd_model *m = a->model.ptr != NULL ? qd_policy_model(policy, a->model) : NULL;
    if (m == NULL) {
        if (a->family.ptr == NULL) {
            a->family = a->model;
        }
        return;
    }
    const char *family = m->family != NULL ? m->family : m->name;
    if (a->family.ptr == NULL) {
        a->family = (struct qd_str){family, strlen(family)};
    }
    if (a->pool.ptr == NULL && m->pool != NULL) {
        a->pool = (struct qd_str){m->pool, strlen(m->pool)};
    }
}

static bool has_attribute(const struct qd_attributes *a, const struct qd_match *m)
{
    switch ((enum qd_attribute)m->attribute) {
    case QD_ATTR_MODEL:
        return a->model.ptr != NULL;
    case QD_ATTR_FAMILY:
        return a->family.ptr != NULL || a->model.ptr != NULL;
    case QD_ATTR_POOL:
        return a->pool.ptr != NULL;
    case QD_ATTR_USER:
        return a->user.ptr != NULL;
    case QD_ATTR_TENANT:
        return true;
    case QD_ATTR_LABEL:
        for (size_t i = 0; i < a->label_count; i++) {
            if (a->labels[i].name.len == strlen(m->label) &&
                memcmp(a->labels[i].name.ptr, m->label, a->labels[i].name.len) == 0) {
                return true;
            }
        }
        return false;
    }
    return false;
}

/* For listing: a test of an attribute that is not given does not count. */
static bool selects(const struct work *w, const struct qd_limit *limit)
{
    const struct qd_attributes *a = w->in->attributes;
    if (!w->in->all) {
        return qd_limit_selects(limit, a);
    }
    for (size_t i = 0; i < limit->selector_count; i++) {
        struct qd_limit one = *limit;
        one.selector = &limit->selector[i];
        one.selector_count = 1;
        if (has_attribute(a, &limit->selector[i]) && !qd_limit_selects(&one, a)) {
            return false;
        }
    }
    return true;
}

/* --- names --------------------------------------------------------------------------------------
 */

/* Appends to the name that begins at `start`; cut off where the room ends. */
static void append(struct qd_resolution *r, const char *ptr, size_t len)
{
    size_t room = sizeof r->text - r->text_used;
    size_t take = len < room ? len : room;
    if (take > 0) {
        memcpy(r->text + r->text_used, ptr, take);
        r->text_used += take;
    }
}

static void append_value(struct qd_resolution *r, size_t start, const char *name,
                         struct qd_str value)
{
    if (r->text_used > start) {
        append(r, " ", 1);
    }
    append(r, name, strlen(name));
    append(r, "=", 1);
    append(r, value.ptr, value.len);
}

static void append_per(struct qd_resolution *r, size_t start, const struct qd_limit *limit,
                       const struct qd_attributes *a)
{
    if (limit->per & QD_ATTR_MODEL) {
        append_value(r, start, "model", a->model);
    }
    if (limit->per & QD_ATTR_FAMILY) {
        append_value(r, start, "family", a->family.ptr != NULL ? a->family : a->model);
    }
    if (limit->per & QD_ATTR_POOL) {
        append_value(r, start, "pool", a->pool);
    }
    if (limit->per & QD_ATTR_USER) {
        append_value(r, start, "user", a->user);
    }
    if (limit->per & QD_ATTR_TENANT) {
        append_value(r, start, "tenant", a->tenant);
    }
    for (size_t i = 0; (limit->per & QD_ATTR_LABEL) != 0 && i < a->label_count; i++) {
        if (a->labels[i].name.len == strlen(limit->per_label) &&
            memcmp(a->labels[i].name.ptr, limit->per_label, a->labels[i].name.len) == 0) {
            append_value(r, start, limit->per_label, a->labels[i].value);
        }
    }
}

/* "acme/search", "acme model=gpt-4o", "pool h100", "global". */
static struct qd_str name_counter(struct work *w, const struct qd_limit_use *use, uint8_t depth)
{
    struct qd_resolution *r = w->out;
    const struct qd_attributes *a = w->in->attributes;
    size_t start = r->text_used;
    if (depth > 0) {
        struct qd_str path = qd_tenant_path_prefix(a->tenant, depth);
        append(r, path.ptr, path.len);
    } else {
        append(r, use->origin, strlen(use->origin));
    }
    append_per(r, start, use->limit, a);
    return (struct qd_str){r->text + start, r->text_used - start};
}

/* --- limits -------------------------------------------------------------------------------------
 */

static int64_t scale_amount(int64_t amount, int64_t num, int64_t den)
{
    qd_int128 scaled = (qd_int128)amount * num / den;
    if (scaled < 0) {
        return 0;
    }
    return scaled > QD_AMOUNT_MAX ? QD_AMOUNT_MAX : (int64_t)scaled;
}

static void until(struct qd_resolution *r, struct qd_wall_ns end)
{
    if (end.ns < r->valid_until.ns) {
        r->valid_until = end;
    }
}

static void adjust(const struct work *w, const struct qd_override *o, struct qd_resolved_limit *l)
{
    const struct qd_limit_use *use = l->use;
    for (size_t i = 0; o != NULL && i < o->adjust_count; i++) {
        const struct qd_adjust *x = &o->adjusts[i];
        if (strcmp(x->limit, use->limit->name) != 0 || x->until.ns <= w->in->now.ns ||
            (x->one_counter && !qd_hash128_equal(x->counter, l->counter))) {
            continue;
        }
        switch (x->kind) {
        case QD_ADJUST_PERCENT:
            l->amount = scale_amount(l->amount, x->value, 100);
            l->burst = scale_amount(l->burst, x->value, 100);
            break;
        case QD_ADJUST_ABSOLUTE:
            l->burst = l->amount > 0 ? scale_amount(l->burst, x->value, l->amount) : x->value;
            l->amount = scale_amount(x->value, 1, 1);
            break;
        case QD_ADJUST_ADD: {
            qd_int128 sum = (qd_int128)l->amount + x->value;
            l->amount = sum < 0 ? 0 : sum > QD_AMOUNT_MAX ? QD_AMOUNT_MAX : (int64_t)sum;
            break;
        }
        }
        if (x->until.ns != QD_WALL_NEVER) {
            l->boosted_until = x->until;
            until(w->out, x->until);
        }
    }
    if (use->burst == 0) {
        l->burst = 0;
    }
}

static void apply(struct work *w, const struct qd_limit_use *use, uint8_t depth,
                  const struct qd_override *o, const struct qd_plan *plan, bool runtime)
{
    struct qd_resolution *r = w->out;
    if (!selects(w, use->limit)) {
        return;
    }
    if (r->count == QD_LIMITS_PER_CHECK_MAX) {
        r->status = QD_RESOLVE_TOO_MANY;
        return;
    }
    struct qd_resolved_limit *l = &r->limit[r->count++];
    *l = (struct qd_resolved_limit){
        .use = use,
        .plan = plan,
        .runtime = runtime,
        .depth = depth,
        .amount = use->amount,
        .burst = use->burst,
        .counter = qd_counter_identity(use->limit, w->in->attributes, depth, w->in->seed),
        .name = name_counter(w, use, depth),
    };
    adjust(w, o, l);
}

static bool has_limit(const struct qd_limit_use *uses, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(uses[i].limit->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* --- one depth ----------------------------------------------------------------------------------
 */

static const struct qd_override *override_at(const struct work *w, uint8_t depth)
{
    return w->in->overrides == NULL ? NULL : w->in->overrides[depth - 1];
}

static void note_block(struct work *w, const struct qd_tenant_rule *rule,
                       const struct qd_override *o, uint8_t depth)
{
    struct qd_resolution *r = w->out;
    bool by_record = o != NULL && o->blocked && o->blocked_until.ns > w->in->now.ns;
    if (by_record && o->blocked_until.ns != QD_WALL_NEVER) {
        until(r, o->blocked_until);
    }
    if ((by_record || (rule != NULL && rule->blocked)) && !r->blocked) {
        r->blocked = true;
        r->blocked_depth = depth;
    }
}

/* What gives one path its limits. A limit of the same name in a later one takes the place of an
 * earlier one's. */
struct sources {
    const struct qd_plan *plan;
    const struct qd_tenant_rule *pattern; /* where no line or record gives a plan (P2) */
    const struct qd_tenant_rule *rule;    /* the policy's own line for the path */
    const struct qd_override *record;
};

static bool rule_has(const struct qd_tenant_rule *rule, const char *name)
{
    return rule != NULL && has_limit(rule->limits, rule->limit_count, name);
}

static bool record_has(const struct qd_override *o, const char *name)
{
    return o != NULL && has_limit(o->limits, o->limit_count, name);
}

static void apply_depth(struct work *w, uint8_t depth, const struct sources *from)
{
    const struct qd_override *o = from->record;
    for (size_t i = 0; from->plan != NULL && i < from->plan->limit_count; i++) {
        const char *name = from->plan->limits[i].limit->name;
        if (!rule_has(from->pattern, name) && !rule_has(from->rule, name) && !record_has(o, name)) {
            apply(w, &from->plan->limits[i], depth, o, from->plan, false);
        }
    }
    for (size_t i = 0; from->pattern != NULL && i < from->pattern->limit_count; i++) {
        const char *name = from->pattern->limits[i].limit->name;
        if (!rule_has(from->rule, name) && !record_has(o, name)) {
            apply(w, &from->pattern->limits[i], depth, o, NULL, false);
        }
    }
    for (size_t i = 0; from->rule != NULL && i < from->rule->limit_count; i++) {
        if (!record_has(o, from->rule->limits[i].limit->name)) {
            apply(w, &from->rule->limits[i], depth, o, NULL, false);
        }
    }
    for (size_t i = 0; o != NULL && i < o->limit_count; i++) {
        apply(w, &o->limits[i], depth, o, NULL, true);
    }
}

static void resolve_depth(struct work *w, uint8_t depth)
{
    const struct qd_policy *p = w->in->policy;
    struct qd_str path = qd_tenant_path_prefix(w->in->attributes->tenant, depth);
    const struct qd_override *o = override_at(w, depth);
    struct sources from = {.record = o, .rule = qd_policy_tenant_rule(p, path)};
    struct qd_str plan_from = path;
    /* P2: patterns are for tenants that the policy doesn't list. A record without a plan only adds
     * to what the pattern gives; one with a plan takes its place. */
    if (from.rule != NULL && from.rule->is_pattern) {
        from.pattern = o != NULL && o->has_plan ? NULL : from.rule;
        from.rule = NULL;
    }
    if (o != NULL && o->has_plan) {
        from.plan = o->plan;
    } else if (from.rule != NULL) {
        from.plan = from.rule->plan;
    } else if (from.pattern != NULL) {
        from.plan = from.pattern->plan;
        plan_from = (struct qd_str){from.pattern->pattern, strlen(from.pattern->pattern)};
    }
    note_block(w, from.rule != NULL ? from.rule : from.pattern, o, depth);
    if (from.plan != NULL) {
        w->out->plan = from.plan;
        w->out->plan_from = plan_from;
    }
    apply_depth(w, depth, &from);
}

static void apply_shared(struct work *w)
{
    const struct qd_policy *p = w->in->policy;
    const struct qd_attributes *a = w->in->attributes;
    const struct qd_model *model = a->model.ptr != NULL ? qd_policy_model(p, a->model) : NULL;
    const struct qd_pool *pool = a->pool.ptr != NULL ? qd_policy_pool(p, a->pool) : NULL;
    for (size_t i = 0; model != NULL && i < model->limit_count; i++) {
        apply(w, &model->limits[i], 0, NULL, NULL, false);
    }
    for (size_t i = 0; pool != NULL && i < pool->limit_count; i++) {
        apply(w, &pool->limits[i], 0, NULL, NULL, false);
    }
    for (size_t i = 0; i < p->limit_count; i++) {
        apply(w, &p->limits[i], 0, NULL, NULL, false);
    }
}

/* True if some ancestor, or the tenant itself, is known to policy or records. */
static bool is_known(const struct work *w)
{
    for (uint8_t depth = 1; depth <= w->depths; depth++) {
        struct qd_str path = qd_tenant_path_prefix(w->in->attributes->tenant, depth);
        const struct qd_override *o = override_at(w, depth);
        /* With a default plan, a record without one only adds to that. */
        bool by_record =
            o != NULL && o->listed && (o->has_plan || w->in->policy->default_plan == NULL);
        if (by_record || qd_policy_tenant_rule(w->in->policy, path) != NULL) {
            return true;
        }
    }
    return false;
}

void qd_resolve(const struct qd_resolve_input *input, struct qd_resolution *ret_resolution)
{
    static const char default_plan[] = "default_plan";
    struct qd_resolution *r = ret_resolution;
    const struct qd_policy *p = input->policy;
    struct work w = {
        .in = input,
        .out = r,
        .depths = qd_tenant_path_depth(input->attributes->tenant),
    };
    assert(w.depths >= 1 && w.depths <= QD_TENANT_SEGMENTS_MAX);
    r->status = QD_RESOLVED;
    r->blocked = false;
    r->blocked_depth = 0;
    r->plan = NULL;
    r->plan_from = (struct qd_str){0};
    r->valid_until.ns = QD_WALL_NEVER;
    r->count = 0;
    r->text_used = 0;
    if (is_known(&w)) {
        for (uint8_t depth = 1; depth <= w.depths; depth++) {
            resolve_depth(&w, depth);
        }
    } else {
        if (p->default_plan == NULL) {
            r->status = QD_RESOLVE_UNKNOWN_TENANT;
            apply_shared(&w); /* what it has used already counts there all the same */
            return;
        }
        for (uint8_t depth = 1; depth <= w.depths; depth++) {
            note_block(&w, NULL, override_at(&w, depth), depth);
        }
        r->plan = p->default_plan;
        r->plan_from = (struct qd_str){default_plan, sizeof default_plan - 1};
        for (uint8_t depth = 1; depth <= w.depths; depth++) {
            struct sources from = {.plan = depth == 1 ? p->default_plan : NULL,
                                   .record = override_at(&w, depth)};
            apply_depth(&w, depth, &from);
        }
    }
    apply_shared(&w);
}
