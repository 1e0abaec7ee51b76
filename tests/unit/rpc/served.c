#include "tests/unit/rpc/served.h"

#include "server/ledger/tenant_store.h"
#include "server/policy/policy_file.h"
#include "storage/store_memory.h"
#include "tests/lib/store/gate.h"

#include <criterion/criterion.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_MS 60000

static const char small_policy[] =
    "version: 1\nmodels: {m: {}}\nplans: {free: {concurrency: 10}, paid: "
    "{requests: 100/day, input_tokens: prepaid}}\n"
    "tenants: {'*': {plan: free}, rich: {plan: paid}}\n";

static struct qd_policy *load_policy(const char *yaml)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    struct qd_policy *loaded =
        qd_policy_load_bytes("policy.yaml", NULL, yaml, strlen(yaml), problems);
    char *text = qd_problems_text(problems);

    cr_assert_not_null(loaded, "%s", text);
    free(text);
    qd_problems_free(problems);
    return loaded;
}

static void open_node(struct served *s, const struct served_with *with)
{
    uint32_t counters = with->counters > 0 ? with->counters : 64;
    struct qd_ledger_config in_ledger = {0};
    struct qd_error error;
    struct qd_core_config slice = {.hash_seed = 7,
                                   .narrow_windows = counters,
                                   .wide_windows = counters,
                                   .buckets = counters,
                                   .gauges = counters,
                                   .bindings = counters,
                                   .reservations = 64,
                                   .progress = 16,
                                   .estimators = 16,
                                   .roots = 64,
                                   .name_bytes = 65536};
    struct qd_node_config config = {.shards = {.count = 1, .slice = slice, .common = slice},
                                    .clock =
                                        with->clock.wall != NULL ? with->clock : qd_clock_system,
                                    .name = "test",
                                    .incarnation = 1,
                                    .tenants_max = 10};

    s->memory = qd_store_memory_new();
    s->store = gate_new(s->memory);
    cr_assert_eq(qd_ledger_open(s->store, &in_ledger, &s->ledger, NULL), QD_STORE_OK);
    cr_assert_eq(qd_tenant_store_open(s->store, &s->tenants, NULL), QD_STORE_OK);
    config.store = s->store;
    config.ledger = s->ledger;
    s->node = qd_node_new(&config, &error);
    cr_assert_not_null(s->node);
    s->node->tenants = s->tenants;
    qd_node_publish(s->node, load_policy(with->policy != NULL ? with->policy : small_policy), NULL);
}

struct qd_rpc_config served_config(void)
{
    return (struct qd_rpc_config){.listen = "127.0.0.1:0",
                                  .threads = 1,
                                  .booking_threads = 1,
                                  .query_threads = 1,
                                  .booking_queue = 16,
                                  .streams_max = 64};
}

static void open_server(struct served *s, struct qd_rpc_config config)
{
    const struct qd_rpc_config usual = served_config();
    struct qd_error error;

    config.listen = config.listen != NULL ? config.listen : usual.listen;
    config.threads = config.threads > 0 ? config.threads : usual.threads;
    config.booking_threads =
        config.booking_threads > 0 ? config.booking_threads : usual.booking_threads;
    config.query_threads = config.query_threads > 0 ? config.query_threads : usual.query_threads;
    config.booking_queue = config.booking_queue > 0 ? config.booking_queue : usual.booking_queue;
    config.streams_max = config.streams_max > 0 ? config.streams_max : usual.streams_max;
    s->rpc = qd_rpc_start(s->node, &config, &error);
    cr_assert_not_null(s->rpc, "%s", error.text);
    grpc_init();
    s->queue = grpc_completion_queue_create_for_pluck(NULL);
}

void served_open(struct served *s, const struct served_with *with)
{
    memset(s, 0, sizeof(*s));
    open_node(s, with);
    if (!with->no_server) {
        open_server(s, with->rpc);
    }
    if (!with->no_server && !with->no_channel) {
        served_dial(s, grpc_insecure_credentials_create());
    }
}

void served_dial(struct served *s, grpc_channel_credentials *credentials)
{
    char key[] = GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL;
    grpc_arg own = {.type = GRPC_ARG_INTEGER, .key = key, .value.integer = 1};
    grpc_channel_args args = {1, &own};
    char address[64];

    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", qd_rpc_port(s->rpc));
    s->channel = grpc_channel_create(address, credentials, &args);
    grpc_channel_credentials_release(credentials);
}

