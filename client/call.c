/* One call: its tries, what may be repeated, and its end. */
#include "client/client.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void try_done(struct lq_event *event, bool ok);

static int64_t clamp_ms(int64_t ms)
{
    const int64_t max = 86400000;
    return ms < 1 ? 1 : ms > max ? max : ms;
}

struct lq_call *lq_call_new(struct quota_client *client, enum lq_kind kind, const char *method,
                            grpc_slice request, const struct quota_call *options)
{
    const struct quota_call none = {0};
    options = options != NULL ? options : &none;
    struct lq_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        grpc_slice_unref(request);
        return NULL;
    }
    const struct quota_config *config = &client->config;
    call->event.run = try_done;
    call->timer.fire = lq_call_retry;
    call->client = client;
    call->kind = kind;
    call->request = request;
    call->method = grpc_slice_from_copied_string(method);
    call->details = grpc_empty_slice();
    call->repeatable = kind != LQ_INVOKE || options->tries_max > 1;
    call->tries_max = options->tries_max > 0 ? options->tries_max
                      : kind == LQ_INVOKE    ? 1
                                             : config->tries_max;
    call->failure_mode =
        options->failure_mode != QUOTA_FAIL_DEFAULT ? options->failure_mode : config->failure_mode;
    int64_t timeout_ms = options->timeout_ms > 0 ? options->timeout_ms
                         : kind == LQ_CHECK      ? config->check_timeout_ms
                                                 : config->report_timeout_ms;
    call->timeout = clamp_ms(timeout_ms) * LQ_NS_PER_MS;
    call->deadline = lq_now() + call->timeout;
    if (options->try_timeout_ms > 0) {
        call->try_timeout = clamp_ms(options->try_timeout_ms) * LQ_NS_PER_MS;
    } else {
        call->try_timeout = call->tries_max > 1 ? call->timeout / 2 : call->timeout;
    }
    if (options->traceparent != NULL) {
        call->traceparent = strdup(options->traceparent);
        if (call->traceparent == NULL) {
            lq_call_free(call);
            return NULL;
        }
    }
    return call;
}

void lq_call_free(struct lq_call *call)
{
    if (call == NULL) {
        return;
    }
    grpc_slice_unref(call->method);
    grpc_slice_unref(call->request);
    free(call->traceparent);
    free(call->tenant);
    free(call->request_id);
    free(call->reservation);
    free(call);
}

static size_t fill_metadata(struct lq_call *call)
{
    const struct lq_secure *secure = &call->client->secure;
    size_t count = 0;

    if (secure->has_token) {
        call->metadata[count++] = secure->authorization;
    }
    if (call->traceparent != NULL) {
        call->metadata[count].key = grpc_slice_from_static_string("traceparent");
        call->metadata[count++].value = grpc_slice_from_static_string(call->traceparent);
    }
    return count;
}

/* Send a unary try. Lock held: closing cannot begin in between. */
static void start_try(struct lq_call *call)
{
    struct quota_client *client = call->client;
    int64_t until = lq_now() + call->try_timeout;
    until = until < call->deadline ? until : call->deadline;
    call->tries += 1;
    client->stats.tries += 1;
    call->rpc =
        grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
                                 call->method, NULL, lq_deadline(until), NULL);
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    call->reply = NULL;
    grpc_byte_buffer *body = grpc_raw_byte_buffer_create(&call->request, 1);
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = body},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &call->initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->reply},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &call->trailing,
                                        .status = &call->code,
                                        .status_details = &call->details}},
    };
    ops[0].data.send_initial_metadata.metadata = call->metadata;
    ops[0].data.send_initial_metadata.count = fill_metadata(call);
    grpc_call_error refused = grpc_call_start_batch(call->rpc, ops, 6, &call->event, NULL);
    assert(refused == GRPC_CALL_OK); /* Our own mistake otherwise: the batch is well-formed. */
    grpc_byte_buffer_destroy(body);
}

