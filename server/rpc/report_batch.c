#include "server/rpc/report_batch.h"

#include "server/rpc/codec.h"
#include "server/rpc/quota.h"
#include "server/rpc/server_internal.h"

#include <stdlib.h>

struct qd_report_batch *qd_report_batch_new(struct qd_worker *worker)
{
    struct qd_report_batch *batch = calloc(1, sizeof(*batch));

    if (batch == NULL) {
        return NULL;
    }
    batch->reports = qd_reports_new(worker, QD_REPORTS_AT_ONCE);
    if (batch->reports == NULL) {
        free(batch);
        return NULL;
    }
    return batch;
}

void qd_report_batch_free(struct qd_report_batch *batch)
{
    if (batch != NULL) {
        qd_reports_free(batch->reports);
        free(batch);
    }
}

static bool begin(struct qd_report_batch *batch, struct qd_report_item *item, struct qd_str bytes)
{
    item->begun = qd_codec_report(bytes, &item->args);
    if (item->begun && !qd_reports_begin(batch->reports, &item->args)) {
        return false;
    }
    batch->count++;
    return true;
}

bool qd_report_batch_add_call(struct qd_place *place, struct qd_call *call)
{
    struct qd_report_batch *batch = place->reports;

    if (batch->count == QD_REPORTS_AT_ONCE) {
        return false;
    }
    struct qd_report_item *item = &batch->item[batch->count];
    item->call = call;
    struct qd_str bytes = qd_message_bytes(call->received, &item->slice);
    if (!begin(batch, item, bytes)) {
        grpc_slice_unref(item->slice);
        return false;
    }
    return true;
}

bool qd_report_batch_add_item(struct qd_place *place, uint64_t id, struct qd_str bytes)
{
    struct qd_report_batch *batch = place->reports;

    if (batch->count == QD_REPORTS_AT_ONCE) {
        return false;
    }
    struct qd_report_item *item = &batch->item[batch->count];
    item->call = NULL;
    item->id = id;
    item->slice = grpc_empty_slice();
    return begin(batch, item, bytes);
}

void qd_report_batch_flush(struct qd_place *place, qd_report_answered answered)
{
    struct qd_report_batch *batch = place->reports;
    uint32_t at = 0;

    if (batch->count == 0) {
        return;
    }
    (void)qd_reports_finish(batch->reports);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct qd_report_item *item = &batch->item[i];
        struct qd_error malformed;
        if (item->begun) {
            const struct qd_report_result *result = qd_reports_result(batch->reports, at++);
            answered(place, item, result->code, &result->answer, &result->error);
        } else {
            enum qd_error_code code = qd_quota_malformed("ReportUsageRequest", &malformed);
            answered(place, item, code, NULL, &malformed);
        }
        grpc_slice_unref(item->slice);
    }
    batch->count = 0;
}
