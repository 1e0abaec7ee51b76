#include "server/rpc/server.h"

#include "server/rpc/call.h"
#include "server/rpc/grpc_log.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METHODS_MAX       64U
#define CALLS_MAX         8192U /* call objects of one thread (X2) */
#define WIRE_BYTES_MAX    (1U << 20)
#define HANDSHAKE_MS      5000
#define KEEPALIVE_MS      60000
#define MEMORY_QUOTA      ((size_t)512 << 20)
#define RETRY_PUSHBACK_MS "100"

struct qd_rpc_thread {
    _Alignas(64) struct qd_rpc *rpc;
    grpc_completion_queue *cq;
    pthread_t thread;
    bool started;
    struct qd_place place;
    struct qd_call *pool; /* free call objects; under pool_lock: booking threads don't touch it */
    uint32_t call_count;  /* made so far */
    uint32_t posted[METHODS_MAX];
    _Atomic uint64_t calls, errors, stream_messages;
    _Atomic uint64_t errors_by_code[QD_ERROR_COUNT];
};

struct booking_thread {
    struct qd_rpc *rpc;
    pthread_t thread;
    bool started;
    struct qd_place place;
};

struct qd_rpc {
    struct qd_node *node;
    struct qd_rpc_config config;
    grpc_server *server;
    grpc_completion_queue *shutdown_cq;
    int port;
    struct qd_rpc_thread *threads;
    const struct qd_method *methods[METHODS_MAX];
    void *registered[METHODS_MAX];
    uint32_t method_count;
    _Atomic bool stopping;
    _Atomic bool serving;

    pthread_mutex_t booking_lock;
    pthread_cond_t booking_ready;
    struct qd_call *booking_first;
    struct qd_call **booking_last;
    uint32_t booking_waiting;
    bool booking_stop;
    struct booking_thread *booking;
    _Atomic uint64_t booking_refused;
    _Atomic uint64_t booking_errors_by_code[QD_ERROR_COUNT];

    pthread_mutex_t watch_lock;
    struct qd_call *watchers;
};

bool qd_rpc_serving(const struct qd_rpc *rpc)
{
    return atomic_load(&rpc->serving);
}

const struct qd_rpc_hooks *qd_rpc_hooks_of(const struct qd_rpc *rpc)
{
    return &rpc->config.hooks;
}

int qd_rpc_port(const struct qd_rpc *rpc)
{
    return rpc->port;
}

/* --- calls --- */

static struct qd_call *call_take(struct qd_rpc_thread *thread)
{
    struct qd_call *call = thread->pool;

    if (call != NULL) {
        thread->pool = call->next;
        return call;
    }
    if (thread->call_count == CALLS_MAX) {
        return NULL;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return NULL;
    }
    thread->call_count++;
    call->thread = thread;
    for (size_t i = 0; i < QD_TAG_COUNT; i++) {
        call->tags[i] = (struct qd_tag){call, (enum qd_event_tag)i};
    }
    grpc_metadata_array_init(&call->metadata);
    return call;
}

static bool has_payload(const struct qd_method *method)
{
    return method->kind != QD_METHOD_STREAM && method->kind != QD_METHOD_UNKNOWN;
}

/* Ask for one more call of a method, if there is a call object for it. */
static void post(struct qd_rpc_thread *thread, uint32_t index)
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
    call->reading = call->closed = call->finished = call->half_closed = false;
    call->watching = call->dirty = false;
    grpc_call_error error = GRPC_CALL_OK;
    if (call->method->kind == QD_METHOD_UNKNOWN) {
        grpc_call_details_init(&call->asked);
        error = grpc_server_request_call(rpc->server, &call->call, &call->asked, &call->metadata,
                                         thread->cq, thread->cq, &call->tags[QD_TAG_REQUEST]);
    } else {
        error = grpc_server_request_registered_call(
            rpc->server, rpc->registered[index], &call->call, &call->deadline, &call->metadata,
            has_payload(call->method) ? &call->received : NULL, thread->cq, thread->cq,
            &call->tags[QD_TAG_REQUEST]);
    }
    if (error != GRPC_CALL_OK) {
        call->next = thread->pool;
        thread->pool = call;
        return;
    }
    thread->posted[index]++;
}

