#include "server/rpc/accept.h"
#include "server/rpc/connections.h"
#include "server/rpc/server_internal.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

static struct qd_call *call_take(struct qd_rpc_thread *thread)
{
    struct qd_call *call = thread->pool;

    if (call != NULL) {
        thread->pool = call->next;
        return call;
    }
    if (thread->call_count == QD_CALLS_MAX) {
        return NULL;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return NULL;
    }
    thread->made[thread->call_count++] = call;
    call->thread = thread;
    for (size_t i = 0; i < QD_TAG_COUNT; i++) {
        call->tags[i] = (struct qd_tag){call, (enum qd_event_tag)i};
    }
    grpc_metadata_array_init(&call->metadata);
    return call;
}

/* Ask for one more call of a method, if there is a call object for it. */
void qd_events_post(struct qd_rpc_thread *thread, uint32_t index)
{
    struct qd_rpc *rpc = thread->rpc;

    if (atomic_load_explicit(&rpc->stopping, memory_order_acquire)) {
        return;
    }
    struct qd_call *call = call_take(thread);
    if (call == NULL) {
        return;
    }
    call->method = rpc->methods[index];
    call->method_index = index;
    call->received = NULL;
    call->sent = NULL;
    call->has_details = false;
    call->number = 0;
    call->number_count = 0;
    call->numbers = NULL;
    call->tenants = NULL;
    call->reading = call->closed = call->finished = call->half_closed = false;
    call->watch = (struct qd_watching){.next = NULL};
    grpc_call_error error = GRPC_CALL_OK;
    if (call->method->kind == QD_METHOD_UNKNOWN) {
        grpc_call_details_init(&call->asked);
        error = grpc_server_request_call(rpc->servers[index], &call->call, &call->asked,
                                         &call->metadata, thread->cq, thread->cq,
                                         &call->tags[QD_TAG_REQUEST]);
    } else {
        error = grpc_server_request_registered_call(
            rpc->servers[index], rpc->registered[index], &call->call, &call->deadline,
            &call->metadata, qd_method_has_payload(call->method) ? &call->received : NULL,
            thread->cq, thread->cq, &call->tags[QD_TAG_REQUEST]);
    }
    if (error != GRPC_CALL_OK) {
        call->next = thread->pool;
        thread->pool = call;
        return;
    }
    thread->posted[index]++;
}

static bool is_lasting(const struct qd_call *call)
{
    return call->method->kind == QD_METHOD_STREAM || call->method->kind == QD_METHOD_WATCH;
}

/* X3: whoever need not say who he is takes no place from those who do. */
static bool is_strangers(const struct qd_call *call)
{
    return is_lasting(call) && (call->method->roles & QD_ROLES_OPEN) != 0;
}

static void count_stream(struct qd_call *call, bool begins)
{
    uint32_t one = begins ? 1 : UINT32_MAX; /* wraps: one less */

    call->thread->streams += is_lasting(call) ? one : 0;
    call->thread->strangers += is_strangers(call) ? one : 0;
}

enum qd_error_code qd_events_stream_room(const struct qd_call *call, struct qd_error *ret_error)
{
    const struct qd_rpc_thread *thread = call->thread;
    bool stranger = is_strangers(call);
    uint32_t max = stranger ? QD_STRANGERS_MAX : QD_STREAMS_MAX;

    if (thread->streams <= QD_STREAMS_MAX && (!stranger || thread->strangers <= max)) {
        return QD_ERROR_NONE; /* the one that asks is counted */
    }
    return qd_error_set(ret_error, QD_ERROR_OVERLOADED,
                        "%u streams are open on this thread, and no more are accepted; close some, "
                        "or use another node",
                        max);
}

/* The call has ended: its object goes back, and a method that lacks posted calls gets one. */
static void call_end(struct qd_call *call)
{
    struct qd_rpc_thread *thread = call->thread;
    uint32_t index = call->method_index;

    call->in_hand = false;
    thread->in_hand--;
    count_stream(call, false);
    qd_call_clear_message(call);
    if (call->has_details) {
        grpc_slice_unref(call->details);
        call->has_details = false;
    }
    if (call->method->kind == QD_METHOD_UNKNOWN) {
        grpc_call_details_destroy(&call->asked);
    }
    call->metadata.count = 0; /* its slices were the call's; the array is used again */
    grpc_call_unref(call->call);
    call->call = NULL;
    call->next = thread->pool;
    thread->pool = call;
    if (thread->posted[index] < thread->rpc->methods[index]->posted) {
        qd_events_post(thread, index);
    }
}

