#include "tests/unit/client/fake_server.h"

#include "quota/v1/quota.pb-c.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEYS_MAX = 65536,
    CANNED_MAX = 32,
    SERVICE_LENGTH = 23
};

struct canned {
    char method[96];
    uint8_t *reply;
    size_t size;
    int code;
    char reason[48];
    char text[256];
    uint8_t *request;
    size_t request_size;
};

struct fake_server {
    pthread_mutex_t lock;
    pthread_t thread;
    grpc_server *server;
    grpc_completion_queue *queue;
    char address[32];
    struct fake_faults faults;
    struct fake_counts counts;
    bool stop_output;
    bool down;            /* the queue takes no operation any more; only its thread looks */
    char *keys[KEYS_MAX]; /* of checks and reports seen; the index of a check is its token */
    bool gone[KEYS_MAX];
    size_t key_count;
    struct canned canned[CANNED_MAX];
    size_t canned_count;
};

/* What an operation is told by: a call's own step, or its end. */
struct tag {
    struct rpc *rpc;
    bool is_close;
};

/* One call, unary or stream. */
struct rpc {
    struct tag step;
    struct tag close;
    struct fake_server *server;
    enum {
        WAITING,
        RECEIVING,
        SENDING,
        FINISHING
    } state;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request;
    grpc_metadata trailing;
    char reason[48];
    bool streams;
    bool started; /* initial metadata sent */
    bool silent;
    int cancelled;
    int references; /* operations under way */
};

/* The answer to one message. */
struct reply {
    grpc_slice bytes;
    int code;
    const char *reason;
    char text[256];
    bool silent;
};

static void request_next(struct fake_server *server)
{
    if (server->down) {
        return;
    }
    struct rpc *rpc = calloc(1, sizeof *rpc);
    assert(rpc != NULL);
    rpc->server = server;
    rpc->step = (struct tag){rpc, false};
    rpc->close = (struct tag){rpc, true};
    grpc_call_details_init(&rpc->details);
    grpc_metadata_array_init(&rpc->metadata);
    grpc_call_error error =
        grpc_server_request_call(server->server, &rpc->call, &rpc->details, &rpc->metadata,
                                 server->queue, server->queue, &rpc->step);
    assert(error == GRPC_CALL_OK);
}

static void rpc_free(struct rpc *rpc)
{
    if (rpc->call != NULL) {
        grpc_call_unref(rpc->call);
    }
    grpc_byte_buffer_destroy(rpc->request);
    grpc_call_details_destroy(&rpc->details);
    grpc_metadata_array_destroy(&rpc->metadata);
    free(rpc);
}

static void start(struct rpc *rpc, grpc_op *ops, size_t count, struct tag *tag)
{
    if (rpc->server->down) {
        return;
    }
    rpc->references += 1;
    grpc_call_error error = grpc_call_start_batch(rpc->call, ops, count, tag, NULL);
    assert(error == GRPC_CALL_OK);
}

/* ---- what quotad would do. Lock held. */

static size_t key_find(struct fake_server *server, const char *key, bool *ret_new)
{
    for (size_t i = 0; i < server->key_count; i++) {
        if (strcmp(server->keys[i], key) == 0) {
            *ret_new = false;
            return i;
        }
    }
    assert(server->key_count < KEYS_MAX);
    server->keys[server->key_count] = strdup(key);
    *ret_new = true;
    return server->key_count++;
}

static grpc_slice packed(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    return slice;
}

