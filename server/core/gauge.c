#include "server/core/gauge.h"

#include "server/core/check.h"
#include "server/core/mutant.h"

static int64_t clamp_sum(int64_t value)
{
    if (value > QD_GAUGE_MAX) {
        return QD_GAUGE_MAX;
    }
    return value < -QD_GAUGE_MAX ? -QD_GAUGE_MAX : value;
}

struct qd_period qd_fixed_period(int64_t window_ns, struct qd_wall_ns at)
{
    QD_CHECK(window_ns > 0);
    int64_t into = at.ns % window_ns;
    if (into < 0) {
        into += window_ns;
    }
    struct qd_period period;
    if (__builtin_sub_overflow(at.ns, into, &period.start.ns)) {
        period.start.ns = INT64_MIN;
    }
    if (__builtin_add_overflow(at.ns, window_ns - into, &period.end.ns)) {
        period.end.ns = QD_WALL_NEVER;
    }
    return period;
}

static struct qd_period period_of(const struct qd_gauge_spec *spec, struct qd_wall_ns at)
{
    if (spec->window_ns > 0) {
        return qd_fixed_period(spec->window_ns, at);
    }
    if (spec->calendar != NULL) {
        return qd_calendar_period(spec->calendar, at);
    }
    return (struct qd_period){{INT64_MIN}, {QD_WALL_NEVER}};
}

static void begin(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns now)
{
    struct qd_period period = period_of(spec, now);
    g->used = 0;
    g->held = 0; /* D7: what is held belongs to the period that is over */
    g->start_ns = period.start.ns;
    g->end_ns = period.end.ns;
    QD_CHECK(g->start_ns < g->end_ns);
}

static inline void advance(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                           struct qd_wall_ns now)
{
    if (__builtin_expect(now.ns >= g->end_ns, 0) && g->end_ns != QD_WALL_NEVER) {
        begin(g, spec, now);
    }
}

/* D7: a time before the current period changes nothing now. */
static bool is_closed(const struct qd_gauge *g, struct qd_wall_ns at)
{
    return at.ns < g->start_ns && !QD_MUTANT(D7_gauge);
}

void qd_gauge_init(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns now)
{
    begin(g, spec, now);
}

int64_t qd_gauge_counted(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                         struct qd_wall_ns now)
{
    advance(g, spec, now);
    return (g->used > 0 ? g->used : 0) + g->held;
}

bool qd_gauge_fits(struct qd_gauge *g, const struct qd_gauge_spec *spec, int64_t amount,
                   int64_t cost, struct qd_wall_ns now)
{
    /* A sum at its largest means "at least this much": it must deny whatever the amount. */
    int64_t bound = amount < QD_GAUGE_MAX ? amount : QD_GAUGE_MAX - 1;
    int64_t room = bound - qd_gauge_counted(g, spec, now);
    return cost <= room;
}

void qd_gauge_hold(struct qd_gauge *g, const struct qd_gauge_spec *spec, int64_t cost,
                   struct qd_wall_ns now)
{
    QD_CHECK(cost >= 0);
    advance(g, spec, now);
    g->held = clamp_sum(g->held + clamp_sum(cost));
}

void qd_gauge_rehold(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                     struct qd_wall_ns made_at, int64_t delta, struct qd_wall_ns now)
{
    advance(g, spec, now);
    if (is_closed(g, made_at)) {
        return;
    }
    int64_t held = g->held + clamp_sum(delta);
    g->held = held > 0 ? clamp_sum(held) : 0;
}

void qd_gauge_book(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns at,
                   int64_t delta, struct qd_wall_ns now)
{
    advance(g, spec, now);
    if (!is_closed(g, at)) {
        g->used = clamp_sum(g->used + clamp_sum(delta));
    }
}

void qd_gauge_reset(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns now)
{
    advance(g, spec, now);
    g->used = 0;
}

struct qd_wall_ns qd_gauge_retry_at(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                                    int64_t amount, int64_t cost, struct qd_wall_ns now)
{
    if (cost > amount || cost >= QD_GAUGE_MAX) {
        return (struct qd_wall_ns){QD_WALL_NEVER};
    }
    if (qd_gauge_fits(g, spec, amount, cost, now)) {
        return now;
    }
    if (QD_MUTANT(D3_gauge)) {
        return (struct qd_wall_ns){now.ns + QD_NS_PER_S};
    }
    return (struct qd_wall_ns){g->end_ns}; /* D3: exact; QD_WALL_NEVER where it never ends */
}
