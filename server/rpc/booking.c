/* What waits for the disk. Reports that wait together are begun one after the other, and waited for
 * once: the ledger puts them, and those of the other booking threads, into one synced write (L2).
 */
#include "server/rpc/quota.h"
#include "server/rpc/report_batch.h"
#include "server/rpc/server_internal.h"

#include <grpc/support/time.h>

enum qd_error_code qd_reports_queue_full(const struct qd_rpc *rpc, struct qd_error *ret_error)
{
    return qd_error_set(ret_error, QD_ERROR_REPORTS_QUEUE_FULL,
                        "%u calls wait for the disk already; nothing was booked: report it again "
                        "in " QD_RETRY_PUSHBACK_MS " ms",
                        rpc->config.booking_queue);
}

/* X2: load, not the request's fault. I8: a report's sender is told to hold back (nobody makes a
 * tenant's 429 of that: the request was served); what else wants the disk may try another node. */
static void refuse(struct qd_rpc_thread *thread, struct qd_call *call)
{
    struct qd_error error;

    switch (call->method->kind) {
    case QD_METHOD_STREAM: /* only its reports are refused: this thread books nothing */
        qd_call_handle(&thread->place, call);
        break;
    case QD_METHOD_REPORT:
        (void)qd_reports_queue_full(thread->rpc, &error);
        qd_call_reply(&thread->place, call, error.code, &error);
        break;
    case QD_METHOD_BOOKING:
    case QD_METHOD_INLINE:
    case QD_METHOD_CHECK:
    case QD_METHOD_WATCH:
    case QD_METHOD_UNKNOWN:
        (void)qd_error_set(&error, QD_ERROR_OVERLOADED,
                           "%u calls wait for the disk already; nothing was done: retry "
                           "in " QD_RETRY_PUSHBACK_MS " ms",
                           thread->rpc->config.booking_queue);
        qd_call_reply(&thread->place, call, error.code, &error);
        break;
    }
}

void qd_booking_hand_over(struct qd_rpc_thread *thread, struct qd_call *call)
{
    struct qd_rpc *rpc = thread->rpc;
    bool refused = false;

    (void)pthread_mutex_lock(&rpc->booking_lock);
    refused = rpc->booking_waiting >= rpc->config.booking_queue;
    if (!refused) {
        call->next = NULL;
        *rpc->booking_last = call;
        rpc->booking_last = &call->next;
        rpc->booking_waiting++;
        (void)pthread_cond_signal(&rpc->booking_ready);
    }
    (void)pthread_mutex_unlock(&rpc->booking_lock);
    if (refused) {
        atomic_fetch_add_explicit(&rpc->booking_refused, 1, memory_order_relaxed);
        refuse(thread, call);
    }
}

/* I9: a call whose deadline passed while it waited isn't begun. */
static bool too_late(const struct qd_call *call)
{
    return gpr_time_cmp(gpr_now(call->deadline.clock_type), call->deadline) > 0;
}

static struct qd_call *pop(struct qd_rpc *rpc)
{
    struct qd_call *call = rpc->booking_first;

    rpc->booking_first = call->next;
    rpc->booking_waiting--;
    if (rpc->booking_first == NULL) {
        rpc->booking_last = &rpc->booking_first;
    }
    return call;
}

/* Wait for calls: one, or reports that follow each other, a batch's worth at most. 0: stop. */
static uint32_t take_calls(struct qd_rpc *rpc, struct qd_call *ret_calls[QD_REPORTS_AT_ONCE])
{
    uint32_t count = 0;

    (void)pthread_mutex_lock(&rpc->booking_lock);
    while (rpc->booking_first == NULL && !rpc->booking_stop) {
        (void)pthread_cond_wait(&rpc->booking_ready, &rpc->booking_lock);
    }
    if (rpc->booking_first != NULL) {
        ret_calls[count++] = pop(rpc);
    }
    while (count > 0 && count < QD_REPORTS_AT_ONCE && rpc->booking_first != NULL &&
           ret_calls[0]->method->kind == QD_METHOD_REPORT &&
           rpc->booking_first->method->kind == QD_METHOD_REPORT) {
        ret_calls[count++] = pop(rpc);
    }
    (void)pthread_mutex_unlock(&rpc->booking_lock);
    return count;
}

static void reply_report(struct qd_place *place, const struct qd_report_item *item,
                         enum qd_error_code code, const struct qd_report_answer *answer,
                         const struct qd_error *error)
{
    qd_place_clear(place);
    if (code == QD_ERROR_NONE) {
        qd_quota_put_report(place, answer);
    }
    qd_call_reply(place, item->call, code, error);
}

static void begin_report(struct qd_place *place, struct qd_call *call)
{
    grpc_slice slice;
    struct qd_error error;
    struct qd_str bytes = qd_message_bytes(call->received, &slice);
    enum qd_error_code code = qd_message_check(call, bytes, &error);

    grpc_slice_unref(slice);
    if (code != QD_ERROR_NONE) {
        qd_call_reply(place, call, code, &error);
        return;
    }
    while (!qd_report_batch_add_call(place, call)) {
        qd_report_batch_flush(place, reply_report);
    }
}

static void handle(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;

    if (call->method->kind != QD_METHOD_STREAM && too_late(call)) {
        (void)qd_error_set(&error, QD_ERROR_DEADLINE,
                           "the deadline passed while the call waited for the disk; nothing "
                           "was done: retry");
        qd_call_reply(place, call, QD_ERROR_DEADLINE, &error);
    } else if (call->method->kind == QD_METHOD_REPORT) {
        begin_report(place, call);
    } else {
        qd_call_handle(place, call);
    }
}

void *qd_booking_main(void *argument)
{
    struct qd_booking_thread *b = argument;
    struct qd_call *calls[QD_REPORTS_AT_ONCE];
    uint32_t count;

    while ((count = take_calls(b->rpc, calls)) > 0) {
        bool reports = calls[0]->method->kind == QD_METHOD_REPORT;
        if (reports) {
            (void)qd_worker_enter(b->place.worker);
        }
        for (uint32_t i = 0; i < count; i++) {
            handle(&b->place, calls[i]);
        }
        if (reports) {
            qd_report_batch_flush(&b->place, reply_report);
            qd_worker_leave(b->place.worker);
        }
    }
    return NULL;
}

void qd_booking_stop(struct qd_rpc *rpc)
{
    (void)pthread_mutex_lock(&rpc->booking_lock);
    rpc->booking_stop = true;
    (void)pthread_cond_broadcast(&rpc->booking_ready);
    (void)pthread_mutex_unlock(&rpc->booking_lock);
    for (uint32_t i = 0; i < rpc->config.booking_threads; i++) {
        if (rpc->booking[i].started) {
            (void)pthread_join(rpc->booking[i].thread, NULL);
        }
        if (rpc->booking[i].rpc != NULL) {
            qd_place_release(&rpc->booking[i].place);
        }
    }
}
