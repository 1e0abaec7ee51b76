/* One gRPC call from the shell: grpc_call [-d MS] HOST:PORT /package.Service/Method < request >
 * answer
 *
 * The request is one message's bytes (make them with `protoc --encode`), or with -s any number of
 * messages for a stream, each after its length in 4 bytes, big-endian. The answer's messages go to
 * stdout (with -s framed alike); the status to stderr: `status=3 reason=UNKNOWN_METER message=...`.
 * Exit code: the gRPC status, 0 for OK. */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_MAX ((size_t)8 << 20)

struct state {
    grpc_completion_queue *cq;
    grpc_channel *channel;
    grpc_call *call;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice details;
    bool framed;
};

static bool batch(struct state *s, const grpc_op *ops, size_t count)
{
    if (grpc_call_start_batch(s->call, ops, count, s, NULL) != GRPC_CALL_OK) {
        return false;
    }
    grpc_event event = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    return event.type == GRPC_OP_COMPLETE && event.success != 0;
}

static bool send_message(struct state *s, const uint8_t *bytes, size_t size)
{
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = buffer;
    bool ok = batch(s, &op, 1);
    grpc_byte_buffer_destroy(buffer);
    grpc_slice_unref(slice);
    return ok;
}

/* Receive one message and write it out; false at the end. */
static bool receive(struct state *s)
{
    grpc_byte_buffer *buffer = NULL;
    grpc_byte_buffer_reader reader;
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &buffer;
    if (!batch(s, &op, 1) || buffer == NULL) {
        return false;
    }
    if (grpc_byte_buffer_reader_init(&reader, buffer)) {
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        size_t size = GRPC_SLICE_LENGTH(slice);
        if (s->framed) {
            uint8_t length[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                                 (uint8_t)size};
            (void)fwrite(length, 1, sizeof(length), stdout);
        }
        (void)fwrite(GRPC_SLICE_START_PTR(slice), 1, size, stdout);
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(buffer);
    return true;
}

static void begin(struct state *s)
{
    grpc_op ops[2];

    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    (void)batch(s, ops, 1);
}

static void receive_metadata(struct state *s)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_INITIAL_METADATA;
    op.data.recv_initial_metadata.recv_initial_metadata = &s->initial;
    (void)batch(s, &op, 1);
}

static void finish(struct state *s)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op.data.recv_status_on_client.trailing_metadata = &s->trailing;
    op.data.recv_status_on_client.status = &s->status;
    op.data.recv_status_on_client.status_details = &s->details;
    (void)batch(s, &op, 1);
}

static void print_status(const struct state *s)
{
    (void)fprintf(stderr, "status=%d", (int)s->status);
    for (size_t i = 0; i < s->trailing.count; i++) {
        const grpc_metadata *m = &s->trailing.metadata[i];
        if (GRPC_SLICE_LENGTH(m->key) == 13 &&
            memcmp(GRPC_SLICE_START_PTR(m->key), "quotad-reason", 13) == 0) {
            (void)fprintf(stderr, " reason=%.*s", (int)GRPC_SLICE_LENGTH(m->value),
                          (const char *)GRPC_SLICE_START_PTR(m->value));
        }
    }
    (void)fprintf(stderr, " message=%.*s\n", (int)GRPC_SLICE_LENGTH(s->details),
                  (const char *)GRPC_SLICE_START_PTR(s->details));
}

static void talk(struct state *s, const uint8_t *request, size_t size)
{
    grpc_op op;

    begin(s);
    if (!s->framed) {
        (void)send_message(s, request, size);
    } else {
        for (size_t at = 0; at + 4 <= size;) {
            size_t length = (size_t)request[at] << 24 | (size_t)request[at + 1] << 16 |
                            (size_t)request[at + 2] << 8 | request[at + 3];
            if (length > size - at - 4 || !send_message(s, request + at + 4, length)) {
                break;
            }
            at += 4 + length;
        }
    }
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    (void)batch(s, &op, 1);
    receive_metadata(s);
    while (receive(s)) {
    }
    finish(s);
}

int main(int argc, char **argv)
{
    struct state s;
    long deadline_ms = 10000;
    int option = 0;

    memset(&s, 0, sizeof(s));
    while ((option = getopt(argc, argv, "d:s")) != -1) {
        if (option == 'd') {
            deadline_ms = strtol(optarg, NULL, 10);
        } else if (option == 's') {
            s.framed = true;
        } else {
            return 64;
        }
    }
    if (argc - optind != 2) {
        (void)fprintf(
            stderr, "usage: grpc_call [-s] [-d MS] HOST:PORT /package.Service/Method < request\n");
        return 64;
    }
    uint8_t *request = malloc(REQUEST_MAX);
    size_t size = request != NULL ? fread(request, 1, REQUEST_MAX, stdin) : 0;
    grpc_init();
    s.cq = grpc_completion_queue_create_for_next(NULL);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    s.channel = grpc_channel_create(argv[optind], credentials, NULL);
    grpc_channel_credentials_release(credentials);
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(deadline_ms, GPR_TIMESPAN));
    grpc_slice method = grpc_slice_from_copied_string(argv[optind + 1]);
    s.call = grpc_channel_create_call(s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.cq, method, NULL,
                                      deadline, NULL);
    talk(&s, request, size);
    print_status(&s);
    int code = (int)s.status;
    grpc_call_unref(s.call);
    grpc_slice_unref(method);
    grpc_slice_unref(s.details);
    grpc_metadata_array_destroy(&s.initial);
    grpc_metadata_array_destroy(&s.trailing);
    grpc_channel_destroy(s.channel);
    grpc_completion_queue_shutdown(s.cq);
    while (grpc_completion_queue_next(s.cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(s.cq);
    grpc_shutdown_blocking();
    free(request);
    return code;
}
