#include "estimate.h"

#include "estimator.h"
#include "mutant.h"

static int64_t at_most(int64_t value, int64_t bound)
{
    return value < bound ? value : bound;
}

/* Only what is there: a usage vector has room for many meters and holds few. */
void qd_usage_copy(struct qd_usage *to, const struct qd_usage *from)
{
    to->present = from->present;
    for (uint32_t left = from->present; left != 0; left &= left - 1) {
        unsigned m = (unsigned)__builtin_ctz(left);
        to->amount[m] = from->amount[m];
    }
}

/* Whole weights and sums below 2^63, which is most of them, without 128 bits and a division. */
static bool weigh_small(const struct qd_weights *w, const struct qd_usage *u, int64_t *ret_sum)
{
    int64_t sum = 0;
    if (w->den != 1) {
        return false;
    }
    for (unsigned i = 0; i < w->count; i++) {
        int64_t product;
        if (qd_usage_has(u, w->item[i].meter) &&
            (__builtin_mul_overflow(u->amount[w->item[i].meter], w->item[i].num, &product) ||
             __builtin_add_overflow(sum, product, &sum))) {
            return false;
        }
    }
    *ret_sum = sum > 0 ? sum : 0;
    return true;
}

static int64_t weigh(const struct qd_weights *w, const struct qd_usage *u)
{
    int64_t sum;
    if (!weigh_small(w, u, &sum)) {
        sum = qd_weights_apply(w, u);
    }
    return at_most(sum, QD_COST_MAX);
}

static int64_t weigh_some(const struct qd_weights *w, const struct qd_usage *u, uint32_t mask)
{
    struct qd_usage some;
    qd_usage_copy(&some, u);
    some.present &= mask;
    return weigh(w, &some);
}

/* A limit's hold: its weights on the whole, or the larger of input and output (OpenAI, P5). */
static int64_t hold_of(const struct qd_limit *limit, const struct qd_usage *u)
{
    if (limit->output_estimate != QD_OUTPUT_MAX_OF) {
        return weigh(&limit->admit, u);
    }
    int64_t input = weigh_some(&limit->admit, u, ~QD_METERS_OUTPUT);
    int64_t output = weigh_some(&limit->admit, u, ~QD_METERS_INPUT);
    return input > output ? input : output;
}

int64_t qd_hold_of(const struct qd_limit *limit, const struct qd_usage *u, uint32_t mask)
{
    if (limit->output_estimate == QD_OUTPUT_NONE) {
        mask &= ~QD_METERS_OUTPUT;
    }
    struct qd_usage some;
    qd_usage_copy(&some, u);
    some.present &= mask;
    return hold_of(limit, &some);
}

int64_t qd_booking_of(const struct qd_limit *limit, const struct qd_usage *u)
{
    return weigh(&limit->settle, u);
}

