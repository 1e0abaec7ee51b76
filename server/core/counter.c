#include "counter.h"

#include "mutant.h"
#include "wheel.h"

#include <string.h>

/* D3: when only somebody's release can help, come back no sooner than this and see. */
#define RETRY_HINT_NS QD_NS_PER_S

static struct qd_window *window_of(const struct qd_at *at)
{
    return at->class == QD_CLASS_WIDE
               ? &((struct qd_counter_wide *)(void *)at->counter)->window.base
               : &((struct qd_counter_narrow *)(void *)at->counter)->window.base;
}

static struct qd_bucket *bucket_of(const struct qd_at *at)
{
    return &((struct qd_counter_bucket *)(void *)at->counter)->bucket;
}

static struct qd_gauge *gauge_of(const struct qd_at *at)
{
    return &((struct qd_counter_gauge *)(void *)at->counter)->gauge;
}

/* The same, about to move on to `now`. P3: in a new period thresholds are reported anew. */
static struct qd_gauge *gauge_now(const struct qd_at *at, struct qd_wall_ns now)
{
    struct qd_gauge *gauge = gauge_of(at);
    if (QD_UNLIKELY(now.ns >= gauge->end_ns) && !QD_MUTANT(P3_period)) {
        at->counter->alert = 0;
    }
    return gauge;
}

static struct qd_window_spec window_spec(const struct qd_at *at)
{
    return (struct qd_window_spec){.window_ns = at->limit->window_ns,
                                   .slots = at->limit->slots,
                                   .weighted = at->limit->weighted,
                                   .wide = at->class == QD_CLASS_WIDE,
                                   .others = NULL}; /* C1: replication brings them */
}

static int64_t slot_width(const struct qd_limit *limit)
{
    return (int64_t)(((uint64_t)limit->window_ns + limit->slots - 1) / limit->slots);
}

static struct qd_bucket_spec bucket_spec(const struct qd_at *at)
{
    return (struct qd_bucket_spec){.window_ns = at->limit->window_ns,
                                   .amount = at->counter->amount,
                                   .burst = (int64_t)at->counter->burst,
                                   .leaky = qd_counter_is_leaky(at)};
}

static struct qd_gauge_spec gauge_spec(const struct qd_at *at)
{
    return (struct qd_gauge_spec){
        .window_ns = at->limit->algorithm == QD_FIXED_WINDOW ? at->limit->window_ns : 0,
        .calendar = at->limit->algorithm == QD_CALENDAR ? &at->limit->calendar : NULL};
}

enum qd_class qd_class_for(const struct qd_limit *limit, int64_t amount)
{
    if (limit->algorithm == QD_SLIDING_WINDOW) {
        return qd_window_is_narrow(amount) ? QD_CLASS_NARROW : QD_CLASS_WIDE;
    }
    if (limit->algorithm == QD_TOKEN_BUCKET || limit->algorithm == QD_LEAKY_BUCKET) {
        return QD_CLASS_BUCKET;
    }
    return QD_CLASS_GAUGE;
}

void qd_counter_begin(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->class == QD_CLASS_BUCKET) {
        qd_bucket_init(bucket_of(at), now);
    } else if (at->class == QD_CLASS_GAUGE) {
        struct qd_gauge_spec spec = gauge_spec(at);
        qd_gauge_init(gauge_of(at), &spec, now);
    } else {
        struct qd_window_spec spec = window_spec(at);
        qd_window_init(window_of(at), &spec, now);
    }
}

void qd_counter_amend(const struct qd_at *at, int64_t amount, int64_t burst, struct qd_wall_ns now)
{
    if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        qd_bucket_level(bucket_of(at), &spec,
                        now); /* what drained so far drained at the old rate */
    }
    if (QD_MUTANT(P6) && at->counter->amount != amount) {
        qd_counter_begin(at, now);
    }
    uint64_t capacity = (uint64_t)(burst < QD_BURST_MAX ? burst : QD_BURST_MAX);
    if (at->counter->stored && (at->counter->amount != amount || at->counter->burst != capacity)) {
        at->counter->changed = 1;
    }
    at->counter->amount = amount;
    at->counter->burst = capacity & QD_BURST_MAX;
}