/* The message's bytes in one piece; *ret_slice must be unreferenced after use. */
struct qd_str qd_message_bytes(grpc_byte_buffer *buffer, grpc_slice *ret_slice)
{
    if (buffer == NULL) {
        *ret_slice = grpc_empty_slice();
    } else if (buffer->type == GRPC_BB_RAW && buffer->data.raw.compression == GRPC_COMPRESS_NONE &&
               buffer->data.raw.slice_buffer.count == 1) {
        *ret_slice = grpc_slice_ref(buffer->data.raw.slice_buffer.slices[0]);
    } else {
        grpc_byte_buffer_reader reader;
        *ret_slice = grpc_empty_slice();
        if (grpc_byte_buffer_reader_init(&reader, buffer)) {
            *ret_slice = grpc_byte_buffer_reader_readall(&reader);
            grpc_byte_buffer_reader_destroy(&reader);
        }
    }
    return (struct qd_str){(const char *)GRPC_SLICE_START_PTR(*ret_slice),
                           GRPC_SLICE_LENGTH(*ret_slice)};
}

enum qd_error_code qd_message_check(const struct qd_call *call, struct qd_str bytes,
                                    struct qd_error *ret_error)
{
    if (call->received == NULL) {
        return qd_error_set(ret_error, QD_ERROR_MALFORMED,
                            "the request ended before its message was whole; send 1 byte of flags, "
                            "4 bytes of length and "
                            "all of the message");
    }
    if (bytes.len > QD_MESSAGE_BYTES_MAX) { /* X2 */
        return qd_error_set(ret_error, QD_ERROR_MESSAGE_TOO_LARGE,
                            "message: %zu bytes; at most %u are accepted; split it", bytes.len,
                            QD_MESSAGE_BYTES_MAX);
    }
    return QD_ERROR_NONE;
}

/* Run the handler on the message and start the reply. The slice is freed before the reply is
 * started: the answer holds nothing of it. */
void qd_call_handle(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;
    grpc_slice slice =
        grpc_empty_slice(); /* small messages lie within it: it lives as long as `bytes` */
    struct qd_str bytes = qd_message_bytes(call->received, &slice);
    enum qd_error_code code = qd_message_check(call, bytes, &error);

    if (code == QD_ERROR_NONE) {
        qd_place_clear(place);
        (void)qd_worker_enter(place->worker);
        code = call->method->handle(place, call, bytes, &error);
        qd_worker_leave(place->worker);
    }
    grpc_slice_unref(slice);
    if (call->tenants != NULL) {
        qd_booking_hand_over(call->thread, call);
        return;
    }
    qd_call_reply(place, call, code, &error);
}

enum qd_error_code qd_call_admit_by(const struct qd_credentials *credentials,
                                    const struct qd_call *call, struct qd_caller *ret_caller,
                                    struct qd_error *ret_error)
{
    const struct qd_method *method = call->method;
    enum qd_error_code code =
        qd_caller_identify(credentials, call->call, &call->metadata, ret_caller, ret_error);

    return code != QD_ERROR_NONE ? code
                                 : qd_caller_may_call(ret_caller, method->path, method->roles,
                                                      method->bound, ret_error);
}

enum qd_error_code qd_call_admit(struct qd_call *call, struct qd_error *ret_error)
{
    struct qd_rpc_thread *thread = call->thread;
    _Atomic(struct qd_credentials *) *published = &thread->rpc->credentials;
    /* With checks in the lanes the worker has entered. */
    bool entered = thread->lane_count > 0;

    if ((call->method->roles & QD_ROLES_OPEN) != 0 ||
        atomic_load_explicit(published, memory_order_relaxed) == NULL) { /* never NULL again */
        qd_caller_anyone(&call->caller);
        return qd_caller_may_call_unnamed(call->call, call->method->path, call->method->roles,
                                          ret_error);
    }
    if (!entered) {
        (void)qd_worker_enter(thread->place.worker);
    }
    enum qd_error_code code = qd_call_admit_by(
        atomic_load_explicit(published, memory_order_seq_cst), call, &call->caller, ret_error);
    if (!entered) {
        qd_worker_leave(thread->place.worker);
    }
    return code;
}

static void await_close(struct qd_call *call)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    qd_call_start(call, &op, 1, QD_TAG_CLOSE);
}

