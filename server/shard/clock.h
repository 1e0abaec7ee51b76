/* The node's wall clock: it follows the system's, never steps back, and doesn't follow a step (C7).
 *
 * Layer:    shard
 * Units:    wall ns (Unix, UTC) and monotonic ns.
 * Threads:  qd_clock_now from any thread; qd_clock_discipline from one (the loop's).
 * Memory:   the caller's struct.
 *
 * Between two disciplines the clock is the monotonic clock plus an offset. A discipline compares it
 * with the system's wall clock: ahead or behind by at most QD_CLOCK_STEP_NS: follow. Forward at
 * once; backward by running at half speed until the difference is gone, so that time never steps
 * back; by more:                              don't follow, alarm. The alarm ends when the system's
 *                                         clock is near again.
 */
#ifndef QD_SHARD_CLOCK_H
#define QD_SHARD_CLOCK_H

#include "server/core/types.h"

#include <stdatomic.h>

#define QD_CLOCK_STEP_NS (500 * QD_NS_PER_MS)

/* Where time comes from; tests bring their own. */
struct qd_clock_source {
    struct qd_mono_ns (*mono)(void *context);
    struct qd_wall_ns (*wall)(void *context);
    void *context;
};

extern const struct qd_clock_source qd_clock_system;

struct qd_clock {
    struct qd_clock_source source;
    /* A sequence lock: odd while the three fields below change. */
    _Atomic uint32_t sequence;
    _Atomic uint64_t base_mono;
    _Atomic int64_t base_wall;
    _Atomic int64_t slew;       /* >= 0: still to be lost at half speed from base_mono on */
    _Atomic int64_t step;       /* the step that is not followed, 0: none */
    _Atomic int64_t step_since; /* our wall time */
};

void qd_clock_init(struct qd_clock *clock, struct qd_clock_source source);

/* Before anybody else reads it: time goes on from `seen` if the system's clock is behind that, at
 * half speed until it is near (D5). */
void qd_clock_resume(struct qd_clock *clock, struct qd_wall_ns seen);

/* The time now. Never less than an earlier answer on the same thread, or on another one that
 * happened before. */
struct qd_wall_ns qd_clock_now(const struct qd_clock *clock);
/* The same, and the monotonic time that it was made of: one look at the clock for both. */
struct qd_wall_ns qd_clock_now_and_mono(const struct qd_clock *clock, struct qd_mono_ns *ret_mono);
struct qd_mono_ns qd_clock_mono(const struct qd_clock *clock);

/* Compare with the system's clock; call it some times a second. */
void qd_clock_discipline(struct qd_clock *clock);

/* The step (system's clock minus ours) that isn't followed, 0 if there is none, and since when. */
int64_t qd_clock_alarm(const struct qd_clock *clock, struct qd_wall_ns *ret_since);

#endif /* QD_SHARD_CLOCK_H */
