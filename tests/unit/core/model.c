/* The model's verbs. */
#include "model_inner.h"

#include <criterion/criterion.h>
#include <string.h>

#define SECOND QD_NS_PER_S

static const uint32_t output_meters =
    QD_METER_BIT(QD_METER_OUTPUT_TOKENS) | QD_METER_BIT(QD_METER_REASONING_TOKENS);
static const uint32_t input_meters = QD_METER_BIT(QD_METER_INPUT_TOKENS) |
                                     QD_METER_BIT(QD_METER_CACHED_INPUT_TOKENS) |
                                     QD_METER_BIT(QD_METER_CACHE_WRITE_TOKENS);
static const uint32_t money_meters = QD_METER_BIT(QD_METER_COST) | QD_METER_BIT(QD_METER_CHARGE);

/* --- estimates -------------------------------------------------------------------------------- */

int64_t m_price(const struct qd_usage *u)
{
    int64_t pico = qd_usage_get(u, QD_METER_INPUT_TOKENS) * M_INPUT_PICO +
                   qd_usage_get(u, QD_METER_OUTPUT_TOKENS) * M_OUTPUT_PICO;
    return (pico + 999) / 1000;
}

static int64_t weigh(const struct qd_weights *w, const struct qd_usage *u, uint32_t mask)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < w->count; i++) {
        if (mask >> w->item[i].meter & 1U) {
            sum += qd_usage_get(u, w->item[i].meter) * w->item[i].num;
        }
    }
    return sum <= 0 ? 0 : (sum + w->den - 1) / w->den;
}

static uint32_t meters_of(const struct qd_weights *w)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < w->count; i++) {
        mask |= QD_METER_BIT(w->item[i].meter);
    }
    return mask;
}

static int64_t hold_of(const struct qd_limit *l, const struct qd_usage *u)
{
    if (l->output_estimate == QD_OUTPUT_NONE) {
        return weigh(&l->admit, u, ~output_meters);
    }
    if (l->output_estimate == QD_OUTPUT_MAX_OF) {
        return max64(weigh(&l->admit, u, ~output_meters), weigh(&l->admit, u, ~input_meters));
    }
    return weigh(&l->admit, u, UINT32_MAX);
}

static struct qd_usage estimate_of(const struct qd_check *check, int64_t output, bool peek)
{
    struct qd_usage u = check->estimate;
    if (peek) {
        return u;
    }
    u.present &= ~QD_METER_BIT(QD_METER_OUTPUT_TOKENS);
    if (output >= 0) {
        qd_usage_set(&u, QD_METER_OUTPUT_TOKENS, output);
    }
    qd_usage_set(&u, QD_METER_COST, m_price(&u));
    qd_usage_set(&u, QD_METER_CHARGE, m_price(&u));
    qd_usage_set(&u, QD_METER_CONCURRENCY, 1);
    return u;
}

/* The most output that may come, as far as anybody says; -1: nobody does. */
static int64_t bound_for(const struct m_candidate *c, const struct qd_limit *l)
{
    if (c->max_output >= 0) {
        return c->max_output;
    }
    int64_t model = c->model_max_output > 0 ? c->model_max_output : -1;
    if (l != NULL && l->default_max_output > 0) {
        return model > 0 ? min64(l->default_max_output, model) : l->default_max_output;
    }
    return model;
}

static int64_t output_for(const struct qd_check *check, const struct m_candidate *c,
                          const struct qd_limit *l)
{
    int64_t bound = bound_for(c, l);
    if (l != NULL && l->output_estimate == QD_OUTPUT_NONE) {
        return -1;
    }
    if (!qd_usage_has(&check->estimate, QD_METER_OUTPUT_TOKENS)) {
        return bound;
    }
    int64_t guess = check->estimate.amount[QD_METER_OUTPUT_TOKENS];
    return l != NULL && l->consistency == QD_HARD ? max64(guess, bound) : guess;
}

/* H1: nobody knows the most that a hard limit has to hold. */
static bool is_unbounded(const struct m_candidate *c, const struct qd_limit *l)
{
    return l->consistency == QD_HARD && l->output_estimate != QD_OUTPUT_NONE &&
           (meters_of(&l->admit) & (output_meters | money_meters)) != 0 && bound_for(c, l) < 0;
}

/* --- checking --------------------------------------------------------------------------------- */

