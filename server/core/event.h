/* Events: thresholds passed, holds expired, tables full, in a ring that the shell empties.
 * Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   QD_EVENTS records; when it is full the oldest is lost and counted.
 */
#ifndef QD_CORE_EVENT_H
#define QD_CORE_EVENT_H

#include "table.h"

void qd_event_expired(struct qd_core *core, const struct qd_reservation *r);
void qd_event_full(struct qd_core *core, struct qd_str name);

void qd_event_threshold(const struct qd_at *at, int64_t used);

/* After a change: report the thresholds that what was used has newly reached (P3). A threshold that
 * was left by a tenth of itself can be reported again. Budgets report what was spent, not what is
 * held; concurrency what is held. */
static inline void qd_event_watch(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->limit->threshold_permille[0] == 0) {
        return;
    }
    int64_t total = qd_counter_total(at, now);
    bool gauge = at->limit->algorithm == QD_CONCURRENCY;
    qd_event_threshold(at, gauge ? total : total - qd_counter_held(at));
}

#endif /* QD_CORE_EVENT_H */
