#include "server/shard/counter_keys.h"

#include "storage/buf.h"

#include <string.h>

#define PIECES_MAX 6
#define TRIES_MAX  1000U /* identities tried for one name: values can be full of " user=" */

struct reading {
    const struct qd_limit *limit;
    const struct qd_attributes *subject;
    uint8_t depth;
    uint64_t seed;
    struct qd_hash128 id;
    uint32_t attribute[PIECES_MAX];
    const char *name[PIECES_MAX];
    struct qd_str value[PIECES_MAX];
    size_t count;
    unsigned tries;
};

/* The pieces of a name, in the order in which resolve.c writes them. */
static void set_pieces(struct reading *r, bool with_label)
{
    static const struct {
        uint32_t attribute;
        const char *name;
    } order[] = {{QD_ATTR_MODEL, "model"},
                 {QD_ATTR_FAMILY, "family"},
                 {QD_ATTR_POOL, "pool"},
                 {QD_ATTR_USER, "user"},
                 {QD_ATTR_TENANT, "tenant"}};

    r->count = 0;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (r->limit->per & order[i].attribute) {
            r->attribute[r->count] = order[i].attribute;
            r->name[r->count++] = order[i].name;
        }
    }
    if (with_label) {
        r->attribute[r->count] = QD_ATTR_LABEL;
        r->name[r->count++] = r->limit->per_label;
    }
}

/* The counter that these values have. */
static bool is_identity(struct reading *r)
{
    struct qd_attributes a = {.tenant = r->subject->tenant};
    struct qd_label label;

    for (size_t i = 0; i < r->count; i++) {
        switch ((enum qd_attribute)r->attribute[i]) {
        case QD_ATTR_MODEL:
            a.model = r->value[i];
            break;
        case QD_ATTR_FAMILY:
            a.family = r->value[i];
            break;
        case QD_ATTR_POOL:
            a.pool = r->value[i];
            break;
        case QD_ATTR_USER:
            a.user = r->value[i];
            break;
        case QD_ATTR_TENANT:
            a.tenant = r->value[i];
            break;
        case QD_ATTR_LABEL:
            label = (struct qd_label){qd_slice_of(r->name[i]), r->value[i]};
            a.labels = &label;
            a.label_count = 1;
            break;
        }
    }
    r->tries++;
    return qd_hash128_equal(qd_counter_identity(r->limit, &a, r->depth, r->seed), r->id);
}

/* Behind "name=" of piece `i`; false if `text` doesn't begin with it. */
static bool after_name(const struct reading *r, size_t i, struct qd_str text, struct qd_str *ret)
{
    size_t len = strlen(r->name[i]);

    if (text.len <= len || memcmp(text.ptr, r->name[i], len) != 0 || text.ptr[len] != '=') {
        return false;
    }
    *ret = (struct qd_str){text.ptr + len + 1, text.len - len - 1};
    return true;
}

/* The first reading of `text` from piece `i` on that is the counter's. At most PIECES_MAX deep. */
static bool read_from(struct reading *r, size_t i, struct qd_str text)
{
    struct qd_str rest;
    struct qd_str next;

    if (!after_name(r, i, text, &rest)) {
        return false;
    }
    if (i + 1 == r->count) {
        r->value[i] = rest;
        return is_identity(r);
    }
    for (size_t at = 0; at < rest.len && r->tries < TRIES_MAX; at++) {
        if (rest.ptr[at] != ' ') {
            continue;
        }
        r->value[i] = (struct qd_str){rest.ptr, at};
        next = (struct qd_str){rest.ptr + at + 1, rest.len - at - 1};
        if (read_from(r, i + 1, next)) {
            return true;
        }
    }
    return false;
}

/* A label that a request doesn't have leaves no piece. */
static bool read_name(struct reading *r, struct qd_str text)
{
    bool has_label = (r->limit->per & QD_ATTR_LABEL) != 0;

    set_pieces(r, has_label);
    if (r->count > 0 && read_from(r, 0, text)) {
        return true;
    }
    set_pieces(r, false);
    return has_label && (r->count > 0 ? read_from(r, 0, text) : text.len == 0 && is_identity(r));
}

static bool has_value(const struct reading *r, const struct qd_label *wanted)
{
    for (size_t i = 0; i < r->count; i++) {
        if (qd_slice_equal(wanted->name, qd_slice_of(r->name[i]))) {
            return qd_slice_equal(wanted->value, r->value[i]);
        }
    }
    return false;
}

bool qd_counter_has_keys(const struct qd_attributes *subject, uint64_t seed,
                         const struct qd_resolved_limit *limit, struct qd_hash128 id,
                         struct qd_str name, struct qd_wanted_keys wanted)
{
    struct reading r = {.limit = limit->use->limit,
                        .subject = subject,
                        .depth = limit->depth,
                        .seed = seed,
                        .id = id};
    struct qd_str scope = limit->depth > 0 ? qd_tenant_path_prefix(subject->tenant, limit->depth)
                                           : qd_slice_of(limit->use->origin);

    if (!qd_slice_starts(name, scope) || (name.len > scope.len && name.ptr[scope.len] != ' ')) {
        return false;
    }
    if (wanted.count == 0) {
        return true;
    }
    size_t skip = scope.len + (name.len > scope.len ? 1 : 0);
    if (!read_name(&r, (struct qd_str){name.ptr + skip, name.len - skip})) {
        return false;
    }
    for (size_t i = 0; i < wanted.count; i++) {
        if (!has_value(&r, &wanted.key[i])) {
            return false;
        }
    }
    return true;
}