static bool window_is_fresh(const struct qd_at *at, struct qd_wall_ns now)
{
    struct qd_window_spec spec = window_spec(at);
    if (qd_window_used(window_of(at), &spec, now) != 0) {
        return false;
    }
    const unsigned char zero[sizeof(int64_t) * QD_WINDOW_RING] = {0};
    if (spec.wide) {
        return memcmp(((struct qd_counter_wide *)(void *)at->counter)->window.own, zero,
                      sizeof(int64_t) * QD_WINDOW_RING) == 0;
    }
    return memcmp(((struct qd_counter_narrow *)(void *)at->counter)->window.own, zero,
                  sizeof(int32_t) * QD_WINDOW_RING) == 0;
}

bool qd_counter_is_fresh(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->counter->stored) {
        return false; /* the store's state is older, and would come back */
    }
    if (at->class == QD_CLASS_GAUGE) {
        struct qd_gauge_spec spec = gauge_spec(at);
        qd_gauge_counted(gauge_now(at, now), &spec, now);
        return gauge_of(at)->used == 0 && gauge_of(at)->held == 0;
    }
    if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        qd_bucket_level(bucket_of(at), &spec, now);
        return bucket_of(at)->level == 0 && bucket_of(at)->frac == 0;
    }
    return window_is_fresh(at, now);
}

void qd_counter_clear(const struct qd_at *at, struct qd_wall_ns now)
{
    at->counter->changed = 1;
    at->counter->alert = 0;
    if (qd_role_of(at->limit) == QD_ROLE_RATE) {
        qd_counter_begin(at, now);
        at->counter->resets = (at->counter->resets + 1U) & 3U;
    } else {
        struct qd_gauge_spec spec = gauge_spec(at);
        qd_gauge_reset(gauge_now(at, now), &spec, now);
    }
}

int64_t qd_counter_total(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        return qd_bucket_level(bucket_of(at), &spec, now);
    }
    if (at->class == QD_CLASS_GAUGE) {
        struct qd_gauge_spec spec = gauge_spec(at);
        return qd_gauge_counted(gauge_now(at, now), &spec, now);
    }
    struct qd_window_spec spec = window_spec(at);
    return qd_window_used(window_of(at), &spec, now);
}

int64_t qd_counter_held(const struct qd_at *at)
{
    return at->class == QD_CLASS_GAUGE ? gauge_of(at)->held : 0;
}

/* D3: others' holds are in the way. Open requests end at any time, and concurrency is nothing else.
 * A budget's holds are known to be over when its last lease is, which of kept ones (S5) is the end
 * of the period: a hint of a second would bring every waiter back each second until then. */
static struct qd_wall_ns held_retry_at(const struct qd_at *at, int64_t end_ns,
                                       struct qd_wall_ns now)
{
    uint32_t busy_until_s = at->counter->busy_until_s;
    int64_t soon_ns = now.ns + RETRY_HINT_NS;
    int64_t hint_ns = end_ns;
    if (qd_role_of(at->limit) == QD_ROLE_CONCURRENCY) {
        hint_ns = soon_ns;
    } else if (busy_until_s > qd_seconds_of(now) && busy_until_s < UINT32_MAX) {
        hint_ns = (int64_t)busy_until_s * QD_NS_PER_S;
    }
    hint_ns = hint_ns > soon_ns ? hint_ns : soon_ns;
    return (struct qd_wall_ns){.ns = hint_ns < end_ns ? hint_ns : end_ns};
}

static struct qd_wall_ns budget_retry_at(const struct qd_at *at, int64_t cost,
                                         struct qd_wall_ns now, bool *ret_hint)
{
    struct qd_gauge_spec spec = gauge_spec(at);
    struct qd_gauge *gauge = gauge_now(at, now);
    qd_gauge_counted(gauge, &spec, now);
    if (gauge->held > 0 && qd_counter_fits(at, gauge->used > 0 ? gauge->used : 0, cost)) {
        *ret_hint = true;
        return held_retry_at(at, gauge->end_ns, now);
    }
    return qd_gauge_retry_at(gauge, &spec, at->counter->amount,
                             qd_counter_used_below(at) ? 1 : cost, now);
}

