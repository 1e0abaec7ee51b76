#include "server/rls/fields.h"
#include "server/rls/value.h"

#include "server/rls/rules.h"

#include <assert.h>
#include <string.h>

#define MERGES_MAX 32 /* within each other: as deep as YAML may be */

static const struct {
    const char *name;
    unsigned places;
} known[QD_RLS_KEY_COUNT] = {
    [QD_RLS_KEY_DOMAIN] = {"domain", QD_RLS_PLACE_FILE},
    [QD_RLS_KEY_DESCRIPTORS] = {"descriptors", QD_RLS_PLACE_FILE | QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_KEY] = {"key", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_VALUE] = {"value", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_RATE_LIMIT] = {"rate_limit", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_SHADOW_MODE] = {"shadow_mode", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_QUOTA_MODE] = {"quota_mode", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_DETAILED_METRIC] = {"detailed_metric", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_VALUE_TO_METRIC] = {"value_to_metric", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_SHARE_THRESHOLD] = {"share_threshold", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_METADATA] = {"metadata", QD_RLS_PLACE_DESCRIPTOR},
    [QD_RLS_KEY_UNIT] = {"unit", QD_RLS_PLACE_RATE_LIMIT},
    [QD_RLS_KEY_REQUESTS_PER_UNIT] = {"requests_per_unit", QD_RLS_PLACE_RATE_LIMIT},
    [QD_RLS_KEY_UNLIMITED] = {"unlimited", QD_RLS_PLACE_RATE_LIMIT},
    [QD_RLS_KEY_NAME] = {"name", QD_RLS_PLACE_RATE_LIMIT | QD_RLS_PLACE_REPLACES},
    [QD_RLS_KEY_REPLACES] = {"replaces", QD_RLS_PLACE_RATE_LIMIT},
};

struct reading {
    struct qd_compiler *c;
    const struct qd_at *at;
    enum qd_rls_place place;
    bool seen[QD_RLS_KEY_COUNT];
    struct qd_rls_fields fields;
};

/* "domain, descriptors": the keys of a place. In the arena. */
static const char *accepted_text(struct qd_compiler *c, enum qd_rls_place place)
{
    const char *list = "";
    for (size_t i = 0; i < QD_RLS_KEY_COUNT; i++) {
        if ((known[i].places & place) != 0) {
            list = qd_arena_printf(c->arena, "%s%s%s", list, list[0] == '\0' ? "" : ", ",
                                   known[i].name);
        }
    }
    return list;
}

static void unknown_key(struct reading *r, const struct qd_node *key)
{
    struct qd_suggest s;
    if (qd_problems_dropped(r->c->problems) > 0) { /* X2: it is only counted */
        qd_fail(r->c, r->at, key, "unknown key");
        return;
    }
    qd_suggest_init(&s, key->text);
    for (size_t i = 0; i < QD_RLS_KEY_COUNT; i++) {
        if ((known[i].places & r->place) != 0) {
            qd_suggest_offer(&s, known[i].name);
        }
    }
    qd_fail(r->c, r->at, key, "\"%s\": unknown key; accepted: %s%s", key->text,
            accepted_text(r->c, r->place), qd_did_you_mean(r->c, &s));
}

static void misplaced_key(struct reading *r, const struct qd_node *key, size_t i)
{
    const char *where = (known[i].places & QD_RLS_PLACE_RATE_LIMIT) != 0   ? "in a rate_limit"
                        : (known[i].places & QD_RLS_PLACE_DESCRIPTOR) != 0 ? "in a descriptor"
                                                                           : "at the file's top";
    qd_warn(r->c, r->at, key, "\"%s\": has no effect here; it belongs %s", key->text, where);
}

static void take(struct reading *r, const struct qd_node *key, const struct qd_node *value)
{
    size_t i = 0;
    while (i < QD_RLS_KEY_COUNT && strcmp(known[i].name, key->text) != 0) {
        i++;
    }
    if (i == QD_RLS_KEY_COUNT) {
        unknown_key(r, key);
    } else if ((known[i].places & r->place) == 0) {
        misplaced_key(r, key, i);
    } else if (!r->seen[i]) {
        r->seen[i] = true;
        r->fields.value[i] = qd_node_is_null(value) ? NULL : value;
    }
}

