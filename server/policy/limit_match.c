/* Which requests a limit applies to, and what splits it into counters (P3). */
#include "server/policy/limit_draft.h"

#include <string.h>

#define MATCHES_MAX      8
#define ALTERNATIVES_MAX 64

/* Remembers that the policy looks at a label; false and reported if a run-time limit asks for more
 * than the policy looks at, since bindings are told apart only by what it does. */
static bool note_label(struct qd_limit_draft *d, const struct qd_node *node, const char *label)
{
    struct qd_compiler *c = d->c;
    struct qd_policy *p = c->policy;
    for (size_t i = 0; i < p->attribute_label_count; i++) {
        if (strcmp(p->attribute_labels[i], label) == 0) {
            return true;
        }
    }
    if (c->is_runtime) {
        qd_fail(c, d->at, node,
                "label \"%s\" is not used by the policy; run-time limits can only use labels that "
                "it uses",
                label);
        return false;
    }
    if (p->attribute_label_count == QD_LABELS_MAX) {
        qd_fail(c, d->at, node, "too many labels; the limits of a policy may use %d",
                QD_LABELS_MAX);
        return false;
    }
    c->labels[p->attribute_label_count++] = label;
    return true;
}

static bool note_user(struct qd_limit_draft *d, const struct qd_node *node)
{
    if (d->c->is_runtime && !d->c->policy->uses_user) {
        qd_fail(d->c, d->at, node,
                "\"user\" is not used by the policy; run-time limits can only use it if some limit "
                "there does");
        return false;
    }
    if (!d->c->is_runtime) {
        d->c->policy->uses_user = true;
    }
    return true;
}

