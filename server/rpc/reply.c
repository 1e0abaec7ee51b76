#include "server/rpc/server_internal.h"

#include <assert.h>
#include <string.h>

void qd_call_clear_message(struct qd_call *call)
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
    if (qd_retry_hinted(code)) {
        call->trailing[1].key = grpc_slice_from_static_string("grpc-retry-pushback-ms");
        call->trailing[1].value = grpc_slice_from_static_string(QD_RETRY_PUSHBACK_MS);
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

void qd_call_start(struct qd_call *call, const grpc_op *ops, size_t count, enum qd_event_tag tag)
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
    qd_call_start(call, ops, n, QD_TAG_REPLY);
}

void qd_call_stream_status(struct qd_call *call, enum qd_error_code code,
                           const struct qd_error *error)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    set_status(call, code, error, &op);
    qd_call_sends(call, qd_call_now_ns(call));
    qd_call_start(call, &op, 1, QD_TAG_STATUS);
}

void qd_call_stream_refuse(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                           const struct qd_error *error)
{
    grpc_op ops[2];

    qd_place_count_refusal(place, code);
    qd_call_sends(call, qd_measure_reply(place, call, code));
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    set_status(call, code, error, &ops[1]);
    qd_call_start(call, ops, 2, QD_TAG_STATUS);
}

/* Send the answer to one message and read the next one: one batch, so that reading goes on while it
 * is sent. */
static void reply_stream(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                         const struct qd_error *error)
{
    grpc_op ops[2];

    if (code != QD_ERROR_NONE) {
        qd_call_stream_status(call, code, error);
        return;
    }
    qd_call_clear_message(call);
    memset(ops, 0, sizeof(ops));
    call->sent = out_buffer(place);
    ops[0].op = GRPC_OP_SEND_MESSAGE;
    ops[0].data.send_message.send_message = call->sent;
    ops[1].op = GRPC_OP_RECV_MESSAGE;
    ops[1].data.recv_message.recv_message = &call->received;
    call->reading = true;
    qd_call_start(call, ops, 2, QD_TAG_READ);
}

void qd_call_reply(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                   const struct qd_error *error)
{
    struct qd_error internal;

    atomic_store_explicit(&call->booked, false, memory_order_relaxed); /* before its batch starts */
    if (code == QD_ERROR_NONE && place->out.full) {
        code = qd_error_set(&internal, QD_ERROR_INTERNAL, "the answer does not fit its buffer");
        error = &internal;
    }
    if (code != QD_ERROR_NONE) {
        qd_place_count_refusal(place, code);
    }
    uint64_t now_ns = qd_measure_reply(place, call, code);
    if (call->method->kind == QD_METHOD_STREAM) {
        reply_stream(place, call, code, error);
    } else {
        qd_call_sends(call, now_ns);
        reply_unary(place, call, code, error);
    }
}
