/* Expire: ending holds whose time has come, and releasing holds at all (S4, S5). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slices' locks.
 */
#ifndef QD_CORE_EXPIRE_H
#define QD_CORE_EXPIRE_H

#include "reservation.h"
#include "table.h"

/* End up to `budget` due holds, at a time that is settled already. */
size_t qd_expire_some(struct qd_core *home, struct qd_core *commons, struct qd_wall_ns now,
                      size_t budget);

/* End this live hold by its limits' rules (S5); it is due. */
void qd_expire_hold(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                    struct qd_wall_ns now);

/* True if the hold's time is over, though nobody has ended it yet. */
static inline bool qd_is_due(const struct qd_reservation *r, struct qd_wall_ns now)
{
    return qd_due_second(r->expires_ns) <= now.ns / QD_NS_PER_S;
}

/* True if the charge lies in the counter that its reference means: it is still there, and nobody
 * started it anew since (ResetCounter). */
bool qd_charge_stands(const struct qd_charge *charge, const struct qd_at *at);

/* Release everything that a live hold charges, and the hold. */
void qd_release(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                struct qd_wall_ns now);

/* Of a hold of `amount`, what is the input's (S4, S5). `input_nano`: of the expected cost, what the
 * input still costs. */
int64_t qd_input_part(const struct qd_limit *limit, int64_t amount, int64_t input_nano,
                      const struct qd_usage *expected);

/* Keep a hold whose charges are partly kept until their windows have ended; free one without any.
 */
void qd_keep_or_free(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                     struct qd_wall_ns now);

#endif /* QD_CORE_EXPIRE_H */
