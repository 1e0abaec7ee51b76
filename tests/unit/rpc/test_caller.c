/* I9: callers that give up while the server waits for its disk. A real server, a client of gRPC's
 * C core, and a store whose writes wait as long as the test wants. */
#include "tests/lib/store/gate.h"
#include "tests/unit/rpc/served.h"

#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "quota/v1/usage.pb-c.h"

#include <criterion/criterion.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LONG_MS  INT64_C(60000)
#define SHORT_MS INT64_C(1500) /* enough to reach a busy server */

static struct served s;

static void setup(void)
{
    served_open(&s, &(struct served_with){0});
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(caller, .init = setup, .fini = teardown, .timeout = 120);

/* --- a call --- */

struct call {
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    grpc_byte_buffer *sent, *received;
    char reason[64], pushback[16]; /* of the trailing metadata */
};

/* protobuf-c's fields are char *, though packing only reads them. */
static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};

    return both.out;
}

/* A stream's caller keeps its side open: what it cancels is not over. */
static void start_call(struct call *c, const char *method, const ProtobufCMessage *request,
                       int64_t deadline_ms, bool half_close)
{
    char path[128];
    grpc_op ops[6];
    uint8_t bytes[1024];

    memset(c, 0, sizeof(*c));
    memset(ops, 0, sizeof(ops));
    (void)snprintf(path, sizeof(path), "/quota.v1.QuotaService/%s", method);
    grpc_slice slice =
        grpc_slice_from_copied_buffer((const char *)bytes, protobuf_c_message_pack(request, bytes));
    grpc_slice name = grpc_slice_from_copied_string(path);
    c->sent = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(deadline_ms, GPR_TIMESPAN));
    c->call = grpc_channel_create_call(s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.queue, name,
                                       NULL, deadline, NULL);
    grpc_slice_unref(name);
    size_t n = 0;
    ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = c->sent;
    ops[n].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[n++].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    ops[n].op = GRPC_OP_RECV_MESSAGE;
    ops[n++].data.recv_message.recv_message = &c->received;
    ops[n].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[n].data.recv_status_on_client.trailing_metadata = &c->trailing;
    ops[n].data.recv_status_on_client.status = &c->status;
    ops[n++].data.recv_status_on_client.status_details = &c->details;
    if (half_close) {
        ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    }
    cr_assert_eq(grpc_call_start_batch(c->call, ops, n, c, NULL), GRPC_CALL_OK);
}

static void start(struct call *c, const char *method, const ProtobufCMessage *request,
                  int64_t deadline_ms)
{
    start_call(c, method, request, deadline_ms, strcmp(method, "StreamQuota") != 0);
}

/* A stream that ends behind its only message. */
static void start_stream_of_one(struct call *c, const ProtobufCMessage *request)
{
    start_call(c, "StreamQuota", request, LONG_MS, true);
}

static void keep_trailing(struct call *c, const char *key, char *ret_text, size_t size)
{
    for (size_t i = 0; i < c->trailing.count; i++) {
        if (grpc_slice_str_cmp(c->trailing.metadata[i].key, key) == 0) {
            grpc_slice value = c->trailing.metadata[i].value;
            (void)snprintf(ret_text, size, "%.*s", (int)GRPC_SLICE_LENGTH(value),
                           (const char *)GRPC_SLICE_START_PTR(value));
        }
    }
}

