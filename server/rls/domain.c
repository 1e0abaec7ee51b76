#include "server/rls/domain.h"
#include "server/rls/value.h"

#include "server/rls/fields.h"

#include <stdio.h>
#include <string.h>

#define INDEX_TEXT_MAX 40

struct build {
    struct qd_compiler *c;
    struct qd_arena *arena;
    struct qd_rls_domain *domain;
    const struct qd_rls_rule **rules;
    size_t rule_capacity;
    struct qd_rls_budget *budget;
    bool part;
};

static struct qd_str keep(struct build *b, struct qd_str text)
{
    return (struct qd_str){qd_arena_text(b->arena, text.ptr, text.len), text.len};
}

/* --- rate_limit ---------------------------------------------------------------------------------
 */

static bool read_unit(struct build *b, const struct qd_at *at, const struct qd_node *limit,
                      const struct qd_rls_fields *fields, struct qd_rls_rule *rule)
{
    struct qd_str text;
    if (!qd_rls_field_text(b->c, at, fields, QD_RLS_KEY_UNIT, &text)) {
        return false;
    }
    rule->unit = qd_rls_unit_parse(text);
    if (rule->unlimited) {
        if (rule->unit != QD_RLS_UNIT_UNKNOWN) {
            qd_rls_field_fail(b->c, at, fields, QD_RLS_KEY_UNIT,
                              "unlimited and a unit exclude each other; leave one out");
            return false;
        }
        if (text.len > 0) {
            qd_rls_field_warn(b->c, at, fields, QD_RLS_KEY_UNIT,
                              "no unit, and none is needed: this is unlimited");
        }
        return true;
    }
    if (rule->unit != QD_RLS_UNIT_UNKNOWN) {
        return true;
    }
    struct qd_suggest s;
    struct qd_at here = qd_rls_field_at(at, QD_RLS_KEY_UNIT);
    qd_suggest_init(&s, text.ptr);
    for (int i = QD_RLS_UNIT_SECOND; i <= QD_RLS_UNIT_MAX; i++) {
        qd_suggest_offer(&s, qd_rls_unit_name(i));
    }
    const struct qd_node *given = fields->value[QD_RLS_KEY_UNIT];
    const char *quote = text.len > 0 ? "\"" : "";
    qd_fail(b->c, &here, given != NULL ? given : limit,
            "%s%s%s%s unit; accepted: second, minute, hour, day, week, month, year%s", quote,
            text.ptr, quote, text.len > 0 ? ": unknown" : "no", qd_did_you_mean(b->c, &s));
    return false;
}

static bool read_requests(struct build *b, const struct qd_at *at, const struct qd_node *limit,
                          const struct qd_rls_fields *fields, struct qd_rls_rule *rule)
{
    const struct qd_node *node = fields->value[QD_RLS_KEY_REQUESTS_PER_UNIT];
    struct qd_at here = qd_rls_field_at(at, QD_RLS_KEY_REQUESTS_PER_UNIT);
    uint64_t number = 0;
    if (node == NULL) {
        if (!rule->unlimited) {
            qd_warn(b->c, &here, limit, "not given: 0, which denies every request");
        }
        return true;
    }
    if (node->kind != QD_NODE_SCALAR || !node->plain ||
        !qd_rls_number_parse(node->text, UINT32_MAX, &number)) {
        qd_fail(b->c, &here, node, "\"%s\": a whole number from 0 to 4294967295 is accepted",
                node->kind == QD_NODE_SCALAR ? node->text : qd_node_kind_text(node));
        return false;
    }
    rule->requests_per_unit = (uint32_t)number;
    return true;
}

/* One of `replaces`. */
static bool read_replaced(struct build *b, const struct qd_at *at, const struct qd_node *item,
                          const struct qd_rls_rule *rule, const char **ret_name)
{
    struct qd_rls_fields fields;
    struct qd_str name;
    if (item->kind != QD_NODE_MAP) {
        qd_fail(b->c, at, item, "a map with a name, not %s, is accepted here",
                qd_node_kind_text(item));
        return false;
    }
    if (!qd_rls_fields_read(b->c, at, item, QD_RLS_PLACE_REPLACES, &fields) ||
        !qd_rls_field_text(b->c, at, &fields, QD_RLS_KEY_NAME, &name)) {
        return false;
    }
    if (name.len == 0) {
        qd_fail(b->c, at, item, "no name; give the name of the rate_limit that is replaced");
        return false;
    }
    if (rule->name != NULL && strcmp(rule->name, name.ptr) == 0) {
        qd_fail(b->c, at, item, "\"%s\": a rate_limit cannot replace itself", name.ptr);
        return false;
    }
    *ret_name = keep(b, name).ptr;
    return true;
}