static void do_check(struct fake_server *server, const Quota__V1__CheckQuotaRequest *request,
                     Quota__V1__CheckQuotaResponse *ret, Quota__V1__Reservation *ret_hold,
                     char *token)
{
    server->counts.checks += 1;
    ret->policy_revision = 7;
    if (strcmp(request->tenant, "denied") == 0) {
        ret->verdict = QUOTA__V1__VERDICT__VERDICT_DENIED;
        ret->reason = QUOTA__V1__REASON__REASON_LIMIT;
        ret->retry_useful = 1;
        ret->retry_after_ns = 12400000000;
        static char message[] = "free.tokens 39,200 used + 1,600 estimated > 40,000/min; "
                                "retry in 12.4 s";
        ret->message = message;
        return;
    }
    ret->verdict = QUOTA__V1__VERDICT__VERDICT_ALLOWED;
    if (request->dry_run || request->no_reservation) {
        return;
    }
    char key[256];
    bool is_new = true;
    if (request->request_id[0] != '\0') {
        snprintf(key, sizeof key, "check %s %s %u", request->tenant, request->request_id,
                 request->attempt);
    } else {
        snprintf(key, sizeof key, "check #%zu", server->key_count);
    }
    size_t number = key_find(server, key, &is_new);
    server->counts.holds += is_new ? 1 : 0;
    ret->repeated_check = !is_new;
    snprintf(token, 64, "qr1.%zu", number);
    ret_hold->token = token;
    ret_hold->id = token + 2;
    ret_hold->expires_at_unix_ns = 1;
    ret->reservation = ret_hold;
}

static void do_report(struct fake_server *server, const Quota__V1__ReportUsageRequest *request,
                      Quota__V1__ReportUsageResponse *ret)
{
    server->counts.reports += 1;
    char key[1024];
    bool is_new = true;
    snprintf(key, sizeof key, "report %s %s %s %s %u %u", request->tenant, request->source,
             request->reservation, request->request_id, request->attempt, request->sequence);
    size_t number = key_find(server, key, &is_new);
    server->counts.booked += is_new ? 1 : 0;
    for (size_t i = 0; is_new && i < request->n_usage; i++) {
        const Quota__V1__Amount *amount = request->usage[i];
        if (strcmp(amount->meter, "input_tokens") == 0 ||
            strcmp(amount->meter, "output_tokens") == 0) {
            server->counts.booked_tokens += (uint64_t)amount->amount;
        }
    }
    ret->duplicate = !is_new;
    ret->entry_sequence = number + 1;
    static char node[] = "fake";
    static char money[] = "1234500000";
    ret->node = node;
    ret->cost_pico_usd = money;
    ret->charge_pico_usd = money;
    ret->cost_nano_usd = 1234500;
    ret->charge_nano_usd = 1234500;
    ret->settlement = request->reservation[0] == '\0' ? QUOTA__V1__SETTLEMENT__SETTLEMENT_NONE
                      : request->partial              ? QUOTA__V1__SETTLEMENT__SETTLEMENT_PARTIAL
                                                      : QUOTA__V1__SETTLEMENT__SETTLEMENT_CLOSED;
}

static grpc_slice do_extend(struct fake_server *server,
                            const Quota__V1__ExtendReservationRequest *request)
{
    Quota__V1__ExtendReservationResponse ret;
    quota__v1__extend_reservation_response__init(&ret);
    server->counts.extends += 1;
    (void)request;
    static char message[] = "acme.cost is spent";
    ret.continuation = server->stop_output ? QUOTA__V1__CONTINUATION__CONTINUATION_STOP
                                           : QUOTA__V1__CONTINUATION__CONTINUATION_CONTINUE;
    if (server->stop_output) {
        ret.reason = QUOTA__V1__REASON__REASON_LIMIT;
        ret.message = message;
    }
    return packed(&ret.base);
}

static grpc_slice do_cancel(struct fake_server *server,
                            const Quota__V1__CancelReservationRequest *request)
{
    Quota__V1__CancelReservationResponse ret;
    quota__v1__cancel_reservation_response__init(&ret);
    server->counts.cancels += 1;
    size_t number = KEYS_MAX;
    if (sscanf(request->reservation, "qr1.%zu", &number) == 1 && number < server->key_count &&
        !server->gone[number]) {
        server->gone[number] = true;
        server->counts.released += 1;
        ret.cancelled = 1;
    }
    return packed(&ret.base);
}

