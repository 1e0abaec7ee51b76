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

static bool begin(struct qd_place *place, const struct qd_caller *caller,
                  struct qd_report_item *item, struct qd_str bytes)
{
    struct qd_report_batch *batch = place->reports;

    item->begun = qd_quota_read_report(caller, place->node, bytes, &item->args, &item->error) ==
                  QD_ERROR_NONE;
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
    if (!begin(place, &call->caller, item, bytes)) {
        grpc_slice_unref(item->slice);
        return false;
    }
    return true;
}

bool qd_report_batch_add_item(struct qd_place *place, const struct qd_call *stream, uint64_t id,
                              struct qd_str bytes)
{
    struct qd_report_batch *batch = place->reports;

    if (batch->count == QD_REPORTS_AT_ONCE) {
        return false;
    }
    struct qd_report_item *item = &batch->item[batch->count];
    item->call = NULL;
    item->stream = stream;
    item->id = id;
    item->slice = grpc_empty_slice();
    return begin(place, &stream->caller, item, bytes);
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
        if (item->begun) {
            const struct qd_report_result *result = qd_reports_result(batch->reports, at++);
            answered(place, item, result->code, &result->answer, &result->error);
        } else {
            answered(place, item, item->error.code, NULL, &item->error);
        }
        grpc_slice_unref(item->slice);
    }
    batch->count = 0;
}