bool qd_check_is_peek(const struct qd_check *check)
{
    for (uint32_t left = check->estimate.present; left != 0; left &= left - 1) {
        if (check->estimate.amount[__builtin_ctz(left)] != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < check->candidate_count; i++) {
        if (check->candidates[i].max_output_given && check->candidates[i].max_output_tokens > 0) {
            return false;
        }
    }
    return !QD_MUTANT(D8_zero);
}

/* GPU-time from the token counts, where the check gives none. */
static void add_gpu_time(const struct qd_candidate *c, struct qd_usage *u)
{
    if (qd_usage_has(u, QD_METER_GPU_MS) ||
        (c->gpu_us_per_input_token == 0 && c->gpu_us_per_output_token == 0)) {
        return;
    }
    int64_t input =
        qd_usage_get(u, QD_METER_INPUT_TOKENS) + qd_usage_get(u, QD_METER_CACHE_WRITE_TOKENS);
    qd_int128 us = (qd_int128)input * c->gpu_us_per_input_token +
                   (qd_int128)qd_usage_get(u, QD_METER_OUTPUT_TOKENS) * c->gpu_us_per_output_token;
    int64_t ms = us / 1000 < QD_AMOUNT_MAX ? (int64_t)((us + 999) / 1000) : QD_AMOUNT_MAX;
    qd_usage_set(u, QD_METER_GPU_MS, ms);
}

/* One book's price of `u` in nano-USD. False: unknown. Too large counts as more than any limit. */
static bool price(const struct qd_estimate *e, const struct qd_price_list *model,
                  const struct qd_price_list *pool, const struct qd_usage *u, int64_t *ret_nano)
{
    const struct qd_wall_ns event_time = e->check->event_time;
    struct qd_price_query query = {.usage = u,
                                   .tier = e->check->tier,
                                   .cache_write_ttl = e->check->cache_write_ttl,
                                   .at = event_time.ns != 0 ? event_time : e->now};
    qd_int128 pico = 0;
    uint32_t unpriced = 0;
    enum qd_price_result result = qd_price_compute(model, pool, &query, &pico, &unpriced);
    if (result == QD_PRICE_UNKNOWN) {
        return false;
    }
    *ret_nano = result == QD_PRICE_OVERFLOW ? QD_COST_MAX
                                            : at_most(qd_nano_usd_from_pico(pico), QD_COST_MAX);
    return true;
}

/* P8: an unknown price is never $0. */
static void price_all(struct qd_estimate *e, struct qd_usage *u)
{
    const struct qd_candidate *c = e->candidate;
    const struct qd_check *check = e->check;
    int64_t cost = 0;
    int64_t charge = 0;
    bool known = price(e, c->cost_model, c->cost_pool, u, &cost);
    if (!known && check->unknown_price == QD_UNKNOWN_PRICE_CAP) {
        known = price(e, check->cap_price, c->cost_pool, u, &cost);
    }
    charge = cost;
    bool as_cost = c->charge_model == c->cost_model && c->charge_pool == c->cost_pool;
    if (known && !as_cost && (c->charge_model != NULL || c->charge_pool != NULL)) {
        known = price(e, c->charge_model, c->charge_pool, u, &charge);
        if (!known && check->unknown_price == QD_UNKNOWN_PRICE_CAP) {
            known = price(e, check->cap_price, c->charge_pool, u, &charge);
        }
    }
    if (known) {
        qd_usage_set(u, QD_METER_COST, cost);
        qd_usage_set(u, QD_METER_CHARGE, charge);
    } else if (check->unknown_price == QD_UNKNOWN_PRICE_UNPRICED || QD_MUTANT(P8)) {
        e->unpriced = true;
    } else {
        e->refused = true;
    }
}

static void form(struct qd_estimate *e, int64_t output, struct qd_usage *ret_usage)
{
    qd_usage_copy(ret_usage, &e->check->estimate);
    if (output == QD_OUTPUT_UNKNOWN) {
        ret_usage->present &= ~QD_METER_BIT(QD_METER_OUTPUT_TOKENS);
    } else {
        qd_usage_set(ret_usage, QD_METER_OUTPUT_TOKENS, output);
    }
    add_gpu_time(e->candidate, ret_usage);
    price_all(e, ret_usage);
    if (!e->check->instant) {
        qd_usage_set(ret_usage, QD_METER_CONCURRENCY, 1);
    }
}

/* The largest output that may come: as the request, the limit or the model says. */
static int64_t output_bound(const struct qd_estimate *e, int64_t default_max)
{
    const struct qd_candidate *c = e->candidate;
    if (c->max_output_given) {
        return c->max_output_tokens;
    }
    if (default_max > 0) {
        return c->max_output_tokens > 0 ? at_most(default_max, c->max_output_tokens) : default_max;
    }
    return c->max_output_tokens > 0 ? c->max_output_tokens : QD_OUTPUT_UNKNOWN;
}

static bool guesses_output(const struct qd_estimate *e)
{
    return qd_usage_has(&e->check->estimate, QD_METER_OUTPUT_TOKENS);
}

static bool is_hard(const struct qd_limit *limit)
{
    return limit->consistency == QD_HARD;
}

/* The request's own estimate, or else the largest that may come; of both the larger where a hard
 * limit asks: a guess bounds nothing (H1). */
static int64_t worst_output(const struct qd_estimate *e, const struct qd_limit *limit)
{
    int64_t bound = output_bound(e, limit != NULL ? limit->default_max_output : 0);
    if (!guesses_output(e)) {
        return bound;
    }
    int64_t guess = e->check->estimate.amount[QD_METER_OUTPUT_TOKENS];
    bool only_guess = limit == NULL || !is_hard(limit) || QD_MUTANT(H1_guess);
    return only_guess || guess > bound ? guess : bound;
}

/* The output as this limit estimates it (P3). */
static int64_t output_for(const struct qd_estimate *e, const struct qd_limit *limit)
{
    if (limit->output_estimate == QD_OUTPUT_NONE) {
        return QD_OUTPUT_UNKNOWN;
    }
    int64_t worst = worst_output(e, limit);
    int64_t past;
    if (limit->output_estimate != QD_OUTPUT_QUANTILE || guesses_output(e) ||
        !qd_estimator_get(e->core, e->binding, limit->quantile_permille, &past)) {
        return worst;
    }
    return worst == QD_OUTPUT_UNKNOWN ? past : at_most(past, worst);
}

void qd_estimate_begin(struct qd_estimate *e, struct qd_usage *ret_worst)
{
    e->worst = ret_worst;
    e->unpriced = false;
    e->refused = false;
    e->varied = false;
    e->hard_output = QD_OUTPUT_UNKNOWN;
    if (e->peek) {
        qd_usage_copy(ret_worst, &e->check->estimate);
    } else {
        form(e, worst_output(e, NULL), ret_worst);
    }
}

/* True if the limit takes the worst case as it is. */
static bool takes_worst(const struct qd_estimate *e, const struct qd_limit *limit)
{
    enum qd_output_estimate how = limit->output_estimate;
    bool own_default = limit->default_max_output > 0 && !e->candidate->max_output_given;
    return (how == QD_OUTPUT_WORST_CASE || how == QD_OUTPUT_MAX_OF) && !own_default &&
           !(is_hard(limit) && guesses_output(e));
}

static const struct qd_usage *usage_for(struct qd_estimate *e, const struct qd_limit *limit)
{
    if (e->peek || takes_worst(e, limit)) {
        return e->worst;
    }
    int64_t output = output_for(e, limit);
    if (is_hard(limit) && output > e->hard_output) {
        e->hard_output = output;
    }
    int64_t worst = qd_usage_has(e->worst, QD_METER_OUTPUT_TOKENS)
                        ? e->worst->amount[QD_METER_OUTPUT_TOKENS]
                        : QD_OUTPUT_UNKNOWN;
    if (output == worst) {
        return e->worst;
    }
    if (!e->varied || e->variant_output != output) {
        form(e, output, &e->variant);
        e->varied = true;
        e->variant_output = output;
    }
    return &e->variant;
}

static bool weighs_any(const struct qd_weights *w, uint32_t meters)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (meters & QD_METER_BIT(w->item[i].meter)) {
            return true;
        }
    }
    return false;
}