/* D3: a rate may get back what holds have charged: those that are open by its last lease, and those
 * that are due but wait to be ended. Other slices' wheels are out of sight; they are a moment late
 * at most. */
static bool may_get_back(const struct qd_at *at, struct qd_wall_ns now)
{
    uint32_t busy_until_s = at->counter->busy_until_s;
    uint32_t now_s = qd_seconds_of(now);
    if (busy_until_s >= now_s) {
        return busy_until_s > now_s || at->counter->depth == 0 || qd_wheel_is_behind(at->core, now);
    }
    return at->counter->depth > 0 && busy_until_s >= at->core->wheel.cursor_s;
}

struct qd_wall_ns qd_counter_retry_at(const struct qd_at *at, int64_t cost, struct qd_wall_ns now,
                                      bool *ret_hint)
{
    int64_t asked = qd_counter_used_below(at) ? 1 : cost;
    if (qd_counter_never_fits(at, cost)) {
        return (struct qd_wall_ns){.ns = QD_WALL_NEVER};
    }
    if (at->class != QD_CLASS_GAUGE || qd_role_of(at->limit) == QD_ROLE_RATE) {
        *ret_hint = may_get_back(at, now) && !QD_MUTANT(D3_hint);
    }
    if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        return qd_bucket_retry_at(bucket_of(at), &spec, asked, now);
    }
    if (at->class != QD_CLASS_GAUGE) {
        struct qd_window_spec spec = window_spec(at);
        return qd_window_retry_at(window_of(at), &spec, at->counter->amount, asked, now);
    }
    return budget_retry_at(at, cost, now, ret_hint);
}

struct qd_period qd_counter_period(const struct qd_at *at)
{
    if (at->class != QD_CLASS_GAUGE || gauge_of(at)->end_ns == QD_WALL_NEVER) {
        return (struct qd_period){{0}, {0}};
    }
    return (struct qd_period){{gauge_of(at)->start_ns}, {gauge_of(at)->end_ns}};
}

struct qd_wall_ns qd_counter_resets_at(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        return qd_bucket_empty_at(bucket_of(at), &spec, now);
    }
    if (at->class == QD_CLASS_GAUGE) {
        return (struct qd_wall_ns){.ns = gauge_of(at)->end_ns};
    }
    struct qd_window_spec spec = window_spec(at);
    return qd_window_retry_at(window_of(at), &spec, 0, 0, now);
}

struct qd_wall_ns qd_counter_frees_at(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->class == QD_CLASS_BUCKET || at->class == QD_CLASS_GAUGE) {
        return qd_counter_resets_at(at, now);
    }
    /* The newest slot counts, and leaves S slots after its end. */
    return (struct qd_wall_ns){.ns = window_of(at)->head_end_ns +
                                     slot_width(at->limit) * at->limit->slots};
}

void qd_counter_prefetch_slot(const void *record, const struct qd_limit *limit,
                              struct qd_wall_ns now)
{
    const struct qd_counter_narrow *n = record;
    uint64_t slot = (uint64_t)now.ns / (uint64_t)slot_width(limit);
    qd_fetch(&n->window.own[slot % QD_WINDOW_RING]);
}

void qd_counter_take(const struct qd_at *at, int64_t cost, bool reserve, struct qd_wall_ns now)
{
    enum qd_role role = qd_role_of(at->limit);
    at->counter->changed = 1;
    if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        qd_bucket_charge(bucket_of(at), &spec, cost, now);
    } else if (at->class != QD_CLASS_GAUGE) {
        struct qd_window_spec spec = window_spec(at);
        qd_window_charge(window_of(at), &spec, cost, now);
    } else if (role == QD_ROLE_RATE) {
        struct qd_gauge_spec spec = gauge_spec(at);
        qd_gauge_book(gauge_now(at, now), &spec, now, cost, now);
    } else if (reserve && role != QD_ROLE_PER_REQUEST) {
        struct qd_gauge_spec spec = gauge_spec(at);
        if (QD_MUTANT(D7_held)) {
            qd_gauge_book(gauge_now(at, now), &spec, now, cost, now);
        } else {
            qd_gauge_hold(gauge_now(at, now), &spec, cost, now); /* D7 */
        }
    }
}