static bool read_replaces(struct build *b, const struct qd_at *at,
                          const struct qd_rls_fields *fields, struct qd_rls_rule *rule)
{
    const struct qd_node *list = fields->value[QD_RLS_KEY_REPLACES];
    struct qd_at here = qd_rls_field_at(at, QD_RLS_KEY_REPLACES);
    if (list == NULL) {
        return true;
    }
    if (list->kind != QD_NODE_LIST || list->count > QD_RLS_REPLACES_MAX) {
        qd_fail(b->c, &here, list, "a list of at most %d names is accepted here",
                QD_RLS_REPLACES_MAX);
        return false;
    }
    const char **names = qd_arena_array(b->arena, list->count, sizeof *names);
    for (size_t i = 0; i < list->count; i++) {
        char index[INDEX_TEXT_MAX];
        (void)snprintf(index, sizeof index, "[%zu]", i);
        struct qd_at below = {&here, index};
        if (!read_replaced(b, &below, list->items[i], rule, &names[i])) {
            return false;
        }
    }
    rule->replaces = names;
    rule->replace_count = list->count;
    return true;
}

static bool read_limit(struct build *b, const struct qd_at *at, const struct qd_node *node,
                       struct qd_rls_rule *rule)
{
    struct qd_rls_fields fields;
    struct qd_str name;
    if (!qd_rls_fields_read(b->c, at, node, QD_RLS_PLACE_RATE_LIMIT, &fields) ||
        !qd_rls_field_bool(b->c, at, &fields, QD_RLS_KEY_UNLIMITED, &rule->unlimited) ||
        !qd_rls_field_text(b->c, at, &fields, QD_RLS_KEY_NAME, &name)) {
        return false;
    }
    rule->name = name.len > 0 ? keep(b, name).ptr : NULL;
    bool has_unit = read_unit(b, at, node, &fields, rule);
    bool has_requests = read_requests(b, at, node, &fields, rule);
    return read_replaces(b, at, &fields, rule) && has_unit && has_requests;
}

/* --- descriptors --------------------------------------------------------------------------------
 */

/* What is on the way to a level, from the top. */
struct way {
    const char *path; /* "domain.key_value" */
    bool open;        /* a step takes values that the file does not name */
    bool shown;       /* and such a value is in the names of all rules below */
};

/* A descriptor while it is read. */
struct draft {
    const struct qd_node *yaml;
    struct qd_rls_fields fields;
    struct qd_rls_node *node;
    const char *path; /* "domain.key_value" */
};

static bool read_metadata(struct build *b, const struct qd_at *at, const struct draft *d,
                          struct qd_rls_rule *rule)
{
    const struct qd_node *yaml = d->fields.value[QD_RLS_KEY_METADATA];
    struct qd_at here = qd_rls_field_at(at, QD_RLS_KEY_METADATA);
    if (yaml == NULL) {
        return true;
    }
    if (yaml->kind != QD_NODE_MAP || yaml->weight > QD_RLS_METADATA_MAX) {
        qd_fail(b->c, &here, yaml, "a map of at most %d values is accepted here",
                QD_RLS_METADATA_MAX);
        return false;
    }
    struct qd_rls_value *value = qd_arena_alloc(b->arena, sizeof *value);
    *value = qd_rls_value_make(b->arena, yaml);
    rule->metadata = value;
    return true;
}

/* What only says something of a rate_limit. */
static void warn_without_limit(struct build *b, const struct qd_at *at, const struct draft *d)
{
    static const enum qd_rls_key keys[] = {QD_RLS_KEY_SHADOW_MODE, QD_RLS_KEY_QUOTA_MODE,
                                           QD_RLS_KEY_DETAILED_METRIC, QD_RLS_KEY_METADATA};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (d->fields.value[keys[i]] != NULL) {
            qd_rls_field_warn(b->c, at, &d->fields, keys[i],
                              "has no effect: this descriptor has no rate_limit");
        }
    }
}