static void close_server(struct served *s)
{
    if (s->channel != NULL) {
        grpc_channel_destroy(s->channel);
    }
    grpc_completion_queue_shutdown(s->queue);
    grpc_completion_queue_destroy(s->queue);
    qd_rpc_stop(s->rpc, 5000);
}

void served_close(struct served *s)
{
    bool server = s->queue != NULL;

    if (server) {
        close_server(s);
    }
    qd_node_free(s->node);
    qd_tenant_store_close(s->tenants);
    qd_ledger_close(s->ledger);
    qd_store_close(s->store);
    if (server) {
        grpc_shutdown_blocking();
    }
}

static void *unpack(grpc_byte_buffer *received, const ProtobufCMessageDescriptor *type)
{
    grpc_byte_buffer_reader reader;
    cr_assert(grpc_byte_buffer_reader_init(&reader, received));
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    void *answer = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(slice),
                                             GRPC_SLICE_START_PTR(slice));
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
    return answer;
}

static void keep_reason(struct served *s, const grpc_metadata_array *trailing)
{
    s->reason[0] = '\0';
    for (size_t i = 0; i < trailing->count; i++) {
        const grpc_metadata *m = &trailing->metadata[i];
        if (grpc_slice_str_cmp(m->key, "quotad-reason") == 0) {
            (void)snprintf(s->reason, sizeof(s->reason), "%.*s", (int)GRPC_SLICE_LENGTH(m->value),
                           (const char *)GRPC_SLICE_START_PTR(m->value));
        }
    }
}

void served_begin(struct served *s, const char *path, const ProtobufCMessage *request,
                  int64_t deadline_ms, struct served_pending *p)
{
    uint8_t bytes[4096];
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(deadline_ms, GPR_TIMESPAN));

    memset(p, 0, sizeof(*p));
    cr_assert_leq(protobuf_c_message_get_packed_size(request), sizeof(bytes));
    grpc_slice slice =
        grpc_slice_from_copied_buffer((const char *)bytes, protobuf_c_message_pack(request, bytes));
    p->sent = grpc_raw_byte_buffer_create(&slice, 1);
    p->details = grpc_empty_slice();
    grpc_slice name = grpc_slice_from_copied_string(path);
    p->call = grpc_channel_create_call(s->channel, NULL, GRPC_PROPAGATE_DEFAULTS, s->queue, name,
                                       NULL, deadline, NULL);
    grpc_slice_unref(slice);
    grpc_slice_unref(name);
    grpc_metadata_array_init(&p->initial);
    grpc_metadata_array_init(&p->trailing);
    char bearer[200] = "";
    if (s->token != NULL) {
        (void)snprintf(bearer, sizeof(bearer), "Bearer %s", s->token);
    }
    grpc_metadata metadata[SERVED_METADATA_MAX + 1];
    size_t metadata_count = s->metadata_count;
    memcpy(metadata, s->metadata, sizeof(s->metadata));
    p->bearer = grpc_slice_from_copied_string(bearer);
    if (s->token != NULL) {
        metadata[metadata_count++] = (grpc_metadata){
            .key = grpc_slice_from_static_string("authorization"), .value = p->bearer};
    }
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA,
         .data.send_initial_metadata = {.count = metadata_count, .metadata = metadata}},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = p->sent},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &p->initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &p->received},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &p->trailing,
                                        .status = &p->status,
                                        .status_details = &p->details}},
    };
    cr_assert_eq(grpc_call_start_batch(p->call, ops, 6, p, NULL), GRPC_CALL_OK);
}

void *served_end(struct served *s, struct served_pending *p,
                 const ProtobufCMessageDescriptor *answer_type, grpc_status_code *ret_status)
{
    (void)grpc_completion_queue_pluck(s->queue, p, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    void *answer = p->received != NULL ? unpack(p->received, answer_type) : NULL;
    *ret_status = p->status;
    keep_reason(s, &p->trailing);
    grpc_byte_buffer_destroy(p->sent);
    if (p->received != NULL) {
        grpc_byte_buffer_destroy(p->received);
    }
    grpc_slice_unref(p->details);
    grpc_slice_unref(p->bearer);
    grpc_metadata_array_destroy(&p->initial);
    grpc_metadata_array_destroy(&p->trailing);
    grpc_call_unref(p->call);
    return answer;
}

void *served_call(struct served *s, const char *path, const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *answer_type, grpc_status_code *ret_status)
{
    struct served_pending pending;

    served_begin(s, path, request, LONG_MS, &pending);
    return served_end(s, &pending, answer_type, ret_status);
}
