/* Events: thresholds passed, holds expired, tables full, in a ring that the shell empties.
 * Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   QD_EVENTS records; when it is full the oldest is lost and counted. A counter's or a
 *           tenant's name is held in the slice's names until its event is read.
 */
#ifndef QD_CORE_EVENT_H
#define QD_CORE_EVENT_H

#include "table.h"

/* As it lies in the ring. */
struct qd_event_kept {
    enum qd_event_kind kind;
    bool shared;
    uint16_t permille;
    uint32_t name; /* held; 0: `text` */
    struct qd_wall_ns at;
    const struct qd_limit *limit;
    uint64_t reservation;
    int64_t used;
    int64_t amount;
    struct qd_period period;
    char text[96]; /* of a tenant for whose name there is no room either; cut off if longer */
};

void qd_event_expired(struct qd_core *core, const struct qd_reservation *r, struct qd_wall_ns now);
void qd_event_full(struct qd_core *core, struct qd_str name, struct qd_wall_ns now);

void qd_event_threshold(const struct qd_at *at, struct qd_wall_ns now);

/* After a change: report the thresholds that what was used has newly reached (P3). What has periods
 * (calendars, fixed windows, prepaid balances) reports each once in a period, whatever is given
 * back meanwhile. Of the others a threshold that was left by a tenth of itself can be reported
 * again. Budgets report what was spent, not what is held; concurrency what is held. */
static inline void qd_event_watch(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->limit->threshold_permille[0] != 0) {
        qd_event_threshold(at, now);
    }
}

void qd_event_leave(const struct qd_at *at, struct qd_wall_ns now);

/* Before a change that adds: what has drained since the last one may have left thresholds, also if
 * this change reaches them again at once. */
static inline void qd_event_look(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->counter->alert != 0) {
        qd_event_leave(at, now);
    }
}

/* The same as watch, reporting nothing: what is counted anew at boot was reported when it came. */
void qd_event_mark(const struct qd_at *at, struct qd_wall_ns now);

/* The counter went on under another limit or amount than `limit` and `capacity` (P6): what was
 * reported of its thresholds stays so. A period whose amount was raised reports anew what is no
 * longer reached. */
void qd_event_amended(const struct qd_at *at, const struct qd_limit *limit, int64_t capacity,
                      struct qd_wall_ns now);

#endif /* QD_CORE_EVENT_H */
