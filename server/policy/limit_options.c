/* Options of a limit, their defaults, and what must not be combined (P3, H1, H7, S4, S5). */
#include "server/policy/limit_draft.h"
#include "server/policy/limit_text.h"

#include <string.h>

static bool word_option(struct qd_limit_draft *d, enum qd_limit_key key, const char *what,
                        const struct qd_word *words, size_t count, int *ret_value)
{
    if (d->given[key] == NULL) {
        return false;
    }
    struct qd_at at = qd_draft_at(d, key);
    if (!qd_read_word(d->c, &at, d->given[key], what, words, count, ret_value)) {
        d->is_bad = true;
        return false;
    }
    return true;
}

static bool bool_option(struct qd_limit_draft *d, enum qd_limit_key key, bool *value)
{
    if (d->given[key] == NULL) {
        return false;
    }
    struct qd_at at = qd_draft_at(d, key);
    if (!qd_read_bool(d->c, &at, d->given[key], value)) {
        d->is_bad = true;
        return false;
    }
    return true;
}

/* True if the limit weighs output or what is estimated from it, so that its estimate needs an upper
 * bound. */
static bool depends_on_output(const struct qd_limit *l)
{
    for (size_t i = 0; i < l->admit.count; i++) {
        uint8_t m = l->admit.item[i].meter;
        if (m == QD_METER_OUTPUT_TOKENS || m == QD_METER_REASONING_TOKENS || m == QD_METER_COST ||
            m == QD_METER_CHARGE || m == QD_METER_GPU_MS) {
            return true;
        }
    }
    return false;
}

/* "admit: none": the meters are named, with weights of 0. */
static bool holds_nothing(const struct qd_weights *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->item[i].num != 0) {
            return false;
        }
    }
    return true;
}

static void draft_estimate(struct qd_limit_draft *d)
{
    static const struct qd_word outputs[] = {
        {"worst_case", QD_OUTPUT_WORST_CASE},
        {"quantile", QD_OUTPUT_QUANTILE},
        {"none", QD_OUTPUT_NONE},
        {"max", QD_OUTPUT_MAX_OF},
    };
    struct qd_at at = qd_draft_at(d, QD_KEY_QUANTILE);
    int value = QD_OUTPUT_WORST_CASE;
    bool has_output = word_option(d, QD_KEY_OUTPUT, "output estimate", outputs, 4, &value);
    d->spec.quantile_permille = 0;
    if (d->given[QD_KEY_QUANTILE] != NULL) {
        if (has_output && value != QD_OUTPUT_QUANTILE) {
            qd_draft_fail(d, QD_KEY_QUANTILE, "of no use without \"output: quantile\"");
        }
        value = QD_OUTPUT_QUANTILE;
        if (!qd_read_permille(d->c, &at, d->given[QD_KEY_QUANTILE], 500, 999,
                              &d->spec.quantile_permille)) {
            d->is_bad = true;
        }
    } else if (value == QD_OUTPUT_QUANTILE) {
        d->spec.quantile_permille = 950;
    }
    d->spec.output_estimate = (enum qd_output_estimate)value;
    if (d->given[QD_KEY_DEFAULT_MAX_OUTPUT] != NULL) {
        at = qd_draft_at(d, QD_KEY_DEFAULT_MAX_OUTPUT);
        if (!qd_read_amount(d->c, &at, d->given[QD_KEY_DEFAULT_MAX_OUTPUT], 1, QD_AMOUNT_MAX,
                            &d->spec.default_max_output)) {
            d->is_bad = true;
        }
    }
    if (d->given[QD_KEY_CLAMP] != NULL) {
        at = qd_draft_at(d, QD_KEY_CLAMP);
        if (!qd_read_permille(d->c, &at, d->given[QD_KEY_CLAMP], 1, 1000,
                              &d->spec.clamp_permille_of_amount)) {
            d->is_bad = true;
        }
    }
}

static void add_threshold(struct qd_limit_draft *d, const struct qd_node *node, size_t *count)
{
    struct qd_at at = qd_draft_at(d, QD_KEY_WARN);
    uint16_t permille;
    if (!qd_read_permille(d->c, &at, node, 1, 1000, &permille)) {
        d->is_bad = true;
        return;
    }
    size_t i = *count;
    for (; i > 0 && d->spec.threshold_permille[i - 1] > permille; i--) {
        d->spec.threshold_permille[i] = d->spec.threshold_permille[i - 1];
    }
    if (i > 0 && d->spec.threshold_permille[i - 1] == permille) {
        qd_fail(d->c, &at, node, "\"%s\": given twice", node->text);
        d->is_bad = true;
    }
    d->spec.threshold_permille[i] = permille;
    *count += 1;
}

