/* A call that answers with many messages. It has a queue of its own: whoever follows waits there,
 * and the client's thread knows nothing of it. */
#include "client/client.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A refusal comes with the headers, in the same packet: it is there at once, or a moment later. */
#define REFUSAL_NS (20 * LQ_NS_PER_MS)

struct quota_follow {
    struct quota_client *client;
    grpc_completion_queue *queue;
    grpc_call *rpc;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice details;
    grpc_byte_buffer *received;
    bool receiving; /* a message is asked for */
    bool ended;     /* its status is known */
};

/* True if the batch of this tag has ended by `until_ns`. */
static bool pluck(struct quota_follow *follow, void *tag, int64_t until_ns)
{
    gpr_timespec until =
        until_ns == INT64_MAX ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : lq_deadline(until_ns);
    return grpc_completion_queue_pluck(follow->queue, tag, until, NULL).type == GRPC_OP_COMPLETE;
}

static bool wait_end(struct quota_follow *follow, int64_t until_ns)
{
    follow->ended = follow->ended || pluck(follow, &follow->code, until_ns);
    return follow->ended;
}

static void begin(struct quota_follow *follow, const void *request, size_t size)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(request, size);
    grpc_byte_buffer *body = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op ops[4] = {
        lq_secure_begin(&follow->client->secure),
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = body},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &follow->initial},
    };
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &follow->trailing,
                                                     .status = &follow->code,
                                                     .status_details = &follow->details}};
    grpc_call_error refused = grpc_call_start_batch(follow->rpc, ops, 4, &follow->initial, NULL);
    assert(refused == GRPC_CALL_OK); /* Our own mistake otherwise: the batch is well-formed. */
    refused = grpc_call_start_batch(follow->rpc, &status, 1, &follow->code, NULL);
    assert(refused == GRPC_CALL_OK);
    grpc_byte_buffer_destroy(body);
    grpc_slice_unref(slice);
}

static void ask(struct quota_follow *follow)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &follow->received};
    grpc_call_error refused = grpc_call_start_batch(follow->rpc, &op, 1, &follow->received, NULL);
    assert(refused == GRPC_CALL_OK);
    follow->receiving = true;
}

/* Its end is known: was there a message before it? It stays for the next call. */
static bool has_message(struct quota_follow *follow)
{
    ask(follow);
    (void)pluck(follow, &follow->received, INT64_MAX);
    follow->receiving = false;
    return follow->received != NULL;
}

/* Why it ended. */
static void say_end(const struct quota_follow *follow, struct quota_error *error)
{
    char details[640];
    struct lq_result result = {.status = lq_status_from_grpc((int)follow->code), .pause_ns = -1};
    if (result.status == QUOTA_OK) {
        result.status = QUOTA_UNAVAILABLE;
        (void)snprintf(result.message, sizeof result.message, "the server ended the stream");
    } else {
        lq_slice_text(follow->details, details, sizeof details);
        lq_read_trailing(&follow->trailing, (int)follow->code, &result);
        lq_describe(follow->client, details, &result);
    }
    lq_error_set(error, result.status, "%s", result.message);
    (void)snprintf(error->reason, sizeof error->reason, "%s", result.reason);
}

