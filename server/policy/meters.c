/* Meters: the built-in ones, the policy's own, and weights over them (P1, P3). */
#include "server/policy/compile.h"

#include "server/policy/amount.h"

#include <string.h>

#define WEIGHT_MAX 1000000

static const struct {
    const char *name;
    const char *unit;
    bool is_derived;
} builtin[QD_METER_FIRST_CUSTOM] = {
    [QD_METER_REQUESTS] = {"requests", "requests", false},
    [QD_METER_INPUT_TOKENS] = {"input_tokens", "tokens", false},
    [QD_METER_CACHED_INPUT_TOKENS] = {"cached_input_tokens", "tokens", false},
    [QD_METER_CACHE_WRITE_TOKENS] = {"cache_write_tokens", "tokens", false},
    [QD_METER_OUTPUT_TOKENS] = {"output_tokens", "tokens", false},
    [QD_METER_REASONING_TOKENS] = {"reasoning_tokens", "tokens", false},
    [QD_METER_TOKENS] = {"tokens", "tokens", true},
    [QD_METER_GPU_MS] = {"gpu_ms", "GPU-s", false},
    [QD_METER_PROCESSING_MS] = {"processing_ms", "s", false},
    [QD_METER_MEMORY_GB_MS] = {"memory_gb_ms", "GB-s", false},
    [QD_METER_IMAGES] = {"images", "images", false},
    [QD_METER_COST] = {"cost", "USD", false},
    [QD_METER_CHARGE] = {"charge", "USD", false},
    [QD_METER_CONCURRENCY] = {"concurrency", "reservations", false},
};

/* Names under which limits write a meter in seconds. */
static const struct {
    const char *name;
    enum qd_meter meter;
} in_seconds[] = {
    {"gpu_seconds", QD_METER_GPU_MS},
    {"processing_seconds", QD_METER_PROCESSING_MS},
    {"memory_gb_seconds", QD_METER_MEMORY_GB_MS},
};

