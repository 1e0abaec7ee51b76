/* Watches: streams that are told what happens, when it happens: whether the node serves (I4), its
 * events (I2). One batch of each is under way at a time; nobody waits for a slow one.
 *
 * Order of locks: the node's admin -> the broadcast's -> watch_lock -> a watcher's queue. */
#include "server/log/log.h"
#include "server/rpc/server_internal.h"

#include <assert.h>
#include <string.h>
#include <time.h>

/* How long a stop waits for watchers to take their last message. */
#define WATCH_END_MS 1000U

/* Of an event whose names are as long as they can be. */
#define WATCH_MESSAGE_BYTES_MAX 4096U

/* Send what there is; the first time the initial metadata too, so that the caller knows that it is
 * heard. False: there is nothing to send. */
static bool send_next(struct qd_rpc *rpc, struct qd_call *call)
{
    uint8_t bytes[WATCH_MESSAGE_BYTES_MAX];
    struct qd_out out;
    grpc_op ops[2];
    size_t n = 0;

    memset(ops, 0, sizeof(ops));
    if (!call->watch.begun) {
        call->watch.begun = true;
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    qd_out_init(&out, bytes, sizeof(bytes));
    if (call->watch.next(rpc, call, &out)) {
        assert(!out.full);
        grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, qd_out_used(&out));
        if (call->sent != NULL) {
            grpc_byte_buffer_destroy(call->sent);
        }
        call->sent = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = call->sent;
    }
    if (n == 0) {
        return false;
    }
    call->reading = true; /* a batch is under way */
    qd_call_sends(call, qd_call_now_ns(call));
    qd_call_start(call, ops, n, QD_TAG_REPLY);
    return true;
}

/* Our side ends, behind all that was sent: a cancellation might overtake it. */
static void send_end(struct qd_call *call)
{
    struct qd_error error;
    enum qd_error_code code = qd_error_set(&error, QD_ERROR_SHUTTING_DOWN, "shutting down");

    call->half_closed = true;
    qd_call_stream_status(call, code, &error);
}

/* What comes next, unless a batch is under way: its end goes on. */
static void go_on(struct qd_rpc *rpc, struct qd_call *call)
{
    if (!call->watch.listed || call->reading || call->half_closed) {
        return;
    }
    if (!send_next(rpc, call) && rpc->watch_ending) {
        send_end(call);
    }
}

/* --- whether it may still hear (X1) --- */

/* A tenant that the caller is not bound to any more is not its to hear of. */
static enum qd_error_code reaches(const struct qd_call *call, const struct qd_caller *caller,
                                  struct qd_error *ret_error)
{
    const struct qd_watch *events = call->watch.events;

    return events != NULL ? qd_caller_reaches(caller, qd_watch_tenant(events), ret_error)
                          : QD_ERROR_NONE;
}

/* By the credentials in force. On the call's completion-queue thread. */
static enum qd_error_code admit_again(struct qd_call *call, struct qd_error *ret_error)
{
    enum qd_error_code code = qd_call_admit(call, ret_error);

    return code != QD_ERROR_NONE ? code : reaches(call, &call->caller, ret_error);
}

static enum qd_error_code admit_by(const struct qd_credentials *credentials,
                                   const struct qd_call *call, struct qd_error *ret_error)
{
    struct qd_caller caller;
    enum qd_error_code code = qd_call_admit_by(credentials, call, &caller, ret_error);

    return code != QD_ERROR_NONE ? code : reaches(call, &caller, ret_error);
}

static void end_refused(struct qd_call *call, enum qd_error_code code, const struct qd_error *error)
{
    call->half_closed = true;
    qd_call_stream_status(call, code, error);
    qd_log(QD_LOG_INFO, "a watch ends: its credentials are not good any more", "reason=%s why=%s",
           qd_error_reason(code), qd_log_quote(error->text).text);
}