static void clear_message(struct qd_call *call)
{
    if (call->received != NULL) {
        grpc_byte_buffer_destroy(call->received);
        call->received = NULL;
    }
    if (call->sent != NULL) {
        grpc_byte_buffer_destroy(call->sent);
        call->sent = NULL;
    }
}

/* The call has ended: its object goes back, and a method that lacks posted calls gets one. */
static void call_end(struct qd_call *call)
{
    struct qd_rpc_thread *thread = call->thread;
    uint32_t index = call->method_index;

    clear_message(call);
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
        post(thread, index);
    }
}

/* --- replies --- */

static void count_error(struct qd_place *place, struct qd_call *call, enum qd_error_code code)
{
    /* The booking threads' place isn't a completion queue's: their errors go to a shared figure. */
    _Atomic uint64_t *figure = place == &call->thread->place
                                   ? &call->thread->errors_by_code[code]
                                   : &place->rpc->booking_errors_by_code[code];
    atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

static grpc_byte_buffer *out_buffer(struct qd_place *place)
{
    grpc_slice slice =
        grpc_slice_from_copied_buffer((const char *)place->out.begin, qd_out_used(&place->out));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

static void set_trailing(struct qd_call *call, enum qd_error_code code, grpc_op *status)
{
    status->data.send_status_from_server.trailing_metadata_count = 0;
    if (code == QD_ERROR_NONE) {
        return;
    }
    memset(call->trailing, 0, sizeof(call->trailing));
    call->trailing[0].key = grpc_slice_from_static_string("quotad-reason");
    call->trailing[0].value = grpc_slice_from_static_string(qd_error_reason(code));
    status->data.send_status_from_server.trailing_metadata = call->trailing;
    status->data.send_status_from_server.trailing_metadata_count = 1;
    if (code == QD_ERROR_OVERLOADED ||
        code == QD_ERROR_STORE_ERROR) { /* I8: a hint when to come back */
        call->trailing[1].key = grpc_slice_from_static_string("grpc-retry-pushback-ms");
        call->trailing[1].value = grpc_slice_from_static_string(RETRY_PUSHBACK_MS);
        status->data.send_status_from_server.trailing_metadata_count = 2;
    }
}

static void set_status(struct qd_call *call, enum qd_error_code code, const struct qd_error *error,
                       grpc_op *op)
{
    op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op->data.send_status_from_server.status =
        (grpc_status_code)(code == QD_ERROR_NONE ? QD_STATUS_OK : qd_error_status(code));
    set_trailing(call, code, op);
    op->data.send_status_from_server.status_details = NULL;
    if (code != QD_ERROR_NONE) {
        call->details = grpc_slice_from_copied_string(error->text);
        call->has_details = true;
        op->data.send_status_from_server.status_details = &call->details;
    }
}

static void start(struct qd_call *call, const grpc_op *ops, size_t count, enum qd_event_tag tag)
{
    grpc_call_error result = grpc_call_start_batch(call->call, ops, count, &call->tags[tag], NULL);

    assert(result == GRPC_CALL_OK);
    (void)result;
}

static void reply_unary(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                        const struct qd_error *error)
{
    grpc_op ops[4];
    size_t n = 0;

    memset(ops, 0, sizeof(ops));
    ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (code == QD_ERROR_NONE) {
        call->sent = out_buffer(place);
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = call->sent;
    }
    set_status(call, code, error, &ops[n++]);
    ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[n++].data.recv_close_on_server.cancelled = &call->cancelled;
    start(call, ops, n, QD_TAG_REPLY);
}

static void stream_status(struct qd_call *call, enum qd_error_code code,
                          const struct qd_error *error)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    set_status(call, code, error, &op);
    start(call, &op, 1, QD_TAG_STATUS);
}

/* Send the answer to one message and read the next one: one batch, so that reading goes on while it
 * is sent. */
static void reply_stream(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                         const struct qd_error *error)
{
    grpc_op ops[2];

    if (code != QD_ERROR_NONE) {
        stream_status(call, code, error);
        return;
    }
    clear_message(call);
    memset(ops, 0, sizeof(ops));
    call->sent = out_buffer(place);
    ops[0].op = GRPC_OP_SEND_MESSAGE;
    ops[0].data.send_message.send_message = call->sent;
    ops[1].op = GRPC_OP_RECV_MESSAGE;
    ops[1].data.recv_message.recv_message = &call->received;
    call->reading = true;
    start(call, ops, 2, QD_TAG_READ);
}

void qd_call_reply(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                   const struct qd_error *error)
{
    struct qd_error internal;

    if (code == QD_ERROR_NONE && place->out.full) {
        code = qd_error_set(&internal, QD_ERROR_INTERNAL, "the answer does not fit its buffer");
        error = &internal;
    }
    if (code != QD_ERROR_NONE) {
        count_error(place, call, code);
    }
    if (call->method->kind == QD_METHOD_STREAM) {
        reply_stream(place, call, code, error);
    } else {
        reply_unary(place, call, code, error);
    }
}

/* --- handling --- */

/* The message's bytes in one piece; *ret_slice must be unreferenced after use. */
static struct qd_str message_bytes(grpc_byte_buffer *buffer, grpc_slice *ret_slice)
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

/* Run the handler on the message and start the reply. The slice is freed before the reply is
 * started: the answer holds nothing of it. */
static void handle(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;
    grpc_slice slice =
        grpc_empty_slice(); /* small messages lie within it: it lives as long as `bytes` */
    struct qd_str bytes = message_bytes(call->received, &slice);
    enum qd_error_code code = QD_ERROR_NONE;

    if (call->received == NULL) {
        code = qd_error_set(&error, QD_ERROR_MALFORMED,
                            "the request ended before its message was whole; send 1 byte of flags, "
                            "4 bytes of length and "
                            "all of the message");
    } else if (bytes.len > QD_MESSAGE_BYTES_MAX) { /* X2 */
        code = qd_error_set(&error, QD_ERROR_MESSAGE_TOO_LARGE,
                            "message: %zu bytes; at most %u are accepted; split it", bytes.len,
                            QD_MESSAGE_BYTES_MAX);
    } else {
        qd_place_clear(place);
        (void)qd_worker_enter(place->worker);
        code = call->method->handle(place, call, bytes, &error);
        qd_worker_leave(place->worker);
    }
    grpc_slice_unref(slice);
    qd_call_reply(place, call, code, &error);
}

static void to_booking(struct qd_rpc_thread *thread, struct qd_call *call)
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
        (void)qd_error_set(
            &error, QD_ERROR_OVERLOADED,
            "%u reports wait for the disk already; nothing was booked: retry in " RETRY_PUSHBACK_MS
            " ms",
            rpc->config.booking_queue);
        qd_call_reply(&thread->place, call, QD_ERROR_OVERLOADED, &error);
    }
}