/* Wait for the call's end; its status. *ret_answer, if wanted, is the answer of that type. */
static grpc_status_code finish(struct call *c, const ProtobufCMessageDescriptor *type,
                               ProtobufCMessage **ret_answer)
{
    grpc_event event =
        grpc_completion_queue_pluck(s.queue, c, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

    cr_assert_eq(event.type, GRPC_OP_COMPLETE);
    if (ret_answer != NULL && c->received != NULL) {
        grpc_byte_buffer_reader reader;
        cr_assert(grpc_byte_buffer_reader_init(&reader, c->received));
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        *ret_answer = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(slice),
                                                GRPC_SLICE_START_PTR(slice));
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    keep_trailing(c, "quotad-reason", c->reason, sizeof(c->reason));
    keep_trailing(c, "grpc-retry-pushback-ms", c->pushback, sizeof(c->pushback));
    grpc_byte_buffer_destroy(c->sent);
    if (c->received != NULL) {
        grpc_byte_buffer_destroy(c->received);
    }
    grpc_slice_unref(c->details);
    grpc_metadata_array_destroy(&c->initial);
    grpc_metadata_array_destroy(&c->trailing);
    grpc_call_unref(c->call);
    return c->status;
}

static Quota__V1__ReportUsageRequest report_of(const char *request_id)
{
    Quota__V1__ReportUsageRequest m;

    quota__v1__report_usage_request__init(&m);
    m.tenant = text_of("acme");
    m.model = text_of("m");
    m.request_id = text_of(request_id);
    return m;
}

/* Report once more, with time; true: it had been booked before. */
static bool was_booked(const char *request_id)
{
    Quota__V1__ReportUsageRequest m = report_of(request_id);
    ProtobufCMessage *answer = NULL;
    struct call c;

    start(&c, "ReportUsage", &m.base, LONG_MS);
    cr_assert_eq(finish(&c, &quota__v1__report_usage_response__descriptor, &answer),
                 GRPC_STATUS_OK);
    cr_assert_not_null(answer);
    bool duplicate = ((Quota__V1__ReportUsageResponse *)(void *)answer)->duplicate != 0;
    protobuf_c_message_free_unpacked(answer, NULL);
    return duplicate;
}

/* --- what the server is at --- */

static uint64_t waiting(void)
{
    struct qd_rpc_figures figures;

    qd_rpc_figures(s.rpc, &figures);
    return figures.booking_waiting;
}

static uint64_t too_late(void)
{
    struct qd_rpc_figures figures;

    qd_rpc_figures(s.rpc, &figures);
    return figures.errors_by_code[QD_ERROR_DEADLINE];
}

static uint64_t open_holds(void)
{
    struct qd_shard *home = &s.node->shards.home[0];
    struct qd_core_stats stats;

    qd_shards_lock(&s.node->shards, home);
    qd_core_stats(home->core, &stats);
    qd_shards_unlock(&s.node->shards, home);
    return stats.reservations_open;
}

static void pause_ms(int64_t ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&pause, NULL);
}

/* Look again until it is so; the suite's timeout ends what never comes. */
static void await(uint64_t (*figure)(void), uint64_t wanted)
{
    while (figure() != wanted) {
        pause_ms(1);
    }
}

/* --- */

Test(caller, I9_a_report_that_waited_past_its_deadline_is_not_begun)
{
    Quota__V1__ReportUsageRequest first = report_of("first");
    Quota__V1__ReportUsageRequest late = report_of("late");
    struct call a;
    struct call b;

    gate_shut(s.store);
    start(&a, "ReportUsage", &first.base, LONG_MS);
    gate_await_writer(s.store);
    start(&b, "ReportUsage", &late.base, SHORT_MS);
    await(waiting, 1);
    cr_assert_eq(finish(&b, NULL, NULL), GRPC_STATUS_DEADLINE_EXCEEDED);
    pause_ms(2 * SHORT_MS); /* the server's deadline is the rest of the time, from its arrival on */
    gate_open(s.store);
    cr_assert_eq(finish(&a, NULL, NULL), GRPC_STATUS_OK, "its own deadline is far");
    await(too_late, 1);
    cr_assert_not(was_booked("late"));
    cr_assert(was_booked("first"));
}

Test(caller, I9_a_cancelled_stream_leaves_no_hold_and_books_whole)
{
    Quota__V1__ReportUsageRequest report = report_of("r");
    Quota__V1__CheckQuotaRequest check;
    quota__v1__check_quota_request__init(&check);
    Quota__V1__StreamRequest items[2];
    Quota__V1__StreamRequest *pointers[2] = {&items[0], &items[1]};
    Quota__V1__StreamQuotaRequest batch;
    quota__v1__stream_quota_request__init(&batch);
    struct call c;

    check.tenant = text_of("acme");
    check.model = text_of("m");
    for (size_t i = 0; i < 2; i++) {
        quota__v1__stream_request__init(&items[i]);
    }
    items[0].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CHECK;
    items[0].check = &check;
    items[1].call_case = QUOTA__V1__STREAM_REQUEST__CALL_REPORT;
    items[1].report = &report;
    batch.items = pointers;
    batch.n_items = 2;
    gate_shut(s.store);
    start(&c, "StreamQuota", &batch.base, LONG_MS);
    gate_await_writer(s.store);
    cr_assert_eq(open_holds(), 1);
    cr_assert_eq(grpc_call_cancel(c.call, NULL), GRPC_CALL_OK);
    cr_assert_eq(finish(&c, NULL, NULL), GRPC_STATUS_CANCELLED);
    gate_open(s.store);
    await(open_holds, 0); /* S1: nobody heard of it */
    cr_assert(was_booked("r"));
}

