#include "server/policy/policy_test_file.h"

#include "server/policy/amount.h"

#include <string.h>

/* --- times --------------------------------------------------------------------------------------
 */

/* "12.4s", "500ms", "10min", "1h", "0": exact to the nanosecond. */
static bool parse_length(const char *text, size_t len, int64_t *ret_ns)
{
    static const struct {
        const char *unit;
        unsigned scale;
        int64_t factor;
    } units[] = {{"ns", 0, 1},      {"ms", 6, 1},      {"s", 9, 1},        {"min", 9, 60},
                 {"h", 9, 3600},    {"hour", 9, 3600}, {"hours", 9, 3600}, {"d", 9, 86400},
                 {"day", 9, 86400}, {"days", 9, 86400}};
    struct qd_decimal d;
    enum qd_decimal_result rc;
    size_t used = qd_number_scan(text, len, &d, &rc);
    int64_t value;
    if (rc != QD_DECIMAL_OK || d.negative) {
        return false;
    }
    if (used == len && d.digits == 0) {
        *ret_ns = 0;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strlen(units[i].unit) == len - used &&
            memcmp(units[i].unit, text + used, len - used) == 0) {
            return qd_decimal_to_int64(&d, units[i].scale, &value) == QD_DECIMAL_OK &&
                   !__builtin_mul_overflow(value, units[i].factor, ret_ns);
        }
    }
    return false;
}

static bool read_length(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        int64_t *ret_ns)
{
    if (node->kind == QD_NODE_SCALAR && parse_length(node->text, node->len, ret_ns)) {
        return true;
    }
    qd_fail(c, at, node, "\"%.40s\": a length of time is accepted, as 12.4s, 500ms, 10min, 1h, 2d",
            node->kind == QD_NODE_SCALAR ? node->text : "");
    return false;
}

static bool read_time(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                      struct qd_wall_ns *ret_time)
{
    if (node->kind == QD_NODE_SCALAR && qd_time_parse(node->text, node->len, ret_time)) {
        return true;
    }
    qd_fail(c, at, node, "\"%.40s\": a time is accepted, as 2026-11-02T10:00:00Z",
            node->kind == QD_NODE_SCALAR ? node->text : "");
    return false;
}

/* --- usage and attributes -----------------------------------------------------------------------
 */

static bool is_reported(const struct qd_policy *p, int meter)
{
    return !p->meters[meter].derived && meter != QD_METER_COST && meter != QD_METER_CHARGE &&
           meter != QD_METER_CONCURRENCY;
}

/* Says which meters a check or a report can carry. */
static void refuse_meter(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                         bool is_check)
{
    struct qd_suggest s;
    const char *names = "";
    qd_suggest_init(&s, key->text);
    for (size_t i = 0; i < c->policy->meter_count; i++) {
        if (is_reported(c->policy, (int)i)) {
            const char *name = i == QD_METER_GPU_MS ? "gpu_seconds" : c->policy->meters[i].name;
            names = qd_arena_printf(c->arena, "%s%s, ", names, name);
            qd_suggest_offer(&s, name);
        }
    }
    if (is_check) {
        qd_suggest_offer(&s, "max_output_tokens");
    }
    qd_fail(c, at, key, "\"%s\": not a meter that is reported; accepted: %.*s%s%s", key->text,
            (int)strlen(names) - 2, names, is_check ? ", max_output_tokens" : "",
            qd_did_you_mean(c, &s));
}

static void read_use(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                     struct qd_usage *usage, struct qd_world_check *check)
{
    if (!qd_expect_map(c, at, node, "a map of meters and amounts")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const struct qd_node *value = qd_node_value(node, i);
        struct qd_at below = {at, key->text};
        struct qd_counted counted;
        int64_t amount;
        if (check != NULL && strcmp(key->text, "max_output_tokens") == 0) {
            check->has_max_output =
                qd_read_amount(c, &below, value, 0, QD_AMOUNT_MAX, &check->max_output_tokens);
            continue;
        }
        if (!qd_meter_lookup(c->policy, key->text, &counted) ||
            !is_reported(c->policy, counted.meter)) {
            refuse_meter(c, at, key, check != NULL);
        } else if (value->kind != QD_NODE_SCALAR ||
                   qd_amount_parse(value->text, value->len, counted.scale, &amount) !=
                       QD_AMOUNT_OK) {
            qd_fail(c, &below, value, "an amount is accepted here, as 1200 or 40k");
        } else {
            qd_usage_set(usage, (unsigned)counted.meter, amount);
        }
    }
}

static struct qd_str text_of(const struct qd_node *node)
{
    return (struct qd_str){node->text, node->len};
}