/* I9: a report whose caller has gone away isn't begun. */
static bool too_late(const struct qd_call *call)
{
    return gpr_time_cmp(gpr_now(call->deadline.clock_type), call->deadline) > 0;
}

static void *booking_main(void *argument)
{
    struct booking_thread *b = argument;
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
                               "the deadline passed while the report waited; nothing was "
                               "booked: retry");
            qd_call_reply(&b->place, call, QD_ERROR_DEADLINE, &error);
        } else {
            handle(&b->place, call);
        }
    }
}

/* --- events --- */

static void begin_stream(struct qd_call *call)
{
    grpc_op ops[2];

    call->numbers = grpc_call_arena_alloc(call->call, QD_BATCH_MAX * sizeof(uint64_t));
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[0].data.recv_close_on_server.cancelled = &call->cancelled;
    start(call, ops, 1, QD_TAG_CLOSE);
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_RECV_MESSAGE;
    ops[1].data.recv_message.recv_message = &call->received;
    call->reading = true;
    start(call, ops, 2, QD_TAG_READ);
}

static void begin_watch(struct qd_place *place, struct qd_call *call)
{
    grpc_op ops[2];

    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[0].data.recv_close_on_server.cancelled = &call->cancelled;
    start(call, ops, 1, QD_TAG_CLOSE);
    (void)place;
    qd_health_watch(call->thread->rpc, call);
}

