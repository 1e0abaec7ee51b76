/* I4: what a health watcher hears when the server ends. */
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define WATCHERS 8

enum {
    SERVING = 1,
    NOT_SERVING = 2,
};

static struct served s;

static void setup(void)
{
    served_open(&s, &(struct served_with){0});
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(watch, .init = setup, .fini = teardown, .timeout = 120);

struct watcher {
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    grpc_byte_buffer *received;
};

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&pause, NULL);
}

static void pluck(void *tag)
{
    grpc_event event =
        grpc_completion_queue_pluck(s.queue, tag, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

    cr_assert_eq(event.type, GRPC_OP_COMPLETE);
}

/* Wait for the next message: its status; 0: there is none. */
static int hear(struct watcher *w)
{
    grpc_op op;
    int health = 0;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &w->received;
    cr_assert_eq(grpc_call_start_batch(w->call, &op, 1, &w->received, NULL), GRPC_CALL_OK);
    pluck(&w->received);
    if (w->received != NULL) {
        grpc_byte_buffer_reader reader;
        cr_assert(grpc_byte_buffer_reader_init(&reader, w->received));
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        cr_assert_eq(GRPC_SLICE_LENGTH(slice), 2);
        health = GRPC_SLICE_START_PTR(slice)[1];
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
        grpc_byte_buffer_destroy(w->received);
    }
    return health;
}

static void watch(struct watcher *w)
{
    grpc_op ops[4];
    grpc_slice empty = grpc_empty_slice();
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&empty, 1);
    grpc_slice name = grpc_slice_from_static_string("/grpc.health.v1.Health/Watch");

    memset(w, 0, sizeof(*w));
    memset(ops, 0, sizeof(ops));
    grpc_metadata_array_init(&w->initial);
    grpc_metadata_array_init(&w->trailing);
    w->call = grpc_channel_create_call(s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.queue, name,
                                       NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &w->initial;
    cr_assert_eq(grpc_call_start_batch(w->call, ops, 4, &w->initial, NULL), GRPC_CALL_OK);
    pluck(&w->initial);
    grpc_byte_buffer_destroy(request);
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &w->trailing;
    ops[0].data.recv_status_on_client.status = &w->status;
    ops[0].data.recv_status_on_client.status_details = &w->details;
    cr_assert_eq(grpc_call_start_batch(w->call, ops, 1, w, NULL), GRPC_CALL_OK);
    cr_assert_eq(hear(w), SERVING);
}

static grpc_status_code end(struct watcher *w)
{
    pluck(w);
    grpc_slice_unref(w->details);
    grpc_metadata_array_destroy(&w->initial);
    grpc_metadata_array_destroy(&w->trailing);
    grpc_call_unref(w->call);
    return w->status;
}

static void *stop(void *unused)
{
    (void)unused;
    qd_rpc_stop(s.rpc, 5000);
    s.rpc = NULL;
    return NULL;
}

Test(watch, I4_each_watcher_hears_not_serving_before_the_server_ends)
{
    struct watcher watchers[WATCHERS];
    pthread_t stopper;

    for (unsigned i = 0; i < WATCHERS; i++) {
        watch(&watchers[i]);
    }
    cr_assert_eq(pthread_create(&stopper, NULL, stop, NULL), 0);
    for (unsigned i = 0; i < WATCHERS; i++) {
        cr_expect_eq(hear(&watchers[i]), NOT_SERVING, "watcher %u", i);
        cr_expect_eq(end(&watchers[i]), GRPC_STATUS_UNAVAILABLE);
    }
    (void)pthread_join(stopper, NULL);
}

/* A check that waits for its slice's lock, which the test holds: so does the server's only thread,
 * and with it the ends of the watchers' messages. */
struct stuck {
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    grpc_byte_buffer *received;
};

static void stick(struct stuck *c)
{
    static const char check[] = "\x0a\x04"
                                "acme"; /* 1: tenant */
    grpc_op ops[6];
    grpc_slice bytes = grpc_slice_from_static_buffer(check, sizeof(check) - 1);
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice name = grpc_slice_from_static_string("/quota.v1.QuotaService/CheckQuota");

    memset(c, 0, sizeof(*c));
    memset(ops, 0, sizeof(ops));
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);
    qd_shards_lock(&s.node->shards, &s.node->shards.home[0]);
    c->call = grpc_channel_create_call(s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.queue, name,
                                       NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &c->received;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &c->trailing;
    ops[5].data.recv_status_on_client.status = &c->status;
    ops[5].data.recv_status_on_client.status_details = &c->details;
    cr_assert_eq(grpc_call_start_batch(c->call, ops, 6, c, NULL), GRPC_CALL_OK);
    grpc_byte_buffer_destroy(request);
    pause_ms(100);
}

static void unstick(struct stuck *c)
{
    qd_shards_unlock(&s.node->shards, &s.node->shards.home[0]);
    pluck(c);
    grpc_byte_buffer_destroy(c->received);
    grpc_slice_unref(c->details);
    grpc_metadata_array_destroy(&c->initial);
    grpc_metadata_array_destroy(&c->trailing);
    grpc_call_unref(c->call);
}

/* The message before is on its way, as the server's thread sees it, when the server stops. */
Test(watch, I4_a_busy_server_tells_its_end_too)
{
    struct watcher w;
    struct stuck check;
    pthread_t stopper;

    watch(&w);
    qd_rpc_set_serving(s.rpc, false);
    cr_assert_eq(hear(&w), NOT_SERVING);
    pause_ms(100);
    stick(&check);
    qd_rpc_set_serving(s.rpc, true);
    cr_assert_eq(hear(&w), SERVING);
    cr_assert_eq(pthread_create(&stopper, NULL, stop, NULL), 0);
    pause_ms(100);
    unstick(&check);
    cr_expect_eq(hear(&w), NOT_SERVING);
    cr_expect_eq(end(&w), GRPC_STATUS_UNAVAILABLE);
    (void)pthread_join(stopper, NULL);
}

Test(watch, X5_a_watcher_that_went_away_holds_up_nothing)
{
    struct watcher w;

    watch(&w);
    cr_assert_eq(grpc_call_cancel(w.call, NULL), GRPC_CALL_OK);
    cr_assert_eq(end(&w), GRPC_STATUS_CANCELLED);
    (void)stop(NULL);
}
