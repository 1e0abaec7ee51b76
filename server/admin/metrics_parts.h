/* The parts of /metrics that have files of their own. For metrics.c.
 *
 * Layer:    admin
 * Threads:  as metrics.h says.
 */
#ifndef QD_ADMIN_METRICS_PARTS_H
#define QD_ADMIN_METRICS_PARTS_H

#include "server/shard/node.h"

#include <stdio.h>

/* Latencies and failures by method, errors by reason. */
void qd_metrics_write_calls(struct qd_node *node, FILE *out);
/* Checks of the `max` busiest root tenants, and of all others together. */
void qd_metrics_write_tenants(struct qd_node *node, size_t max, FILE *out);
/* Bookings, their waits, the watermark. */
void qd_metrics_write_ledger(struct qd_node *node, FILE *out);
/* How old is what the store has of the counters; when the last backup was made. */
void qd_metrics_write_snapshots(struct qd_node *node, FILE *out);

#endif /* QD_ADMIN_METRICS_PARTS_H */