static void read_labels(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        struct qd_attributes *a)
{
    if (!qd_expect_map(c, at, node, "a map of labels") || node->count > QD_LABELS_MAX) {
        qd_fail(c, at, node, "at most %d labels are accepted", QD_LABELS_MAX);
        return;
    }
    struct qd_label *labels = qd_arena_array(c->arena, node->count + 1, sizeof *labels);
    for (size_t i = 0; i < node->count; i++) {
        struct qd_at below = {at, qd_node_key(node, i)->text};
        if (qd_read_name(c, &below, qd_node_value(node, i)) == NULL) {
            return;
        }
        labels[i] =
            (struct qd_label){text_of(qd_node_key(node, i)), text_of(qd_node_value(node, i))};
    }
    a->labels = labels;
    a->label_count = node->count;
}

/* tenant, model, pool, user, labels. False: the key is none of them. */
static bool read_attribute(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                           const struct qd_node *value, struct qd_attributes *a)
{
    if (strcmp(key->text, "labels") == 0) {
        read_labels(c, at, value, a);
        return true;
    }
    struct qd_str *target = strcmp(key->text, "tenant") == 0  ? &a->tenant
                            : strcmp(key->text, "model") == 0 ? &a->model
                            : strcmp(key->text, "pool") == 0  ? &a->pool
                            : strcmp(key->text, "user") == 0  ? &a->user
                                                              : NULL;
    if (target == NULL) {
        return false;
    }
    if (target == &a->tenant) {
        if (value->kind != QD_NODE_SCALAR || !qd_tenant_path_valid(text_of(value))) {
            qd_fail(c, at, value, "a tenant's path is accepted here, as acme/search");
            return true;
        }
    } else if (qd_read_name(c, at, value) == NULL) {
        return true;
    }
    if (target == &a->model && c->policy->model_count > 0 &&
        qd_find_model(c->policy, value->text) == NULL) {
        qd_unknown_model(c, at, value);
    }
    *target = text_of(value);
    return true;
}

static bool read_variant(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                         const struct qd_node *value, enum qd_price_tier *tier,
                         enum qd_cache_write_ttl *ttl)
{
    static const struct qd_word tiers[] = {{"standard", QD_TIER_STANDARD},
                                           {"batch", QD_TIER_BATCH},
                                           {"priority", QD_TIER_PRIORITY},
                                           {"flex", QD_TIER_FLEX}};
    static const struct qd_word ttls[] = {{"5m", QD_CACHE_WRITE_5M}, {"1h", QD_CACHE_WRITE_1H}};
    int number;
    if (strcmp(key->text, "tier") == 0) {
        if (qd_read_word(c, at, value, "tier", tiers, 4, &number)) {
            *tier = (enum qd_price_tier)number;
        }
        return true;
    }
    if (strcmp(key->text, "cache_write_ttl") == 0) {
        if (qd_read_word(c, at, value, "time to live", ttls, 2, &number)) {
            *ttl = (enum qd_cache_write_ttl)number;
        }
        return true;
    }
    return false;
}

/* --- actions ------------------------------------------------------------------------------------
 */

static void read_check(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       struct qd_test_step *step)
{
    static const struct qd_field names[] = {
        {"tenant", NULL}, {"model", NULL}, {"pool", NULL},    {"user", NULL},
        {"labels", NULL}, {"use", NULL},   {"id", NULL},      {"repeat", NULL},
        {"tier", NULL},   {"ttl", NULL},   {"dry_run", NULL}, {"cache_write_ttl", NULL}};
    struct qd_world_check *check = &step->check;
    step->action = QD_TEST_CHECK;
    if (!qd_expect_map(c, at, node, "a check")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const struct qd_node *value = qd_node_value(node, i);
        struct qd_at below = {at, key->text};
        int64_t number;
        if (read_attribute(c, &below, key, value, &check->attributes) ||
            read_variant(c, &below, key, value, &check->tier, &check->cache_write_ttl)) {
            continue;
        }
        if (strcmp(key->text, "use") == 0) {
            read_use(c, &below, value, &check->use, check);
        } else if (strcmp(key->text, "id") == 0) {
            step->id = qd_read_name(c, &below, value);
        } else if (strcmp(key->text, "repeat") == 0) {
            if (qd_read_amount(c, &below, value, 1, QD_TEST_REPEAT_MAX, &number)) {
                step->repeat = (uint32_t)number;
            }
        } else if (strcmp(key->text, "ttl") == 0) {
            (void)qd_read_duration(c, &below, value, QD_NS_PER_S, QD_TTL_MAX_NS, &check->ttl_ns);
        } else if (strcmp(key->text, "dry_run") == 0) {
            (void)qd_read_bool(c, &below, value, &check->dry_run);
        } else {
            qd_unknown_key(c, at, key, names, sizeof names / sizeof names[0]);
        }
    }
    if (check->attributes.tenant.ptr == NULL) {
        qd_fail(c, at, node, "no \"tenant\"");
    }
}

