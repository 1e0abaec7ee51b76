#include "server/shard/pricing.h"

#include "server/core/mutant.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct qd_price_list *priced(const struct qd_price_list *list)
{
    return list != NULL && list->count > 0 ? list : NULL;
}

void qd_price_version_text(const char *name, const struct qd_price_sheet *sheet,
                           char ret_text[QD_PRICE_TEXT_MAX])
{
    char date[32] = "";
    time_t seconds = (time_t)(sheet->effective.ns / QD_NS_PER_S);
    struct tm tm;

    if (sheet->effective.ns > 0 && gmtime_r(&seconds, &tm) != NULL) {
        (void)strftime(date, sizeof(date), "@%Y-%m-%d", &tm);
    }
    (void)snprintf(ret_text, QD_PRICE_TEXT_MAX, "%s%s", name, date);
}

static void add_version(struct qd_priced *p, const struct qd_price_list *list, struct qd_wall_ns at)
{
    char text[QD_PRICE_TEXT_MAX];
    const struct qd_price_sheet *sheet = NULL;

    for (size_t i = 0; list != NULL && i < list->count && list->sheets[i].effective.ns <= at.ns;
         i++) {
        sheet = &list->sheets[i];
    }
    if (sheet == NULL || p->version_count == QD_PRICE_TEXTS) {
        return;
    }
    qd_price_version_text(list->name, sheet, text);
    for (size_t i = 0; i < p->version_count; i++) {
        if (strcmp(p->versions[i], text) == 0) {
            return;
        }
    }
    memcpy(p->versions[p->version_count++], text, sizeof(text));
}

/* One book. False: the price isn't known, and nothing stands in for it (P8: never $0). */
static bool book(const struct qd_pricing *q, const struct qd_price_list *model,
                 const struct qd_price_list *pool, struct qd_priced *p, qd_int128 *ret_pico)
{
    struct qd_price_query query = {
        .usage = q->usage, .tier = q->tier, .cache_write_ttl = q->cache_write_ttl, .at = q->at};
    uint32_t missing = 0;
    enum qd_price_result result = qd_price_compute(model, pool, &query, ret_pico, &missing);

    if (result == QD_PRICE_UNKNOWN && q->policy->unknown_price == QD_UNKNOWN_PRICE_CAP) {
        uint32_t still = 0;
        result = qd_price_compute(&q->policy->cap_price, pool, &query, ret_pico, &still);
        model = &q->policy->cap_price;
        missing = still;
        p->capped = true;
    }
    if (result == QD_PRICE_OVERFLOW) {
        p->overflow_meters |= missing;
    }
    if (result != QD_PRICE_OK) {
        *ret_pico = 0;
        p->unpriced_meters |= missing;
        return QD_MUTANT(P8_shell);
    }
    add_version(p, model, q->at);
    add_version(p, pool, q->at);
    return true;
}

/* A part that used nothing at all costs nothing, whatever the prices. */
static bool nothing_used(const struct qd_usage *usage)
{
    for (uint32_t left = usage->present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        if (usage->amount[meter] != 0) {
            return false;
        }
    }
    return true;
}

void qd_pricing_compute(const struct qd_pricing *pricing, struct qd_priced *ret_priced)
{
    struct qd_priced *p = ret_priced;
    const struct qd_price_list *cost_model =
        pricing->model != NULL ? priced(&pricing->model->cost) : NULL;
    const struct qd_price_list *cost_pool =
        pricing->pool != NULL ? priced(&pricing->pool->cost) : NULL;
    const struct qd_price_list *charge_model =
        pricing->model != NULL ? priced(&pricing->model->charge) : NULL;
    const struct qd_price_list *charge_pool =
        pricing->pool != NULL ? priced(&pricing->pool->charge) : NULL;

    memset(p, 0, sizeof(*p));
    p->priced = book(pricing, cost_model, cost_pool, p, &p->cost_pico);
    if (charge_model == NULL && charge_pool == NULL) { /* P7: the charge defaults to the cost */
        p->charge_priced = p->priced;
        p->charge_pico = p->cost_pico;
    } else {
        p->charge_priced = book(pricing, charge_model != NULL ? charge_model : cost_model,
                                charge_pool != NULL ? charge_pool : cost_pool, p, &p->charge_pico);
    }
    if (!p->priced && nothing_used(pricing->usage)) {
        p->priced = true;
        p->charge_priced = true;
        p->unpriced_meters = 0;
    }
    if (!p->priced || !p->charge_priced) { /* an entry is priced in both books, or in neither */
        p->priced = false;
        p->cost_pico = 0;
        p->charge_pico = 0;
        p->version_count = 0;
    }
    p->cost_nano = qd_nano_usd_from_pico(p->cost_pico);
    p->charge_nano = qd_nano_usd_from_pico(p->charge_pico);
}
