#include "server/core/window.h"

#include "server/core/check.h"
#include "server/core/mutant.h"

#include <string.h>

static int64_t clamp_time(struct qd_wall_ns at)
{
    if (at.ns < 0) {
        return 0;
    }
    return at.ns < QD_WINDOW_TIME_MAX ? at.ns : QD_WINDOW_TIME_MAX;
}

static int64_t width_ns(const struct qd_window_spec *spec)
{
    return (spec->window_ns + spec->slots - 1) / spec->slots;
}

/* Slots before the newest that count. */
static int64_t span(const struct qd_window_spec *spec)
{
    /* D4: an interval of length W touches S+1 slots, so the oldest counts too. */
    return QD_MUTANT(D4) ? spec->slots - 1 : spec->slots;
}

static int64_t kind_max(const struct qd_window_spec *spec)
{
    return spec->wide ? QD_WINDOW_WIDE_MAX : QD_WINDOW_NARROW_MAX;
}

static int64_t clamp_to(int64_t value, int64_t max)
{
    if (value > max) {
        return max;
    }
    return value < -max ? -max : value;
}

static size_t ring_index(int64_t slot)
{
    return (size_t)((uint64_t)slot % QD_WINDOW_RING);
}

static int64_t own_get(const struct qd_window *w, const struct qd_window_spec *spec, int64_t slot)
{
    size_t i = ring_index(slot);
    return spec->wide ? ((const struct qd_window_wide *)w)->own[i]
                      : ((const struct qd_window_narrow *)w)->own[i];
}

static void own_set(struct qd_window *w, const struct qd_window_spec *spec, int64_t slot,
                    int64_t value)
{
    size_t i = ring_index(slot);
    if (spec->wide) {
        ((struct qd_window_wide *)w)->own[i] = value;
    } else {
        ((struct qd_window_narrow *)w)->own[i] = (int32_t)value;
    }
}

/* What a slot with `own` counts: max(0, own + others) (C1), <= 2^57. */
static int64_t counted(const struct qd_window_spec *spec, int64_t slot, int64_t own)
{
    int64_t sum = own;
    if (spec->others != NULL) {
        sum += clamp_to(spec->others[ring_index(slot)], QD_WINDOW_WIDE_MAX);
    }
    return sum > 0 ? sum : 0;
}

static int64_t slot_counts(const struct qd_window *w, const struct qd_window_spec *spec,
                           int64_t slot)
{
    return counted(spec, slot, own_get(w, spec, slot));
}

static int64_t sum_slots(const struct qd_window *w, const struct qd_window_spec *spec)
{
    int64_t total = 0;
    for (int64_t slot = w->head - span(spec); slot <= w->head; slot++) {
        total += slot_counts(w, spec, slot);
    }
    return total;
}

/* Move on to `now_ns` >= head_end_ns: slots that leave are subtracted, slots that enter start at 0.
 */
static void move(struct qd_window *w, const struct qd_window_spec *spec, int64_t now_ns)
{
    int64_t width = width_ns(spec);
    int64_t late_ns = now_ns - w->head_end_ns;
    int64_t steps = late_ns < width ? 1 : late_ns / width + 1;
    int64_t span_slots = span(spec);
    /* With `others` already moved on, what a slot that leaves has counted is known only while its
     * place in the ring is not taken again. */
    bool anew =
        steps > span_slots || (spec->others != NULL && steps >= QD_WINDOW_RING - span_slots);
    int64_t cleared = steps < QD_WINDOW_RING ? steps : QD_WINDOW_RING;
    int64_t first = w->head + steps - cleared + 1;

    for (int64_t slot = first; slot < first + cleared; slot++) {
        if (!anew) {
            w->total -= slot_counts(w, spec, slot - 1 - span_slots);
        }
        own_set(w, spec, slot, 0);
        if (!anew) {
            w->total += counted(spec, slot, 0);
        }
    }
    w->head += steps;
    w->head_end_ns += steps * width;
    if (anew) {
        w->total = spec->others != NULL ? sum_slots(w, spec) : 0;
    }
    QD_CHECK(w->total >= 0);
    QD_CHECK(now_ns < w->head_end_ns);
}

static inline int64_t advance(struct qd_window *w, const struct qd_window_spec *spec,
                              struct qd_wall_ns now)
{
    int64_t now_ns = clamp_time(now);
    if (__builtin_expect(now_ns >= w->head_end_ns, 0)) {
        move(w, spec, now_ns);
    }
    return now_ns;
}

/* Nanoseconds by which S slots are longer than W (where S does not divide W), < S. */
static int64_t slack_ns(const struct qd_window_spec *spec, int64_t width)
{
    return width * spec->slots - spec->window_ns;
}

/* Weighted: ceil(value * part / width), part in [0, width]. */
static int64_t proportion_up(int64_t value, int64_t part, int64_t width)
{
    uint64_t product;
    if (!__builtin_mul_overflow((uint64_t)value, (uint64_t)part, &product) &&
        product <= UINT64_MAX - (uint64_t)width) {
        return (int64_t)((product + (uint64_t)width - 1) / (uint64_t)width);
    }
    qd_uint128 wide = (qd_uint128)(uint64_t)value * (uint64_t)part;
    return (int64_t)((wide + (uint64_t)width - 1) / (uint64_t)width);
}

static int64_t used_weighted(const struct qd_window *w, const struct qd_window_spec *spec,
                             int64_t now_ns)
{
    int64_t width = width_ns(spec);
    int64_t oldest = slot_counts(w, spec, w->head - span(spec));
    int64_t part = w->head_end_ns - now_ns - slack_ns(spec, width);
    if (part > width) { /* a time before the newest slot */
        part = width;
    } else if (part < 0) {
        part = 0;
    }
    return w->total - oldest + proportion_up(oldest, part, width);
}