static void draft_warn(struct qd_limit_draft *d)
{
    const struct qd_node *node = d->given[QD_KEY_WARN];
    if (node == NULL) {
        if (qd_limit_is_budget(&d->spec)) {
            d->spec.threshold_permille[0] = 500;
            d->spec.threshold_permille[1] = 800;
            d->spec.threshold_permille[2] = 1000;
        }
        return;
    }
    size_t count = 0;
    if (node->kind != QD_NODE_LIST) {
        add_threshold(d, node, &count);
        return;
    }
    if (node->count > QD_THRESHOLDS_MAX) {
        qd_draft_fail(d, QD_KEY_WARN, "too many thresholds; at most %d are accepted",
                      QD_THRESHOLDS_MAX);
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        add_threshold(d, node->items[i], &count);
    }
}

static void draft_settling(struct qd_limit_draft *d)
{
    static const struct qd_word expiries[] = {
        {"release", QD_KEEP_NOTHING}, {"keep_input", QD_KEEP_INPUT}, {"charge", QD_KEEP_ALL}};
    static const struct qd_word failures[] = {
        {"refund", QD_KEEP_NOTHING}, {"keep_input", QD_KEEP_INPUT}, {"keep_all", QD_KEEP_ALL}};
    int value = d->spec.consistency == QD_HARD ? QD_KEEP_ALL : QD_KEEP_NOTHING;
    (void)word_option(d, QD_KEY_ON_EXPIRY, "rule for expired holds", expiries, 3, &value);
    d->spec.on_expiry = (enum qd_keep)value;
    value = QD_KEEP_NOTHING;
    (void)word_option(d, QD_KEY_ON_FAILED, "rule for failed requests", failures, 3, &value);
    d->spec.on_failed = (enum qd_keep)value;
    (void)bool_option(d, QD_KEY_REFUNDS, &d->spec.refunds);
}

static void draft_modes(struct qd_limit_draft *d)
{
    static const struct qd_word tests[] = {{"fits", QD_ADMIT_USED_PLUS_ESTIMATE},
                                           {"below", QD_ADMIT_USED_BELOW}};
    static const struct qd_word actions[] = {{"enforce", QD_ENFORCE}, {"shadow", QD_SHADOW}};
    static const struct qd_word modes[] = {
        {"open", QD_FAIL_OPEN}, {"closed", QD_FAIL_CLOSED}, {"share", QD_FAIL_SHARE}};
    int value = QD_ADMIT_USED_PLUS_ESTIMATE;
    (void)word_option(d, QD_KEY_TEST, "test", tests, 2, &value);
    d->spec.admit_test = (enum qd_admit_test)value;
    value = QD_ENFORCE;
    (void)word_option(d, QD_KEY_ACTION, "action", actions, 2, &value);
    d->spec.action = (enum qd_action)value;
    value = d->spec.consistency == QD_HARD || d->spec.money ? QD_FAIL_CLOSED : QD_FAIL_OPEN;
    (void)word_option(d, QD_KEY_FAILURE_MODE, "failure mode", modes, 3, &value);
    d->spec.failure_mode = (enum qd_failure_mode)value;
}

/* H7: algorithms whose windows can be minted in advance. */
static void check_hard_algorithm(struct qd_limit_draft *d)
{
    const char *name = qd_algorithm_text(d->spec.algorithm);
    const char *reason = NULL;
    switch (d->spec.algorithm) {
    case QD_CALENDAR:
    case QD_PREPAID:
    case QD_CONCURRENCY:
        return;
    case QD_FIXED_WINDOW:
        if (d->spec.window_ns >= QD_NS_PER_MINUTE) {
            return;
        }
        reason = "its window is shorter than the 1 min in which rights can be handed out";
        break;
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET:
        reason = "a bucket refills all the time, so that no budget can be handed out to nodes";
        break;
    case QD_SLIDING_WINDOW:
        reason = "its window moves all the time, so that no budget can be handed out to nodes";
        break;
    case QD_PER_REQUEST:
        reason = "it has no budget";
        break;
    }
    qd_draft_fail(
        d, QD_KEY_HARD,
        "%s cannot be hard: %s; accepted with calendar (day, month, ...), fixed_window of "
        "1 min or more, prepaid, concurrency",
        name, reason);
}

/* The key that gives the weights which a hold (a booking) uses. */
static enum qd_limit_key weights_key(const struct qd_limit_draft *d, enum qd_limit_key own)
{
    const enum qd_limit_key keys[] = {own, QD_KEY_WEIGHTS, QD_KEY_METER};
    size_t i = 0;
    while (i < 2 && d->given[keys[i]] == NULL) {
        i++;
    }
    return keys[i];
}

/* Report at the weight of `meter` below `key`, or at what stands there in its place. */
static void fail_at_weight(struct qd_limit_draft *d, enum qd_limit_key key, int meter,
                           const char *why)
{
    const char *name = d->c->policy->meters[meter].name;
    const struct qd_node *node = d->given[key];
    const struct qd_node *own =
        node != NULL && node->kind == QD_NODE_MAP ? qd_node_get(node, name) : NULL;
    if (own == NULL) {
        qd_draft_fail(d, key, "\"%s\": %s", name, why);
        return;
    }
    struct qd_at at = qd_draft_at(d, key);
    struct qd_at below = {&at, name};
    qd_fail(d->c, &below, own, "%s", why);
    d->is_bad = true;
}