static bool is_merge(const struct qd_node *key)
{
    return key->plain && strcmp(key->text, "<<") == 0;
}

static void read_pairs(struct reading *r, const struct qd_node *map, unsigned depth);

/* What `<<` stands before: a map, or a list of maps of which the first one counts most. */
static void read_merge(struct reading *r, const struct qd_node *from, unsigned depth)
{
    if (depth == MERGES_MAX) {
        qd_fail(r->c, r->at, from, "merged too deeply");
        return;
    }
    if (from->kind == QD_NODE_MAP) {
        read_pairs(r, from, depth + 1);
        return;
    }
    bool is_good = from->kind == QD_NODE_LIST;
    for (size_t i = 0; is_good && i < from->count; i++) {
        is_good = from->items[i]->kind == QD_NODE_MAP;
        if (is_good) {
            read_pairs(r, from->items[i], depth + 1);
        }
    }
    if (!is_good) {
        qd_fail(r->c, r->at, from, "\"<<\" merges a map or a list of maps");
    }
}

/* Its own pairs first: they count more than merged ones. */
static void read_pairs(struct reading *r, const struct qd_node *map, unsigned depth)
{
    for (size_t i = 0; i < map->count; i++) {
        if (!is_merge(qd_node_key(map, i))) {
            take(r, qd_node_key(map, i), qd_node_value(map, i));
        }
    }
    for (size_t i = 0; i < map->count; i++) {
        if (is_merge(qd_node_key(map, i))) {
            read_merge(r, qd_node_value(map, i), depth);
        }
    }
}

bool qd_rls_fields_read(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        enum qd_rls_place place, struct qd_rls_fields *ret_fields)
{
    struct reading r = {.c = c, .at = at, .place = place};
    if (!qd_expect_map(c, at, node, "a map")) {
        return false;
    }
    read_pairs(&r, node, 0);
    *ret_fields = r.fields;
    return true;
}

struct qd_at qd_rls_field_at(const struct qd_at *at, enum qd_rls_key key)
{
    return (struct qd_at){at, known[key].name};
}

void qd_rls_field_fail(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key, const char *message)
{
    struct qd_at here = qd_rls_field_at(at, key);
    assert(fields->value[key] != NULL);
    qd_fail(c, &here, fields->value[key], "%s", message);
}

void qd_rls_field_warn(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key, const char *message)
{
    struct qd_at here = qd_rls_field_at(at, key);
    assert(fields->value[key] != NULL);
    qd_warn(c, &here, fields->value[key], "%s", message);
}

bool qd_rls_field_text(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key,
                       struct qd_str *ret_text)
{
    const struct qd_node *node = fields->value[key];
    struct qd_at here = qd_rls_field_at(at, key);
    if (node == NULL) {
        *ret_text = (struct qd_str){"", 0};
        return true;
    }
    if (node->kind != QD_NODE_SCALAR) {
        qd_fail(c, &here, node, "a text, not %s, is accepted here", qd_node_kind_text(node));
        return false;
    }
    if (node->len > QD_RLS_TEXT_MAX) {
        qd_fail(c, &here, node, "too long; at most %d bytes are accepted", QD_RLS_TEXT_MAX);
        return false;
    }
    *ret_text = (struct qd_str){node->text, node->len};
    return true;
}

bool qd_rls_field_bool(struct qd_compiler *c, const struct qd_at *at,
                       const struct qd_rls_fields *fields, enum qd_rls_key key, bool *ret_value)
{
    const struct qd_node *node = fields->value[key];
    struct qd_at here = qd_rls_field_at(at, key);
    *ret_value = false;
    if (node == NULL) {
        return true;
    }
    if (node->kind == QD_NODE_SCALAR && node->plain && qd_rls_bool_parse(node->text, ret_value)) {
        return true;
    }
    if (node->kind == QD_NODE_SCALAR) {
        qd_fail(c, &here, node, "\"%s\": true or false, without quotes, is accepted", node->text);
    } else {
        qd_fail(c, &here, node, "true or false, not %s, is accepted here", qd_node_kind_text(node));
    }
    return false;
}