/* NULL: it has none, or what there is is wrong and was reported. */
static struct qd_rls_rule *read_rule(struct build *b, const struct qd_at *at, struct draft *d)
{
    const struct qd_node *yaml = d->fields.value[QD_RLS_KEY_RATE_LIMIT];
    struct qd_at here = qd_rls_field_at(at, QD_RLS_KEY_RATE_LIMIT);
    struct qd_rls_rule *rule = qd_arena_alloc(b->arena, sizeof *rule);
    bool good = qd_rls_field_bool(b->c, at, &d->fields, QD_RLS_KEY_SHADOW_MODE, &rule->shadow_mode);
    good &= qd_rls_field_bool(b->c, at, &d->fields, QD_RLS_KEY_QUOTA_MODE, &rule->quota_mode);
    good &=
        qd_rls_field_bool(b->c, at, &d->fields, QD_RLS_KEY_DETAILED_METRIC, &rule->detailed_metric);
    good &= read_metadata(b, at, d, rule);
    if (yaml == NULL) {
        warn_without_limit(b, at, d);
        return NULL;
    }
    if (!read_limit(b, &here, yaml, rule) || !good) {
        return NULL;
    }
    rule->path = d->path;
    rule->line = d->node->line;
    b->rules = qd_arena_grow(b->arena, b->rules, b->domain->rule_count, &b->rule_capacity,
                             sizeof(struct qd_rls_rule *));
    b->rules[b->domain->rule_count++] = rule;
    d->node->rule = rule;
    return rule;
}

/* share_threshold and value_to_metric, where they make sense. */
static bool read_wildcard(struct build *b, const struct qd_at *at, struct draft *d)
{
    struct qd_rls_node *node = d->node;
    bool good =
        qd_rls_field_bool(b->c, at, &d->fields, QD_RLS_KEY_SHARE_THRESHOLD, &node->share_threshold);
    good &=
        qd_rls_field_bool(b->c, at, &d->fields, QD_RLS_KEY_VALUE_TO_METRIC, &node->value_to_metric);
    if (node->share_threshold && node->pattern == NULL) {
        qd_rls_field_fail(b->c, at, &d->fields, QD_RLS_KEY_SHARE_THRESHOLD,
                          "only values with a wildcard can share; give a value with a \"*\"");
        return false;
    }
    if (node->value_to_metric && node->pattern == NULL && node->key_len < node->len) {
        qd_rls_field_warn(b->c, at, &d->fields, QD_RLS_KEY_VALUE_TO_METRIC,
                          "has no effect: the one value is in the metric's name already");
    }
    return good;
}

/* Key and value: the node, but for what hangs from it. */
static bool read_identity(struct build *b, const struct qd_at *at, const struct way *way,
                          struct draft *d)
{
    struct qd_str key;
    struct qd_str value;
    if (!qd_rls_field_text(b->c, at, &d->fields, QD_RLS_KEY_KEY, &key) ||
        !qd_rls_field_text(b->c, at, &d->fields, QD_RLS_KEY_VALUE, &value)) {
        return false;
    }
    if (key.len == 0) {
        qd_fail(b->c, at, d->yaml, "no key; every descriptor has one");
        return false;
    }
    size_t len = value.len > 0 ? key.len + 1 + value.len : key.len;
    struct qd_rls_node *node = qd_arena_alloc(b->arena, sizeof *node + len + 1);
    memcpy(node->text, key.ptr, key.len);
    if (value.len > 0) {
        node->text[key.len] = '_';
        memcpy(node->text + key.len + 1, value.ptr, value.len);
    }
    node->len = (uint32_t)len;
    node->key_len = (uint32_t)key.len;
    node->line = d->yaml->line;
    if (qd_rls_is_pattern(value)) {
        struct qd_rls_pattern *pattern = qd_arena_alloc(b->arena, sizeof *pattern);
        *pattern = qd_rls_pattern_make(b->arena, qd_rls_node_value(node));
        node->pattern = pattern;
    }
    d->node = node;
    d->path = qd_arena_printf(b->arena, "%s.%s", way->path, node->text);
    return true;
}

/* The way with one more step. One counter for all values of a wildcard has the wildcard's name. */
static struct way way_on(const struct way *way, const struct draft *d)
{
    const struct qd_rls_node *node = d->node;
    bool any = node->pattern != NULL ? !node->share_threshold : node->key_len == node->len;

    return (struct way){.path = d->path,
                        .open = way->open || any,
                        .shown = way->shown || (any && node->value_to_metric)};
}

static const struct qd_rls_level *read_level(struct build *b, const struct qd_at *at,
                                             const struct qd_node *list, const struct way *way,
                                             unsigned depth);