static grpc_slice do_message(struct fake_server *server, int field, size_t size,
                             const uint8_t *bytes)
{
    grpc_slice slice;
    if (field == 2) {
        Quota__V1__CheckQuotaRequest *request =
            quota__v1__check_quota_request__unpack(NULL, size, bytes);
        assert(request != NULL);
        Quota__V1__CheckQuotaResponse ret;
        Quota__V1__Reservation hold;
        char token[64];
        quota__v1__check_quota_response__init(&ret);
        quota__v1__reservation__init(&hold);
        do_check(server, request, &ret, &hold, token);
        slice = packed(&ret.base);
        quota__v1__check_quota_request__free_unpacked(request, NULL);
    } else if (field == 3) {
        Quota__V1__ReportUsageRequest *request =
            quota__v1__report_usage_request__unpack(NULL, size, bytes);
        assert(request != NULL);
        Quota__V1__ReportUsageResponse ret;
        quota__v1__report_usage_response__init(&ret);
        do_report(server, request, &ret);
        slice = packed(&ret.base);
        quota__v1__report_usage_request__free_unpacked(request, NULL);
    } else if (field == 4) {
        Quota__V1__ExtendReservationRequest *request =
            quota__v1__extend_reservation_request__unpack(NULL, size, bytes);
        assert(request != NULL);
        slice = do_extend(server, request);
        quota__v1__extend_reservation_request__free_unpacked(request, NULL);
    } else {
        Quota__V1__CancelReservationRequest *request =
            quota__v1__cancel_reservation_request__unpack(NULL, size, bytes);
        assert(request != NULL);
        slice = do_cancel(server, request);
        quota__v1__cancel_reservation_request__free_unpacked(request, NULL);
    }
    return slice;
}

static void do_canned(struct fake_server *server, const char *method, size_t size,
                      const uint8_t *bytes, struct reply *ret)
{
    for (size_t i = 0; i < server->canned_count; i++) {
        struct canned *canned = &server->canned[i];
        if (strcmp(canned->method, method) == 0) {
            free(canned->request);
            canned->request = malloc(size + 1);
            assert(canned->request != NULL);
            memcpy(canned->request, bytes, size);
            canned->request_size = size;
            ret->code = canned->code;
            ret->reason = canned->reason[0] != '\0' ? canned->reason : NULL;
            snprintf(ret->text, sizeof ret->text, "%s", canned->text);
            ret->bytes = grpc_slice_from_copied_buffer((const char *)canned->reply, canned->size);
            return;
        }
    }
    ret->code = GRPC_STATUS_UNIMPLEMENTED;
    snprintf(ret->text, sizeof ret->text, "the fake does not know %s", method);
}

static struct reply answer(struct fake_server *server, const char *method, size_t size,
                           const uint8_t *bytes)
{
    struct reply ret = {.bytes = grpc_empty_slice(), .code = GRPC_STATUS_OK};
    static const struct {
        const char *name;
        int field;
    } methods[] = {
        {"CheckQuota", 2}, {"ReportUsage", 3}, {"ExtendReservation", 4}, {"CancelReservation", 5}};
    pthread_mutex_lock(&server->lock);
    int field = 0;
    if (strncmp(method, "/quota.v1.QuotaService/", SERVICE_LENGTH) == 0) {
        for (size_t i = 0; i < 4; i++) {
            field =
                strcmp(method + SERVICE_LENGTH, methods[i].name) == 0 ? methods[i].field : field;
        }
    }
    if (qd_fault_hit(&server->faults.refuse)) {
        ret.code = GRPC_STATUS_UNAVAILABLE;
        ret.reason = "OVERLOADED";
        snprintf(ret.text, sizeof ret.text, "overloaded; try again");
    } else if (qd_fault_hit(&server->faults.full)) {
        ret.code = GRPC_STATUS_RESOURCE_EXHAUSTED;
        ret.reason = "REPORTS_QUEUE_FULL";
        snprintf(ret.text, sizeof ret.text, "the queue is full");
    } else if (field == 0) {
        do_canned(server, method, size, bytes, &ret);
    } else {
        ret.bytes = do_message(server, field, size, bytes);
        if (qd_fault_hit(&server->faults.lose)) {
            ret.code = GRPC_STATUS_UNAVAILABLE;
            snprintf(ret.text, sizeof ret.text, "connection reset");
        }
        ret.silent = qd_fault_hit(&server->faults.silent);
        if (qd_fault_hit(&server->faults.garbage)) {
            grpc_slice_unref(ret.bytes);
            ret.bytes = grpc_slice_from_static_string("\x0a\xff");
        }
    }
    useconds_t pause = qd_fault_hit(&server->faults.late) ? server->faults.late_ms * 1000 : 0;
    pthread_mutex_unlock(&server->lock);
    (void)usleep(pause);
    return ret;
}

