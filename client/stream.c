/* Calls over one bidirectional stream, in batches. */
#include "client/client.h"
#include "client/frame.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void pump(struct quota_stream *stream);

/* Field of StreamRequest, and of the answer in StreamResponse. */
static unsigned field_of(enum lq_kind kind)
{
    switch (kind) {
    case LQ_CHECK:
        return 2;
    case LQ_REPORT:
        return 3;
    case LQ_EXTEND:
        return 4;
    case LQ_CANCEL:
        return 5;
    case LQ_INVOKE:
        break;
    }
    abort(); /* quota_client_invoke takes no stream */
}

/* ---- the items. Lock held. */

static void pending_add(struct quota_stream *stream, struct lq_call *call)
{
    call->item_next = NULL;
    *stream->pending_end = call;
    stream->pending_end = &call->item_next;
    stream->pending_count += 1;
}

static struct lq_call *pending_take(struct quota_stream *stream)
{
    struct lq_call *call = stream->pending;
    if (call != NULL) {
        stream->pending = call->item_next;
        stream->pending_count -= 1;
        if (stream->pending == NULL) {
            stream->pending_end = &stream->pending;
        }
    }
    return call;
}

static struct lq_call *sent_take(struct quota_stream *stream, uint64_t item)
{
    struct lq_call **link = &stream->sent[item % LQ_ITEM_BUCKETS];
    for (; *link != NULL; link = &(*link)->item_next) {
        if ((*link)->item == item) {
            struct lq_call *call = *link;
            *link = call->item_next;
            stream->sent_count -= 1;
            return call;
        }
    }
    return NULL;
}

static void pending_remove(struct quota_stream *stream, struct lq_call *call)
{
    struct lq_call **link = &stream->pending;
    while (*link != call) {
        assert(*link != NULL);
        link = &(*link)->item_next;
    }
    *link = call->item_next;
    stream->pending_count -= 1;
    if (*link == NULL) {
        stream->pending_end = link;
    }
}

/* Its call is about to end, outside of the lock. */
static void leave(struct quota_stream *stream, struct lq_call *call)
{
    lq_timer_clear(&stream->client->timers, &call->timer);
    call->stream = NULL;
    stream->ending_items += 1;
}

/* After lq_call_ended. Takes the lock: the stream may be freed as soon as it is released. */
static void left(struct quota_stream *stream)
{
    struct quota_client *client = stream->client;
    pthread_mutex_lock(&client->lock);
    stream->ending_items -= 1;
    pump(stream);
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

static void item_timeout(struct lq_timer *timer)
{
    struct lq_call *call =
        (struct lq_call *)(void *)((char *)timer - offsetof(struct lq_call, timer));
    struct quota_stream *stream = call->stream;
    struct quota_client *client = call->client;
    struct lq_result result = {.pause_ns = -1};
    lq_call_timed_out(call, &result);
    if (call->sent) {
        (void)sent_take(stream, call->item);
        if (call->kind == LQ_CHECK && !lq_call_may_repeat(call, &result)) {
            stream->abandoned[stream->abandoned_next % LQ_ABANDONED] = call->item;
            stream->abandoned_next += 1;
        }
    } else {
        pending_remove(stream, call);
    }
    leave(stream, call);
    pthread_mutex_unlock(&client->lock);
    lq_call_ended(call, &result);
    left(stream);
}

void lq_stream_add(struct quota_stream *stream, struct lq_call *call)
{
    struct quota_client *client = stream->client;
    int64_t until = lq_now() + call->try_timeout;
    stream->last_item += 1;
    call->stream = stream;
    call->item = stream->last_item;
    call->sent = false;
    call->tries += 1;
    client->stats.tries += 1;
    call->timer.fire = item_timeout;
    lq_timer_set(&client->timers, &call->timer, until < call->deadline ? until : call->deadline);
    pending_add(stream, call);
    pump(stream);
}

/* ---- the operations. Lock held. */

static void start(struct quota_stream *stream, grpc_op *ops, size_t count, struct lq_op *op)
{
    stream->outstanding += 1;
    grpc_call_error refused = grpc_call_start_batch(stream->rpc, ops, count, &op->event, NULL);
    assert(refused == GRPC_CALL_OK);
}

static void receive(struct quota_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->reply};
    stream->reply = NULL;
    start(stream, &op, 1, &stream->received);
}