static void begin_stream(struct qd_call *call)
{
    struct qd_error error;
    grpc_op ops[2];

    call->numbers = grpc_call_arena_alloc(call->call, QD_BATCH_MAX * sizeof(uint64_t));
    await_close(call);
    if (qd_events_stream_room(call, &error) != QD_ERROR_NONE) {
        qd_call_stream_refuse(&call->thread->place, call, QD_ERROR_OVERLOADED, &error);
        return;
    }
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_RECV_MESSAGE;
    ops[1].data.recv_message.recv_message = &call->received;
    call->reading = true;
    qd_call_start(call, ops, 2, QD_TAG_READ);
}

static void answer_unknown(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;
    struct qd_str method = {(const char *)GRPC_SLICE_START_PTR(call->asked.method),
                            GRPC_SLICE_LENGTH(call->asked.method)};

    (void)qd_error_set(&error, QD_ERROR_UNSUPPORTED, "%s is not served here; %s",
                       qd_quote(method).text,
                       qd_rpc_admin_port(place->rpc) != 0
                           ? "AdminService is at --admin-rpc-listen, all others are at --listen"
                           : "list what is with grpc.reflection.v1.ServerReflection");
    qd_call_reply(place, call, QD_ERROR_UNSUPPORTED, &error);
}

/* X1: nothing of the call is looked at. */
static void refuse(struct qd_rpc_thread *thread, struct qd_call *call, enum qd_error_code code,
                   const struct qd_error *error)
{
    if (call->method->kind == QD_METHOD_STREAM || call->method->kind == QD_METHOD_WATCH) {
        await_close(call);
        call->half_closed = true;
        qd_call_stream_refuse(&thread->place, call, code, error);
    } else {
        qd_call_reply(&thread->place, call, code, error);
    }
}

static bool note_address(struct qd_call *call)
{
    char *peer = grpc_call_get_peer(call->call);
    bool known = qd_connections_address(peer, call->from);

    gpr_free(peer);
    return known;
}

static void on_request(struct qd_rpc_thread *thread, struct qd_call *call, bool ok)
{
    struct qd_error error;

    thread->posted[call->method_index]--;
    if (!ok) { /* the server is shutting down */
        if (call->method->kind == QD_METHOD_UNKNOWN) {
            grpc_call_details_destroy(&call->asked);
        }
        call->next = thread->pool;
        thread->pool = call;
        return;
    }
    atomic_fetch_add_explicit(&thread->calls, 1, memory_order_relaxed);
    call->in_hand = true;
    call->has_from = qd_accept_asks_who(thread->rpc->accept) && note_address(call);
    atomic_store_explicit(&call->booked, false, memory_order_relaxed);
    qd_call_sends(call, 0);
    thread->in_hand++;
    count_stream(call, true);
    qd_events_post(thread, call->method_index);
    if (call->method->kind != QD_METHOD_CHECK) { /* a check looks at the clock itself */
        call->begun = qd_clock_mono(&thread->place.node->clock);
    }
    enum qd_error_code code = qd_call_admit(call, &error);
    if (code != QD_ERROR_NONE) {
        call->begun = qd_clock_mono(&thread->place.node->clock);
        refuse(thread, call, code, &error);
        return;
    }
    switch (call->method->kind) {
    case QD_METHOD_INLINE:
        qd_call_handle(&thread->place, call);
        break;
    case QD_METHOD_CHECK:
        qd_lanes_take(thread, call);
        break;
    case QD_METHOD_BOOKING:
    case QD_METHOD_REPORT:
        qd_booking_hand_over(thread, call);
        break;
    case QD_METHOD_STREAM:
        begin_stream(call);
        break;
    case QD_METHOD_WATCH:
        qd_watch_begin(&thread->place, call);
        break;
    case QD_METHOD_UNKNOWN:
        answer_unknown(&thread->place, call);
        break;
    }
}

/* S1: what could not be delivered isn't held. */
static void give_back(struct qd_rpc_thread *thread, struct qd_call *call)
{
    if (call->number != 0) {
        qd_node_undelivered(thread->place.worker, call->number);
        call->number = 0;
    }
    for (size_t i = 0; i < call->number_count; i++) {
        qd_node_undelivered(thread->place.worker, call->numbers[i]);
    }
    call->number_count = 0;
}

/* X3 */
static void note_cancelled(const struct qd_rpc_thread *thread, const struct qd_call *call)
{
    qd_accept_cancelled(thread->rpc->accept, call->has_from ? call->from : NULL);
}

/* A stream: nobody else works on it any more, and it is known how it closed. S1, I9: what a
 * cancelled one was told last counts as unheard, also where it went out before the cancellation
 * came in. */
static void end_if_done(struct qd_rpc_thread *thread, struct qd_call *call)
{
    if (call->closed && call->finished && !call->reading) {
        if (call->cancelled != 0) {
            give_back(thread, call);
            note_cancelled(thread, call);
        }
        call_end(call);
    }
}

