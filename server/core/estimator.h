/* Estimator: past outputs of one (tenant, model), a cache of running quantiles (P3). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   about 400 bytes each; when all are taken the least recently used of a few starts anew.
 */
#ifndef QD_CORE_ESTIMATOR_H
#define QD_CORE_ESTIMATOR_H

#include "slice.h"

/* The one of this identity, made if it isn't there. ret_handle: index + 1, or 0 if there is no room
 * for any (capacity 0): then the worst case is estimated. */
void qd_estimator_obtain(struct qd_core *core, struct qd_hash128 id, struct qd_wall_ns now,
                         uint32_t *ret_handle, uint16_t *ret_generation);

/* What `permille` of the outputs don't exceed; false while that isn't known. */
bool qd_estimator_get(struct qd_core *core, const struct qd_binding *binding, unsigned permille,
                      int64_t *ret_value);

void qd_estimator_add(struct qd_core *core, const struct qd_binding *binding, int64_t output,
                      struct qd_wall_ns now);

/* As bytes, to be stored (X5). */
void qd_estimator_write(const struct qd_estimator *e, struct qd_saved *ret_saved);

#endif /* QD_CORE_ESTIMATOR_H */
