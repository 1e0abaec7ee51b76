/* How long calls take: from the completion queue's event to their reply's batch. A report's
 * includes its wait for the disk. */
#include "server/rpc/call_log.h"
#include "server/rpc/server_internal.h"

#include <string.h>

enum qd_measured qd_measured_of(const char *path)
{
    static const char *const paths[QD_MEASURED_COUNT] = {
        [QD_MEASURED_CHECK] = "/quota.v1.QuotaService/CheckQuota",
        [QD_MEASURED_REPORT] = "/quota.v1.QuotaService/ReportUsage",
        [QD_MEASURED_EXTEND] = "/quota.v1.QuotaService/ExtendReservation",
        [QD_MEASURED_CANCEL] = "/quota.v1.QuotaService/CancelReservation",
        [QD_MEASURED_STREAM] = "/quota.v1.QuotaService/StreamQuota",
        [QD_MEASURED_RATE_LIMIT] = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
        [QD_MEASURED_JSON] = "/json", /* of the HTTP port: no gRPC method has that path */
    };

    for (int i = 0; i < QD_MEASURED_OTHER; i++) {
        if (strcmp(path, paths[i]) == 0) {
            return (enum qd_measured)i;
        }
    }
    return QD_MEASURED_OTHER;
}

uint64_t qd_measure_reply(struct qd_place *place, const struct qd_call *call,
                          enum qd_error_code code)
{
    struct qd_worker_figures *figures = &place->worker->figures;
    enum qd_measured measured = place->rpc->measured[call->method_index];
    uint64_t now_ns = qd_clock_mono(&place->node->clock).ns;
    uint64_t ns = now_ns - call->begun.ns;

    qd_histogram_add(&figures->latency[measured], QD_HISTOGRAM_LATENCY, ns);
    if (code != QD_ERROR_NONE) {
        qd_count(&figures->calls_failed[measured]);
    }
    qd_call_log(call, measured, code, ns);
    return now_ns;
}