static void answer_unknown(struct qd_place *place, struct qd_call *call)
{
    struct qd_error error;
    struct qd_str method = {(const char *)GRPC_SLICE_START_PTR(call->asked.method),
                            GRPC_SLICE_LENGTH(call->asked.method)};

    (void)qd_error_set(
        &error, QD_ERROR_UNSUPPORTED,
        "%s is not served here; list what is with grpc.reflection.v1.ServerReflection",
        qd_quote(method).text);
    qd_call_reply(place, call, QD_ERROR_UNSUPPORTED, &error);
}

static void on_request(struct qd_rpc_thread *thread, struct qd_call *call, bool ok)
{
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
    post(thread, call->method_index);
    switch (call->method->kind) {
    case QD_METHOD_INLINE:
        handle(&thread->place, call);
        break;
    case QD_METHOD_BOOKING:
        to_booking(thread, call);
        break;
    case QD_METHOD_STREAM:
        begin_stream(call);
        break;
    case QD_METHOD_WATCH:
        begin_watch(&thread->place, call);
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

static void end_if_done(struct qd_call *call)
{
    if (call->closed && call->finished && !call->reading) {
        call_end(call);
    }
}

static void on_read(struct qd_rpc_thread *thread, struct qd_call *call, bool ok)
{
    call->reading = false;
    if (!ok) {
        give_back(thread, call);
    }
    call->number_count = 0;
    if (!ok || call->received == NULL) {
        call->half_closed = true;
        stream_status(call, QD_ERROR_NONE, NULL);
        return;
    }
    atomic_fetch_add_explicit(&thread->stream_messages, 1, memory_order_relaxed);
    grpc_slice slice;
    struct qd_str bytes = message_bytes(call->received, &slice);
    bool booking = call->method->needs_booking != NULL && bytes.len <= QD_MESSAGE_BYTES_MAX &&
                   call->method->needs_booking(bytes);
    grpc_slice_unref(slice);
    if (booking) {
        to_booking(thread, call);
    } else {
        handle(&thread->place, call);
    }
}

static void on_event(struct qd_rpc_thread *thread, struct qd_tag *tag, bool ok)
{
    struct qd_call *call = tag->call;

    switch (tag->kind) {
    case QD_TAG_REQUEST:
        on_request(thread, call, ok);
        break;
    case QD_TAG_REPLY:
        if (call->method->kind == QD_METHOD_WATCH) {
            qd_health_sent(thread->rpc, call);
            end_if_done(call);
            break;
        }
        if (!ok || call->cancelled != 0) {
            give_back(thread, call);
        }
        call_end(call);
        break;
    case QD_TAG_READ:
        on_read(thread, call, ok);
        break;
    case QD_TAG_CLOSE:
        call->closed = true;
        if (call->method->kind == QD_METHOD_WATCH) {
            qd_health_unwatch(thread->rpc, call);
            call->finished = true;
        }
        end_if_done(call);
        break;
    case QD_TAG_STATUS:
        call->finished = true;
        end_if_done(call);
        break;
    case QD_TAG_COUNT:
        break;
    }
}

static void *thread_main(void *argument)
{
    struct qd_rpc_thread *thread = argument;
    struct qd_rpc *rpc = thread->rpc;

    for (uint32_t i = 0; i < rpc->method_count; i++) {
        for (uint32_t k = 0; k < rpc->methods[i]->posted; k++) {
            post(thread, i);
        }
    }
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(thread->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            on_event(thread, event.tag, event.success != 0);
        }
    }
}

/* --- start and stop --- */

static grpc_arg int_arg(const char *name, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER};

    /* gRPC doesn't change what it is given; its struct says char * all the same. */
    union {
        const char *in;
        char *out;
    } key = {.in = name};
    arg.key = key.out;
    arg.value.integer = value;
    return arg;
}

