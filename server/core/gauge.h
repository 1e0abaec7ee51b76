/* Gauge: two sums, used and held, for the current period. Serves calendar budgets, fixed windows of
 * any length, prepaid balances and concurrency (D6, D7).
 *
 * Layer:    core (pure: no I/O, clock, locks, allocation, floating point)
 * Units:    amounts in the limit's unit; time is wall ns, UTC.
 * Threads:  none. The owning slice serialises every call on one gauge.
 * Memory:   32 bytes, caller-allocated, trivially copyable, nothing to release.
 *
 *   budget (calendar, fixed >= 1 h, prepaid): a check holds, a settle releases that and books
 *   fixed window < 1 h: a check books the estimate, a settle books actual - estimate
 *   concurrency: a check holds 1, settle, cancel or expiry releases it
 *
 * Each hold and booking belongs to the period of the time at which it was made (`at`). When a
 * period ends both sums start at 0: what belongs to a closed period changes nothing any more,
 * neither its release nor its booking. A time before the current period is taken as the current
 * period in tests and holds. */
#ifndef QD_CORE_GAUGE_H
#define QD_CORE_GAUGE_H

#include "types.h"
#include "zone.h"

/* Sums stay within +-QD_GAUGE_MAX: "at least this much". Larger inputs are taken as it. */
#define QD_GAUGE_MAX (INT64_C(1) << 61)

/* Invariants: 0 <= held <= QD_GAUGE_MAX; |used| <= QD_GAUGE_MAX; start_ns < end_ns. */
struct qd_gauge {
    int64_t used;     /* booked; below 0 only between a correction's parts, and then counts 0 */
    int64_t held;     /* open reservations */
    int64_t start_ns; /* the period [start, end) */
    int64_t end_ns;   /* QD_WALL_NEVER: it never ends */
};

/* What the caller knows of a gauge and its state does not repeat. Both zero: one period for ever
 * (prepaid, concurrency). */
struct qd_gauge_spec {
    int64_t window_ns;                  /* > 0: fixed windows, aligned to the Unix epoch */
    const struct qd_calendar *calendar; /* else, if not NULL: calendar periods */
};

/* Start `g` empty as of `now`. */
void qd_gauge_init(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns now);

/* max(0, used) + held in the period of `now`. Moves the gauge on to `now`; afterwards its fields
 * are those of that period. */
int64_t qd_gauge_counted(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                         struct qd_wall_ns now);

/* True if counted + cost <= amount now. cost >= 0. For the test `used < amount` pass a cost of 1.
 */
bool qd_gauge_fits(struct qd_gauge *g, const struct qd_gauge_spec *spec, int64_t amount,
                   int64_t cost, struct qd_wall_ns now);

/* Hold `cost` >= 0 more, as of `now`. */
void qd_gauge_hold(struct qd_gauge *g, const struct qd_gauge_spec *spec, int64_t cost,
                   struct qd_wall_ns now);

/* Change by `delta` (release: below 0) what was held at `made_at`. More than is held releases all.
 */
void qd_gauge_rehold(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                     struct qd_wall_ns made_at, int64_t delta, struct qd_wall_ns now);

/* Add `delta` to what is used, if the period of `at` is the current one. */
void qd_gauge_book(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns at,
                   int64_t delta, struct qd_wall_ns now);

/* Start anew in the current period: used is 0, holds stay (ResetCounter). */
void qd_gauge_reset(struct qd_gauge *g, const struct qd_gauge_spec *spec, struct qd_wall_ns now);

/* First instant >= now at which `cost` fits with nothing else changed: now, or the end of the
 * period (exact, D3). QD_WALL_NEVER if cost > amount or the period never ends: then only a grant
 * (prepaid) or somebody's release (concurrency) helps, and the caller says so. */
struct qd_wall_ns qd_gauge_retry_at(struct qd_gauge *g, const struct qd_gauge_spec *spec,
                                    int64_t amount, int64_t cost, struct qd_wall_ns now);

/* The fixed window of `window_ns` > 0 that contains `at`: floor(at / window_ns) * window_ns and on.
 */
struct qd_period qd_fixed_period(int64_t window_ns, struct qd_wall_ns at);

#endif /* QD_CORE_GAUGE_H */