static uint64_t groups_since(uint64_t before)
{
    struct qd_ledger_status status;

    qd_ledger_status(s.ledger, &status);
    return status.groups - before;
}

Test(caller, L2_reports_that_wait_together_share_a_sync)
{
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    Quota__V1__ReportUsageRequest reports[10];
    struct call calls[10];
    struct call one;
    Quota__V1__ReportUsageRequest first = report_of("first");

    gate_shut(s.store);
    start(&one, "ReportUsage", &first.base, LONG_MS);
    gate_await_writer(s.store);
    for (size_t i = 0; i < 10; i++) {
        reports[i] = report_of(ids[i]);
        start(&calls[i], "ReportUsage", &reports[i].base, LONG_MS);
    }
    await(waiting, 10);
    gate_open(s.store);
    cr_assert_eq(finish(&one, NULL, NULL), GRPC_STATUS_OK);
    for (size_t i = 0; i < 10; i++) {
        cr_assert_eq(finish(&calls[i], NULL, NULL), GRPC_STATUS_OK);
    }
    cr_expect_leq(groups_since(0),
                  3); /* the first, and what had come by when the thread was free */
    for (size_t i = 0; i < 10; i++) {
        cr_expect(was_booked(ids[i]));
    }
}

Test(caller, L2_a_streams_reports_share_a_sync_and_are_answered_in_order)
{
    static const char *const ids[] = {"a", "b", "c", "a"};
    Quota__V1__ReportUsageRequest reports[4];
    Quota__V1__StreamRequest items[4];
    Quota__V1__StreamRequest *pointers[4];
    Quota__V1__StreamQuotaRequest batch;
    ProtobufCMessage *answer = NULL;
    struct call c;

    (void)was_booked("first"); /* the ledger has made its mark */
    quota__v1__stream_quota_request__init(&batch);
    for (size_t i = 0; i < 4; i++) {
        reports[i] = report_of(ids[i]);
        quota__v1__stream_request__init(&items[i]);
        items[i].id = 7 + i;
        items[i].call_case = QUOTA__V1__STREAM_REQUEST__CALL_REPORT;
        items[i].report = &reports[i];
        pointers[i] = &items[i];
    }
    reports[1].tenant = text_of("/"); /* refused, alone */
    batch.items = pointers;
    batch.n_items = 4;
    uint64_t before = groups_since(0);
    start_stream_of_one(&c, &batch.base);
    cr_assert_eq(finish(&c, &quota__v1__stream_quota_response__descriptor, &answer),
                 GRPC_STATUS_OK);
    cr_assert_not_null(answer);
    const Quota__V1__StreamQuotaResponse *r = (const void *)answer;
    cr_assert_eq(r->n_items, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(r->items[i]->id, 7 + i);
        cr_expect_eq(r->items[i]->result_case, i == 1 ? QUOTA__V1__STREAM_RESPONSE__RESULT_ERROR
                                                      : QUOTA__V1__STREAM_RESPONSE__RESULT_REPORT);
    }
    cr_expect_not(r->items[0]->report->duplicate);
    cr_expect(r->items[3]->report->duplicate);
    cr_expect_leq(groups_since(before), 1);
    protobuf_c_message_free_unpacked(answer, NULL);
}

/* X2: what cannot be read is refused by itself, and nothing of the report before it is done again.
 */
Test(caller, X2_a_malformed_report_follows_a_good_one)
{
    Quota__V1__DrainRequest other; /* its first field is a number, a report's is a text */

    quota__v1__drain_request__init(&other);
    other.cancel = true;
    for (unsigned i = 0; i < 3; i++) {
        struct call c;
        char id[16];
        (void)snprintf(id, sizeof(id), "good-%u", i);
        cr_expect(!was_booked(id)); /* which books it */
        start(&c, "ReportUsage", &other.base, LONG_MS);
        cr_expect_eq(finish(&c, NULL, NULL), GRPC_STATUS_INVALID_ARGUMENT);
        cr_expect_str_eq(c.reason, "MALFORMED");
        cr_expect(was_booked(id));
    }
}

