/* /metrics: the node's figures in Prometheus's text format (I6).
 *
 * Layer:    admin
 * Threads:  any; takes each shard's lock for a moment, one after another.
 * Memory:   writes to the caller's stream.
 *
 * Cardinality is bounded: a `tenant` label (root segments) only for the `top` busiest roots; all
 * others are counted together as tenant="other". Rules of Envoy's rate limits, whose names may have
 * values of requests in them: see server/shard/rls_stats.h.
 */
#ifndef QD_ADMIN_METRICS_H
#define QD_ADMIN_METRICS_H

#include "server/shard/node.h"

#include <stdio.h>

#define QD_METRICS_TOP_MAX 1000U

void qd_metrics_write(struct qd_node *node, size_t top, FILE *out);

/* The sum of all workers' figures, in the order of their fields. */
struct qd_figures {
    uint64_t checks_allowed, checks_denied, checks_failed;
    uint64_t unknown_tenant, blocked, draining;
    uint64_t reports, reports_duplicate, reports_failed, reports_late;
    uint64_t extends, cancels, undelivered;
    uint64_t binds, bind_full, evictions, restores, failed_open, unsettled, unreadable;
    uint64_t bad_requests;
    uint64_t rls_ok, rls_over, rls_unlimited, rls_unknown, rls_shadowed, rls_full;
};
void qd_figures_sum(struct qd_node *node, struct qd_figures *ret_figures);

#endif /* QD_ADMIN_METRICS_H */