/* ---- gRPC */

static void receive(struct rpc *rpc)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &rpc->request};
    rpc->state = RECEIVING;
    rpc->request = NULL;
    start(rpc, &op, 1, &rpc->step);
}

static void accepted(struct rpc *rpc)
{
    request_next(rpc->server);
    rpc->streams =
        grpc_slice_str_cmp(rpc->details.method, "/quota.v1.QuotaService/StreamQuota") == 0;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                  .data.recv_close_on_server.cancelled = &rpc->cancelled};
    start(rpc, &op, 1, &rpc->close);
    receive(rpc);
}

static void send(struct rpc *rpc, grpc_slice *message, const struct reply *status)
{
    grpc_op ops[3];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    if (!rpc->started) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        rpc->started = true;
    }
    grpc_byte_buffer *body = NULL;
    if (message != NULL) {
        body = grpc_raw_byte_buffer_create(message, 1);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = body;
    }
    grpc_slice text = grpc_empty_slice();
    if (status != NULL) {
        text = grpc_slice_from_copied_string(status->text);
        ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[count].data.send_status_from_server.status = (grpc_status_code)status->code;
        ops[count].data.send_status_from_server.status_details = &text;
        if (status->reason != NULL) {
            snprintf(rpc->reason, sizeof rpc->reason, "%s", status->reason);
            rpc->trailing.key = grpc_slice_from_static_string("quotad-reason");
            rpc->trailing.value = grpc_slice_from_static_string(rpc->reason);
            ops[count].data.send_status_from_server.trailing_metadata = &rpc->trailing;
            ops[count].data.send_status_from_server.trailing_metadata_count = 1;
        }
        count++;
    }
    rpc->state = status != NULL ? FINISHING : SENDING;
    start(rpc, ops, count, &rpc->step);
    grpc_byte_buffer_destroy(body);
    grpc_slice_unref(text);
}

static void count_metadata(struct rpc *rpc)
{
    struct fake_server *server = rpc->server;

    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < rpc->metadata.count; i++) {
        grpc_slice key = rpc->metadata.metadata[i].key;
        server->counts.with_token += grpc_slice_str_cmp(key, "authorization") == 0;
        server->counts.with_trace += grpc_slice_str_cmp(key, "traceparent") == 0;
    }
    pthread_mutex_unlock(&server->lock);
}

static void on_unary(struct rpc *rpc, const uint8_t *bytes, size_t size)
{
    count_metadata(rpc);
    char *method = grpc_slice_to_c_string(rpc->details.method);
    struct reply reply = answer(rpc->server, method, size, bytes);
    gpr_free(method);
    if (reply.silent) {
        rpc->silent = true; /* until the client cancels */
    } else {
        send(rpc, reply.code == GRPC_STATUS_OK ? &reply.bytes : NULL, &reply);
    }
    grpc_slice_unref(reply.bytes);
}