/* --- a full queue --- */

#define QUEUE 16 /* of served.c */

/* One report at the disk and a full queue behind it. */
static void fill_queue(struct call calls[QUEUE + 1])
{
    char id[16];

    gate_shut(s.store);
    for (size_t i = 0; i <= QUEUE; i++) {
        (void)snprintf(id, sizeof(id), "fill-%zu", i);
        Quota__V1__ReportUsageRequest report = report_of(id);
        start(&calls[i], "ReportUsage", &report.base, LONG_MS);
        if (i == 0) {
            gate_await_writer(s.store);
        }
    }
    await(waiting, QUEUE);
}

static void drain_queue(struct call calls[QUEUE + 1])
{
    gate_open(s.store);
    for (size_t i = 0; i <= QUEUE; i++) {
        cr_assert_eq(finish(&calls[i], NULL, NULL), GRPC_STATUS_OK);
    }
}

Test(caller, X2_more_reports_than_the_queue_holds_are_told_to_hold_back)
{
    struct call calls[QUEUE + 1];
    struct call c;
    Quota__V1__ReportUsageRequest report = report_of("one more");

    fill_queue(calls);
    start(&c, "ReportUsage", &report.base, LONG_MS);
    cr_expect_eq(finish(&c, NULL, NULL), GRPC_STATUS_RESOURCE_EXHAUSTED);
    cr_expect_str_eq(c.reason, "REPORTS_QUEUE_FULL");
    cr_expect_str_eq(c.pushback, "100");
    drain_queue(calls);
    cr_expect_not(was_booked("one more"));
}

Test(caller, X2_a_streams_checks_are_answered_while_its_reports_hold_back)
{
    struct call calls[QUEUE + 1];
    struct call c;
    Quota__V1__ReportUsageRequest report = report_of("streamed");
    Quota__V1__CheckQuotaRequest check;
    quota__v1__check_quota_request__init(&check);
    Quota__V1__StreamRequest items[2];
    Quota__V1__StreamRequest *pointers[2] = {&items[0], &items[1]};
    Quota__V1__StreamQuotaRequest batch;
    quota__v1__stream_quota_request__init(&batch);
    ProtobufCMessage *answer = NULL;

    check.tenant = text_of("acme");
    check.model = text_of("m");
    for (size_t i = 0; i < 2; i++) {
        quota__v1__stream_request__init(&items[i]);
        items[i].id = 1 + i;
    }
    items[0].call_case = QUOTA__V1__STREAM_REQUEST__CALL_REPORT;
    items[0].report = &report;
    items[1].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CHECK;
    items[1].check = &check;
    batch.items = pointers;
    batch.n_items = 2;
    fill_queue(calls);
    start_stream_of_one(&c, &batch.base);
    cr_expect_eq(finish(&c, &quota__v1__stream_quota_response__descriptor, &answer),
                 GRPC_STATUS_OK);
    cr_assert_not_null(answer);
    const Quota__V1__StreamQuotaResponse *r = (const void *)answer;
    cr_assert_eq(r->n_items, 2);
    cr_assert_eq(r->items[0]->result_case, QUOTA__V1__STREAM_RESPONSE__RESULT_ERROR);
    cr_expect_eq(r->items[0]->error->code, GRPC_STATUS_RESOURCE_EXHAUSTED);
    cr_expect_str_eq(r->items[0]->error->reason, "REPORTS_QUEUE_FULL");
    cr_expect_eq(r->items[0]->error->retry_after_ms, 100);
    cr_assert_eq(r->items[1]->result_case, QUOTA__V1__STREAM_RESPONSE__RESULT_CHECK);
    cr_expect_eq(r->items[1]->check->verdict, QUOTA__V1__VERDICT__VERDICT_ALLOWED);
    protobuf_c_message_free_unpacked(answer, NULL);
    drain_queue(calls);
    cr_expect_not(was_booked("streamed"));
}