static int find_meter(const struct qd_policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->meter_count; i++) {
        if (strcmp(policy->meters[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static struct qd_counted counted(const struct qd_policy *policy, int meter, int64_t scale)
{
    bool is_money = meter == QD_METER_COST || meter == QD_METER_CHARGE;
    bool is_time = meter == QD_METER_GPU_MS || meter == QD_METER_PROCESSING_MS ||
                   meter == QD_METER_MEMORY_GB_MS;
    return (struct qd_counted){
        .meter = meter,
        .scale = is_money ? INT64_C(1000000000) : scale,
        .unit = policy->meters[meter].unit,
        .unit_scale = is_money  ? INT64_C(1000000000)
                      : is_time ? 1000
                                : 1,
        .is_money = is_money,
    };
}

bool qd_meter_lookup(const struct qd_policy *policy, const char *name,
                     struct qd_counted *ret_counted)
{
    for (size_t i = 0; i < sizeof in_seconds / sizeof in_seconds[0]; i++) {
        if (strcmp(in_seconds[i].name, name) == 0) {
            *ret_counted = counted(policy, (int)in_seconds[i].meter, 1000);
            return true;
        }
    }
    int meter = find_meter(policy, name);
    if (meter < 0) {
        return false;
    }
    *ret_counted = counted(policy, meter, 1);
    return true;
}

void qd_meter_suggest(const struct qd_policy *policy, struct qd_suggest *s)
{
    for (size_t i = 0; i < policy->meter_count; i++) {
        qd_suggest_offer(s, policy->meters[i].name);
    }
    for (size_t i = 0; i < sizeof in_seconds / sizeof in_seconds[0]; i++) {
        qd_suggest_offer(s, in_seconds[i].name);
    }
}

const char *qd_meter_names(struct qd_compiler *c)
{
    if (c->meter_names != NULL) {
        return c->meter_names; /* a file may have a million errors */
    }
    const char *names = "";
    for (size_t i = 0; i < c->policy->meter_count; i++) {
        const char *name = c->policy->meters[i].name;
        names = qd_arena_printf(c->arena, "%s%s%s", names, i > 0 ? ", " : "",
                                i == QD_METER_GPU_MS ? "gpu_seconds" : name);
    }
    c->meter_names = names;
    return names;
}

/* --- weights ------------------------------------------------------------------------------------
 */

/* Adds num/den of `meter`, and of a derived one its parts. False: too many meters, or weights too
 * fine. */
static bool add_weight(const struct qd_policy *policy, int64_t *nums, int meter, int64_t num)
{
    const struct qd_meter_def *def = &policy->meters[meter];
    if (!def->derived) {
        return !__builtin_add_overflow(nums[meter], num, &nums[meter]);
    }
    for (size_t i = 0; i < def->weights.count; i++) {
        int64_t part;
        const struct qd_weight *w = &def->weights.item[i];
        if (__builtin_mul_overflow(num, (int64_t)w->num, &part) ||
            __builtin_add_overflow(nums[w->meter], part, &nums[w->meter])) {
            return false;
        }
    }
    return true;
}

static int64_t gcd(int64_t a, int64_t b)
{
    a = a < 0 ? -a : a;
    while (b != 0) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* nums/den in lowest terms as weights; false if they do not fit. */
static bool pack_weights(const int64_t *nums, int64_t den, struct qd_weights *ret_weights)
{
    int64_t common = den;
    for (int m = 0; m < QD_METERS_MAX; m++) {
        common = nums[m] == INT64_MIN ? 1 : gcd(nums[m], common);
    }
    struct qd_weights w = {.den = (int32_t)(den / common)};
    if (den / common > WEIGHT_MAX) {
        return false;
    }
    for (int m = 0; m < QD_METERS_MAX; m++) {
        int64_t num = nums[m] / common;
        if (num == 0) {
            continue;
        }
        if (num > WEIGHT_MAX || num < -WEIGHT_MAX || w.count == QD_WEIGHTS_MAX) {
            return false;
        }
        w.item[w.count++] = (struct qd_weight){.meter = (uint8_t)m, .num = (int32_t)num};
    }
    *ret_weights = w;
    return true;
}

void qd_weights_of_meter(const struct qd_policy *policy, int meter, struct qd_weights *ret_weights)
{
    const struct qd_meter_def *def = &policy->meters[meter];
    if (def->derived) {
        *ret_weights = def->weights;
        return;
    }
    *ret_weights = (struct qd_weights){
        .count = 1,
        .den = 1,
        .item = {{.meter = (uint8_t)meter, .num = 1}},
    };
}

/* "5", "-1", "0.25": num/1000000 exactly. */
static bool read_weight(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        int64_t *ret_micro)
{
    struct qd_decimal d;
    enum qd_decimal_result rc = QD_DECIMAL_SYNTAX;
    int64_t micro = 0;
    size_t used = 0;
    if (node->kind == QD_NODE_SCALAR) {
        used = qd_number_scan(node->text, node->len, &d, &rc);
    }
    if (rc != QD_DECIMAL_OK || used != node->len ||
        qd_decimal_to_int64(&d, 6, &micro) != QD_DECIMAL_OK ||
        micro > (int64_t)WEIGHT_MAX * WEIGHT_MAX || micro < -(int64_t)WEIGHT_MAX * WEIGHT_MAX) {
        qd_fail(
            c, at, node,
            "not a weight; a number from -1000000 to 1000000 with at most 6 decimals is accepted");
        return false;
    }
    *ret_micro = micro;
    return true;
}

static bool unknown_meter(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key)
{
    struct qd_suggest s;
    qd_suggest_init(&s, key->text);
    qd_meter_suggest(c->policy, &s);
    qd_fail(c, at, key, "\"%s\": unknown meter; accepted: %s%s", key->text, qd_meter_names(c),
            qd_did_you_mean(c, &s));
    return false;
}

/* The meter of a key in a map of weights, or -1 and reported. */
static int weighted_meter(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                          bool is_admit)
{
    if (strcmp(key->text, "max_output_tokens") == 0) {
        if (is_admit) {
            return QD_METER_OUTPUT_TOKENS; /* the estimate's output is its upper bound */
        }
        qd_fail(c, at, key,
                "\"max_output_tokens\" is known before a request only; it is accepted in "
                "\"admit\"; did you mean \"output_tokens\"?");
        return -1;
    }
    int meter = find_meter(c->policy, key->text);
    if (meter < 0) {
        (void)unknown_meter(c, at, key);
    }
    return meter;
}

bool qd_read_weights(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                     bool is_admit, struct qd_weights *ret_weights)
{
    int64_t nums[QD_METERS_MAX] = {0};
    bool good = qd_expect_map(c, at, node, "a map of meters and weights");
    bool has_money = false;
    bool has_other = false;
    for (size_t i = 0; good && i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        struct qd_at below = {at, key->text};
        int64_t micro;
        int meter = weighted_meter(c, at, key, is_admit);
        if (meter < 0 || !read_weight(c, &below, qd_node_value(node, i), &micro)) {
            good = false;
            continue;
        }
        bool is_money = meter == QD_METER_COST || meter == QD_METER_CHARGE;
        has_money = has_money || is_money;
        has_other = has_other || !is_money;
        if (!add_weight(c->policy, nums, meter, micro)) {
            qd_fail(c, &below, key, "weights are too large together");
            good = false;
        }
    }
    if (!good) {
        return false;
    }
    if (node->count == 0) {
        qd_fail(c, at, node,
                "empty; a map of meters and weights is accepted, as {input_tokens: 1, "
                "output_tokens: 5}");
        return false;
    }
    if (has_money && has_other) {
        qd_fail(c, at, node, "money and other meters cannot be added; use two limits");
        return false;
    }
    if (!pack_weights(nums, WEIGHT_MAX, ret_weights)) {
        qd_fail(c, at, node, "more than 12 meters, or weights too far apart");
        return false;
    }
    return true;
}

/* --- the section --------------------------------------------------------------------------------
 */

struct meter_draft {
    struct qd_meter_def def;
    const struct qd_node *sum;
};

static void read_unit(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                      void *object)
{
    struct meter_draft *d = object;
    const char *unit = qd_read_name(c, at, value);
    d->def.unit = unit != NULL ? unit : d->def.unit;
}

static void read_sum(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                     void *object)
{
    struct meter_draft *d = object;
    d->sum = value;
    d->def.derived = true;
    if (qd_read_weights(c, at, value, false, &d->def.weights)) {
        for (size_t i = 0; i < d->def.weights.count; i++) {
            if (d->def.weights.item[i].meter == QD_METER_CONCURRENCY) {
                qd_fail(c, at, value, "\"concurrency\" cannot be part of a sum");
            }
        }
    }
}

static void compile_meter(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                          const struct qd_node *value, struct qd_meter_def *meters)
{
    static const struct qd_field fields[] = {{"unit", read_unit}, {"sum", read_sum}};
    struct qd_counted already;
    size_t len = strspn(key->text, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (len != key->len || key->len == 0 || key->len > 63 || key->text[0] < 'a') {
        qd_fail(c, at, key,
                "\"%.70s\": not a meter's name; a-z, 0-9 and \"_\", up to 63, are accepted",
                key->text);
        return;
    }
    if (qd_meter_lookup(c->policy, key->text, &already) ||
        strcmp(key->text, "max_output_tokens") == 0) {
        qd_fail(c, at, key, "\"%s\": a built-in meter; choose another name", key->text);
        return;
    }
    if (c->policy->meter_count == QD_METERS_MAX) {
        qd_fail(c, at, key, "too many meters; at most %d of your own are accepted",
                QD_METERS_MAX - QD_METER_FIRST_CUSTOM);
        return;
    }
    struct meter_draft d = {.def = {.name = key->text, .unit = key->text}};
    (void)qd_read_fields(c, at, value, fields, 2, &d);
    meters[c->policy->meter_count++] = d.def;
    c->meter_names = NULL;
}

void qd_compile_meters(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node)
{
    struct qd_meter_def *meters = qd_arena_array(c->arena, QD_METERS_MAX, sizeof *meters);
    for (int i = 0; i < QD_METER_FIRST_CUSTOM; i++) {
        meters[i] = (struct qd_meter_def){
            .name = builtin[i].name,
            .unit = builtin[i].unit,
            .builtin = true,
            .derived = builtin[i].is_derived,
        };
    }
    meters[QD_METER_TOKENS].weights = (struct qd_weights){
        .count = 5,
        .den = 1,
        .item = {{QD_METER_INPUT_TOKENS, 1},
                 {QD_METER_CACHED_INPUT_TOKENS, 1},
                 {QD_METER_CACHE_WRITE_TOKENS, 1},
                 {QD_METER_OUTPUT_TOKENS, 1},
                 {QD_METER_REASONING_TOKENS, 1}},
    };
    c->policy->meters = meters;
    c->policy->meter_count = QD_METER_FIRST_CUSTOM;
    if (node == NULL || !qd_expect_map(c, at, node, "a map of meters")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        struct qd_at below = {at, qd_node_key(node, i)->text};
        compile_meter(c, &below, qd_node_key(node, i), qd_node_value(node, i), meters);
    }
}