static void read_report(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        struct qd_test_step *step)
{
    static const struct qd_field names[] = {
        {"id", NULL},   {"tenant", NULL},         {"model", NULL},
        {"pool", NULL}, {"user", NULL},           {"labels", NULL},
        {"use", NULL},  {"outcome", NULL},        {"final", NULL},
        {"tier", NULL}, {"cache_write_ttl", NULL}};
    static const struct qd_word outcomes[] = {{"ok", QD_OUTCOME_OK},
                                              {"not_dispatched", QD_OUTCOME_NOT_DISPATCHED},
                                              {"failed", QD_OUTCOME_FAILED},
                                              {"disconnected", QD_OUTCOME_DISCONNECTED}};
    struct qd_world_report *report = &step->report;
    step->action = QD_TEST_REPORT;
    report->final = true;
    if (!qd_expect_map(c, at, node, "a report")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const struct qd_node *value = qd_node_value(node, i);
        struct qd_at below = {at, key->text};
        int number;
        if (read_attribute(c, &below, key, value, &report->attributes) ||
            read_variant(c, &below, key, value, &report->tier, &report->cache_write_ttl)) {
            continue;
        }
        if (strcmp(key->text, "use") == 0) {
            read_use(c, &below, value, &report->used, NULL);
        } else if (strcmp(key->text, "id") == 0) {
            step->id = qd_read_name(c, &below, value);
        } else if (strcmp(key->text, "outcome") == 0) {
            if (qd_read_word(c, &below, value, "outcome", outcomes, 4, &number)) {
                report->outcome = (enum qd_outcome)number;
            }
        } else if (strcmp(key->text, "final") == 0) {
            (void)qd_read_bool(c, &below, value, &report->final);
        } else {
            qd_unknown_key(c, at, key, names, sizeof names / sizeof names[0]);
        }
    }
    if ((step->id == NULL) == (report->attributes.tenant.ptr == NULL)) {
        qd_fail(c, at, node, "either the \"id\" of a check or a \"tenant\" is accepted");
    }
}

/* --- expectations -------------------------------------------------------------------------------
 */

static void read_state(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       struct qd_test_state *state)
{
    static const struct qd_field names[] = {
        {"used", NULL}, {"held", NULL}, {"remaining", NULL}, {"estimate", NULL}};
    if (!qd_expect_map(c, at, node, "a map of used, held, remaining, estimate")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const struct qd_node *value = qd_node_value(node, i);
        const char **target = strcmp(key->text, "used") == 0        ? &state->used
                              : strcmp(key->text, "held") == 0      ? &state->held
                              : strcmp(key->text, "remaining") == 0 ? &state->remaining
                              : strcmp(key->text, "estimate") == 0  ? &state->estimate
                                                                    : NULL;
        if (target == NULL) {
            qd_unknown_key(c, at, key, names, 4);
        } else {
            *target = qd_read_name(c, at, value);
        }
    }
}

static void read_states(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        struct qd_test_expect *e)
{
    if (!qd_expect_map(c, at, node, "a map of limits") || node->count > QD_TEST_STATES_MAX) {
        qd_fail(c, at, node, "at most %d limits are accepted here", QD_TEST_STATES_MAX);
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        struct qd_at below = {at, key->text};
        e->states[i] = (struct qd_test_state){.limit = key->text, .line = key->line};
        read_state(c, &below, qd_node_value(node, i), &e->states[i]);
    }
    e->state_count = node->count;
}

static void read_verdict(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                         struct qd_test_expect *e)
{
    static const struct qd_word verdicts[] = {{"allow", QD_TEST_ALLOW}, {"deny", QD_TEST_DENY}};
    int value;
    if (qd_read_word(c, at, node, "verdict", verdicts, 2, &value)) {
        e->verdict = (enum qd_test_verdict)value;
    }
}

static void read_reason(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        struct qd_test_expect *e)
{
    static const struct qd_word reasons[] = {{"limit", 0},          {"never_fits", 0},
                                             {"blocked", 0},        {"unknown_price", 0},
                                             {"unknown_tenant", 0}, {"capacity", 0}};
    int value;
    if (qd_read_word(c, at, node, "reason", reasons, 6, &value)) {
        e->reason = node->text;
    }
}

