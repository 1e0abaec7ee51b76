#include "server/shard/report.h"

#include "server/core/check.h"
#include "server/core/decimal.h"
#include "server/core/mutant.h"
#include "server/shard/validate.h"

#include <stdio.h>
#include <string.h>

/* The check counted the request itself; the report that settles it says so in the ledger, once. */
static void count_requests(struct qd_report_work *w)
{
    bool served = w->outcome == QD_OUTCOME_OK || w->outcome == QD_OUTCOME_DISCONNECTED;
    if (qd_usage_has(&w->usage, QD_METER_REQUESTS) || !served) {
        return;
    }
    if (!w->has_reference) {
        /* S7: of two sources' first parts, the one that is not times alone is the request. */
        const uint32_t times = QD_METER_BIT(QD_METER_GPU_MS) |
                               QD_METER_BIT(QD_METER_PROCESSING_MS) |
                               QD_METER_BIT(QD_METER_MEMORY_GB_MS);
        bool only_times = w->usage.present != 0 && (w->usage.present & ~times) == 0;
        if (w->args->sequence == 0 && !only_times) {
            qd_usage_set(&w->usage, QD_METER_REQUESTS, 1);
        }
    } else if (w->final && !w->closed_before) {
        int64_t requests = qd_usage_has(&w->reference.token.estimate, QD_METER_REQUESTS)
                               ? w->reference.token.estimate.amount[QD_METER_REQUESTS]
                               : 1;
        qd_usage_set(&w->usage, QD_METER_REQUESTS, requests);
    }
}

/* --- the entry --- */

static void set_labels(struct qd_report_work *w)
{
    const struct qd_label *labels = w->args->labels;
    struct qd_entry *e = &w->entry;

    e->label_count = w->args->label_count;
    if (e->label_count == 0 && w->has_reference) {
        labels = w->reference.token.labels;
        e->label_count = w->reference.token.label_count;
    }
    QD_CHECK(e->label_count <= QD_ENTRY_LABELS_MAX); /* X2 */
    for (size_t i = 0; i < e->label_count; i++) {
        e->labels[i] = labels[i];
    }
}

static void set_quantities(struct qd_report_work *w)
{
    const struct qd_policy *policy = w->published->policy;
    struct qd_entry *e = &w->entry;

    e->quantity_count = 0;
    for (uint32_t left = w->usage.present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        const char *name = policy->meters[meter].name;
        e->quantities[e->quantity_count++] =
            (struct qd_entry_quantity){{name, strlen(name)}, w->usage.amount[meter]};
    }
}

static void set_money(struct qd_report_work *w)
{
    struct qd_entry *e = &w->entry;
    const struct qd_priced *p = &w->priced;

    e->price_count = p->version_count;
    for (size_t i = 0; i < p->version_count && i < QD_ENTRY_PRICES_MAX; i++) {
        e->prices[i] = (struct qd_str){p->versions[i], strlen(p->versions[i])};
    }
    if (p->priced) {
        e->cost_pico_usd = p->cost_pico;
        e->charge_pico_usd = p->charge_pico;
        e->cost_nano_usd = p->cost_nano;
        e->charge_nano_usd = p->charge_nano;
        qd_usage_set(&w->usage, QD_METER_COST, p->cost_nano);
        qd_usage_set(&w->usage, QD_METER_CHARGE, p->charge_nano);
    } else {
        e->flags |= QD_ENTRY_UNPRICED; /* P8 */
    }
}

/* P8: a known price is never booked as none. */
static enum qd_error_code too_dear(const struct qd_report_work *w, struct qd_error *ret_error)
{
    unsigned meter = (unsigned)__builtin_ctz(w->priced.overflow_meters);

    return qd_error_set(
        ret_error, QD_ERROR_INVALID_AMOUNT,
        "usage: %s: with %lld the report costs more than $9,223,372, the most that one report may; "
        "nothing was booked: correct the amount, or report it in parts",
        w->published->policy->meters[meter].name, (long long)qd_usage_get(&w->usage, meter));
}

enum qd_error_code qd_report_make_entry(struct qd_report_work *w, struct qd_error *ret_error)
{
    const struct qd_report_args *args = w->args;
    const struct qd_policy *policy = w->published->policy;
    const struct qd_token *t = w->has_reference ? &w->reference.token : NULL;
    struct qd_entry *e = &w->entry;
    struct qd_subject_args subject = {.tenant = t != NULL ? t->tenant : args->tenant,
                                      .model = t != NULL ? t->model : args->model,
                                      .pool = t != NULL ? t->pool : args->pool,
                                      .user = t != NULL ? t->user : args->user,
                                      .labels = t != NULL ? t->labels : args->labels,
                                      .label_count =
                                          t != NULL ? t->label_count : args->label_count};
    enum qd_price_tier tier = QD_TIER_STANDARD;
    enum qd_cache_write_ttl ttl = QD_CACHE_WRITE_5M;