static void on_batch(struct rpc *rpc, const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"CheckQuota", "ReportUsage", "ExtendReservation",
                                        "CancelReservation"};
    struct fake_server *server = rpc->server;
    Quota__V1__StreamQuotaRequest *batch =
        quota__v1__stream_quota_request__unpack(NULL, size, bytes);
    assert(batch != NULL);
    pthread_mutex_lock(&server->lock);
    server->counts.batches += 1;
    server->counts.items += batch->n_items;
    if (server->counts.largest_batch < batch->n_items) {
        server->counts.largest_batch = batch->n_items;
    }
    bool end = qd_fault_hit(&server->faults.end_stream);
    pthread_mutex_unlock(&server->lock);

    Quota__V1__StreamQuotaResponse out;
    quota__v1__stream_quota_response__init(&out);
    out.items = calloc(batch->n_items + 1, sizeof(Quota__V1__StreamResponse *));
    for (size_t i = batch->n_items; i-- > 0;) { /* not in order */
        Quota__V1__StreamRequest *item = batch->items[i];
        char method[96];
        snprintf(method, sizeof method, "/quota.v1.QuotaService/%s", names[item->call_case - 2]);
        grpc_slice packed_item = packed(&item->check->base); /* all members are one union */
        struct reply reply = answer(server, method, GRPC_SLICE_LENGTH(packed_item),
                                    GRPC_SLICE_START_PTR(packed_item));
        grpc_slice_unref(packed_item);
        if (!reply.silent) {
            Quota__V1__StreamResponse *result = calloc(1, sizeof *result);
            quota__v1__stream_response__init(result);
            result->id = item->id;
            const uint8_t *data = GRPC_SLICE_START_PTR(reply.bytes);
            size_t length = GRPC_SLICE_LENGTH(reply.bytes);
            result->result_case = (Quota__V1__StreamResponse__ResultCase)item->call_case;
            if (reply.code != GRPC_STATUS_OK) {
                result->result_case = QUOTA__V1__STREAM_RESPONSE__RESULT_ERROR;
                result->error = calloc(1, sizeof *result->error);
                quota__v1__item_error__init(result->error);
                result->error->code = reply.code;
                result->error->reason = strdup(reply.reason != NULL ? reply.reason : "");
                result->error->message = strdup(reply.text);
            } else if (item->call_case == QUOTA__V1__STREAM_REQUEST__CALL_CHECK) {
                result->check = quota__v1__check_quota_response__unpack(NULL, length, data);
            } else if (item->call_case == QUOTA__V1__STREAM_REQUEST__CALL_REPORT) {
                result->report = quota__v1__report_usage_response__unpack(NULL, length, data);
            } else if (item->call_case == QUOTA__V1__STREAM_REQUEST__CALL_EXTEND) {
                result->extend = quota__v1__extend_reservation_response__unpack(NULL, length, data);
            } else {
                result->cancel = quota__v1__cancel_reservation_response__unpack(NULL, length, data);
            }
            out.items[out.n_items++] = result;
        }
        grpc_slice_unref(reply.bytes);
    }
    quota__v1__stream_quota_request__free_unpacked(batch, NULL);
    if (end) {
        struct reply status = {.code = GRPC_STATUS_UNAVAILABLE, .text = "the node went away"};
        send(rpc, NULL, &status);
    } else {
        grpc_slice slice = packed(&out.base);
        send(rpc, &slice, NULL);
        grpc_slice_unref(slice);
    }
    for (size_t i = 0; i < out.n_items; i++) {
        quota__v1__stream_response__free_unpacked(out.items[i], NULL);
    }
    free(out.items);
}

static void on_message(struct rpc *rpc)
{
    if (rpc->request == NULL) { /* half-closed, or cancelled */
        struct reply status = {.code = GRPC_STATUS_OK, .text = ""};
        send(rpc, NULL, &status);
        return;
    }
    grpc_byte_buffer_reader reader;
    int ok = grpc_byte_buffer_reader_init(&reader, rpc->request);
    assert(ok != 0);
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(rpc->request);
    rpc->request = NULL;
    if (rpc->streams) {
        on_batch(rpc, GRPC_SLICE_START_PTR(bytes), GRPC_SLICE_LENGTH(bytes));
    } else {
        on_unary(rpc, GRPC_SLICE_START_PTR(bytes), GRPC_SLICE_LENGTH(bytes));
    }
    grpc_slice_unref(bytes);
}

static void *run(void *arg)
{
    struct fake_server *server = arg;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.tag == NULL) { /* the server has shut down */
            server->down = true;
            grpc_completion_queue_shutdown(server->queue);
            continue;
        }
        const struct tag *tag = event.tag;
        struct rpc *rpc = tag->rpc;
        if (tag->is_close) {
            rpc->references -= 1;
            if (rpc->references == 0) {
                rpc_free(rpc);
            }
            continue;
        }
        if (rpc->state == WAITING) {
            if (event.success) {
                accepted(rpc);
            } else {
                rpc_free(rpc);
            }
            continue;
        }
        rpc->references -= 1;
        if (rpc->state == RECEIVING) {
            on_message(rpc);
        } else if (rpc->state == SENDING) {
            receive(rpc);
        }
        if (rpc->references == 0) {
            rpc_free(rpc);
        }
    }
}