static void on_read(struct qd_rpc_thread *thread, struct qd_call *call, bool ok)
{
    call->reading = false;
    qd_crowd_reach(thread, call->begun.ns);
    if (!ok) {
        give_back(thread, call);
    }
    if (!ok || call->received == NULL) {
        call->half_closed = true;
        qd_call_stream_status(call, QD_ERROR_NONE, NULL);
        return;
    }
    call->number_count = 0; /* it goes on: it has heard the last answer */
    call->begun = qd_clock_mono(&thread->place.node->clock);
    atomic_fetch_add_explicit(&thread->stream_messages, 1, memory_order_relaxed);
    struct qd_error error;
    enum qd_error_code code = qd_call_admit(call, &error); /* it may have been taken away since */
    if (code != QD_ERROR_NONE) {
        qd_call_reply(&thread->place, call, code, &error);
        return;
    }
    grpc_slice slice;
    struct qd_str bytes = qd_message_bytes(call->received, &slice);
    bool booking = call->method->needs_booking != NULL && bytes.len <= QD_MESSAGE_BYTES_MAX &&
                   call->method->needs_booking(bytes);
    grpc_slice_unref(slice);
    if (booking) {
        qd_booking_hand_over(thread, call);
    } else {
        qd_call_handle(&thread->place, call);
    }
}

/* What it said has gone out. */
static void has_sent(struct qd_rpc_thread *thread, const struct qd_call *call)
{
    qd_crowd_reach(thread, atomic_load_explicit(&call->sending_ns, memory_order_relaxed));
}

static void on_event(struct qd_rpc_thread *thread, struct qd_tag *tag, bool ok)
{
    struct qd_call *call = tag->call;

    switch (tag->kind) {
    case QD_TAG_REQUEST:
        on_request(thread, call, ok);
        break;
    case QD_TAG_REPLY:
        has_sent(thread, call);
        if (call->method->kind == QD_METHOD_WATCH) {
            qd_watch_sent(thread->rpc, call);
            end_if_done(thread, call);
            break;
        }
        if (!ok || call->cancelled != 0) {
            give_back(thread, call);
            note_cancelled(thread, call);
        }
        call_end(call);
        break;
    case QD_TAG_READ:
        on_read(thread, call, ok);
        break;
    case QD_TAG_CLOSE:
        call->closed = true;
        if (call->method->kind == QD_METHOD_WATCH) {
            qd_watch_close(thread->rpc, call);
            call->finished |= !call->half_closed; /* else its status is under way, or was */
        }
        end_if_done(thread, call);
        break;
    case QD_TAG_STATUS:
        has_sent(thread, call);
        qd_call_sends(call, 0);
        call->finished = true;
        end_if_done(thread, call);
        break;
    case QD_TAG_COUNT:
        break;
    }
}

/* True for what may happen between a check's beginning and its decision: another check, and the end
 * of an answer. */
static bool goes_with_lanes(const struct qd_tag *tag)
{
    return tag->call->method->kind == QD_METHOD_CHECK;
}

/* With checks in the lanes: see what else is there, but do not wait for it. */
static gpr_timespec wait_until(const struct qd_rpc_thread *thread)
{
    if (thread->lane_count > 0) {
        return gpr_inf_past(GPR_CLOCK_REALTIME);
    }
    return qd_crowd_is(thread) ? gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                              gpr_time_from_millis(QD_CROWD_LOOK_MS, GPR_TIMESPAN))
                               : gpr_inf_future(GPR_CLOCK_REALTIME);
}

void *qd_events_main(void *argument)
{
    struct qd_rpc_thread *thread = argument;
    struct qd_rpc *rpc = thread->rpc;

    for (uint32_t i = 0; i < rpc->method_count; i++) {
        for (uint32_t k = 0; k < rpc->methods[i]->posted; k++) {
            qd_events_post(thread, i);
        }
    }
    for (;;) {
        grpc_event event = grpc_completion_queue_next(thread->cq, wait_until(thread), NULL);
        if (event.type != GRPC_OP_COMPLETE || !goes_with_lanes(event.tag) ||
            thread->lane_count == QD_LANES) {
            qd_lanes_flush(thread);
        }
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            on_event(thread, event.tag, event.success != 0);
        }
        if (qd_crowd_is(thread)) {
            if (event.type == GRPC_QUEUE_TIMEOUT) { /* nothing waits there */
                qd_crowd_reach(thread, qd_clock_mono(&thread->place.node->clock).ns);
            }
            qd_crowd_look(thread);
        }
    }
}
