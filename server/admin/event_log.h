/* Events as log lines (X8): thresholds passed, holds expired, tables full, corrections booked.
 *
 * Layer:    admin
 * Threads:  any.
 * Memory:   none. Of each kind so many lines a second; `left_out` says how many were not written
 *           since the line before. quotad_events_total counts all.
 */
#ifndef QD_ADMIN_EVENT_LOG_H
#define QD_ADMIN_EVENT_LOG_H

#include "server/core/core.h"

/* For struct qd_node_listener; no context. */
void qd_event_log(void *context, const struct qd_event *event);

#endif /* QD_ADMIN_EVENT_LOG_H */