static void make_server(struct qd_rpc *rpc)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("quotad");
    grpc_resource_quota_resize(quota, MEMORY_QUOTA);
    union {
        const char *in;
        char *out;
    } key = {.in = GRPC_ARG_RESOURCE_QUOTA};
    grpc_arg args[12];
    size_t n = 0;
    args[n] = (grpc_arg){.type = GRPC_ARG_POINTER, .key = key.out};
    args[n].value.pointer.p = quota;
    args[n++].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    args[n++] = int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, WIRE_BYTES_MAX);
    args[n++] = int_arg(GRPC_ARG_MAX_METADATA_SIZE, QD_METADATA_BYTES_MAX);
    args[n++] = int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)rpc->config.streams_max);
    args[n++] = int_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_MS);
    args[n++] = int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS);
    args[n++] = int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
    args[n++] = int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    args[n++] =
        int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0); /* two servers on one port would share it silently */
    if (rpc->config.connection_age_s > 0) {
        args[n++] =
            int_arg(GRPC_ARG_MAX_CONNECTION_AGE_MS, (int)rpc->config.connection_age_s * 1000);
        args[n++] = int_arg(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 30000);
    }
    grpc_channel_args channel_args = {n, args};
    rpc->server = grpc_server_create(&channel_args, NULL);
    grpc_resource_quota_unref(quota);
}

uint32_t qd_rpc_methods(const struct qd_method *const **ret_methods)
{
    static const struct qd_method *const services[] = {qd_quota_methods, qd_usage_methods,
                                                       qd_admin_methods, qd_health_methods,
                                                       qd_reflection_methods};

    *ret_methods = services;
    return sizeof(services) / sizeof(services[0]);
}

static void register_methods(struct qd_rpc *rpc)
{
    const struct qd_method *const *services;
    uint32_t count = qd_rpc_methods(&services);

    for (uint32_t i = 0; i < count; i++) {
        for (const struct qd_method *m = services[i]; m->path != NULL; m++) {
            assert(rpc->method_count < METHODS_MAX);
            rpc->methods[rpc->method_count] = m;
            rpc->registered[rpc->method_count] = grpc_server_register_method(
                rpc->server, m->path, NULL,
                has_payload(m) ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER : GRPC_SRM_PAYLOAD_NONE,
                0);
            assert(rpc->registered[rpc->method_count] != NULL);
            rpc->method_count++;
        }
    }
    static const struct qd_method unknown = {"", QD_METHOD_UNKNOWN, 2, NULL, NULL};
    rpc->methods[rpc->method_count] = &unknown;
    rpc->registered[rpc->method_count++] = NULL;
}

static bool start_threads(struct qd_rpc *rpc)
{
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_rpc_thread *t = &rpc->threads[i];
        t->place.node = rpc->node;
        if (!qd_place_init(&t->place, rpc) ||
            pthread_create(&t->thread, NULL, thread_main, t) != 0) {
            return false;
        }
        t->started = true;
    }
    for (uint32_t i = 0; i < rpc->config.booking_threads; i++) {
        struct booking_thread *b = &rpc->booking[i];
        b->rpc = rpc;
        b->place.node = rpc->node;
        if (!qd_place_init(&b->place, rpc) ||
            pthread_create(&b->thread, NULL, booking_main, b) != 0) {
            return false;
        }
        b->started = true;
    }
    return true;
}