static bool is_label_name(const char *text)
{
    size_t len = strlen(text);
    static const char accepted[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return len > 0 && len <= 63 && strspn(text, accepted) == len;
}

/* --- per ----------------------------------------------------------------------------------------
 */

static const struct qd_word per_words[] = {
    {"model", QD_ATTR_MODEL}, {"family", QD_ATTR_FAMILY}, {"pool", QD_ATTR_POOL},
    {"user", QD_ATTR_USER},   {"tenant", QD_ATTR_TENANT}, {"label:NAME", 0},
};

static bool add_per_label(struct qd_limit_draft *d, const struct qd_at *at,
                          const struct qd_node *node)
{
    const char *label = node->text + strlen("label:");
    if (!is_label_name(label)) {
        qd_fail(d->c, at, node, "\"%s\": a label's name is accepted, as label:team", node->text);
        return false;
    }
    if (d->spec.per_label != NULL && strcmp(d->spec.per_label, label) == 0) {
        qd_fail(d->c, at, node, "\"%s\": given twice", node->text);
        return false;
    }
    if (d->spec.per_label != NULL) {
        qd_fail(d->c, at, node, "a limit can be split by one label only");
        return false;
    }
    d->spec.per |= QD_ATTR_LABEL;
    d->spec.per_label = label;
    return note_label(d, node, label);
}

static bool add_per(struct qd_limit_draft *d, const struct qd_at *at, const struct qd_node *node)
{
    int value;
    if (node->kind == QD_NODE_SCALAR && strncmp(node->text, "label:", 6) == 0) {
        return add_per_label(d, at, node);
    }
    if (!qd_read_word(d->c, at, node, "attribute", per_words,
                      sizeof per_words / sizeof per_words[0], &value)) {
        return false;
    }
    if (value == 0) {
        return add_per_label(d, at, node);
    }
    if (value == QD_ATTR_TENANT && !d->scope->is_shared) {
        qd_fail(
            d->c, at, node,
            "limits of plans and tenants are always per tenant; \"per: tenant\" is accepted for "
            "limits of models, pools, and at the top");
        return false;
    }
    if (d->spec.per & (uint32_t)value) {
        qd_fail(d->c, at, node, "\"%s\": given twice", node->text);
        return false;
    }
    d->spec.per |= (uint32_t)value;
    return value != QD_ATTR_USER || note_user(d, node);
}

static void draft_per(struct qd_limit_draft *d)
{
    const struct qd_node *node = d->given[QD_KEY_PER];
    if (node == NULL) {
        return;
    }
    struct qd_at at = qd_draft_at(d, QD_KEY_PER);
    if (node->kind != QD_NODE_LIST) {
        d->is_bad = !add_per(d, &at, node) || d->is_bad;
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        d->is_bad = !add_per(d, &at, node->items[i]) || d->is_bad;
    }
}

/* --- match --------------------------------------------------------------------------------------
 */

struct matching {
    struct qd_limit_draft *d;
    struct qd_match *matches;
    size_t count;
    bool negate;
};

/* A value must name something that can occur: else the limit would never apply (P1). */
static bool value_exists(struct qd_limit_draft *d, const struct qd_at *at, uint32_t attribute,
                         const struct qd_node *node)
{
    const struct qd_policy *p = d->c->policy;
    if (attribute == QD_ATTR_MODEL && qd_find_model(p, node->text) == NULL) {
        qd_unknown_model(d->c, at, node);
        return false;
    }
    if (attribute == QD_ATTR_POOL && qd_find_pool(p, node->text) == NULL) {
        qd_unknown_pool(d->c, at, node);
        return false;
    }
    if (attribute == QD_ATTR_FAMILY) {
        struct qd_suggest s;
        qd_suggest_init(&s, node->text);
        for (size_t i = 0; i < p->model_count; i++) {
            const char *family =
                p->models[i].family != NULL ? p->models[i].family : p->models[i].name;
            if (strcmp(family, node->text) == 0) {
                return true;
            }
            qd_suggest_offer(&s, family);
        }
        qd_fail(d->c, at, node, "\"%s\": no model has this family%s", node->text,
                qd_did_you_mean(d->c, &s));
        return false;
    }
    if (attribute == QD_ATTR_TENANT &&
        !qd_tenant_path_valid((struct qd_str){node->text, node->len})) {
        qd_fail(d->c, at, node,
                "\"%s\": not a tenant; 1 to 8 segments of a-z, A-Z, 0-9, \".\", \"_\", \"-\" are "
                "accepted, as acme/search",
                node->text);
        return false;
    }
    return true;
}

/* "x", [x, y] or "*" for one attribute. */
static void add_match(struct matching *m, const struct qd_at *at, const struct qd_node *node,
                      uint32_t attribute, const char *label)
{
    struct qd_limit_draft *d = m->d;
    struct qd_compiler *c = d->c;
    bool is_list = node->kind == QD_NODE_LIST;
    size_t count = is_list ? node->count : 1;
    if (m->count == MATCHES_MAX || count > ALTERNATIVES_MAX || count == 0) {
        qd_fail(c, at, node, "1 to %d attributes with 1 to %d alternatives each are accepted",
                MATCHES_MAX, ALTERNATIVES_MAX);
        d->is_bad = true;
        return;
    }
    const char **any = qd_arena_array(c->arena, count, sizeof *any);
    bool is_any = !is_list && node->kind == QD_NODE_SCALAR && strcmp(node->text, "*") == 0;
    for (size_t i = 0; i < count; i++) {
        const struct qd_node *value = is_list ? node->items[i] : node;
        any[i] = qd_read_name(c, at, value);
        if (any[i] == NULL || (!is_any && !value_exists(d, at, attribute, value))) {
            d->is_bad = true;
        }
    }
    m->matches[m->count++] = (struct qd_match){
        .attribute = attribute,
        .label = label,
        .any = is_any ? NULL : any,
        .any_count = is_any ? 0 : count,
        .negate = m->negate,
    };
}

static void add_labels(struct matching *m, const struct qd_at *at, const struct qd_node *node)
{
    struct qd_limit_draft *d = m->d;
    if (!qd_expect_map(d->c, at, node, "a map of labels")) {
        d->is_bad = true;
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        struct qd_at below = {at, key->text};
        if (!is_label_name(key->text)) {
            qd_fail(d->c, at, key, "\"%.70s\": not a label's name", key->text);
            d->is_bad = true;
            continue;
        }
        d->is_bad = !note_label(d, key, key->text) || d->is_bad;
        add_match(m, &below, qd_node_value(node, i), QD_ATTR_LABEL, key->text);
    }
}

static void read_match_map(struct matching *m, const struct qd_at *at, const struct qd_node *node);

static void read_match_key(struct matching *m, const struct qd_at *at, const struct qd_node *key,
                           const struct qd_node *value)
{
    static const struct qd_field names[] = {{"model", NULL}, {"family", NULL}, {"pool", NULL},
                                            {"user", NULL},  {"tenant", NULL}, {"label", NULL},
                                            {"not", NULL}};
    struct qd_limit_draft *d = m->d;
    struct qd_at below = {at, key->text};
    for (size_t i = 0; i < 5; i++) {
        if (strcmp(per_words[i].name, key->text) == 0) {
            if (per_words[i].value == QD_ATTR_USER) {
                d->is_bad = !note_user(d, key) || d->is_bad;
            }
            add_match(m, &below, value, (uint32_t)per_words[i].value, NULL);
            return;
        }
    }
    if (strcmp(key->text, "label") == 0) {
        add_labels(m, &below, value);
    } else if (strcmp(key->text, "not") == 0 && !m->negate) {
        m->negate = true;
        read_match_map(m, &below, value);
        m->negate = false;
    } else {
        qd_unknown_key(d->c, at, key, names, m->negate ? 6 : 7);
        d->is_bad = true;
    }
}

static void read_match_map(struct matching *m, const struct qd_at *at, const struct qd_node *node)
{
    if (!qd_expect_map(m->d->c, at, node, "a map of attributes")) {
        m->d->is_bad = true;
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        read_match_key(m, at, qd_node_key(node, i), qd_node_value(node, i));
    }
}

void qd_draft_selector(struct qd_limit_draft *d)
{
    draft_per(d);
    if (d->given[QD_KEY_MATCH] == NULL) {
        return;
    }
    struct qd_at at = qd_draft_at(d, QD_KEY_MATCH);
    struct matching m = {
        .d = d,
        .matches = qd_arena_array(d->c->arena, MATCHES_MAX, sizeof *m.matches),
    };
    read_match_map(&m, &at, d->given[QD_KEY_MATCH]);
    d->spec.selector = m.matches;
    d->spec.selector_count = m.count;
}