/* False and reported if a use of some meter would lower what is counted. */
static bool check_no_negative(struct qd_limit_draft *d, enum qd_limit_key own,
                              const struct qd_weights *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->item[i].num < 0) {
            fail_at_weight(d, weights_key(d, own), w->item[i].meter,
                           "a hard limit must hold the most that a request can use, and a negative "
                           "weight is less for more use; a weight from 0 is accepted");
            return false;
        }
    }
    return true;
}

/* num of w->den, 0 if `meter` has no weight. */
static int64_t weight_of(const struct qd_weights *w, int meter)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->item[i].meter == meter) {
            return w->item[i].num;
        }
    }
    return 0;
}

/* A report must not book more for a unit than its hold held. Reasoning is a part of the output: the
 * bound of the output is what holds it. */
static void check_covered(struct qd_limit_draft *d)
{
    const struct qd_weights *admit = &d->spec.admit;
    const struct qd_weights *settle = &d->spec.settle;
    for (size_t i = 0; i < settle->count; i++) {
        int meter = settle->item[i].meter;
        int held = meter == QD_METER_REASONING_TOKENS ? QD_METER_OUTPUT_TOKENS : meter;
        int64_t held_num = weight_of(admit, held);
        if ((int64_t)settle->item[i].num * admit->den <= held_num * settle->den) {
            continue;
        }
        const char *name = d->c->policy->meters[held].name;
        const char *why =
            qd_arena_printf(d->c->arena,
                            "a hard limit's report books no more than was held, and \"%s\" is held "
                            "with a smaller weight; at most its weight in \"admit\" is accepted",
                            name);
        fail_at_weight(d, weights_key(d, QD_KEY_SETTLE), meter, why);
        return;
    }
}

/* H1: used + estimate <= amount, fail closed, bounded estimates. */
static void check_hard(struct qd_limit_draft *d)
{
    check_hard_algorithm(d);
    if (d->spec.admit_test != QD_ADMIT_USED_PLUS_ESTIMATE) {
        qd_draft_fail(d, QD_KEY_TEST,
                      "a hard limit tests that the estimate fits; \"test: fits\" is accepted");
    }
    if (d->spec.failure_mode != QD_FAIL_CLOSED) {
        qd_draft_fail(d, QD_KEY_FAILURE_MODE,
                      "a hard limit fails closed; \"failure_mode: closed\" is accepted");
    }
    if (d->spec.action != QD_ENFORCE) {
        qd_draft_fail(d, QD_KEY_ACTION,
                      "a hard limit must be enforced; try it out without \"hard\" first");
    }
    bool has_bound = d->spec.output_estimate == QD_OUTPUT_WORST_CASE;
    if (depends_on_output(&d->spec) && !has_bound) {
        qd_draft_fail(
            d, d->given[QD_KEY_OUTPUT] != NULL ? QD_KEY_OUTPUT : QD_KEY_QUANTILE,
            "a hard limit needs an upper bound of the output; \"output: worst_case\" is accepted");
    }
    if (d->given[QD_KEY_CLAMP] != NULL) {
        qd_draft_fail(d, QD_KEY_CLAMP,
                      "a hard limit holds the whole estimate; \"clamp\" is not accepted");
    }
    if (holds_nothing(&d->spec.admit)) {
        qd_draft_fail(d, QD_KEY_ADMIT,
                      "a hard limit must hold an estimate; \"admit: none\" is not accepted");
    } else if (check_no_negative(d, QD_KEY_ADMIT, &d->spec.admit) &&
               check_no_negative(d, QD_KEY_SETTLE, &d->spec.settle)) {
        check_covered(d);
    }
}

/* The gauge of open reservations is counted by one algorithm only. */
static void check_concurrency(struct qd_limit_draft *d)
{
    bool is_gauge_meter = d->counted.meter == QD_METER_CONCURRENCY;
    if (is_gauge_meter && d->spec.algorithm != QD_CONCURRENCY) {
        qd_draft_fail(d, QD_KEY_LIMIT,
                      "\"concurrency\" counts open reservations and has no window; "
                      "an amount alone is accepted, as concurrency: 20");
    }
}

void qd_draft_options(struct qd_limit_draft *d)
{
    bool is_hard = false;
    if (d->is_bad) {
        return; /* defaults depend on what could not be read */
    }
    (void)bool_option(d, QD_KEY_HARD, &is_hard);
    d->spec.consistency = is_hard ? QD_HARD : QD_GOSSIP;
    draft_modes(d);
    draft_estimate(d);
    draft_warn(d);
    draft_settling(d);
    check_concurrency(d);
    if (is_hard && !d->is_bad) {
        check_hard(d);
    }
    if (d->spec.algorithm == QD_LEAKY_BUCKET && d->given[QD_KEY_TEST] != NULL) {
        qd_draft_fail(
            d, QD_KEY_TEST,
            "leaky_bucket admits while its level is at most the capacity; no \"test\" is accepted");
    }
}