static struct qd_rpc *rpc_new(struct qd_node *node, const struct qd_rpc_config *config)
{
    struct qd_rpc *rpc = calloc(1, sizeof(*rpc));

    if (rpc == NULL) {
        return NULL;
    }
    rpc->node = node;
    rpc->config = *config;
    rpc->threads = aligned_alloc(64, config->threads * sizeof(struct qd_rpc_thread));
    rpc->booking = calloc(config->booking_threads, sizeof(struct booking_thread));
    if (rpc->threads == NULL || rpc->booking == NULL) {
        free(rpc->threads);
        free(rpc->booking);
        free(rpc);
        return NULL;
    }
    memset(rpc->threads, 0, config->threads * sizeof(struct qd_rpc_thread));
    (void)pthread_mutex_init(&rpc->booking_lock, NULL);
    (void)pthread_cond_init(&rpc->booking_ready, NULL);
    (void)pthread_mutex_init(&rpc->watch_lock, NULL);
    rpc->booking_last = &rpc->booking_first;
    return rpc;
}

struct qd_rpc *qd_rpc_start(struct qd_node *node, const struct qd_rpc_config *config,
                            struct qd_error *ret_error)
{
    struct qd_rpc *rpc = rpc_new(node, config);

    if (rpc == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    qd_grpc_log_take(&config->hooks);
    grpc_init();
    make_server(rpc);
    register_methods(rpc);
    for (uint32_t i = 0; i < config->threads; i++) {
        rpc->threads[i].rpc = rpc;
        rpc->threads[i].cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(rpc->server, rpc->threads[i].cq, NULL);
    }
    rpc->shutdown_cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(rpc->server, rpc->shutdown_cq, NULL);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    qd_grpc_log_mute(true);
    rpc->port = grpc_server_add_http2_port(rpc->server, config->listen, credentials);
    qd_grpc_log_mute(false);
    grpc_server_credentials_release(credentials);
    if (rpc->port == 0) {
        (void)qd_error_set(
            ret_error, QD_ERROR_INTERNAL,
            "%s: cannot listen; is another quotad running? choose another address with --listen",
            config->listen);
        qd_rpc_stop(rpc, 0);
        return NULL;
    }
    atomic_store(&rpc->serving, true);
    grpc_server_start(rpc->server);
    if (!start_threads(rpc)) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "cannot start threads: out of memory");
        qd_rpc_stop(rpc, 0);
        return NULL;
    }
    return rpc;
}

static void wait_shutdown(struct qd_rpc *rpc, uint32_t grace_ms)
{
    static int tag;
    gpr_timespec end =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(grace_ms, GPR_TIMESPAN));

    grpc_server_shutdown_and_notify(rpc->server, rpc->shutdown_cq, &tag);
    grpc_event event = grpc_completion_queue_next(rpc->shutdown_cq, end, NULL);
    if (event.type != GRPC_OP_COMPLETE) {
        grpc_server_cancel_all_calls(rpc->server);
        (void)grpc_completion_queue_next(rpc->shutdown_cq, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                         NULL);
    }
}