void qd_watch_admit_all(struct qd_rpc *rpc, const struct qd_credentials *credentials)
{
    struct qd_error error;

    (void)pthread_mutex_lock(&rpc->watch_lock);
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch.link) {
        if ((call->method->roles & QD_ROLES_OPEN) != 0 || call->half_closed) {
            continue;
        }
        if (call->reading) {
            call->watch.readmit = true;
            continue;
        }
        enum qd_error_code code = admit_by(credentials, call, &error);
        if (code != QD_ERROR_NONE) {
            end_refused(call, code, &error);
        }
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

/* --- its life --- */

/* Credentials may have been replaced since it was let in, and whoever did so has not seen it in the
 * list: asked again under the lock, it is either refused here or seen there. */
static enum qd_error_code start(struct qd_rpc *rpc, struct qd_call *call,
                                struct qd_error *ret_error)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    enum qd_error_code code = admit_again(call, ret_error);
    if (code == QD_ERROR_NONE) {
        call->watch.listed = true;
        call->watch.link = rpc->watchers;
        rpc->watchers = call;
        go_on(rpc, call);
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
    return code;
}

static void unlist(struct qd_rpc *rpc, struct qd_call *call)
{
    struct qd_call **at = &rpc->watchers;

    assert(call != NULL);
    while (*at != NULL && *at != call) {
        at = &(*at)->watch.link;
    }
    if (*at == call) {
        *at = call->watch.link;
    }
    call->watch.listed = false;
}

void qd_watch_begin(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    qd_call_start(call, &op, 1, QD_TAG_CLOSE);
    grpc_slice slice = grpc_empty_slice();
    struct qd_str bytes = qd_message_bytes(call->received, &slice);
    enum qd_error_code code = qd_message_check(call, bytes, &error);
    if (code == QD_ERROR_NONE) {
        code = qd_events_stream_room(call, &error);
    }
    if (code == QD_ERROR_NONE) {
        qd_place_clear(place);
        code = call->method->handle(place, call, bytes, &error);
    }
    grpc_slice_unref(slice);
    if (code == QD_ERROR_NONE) {
        code = start(place->rpc, call, &error);
    }
    if (code != QD_ERROR_NONE) {
        call->half_closed = true;
        qd_call_stream_refuse(place, call, code, &error);
    }
}

void qd_watch_close(struct qd_rpc *rpc, struct qd_call *call)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    unlist(rpc, call);
    struct qd_watch *events = call->watch.events;
    call->watch.events = NULL;
    (void)pthread_cond_signal(&rpc->watch_left);
    (void)pthread_mutex_unlock(&rpc->watch_lock);
    /* Whoever tells an event holds the broadcast's lock and may be about to take ours: after this
     * it is done with the call. */
    qd_event_watch_end(rpc, events);
}

void qd_watch_sent(struct qd_rpc *rpc, struct qd_call *call)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    call->reading = false;
    qd_call_sends(call, 0); /* it has gone out */
    if (call->watch.readmit) {
        struct qd_error error;
        call->watch.readmit = false;
        enum qd_error_code code = admit_again(call, &error);
        if (code != QD_ERROR_NONE && call->watch.listed && !call->half_closed) {
            end_refused(call, code, &error);
        }
    }
    go_on(rpc, call);
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

void qd_call_wake(struct qd_rpc *rpc, struct qd_call *call)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    go_on(rpc, call);
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

void qd_rpc_set_serving(struct qd_rpc *rpc, bool serving)
{
    if (atomic_exchange(&rpc->serving, serving) == serving) {
        return;
    }
    (void)pthread_mutex_lock(&rpc->watch_lock);
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch.link) {
        call->watch.dirty = true;
        go_on(rpc, call);
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
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch.link) {
        go_on(rpc, call);
    }
    while (rpc->watchers != NULL && result == 0) {
        result = pthread_cond_timedwait(&rpc->watch_left, &rpc->watch_lock, &until);
    }
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch.link) {
        (void)grpc_call_cancel_with_status(call->call, GRPC_STATUS_UNAVAILABLE, "shutting down",
                                           NULL);
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}
