/* grpc.health.v1.Health/Watch: streams that are told when the node begins or ceases to serve (I4).
 */
#include "server/rpc/server_internal.h"

#include <assert.h>
#include <string.h>
#include <time.h>

/* How long a stop waits for watchers to take their last message. */
#define WATCH_END_MS 1000U

static void send_health(struct qd_rpc *rpc, struct qd_call *call, bool first)
{
    /* HealthCheckResponse {1: status}: SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3. */
    uint8_t serving = qd_rpc_serving(rpc) ? 1 : 2;
    uint8_t bytes[2] = {0x08, call->watch_unknown ? 3 : serving};
    grpc_op ops[2];
    size_t n = 0;

    memset(ops, 0, sizeof(ops));
    if (first) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, sizeof(bytes));
    if (call->sent != NULL) {
        grpc_byte_buffer_destroy(call->sent);
    }
    call->sent = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = call->sent;
    call->dirty = false;
    call->reading = true; /* a batch is under way */
    qd_call_start(call, ops, n, QD_TAG_REPLY);
}

/* Our side ends, behind all that was sent: a cancellation might overtake it. */
static void send_end(struct qd_call *call)
{
    struct qd_error error;
    enum qd_error_code code = qd_error_set(&error, QD_ERROR_SHUTTING_DOWN, "shutting down");

    call->half_closed = true;
    qd_call_stream_status(call, code, &error);
}

/* No batch is under way: what comes next. */
static void go_on(struct qd_rpc *rpc, struct qd_call *call)
{
    if (call->half_closed) {
        return;
    }
    if (call->dirty) {
        send_health(rpc, call, false);
    } else if (rpc->watch_ending) {
        send_end(call);
    }
}

void qd_health_watch(struct qd_rpc *rpc, struct qd_call *call)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    call->watching = true;
    call->watch_next = rpc->watchers;
    rpc->watchers = call;
    send_health(rpc, call, true);
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

void qd_health_unwatch(struct qd_rpc *rpc, struct qd_call *call)
{
    assert(call != NULL);
    (void)pthread_mutex_lock(&rpc->watch_lock);
    struct qd_call **at = &rpc->watchers;
    while (*at != NULL && *at != call) {
        at = &(*at)->watch_next;
    }
    if (*at == call) {
        *at = call->watch_next;
    }
    call->watching = false;
    (void)pthread_cond_signal(&rpc->watch_left);
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

void qd_health_sent(struct qd_rpc *rpc, struct qd_call *call)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    call->reading = false;
    if (call->watching) {
        go_on(rpc, call);
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

void qd_rpc_set_serving(struct qd_rpc *rpc, bool serving)
{
    if (atomic_exchange(&rpc->serving, serving) == serving) {
        return;
    }
    (void)pthread_mutex_lock(&rpc->watch_lock);
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch_next) {
        call->dirty = true;
        if (!call->reading) {
            go_on(rpc, call);
        }
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

/* Watches never end by themselves: each is told what it has not heard yet, then ended. One that
 * does not read is cancelled after a while. */
void qd_watch_end_all(struct qd_rpc *rpc, uint32_t wait_ms)
{
    struct timespec until;
    int result = 0;

    wait_ms = wait_ms < WATCH_END_MS ? wait_ms : WATCH_END_MS;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)wait_ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&rpc->watch_lock);
    rpc->watch_ending = true;
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch_next) {
        if (!call->reading) {
            go_on(rpc, call);
        }
    }
    while (rpc->watchers != NULL && result == 0) {
        result = pthread_cond_timedwait(&rpc->watch_left, &rpc->watch_lock, &until);
    }
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch_next) {
        (void)grpc_call_cancel_with_status(call->call, GRPC_STATUS_UNAVAILABLE, "shutting down",
                                           NULL);
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}