/* One of a list; NULL and reported if it is wrong. */
static const struct qd_rls_node *read_descriptor(struct build *b, const struct qd_at *at,
                                                 const struct qd_node *yaml, const struct way *way,
                                                 struct qd_rls_level *level, unsigned depth)
{
    struct draft d = {.yaml = yaml};
    if (yaml->kind != QD_NODE_MAP) {
        qd_fail(b->c, at, yaml, "a descriptor, not %s, is accepted here", qd_node_kind_text(yaml));
        return NULL;
    }
    if (!qd_rls_fields_read(b->c, at, yaml, QD_RLS_PLACE_DESCRIPTOR, &d.fields) ||
        !read_identity(b, at, way, &d)) {
        return NULL;
    }
    const struct qd_rls_node *twin = qd_rls_level_add(level, d.node);
    if (twin != NULL) {
        qd_fail(b->c, at, yaml, "\"%s\": there is one already, on line %u", d.path, twin->line);
        return NULL;
    }
    const struct qd_node *below = d.fields.value[QD_RLS_KEY_DESCRIPTORS];
    struct qd_at here = qd_rls_field_at(at, QD_RLS_KEY_DESCRIPTORS);
    struct qd_rls_rule *rule = read_rule(b, at, &d);
    (void)read_wildcard(b, at, &d);
    struct way on = way_on(way, &d);
    if (rule != NULL) {
        rule->named_by_file = !on.shown && !(rule->detailed_metric && on.open);
    }
    if (below != NULL) {
        d.node->below = read_level(b, &here, below, &on, depth + 1);
    }
    return d.node;
}

/* NULL for an empty list, and for one that is wrong; that has been reported. */
static const struct qd_rls_level *read_level(struct build *b, const struct qd_at *at,
                                             const struct qd_node *list, const struct way *way,
                                             unsigned depth)
{
    if (list->kind != QD_NODE_LIST) {
        qd_fail(b->c, at, list, "a list of descriptors, not %s, is accepted here",
                qd_node_kind_text(list));
        return NULL;
    }
    if (depth > QD_RLS_DEPTH_MAX || list->count > b->budget->nodes) { /* X2 */
        qd_fail(b->c, at, list, "too many descriptors; at most %u in all files, and %d levels",
                QD_RLS_NODES_MAX, QD_RLS_DEPTH_MAX);
        return NULL;
    }
    if (list->count == 0) {
        return NULL;
    }
    b->budget->nodes -= list->count;
    struct qd_rls_level *level = qd_rls_level_new(b->arena, list->count);
    bool is_top = depth == 1;
    const struct qd_rls_node **nodes =
        qd_arena_array(is_top ? b->arena : b->c->arena, list->count, sizeof *nodes);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        char index[INDEX_TEXT_MAX];
        (void)snprintf(index, sizeof index, "[%zu]", i);
        struct qd_at below = {at, index};
        nodes[count] = read_descriptor(b, &below, list->items[i], way, level, depth);
        count += nodes[count] != NULL;
    }
    if (is_top) {
        b->domain->nodes = nodes;
        b->domain->node_count = count;
        b->domain->column = list->items[0]->column;
    }
    const struct qd_rls_node *over =
        is_top && b->part
            ? NULL
            : qd_rls_level_index(b->arena, b->c->arena, level, nodes, count, b->budget);
    if (over != NULL) {
        struct qd_node place = {.line = over->line, .column = list->column};
        qd_fail(b->c, at, &place, QD_RLS_WILDCARDS_OVER, QD_RLS_WILDCARD_BYTES_MAX);
    }
    return level;
}

struct qd_rls_domain *qd_rls_domain_compile(struct qd_compiler *c, const struct qd_node *root,
                                            struct qd_arena *arena, struct qd_rls_budget *budget,
                                            bool part)
{
    struct build b = {.c = c, .arena = arena, .budget = budget, .part = part};
    struct qd_at top = {0};
    struct qd_at at = qd_rls_field_at(&top, QD_RLS_KEY_DESCRIPTORS);
    struct qd_rls_fields fields;
    struct qd_str name;
    size_t errors = qd_problems_errors(c->problems);
    if (!qd_rls_fields_read(c, &top, root, QD_RLS_PLACE_FILE, &fields) ||
        !qd_rls_field_text(c, &top, &fields, QD_RLS_KEY_DOMAIN, &name)) {
        return NULL;
    }
    if (name.len == 0) {
        qd_fail(c, &top, root, "no domain; begin with \"domain: NAME\"");
        return NULL;
    }
    b.domain = qd_arena_alloc(arena, sizeof *b.domain);
    b.domain->name = keep(&b, name);
    b.domain->file = qd_arena_text(arena, c->file, strlen(c->file));
    if (fields.value[QD_RLS_KEY_DESCRIPTORS] != NULL) {
        struct way way = {.path = b.domain->name.ptr};
        b.domain->top = read_level(&b, &at, fields.value[QD_RLS_KEY_DESCRIPTORS], &way, 1);
    }
    b.domain->rules = b.rules;
    return qd_problems_errors(c->problems) == errors ? b.domain : NULL;
}