static void open_rpc(struct quota_stream *stream)
{
    struct quota_client *client = stream->client;
    grpc_slice method = grpc_slice_from_static_string("/quota.v1.QuotaService/StreamQuota");
    stream->rpc =
        grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
                                 method, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    stream->over = false;
    stream->half_closed = false;
    stream->details = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    grpc_op open[2] = {
        lq_secure_begin(&client->secure),
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &stream->initial},
    };
    grpc_op finish = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &stream->trailing,
                                                     .status = &stream->code,
                                                     .status_details = &stream->details}};
    start(stream, open, 2, &stream->opened);
    start(stream, &finish, 1, &stream->finished);
    receive(stream);
}

static void send_batch(struct quota_stream *stream)
{
    size_t count =
        stream->pending_count < stream->batch_max ? stream->pending_count : stream->batch_max;
    size_t size = 0;
    const struct lq_call *next = stream->pending;
    for (size_t i = 0; i < count; i++, next = next->item_next) {
        size +=
            lq_frame_item_size(next->item, field_of(next->kind), GRPC_SLICE_LENGTH(next->request));
    }
    grpc_slice slice = grpc_slice_malloc(size);
    uint8_t *at = GRPC_SLICE_START_PTR(slice);
    for (size_t i = 0; i < count; i++) {
        struct lq_call *call = pending_take(stream);
        at = lq_frame_item_write(at, call->item, field_of(call->kind),
                                 GRPC_SLICE_START_PTR(call->request),
                                 GRPC_SLICE_LENGTH(call->request));
        struct lq_call **bucket = &stream->sent[call->item % LQ_ITEM_BUCKETS];
        call->item_next = *bucket;
        *bucket = call;
        call->sent = true;
        stream->sent_count += 1;
    }
    assert(at == GRPC_SLICE_START_PTR(slice) + size);
    grpc_byte_buffer *body = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = body};
    stream->sending = true;
    start(stream, &op, 1, &stream->sent_batch);
    grpc_byte_buffer_destroy(body);
    grpc_slice_unref(slice);
}

/* Do whatever can be done now. */
static void pump(struct quota_stream *stream)
{
    if (stream->rpc == NULL && stream->pending_count > 0 && !stream->client->closing) {
        open_rpc(stream);
    }
    if (stream->rpc == NULL || stream->over || stream->sending) {
        return;
    }
    bool full = stream->pending_count >= stream->batch_max;
    if (stream->pending_count > 0 && (!stream->held || full) && !stream->half_closed) {
        send_batch(stream);
    } else if (stream->ending && stream->pending_count == 0 && !stream->half_closed) {
        grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
        stream->half_closed = true;
        start(stream, &op, 1, &stream->half_closing);
    }
}

/* An operation is back. The last one of an rpc that is over lets it go. */
static void came_back(struct quota_stream *stream)
{
    stream->outstanding -= 1;
    if (stream->outstanding == 0 && stream->over) {
        grpc_metadata_array_destroy(&stream->initial);
        grpc_metadata_array_destroy(&stream->trailing);
        grpc_slice_unref(stream->details);
        grpc_call_unref(stream->rpc);
        stream->rpc = NULL;
        stream->sending = false;
    }
    pump(stream);
    pthread_cond_broadcast(&stream->client->changed);
}

static struct quota_stream *stream_of(struct lq_event *event)
{
    return ((struct lq_op *)event)->stream;
}

