/* The yardstick of the unary benchmark: a gRPC server that decides nothing.
 *
 *   bench_nothing_server [--listen HOST:PORT] [--threads N] [--allow-bytes N] [--deny-bytes N]
 * [--deny-percent N]
 *
 * It takes CheckQuota as quotad does (a registered method whose payload comes with the call, one
 * batch a reply) and answers with bytes made at start: `deny-percent` of the answers are
 * `deny-bytes` long, the others `allow-bytes`. Each answer begins with a verdict, so that the load
 * generator counts them as it counts quotad's. Prints "gRPC HOST:PORT" when it listens, and ends on
 * SIGTERM or SIGINT.
 *
 * Threads: each has its own completion queue and its own calls; they share only constants. */
#include <assert.h>
#include <getopt.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX      16
#define CALLS_PER_THREAD 512
#define REPLY_BYTES_MAX  4096

struct options {
    const char *listen;
    int threads;
    size_t allow_bytes;
    size_t deny_bytes;
    int deny_percent;
};

/* One call at a time; asks for the next one when it is answered. */
struct call {
    bool answering; /* the batch of the answer is in flight; else the call is awaited */
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload;
    grpc_byte_buffer *reply;
    int cancelled;
};

static atomic_bool stopping;

struct worker {
    grpc_server *server;
    void *method;
    grpc_completion_queue *queue;
    const struct options *options;
    grpc_slice allow;
    grpc_slice deny;
    unsigned answered;
    struct call calls[CALLS_PER_THREAD];
    pthread_t thread;
};

static struct worker workers[THREADS_MAX];

static void await_call(struct worker *worker, struct call *call)
{
    if (stopping) {
        return;
    }
    call->answering = false;
    call->payload = NULL;
    grpc_call_error error = grpc_server_request_registered_call(
        worker->server, worker->method, &call->call, &call->deadline, &call->metadata,
        &call->payload, worker->queue, worker->queue, call);
    assert(error == GRPC_CALL_OK || stopping);
    (void)error;
}

static void answer_call(struct worker *worker, struct call *call)
{
    unsigned turn = worker->answered++ % 100;
    bool deny = turn * (unsigned)worker->options->deny_percent % 100 +
                    (unsigned)worker->options->deny_percent >=
                100;
    grpc_slice slice = deny ? worker->deny : worker->allow;
    call->reply = grpc_raw_byte_buffer_create(&slice, 1);
    call->answering = true;

    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = call->reply;
    ops[2].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
    ops[3].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[3].data.recv_close_on_server.cancelled = &call->cancelled;
    grpc_call_error error = grpc_call_start_batch(call->call, ops, 4, call, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

static void end_call(struct call *call)
{
    grpc_byte_buffer_destroy(call->reply);
    grpc_byte_buffer_destroy(call->payload);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_metadata_array_init(&call->metadata);
    grpc_call_unref(call->call);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (size_t i = 0; i < CALLS_PER_THREAD; i++) {
        grpc_metadata_array_init(&worker->calls[i].metadata);
        await_call(worker, &worker->calls[i]);
    }
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(worker->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        struct call *call = event.tag;
        if (call == NULL) {
            grpc_completion_queue_shutdown(worker->queue); /* the server has shut down */
        } else if (call->answering) {
            end_call(call);
            await_call(worker, call);
        } else if (event.success) {
            answer_call(worker, call);
        } else {
            await_call(worker, call); /* it was cancelled before its payload came */
        }
    }
}

/* An answer of this many bytes: the verdict, then a field that nobody knows. */
static grpc_slice make_reply(unsigned char verdict, size_t bytes)
{
    unsigned char reply[REPLY_BYTES_MAX] = {0x08, verdict};
    if (bytes >= 5) {
        size_t rest = bytes - 5;
        reply[2] = 0x7a; /* field 15, bytes; the length always takes two bytes */
        reply[3] = (unsigned char)(0x80U | (rest & 0x7fU));
        reply[4] = (unsigned char)(rest >> 7);
    }
    return grpc_slice_from_copied_buffer((const char *)reply, bytes < 2 ? 2 : bytes);
}

static size_t parse_number(const char *name, const char *text, unsigned long low,
                           unsigned long high)
{
    char *end = NULL;
    unsigned long number = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || number < low || number > high) {
        fprintf(stderr, "bench_nothing_server: --%s %s: accepted: %lu to %lu\n", name, text, low,
                high);
        exit(1);
    }
    return number;
}

static void parse_options(int argc, char **argv, struct options *ret_options)
{
    static const struct option accepted[] = {
        {"listen", required_argument, NULL, 'l'},
        {"threads", required_argument, NULL, 't'},
        {"allow-bytes", required_argument, NULL, 'a'},
        {"deny-bytes", required_argument, NULL, 'd'},
        {"deny-percent", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", accepted, NULL)) != -1) {
        switch (option) {
        case 'l':
            ret_options->listen = optarg;
            break;
        case 't':
            ret_options->threads = (int)parse_number("threads", optarg, 1, THREADS_MAX);
            break;
        case 'a':
            ret_options->allow_bytes = parse_number("allow-bytes", optarg, 2, REPLY_BYTES_MAX);
            break;
        case 'd':
            ret_options->deny_bytes = parse_number("deny-bytes", optarg, 2, REPLY_BYTES_MAX);
            break;
        case 'p':
            ret_options->deny_percent = (int)parse_number("deny-percent", optarg, 0, 100);
            break;
        default:
            exit(1);
        }
    }
}

static void start_workers(grpc_server *server, void *method, const struct options *options)
{
    for (int i = 0; i < options->threads; i++) {
        workers[i].server = server;
        workers[i].method = method;
        workers[i].options = options;
        workers[i].allow = make_reply(1, options->allow_bytes);
        workers[i].deny = make_reply(2, options->deny_bytes);
        workers[i].queue = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server, workers[i].queue, NULL);
    }
}

int main(int argc, char **argv)
{
    static struct options options = {"127.0.0.1:0", 1, 200, 400, 10};
    parse_options(argc, argv, &options);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    grpc_init();
    grpc_server *server = grpc_server_create(NULL, NULL);
    void *method = grpc_server_register_method(server, "/quota.v1.QuotaService/CheckQuota", NULL,
                                               GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    start_workers(server, method, &options);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(server, options.listen, credentials);
    grpc_server_credentials_release(credentials);
    if (port == 0) {
        fprintf(stderr, "bench_nothing_server: cannot listen on %s\n", options.listen);
        return 1;
    }
    grpc_server_start(server);
    for (int i = 0; i < options.threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            abort();
        }
    }
    printf("gRPC 127.0.0.1:%d\n", port);
    fflush(stdout);

    int signal_number = 0;
    sigwait(&signals, &signal_number);
    atomic_store(&stopping, true);
    grpc_server_cancel_all_calls(server);
    for (int i = 0; i < options.threads; i++) {
        grpc_server_shutdown_and_notify(server, workers[i].queue, NULL);
    }
    for (int i = 0; i < options.threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    return 0; /* the process ends: gRPC's own threads go with it */
}