static inline int64_t used_at(const struct qd_window *w, const struct qd_window_spec *spec,
                              int64_t now_ns)
{
    return spec->weighted ? used_weighted(w, spec, now_ns) : w->total;
}

/* A full slot ("at least this much") must deny whatever the amount. */
static inline int64_t effective_amount(const struct qd_window_spec *spec, int64_t amount)
{
    int64_t max = kind_max(spec) - 1;
    return amount < max ? amount : max;
}

/* Add to one slot of the ring and to the total if it counts. */
static void add(struct qd_window *w, const struct qd_window_spec *spec, int64_t slot, int64_t delta)
{
    int64_t max = kind_max(spec);
    int64_t old = own_get(w, spec, slot);
    if (old == max) {
        return; /* full: stays until it leaves */
    }
    int64_t sum;
    if (__builtin_add_overflow(old, delta, &sum)) {
        sum = delta > 0 ? max : -max;
    }
    sum = clamp_to(sum, max);
    own_set(w, spec, slot, sum);
    if (slot >= w->head - span(spec)) {
        w->total += counted(spec, slot, sum) - counted(spec, slot, old);
    }
    QD_CHECK(w->total >= 0);
}

void qd_window_init(struct qd_window *w, const struct qd_window_spec *spec, struct qd_wall_ns now)
{
    QD_CHECK(spec->slots >= 1);
    QD_CHECK(spec->slots <= QD_WINDOW_SLOTS_MAX);
    QD_CHECK(spec->window_ns >= spec->slots);
    QD_CHECK(spec->window_ns <= QD_WINDOW_NS_MAX);
    int64_t width = width_ns(spec);

    memset(w, 0, spec->wide ? sizeof(struct qd_window_wide) : sizeof(struct qd_window_narrow));
    w->head = clamp_time(now) / width;
    w->head_end_ns = (w->head + 1) * width;
    w->total = spec->others == NULL ? 0 : sum_slots(w, spec);
}

int64_t qd_window_used(struct qd_window *w, const struct qd_window_spec *spec,
                       struct qd_wall_ns now)
{
    int64_t now_ns = advance(w, spec, now);
    return used_at(w, spec, now_ns);
}

bool qd_window_fits(struct qd_window *w, const struct qd_window_spec *spec, int64_t amount,
                    int64_t cost, struct qd_wall_ns now)
{
    int64_t now_ns = advance(w, spec, now);
    int64_t room = effective_amount(spec, amount) - used_at(w, spec, now_ns);
    return cost <= room;
}

void qd_window_charge(struct qd_window *w, const struct qd_window_spec *spec, int64_t cost,
                      struct qd_wall_ns now)
{
    QD_CHECK(cost >= 0);
    (void)advance(w, spec, now);
    add(w, spec, w->head, cost);
}

void qd_window_adjust(struct qd_window *w, const struct qd_window_spec *spec, struct qd_wall_ns at,
                      int64_t delta, struct qd_wall_ns now)
{
    (void)advance(w, spec, now);
    int64_t width = width_ns(spec);
    int64_t at_ns = clamp_time(at);
    int64_t slot = w->head;
    if (at_ns < w->head_end_ns - width && !QD_MUTANT(D7_window)) {
        slot = at_ns / width; /* D7: the slot that the estimate was charged to */
    }
    if (slot > w->head - QD_WINDOW_RING) {
        add(w, spec, slot, delta);
    }
}

struct qd_wall_ns qd_window_retry_at(struct qd_window *w, const struct qd_window_spec *spec,
                                     int64_t amount, int64_t cost, struct qd_wall_ns now)
{
    int64_t bound = effective_amount(spec, amount);
    if (cost > bound) {
        return (struct qd_wall_ns){QD_WALL_NEVER};
    }
    if (qd_window_fits(w, spec, amount, cost, now)) {
        return now;
    }
    int64_t width = width_ns(spec);
    int64_t late = QD_MUTANT(D3_window) ? 1 : 0;
    int64_t slot = w->head - span(spec); /* the oldest that counts */
    int64_t end_ns = w->head_end_ns;     /* first instant at which it does not */
    int64_t rest = w->total;             /* what counts when it has left */
    for (;; slot++, end_ns += width) {
        int64_t oldest = slot_counts(w, spec, slot);
        rest -= oldest;
        if (rest + cost > bound) {
            QD_CHECK(slot < w->head); /* without any slot cost <= bound fits */
            continue;
        }
        if (!spec->weighted) {
            return (struct qd_wall_ns){end_ns + late};
        }
        /* The largest part of the oldest slot that fits: ceil(oldest * part / width) <= room. */
        int64_t room = bound - cost - rest;
        QD_CHECK(room >= 0);
        QD_CHECK(oldest > room); /* else it would have fitted before */
        int64_t part = (int64_t)((qd_uint128)(uint64_t)room * (uint64_t)width / (uint64_t)oldest);
        int64_t wait = width - slack_ns(spec, width) - part;
        return (struct qd_wall_ns){end_ns - width + (wait > 0 ? wait : 0) + late};
    }
}

void qd_window_refold(struct qd_window *w, const struct qd_window_spec *spec, struct qd_wall_ns now)
{
    (void)advance(w, spec, now);
    w->total = sum_slots(w, spec);
}

void qd_window_widen(const struct qd_window_narrow *from, struct qd_window_wide *to)
{
    to->base = from->base;
    for (size_t i = 0; i < QD_WINDOW_RING; i++) {
        to->own[i] = from->own[i];
    }
}