/* H1: what a hard limit counts needs an upper bound. */
static enum qd_unbounded unbounded(const struct qd_estimate *e, const struct qd_limit *limit,
                                   const struct qd_usage *u)
{
    uint32_t by_output = QD_METERS_OUTPUT | QD_METERS_MONEY;
    if (e->peek || !is_hard(limit) || limit->output_estimate == QD_OUTPUT_NONE ||
        QD_MUTANT(H1_bound)) {
        return QD_BOUNDED;
    }
    if (weighs_any(&limit->admit, QD_METER_BIT(QD_METER_GPU_MS)) &&
        !qd_usage_has(&e->check->estimate, QD_METER_GPU_MS)) {
        if (!qd_usage_has(u, QD_METER_GPU_MS)) {
            return QD_UNBOUNDED_GPU_TIME;
        }
        by_output |= e->candidate->gpu_us_per_output_token > 0 ? QD_METER_BIT(QD_METER_GPU_MS) : 0;
    }
    bool bounded = !weighs_any(&limit->admit, by_output) ||
                   output_bound(e, limit->default_max_output) != QD_OUTPUT_UNKNOWN;
    return bounded ? QD_BOUNDED : QD_UNBOUNDED_OUTPUT;
}

/* D8: what a look that asks for nothing does not name, and every request has. */
static uint32_t comes_with_any(const struct qd_estimate *e)
{
    const struct qd_candidate *c = e->candidate;
    bool times = c->gpu_us_per_input_token > 0 || c->gpu_us_per_output_token > 0;

    return (e->check->instant ? 0 : QD_METER_BIT(QD_METER_CONCURRENCY)) |
           (QD_MUTANT(D8_money) ? 0 : QD_METERS_MONEY) |
           (times ? QD_METER_BIT(QD_METER_GPU_MS) : 0);
}

bool qd_estimate_cost(struct qd_estimate *e, const struct qd_limit *limit, int64_t *ret_cost,
                      enum qd_unbounded *ret_unbounded)
{
    const struct qd_usage *u = usage_for(e, limit);
    *ret_unbounded = unbounded(e, limit, u);
    /* Output may always come, estimated or not; other meters concern those who bring them. */
    uint32_t may_come = u->present | QD_METERS_OUTPUT | (e->peek ? comes_with_any(e) : 0);
    if (!weighs_any(&limit->admit, may_come) && *ret_unbounded == QD_BOUNDED) {
        return false;
    }
    *ret_cost = hold_of(limit, u);
    return true;
}

void qd_estimate_end(struct qd_estimate *e)
{
    int64_t worst = qd_usage_has(e->worst, QD_METER_OUTPUT_TOKENS)
                        ? e->worst->amount[QD_METER_OUTPUT_TOKENS]
                        : QD_OUTPUT_UNKNOWN;
    if (e->hard_output > worst) {
        form(e, e->hard_output, e->worst);
    }
}

int64_t qd_estimate_input_nano(const struct qd_estimate *e)
{
    struct qd_estimate input = *e;
    struct qd_usage u;
    qd_usage_copy(&u, e->worst);
    u.present &= QD_METERS_INPUT | QD_METER_BIT(QD_METER_REQUESTS);
    price_all(&input, &u);
    return qd_usage_get(&u, QD_METER_COST);
}
