/* Wheel: reservations by the second in which they are due (S5). Internal.
 *
 * Layer:    core (pure)
 * Units:    whole wall seconds.
 * Threads:  none; the slice's lock.
 * Memory:   4 bytes for each of QD_WHEEL_SECONDS seconds; the lists run through the reservations.
 *
 * A reservation due later than the wheel is long waits in its last second and is linked anew from
 * there; one whose expiry was moved later waits where it is and is linked anew likewise. */
#ifndef QD_CORE_WHEEL_H
#define QD_CORE_WHEEL_H

#include "slice.h"

/* Link it under the second in which it is due. It must not be linked. */
void qd_wheel_link(struct qd_core *core, struct qd_reservation *r, int64_t due_s,
                   struct qd_wall_ns now);

/* Take it out, if it is in. */
void qd_wheel_unlink(struct qd_core *core, struct qd_reservation *r);

/* The next reservation whose due second has come, still linked; NULL when none is left. */
struct qd_reservation *qd_wheel_due(struct qd_core *core, struct qd_wall_ns now);

/* After qd_wheel_due at `now`: some that are due may still be linked. */
static inline bool qd_wheel_is_behind(const struct qd_core *core, struct qd_wall_ns now)
{
    int64_t now_s = now.ns / QD_NS_PER_S;
    return core->wheel.cursor_s < now_s || core->wheel.slots[now_s & (QD_WHEEL_SECONDS - 1)] != 0;
}

#endif /* QD_CORE_WHEEL_H */