static void simple_done(struct lq_event *event, bool ok)
{
    struct quota_stream *stream = stream_of(event);
    struct quota_client *client = stream->client;
    (void)ok; /* A failure is told by the status. */
    pthread_mutex_lock(&client->lock);
    if (event == &stream->sent_batch.event) {
        stream->sending = false;
    }
    came_back(stream);
    pthread_mutex_unlock(&client->lock);
}

/* The answer to an item that nobody waits for any more. */
static void late_answer(struct quota_stream *stream, const struct lq_frame_item *item)
{
    struct quota_client *client = stream->client;
    bool give_back = false;
    pthread_mutex_lock(&client->lock);
    for (size_t i = 0; i < LQ_ABANDONED; i++) {
        if (stream->abandoned[i] == item->id && item->id != 0) {
            stream->abandoned[i] = 0;
            give_back = true;
        }
    }
    pthread_mutex_unlock(&client->lock);
    if (!give_back || item->field != field_of(LQ_CHECK)) {
        return;
    }
    struct quota_check_answer answer = {.message = ""};
    lq_decode_check(item->message, item->message_size, &answer);
    if (answer.reservation.token != NULL) {
        lq_cancel_late(client, answer.reservation.token);
        pthread_mutex_lock(&client->lock);
        client->stats.late_cancels += 1;
        pthread_mutex_unlock(&client->lock);
    }
    quota_check_answer_release(&answer);
}

static void item_answered(struct quota_stream *stream, const struct lq_frame_item *item)
{
    struct quota_client *client = stream->client;
    pthread_mutex_lock(&client->lock);
    struct lq_call *call = sent_take(stream, item->id);
    if (call != NULL) {
        leave(stream, call);
    }
    pthread_mutex_unlock(&client->lock);
    if (call == NULL) {
        late_answer(stream, item);
        return;
    }
    struct lq_result result = {.status = QUOTA_OK,
                               .pause_ns = -1,
                               .reply = item->message,
                               .reply_size = item->message_size};
    if (item->field == LQ_FRAME_ERROR) {
        lq_decode_item_error(item->message, item->message_size, &result);
    } else if (item->field != field_of(call->kind)) {
        result.status = QUOTA_INTERNAL;
        (void)snprintf(result.message, sizeof result.message,
                       "the answer is of another kind than the call");
    }
    lq_call_ended(call, &result);
    left(stream);
}

static void received(struct lq_event *event, bool ok)
{
    struct quota_stream *stream = stream_of(event);
    struct quota_client *client = stream->client;
    (void)ok;
    pthread_mutex_lock(&client->lock);
    grpc_byte_buffer *reply = stream->reply;
    stream->reply = NULL;
    pthread_mutex_unlock(&client->lock);
    bool valid = true;
    if (reply != NULL) {
        grpc_byte_buffer_reader reader;
        if (grpc_byte_buffer_reader_init(&reader, reply) != 0) {
            grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
            struct lq_frame_reader frames = {GRPC_SLICE_START_PTR(bytes),
                                             GRPC_SLICE_START_PTR(bytes) +
                                                 GRPC_SLICE_LENGTH(bytes)};
            struct lq_frame_item item;
            int more = 0;
            while ((more = lq_frame_next(&frames, &item)) > 0) {
                item_answered(stream, &item);
            }
            valid = more == 0;
            grpc_slice_unref(bytes);
            grpc_byte_buffer_reader_destroy(&reader);
        }
        grpc_byte_buffer_destroy(reply);
    }
    pthread_mutex_lock(&client->lock);
    if (!valid && !stream->over) {
        (void)grpc_call_cancel_with_status(stream->rpc, GRPC_STATUS_INTERNAL,
                                           "the server's batch is not a StreamQuotaResponse", NULL);
    }
    if (reply != NULL && valid && !stream->over) {
        receive(stream);
    }
    came_back(stream);
    pthread_mutex_unlock(&client->lock);
}

/* Any item, sent or not; NULL when there is none. */
static struct lq_call *take_any(struct quota_stream *stream)
{
    for (size_t i = 0; i < LQ_ITEM_BUCKETS && stream->sent_count > 0; i++) {
        if (stream->sent[i] != NULL) {
            return sent_take(stream, stream->sent[i]->item);
        }
    }
    return pending_take(stream);
}

