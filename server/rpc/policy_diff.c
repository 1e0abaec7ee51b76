#include "server/rpc/policy_diff.h"

#include "server/shard/describe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_MAX_BYTES 800

enum change { ADDED = 1, REMOVED = 2, CHANGED = 3 };

struct diff {
    struct qd_out *out;
    uint32_t id;
    size_t count;
};

static void put(struct diff *d, const char *path, const char *before, const char *after, bool restarts)
{
    if (++d->count > QD_POLICY_CHANGES_MAX) {
        return;
    }
    uint8_t *change = qd_out_begin(d->out, d->id);
    qd_out_number(d->out, 1, before == NULL ? ADDED : after == NULL ? REMOVED : CHANGED);
    qd_out_text(d->out, 2, path);
    qd_out_text(d->out, 3, before != NULL ? before : "");
    qd_out_text(d->out, 4, after != NULL ? after : "");
    qd_out_number(d->out, 5, restarts);
    qd_out_end(d->out, change);
}

/* --- limits -------------------------------------------------------------------------------------- */

static const char *const algorithms[] = {"token_bucket",   "leaky_bucket", "fixed_window", "sliding_window",
                                         "calendar",       "concurrency",  "per_request",  "prepaid"};

static void describe(const struct qd_limit_use *use, char *text, size_t size)
{
    struct qd_text t;

    qd_text_init(&t, text, size);
    qd_describe_size(&t, use->limit, use->amount);
    qd_text_addf(&t, " (%s", algorithms[use->limit->algorithm]);
    qd_text_add(&t, use->limit->consistency == QD_HARD ? ", hard" : "");
    qd_text_add(&t, use->limit->action == QD_SHADOW ? ", shadow" : "");
    qd_text_add(&t, use->limit->per != 0 ? ", split" : "");
    if (use->burst != 0 && use->burst != use->amount) {
        qd_text_addf(&t, ", burst %" PRId64, use->burst);
    }
    qd_text_add(&t, ")");
}

struct limits {
    const struct qd_limit_use *uses;
    size_t count;
};

static const struct qd_limit_use *find_limit(struct limits l, const char *name)
{
    for (size_t i = 0; i < l.count; i++) {
        if (strcmp(l.uses[i].limit->name, name) == 0) {
            return &l.uses[i];
        }
    }
    return NULL;
}

static void one_limit(struct diff *d, const char *prefix, const struct qd_limit_use *before, const struct qd_limit_use *after)
{
    char path[PATH_MAX_BYTES];
    char old_text[256];
    char new_text[256];
    bool same = before != NULL && after != NULL && before->limit == after->limit &&
                before->amount == after->amount && before->burst == after->burst;

    if (same) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%s.%s", prefix, (after != NULL ? after : before)->limit->name);
    if (before != NULL) {
        describe(before, old_text, sizeof(old_text));
    }
    if (after != NULL) {
        describe(after, new_text, sizeof(new_text));
    }
    bool restarts = before != NULL && after != NULL &&
                    !qd_hash128_equal(before->limit->identity, after->limit->identity);
    put(d, path, before != NULL ? old_text : NULL, after != NULL ? new_text : NULL, restarts);
}

static void all_limits(struct diff *d, const char *prefix, struct limits before, struct limits after)
{
    for (size_t i = 0; i < before.count; i++) {
        one_limit(d, prefix, &before.uses[i], find_limit(after, before.uses[i].limit->name));
    }
    for (size_t i = 0; i < after.count; i++) {
        if (find_limit(before, after.uses[i].limit->name) == NULL) {
            one_limit(d, prefix, NULL, &after.uses[i]);
        }
    }
}

/* --- plans, pools, models -------------------------------------------------------------------------- */

