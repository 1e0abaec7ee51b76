#include "server/core/policy.h"

#include "server/core/check.h"
#include "server/core/hash.h"

#include <string.h>

/* Order of a C string and a slice: bytes, then length (strcmp's, where no byte is 0). */
static int compare(const char *name, struct qd_str s)
{
    size_t length = strlen(name);
    size_t common = length < s.len ? length : s.len;
    int order = common > 0 ? memcmp(name, s.ptr, common) : 0;
    if (order != 0) {
        return order;
    }
    return (length > s.len) - (length < s.len);
}

static bool equals(const char *name, struct qd_str s)
{
    return compare(name, s) == 0;
}

/* Index in a sorted table of records that begin with their name, or -1. */
static ptrdiff_t find_sorted(const void *table, size_t count, size_t stride, struct qd_str name)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *entry;
        memcpy(&entry, (const char *)table + middle * stride, sizeof entry);
        int order = compare(entry, name);
        if (order == 0) {
            return (ptrdiff_t)middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

_Static_assert(offsetof(struct qd_model, name) == 0, "find_sorted reads names at 0");
_Static_assert(offsetof(struct qd_pool, name) == 0, "find_sorted reads names at 0");
_Static_assert(offsetof(struct qd_plan, name) == 0, "find_sorted reads names at 0");
_Static_assert(offsetof(struct qd_tenant_rule, pattern) == 0, "find_sorted reads names at 0");

const struct qd_model *qd_policy_model(const struct qd_policy *p, struct qd_str name)
{
    ptrdiff_t i = find_sorted(p->models, p->model_count, sizeof *p->models, name);
    return i < 0 ? NULL : &p->models[i];
}

const struct qd_pool *qd_policy_pool(const struct qd_policy *p, struct qd_str name)
{
    ptrdiff_t i = find_sorted(p->pools, p->pool_count, sizeof *p->pools, name);
    return i < 0 ? NULL : &p->pools[i];
}

const struct qd_plan *qd_policy_plan(const struct qd_policy *p, struct qd_str name)
{
    ptrdiff_t i = find_sorted(p->plans, p->plan_count, sizeof *p->plans, name);
    return i < 0 ? NULL : &p->plans[i];
}

int qd_policy_meter(const struct qd_policy *p, struct qd_str name)
{
    for (size_t i = 0; i < p->meter_count; i++) {
        if (equals(p->meters[i].name, name)) {
            return (int)i;
        }
    }
    return -1;
}

/* --- tenants -----------------------------------------------------------------------------------
 */

#define SEGMENT_MAX 63

static bool segment_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool qd_tenant_path_valid(struct qd_str path)
{
    unsigned segments = 1;
    size_t length = 0; /* of the segment so far */
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] == '/') {
            if (length == 0 || segments == QD_TENANT_SEGMENTS_MAX) {
                return false;
            }
            segments++;
            length = 0;
        } else if (!segment_byte(path.ptr[i]) || ++length > SEGMENT_MAX) {
            return false;
        }
    }
    return length > 0;
}

uint8_t qd_tenant_path_depth(struct qd_str path)
{
    unsigned depth = path.len > 0 ? 1 : 0;
    for (size_t i = 0; i < path.len && depth < UINT8_MAX; i++) {
        depth += path.ptr[i] == '/' ? 1 : 0;
    }
    return (uint8_t)depth;
}

struct qd_str qd_tenant_path_prefix(struct qd_str path, uint8_t depth)
{
    uint8_t left = depth;
    size_t i = 0;
    while (left > 0 && i < path.len) {
        if (path.ptr[i] == '/' && --left == 0) {
            break;
        }
        i++;
    }
    return (struct qd_str){path.ptr, i};
}

/* Length of the segment that starts at `s`. */
static size_t segment_length(struct qd_str s)
{
    const char *slash = NULL;
    for (size_t i = 0; i < s.len && slash == NULL; i++) {
        slash = s.ptr[i] == '/' ? s.ptr + i : NULL;
    }
    return slash == NULL ? s.len : (size_t)(slash - s.ptr);
}

/* Drop the first segment, of `length` bytes, and its slash. */
static struct qd_str after_segment(struct qd_str s, size_t length)
{
    size_t drop = length < s.len ? length + 1 : length;
    return (struct qd_str){s.ptr + drop, s.len - drop};
}

/* Both have the same number of segments. */
static bool pattern_matches(const char *pattern, struct qd_str path)
{
    struct qd_str left = {pattern, strlen(pattern)};
    while (left.len > 0) {
        size_t wanted = segment_length(left);
        size_t given = segment_length(path);
        bool any = wanted == 1 && left.ptr[0] == '*';
        if (!any && (wanted != given || memcmp(left.ptr, path.ptr, given) != 0)) {
            return false;
        }
        left = after_segment(left, wanted);
        path = after_segment(path, given);
    }
    return true;
}