/* The stream ended: what has no answer goes on as unary calls, by the rules of retries. */
static void finished(struct lq_event *event, bool ok)
{
    struct quota_stream *stream = stream_of(event);
    struct quota_client *client = stream->client;
    (void)ok;
    struct lq_result result = {.pause_ns = -1};
    char details[256];
    lq_slice_text(stream->details, details, sizeof details);
    result.status = lq_status_from_grpc((int)stream->code);
    if (result.status == QUOTA_OK || result.status == QUOTA_UNAVAILABLE) {
        result.status = QUOTA_UNAVAILABLE;
        (void)snprintf(result.message, sizeof result.message, "the stream to %s broke: %s",
                       client->address, details[0] != '\0' ? details : "ended by the server");
    } else {
        (void)snprintf(result.message, sizeof result.message, "the stream to %s failed: %s",
                       client->address, details);
    }
    pthread_mutex_lock(&client->lock);
    stream->over = true;
    for (;;) {
        struct lq_call *call = take_any(stream);
        if (call == NULL) {
            break;
        }
        result.refused = !call->sent; /* the server never saw it */
        leave(stream, call);
        pthread_mutex_unlock(&client->lock);
        lq_call_ended(call, &result);
        pthread_mutex_lock(&client->lock);
        stream->ending_items -= 1;
    }
    came_back(stream);
    pthread_mutex_unlock(&client->lock);
}

/* ---- making and ending */

enum quota_status quota_stream_new(struct quota_client *client, uint32_t batch_max,
                                   struct quota_stream **ret_stream)
{
    if (batch_max > LQ_BATCH_MAX) {
        return QUOTA_INVALID;
    }
    struct quota_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return QUOTA_NO_MEMORY;
    }
    stream->client = client;
    stream->batch_max = batch_max > 0 ? batch_max : LQ_BATCH_DEFAULT;
    stream->pending_end = &stream->pending;
    stream->opened = (struct lq_op){{simple_done}, stream};
    stream->sent_batch = (struct lq_op){{simple_done}, stream};
    stream->half_closing = (struct lq_op){{simple_done}, stream};
    stream->received = (struct lq_op){{received}, stream};
    stream->finished = (struct lq_op){{finished}, stream};
    pthread_mutex_lock(&client->lock);
    client->streams += 1;
    pthread_mutex_unlock(&client->lock);
    *ret_stream = stream;
    return QUOTA_OK;
}

void quota_stream_hold(struct quota_stream *stream)
{
    pthread_mutex_lock(&stream->client->lock);
    stream->held = true;
    pthread_mutex_unlock(&stream->client->lock);
}

void quota_stream_flush(struct quota_stream *stream)
{
    pthread_mutex_lock(&stream->client->lock);
    stream->held = false;
    pump(stream);
    pthread_mutex_unlock(&stream->client->lock);
}

void quota_stream_free(struct quota_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    struct quota_client *client = stream->client;
    assert(!lq_on_own_thread(client)); /* A callback would wait for itself. */
    pthread_mutex_lock(&client->lock);
    stream->ending = true;
    stream->held = false;
    pump(stream);
    while (stream->pending_count + stream->sent_count + stream->ending_items > 0) {
        pthread_cond_wait(&client->changed, &client->lock); /* bounded by the items' timeouts */
    }
    int64_t until = lq_now() + 1000 * LQ_NS_PER_MS; /* for the server's goodbye */
    struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    bool waiting = true;
    while (stream->rpc != NULL) {
        if (waiting) {
            waiting = pthread_cond_timedwait(&client->changed, &client->lock, &at) == 0;
        } else {
            (void)grpc_call_cancel(stream->rpc, NULL);
            pthread_cond_wait(&client->changed, &client->lock);
        }
    }
    client->streams -= 1;
    pthread_mutex_unlock(&client->lock);
    free(stream);
}