    if (qd_validate_tier(args->tier, &tier, ret_error) != QD_ERROR_NONE ||
        qd_validate_cache_ttl(args->cache_write_ttl, &ttl, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (t != NULL && args->tier == 0) {
        tier = t->tier;
    }
    if (t != NULL && args->cache_write_ttl == 0) {
        ttl = t->cache_write_ttl;
    }
    qd_subject_init(&w->reserved, policy, w->worker->node->shards.seed, &subject);
    e->tenant = subject.tenant;
    e->model = qd_report_pick(args->model, subject.model);
    e->pool = qd_report_pick(args->pool, subject.pool);
    e->user = qd_report_pick(args->user, subject.user);
    e->kind = QD_ENTRY_USAGE;
    e->outcome = w->outcome;
    e->tier = tier;
    e->event_time = w->event_time;
    w->charged_at = t != NULL ? t->made_at : w->event_time;
    e->charged_time =
        w->charged_at; /* X5: a restart counts it in the period that it counts in now */
    e->flags = w->final ? QD_ENTRY_FINAL : 0;
    set_labels(w);
    set_quantities(w);
    e->cache_write_1h_tokens =
        ttl == QD_CACHE_WRITE_1H ? qd_usage_get(&w->usage, QD_METER_CACHE_WRITE_TOKENS) : 0;
    qd_entry_sort(e);
    /* S6: as given. What is added below may differ for a retry that comes after another source, or
     * after a reload: the pool that the policy gives the model. */
    w->content = qd_ledger_content(e, args->event_time_given);
    e->pool = qd_report_pick(e->pool, w->reserved.attributes.pool);
    count_requests(w);
    set_quantities(w);
    struct qd_pricing pricing = {.policy = policy,
                                 .model =
                                     e->model.len > 0 ? qd_policy_model(policy, e->model) : NULL,
                                 .pool = e->pool.len > 0 ? qd_policy_pool(policy, e->pool) : NULL,
                                 .usage = &w->usage,
                                 .tier = tier,
                                 .cache_write_ttl = ttl,
                                 .at = w->event_time};
    qd_pricing_compute(&pricing, &w->priced);
    if (w->priced.overflow_meters != 0) {
        return too_dear(w, ret_error);
    }
    set_money(w);
    qd_entry_sort(e);
    const struct qd_attributes *counted = &w->reserved.attributes;
    /* X5: a restart counts where it counts now. */
    qd_entry_set_reserved(e, counted->model, counted->pool, counted->user, counted->labels,
                          counted->label_count);
    return QD_ERROR_NONE;
}

/* --- the answer --- */

/* Held against used, for the parts that close a reservation alone. */
static void compare_with_estimate(const struct qd_report_work *w, struct qd_report_answer *a)
{
    uint32_t shown = ~(QD_METER_BIT(QD_METER_REQUESTS) | QD_METER_BIT(QD_METER_TOKENS) |
                       QD_METER_BIT(QD_METER_CONCURRENCY));

    if (!w->has_reference || !w->final || w->args->sequence != 0 || w->closed_before) {
        return;
    }
    const struct qd_usage *held = &w->reference.token.estimate;
    bool nothing_kept = w->outcome == QD_OUTCOME_NOT_DISPATCHED;
    for (uint32_t left = (held->present | w->usage.present) & shown; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        if (!nothing_kept && !qd_usage_has(&w->usage, meter)) {
            continue;
        }
        int64_t difference = qd_usage_get(held, meter) - qd_usage_get(&w->usage, meter);
        if (difference > 0) {
            qd_usage_set(&a->released, meter, difference);
        } else if (difference < 0) {
            qd_usage_set(&a->overrun, meter, -difference);
        }
    }
}

void qd_report_make_answer(const struct qd_report_work *w, struct qd_report_answer *a)
{
    memset(a, 0, sizeof(*a));
    a->policy_revision = w->published->policy->revision;
    a->unpriced = !w->priced.priced;
    a->unpriced_meters = w->priced.unpriced_meters;
    if (w->priced.priced) {
        char text[QD_DECIMAL_TEXT_MAX];
        a->cost_nano = w->priced.cost_nano;
        a->charge_nano = w->priced.charge_nano;
        (void)qd_decimal_format(w->priced.cost_pico, 0, text);
        (void)snprintf(a->cost_pico, sizeof(a->cost_pico), "%.*s", (int)sizeof(a->cost_pico) - 1,
                       text);
        (void)qd_decimal_format(w->priced.charge_pico, 0, text);
        (void)snprintf(a->charge_pico, sizeof(a->charge_pico), "%.*s",
                       (int)sizeof(a->charge_pico) - 1, text);
    }
    a->settlement = !w->has_reference              ? QD_SETTLEMENT_NONE
                    : !w->live || w->closed_before ? QD_SETTLEMENT_LATE
                    : w->final                     ? QD_SETTLEMENT_CLOSED
                                                   : QD_SETTLEMENT_PARTIAL;
    compare_with_estimate(w, a);
}