enum quota_status lq_call_launch(struct lq_call *call, struct quota_stream *stream)
{
    struct quota_client *client = call->client;
    enum quota_status status = QUOTA_OK;
    pthread_mutex_lock(&client->lock);
    if (client->closing) {
        status = QUOTA_CANCELLED;
    } else if (call->counted && client->open_counted >= client->config.in_flight_max) {
        status = QUOTA_BUSY;
    } else if (!lq_timers_reserve(&client->timers, client->timer_owners + 1)) {
        status = QUOTA_NO_MEMORY;
    } else {
        client->timer_owners += 1;
        client->open += 1;
        client->open_counted += call->counted ? 1 : 0;
        client->stats.calls += 1;
        call->next = client->calls;
        call->link = &client->calls;
        if (call->next != NULL) {
            call->next->link = &call->next;
        }
        client->calls = call;
        if (call->settles) {
            /* Before it is sent: its callback may free what the caller passed in. */
            lq_renew_forget(client, call->reservation);
        }
        if (stream != NULL) {
            lq_stream_add(stream, call);
        } else {
            start_try(call);
        }
    }
    pthread_mutex_unlock(&client->lock);
    return status;
}

static int64_t pause_before_next(struct lq_call *call, const struct lq_result *result)
{
    const struct quota_config *config = &call->client->config;
    int64_t pause = config->backoff_ms * LQ_NS_PER_MS;
    int64_t max = config->backoff_max_ms * LQ_NS_PER_MS;
    for (uint32_t i = 1; i < call->tries && pause < max; i++) {
        pause *= 2;
    }
    pause = pause < max ? pause : max;
    pause = pause / 2 + (int64_t)(lq_random(call->client) % (uint64_t)(pause / 2 + 1));
    return result->pause_ns > pause ? result->pause_ns : pause;
}

/* May this try be followed by another that does no harm? */
bool lq_call_may_repeat(const struct lq_call *call, const struct lq_result *result)
{
    if (call->client->closing || call->tries >= call->tries_max) {
        return false;
    }
    if (result->status == QUOTA_UNAVAILABLE) {
        return call->repeatable || result->refused;
    }
    return result->status == QUOTA_TIMEOUT && call->repeatable;
}

void lq_call_ended(struct lq_call *call, const struct lq_result *result)
{
    struct quota_client *client = call->client;
    pthread_mutex_lock(&client->lock);
    if (lq_call_may_repeat(call, result)) {
        int64_t at = lq_now() + pause_before_next(call, result);
        if (at < call->deadline) {
            call->timer.fire = lq_call_retry;
            lq_timer_set(&client->timers, &call->timer, at);
            pthread_mutex_unlock(&client->lock);
            return;
        }
    }
    pthread_mutex_unlock(&client->lock);

    lq_call_deliver(call, result);

    pthread_mutex_lock(&client->lock);
    *call->link = call->next;
    if (call->next != NULL) {
        call->next->link = call->link;
    }
    client->timer_owners -= 1;
    client->open -= 1;
    client->open_counted -= call->counted ? 1 : 0;
    client->stats.failed += result->status != QUOTA_OK ? 1 : 0;
    if (call->waiter != NULL) {
        call->waiter->done = true;
        pthread_cond_signal(&call->waiter->cond);
    }
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
    lq_call_free(call);
}

void lq_call_retry(struct lq_timer *timer)
{
    struct lq_call *call =
        (struct lq_call *)(void *)((char *)timer - offsetof(struct lq_call, timer));
    bool closing = call->client->closing;
    if (!closing) {
        start_try(call);
    }
    pthread_mutex_unlock(&call->client->lock);
    if (closing) {
        struct lq_result result = {.status = QUOTA_CANCELLED, .message = "the client was closed"};
        lq_call_ended(call, &result);
    }
}

/* ---- the end of a try */

void lq_slice_text(grpc_slice slice, char *ret_text, size_t size)
{
    size_t length = GRPC_SLICE_LENGTH(slice);
    length = length < size ? length : size - 1;
    memcpy(ret_text, GRPC_SLICE_START_PTR(slice), length);
    ret_text[length] = '\0';
}