static void read_expect(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                        struct qd_test_expect *e)
{
    static const struct qd_field names[] = {{"verdict", NULL}, {"limit", NULL},
                                            {"reason", NULL},  {"retry_after", NULL},
                                            {"cost", NULL},    {"limits", NULL}};
    e->line = node->line;
    if (node->kind == QD_NODE_SCALAR) {
        read_verdict(c, at, node, e);
        return;
    }
    if (!qd_expect_map(c, at, node, "allow, deny, or a map")) {
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        const struct qd_node *value = qd_node_value(node, i);
        struct qd_at below = {at, key->text};
        if (strcmp(key->text, "verdict") == 0) {
            read_verdict(c, &below, value, e);
        } else if (strcmp(key->text, "limit") == 0) {
            e->limit = qd_read_name(c, &below, value);
        } else if (strcmp(key->text, "reason") == 0) {
            read_reason(c, &below, value, e);
        } else if (strcmp(key->text, "retry_after") == 0) {
            e->retry_never = value->kind == QD_NODE_SCALAR && strcmp(value->text, "never") == 0;
            e->has_retry = e->retry_never || read_length(c, &below, value, &e->retry_ns);
        } else if (strcmp(key->text, "cost") == 0) {
            e->has_cost = value->kind == QD_NODE_SCALAR && value->text[0] == '$' &&
                          qd_amount_parse(value->text + 1, value->len - 1, QD_NS_PER_S,
                                          &e->cost_nano) == QD_AMOUNT_OK;
            if (!e->has_cost) {
                qd_fail(c, &below, value, "an amount of dollars is accepted, as $0.0123");
            }
        } else if (strcmp(key->text, "limits") == 0) {
            read_states(c, &below, value, e);
        } else {
            qd_unknown_key(c, at, key, names, sizeof names / sizeof names[0]);
        }
    }
}

/* --- steps and tests ----------------------------------------------------------------------------
 */

/* Accepts only what ns can hold. */
static bool add_length(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       struct qd_wall_ns from, struct qd_wall_ns *ret_time)
{
    int64_t offset;
    struct qd_wall_ns time;
    if (!read_length(c, at, node, &offset)) {
        return false;
    }
    if (__builtin_add_overflow(from.ns, offset, &time.ns)) {
        qd_fail(c, at, node, "\"%.40s\": too late; times before 2262-04-11 are accepted",
                node->text);
        return false;
    }
    *ret_time = time;
    return true;
}

/* "10s" after the test's start, or an absolute time. Times never go back. */
static void read_at(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                    struct qd_wall_ns start, struct qd_wall_ns *now)
{
    struct qd_wall_ns time;
    bool absolute = node->kind == QD_NODE_SCALAR && strchr(node->text, 'T') != NULL;
    if (!(absolute ? read_time(c, at, node, &time) : add_length(c, at, node, start, &time))) {
        return;
    }
    if (time.ns < now->ns) {
        qd_fail(c, at, node, "before the step above; times only go forward");
        return;
    }
    *now = time;
}

static void read_step_key(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                          const struct qd_node *value, const struct qd_test_case *test,
                          struct qd_test_step *step)
{
    static const struct qd_field names[] = {{"at", NULL},     {"after", NULL},  {"check", NULL},
                                            {"report", NULL}, {"cancel", NULL}, {"expect", NULL}};
    struct qd_at below = {at, key->text};
    if (strcmp(key->text, "at") == 0) {
        read_at(c, &below, value, test->start, &step->at);
    } else if (strcmp(key->text, "after") == 0) {
        (void)add_length(c, &below, value, step->at, &step->at);
    } else if (strcmp(key->text, "expect") == 0) {
        read_expect(c, &below, value, &step->expect);
    } else if (step->action != QD_TEST_WAIT) {
        qd_fail(c, at, key, "a step has one action: check, report or cancel");
    } else if (strcmp(key->text, "check") == 0) {
        read_check(c, &below, value, step);
    } else if (strcmp(key->text, "report") == 0) {
        read_report(c, &below, value, step);
    } else if (strcmp(key->text, "cancel") == 0) {
        step->action = QD_TEST_CANCEL;
        step->id = qd_read_name(c, &below, value);
    } else {
        qd_unknown_key(c, at, key, names, 6);
    }
}

