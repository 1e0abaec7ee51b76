/* A reservation as bytes, to be stored and to come back (S1, X5). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 */
#ifndef QD_CORE_SAVED_HOLD_H
#define QD_CORE_SAVED_HOLD_H

#include "slice.h"

void qd_saved_hold_write(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r,
                         struct qd_saved *ret_saved);

/* A record that is no more. */
void qd_saved_hold_gone(uint32_t place, struct qd_saved *ret_saved);

#endif /* QD_CORE_SAVED_HOLD_H */