const struct qd_tenant_rule *qd_policy_tenant_rule(const struct qd_policy *p, struct qd_str path)
{
    ptrdiff_t exact = find_sorted(p->tenants, p->tenant_exact_count, sizeof *p->tenants, path);
    if (exact >= 0) {
        return &p->tenants[exact];
    }
    uint8_t depth = qd_tenant_path_depth(path);
    for (size_t i = p->tenant_exact_count; i < p->tenant_count; i++) {
        const struct qd_tenant_rule *rule = &p->tenants[i];
        if (rule->segments == depth && pattern_matches(rule->pattern, path)) {
            return rule; /* P2: the most specific comes first */
        }
    }
    return NULL;
}

/* --- limits ------------------------------------------------------------------------------------
 */

/* The value of one attribute; absent: ptr NULL. */
static struct qd_str attribute_of(const struct qd_attributes *a, enum qd_attribute attribute,
                                  const char *label)
{
    switch (attribute) {
    case QD_ATTR_MODEL:
        return a->model;
    case QD_ATTR_FAMILY:
        return a->family.ptr != NULL ? a->family : a->model;
    case QD_ATTR_POOL:
        return a->pool;
    case QD_ATTR_USER:
        return a->user;
    case QD_ATTR_TENANT:
        return a->tenant;
    case QD_ATTR_LABEL:
        for (size_t i = 0; i < a->label_count; i++) {
            if (equals(label, a->labels[i].name)) {
                return a->labels[i].value;
            }
        }
        break;
    default:
        QD_CHECK(false); /* the builder sets single known bits only */
        break;
    }
    return (struct qd_str){NULL, 0};
}

static bool match_contains(const struct qd_match *m, struct qd_str value)
{
    if (value.ptr == NULL) {
        return false;
    }
    if (m->any == NULL) {
        return true;
    }
    for (size_t i = 0; i < m->any_count; i++) {
        if (equals(m->any[i], value)) {
            return true;
        }
    }
    return false;
}

bool qd_limit_selects(const struct qd_limit *limit, const struct qd_attributes *a)
{
    for (size_t i = 0; i < limit->selector_count; i++) {
        const struct qd_match *m = &limit->selector[i];
        struct qd_str value = attribute_of(a, (enum qd_attribute)m->attribute, m->label);
        if (match_contains(m, value) == m->negate) {
            return false;
        }
    }
    return true;
}

struct qd_hash128 qd_counter_identity(const struct qd_limit *limit, const struct qd_attributes *a,
                                      uint8_t depth, uint64_t seed)
{
    struct qd_str scope = {NULL, 0};
    if (depth > 0) {
        scope = qd_tenant_path_prefix(a->tenant, depth);
    }
    struct qd_hasher h;
    qd_hasher_init(&h, seed);
    qd_hasher_hash(&h, limit->identity);
    qd_hasher_str(&h, scope);
    for (uint32_t left = limit->per; left != 0; left &= left - 1) {
        uint32_t bit = left & -left;
        qd_hasher_str(&h, attribute_of(a, (enum qd_attribute)bit, limit->per_label));
    }
    return qd_hasher_end(&h);
}

/* --- derived meters ----------------------------------------------------------------------------
 */

static void derive_tokens(struct qd_usage *u)
{
    static const uint8_t parts[] = {
        QD_METER_INPUT_TOKENS,  QD_METER_CACHED_INPUT_TOKENS, QD_METER_CACHE_WRITE_TOKENS,
        QD_METER_OUTPUT_TOKENS, QD_METER_REASONING_TOKENS,
    };
    qd_int128 sum = 0;
    bool any = false;
    for (size_t i = 0; i < sizeof parts; i++) {
        any = any || qd_usage_has(u, parts[i]);
        sum += qd_usage_get(u, parts[i]);
    }
    if (any) {
        qd_usage_set(u, QD_METER_TOKENS, sum < INT64_MAX ? (int64_t)sum : INT64_MAX);
    }
}

void qd_policy_derive(const struct qd_policy *p, struct qd_usage *u)
{
    derive_tokens(u);
    for (size_t m = QD_METER_FIRST_CUSTOM; m < p->meter_count; m++) {
        const struct qd_meter_def *def = &p->meters[m];
        if (!def->derived) {
            continue;
        }
        bool any = false; /* S4: a sum of what is missing is missing, not 0 */
        for (unsigned i = 0; i < def->weights.count; i++) {
            any = any || qd_usage_has(u, def->weights.item[i].meter);
        }
        if (any) {
            qd_usage_set(u, (unsigned)m, qd_weights_apply(&def->weights, u));
        }
    }
}
