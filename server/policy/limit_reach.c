/* Whether a limit's "match" can accept any request that the limit sees (P1): one that cannot would
 * be taken for protection that isn't there. */
#include "server/policy/compile.h"

#include <string.h>

struct reach {
    struct qd_compiler *c;
    const struct qd_pending_check *check;
    const struct qd_limit *limit;
    struct qd_limit_scope scope;
};

/* Stands for every value that no policy names: names have no control characters. */
static const char other[] = "\n";

static bool contains(const struct qd_match *m, const char *value)
{
    if (value == NULL || m->any == NULL) {
        return value != NULL;
    }
    for (size_t i = 0; i < m->any_count; i++) {
        if (strcmp(m->any[i], value) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_about(const struct qd_match *m, uint32_t attribute, const char *label)
{
    return m->attribute == attribute && (label == NULL || strcmp(m->label, label) == 0);
}

/* All tests of one attribute accept `value`; NULL: a request without it. */
static bool accepts(const struct reach *r, uint32_t attribute, const char *label, const char *value)
{
    for (size_t i = 0; i < r->limit->selector_count; i++) {
        const struct qd_match *m = &r->limit->selector[i];
        if (is_about(m, attribute, label) && contains(m, value) == m->negate) {
            return false;
        }
    }
    return true;
}

/* --- what the scope sees ------------------------------------------------------------------------
 */

static bool sees_any(const struct reach *r, const char *value)
{
    (void)r;
    (void)value;
    return true;
}

static bool sees_pool(const struct reach *r, const char *value)
{
    return r->scope.pool == NULL || (value != NULL && strcmp(r->scope.pool, value) == 0);
}

/* Requests of the path itself and of all below it. A more specific line takes a pattern's place. */
static bool sees_tenant(const struct reach *r, const char *value)
{
    const char *scope = r->scope.tenant;
    if (value == NULL || scope == NULL) {
        return value != NULL; /* every request has a tenant */
    }
    uint8_t depth = qd_tenant_path_depth((struct qd_str){scope, strlen(scope)});
    if (value == other) {
        return depth < QD_TENANT_SEGMENTS_MAX || strchr(scope, '*') != NULL;
    }
    struct qd_str path = {value, strlen(value)};
    if (qd_tenant_path_depth(path) < depth) {
        return false;
    }
    const struct qd_tenant_rule *rule =
        qd_policy_tenant_rule(r->c->policy, qd_tenant_path_prefix(path, depth));
    return rule != NULL && strcmp(rule->pattern, scope) == 0;
}

/* Some value of the attribute is seen and accepted. */
static bool has_value(const struct reach *r, uint32_t attribute, const char *label,
                      bool (*sees)(const struct reach *r, const char *value))
{
    const char *own = attribute == QD_ATTR_TENANT ? r->scope.tenant
                      : attribute == QD_ATTR_POOL ? r->scope.pool
                                                  : NULL;
    const char *const always[] = {NULL, other, own};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        if (sees(r, always[i]) && accepts(r, attribute, label, always[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < r->limit->selector_count; i++) {
        const struct qd_match *m = &r->limit->selector[i];
        for (size_t k = 0; is_about(m, attribute, label) && k < m->any_count; k++) {
            if (sees(r, m->any[k]) && accepts(r, attribute, label, m->any[k])) {
                return true;
            }
        }
    }
    return false;
}

/* --- models: their names and families go together -----------------------------------------------
 */

static bool accepts_model(const struct reach *r, const char *name, const char *family)
{
    return accepts(r, QD_ATTR_MODEL, NULL, name) &&
           accepts(r, QD_ATTR_FAMILY, NULL, family != NULL ? family : name);
}

/* The models that can pass lie among these: one, those that a test lists, or all. */
struct models {
    const struct qd_match *listed;
    size_t count;
};

static struct models models_of(const struct reach *r)
{
    struct models all = {NULL, r->scope.model != NULL ? 1 : r->c->policy->model_count};
    for (size_t i = 0; r->scope.model == NULL && i < r->limit->selector_count; i++) {
        const struct qd_match *m = &r->limit->selector[i];
        if (m->attribute == QD_ATTR_MODEL && m->any != NULL && !m->negate) {
            return (struct models){m, m->any_count};
        }
    }
    return all;
}

/* The i-th of them, if it passes; else NULL. */
static const struct qd_model *passing_model(const struct reach *r, const struct models *from,
                                            size_t i)
{
    const struct qd_policy *p = r->c->policy;
    const struct qd_model *m = r->scope.model != NULL ? qd_find_model(p, r->scope.model)
                               : from->listed != NULL ? qd_find_model(p, from->listed->any[i])
                                                      : &p->models[i];
    return m != NULL && accepts_model(r, m->name, m->family) ? m : NULL;
}

/* A request without a model, or with one that the policy doesn't declare, passes. */
static bool passes_undeclared(const struct reach *r)
{
    return r->scope.model == NULL &&
           (accepts_model(r, NULL, NULL) || accepts_model(r, other, NULL));
}

static bool has_model(const struct reach *r)
{
    struct models from = models_of(r);
    bool found = passes_undeclared(r);
    for (size_t i = 0; !found && i < from.count; i++) {
        found = passing_model(r, &from, i) != NULL;
    }
    return found;
}

/* --- what is reported ---------------------------------------------------------------------------
 */

static void report(const struct reach *r, const char *attribute, bool is_error, const char *text)
{
    const struct qd_node *match = r->check->match;
    const struct qd_node *own = match != NULL ? qd_node_get(match, attribute) : NULL;
    struct qd_at at = {NULL, r->check->path};
    struct qd_at at_match = {&at, "match"};
    struct qd_at at_own = {&at_match, attribute};
    const struct qd_at *where = own != NULL ? &at_own : &at_match;
    if (is_error) {
        qd_fail(r->c, where, own != NULL ? own : match, "%s", text);
    } else {
        qd_warn(r->c, where, own != NULL ? own : match, "%s", text);
    }
}

static void report_scope(const struct reach *r, const char *attribute, const char *scope,
                         const char *name)
{
    report(r, attribute, true,
           qd_arena_printf(r->c->arena,
                           "matches no request of %s \"%s\", and the limit sees no other: it would "
                           "never apply; what such a request can have is accepted",
                           scope, name));
}

static void report_tenant(const struct reach *r)
{
    report(
        r, "tenant", true,
        qd_arena_printf(r->c->arena,
                        "matches no request that the limits of \"%s\" see: it would never apply; "
                        "that path and those below it are accepted%s",
                        r->scope.tenant,
                        strchr(r->scope.tenant, '*') != NULL
                            ? ", where no more specific tenant takes its place"
                            : ""));
}

static void report_contradiction(const struct reach *r, const char *attribute)
{
    report(r, attribute, true,
           "no request can have all that \"match\" asks for: the limit would never apply");
}

/* A request may name any pool. One that names none gets its model's, which may not be seen. */
static void warn_of_pools(const struct reach *r)
{
    struct models from = models_of(r);
    const struct qd_model *first = NULL;
    bool all_seen = r->scope.pool == NULL && accepts(r, QD_ATTR_POOL, NULL, NULL) &&
                    accepts(r, QD_ATTR_POOL, NULL, other);
    if (all_seen || passes_undeclared(r)) {
        return;
    }
    for (size_t i = 0; i < from.count; i++) {
        const struct qd_model *m = passing_model(r, &from, i);
        if (m != NULL && (m->pool == NULL ||
                          (sees_pool(r, m->pool) && accepts(r, QD_ATTR_POOL, NULL, m->pool)))) {
            return;
        }
        first = first != NULL ? first : m;
    }
    if (first != NULL) {
        report(r, r->scope.pool != NULL ? "model" : "pool", false,
               qd_arena_printf(r->c->arena,
                               "model \"%s\" is in pool \"%s\": the limit sees only requests that "
                               "name another pool themselves",
                               first->name, first->pool));
    }
}

static void check_named(const struct reach *r)
{
    for (size_t i = 0; i < r->limit->selector_count; i++) {
        const struct qd_match *m = &r->limit->selector[i];
        if ((m->attribute == QD_ATTR_USER || m->attribute == QD_ATTR_LABEL) &&
            !has_value(r, m->attribute, m->label, sees_any)) {
            report_contradiction(r, m->attribute == QD_ATTR_USER ? "user" : "label");
            return;
        }
    }
}

void qd_check_reach(struct qd_compiler *c, const struct qd_pending_check *check)
{
    struct reach r = {.c = c, .check = check, .limit = check->limit, .scope = check->scope};
    struct reach anywhere = r;
    anywhere.scope = (struct qd_limit_scope){0};
    if (check->limit->selector_count == 0) {
        return;
    }
    if (!has_model(&anywhere)) {
        report_contradiction(&r, "model");
    } else if (!has_model(&r)) {
        bool by_name = !accepts(&r, QD_ATTR_MODEL, NULL, r.scope.model);
        report_scope(&r, by_name ? "model" : "family", "model", r.scope.model);
    } else if (!has_value(&anywhere, QD_ATTR_POOL, NULL, sees_pool)) {
        report_contradiction(&r, "pool");
    } else if (!has_value(&r, QD_ATTR_POOL, NULL, sees_pool)) {
        report_scope(&r, "pool", "pool", r.scope.pool);
    } else if (!has_value(&anywhere, QD_ATTR_TENANT, NULL, sees_tenant)) {
        report_contradiction(&r, "tenant");
    } else if (!has_value(&r, QD_ATTR_TENANT, NULL, sees_tenant)) {
        report_tenant(&r);
    } else {
        check_named(&r);
        warn_of_pools(&r);
    }
}
