/* State: what a counter looks like to a request, or to nobody, for verdicts and listings (D3).
 * Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   names point into the slice.
 */
#ifndef QD_CORE_STATE_H
#define QD_CORE_STATE_H

#include "table.h"

/* All that does not depend on a request; estimate and denies are 0, retry_at is now. */
void qd_state_of(const struct qd_at *at, struct qd_wall_ns now, struct qd_limit_state *ret_state);

/* As a request sees it that would add `cost`. */
void qd_state_for(const struct qd_at *at, int64_t cost, struct qd_wall_ns now,
                  struct qd_limit_state *ret_state);

#endif /* QD_CORE_STATE_H */