static struct qd_str str_of(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

static void one_plan(struct diff *d, const struct qd_plan *before, const struct qd_plan *after)
{
    char path[PATH_MAX_BYTES];
    struct limits none = {NULL, 0};

    (void)snprintf(path, sizeof(path), "plans.%s", (before != NULL ? before : after)->name);
    if (before == NULL || after == NULL) {
        put(d, path, before != NULL ? "plan" : NULL, after != NULL ? "plan" : NULL, false);
    }
    all_limits(d, path, before != NULL ? (struct limits){before->limits, before->limit_count} : none,
               after != NULL ? (struct limits){after->limits, after->limit_count} : none);
}

static void plans(struct diff *d, const struct qd_policy *before, const struct qd_policy *after)
{
    for (size_t i = 0; i < before->plan_count; i++) {
        one_plan(d, &before->plans[i], qd_policy_plan(after, str_of(before->plans[i].name)));
    }
    for (size_t i = 0; i < after->plan_count; i++) {
        if (qd_policy_plan(before, str_of(after->plans[i].name)) == NULL) {
            one_plan(d, NULL, &after->plans[i]);
        }
    }
}

static void one_price(struct diff *d, const char *path, const struct qd_price_list *before, const struct qd_price_list *after)
{
    uint32_t old_version = before != NULL && before->count > 0 ? before->sheets[before->count - 1].version : 0;
    uint32_t new_version = after != NULL && after->count > 0 ? after->sheets[after->count - 1].version : 0;
    char old_text[48];
    char new_text[48];

    if (old_version == new_version) {
        return;
    }
    (void)snprintf(old_text, sizeof(old_text), "version %u", old_version);
    (void)snprintf(new_text, sizeof(new_text), "version %u", new_version);
    put(d, path, old_version != 0 ? old_text : NULL, new_version != 0 ? new_text : NULL, false);
}

static void one_model(struct diff *d, const struct qd_model *before, const struct qd_model *after)
{
    char path[PATH_MAX_BYTES];
    char old_text[48];
    char new_text[48];
    struct limits none = {NULL, 0};
    const char *name = (before != NULL ? before : after)->name;

    (void)snprintf(path, sizeof(path), "models.%s", name);
    if (before == NULL || after == NULL) {
        put(d, path, before != NULL ? "model" : NULL, after != NULL ? "model" : NULL, false);
    } else if (before->max_output_tokens != after->max_output_tokens) {
        (void)snprintf(old_text, sizeof(old_text), "max_output_tokens %" PRId64, before->max_output_tokens);
        (void)snprintf(new_text, sizeof(new_text), "max_output_tokens %" PRId64, after->max_output_tokens);
        put(d, path, old_text, new_text, false);
    }
    all_limits(d, path, before != NULL ? (struct limits){before->limits, before->limit_count} : none,
               after != NULL ? (struct limits){after->limits, after->limit_count} : none);
    (void)snprintf(path, sizeof(path), "prices.%s", name);
    one_price(d, path, before != NULL ? &before->cost : NULL, after != NULL ? &after->cost : NULL);
    (void)snprintf(path, sizeof(path), "prices.%s.charge", name);
    one_price(d, path, before != NULL ? &before->charge : NULL, after != NULL ? &after->charge : NULL);
}

static void models(struct diff *d, const struct qd_policy *before, const struct qd_policy *after)
{
    for (size_t i = 0; i < before->model_count; i++) {
        one_model(d, &before->models[i], qd_policy_model(after, str_of(before->models[i].name)));
    }
    for (size_t i = 0; i < after->model_count; i++) {
        if (qd_policy_model(before, str_of(after->models[i].name)) == NULL) {
            one_model(d, NULL, &after->models[i]);
        }
    }
}

static void one_pool(struct diff *d, const struct qd_pool *before, const struct qd_pool *after)
{
    char path[PATH_MAX_BYTES];
    struct limits none = {NULL, 0};
    const char *name = (before != NULL ? before : after)->name;

    (void)snprintf(path, sizeof(path), "pools.%s", name);
    if (before == NULL || after == NULL) {
        put(d, path, before != NULL ? "pool" : NULL, after != NULL ? "pool" : NULL, false);
    }
    all_limits(d, path, before != NULL ? (struct limits){before->limits, before->limit_count} : none,
               after != NULL ? (struct limits){after->limits, after->limit_count} : none);
    (void)snprintf(path, sizeof(path), "prices.%s", name);
    one_price(d, path, before != NULL ? &before->cost : NULL, after != NULL ? &after->cost : NULL);
}

static void pools(struct diff *d, const struct qd_policy *before, const struct qd_policy *after)
{
    for (size_t i = 0; i < before->pool_count; i++) {
        one_pool(d, &before->pools[i], qd_policy_pool(after, str_of(before->pools[i].name)));
    }
    for (size_t i = 0; i < after->pool_count; i++) {
        if (qd_policy_pool(before, str_of(after->pools[i].name)) == NULL) {
            one_pool(d, NULL, &after->pools[i]);
        }
    }
}

/* --- tenants ------------------------------------------------------------------------------------- */

/* Exact rules are sorted by their path; patterns are few. */
static const struct qd_tenant_rule *find_rule(const struct qd_policy *policy, const char *pattern)
{
    size_t low = 0;
    size_t high = policy->tenant_exact_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(policy->tenants[middle].pattern, pattern);
        if (order == 0) {
            return &policy->tenants[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (size_t i = policy->tenant_exact_count; i < policy->tenant_count; i++) {
        if (strcmp(policy->tenants[i].pattern, pattern) == 0) {
            return &policy->tenants[i];
        }
    }
    return NULL;
}

static const char *plan_name(const struct qd_tenant_rule *rule)
{
    return rule->plan != NULL ? rule->plan->name : "no plan";
}

static void one_rule(struct diff *d, const struct qd_tenant_rule *before, const struct qd_tenant_rule *after)
{
    char path[PATH_MAX_BYTES];
    struct limits none = {NULL, 0};

    (void)snprintf(path, sizeof(path), "tenants.%s", (before != NULL ? before : after)->pattern);
    if (before == NULL || after == NULL || strcmp(plan_name(before), plan_name(after)) != 0) {
        put(d, path, before != NULL ? plan_name(before) : NULL, after != NULL ? plan_name(after) : NULL, false);
    }
    if (before != NULL && after != NULL && before->blocked != after->blocked) {
        put(d, path, before->blocked ? "blocked" : "not blocked", after->blocked ? "blocked" : "not blocked", false);
    }
    all_limits(d, path, before != NULL ? (struct limits){before->limits, before->limit_count} : none,
               after != NULL ? (struct limits){after->limits, after->limit_count} : none);
}

static void tenants(struct diff *d, const struct qd_policy *before, const struct qd_policy *after)
{
    for (size_t i = 0; i < before->tenant_count; i++) {
        one_rule(d, &before->tenants[i], find_rule(after, before->tenants[i].pattern));
    }
    for (size_t i = 0; i < after->tenant_count; i++) {
        if (find_rule(before, after->tenants[i].pattern) == NULL) {
            one_rule(d, NULL, &after->tenants[i]);
        }
    }
}

size_t qd_policy_diff(struct qd_out *out, uint32_t id, const struct qd_policy *before, const struct qd_policy *after)
{
    static const char *const unknown[] = {"deny", "cap", "unpriced"};
    struct diff d = {out, id, 0};

    if (before->unknown_price != after->unknown_price) {
        put(&d, "unknown_price", unknown[before->unknown_price], unknown[after->unknown_price], false);
    }
    const char *old_plan = before->default_plan != NULL ? before->default_plan->name : NULL;
    const char *new_plan = after->default_plan != NULL ? after->default_plan->name : NULL;
    if ((old_plan == NULL) != (new_plan == NULL) || (old_plan != NULL && strcmp(old_plan, new_plan) != 0)) {
        put(&d, "default_plan", old_plan, new_plan, false);
    }
    models(&d, before, after);
    pools(&d, before, after);
    plans(&d, before, after);
    tenants(&d, before, after);
    all_limits(&d, "limits", (struct limits){before->limits, before->limit_count},
               (struct limits){after->limits, after->limit_count});
    return d.count;
}
