/* Counter: one limit's state for one subject, whichever algorithm keeps it (P4, D7). Internal.
 *
 * Layer:    core (pure)
 * Units:    amounts in the limit's unit; wall ns.
 * Threads:  none; the slice's lock.
 * Memory:   records of the slice's slabs.
 *
 * Rates (buckets, sliding windows, fixed windows under an hour) are charged the estimate and
 * adjusted in the slot of their check. Budgets (calendar, longer fixed windows, prepaid) keep used
 * and held apart, concurrency holds only. A per-request cap counts nothing. */
#ifndef QD_CORE_COUNTER_H
#define QD_CORE_COUNTER_H

#include "slice.h"

enum qd_role {
    QD_ROLE_RATE,
    QD_ROLE_BUDGET,
    QD_ROLE_CONCURRENCY,
    QD_ROLE_PER_REQUEST
};

static inline enum qd_role qd_role_of(const struct qd_limit *limit)
{
    if (limit->algorithm == QD_CONCURRENCY) {
        return QD_ROLE_CONCURRENCY;
    }
    if (limit->algorithm == QD_PER_REQUEST) {
        return QD_ROLE_PER_REQUEST;
    }
    return qd_limit_is_budget(limit) ? QD_ROLE_BUDGET : QD_ROLE_RATE;
}

static inline bool qd_counter_used_below(const struct qd_at *at)
{
    return at->limit->admit_test == QD_ADMIT_USED_BELOW;
}

/* A leaky bucket by its own test; by `used < amount` it is as any other. */
static inline bool qd_counter_is_leaky(const struct qd_at *at)
{
    return at->limit->algorithm == QD_LEAKY_BUCKET && !qd_counter_used_below(at);
}

/* The class that a new counter for this limit and amount needs. */
enum qd_class qd_class_for(const struct qd_limit *limit, int64_t amount);

/* Start it with nothing used. Its header is set already. */
void qd_counter_begin(const struct qd_at *at, struct qd_wall_ns now);

/* Give it other amounts (P6): what was used stays. */
void qd_counter_amend(const struct qd_at *at, int64_t amount, int64_t burst, struct qd_wall_ns now);

/* True if it equals one that was just begun. */
bool qd_counter_is_fresh(const struct qd_at *at, struct qd_wall_ns now);

/* ResetCounter: used is 0. Budgets' and concurrency's holds stay; rates forgive theirs. */
void qd_counter_clear(const struct qd_at *at, struct qd_wall_ns now);

/* What counts now, used and held together; for buckets the level. */
int64_t qd_counter_total(const struct qd_at *at, struct qd_wall_ns now);

/* Of the last total: what open reservations hold; 0 for rates. */
int64_t qd_counter_held(const struct qd_at *at);

/* What `total` is measured against: the burst of a bucket, else the amount. */
static inline int64_t qd_counter_capacity(const struct qd_at *at)
{
    return at->class == QD_CLASS_BUCKET ? (int64_t)at->counter->burst : at->counter->amount;
}

/* True if `cost` is admitted on top of `total`. */
static inline bool qd_counter_fits(const struct qd_at *at, int64_t total, int64_t cost)
{
    int64_t capacity = qd_counter_capacity(at);
    if (at->counter->amount == 0 && cost > 0) {
        return false; /* 0 forbids, whatever the algorithm would make of it */
    }
    if (at->limit->algorithm == QD_PER_REQUEST) {
        return cost <= capacity;
    }
    if (qd_counter_is_leaky(at)) {
        return total <= capacity;
    }
    if (qd_counter_used_below(at)) {
        return total < capacity;
    }
    return total <= capacity && cost <= capacity - total;
}

/* True if `cost` would not be admitted even with nothing used (D3). */
static inline bool qd_counter_never_fits(const struct qd_at *at, int64_t cost)
{
    return !qd_counter_fits(at, 0, cost);
}

/* When `cost`, which doesn't fit now, first does (D3). ret_hint: it depends on others' holds. */
struct qd_wall_ns qd_counter_retry_at(const struct qd_at *at, int64_t cost, struct qd_wall_ns now,
                                      bool *ret_hint);

/* The period that it counts, as of the last change: of calendars and fixed windows; else both ends
 * are 0. */
struct qd_period qd_counter_period(const struct qd_at *at);

/* When used starts anew, or all will have drained if nothing else comes. */
struct qd_wall_ns qd_counter_resets_at(const struct qd_at *at, struct qd_wall_ns now);

/* As qd_counter_resets_at just after an allowed check has charged it: known without a search. */
struct qd_wall_ns qd_counter_frees_at(const struct qd_at *at, struct qd_wall_ns now);

/* What an allowed check does: rates are charged; budgets and concurrency hold if `reserve` (D7). */
void qd_counter_take(const struct qd_at *at, int64_t cost, bool reserve, struct qd_wall_ns now);

/* What was held at `made_at` changes by `hold_delta`, and `booked` was really used (S2). */
void qd_counter_settle(const struct qd_at *at, struct qd_wall_ns made_at, int64_t hold_delta,
                       int64_t booked, struct qd_wall_ns now);

/* Ask memory for the slot of a narrow window that a check at `now` will read and write. */
void qd_counter_prefetch_slot(const void *record, const struct qd_limit *limit,
                              struct qd_wall_ns now);

/* Until when a hold made at `made_at` is kept for what it charged there; `now` or earlier: no more.
 */
struct qd_wall_ns qd_counter_counts_until(const struct qd_at *at, struct qd_wall_ns made_at,
                                          struct qd_wall_ns now);

#endif /* QD_CORE_COUNTER_H */