/* Watches never end by themselves. */
static void end_watchers(struct qd_rpc *rpc)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    for (struct qd_call *call = rpc->watchers; call != NULL; call = call->watch_next) {
        (void)grpc_call_cancel_with_status(call->call, GRPC_STATUS_UNAVAILABLE, "shutting down",
                                           NULL);
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

static void stop_booking(struct qd_rpc *rpc)
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

static void drain_queue(grpc_completion_queue *cq)
{
    grpc_completion_queue_shutdown(cq);
    while (grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(cq);
}

void qd_rpc_stop(struct qd_rpc *rpc, uint32_t grace_ms)
{
    if (rpc == NULL) {
        return;
    }
    atomic_store_explicit(&rpc->stopping, true, memory_order_release);
    qd_rpc_set_serving(rpc, false);
    end_watchers(rpc);
    if (rpc->port != 0) {
        wait_shutdown(rpc, grace_ms);
    }
    stop_booking(rpc); /* all calls have ended: nothing waits for it */
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_rpc_thread *t = &rpc->threads[i];
        if (t->started) {
            grpc_completion_queue_shutdown(t->cq);
            (void)pthread_join(t->thread, NULL);
            grpc_completion_queue_destroy(t->cq);
        } else if (t->cq != NULL) {
            drain_queue(t->cq);
        }
    }
    grpc_server_destroy(rpc->server);
    drain_queue(rpc->shutdown_cq);
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_call *next = NULL;
        for (struct qd_call *call = rpc->threads[i].pool; call != NULL; call = next) {
            next = call->next;
            grpc_metadata_array_destroy(&call->metadata);
            free(call);
        }
        qd_place_release(&rpc->threads[i].place);
    }
    (void)pthread_mutex_destroy(&rpc->booking_lock);
    (void)pthread_cond_destroy(&rpc->booking_ready);
    (void)pthread_mutex_destroy(&rpc->watch_lock);
    free(rpc->threads);
    free(rpc->booking);
    free(rpc);
    grpc_shutdown_blocking();
}

/* --- health's watchers --- */

static void send_health(struct qd_rpc *rpc, struct qd_call *call, bool first)
{
    /* HealthCheckResponse {1: status}: SERVING 1, NOT_SERVING 2. */
    uint8_t bytes[2] = {0x08, qd_rpc_serving(rpc) ? 1 : 2};
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
    start(call, ops, n, QD_TAG_REPLY);
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
    (void)pthread_mutex_lock(&rpc->watch_lock);
    struct qd_call **at = &rpc->watchers;
    while (*at != NULL && *at != call) {
        at = &(*at)->watch_next;
    }
    if (*at == call) {
        *at = call->watch_next;
    }
    call->watching = false;
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

void qd_health_sent(struct qd_rpc *rpc, struct qd_call *call)
{
    (void)pthread_mutex_lock(&rpc->watch_lock);
    call->reading = false;
    if (call->watching && call->dirty) {
        send_health(rpc, call, false);
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
            send_health(rpc, call, false);
        }
    }
    (void)pthread_mutex_unlock(&rpc->watch_lock);
}

/* --- figures --- */

void qd_rpc_figures(struct qd_rpc *rpc, struct qd_rpc_figures *ret_figures)
{
    struct qd_rpc_figures *f = ret_figures;

    memset(f, 0, sizeof(*f));
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_rpc_thread *t = &rpc->threads[i];
        f->calls += atomic_load_explicit(&t->calls, memory_order_relaxed);
        f->stream_messages += atomic_load_explicit(&t->stream_messages, memory_order_relaxed);
        for (size_t k = 0; k < QD_ERROR_COUNT; k++) {
            f->errors_by_code[k] +=
                atomic_load_explicit(&t->errors_by_code[k], memory_order_relaxed);
        }
    }
    for (size_t k = 0; k < QD_ERROR_COUNT; k++) {
        f->errors_by_code[k] +=
            atomic_load_explicit(&rpc->booking_errors_by_code[k], memory_order_relaxed);
        f->errors += f->errors_by_code[k];
    }
    f->booking_refused = atomic_load_explicit(&rpc->booking_refused, memory_order_relaxed);
    (void)pthread_mutex_lock(&rpc->booking_lock);
    f->booking_waiting = rpc->booking_waiting;
    (void)pthread_mutex_unlock(&rpc->booking_lock);
}
