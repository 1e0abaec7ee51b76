#include "server/rpc/server_internal.h"

#include <grpc/support/time.h>

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
    if (refused) { /* X2: load, not the request's fault */
        struct qd_error error;
        atomic_fetch_add_explicit(&rpc->booking_refused, 1, memory_order_relaxed);
        (void)qd_error_set(&error, QD_ERROR_OVERLOADED,
                           "%u reports wait for the disk already; nothing was booked: retry "
                           "in " QD_RETRY_PUSHBACK_MS " ms",
                           rpc->config.booking_queue);
        qd_call_reply(&thread->place, call, QD_ERROR_OVERLOADED, &error);
    }
}

/* I9: a call whose deadline passed while it waited isn't begun. */
static bool too_late(const struct qd_call *call)
{
    return gpr_time_cmp(gpr_now(call->deadline.clock_type), call->deadline) > 0;
}

void *qd_booking_main(void *argument)
{
    struct qd_booking_thread *b = argument;
    struct qd_rpc *rpc = b->rpc;

    for (;;) {
        (void)pthread_mutex_lock(&rpc->booking_lock);
        while (rpc->booking_first == NULL && !rpc->booking_stop) {
            (void)pthread_cond_wait(&rpc->booking_ready, &rpc->booking_lock);
        }
        struct qd_call *call = rpc->booking_first;
        if (call != NULL) {
            rpc->booking_first = call->next;
            rpc->booking_waiting--;
            if (rpc->booking_first == NULL) {
                rpc->booking_last = &rpc->booking_first;
            }
        }
        (void)pthread_mutex_unlock(&rpc->booking_lock);
        if (call == NULL) {
            return NULL;
        }
        if (call->method->kind == QD_METHOD_BOOKING && too_late(call)) {
            struct qd_error error;
            (void)qd_error_set(&error, QD_ERROR_DEADLINE,
                               "the deadline passed while the call waited for the disk; nothing "
                               "was done: retry");
            qd_call_reply(&b->place, call, QD_ERROR_DEADLINE, &error);
        } else {
            qd_call_handle(&b->place, call);
        }
    }
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