enum quota_status quota_follow_new(struct quota_client *client, const char *method,
                                   const void *request, size_t request_size, int64_t timeout_ms,
                                   struct quota_error *error, struct quota_follow **ret_follow)
{
    struct quota_error unused;
    error = error != NULL ? error : &unused;
    if (method == NULL || method[0] != '/') {
        lq_error_set(error, QUOTA_INVALID,
                     "method \"%s\" is not valid; accepted: \"/package.Service/Method\"",
                     method != NULL ? method : "");
        return QUOTA_INVALID;
    }
    struct quota_follow *follow = calloc(1, sizeof *follow);
    if (follow == NULL) {
        lq_error_set(error, QUOTA_NO_MEMORY, "out of memory");
        return QUOTA_NO_MEMORY;
    }
    timeout_ms = timeout_ms > 0 ? timeout_ms : client->config.report_timeout_ms;
    int64_t until_ns = lq_now() + timeout_ms * LQ_NS_PER_MS;
    follow->client = client;
    follow->details = grpc_empty_slice();
    follow->queue = grpc_completion_queue_create_for_pluck(NULL);
    grpc_metadata_array_init(&follow->initial);
    grpc_metadata_array_init(&follow->trailing);
    grpc_slice path = grpc_slice_from_copied_string(method);
    follow->rpc =
        grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, follow->queue,
                                 path, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_slice_unref(path);
    begin(follow, request, request_size);
    bool answered = pluck(follow, &follow->initial, until_ns);
    if (!answered) {
        (void)grpc_call_cancel(follow->rpc, NULL);
        (void)pluck(follow, &follow->initial, INT64_MAX);
        lq_error_set(error, QUOTA_TIMEOUT, "no answer from quotad at %s within %lld ms",
                     client->address, (long long)timeout_ms);
    } else if (wait_end(follow, lq_now() + REFUSAL_NS) && !has_message(follow)) {
        say_end(follow, error);
        answered = false;
    }
    if (!answered) {
        quota_follow_free(follow);
        return error->status;
    }
    lq_error_set(error, QUOTA_OK, "%s", "");
    *ret_follow = follow;
    return QUOTA_OK;
}

static enum quota_status take(struct quota_follow *follow, struct quota_bytes *ret_message)
{
    grpc_byte_buffer_reader reader;
    grpc_slice bytes = grpc_empty_slice();
    if (grpc_byte_buffer_reader_init(&reader, follow->received) != 0) {
        bytes = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(follow->received);
    follow->received = NULL;
    size_t size = GRPC_SLICE_LENGTH(bytes);
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy != NULL) {
        memcpy(copy, GRPC_SLICE_START_PTR(bytes), size);
        *ret_message = (struct quota_bytes){.data = copy, .size = size, .memory = copy};
    } else {
        lq_error_set(&ret_message->error, QUOTA_NO_MEMORY, "out of memory");
    }
    grpc_slice_unref(bytes);
    return copy != NULL ? QUOTA_OK : QUOTA_NO_MEMORY;
}

enum quota_status quota_follow_next(struct quota_follow *follow, int64_t timeout_ms,
                                    struct quota_bytes *ret_message)
{
    *ret_message = (struct quota_bytes){.data = NULL};
    if (follow->received == NULL && !follow->receiving) {
        ask(follow);
    }
    if (follow->receiving) {
        int64_t until_ns = timeout_ms < 0 ? INT64_MAX : lq_now() + timeout_ms * LQ_NS_PER_MS;
        if (!pluck(follow, &follow->received, until_ns)) {
            ret_message->error.status = QUOTA_TIMEOUT;
            return QUOTA_TIMEOUT;
        }
        follow->receiving = false;
    }
    if (follow->received != NULL) {
        return take(follow, ret_message);
    }
    (void)wait_end(follow, INT64_MAX);
    say_end(follow, &ret_message->error);
    return ret_message->error.status;
}

void quota_follow_free(struct quota_follow *follow)
{
    if (follow == NULL) {
        return;
    }
    (void)grpc_call_cancel(follow->rpc, NULL);
    if (follow->receiving) {
        (void)pluck(follow, &follow->received, INT64_MAX);
    }
    grpc_byte_buffer_destroy(follow->received);
    (void)wait_end(follow, INT64_MAX);
    grpc_call_unref(follow->rpc);
    grpc_completion_queue_shutdown(follow->queue);
    grpc_completion_queue_destroy(follow->queue);
    grpc_metadata_array_destroy(&follow->initial);
    grpc_metadata_array_destroy(&follow->trailing);
    grpc_slice_unref(follow->details);
    free(follow);
}
