#include "server/policy/limit_detail.h"

#include "server/policy/limit_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct detail {
    struct qd_arena *arena;
    const char *text;
};

static void add(struct detail *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct detail *d, const char *format, ...)
{
    char part[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(part, sizeof part, format, args);
    va_end(args);
    d->text = qd_arena_printf(d->arena, "%s, %s", d->text, part);
}

static void add_per(struct detail *d, const struct qd_limit *l)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{QD_ATTR_MODEL, "model"},
                 {QD_ATTR_FAMILY, "family"},
                 {QD_ATTR_POOL, "pool"},
                 {QD_ATTR_USER, "user"},
                 {QD_ATTR_TENANT, "tenant"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (l->per & names[i].bit) {
            add(d, "per %s", names[i].name);
        }
    }
    if (l->per & QD_ATTR_LABEL) {
        add(d, "per label:%s", l->per_label);
    }
}

static void add_selector(struct detail *d, const struct qd_limit *l)
{
    for (size_t i = 0; i < l->selector_count; i++) {
        const struct qd_match *m = &l->selector[i];
        const char *name = m->attribute == QD_ATTR_MODEL    ? "model"
                           : m->attribute == QD_ATTR_FAMILY ? "family"
                           : m->attribute == QD_ATTR_POOL   ? "pool"
                           : m->attribute == QD_ATTR_USER   ? "user"
                           : m->attribute == QD_ATTR_TENANT ? "tenant"
                                                            : m->label;
        const char *values = m->any == NULL ? "*" : "";
        for (size_t k = 0; m->any != NULL && k < m->any_count; k++) {
            values = qd_arena_printf(d->arena, "%s%s%s", values, k > 0 ? "|" : "", m->any[k]);
        }
        d->text = qd_arena_printf(d->arena, "%s, %s %s%s", d->text, name, m->negate ? "not " : "",
                                  values);
    }
}

/* Weights, unless they are those of the meter that the limit's name says. */
static void add_weights(struct detail *d, const struct qd_policy *policy, const struct qd_limit *l)
{
    char admit[QD_LIMIT_TEXT_MAX];
    char settle[QD_LIMIT_TEXT_MAX];
    (void)qd_weights_text(policy, &l->admit, admit);
    (void)qd_weights_text(policy, &l->settle, settle);
    if (strcmp(settle, l->name) != 0) {
        add(d, "counts %s", settle);
    }
    if (strcmp(admit, settle) != 0) {
        add(d, "holds %s", admit);
    }
}

static void add_shape(struct detail *d, const struct qd_limit_use *use)
{
    const struct qd_limit *l = use->limit;
    switch (l->algorithm) {
    case QD_SLIDING_WINDOW:
        if (l->slots != 60) {
            add(d, "%u slots", l->slots);
        }
        if (l->weighted) {
            add(d, "weighted");
        }
        break;
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET: {
        char burst[QD_LIMIT_TEXT_MAX];
        (void)qd_limit_amount_text(l, use->burst, burst);
        add(d, "%s, burst %s", qd_algorithm_text(l->algorithm), burst);
        break;
    }
    case QD_FIXED_WINDOW:
        add(d, "%s", qd_algorithm_text(l->algorithm));
        break;
    case QD_CALENDAR:
        if (l->calendar.unit >= QD_CALENDAR_WEEK && l->calendar.anchor != 1 &&
            l->calendar.anchor != 101) {
            add(d, "anchor %u", l->calendar.anchor);
        }
        break;
    case QD_CONCURRENCY:
    case QD_PER_REQUEST:
    case QD_PREPAID:
        break;
    }
}

static void add_estimate(struct detail *d, const struct qd_limit *l)
{
    if (l->output_estimate == QD_OUTPUT_QUANTILE) {
        add(d, "output quantile %u.%u%%", l->quantile_permille / 10, l->quantile_permille % 10);
    } else if (l->output_estimate != QD_OUTPUT_WORST_CASE) {
        add(d, "output %s", l->output_estimate == QD_OUTPUT_NONE ? "none" : "max");
    }
    if (l->default_max_output > 0) {
        add(d, "default_max_output %lld", (long long)l->default_max_output);
    }
    if (l->clamp_permille_of_amount > 0) {
        add(d, "clamp %u.%u%%", l->clamp_permille_of_amount / 10, l->clamp_permille_of_amount % 10);
    }
}

static void add_rules(struct detail *d, const struct qd_limit *l)
{
    static const char *const keeps[] = {"nothing", "input", "all"};
    static const char *const modes[] = {"open", "closed", "share"};
    bool is_hard = l->consistency == QD_HARD;
    if (is_hard) {
        add(d, "hard");
    }
    if (l->action == QD_SHADOW) {
        add(d, "shadow");
    }
    if (l->admit_test == QD_ADMIT_USED_BELOW) {
        add(d, "test below");
    }
    if (l->failure_mode != (is_hard || l->money ? QD_FAIL_CLOSED : QD_FAIL_OPEN)) {
        add(d, "failure_mode %s", modes[l->failure_mode]);
    }
    if (!l->refunds) {
        add(d, "no refunds");
    }
    if (l->on_expiry != (is_hard ? QD_KEEP_ALL : QD_KEEP_NOTHING)) {
        add(d, "expired holds keep %s", keeps[l->on_expiry]);
    }
    if (l->on_failed != QD_KEEP_NOTHING) {
        add(d, "failed requests keep %s", keeps[l->on_failed]);
    }
}

static void add_warn(struct detail *d, const struct qd_limit *l)
{
    const char *list = "";
    for (size_t i = 0; i < QD_THRESHOLDS_MAX && l->threshold_permille[i] != 0; i++) {
        uint16_t t = l->threshold_permille[i];
        list = t % 10 == 0 ? qd_arena_printf(d->arena, "%s %u%%", list, t / 10)
                           : qd_arena_printf(d->arena, "%s %u.%u%%", list, t / 10, t % 10);
    }
    const char *usual = qd_limit_is_budget(l) ? " 50% 80% 100%" : "";
    if (strcmp(list, usual) != 0) {
        add(d, "warn%s", list[0] != '\0' ? list : " never");
    }
}

const char *qd_limit_detail(struct qd_arena *arena, const struct qd_policy *policy,
                            const struct qd_limit_use *use)
{
    char text[QD_LIMIT_TEXT_MAX];
    size_t len = qd_limit_text(use->limit, use->amount, text);
    struct detail d = {.arena = arena, .text = qd_arena_text(arena, text, len)};
    add_shape(&d, use);
    add_weights(&d, policy, use->limit);
    add_per(&d, use->limit);
    add_selector(&d, use->limit);
    add_estimate(&d, use->limit);
    add_rules(&d, use->limit);
    add_warn(&d, use->limit);
    return d.text;
}
