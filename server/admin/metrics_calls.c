/* How long calls take, and how they fail. */
#include "server/admin/exposition.h"
#include "server/admin/metrics_parts.h"

/* How calls went, of all threads. */
struct calls {
    struct qd_histogram_sum latency[QD_MEASURED_COUNT];
    uint64_t failed[QD_MEASURED_COUNT];
    uint64_t errors[QD_ERROR_COUNT];
};

static void add_calls(const struct qd_worker_figures *figures, struct calls *sum)
{
    for (size_t i = 0; i < QD_MEASURED_COUNT; i++) {
        qd_histogram_collect(&figures->latency[i], &sum->latency[i]);
        sum->failed[i] += atomic_load_explicit(&figures->calls_failed[i], memory_order_relaxed);
    }
    for (size_t i = 0; i < QD_ERROR_COUNT; i++) {
        sum->errors[i] += atomic_load_explicit(&figures->errors[i], memory_order_relaxed);
    }
}

void qd_metrics_write_calls(struct qd_node *node, FILE *out)
{
    static const char *const methods[QD_MEASURED_COUNT] = {
        [QD_MEASURED_CHECK] = "CheckQuota",
        [QD_MEASURED_REPORT] = "ReportUsage",
        [QD_MEASURED_EXTEND] = "ExtendReservation",
        [QD_MEASURED_CANCEL] = "CancelReservation",
        [QD_MEASURED_STREAM] = "StreamQuota",
        [QD_MEASURED_RATE_LIMIT] = "ShouldRateLimit",
        [QD_MEASURED_JSON] = "json",
        [QD_MEASURED_OTHER] = "other",
    };
    static const char duration[] = "quotad_request_duration_seconds";
    static const char failed[] = "quotad_requests_failed_total";
    static const char errors[] = "quotad_errors_total";
    struct calls sum = {0};

    pthread_mutex_lock(&node->workers_lock);
    for (struct qd_worker *w = node->workers; w; w = w->next) {
        add_calls(&w->figures, &sum);
    }
    pthread_mutex_unlock(&node->workers_lock);
    qd_expose_head(out, duration, "histogram",
                   "From a call's arrival to its reply; of a stream, each message. ReportUsage "
                   "waits for the disk.");
    for (size_t i = 0; i < QD_MEASURED_COUNT; i++) {
        qd_expose_histogram(out, duration, "method", methods[i], QD_HISTOGRAM_LATENCY,
                            QD_EXPOSE_SECONDS, &sum.latency[i]);
    }
    qd_expose_head(out, failed, "counter", "Calls that ended with an error. A denial is none.");
    for (size_t i = 0; i < QD_MEASURED_COUNT; i++) {
        qd_expose_labelled(out, failed, "method", methods[i], sum.failed[i]);
    }
    qd_expose_head(out, errors, "counter",
                   "Errors by reason (quotad-reason), of calls and of a stream's items.");
    for (size_t i = 1; i < QD_ERROR_COUNT; i++) {
        qd_expose_labelled(out, errors, "reason", qd_error_reason((enum qd_error_code)i),
                           sum.errors[i]);
    }
    qd_expose_one(out, "quotad_calls_waiting", "gauge",
                  "Calls that wait for a thread that may wait for the disk.",
                  atomic_load_explicit(&node->calls_waiting, memory_order_relaxed));
}