static void read_steps(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       struct qd_test_case *test)
{
    if (node->kind != QD_NODE_LIST || node->count == 0 || node->count > QD_TEST_STEPS_MAX) {
        qd_fail(c, at, node, "a list of 1 to %d steps is accepted", QD_TEST_STEPS_MAX);
        return;
    }
    struct qd_wall_ns now = test->start;
    test->steps = qd_arena_array(c->arena, node->count, sizeof *test->steps);
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *item = node->items[i];
        struct qd_at below = {at, qd_arena_printf(c->arena, "[%zu]", i)};
        struct qd_test_step *step = &test->steps[test->step_count++];
        *step = (struct qd_test_step){.at = now, .line = item->line, .repeat = 1};
        if (!qd_expect_map(c, &below, item, "a step")) {
            continue;
        }
        for (size_t k = 0; k < item->count; k++) {
            read_step_key(c, &below, qd_node_key(item, k), qd_node_value(item, k), test, step);
        }
        if (step->expect.line != 0 && step->action != QD_TEST_CHECK &&
            !(step->action == QD_TEST_REPORT && step->expect.has_cost)) {
            qd_fail(c, &below, item,
                    "only a check has a verdict to expect (a report: its \"cost\")");
        }
        now = step->at;
    }
}

static void read_case(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                      struct qd_wall_ns start, struct qd_test_case *test)
{
    static const struct qd_field names[] = {{"name", NULL}, {"start", NULL}, {"steps", NULL}};
    if (!qd_expect_map(c, at, node, "a test")) {
        return;
    }
    const struct qd_node *name = qd_node_get(node, "name");
    const struct qd_node *begin = qd_node_get(node, "start");
    const struct qd_node *steps = qd_node_get(node, "steps");
    *test = (struct qd_test_case){.name = "", .line = node->line, .start = start};
    for (size_t i = 0; i < node->count; i++) {
        const struct qd_node *key = qd_node_key(node, i);
        if (strcmp(key->text, "name") != 0 && strcmp(key->text, "start") != 0 &&
            strcmp(key->text, "steps") != 0) {
            qd_unknown_key(c, at, key, names, 3);
        }
    }
    if (name == NULL || steps == NULL) {
        qd_fail(c, at, node, "a test has a \"name\" and \"steps\"");
        return;
    }
    test->name = qd_read_name(c, at, name);
    if (begin != NULL) {
        struct qd_at below = {at, "start"};
        (void)read_time(c, &below, begin, &test->start);
    }
    struct qd_at below = {at, "steps"};
    read_steps(c, &below, steps, test);
}

void qd_test_file_read_policy(struct qd_compiler *c, const struct qd_node *root,
                              struct qd_test_file *file)
{
    struct qd_at top = {0};
    struct qd_at at = {&top, "policy"};
    const struct qd_node *policy = qd_node_get(root, "policy");
    if (root->kind != QD_NODE_MAP) {
        qd_fail(c, &top, root,
                "not a policy test file; a map with \"policy\" and \"tests\" is accepted");
    } else if (policy != NULL) {
        if (policy->kind == QD_NODE_SCALAR && policy->len > 0 && policy->len < 4000) {
            file->policy = policy->text;
        } else {
            qd_fail(c, &at, policy, "the path of a policy is accepted here");
        }
    }
}

void qd_test_file_read(struct qd_compiler *c, const struct qd_node *root, struct qd_test_file *file)
{
    static const struct qd_field names[] = {{"policy", NULL}, {"start", NULL}, {"tests", NULL}};
    struct qd_at top = {0};
    struct qd_at at = {&top, "tests"};
    struct qd_at at_start = {&top, "start"};
    struct qd_wall_ns start = {INT64_C(1767225600) * QD_NS_PER_S}; /* 2026-01-01 */
    const struct qd_node *tests = qd_node_get(root, "tests");
    const struct qd_node *begin = qd_node_get(root, "start");
    for (size_t i = 0; i < root->count; i++) {
        const struct qd_node *key = qd_node_key(root, i);
        if (strcmp(key->text, "policy") != 0 && strcmp(key->text, "tests") != 0 &&
            strcmp(key->text, "start") != 0) {
            qd_unknown_key(c, &top, key, names, 3);
        }
    }
    if (begin != NULL) {
        (void)read_time(c, &at_start, begin, &start);
    }
    if (tests == NULL || tests->kind != QD_NODE_LIST || tests->count == 0 ||
        tests->count > QD_TESTS_MAX) {
        qd_fail(c, &top, tests != NULL ? tests : root, "\"tests\" is a list of 1 to %d tests",
                QD_TESTS_MAX);
        return;
    }
    file->cases = qd_arena_array(c->arena, tests->count, sizeof *file->cases);
    for (size_t i = 0; i < tests->count; i++) {
        struct qd_at below = {&at, qd_arena_printf(c->arena, "[%zu]", i)};
        read_case(c, &below, tests->items[i], start, &file->cases[i]);
    }
    file->case_count = tests->count;
}