static void settle_gauge(const struct qd_at *at, struct qd_wall_ns made_at, int64_t hold_delta,
                         int64_t booked, struct qd_wall_ns now)
{
    struct qd_gauge_spec spec = gauge_spec(at);
    enum qd_role role = qd_role_of(at->limit);
    QD_CHECK(role != QD_ROLE_PER_REQUEST); /* which nobody charges */
    if (role == QD_ROLE_RATE) {
        qd_gauge_book(gauge_now(at, now), &spec, made_at, hold_delta + booked, now);
        return;
    }
    qd_gauge_rehold(gauge_now(at, now), &spec, made_at, hold_delta, now);
    if (role == QD_ROLE_BUDGET) {
        qd_gauge_book(gauge_now(at, now), &spec, QD_MUTANT(S2_period) ? now : made_at, booked, now);
    }
}

void qd_counter_settle(const struct qd_at *at, struct qd_wall_ns made_at, int64_t hold_delta,
                       int64_t booked, struct qd_wall_ns now)
{
    at->counter->changed = 1;
    if (at->class == QD_CLASS_GAUGE) {
        settle_gauge(at, made_at, hold_delta, booked, now);
    } else if (at->class == QD_CLASS_BUCKET) {
        struct qd_bucket_spec spec = bucket_spec(at);
        qd_bucket_adjust(bucket_of(at), &spec, made_at, hold_delta + booked, now);
    } else {
        struct qd_window_spec spec = window_spec(at);
        if (QD_MUTANT(S2_slot)) {
            made_at = now;
        }
        qd_window_adjust(window_of(at), &spec, made_at, hold_delta + booked, now);
    }
}

/* At the latest when a full bucket has run empty since: what others charge keeps it from being
 * empty, and is not this charge. Where nothing drains (S5: the rate was lowered to 0) the charge
 * stays, and the hold ends with its window, or when nothing could be given back for it any more. */
static struct qd_wall_ns drained_at(const struct qd_at *at, struct qd_wall_ns made_at,
                                    struct qd_wall_ns now)
{
    struct qd_bucket_spec spec = bucket_spec(at);
    struct qd_wall_ns empty = qd_bucket_empty_at(bucket_of(at), &spec, now);
    qd_int128 drain_ns =
        spec.window_ns > QD_BUCKET_HORIZON_NS ? spec.window_ns : QD_BUCKET_HORIZON_NS;
    if (spec.amount > 0) {
        drain_ns = ((qd_int128)spec.burst * spec.window_ns + spec.amount - 1) / spec.amount;
    }
    qd_int128 drained = made_at.ns + drain_ns;
    return drained < empty.ns ? (struct qd_wall_ns){.ns = (int64_t)drained} : empty;
}

struct qd_wall_ns qd_counter_counts_until(const struct qd_at *at, struct qd_wall_ns made_at,
                                          struct qd_wall_ns now)
{
    if (at->class == QD_CLASS_BUCKET) {
        return drained_at(at, made_at, now);
    }
    if (at->class != QD_CLASS_GAUGE) { /* its slot, the window, and the ring's spare slots */
        return (struct qd_wall_ns){.ns = made_at.ns + at->limit->window_ns + slot_width(at->limit)};
    }
    struct qd_gauge_spec spec = gauge_spec(at);
    qd_gauge_counted(gauge_now(at, now), &spec, now);
    if (made_at.ns < gauge_of(at)->start_ns) {
        return now;
    }
    return (struct qd_wall_ns){.ns = gauge_of(at)->end_ns};
}