static bool fits(const struct m_counter *c, int64_t total, int64_t cost)
{
    int64_t capacity = is_bucket(c->limit) ? c->burst : c->amount;
    if (c->amount == 0 && cost > 0) {
        return false;
    }
    if (c->limit->algorithm == QD_PER_REQUEST) {
        return cost <= capacity;
    }
    if (c->limit->admit_test == QD_ADMIT_USED_BELOW) {
        return total < capacity;
    }
    if (c->limit->algorithm == QD_LEAKY_BUCKET) {
        return total <= capacity;
    }
    return total + cost <= capacity;
}

static bool is_zero(const struct qd_check *check, const struct m_candidate *candidates)
{
    for (unsigned i = 0; i < QD_METERS_MAX; i++) {
        if (qd_usage_get(&check->estimate, i) != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < check->candidate_count; i++) {
        if (candidates[i].max_output > 0) {
            return false;
        }
    }
    return true;
}

static struct m_hold *new_hold(struct model *m)
{
    for (unsigned i = 0;; i++) {
        cr_assert(i < M_HOLDS);
        if (m->holds[i].state == M_GONE) {
            if (i >= m->hold_high) {
                m->hold_high = i + 1;
            }
            memset(&m->holds[i], 0, sizeof(m->holds[i]));
            return &m->holds[i];
        }
    }
}

static struct m_hold *last_made;

static void allow(struct model *m, const struct qd_check *check,
                  const struct m_candidate *candidate, struct m_counter **counters,
                  const struct m_answer *a)
{
    struct m_hold *h = check->reserve ? new_hold(m) : NULL;
    last_made = h;
    if (h != NULL) {
        h->state = M_OPEN;
        h->made_ns = m->now_ns;
        h->expires_ns = m->now_ns + check->ttl_ns;
        h->request = check->request;
        h->attempt = check->attempt;
        h->content = check->content;
        h->epoch = check->epoch;
        int64_t output = output_for(check, candidate, NULL);
        for (unsigned i = 0; i < a->count; i++) {
            if (a->limit[i]->consistency == QD_HARD) {
                output = max64(output, output_for(check, candidate, a->limit[i]));
            }
        }
        h->expected = estimate_of(check, output, false);
    }
    for (unsigned i = 0; i < a->count; i++) {
        struct m_counter *c = counters[i];
        const struct qd_limit *l = c->limit;
        if (is_bucket(l)) {
            struct qd_bucket_spec spec = m_bucket_spec(c);
            qd_bucket_charge(&c->bucket, &spec, a->estimate[i],
                             (struct qd_wall_ns){.ns = m->now_ns});
        } else if (is_rate(l)) {
            m_change(m, c, m->now_ns, a->estimate[i]);
        }
        if (h != NULL && l->algorithm != QD_PER_REQUEST) {
            h->charge[h->charge_count++] =
                (struct m_charge){.counter = c, .resets = c->resets, .amount = a->estimate[i]};
        }
        if (h != NULL && (meters_of(&l->admit) & money_meters) != 0 &&
            (l->on_expiry == QD_KEEP_INPUT || l->on_failed == QD_KEEP_INPUT)) {
            struct qd_usage input = h->expected;
            input.present &= input_meters;
            h->input_nano = m_price(&input);
        }
    }
}

/* Fills the answer; true if nothing enforced denies. */
static bool try_candidate(struct model *m, const struct qd_check *check,
                          const struct m_candidate *candidate, bool zero,
                          struct m_counter **ret_counters, struct m_answer *a)
{
    bool passes = true;
    bool never = false;
    a->count = 0;
    a->shadow_denials = 0;
    for (unsigned i = 0; i < candidate->count; i++) {
        struct m_counter *c = candidate->items[i].counter;
        const struct qd_limit *l = c->limit;
        struct qd_usage u = estimate_of(check, output_for(check, candidate, l), zero);
        bool concerned = ((u.present | output_meters) & meters_of(&l->admit)) != 0;
        uint32_t with_any = QD_METER_BIT(QD_METER_CONCURRENCY) | QD_METER_BIT(QD_METER_COST) |
                            QD_METER_BIT(QD_METER_CHARGE);
        if (!concerned && !(zero && (with_any & meters_of(&l->admit)) != 0)) {
            continue;
        }
        int64_t cost = hold_of(l, &u);
        if (l->clamp_permille_of_amount != 0) {
            cost = min64(cost, c->amount * l->clamp_permille_of_amount / 1000);
        }
        unsigned n = a->count++;
        ret_counters[n] = c;
        a->limit[n] = l;
        a->used[n] = m_used(m, c);
        a->held[n] = m_held(m, c);
        a->estimate[n] = cost;
        bool unbounded = !zero && is_unbounded(candidate, l);
        a->denies[n] = unbounded || !fits(c, a->used[n] + a->held[n], cost);
        if (a->denies[n] && l->action == QD_SHADOW) {
            a->shadow_denials++;
        } else if (a->denies[n]) {
            passes = false;
            never = never || unbounded || !fits(c, 0, cost);
        }
    }
    a->decision = passes ? QD_ALLOW : QD_DENY;
    a->reason = passes ? QD_REASON_NONE : never ? QD_REASON_NEVER_FITS : QD_REASON_LIMIT;
    return passes;
}

static struct m_hold *find_request(struct model *m, struct qd_hash128 request, uint32_t attempt)
{
    struct m_hold *newest = NULL;
    for (unsigned i = 0; i < m->hold_high; i++) {
        struct m_hold *h = &m->holds[i];
        if (h->state != M_GONE && h->attempt == attempt && qd_hash128_equal(h->request, request) &&
            (newest == NULL || newest->number < h->number)) {
            newest = h;
        }
    }
    return newest;
}

void m_check(struct model *m, const struct qd_check *check, const struct m_candidate *candidates,
             unsigned described, struct m_answer *ret_answer)
{
    struct m_answer *a = ret_answer;
    memset(a, 0, sizeof(*a));
    last_made = NULL;
    bool zero = is_zero(check, candidates);
    bool peek = zero || check->dry_run;
    if ((check->request.lo | check->request.hi) != 0 && check->reserve && !peek) {
        struct m_hold *h = find_request(m, check->request, check->attempt);
        if (h != NULL && h->state == M_OPEN) {
            a->repeated = h->content == check->content;
            a->decision = a->repeated ? QD_ALLOW : QD_CONFLICT;
            a->reservation = a->repeated ? h->number : 0;
            return;
        }
    }
    for (unsigned i = 0; i < check->candidate_count; i++) {
        struct m_counter *counters[M_CHARGES];
        a->candidate = i;
        if (try_candidate(m, check, &candidates[i], zero, counters, a)) {
            if (!peek) {
                allow(m, check, &candidates[i], counters, a);
            }
            return;
        }
    }
    struct m_counter *counters[M_CHARGES];
    a->candidate = described;
    (void)try_candidate(m, check, &candidates[described], zero, counters, a);
}

void m_name_reservation(struct model *m, uint64_t number)
{
    (void)m;
    cr_assert_eq(last_made != NULL, number != 0);
    if (last_made != NULL) {
        last_made->number = number;
    }
}

/* --- ending holds ----------------------------------------------------------------------------- */

static struct m_hold *find_hold(struct model *m, uint64_t number)
{
    for (unsigned i = 0; i < m->hold_high; i++) {
        if (m->holds[i].state != M_GONE && m->holds[i].number == number) {
            return &m->holds[i];
        }
    }
    return NULL;
}

/* ResetCounter forgives what was charged before it. */
static bool stands(const struct m_charge *c)
{
    return c->resets == c->counter->resets;
}

/* Gauges' holds are added up from the holds themselves; only rates need telling. */
static void rehold(struct model *m, const struct m_hold *h, struct m_charge *c, int64_t amount)
{
    if (is_rate(c->counter->limit) && stands(c) && amount != c->amount) {
        m_change(m, c->counter, h->made_ns, amount - c->amount);
    }
    c->amount = amount;
}

static void release(struct model *m, struct m_hold *h)
{
    for (unsigned i = 0; i < h->charge_count; i++) {
        rehold(m, h, &h->charge[i], 0);
    }
    h->state = M_GONE;
}

/* Until when a kept charge counts. */
static int64_t counts_until(struct model *m, const struct m_hold *h, const struct m_charge *c)
{
    const struct qd_limit *l = c->counter->limit;
    if (c->amount <= 0 || !stands(c)) {
        return m->now_ns;
    }
    if (is_window(l)) {
        return h->made_ns + l->window_ns + m_slot_width(l);
    }
    if (is_bucket(l)) {
        struct qd_bucket_spec spec = m_bucket_spec(c->counter);
        int64_t empty =
            qd_bucket_empty_at(&c->counter->bucket, &spec, (struct qd_wall_ns){.ns = m->now_ns}).ns;
        if (spec.amount <= 0) {
            return min64(empty, h->made_ns + max64(spec.window_ns, QD_BUCKET_HORIZON_NS));
        }
        /* Or when a full bucket would have drained since, whoever else charges it. */
        qd_int128 drained =
            ((qd_int128)spec.burst * spec.window_ns + spec.amount - 1) / spec.amount + h->made_ns;
        return drained < empty ? (int64_t)drained : empty;
    }
    if (m_period_of(l, h->made_ns) != m_period_of(l, m->now_ns)) {
        return m->now_ns;
    }
    if (l->algorithm == QD_FIXED_WINDOW) {
        return (m_period_of(l, m->now_ns) + 1) * l->window_ns;
    }
    if (l->algorithm == QD_PREPAID || l->algorithm == QD_CONCURRENCY) {
        return QD_WALL_NEVER;
    }
    int64_t at =
        m->now_ns / (3600 * SECOND) * (3600 * SECOND); /* the hour at which it turns over */
    while (m_period_of(l, at) == m_period_of(l, m->now_ns)) {
        at += 3600 * SECOND;
    }
    return at;
}

static void keep_or_free(struct model *m, struct m_hold *h)
{
    int64_t until = m->now_ns;
    for (unsigned i = 0; i < h->charge_count; i++) {
        until = max64(until, counts_until(m, h, &h->charge[i]));
    }
    h->state = until > m->now_ns ? M_KEPT : M_GONE;
    h->expires_ns = until;
}

static int64_t input_part(const struct m_hold *h, const struct qd_limit *l, int64_t amount,
                          const struct qd_usage *rest)
{
    struct qd_usage u = *rest;
    u.present &= input_meters | money_meters | QD_METER_BIT(QD_METER_REQUESTS);
    for (unsigned meter = QD_METER_COST; meter <= QD_METER_CHARGE; meter++) {
        u.amount[meter] = min64(qd_usage_get(&u, meter), max64(h->input_nano - h->told_nano, 0));
    }
    return min64(amount, hold_of(l, &u));
}

static void expire(struct model *m, struct m_hold *h)
{
    for (unsigned i = 0; i < h->charge_count; i++) {
        struct m_charge *c = &h->charge[i];
        const struct qd_limit *l = c->counter->limit;
        int64_t kept = 0;
        if (l->algorithm == QD_CONCURRENCY || !stands(c)) {
            kept = 0;
        } else if (l->consistency == QD_HARD || (is_rate(l) && !l->refunds) ||
                   l->on_expiry == QD_KEEP_ALL) {
            kept = c->amount;
        } else if (l->on_expiry == QD_KEEP_INPUT) {
            kept = input_part(h, l, c->amount, &h->expected);
        }
        rehold(m, h, c, kept);
    }
    keep_or_free(m, h);
}

static bool is_due(const struct model *m, const struct m_hold *h)
{
    int64_t due_s = h->expires_ns / SECOND + (h->expires_ns % SECOND != 0);
    return due_s <= m->now_ns / SECOND;
}

void m_expire(struct model *m)
{
    for (unsigned i = 0; i < m->hold_high; i++) {
        struct m_hold *h = &m->holds[i];
        while (h->state != M_GONE && is_due(m, h)) {
            if (h->state == M_OPEN) {
                expire(m, h);
            } else {
                keep_or_free(m, h);
            }
        }
    }
    while (m->hold_high > 0 && m->holds[m->hold_high - 1].state == M_GONE) {
        m->hold_high--;
    }
}

enum qd_result m_cancel(struct model *m, uint64_t number)
{
    struct m_hold *h = find_hold(m, number);
    if (h == NULL) {
        return QD_NO_RESERVATION;
    }
    release(m, h);
    return QD_OK;
}

/* --- extending -------------------------------------------------------------------------------- */

enum qd_result m_extend(struct model *m, uint64_t number, const struct qd_usage *used,
                        int64_t ttl_ns)
{
    struct m_hold *h = find_hold(m, number);
    if (h == NULL || h->state != M_OPEN) {
        return QD_NO_RESERVATION;
    }
    h->expires_ns = m->now_ns + ttl_ns;
    struct qd_usage seen = {0};
    for (unsigned meter = 0; meter < QD_METERS_MAX; meter++) {
        uint32_t bit = QD_METER_BIT(meter);
        if (qd_usage_has(used, meter)) {
            if (qd_usage_get(&h->expected, meter) < used->amount[meter]) {
                qd_usage_set(&h->expected, meter, used->amount[meter]);
            }
            qd_usage_set(&seen, meter, used->amount[meter]);
        } else if (qd_usage_has(&h->expected, meter) &&
                   (bit & (input_meters | QD_METER_BIT(QD_METER_REQUESTS))) != 0) {
            qd_usage_set(&seen, meter, h->expected.amount[meter]);
        }
    }
    enum qd_result result = QD_OK;
    for (unsigned i = 0; i < h->charge_count; i++) {
        struct m_charge *c = &h->charge[i];
        const struct qd_limit *l = c->counter->limit;
        int64_t sum = weigh(&l->settle, &seen, UINT32_MAX);
        if (sum <= c->amount || l->algorithm == QD_CONCURRENCY) {
            continue;
        }
        int64_t total = m_used(m, c->counter) + m_held(m, c->counter);
        if (!fits(c->counter, total, sum - c->amount) && l->action == QD_ENFORCE) {
            result = QD_STOP;
        }
        rehold(m, h, c, sum);
    }
    return result;
}

/* --- settling --------------------------------------------------------------------------------- */

static struct m_hold *settled_hold(struct model *m, const struct qd_settle *s)
{
    if (s->reservation != 0) {
        return find_hold(m, s->reservation);
    }
    return (s->request.lo | s->request.hi) != 0 ? find_request(m, s->request, s->attempt) : NULL;
}

/* What is still expected after this part. */
static struct qd_usage rest_of(const struct qd_usage *expected, const struct qd_usage *part,
                               bool final)
{
    struct qd_usage rest = {0};
    bool more = !final;
    for (unsigned meter = 0; meter < QD_METERS_MAX; meter++) {
        bool money = (QD_METER_BIT(meter) & money_meters) != 0;
        if (money || !qd_usage_has(expected, meter) || qd_usage_has(part, meter)) {
            continue;
        }
        qd_usage_set(&rest, meter, expected->amount[meter]);
        if (meter != QD_METER_REQUESTS && meter != QD_METER_CONCURRENCY &&
            expected->amount[meter] > 0) {
            more = true;
        }
    }
    for (unsigned meter = QD_METER_COST; meter <= QD_METER_CHARGE; meter++) {
        int64_t left = qd_usage_get(expected, meter) - qd_usage_get(part, meter);
        if (more && left > 0) {
            qd_usage_set(&rest, meter, left);
        }
    }
    return rest;
}

/* The money of the input that was booked isn't held any more: each hold remembers how much of its
 * input's price reports have brought so far. */
static void tell_input(struct m_hold *h, const struct qd_usage *part, const struct qd_usage *rest)
{
    bool untold = false;
    if ((part->present & input_meters) == 0) {
        return;
    }
    for (unsigned meter = 0; meter < QD_METERS_MAX; meter++) {
        bool input = (QD_METER_BIT(meter) & input_meters) != 0;
        untold = untold || (input && qd_usage_get(rest, meter) > 0);
    }
    h->told_nano = untold ? h->told_nano + qd_usage_get(part, QD_METER_COST) : h->input_nano;
}

/* After the report was told: `kept_input` is what would have been kept of the input before it. */
static int64_t hold_after(const struct m_hold *h, const struct qd_settle *s,
                          const struct qd_limit *l, int64_t hold, int64_t kept_input,
                          const struct qd_usage *part, const struct qd_usage *rest)
{
    bool touched = (meters_of(&l->admit) & part->present) != 0;
    if (!s->final) {
        bool as_it_was = !touched || l->algorithm == QD_CONCURRENCY;
        if (!as_it_was && h->state == M_KEPT && hold <= kept_input &&
            (l->on_expiry == QD_KEEP_INPUT || l->on_failed == QD_KEEP_INPUT)) {
            return input_part(h, l, hold, rest);
        }
        return as_it_was ? hold : min64(hold, hold_of(l, rest));
    }
    enum qd_keep keep = s->outcome == QD_OUTCOME_OK       ? l->on_expiry
                        : s->outcome == QD_OUTCOME_FAILED ? l->on_failed
                                                          : QD_KEEP_NOTHING;
    if (l->algorithm == QD_CONCURRENCY || keep == QD_KEEP_NOTHING) {
        return 0;
    }
    if (keep == QD_KEEP_INPUT) {
        return input_part(h, l, hold, rest);
    }
    return touched ? min64(hold, hold_of(l, rest)) : hold;
}

static void settle_charge(struct model *m, const struct m_hold *h, const struct qd_settle *s,
                          struct m_charge *c, int64_t kept_input, const struct qd_usage *part,
                          const struct qd_usage *rest)
{
    const struct qd_limit *l = c->counter->limit;
    int64_t booked = weigh(&l->settle, part, UINT32_MAX);
    int64_t hold = hold_after(h, s, l, c->amount, kept_input, part, rest);
    if (!is_rate(l)) {
        m_change(m, c->counter, h->made_ns, booked);
        c->amount = hold;
        return;
    }
    int64_t delta = hold + booked - c->amount;
    if (stands(c) && delta < 0 && !l->refunds && s->outcome != QD_OUTCOME_NOT_DISPATCHED) {
        hold = s->final ? hold : c->amount - booked;
        delta = 0;
    }
    if (stands(c)) {
        m_change(m, c->counter, h->made_ns, delta);
    }
    c->amount = hold;
}

static void release_others(struct model *m, const struct qd_settle *s, struct qd_hash128 request,
                           uint32_t attempt, uint64_t number, struct qd_settled *ret_settled)
{
    bool served = s->outcome == QD_OUTCOME_OK || s->outcome == QD_OUTCOME_DISCONNECTED;
    for (unsigned i = 0; i < m->hold_high; i++) {
        struct m_hold *h = &m->holds[i];
        if (h->state != M_GONE && h->number != number && qd_hash128_equal(h->request, request) &&
            (served || (h->state == M_KEPT && h->attempt == attempt))) {
            release(m, h);
            ret_settled->released_attempts++;
        }
    }
}

static struct qd_usage part_of(const struct m_hold *h, const struct qd_settle *s,
                               const struct qd_usage *expected)
{
    struct qd_usage part = s->used;
    bool dispatched = s->outcome == QD_OUTCOME_OK || s->outcome == QD_OUTCOME_DISCONNECTED;
    if (s->final && dispatched && !qd_usage_has(&part, QD_METER_REQUESTS)) {
        if (h == NULL && s->estimate.present == 0) {
            qd_usage_set(&part, QD_METER_REQUESTS, 1);
        } else if (qd_usage_has(expected, QD_METER_REQUESTS)) {
            qd_usage_set(&part, QD_METER_REQUESTS, expected->amount[QD_METER_REQUESTS]);
        }
    }
    return part;
}

void m_settle(struct model *m, const struct qd_settle *s, const struct m_item *items,
              unsigned item_count, struct qd_settled *ret_settled)
{
    memset(ret_settled, 0, sizeof(*ret_settled));
    struct m_hold *h = settled_hold(m, s);
    struct qd_usage expected = h != NULL ? h->expected : s->estimate;
    struct qd_usage part = part_of(h, s, &expected);
    struct qd_usage rest = rest_of(&expected, &part, s->final);
    struct qd_hash128 request = s->request;
    uint32_t attempt = s->attempt;
    uint64_t number = h != NULL ? h->number : s->reservation;
    if (h != NULL && (request.lo | request.hi) == 0) {
        request = h->request;
        attempt = h->attempt;
    }
    for (unsigned i = 0; i < item_count; i++) {
        struct m_counter *c = items[i].counter;
        bool charged = false;
        for (unsigned j = 0; h != NULL && j < h->charge_count; j++) {
            charged = charged || h->charge[j].counter == c;
        }
        if (!charged && !(is_rate(c->limit) && s->budgets_only)) {
            int64_t at = h != NULL ? h->made_ns : min64(s->charged_at.ns, m->now_ns);
            int64_t booked = weigh(&c->limit->settle, &part, UINT32_MAX);
            m_change(m, c, at, s->takes_back ? -booked : booked);
        }
    }
    if (h != NULL) {
        ret_settled->had_reservation = true;
        ret_settled->closed = s->final;
        int64_t kept_input[M_CHARGES] = {0};
        for (unsigned i = 0; i < h->charge_count; i++) {
            kept_input[i] = input_part(h, h->charge[i].counter->limit, INT64_MAX, &expected);
        }
        tell_input(h, &part, &rest);
        for (unsigned i = 0; i < h->charge_count; i++) {
            settle_charge(m, h, s, &h->charge[i], kept_input[i], &part, &rest);
        }
        h->expected = rest;
        if (s->final) {
            keep_or_free(m, h);
        }
    }
    if ((request.lo | request.hi) != 0) {
        release_others(m, s, request, attempt, number, ret_settled);
    }
}
