/* Token and leaky buckets, as a level that drains (D5).
 *
 * Layer:    core (pure: no I/O, clock, locks, allocation, floating point)
 * Units:    amounts in the limit's unit; rates are amount per window; time is wall ns, UTC.
 * Threads:  none. The owning slice serialises every call on one bucket.
 * Memory:   72 bytes, caller-allocated, trivially copyable, nothing to release.
 *
 * The level is what was used and has not drained yet: X <- max(0, X - rate * dt), then X <- X +
 * cost. A token bucket of capacity `burst` admits if X + cost <= burst (its tokens are burst - X);
 * a leaky bucket admits while X <= burst, so that it may overshoot by one request. X is exact:
 * whole units plus a fraction in 1/window_ns units. Splitting an interval gives the same level as
 * one step; a time before the last one seen drains nothing and moves nothing; no input overflows.
 *
 * Giving back (settle below the estimate). Taking `u` out of what was charged at time s lowers
 * today's level by exactly min(u, lowest level since s): what has drained since is gone. So the
 * bucket remembers the lowest levels: at most six (slot, lowest level from then on) with rising
 * levels, slots of
 * 2^14 ns. It never gives back more than the exact recomputation would. It gives
 * back exactly that (to one unit, fractions being cut) while charges fall in different slots and
 * six steps are enough; beyond, neighbours whose levels are nearest in proportion are merged, which
 * can only give back less. Levels above 2^26 are remembered to 26 bits, rounded down. Horizon: 2^32
 * slots, 19.5 hours; what was charged longer ago gives nothing back. Adding late (settle above the
 * estimate, post-paid with an older time): the full `u` if the bucket has not run empty since; else
 * u less what could have drained between s and the first charge that the bucket still remembers:
 * max(0, u - rate * that). Never less than max(0, u - rate * age) (C4). */
#ifndef QD_CORE_BUCKET_H
#define QD_CORE_BUCKET_H

#include "types.h"

#define QD_BUCKET_STEPS      6
#define QD_BUCKET_SLOT_SHIFT 14 /* slots of 16.4 us */
#define QD_BUCKET_HORIZON_NS \
    (INT64_C(1) << (32 + QD_BUCKET_SLOT_SHIFT)) /* what is older gives nothing back */
#define QD_BUCKET_LEVEL_MAX \
    (INT64_C(1) << 60) /* "at least this much"; larger inputs are taken as it */
#define QD_BUCKET_NS_MAX   (366 * QD_NS_PER_DAY)
#define QD_BUCKET_TIME_MAX (INT64_C(1) << 62) /* year 2116 */

/* Invariants: 0 <= level <= QD_BUCKET_LEVEL_MAX; 0 <= frac < window_ns; 0 <= updated_ns <=
 * QD_BUCKET_TIME_MAX; steps in use come first, none older than the one before it nor with a lower
 * low. All zero bytes are an empty bucket of 1970. */
struct qd_bucket {
    int64_t level;                  /* whole units, rounded down */
    int64_t frac;                   /* the rest of the level, in 1/window_ns units */
    int64_t updated_ns;             /* the time that the level is of */
    uint32_t slot[QD_BUCKET_STEPS]; /* first slot of each step, low 32 bits of its number */
    uint32_t low[QD_BUCKET_STEPS];  /* lowest level from then on, coded; 0: unused */
};

/* What the caller knows of a bucket and its state does not repeat. `window_ns` is the same in every
 * call; when `amount` changes, the caller moves the bucket on with the old one first
 * (qd_bucket_level). */
struct qd_bucket_spec {
    int64_t window_ns; /* 1 .. QD_BUCKET_NS_MAX */
    int64_t amount;    /* drained per window, >= 0; 0: never drains */
    int64_t burst;     /* capacity, >= 0 */
    bool leaky;
};

/* Start `b` empty (all tokens there) as of `now`. */
void qd_bucket_init(struct qd_bucket *b, struct qd_wall_ns now);

/* True if the invariants hold: for bytes that come from elsewhere. */
bool qd_bucket_is_valid(const struct qd_bucket *b, int64_t window_ns);

/* The level now, rounded up. Moves the bucket on to `now`. */
int64_t qd_bucket_level(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                        struct qd_wall_ns now);

/* True if `cost` >= 0 is admitted now: level + cost <= burst, or leaky: level <= burst. Moves the
 * bucket on to `now`, which charges nothing. For the test `used < amount` ask a bucket that is not
 * leaky for 1. */
bool qd_bucket_fits(struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t cost,
                    struct qd_wall_ns now);

/* Add `cost` >= 0 to the level as of `now`, whether it fits or not (debt). */
void qd_bucket_charge(struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t cost,
                      struct qd_wall_ns now);

/* Change what was charged at `at` by `delta` (see above). */
void qd_bucket_adjust(struct qd_bucket *b, const struct qd_bucket_spec *spec, struct qd_wall_ns at,
                      int64_t delta, struct qd_wall_ns now);

/* First instant >= now at which `cost` is admitted with nothing else charged: exact (D3).
 * QD_WALL_NEVER if it never is (cost > burst and not leaky; no drain; later than year 2116). */
struct qd_wall_ns qd_bucket_retry_at(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                                     int64_t cost, struct qd_wall_ns now);

/* First instant >= now at which the level is 0. QD_WALL_NEVER if it never is. */
struct qd_wall_ns qd_bucket_empty_at(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                                     struct qd_wall_ns now);

#endif /* QD_CORE_BUCKET_H */