void lq_read_trailing(const grpc_metadata_array *trailing, int code, struct lq_result *result)
{
    char text[64];
    for (size_t i = 0; i < trailing->count; i++) {
        const grpc_metadata *entry = &trailing->metadata[i];
        if (grpc_slice_str_cmp(entry->key, "quotad-reason") == 0) {
            lq_slice_text(entry->value, text, sizeof text);
            lq_result_reason(result, code, text);
        } else if (grpc_slice_str_cmp(entry->key, "grpc-retry-pushback-ms") == 0 ||
                   grpc_slice_str_cmp(entry->key, "retry-after-ms") == 0) {
            lq_slice_text(entry->value, text, sizeof text);
            char *end = text;
            long long ms = strtoll(text, &end, 10);
            if (end != text && ms >= 0) {
                result->pause_ns = clamp_ms(ms) * LQ_NS_PER_MS;
            }
        }
    }
}

/* What follows `mark`, or NULL. */
static const char *after(const char *text, const char *mark)
{
    const char *found = text != NULL ? strstr(text, mark) : NULL;
    return found != NULL ? found + strlen(mark) : NULL;
}

/* gRPC tells a failed connection as a chain of causes; people need the last. */
static const char *last_cause(const struct quota_client *client, const char *details)
{
    const char *remote = after(details, "Failed to connect to remote host: ");
    if (remote != NULL) {
        return remote;
    }
    if (client->config.tls_ca_file != NULL && strncmp(details, "empty address list", 18) == 0) {
        return "the TLS files cannot be used: a certificate is damaged, or the key is not its own";
    }
    /* "...last error: UNKNOWN: ipv4:127.0.0.1:7070: Ssl handshake failed: ..." */
    const char *cause = after(after(after(details, "last error: "), ": "), ": ");
    return cause != NULL ? cause : details;
}

void lq_call_timed_out(const struct lq_call *call, struct lq_result *ret_result)
{
    ret_result->status = QUOTA_TIMEOUT;
    (void)snprintf(ret_result->message, sizeof ret_result->message,
                   "no answer from quotad at %s within %d ms", call->client->address,
                   (int)(call->timeout / LQ_NS_PER_MS));
}

void lq_describe(const struct quota_client *client, const char *details, struct lq_result *result)
{
    size_t size = sizeof result->message;
    if (result->status == QUOTA_UNAVAILABLE && !result->refused) {
        (void)snprintf(result->message, size, "cannot reach quotad at %s: %s", client->address,
                       last_cause(client, details));
    } else {
        (void)snprintf(result->message, size, "%s",
                       details[0] != '\0' ? details : quota_status_name(result->status));
    }
}

static void describe(struct lq_call *call, const char *details, struct lq_result *result)
{
    if (result->status == QUOTA_TIMEOUT && !result->refused) {
        lq_call_timed_out(call, result);
    } else {
        lq_describe(call->client, details, result);
    }
}

static void try_done(struct lq_event *event, bool ok)
{
    struct lq_call *call = (struct lq_call *)event;
    struct quota_client *client = call->client;
    (void)ok; /* A batch that receives the status always succeeds. */
    pthread_mutex_lock(&client->lock);
    grpc_call *rpc = call->rpc;
    call->rpc = NULL;
    bool closing = client->closing;
    pthread_mutex_unlock(&client->lock);

    struct lq_result result = {.status = lq_status_from_grpc(call->code), .pause_ns = -1};
    grpc_slice body = grpc_empty_slice();
    if (result.status != QUOTA_OK) {
        char details[640];
        lq_slice_text(call->details, details, sizeof details);
        lq_read_trailing(&call->trailing, (int)call->code, &result);
        describe(call, details, &result);
        if (closing) {
            result.status = QUOTA_CANCELLED;
        }
    } else if (call->reply != NULL) {
        grpc_byte_buffer_reader reader;
        if (grpc_byte_buffer_reader_init(&reader, call->reply) != 0) {
            body = grpc_byte_buffer_reader_readall(&reader);
            grpc_byte_buffer_reader_destroy(&reader);
        }
        result.reply = GRPC_SLICE_START_PTR(body);
        result.reply_size = GRPC_SLICE_LENGTH(body);
    }
    grpc_byte_buffer_destroy(call->reply);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->details);
    call->details = grpc_empty_slice();
    grpc_call_unref(rpc);
    lq_call_ended(call, &result);
    grpc_slice_unref(body);
}
