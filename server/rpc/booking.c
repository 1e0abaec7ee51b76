/* What waits for the disk. Reports that wait together are begun one after the other, and waited for
 * once: the ledger puts them, and those of the other booking threads, into one synced write (L2).
 * So are rate limit calls that have something to book.
 *
 * Queries and administration wait in a queue of their own, for threads of their own: one query may
 * read all of the ledger, and no report, nor a limit that Envoy asks for, stands behind it (I9). */
#include "server/rpc/quota.h"
#include "server/rpc/report_batch.h"
#include "server/rpc/rls_tenant.h"
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
        qd_rls_tenant_give_up(&thread->place, call);
        (void)qd_error_set(&error, QD_ERROR_OVERLOADED,
                           "%u calls wait for the disk already; nothing was done: retry "
                           "in " QD_RETRY_PUSHBACK_MS " ms",
                           thread->rpc->config.booking_queue);
        qd_call_reply(&thread->place, call, error.code, &error);
        break;
    }
}

void qd_booking_queue_init(struct qd_booking_queue *queue)
{
    *queue = (struct qd_booking_queue){.last = &queue->first};
    (void)pthread_cond_init(&queue->ready, NULL);
}

static struct qd_booking_queue *queue_of(struct qd_rpc *rpc, const struct qd_call *call)
{
    bool is_query = call->method->kind == QD_METHOD_BOOKING && call->tenants == NULL;

    return is_query ? &rpc->queries : &rpc->bookings;
}

/* With the lock held. */
static void tell_waiting(struct qd_rpc *rpc)
{
    atomic_store_explicit(&rpc->node->calls_waiting, rpc->bookings.waiting + rpc->queries.waiting,
                          memory_order_relaxed);
}

void qd_booking_hand_over(struct qd_rpc_thread *thread, struct qd_call *call)
{
    struct qd_rpc *rpc = thread->rpc;
    struct qd_booking_queue *queue = queue_of(rpc, call);
    bool refused = false;

    atomic_store_explicit(&call->booked, true, memory_order_relaxed);
    (void)pthread_mutex_lock(&rpc->booking_lock);
    refused = queue->waiting >= rpc->config.booking_queue;
    if (!refused) {
        call->next = NULL;
        *queue->last = call;
        queue->last = &call->next;
        queue->waiting++;
        tell_waiting(rpc);
        (void)pthread_cond_signal(&queue->ready);
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

static struct qd_call *pop(struct qd_rpc *rpc, struct qd_booking_queue *queue)
{
    struct qd_call *call = queue->first;

    queue->first = call->next;
    queue->waiting--;
    tell_waiting(rpc);
    if (queue->first == NULL) {
        queue->last = &queue->first;
    }
    return call;
}

/* What may be begun together, and waited for once. */
enum company {
    ALONE,
    REPORTS,
    TENANTS
};

static enum company company_of(const struct qd_call *call)
{
    return call->tenants != NULL                    ? TENANTS
           : call->method->kind == QD_METHOD_REPORT ? REPORTS
                                                    : ALONE;
}

/* Wait for calls: one, or such as go together and follow each other, a batch's worth at most. 0:
 * stop. */
static uint32_t take_calls(struct qd_rpc *rpc, struct qd_booking_queue *queue,
                           struct qd_call *ret_calls[QD_REPORTS_AT_ONCE])
{
    uint32_t count = 0;

    (void)pthread_mutex_lock(&rpc->booking_lock);
    while (queue->first == NULL && !rpc->booking_stop) {
        (void)pthread_cond_wait(&queue->ready, &rpc->booking_lock);
    }
    if (queue->first != NULL) {
        ret_calls[count++] = pop(rpc, queue);
    }
    while (count > 0 && count < QD_REPORTS_AT_ONCE && queue->first != NULL &&
           company_of(ret_calls[0]) != ALONE &&
           company_of(queue->first) == company_of(ret_calls[0])) {
        ret_calls[count++] = pop(rpc, queue);
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

/* I9: false, and it is answered. */
static bool in_time(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;

    if (call->method->kind == QD_METHOD_STREAM || !too_late(call)) {
        return true;
    }
    qd_rls_tenant_give_up(place, call);
    (void)qd_error_set(&error, QD_ERROR_DEADLINE,
                       "the deadline passed while the call waited for the disk; nothing "
                       "was done: retry");
    qd_call_reply(place, call, QD_ERROR_DEADLINE, &error);
    return false;
}

static void handle_reports(struct qd_place *place, struct qd_call *const *calls, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        begin_report(place, calls[i]);
    }
    qd_report_batch_flush(place, reply_report);
}

static void handle(struct qd_place *place, struct qd_call **calls, uint32_t count)
{
    enum company company = company_of(calls[0]);
    uint32_t left = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (in_time(place, calls[i])) {
            calls[left++] = calls[i];
        }
    }
    if (left == 0) {
        return;
    }
    if (company == ALONE) {
        qd_call_handle(place, calls[0]);
        return;
    }
    (void)qd_worker_enter(place->worker);
    if (company == REPORTS) {
        handle_reports(place, calls, left);
    } else {
        qd_rls_tenant_book(place, calls, left);
    }
    qd_worker_leave(place->worker);
}

void *qd_booking_main(void *argument)
{
    struct qd_booking_thread *b = argument;
    struct qd_call *calls[QD_REPORTS_AT_ONCE];
    uint32_t count;

    while ((count = take_calls(b->rpc, b->queue, calls)) > 0) {
        handle(&b->place, calls, count);
    }
    return NULL;
}

void qd_booking_stop(struct qd_rpc *rpc)
{
    (void)pthread_mutex_lock(&rpc->booking_lock);
    rpc->booking_stop = true;
    (void)pthread_cond_broadcast(&rpc->bookings.ready);
    (void)pthread_cond_broadcast(&rpc->queries.ready);
    (void)pthread_mutex_unlock(&rpc->booking_lock);
    for (uint32_t i = 0; i < rpc->booking_count; i++) {
        if (rpc->booking[i].started) {
            (void)pthread_join(rpc->booking[i].thread, NULL);
        }
        if (rpc->booking[i].rpc != NULL) {
            qd_place_release(&rpc->booking[i].place);
        }
    }
}