struct fake_server *fake_server_new(void)
{
    struct fake_server *server = calloc(1, sizeof *server);
    assert(server != NULL);
    pthread_mutex_init(&server->lock, NULL);
    fake_server_fail(server, &(struct fake_faults)FAKE_NO_FAULTS);
    grpc_init();
    server->queue = grpc_completion_queue_create_for_next(NULL);
    server->server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(server->server, server->queue, NULL);
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(server->server, "127.0.0.1:0", plain);
    grpc_server_credentials_release(plain);
    assert(port > 0);
    snprintf(server->address, sizeof server->address, "127.0.0.1:%d", port);
    grpc_server_start(server->server);
    request_next(server);
    int rc = pthread_create(&server->thread, NULL, run, server);
    assert(rc == 0);
    return server;
}

void fake_server_free(struct fake_server *server)
{
    grpc_server_shutdown_and_notify(server->server, server->queue, NULL);
    grpc_server_cancel_all_calls(server->server);
    pthread_join(server->thread, NULL);
    grpc_server_destroy(server->server);
    grpc_completion_queue_destroy(server->queue);
    grpc_shutdown_blocking();
    for (size_t i = 0; i < server->key_count; i++) {
        free(server->keys[i]);
    }
    for (size_t i = 0; i < server->canned_count; i++) {
        free(server->canned[i].reply);
        free(server->canned[i].request);
    }
    pthread_mutex_destroy(&server->lock);
    free(server);
}

const char *fake_server_address(const struct fake_server *server)
{
    return server->address;
}

void fake_server_fail(struct fake_server *server, const struct fake_faults *faults)
{
    pthread_mutex_lock(&server->lock);
    server->faults = *faults;
    pthread_mutex_unlock(&server->lock);
}

void fake_server_stop_output(struct fake_server *server, bool stop)
{
    pthread_mutex_lock(&server->lock);
    server->stop_output = stop;
    pthread_mutex_unlock(&server->lock);
}

static struct canned *canned_for(struct fake_server *server, const char *method)
{
    for (size_t i = 0; i < server->canned_count; i++) {
        if (strcmp(server->canned[i].method, method) == 0) {
            free(server->canned[i].reply);
            server->canned[i].reply = NULL;
            return &server->canned[i];
        }
    }
    assert(server->canned_count < CANNED_MAX);
    struct canned *canned = &server->canned[server->canned_count++];
    snprintf(canned->method, sizeof canned->method, "%s", method);
    return canned;
}

void fake_server_reply(struct fake_server *server, const char *method,
                       const ProtobufCMessage *message)
{
    pthread_mutex_lock(&server->lock);
    struct canned *canned = canned_for(server, method);
    canned->code = GRPC_STATUS_OK;
    canned->size = protobuf_c_message_get_packed_size(message);
    canned->reply = malloc(canned->size + 1);
    assert(canned->reply != NULL);
    protobuf_c_message_pack(message, canned->reply);
    pthread_mutex_unlock(&server->lock);
}

void fake_server_refuse(struct fake_server *server, const char *method, int code,
                        const char *reason, const char *text)
{
    pthread_mutex_lock(&server->lock);
    struct canned *canned = canned_for(server, method);
    canned->code = code;
    canned->size = 0;
    snprintf(canned->reason, sizeof canned->reason, "%s", reason != NULL ? reason : "");
    snprintf(canned->text, sizeof canned->text, "%s", text);
    pthread_mutex_unlock(&server->lock);
}

uint8_t *fake_server_request(struct fake_server *server, const char *method, size_t *ret_size)
{
    uint8_t *copy = NULL;
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->canned_count; i++) {
        struct canned *canned = &server->canned[i];
        if (strcmp(canned->method, method) == 0 && canned->request != NULL) {
            free(copy);
            copy = malloc(canned->request_size + 1);
            assert(copy != NULL);
            memcpy(copy, canned->request, canned->request_size);
            *ret_size = canned->request_size;
        }
    }
    pthread_mutex_unlock(&server->lock);
    return copy;
}

struct fake_counts fake_server_counts(struct fake_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct fake_counts counts = server->counts;
    pthread_mutex_unlock(&server->lock);
    return counts;
}
