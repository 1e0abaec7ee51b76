/* Reports that a booking thread has at hand: read one after the other, on disk together, answered
 * in their order. Internal to rpc.
 *
 * Threads:  the place's. Memory: about 12 KiB for each of QD_REPORTS_AT_ONCE.
 */
#ifndef QD_RPC_REPORT_BATCH_H
#define QD_RPC_REPORT_BATCH_H

#include "server/rpc/call.h"
#include "server/shard/reports.h"

#define QD_REPORTS_AT_ONCE 64U

/* One ReportUsage: a call's, or an item's of a stream's message. */
struct qd_report_item {
    struct qd_call *call;         /* NULL: an item of a stream's message */
    const struct qd_call *stream; /* whose; or NULL */
    uint64_t id;                  /* the item's */
    grpc_slice slice;             /* holds a call's message */
    bool begun;                   /* else `error` says why not */
    struct qd_error error;
    struct qd_report_args args;
};

struct qd_report_batch {
    struct qd_reports *reports;
    uint32_t count;
    struct qd_report_item item[QD_REPORTS_AT_ONCE];
};

struct qd_report_batch *qd_report_batch_new(struct qd_worker *worker);
void qd_report_batch_free(struct qd_report_batch *batch); /* NULL is fine */

/* Read and begin one: a call's message, or a stream's item, whose bytes stay until the flush.
 * False: flush first, then again. An empty batch never refuses. */
bool qd_report_batch_add_call(struct qd_place *place, struct qd_call *call);
bool qd_report_batch_add_item(struct qd_place *place, const struct qd_call *stream, uint64_t id,
                              struct qd_str bytes);

/* Called for each report in its order. `answer` counts if the code is QD_ERROR_NONE. */
typedef void (*qd_report_answered)(struct qd_place *place, const struct qd_report_item *item,
                                   enum qd_error_code code, const struct qd_report_answer *answer,
                                   const struct qd_error *error);
void qd_report_batch_flush(struct qd_place *place, qd_report_answered answered);

#endif /* QD_RPC_REPORT_BATCH_H */
