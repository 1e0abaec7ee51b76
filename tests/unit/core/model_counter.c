/* The model's counters: time, periods, sums. */
#include "model_inner.h"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#define SECOND QD_NS_PER_S

/* --- time and periods ------------------------------------------------------------------------- */

void m_time(struct model *m, int64_t now_ns)
{
    m->now_ns = max64(m->now_ns, now_ns);
}

int64_t m_slot_width(const struct qd_limit *l)
{
    return is_window(l) ? (l->window_ns + l->slots - 1) / l->slots : l->window_ns;
}

int64_t m_period_of(const struct qd_limit *l, int64_t at)
{
    if (l->algorithm == QD_PREPAID || l->algorithm == QD_CONCURRENCY) {
        return 0;
    }
    if (l->algorithm != QD_CALENDAR) {
        return at / m_slot_width(l);
    }
    time_t s = at / SECOND;
    struct tm tm;
    gmtime_r(&s, &tm);
    switch (l->calendar.unit) { /* UTC, anchored at the first */
    case QD_CALENDAR_HOUR:
        return s / 3600;
    case QD_CALENDAR_DAY:
        return s / 86400;
    case QD_CALENDAR_WEEK:
        return (s / 86400 + 3) / 7; /* 1970-01-01 was a Thursday */
    case QD_CALENDAR_MONTH:
        return tm.tm_year * 12 + tm.tm_mon;
    case QD_CALENDAR_YEAR:
        return tm.tm_year;
    }
    return 0;
}

/* --- counters --------------------------------------------------------------------------------- */

struct m_counter *m_counter(struct model *m, struct qd_hash128 id)
{
    for (unsigned i = 0; i < M_COUNTERS; i++) {
        if (m->counters[i].limit != NULL && qd_hash128_equal(m->counters[i].id, id)) {
            return &m->counters[i];
        }
    }
    return NULL;
}

struct qd_bucket_spec m_bucket_spec(const struct m_counter *c)
{
    return (struct qd_bucket_spec){.window_ns = c->limit->window_ns,
                                   .amount = c->amount,
                                   .burst = c->burst,
                                   .leaky = c->limit->algorithm == QD_LEAKY_BUCKET &&
                                            c->limit->admit_test == QD_ADMIT_USED_PLUS_ESTIMATE};
}

struct m_counter *m_bind(struct model *m, const struct qd_bind_item *item)
{
    struct m_counter *c = m_counter(m, item->counter);
    struct qd_wall_ns now = {.ns = m->now_ns};
    for (unsigned i = 0; c == NULL; i++) {
        cr_assert(i < M_COUNTERS);
        if (m->counters[i].limit == NULL) {
            c = &m->counters[i];
            memset(c, 0, sizeof(*c));
            c->limit = item->limit;
            c->id = item->counter;
            c->amount = item->amount;
            c->burst = item->burst;
            qd_bucket_init(&c->bucket, now);
        }
    }
    if (is_bucket(c->limit)) { /* so far it drained at the old rate */
        struct qd_bucket_spec spec = m_bucket_spec(c);
        qd_bucket_level(&c->bucket, &spec, now);
    }
    c->amount = item->amount;
    c->burst = item->burst;
    return c;
}

void m_reset(struct model *m, struct m_counter *c)
{
    if (is_rate(c->limit)) {
        memset(c->slot_sum, 0, sizeof(c->slot_sum));
        qd_bucket_init(&c->bucket, (struct qd_wall_ns){.ns = m->now_ns});
        c->resets++;
    }
    c->booked = 0;
}

static void add_slot(struct m_counter *c, int64_t number, int64_t delta)
{
    unsigned i = (unsigned)(number % M_SLOTS);
    if (c->slot_number[i] != number) {
        cr_assert(c->slot_number[i] < number || delta == 0);
        c->slot_number[i] = number;
        c->slot_sum[i] = 0;
    }
    c->slot_sum[i] += delta;
}

static int64_t slot_sum(const struct m_counter *c, int64_t number)
{
    unsigned i = (unsigned)(number % M_SLOTS);
    return c->slot_number[i] == number ? max64(0, c->slot_sum[i]) : 0;
}

static int64_t window_used(const struct model *m, const struct m_counter *c)
{
    const struct qd_limit *l = c->limit;
    int64_t width = m_slot_width(l);
    int64_t newest = m->now_ns / width;
    int64_t sum = 0;
    for (int64_t n = newest; n > newest - l->slots; n--) {
        sum += slot_sum(c, n);
    }
    int64_t oldest = slot_sum(c, newest - l->slots);
    if (!l->weighted) {
        return sum + oldest;
    }
    int64_t inside = (newest - l->slots + 1) * width - (m->now_ns - l->window_ns);
    inside = max64(0, min64(inside, width));
    return sum + (int64_t)(((qd_int128)oldest * inside + width - 1) / width);
}

int64_t m_held(const struct model *m, const struct m_counter *c)
{
    int64_t held = 0;
    if (is_rate(c->limit)) {
        return 0;
    }
    int64_t period = m_period_of(c->limit, m->now_ns);
    for (unsigned i = 0; i < m->hold_high; i++) {
        const struct m_hold *h = &m->holds[i];
        for (unsigned j = 0; h->state != M_GONE && j < h->charge_count; j++) {
            if (h->charge[j].counter == c && m_period_of(c->limit, h->made_ns) == period) {
                held += h->charge[j].amount;
            }
        }
    }
    return held;
}

int64_t m_used(struct model *m, struct m_counter *c)
{
    if (is_window(c->limit)) {
        return window_used(m, c);
    }
    if (is_short_fixed(c->limit)) {
        return slot_sum(c, m_period_of(c->limit, m->now_ns));
    }
    if (is_bucket(c->limit)) {
        struct qd_bucket_spec spec = m_bucket_spec(c);
        return qd_bucket_level(&c->bucket, &spec, (struct qd_wall_ns){.ns = m->now_ns});
    }
    bool counts = is_budget(c->limit) && c->period == m_period_of(c->limit, m->now_ns);
    return counts ? max64(0, c->booked) : 0; /* more may have been taken back than was used (L3) */
}

void m_change(struct model *m, struct m_counter *c, int64_t at, int64_t delta)
{
    if (is_window(c->limit) || is_short_fixed(c->limit)) {
        int64_t number = at / m_slot_width(c->limit);
        int64_t newest = m->now_ns / m_slot_width(c->limit);
        int64_t kept = is_window(c->limit) ? c->limit->slots : 0;
        if (number >= newest - kept) {
            add_slot(c, number, delta);
        }
    } else if (is_bucket(c->limit)) {
        struct qd_bucket_spec spec = m_bucket_spec(c);
        qd_bucket_adjust(&c->bucket, &spec, (struct qd_wall_ns){.ns = at}, delta,
                         (struct qd_wall_ns){.ns = m->now_ns});
    } else if (is_budget(c->limit)) {
        int64_t current = m_period_of(c->limit, m->now_ns);
        if (c->period != current) {
            c->period = current;
            c->booked = 0;
        }
        if (m_period_of(c->limit, at) == current) {
            c->booked += delta;
        }
    }
}
