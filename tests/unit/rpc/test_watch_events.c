/* WatchEvents over a real server (I2): what a stream tells, what it refuses, and how it ends. */
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct served s;

static void setup(void)
{
    served_open(&s, &(struct served_with){0});
}

static void teardown(void)
{
    served_close(&s);
}

TestSuite(watch_events, .init = setup, .fini = teardown, .timeout = 60);

struct watcher {
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    grpc_byte_buffer *received;
};

static void pluck(void *tag)
{
    grpc_event event =
        grpc_completion_queue_pluck(s.queue, tag, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

    cr_assert_eq(event.type, GRPC_OP_COMPLETE);
}

/* Returns with the answer's headers: what is told from here on is heard. */
static void watch(struct watcher *w, const Quota__V1__WatchEventsRequest *asked)
{
    uint8_t bytes[2048];
    size_t size = protobuf_c_message_pack(&asked->base, bytes);
    grpc_op ops[4];
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, size);
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice name = grpc_slice_from_static_string("/quota.v1.UsageService/WatchEvents");

    grpc_slice_unref(slice);
    memset(w, 0, sizeof(*w));
    memset(ops, 0, sizeof(ops));
    grpc_metadata_array_init(&w->initial);
    grpc_metadata_array_init(&w->trailing);
    char bearer[64] = "";
    grpc_metadata metadata = {.key = grpc_slice_from_static_string("authorization")};
    if (s.token != NULL) {
        (void)snprintf(bearer, sizeof(bearer), "Bearer %s", s.token);
        ops[0].data.send_initial_metadata.count = 1;
        ops[0].data.send_initial_metadata.metadata = &metadata;
    }
    metadata.value = grpc_slice_from_copied_string(bearer);
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
    grpc_slice_unref(metadata.value);
    ops[0] = (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    ops[0].data.recv_status_on_client.trailing_metadata = &w->trailing;
    ops[0].data.recv_status_on_client.status = &w->status;
    ops[0].data.recv_status_on_client.status_details = &w->details;
    cr_assert_eq(grpc_call_start_batch(w->call, ops, 1, w, NULL), GRPC_CALL_OK);
}

static void watch_tenant(struct watcher *w, const char *tenant)
{
    Quota__V1__WatchEventsRequest asked;
    char text[QD_TENANT_PATH_MAX + 1];

    quota__v1__watch_events_request__init(&asked);
    (void)snprintf(text, sizeof(text), "%s", tenant);
    asked.tenant = text;
    watch(w, &asked);
}

/* The next event; NULL: the stream has ended. */
static Quota__V1__Event *hear(struct watcher *w)
{
    grpc_op op;
    Quota__V1__Event *event = NULL;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &w->received;
    cr_assert_eq(grpc_call_start_batch(w->call, &op, 1, &w->received, NULL), GRPC_CALL_OK);
    pluck(&w->received);
    if (w->received != NULL) {
        grpc_byte_buffer_reader reader;
        cr_assert(grpc_byte_buffer_reader_init(&reader, w->received));
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        event =
            quota__v1__event__unpack(NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
        cr_assert_not_null(event);
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
        grpc_byte_buffer_destroy(w->received);
    }
    return event;
}

static void forget(Quota__V1__Event *event)
{
    quota__v1__event__free_unpacked(event, NULL);
}

/* `details` of the status, if not NULL, for the caller to look at. */
static grpc_status_code end(struct watcher *w, char details[512])
{
    pluck(w);
    if (details != NULL) {
        (void)snprintf(details, 512, "%.*s", (int)GRPC_SLICE_LENGTH(w->details),
                       (const char *)GRPC_SLICE_START_PTR(w->details));
    }
    grpc_slice_unref(w->details);
    grpc_metadata_array_destroy(&w->initial);
    grpc_metadata_array_destroy(&w->trailing);
    grpc_call_unref(w->call);
    return w->status;
}

static void cancel(struct watcher *w)
{
    cr_assert_eq(grpc_call_cancel(w->call, NULL), GRPC_CALL_OK);
    cr_assert_eq(end(w, NULL), GRPC_STATUS_CANCELLED);
}

static void tell_expired(const char *tenant, uint64_t number)
{
    struct qd_event event = {.kind = QD_EVENT_EXPIRED, .reservation = number, .at = {7}};

    (void)snprintf(event.name, sizeof(event.name), "%s", tenant);
    qd_node_tell(s.node, &event);
}

static void wait_for_watchers(uint32_t count)
{
    for (unsigned i = 0; i < 5000 && qd_broadcast_watchers(&s.node->broadcast) != count; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    cr_assert_eq(qd_broadcast_watchers(&s.node->broadcast), count);
}

Test(watch_events, I2_an_event_says_what_whose_how_much_and_until_when)
{
    static const struct qd_limit limit = {
        .name = "cost", .owner = "pro", .money = true, .unit = "USD", .unit_scale = 1000000000};
    struct qd_event threshold = {.kind = QD_EVENT_THRESHOLD,
                                 .at = {1234},
                                 .limit = &limit,
                                 .permille = 800,
                                 .used = 85,
                                 .amount = 100,
                                 .period = {{1000}, {2000}},
                                 .name = "acme/search model=gpt-4o user=u 1"};
    struct watcher w;

    watch_tenant(&w, "acme");
    qd_node_tell(s.node, &threshold);
    tell_expired("other", 1);
    qd_node_tell_correction(s.node, (struct qd_str){"acme", 4}, 17, 3);
    Quota__V1__Event *event = hear(&w);
    cr_expect_eq(event->kind, QUOTA__V1__EVENT_KIND__EVENT_KIND_THRESHOLD_REACHED);
    cr_expect_eq(event->time_unix_ns, 1234);
    cr_expect_str_eq(event->tenant, "acme/search");
    cr_expect_str_eq(event->limit, "pro.cost");
    cr_assert_eq(event->n_keys, 2);
    cr_expect_str_eq(event->keys[0]->key, "model");
    cr_expect_str_eq(event->keys[0]->value, "gpt-4o");
    cr_expect_str_eq(event->keys[1]->value, "u 1");
    cr_expect(event->permille == 800 && event->used == 85 && event->amount == 100);
    cr_expect_str_eq(event->unit, "nano_usd");
    cr_expect(event->period_start_unix_ns == 1000 && event->resets_at_unix_ns == 2000);
    cr_expect_str_eq(event->node, "test");
    cr_expect(event->lost == 0 && event->entry_sequence == 0);
    forget(event);
    event = hear(&w);
    cr_expect_eq(event->kind, QUOTA__V1__EVENT_KIND__EVENT_KIND_CORRECTION_BOOKED);
    cr_expect_str_eq(event->tenant, "acme");
    cr_expect_str_eq(event->reservation_id, "r_3");
    cr_expect_eq(event->entry_sequence, 17);
    forget(event);
    cancel(&w);
}

/* 8 segments of 63 and what splits the counter: nothing of it is cut. */
Test(watch_events, I2_the_longest_tenant_is_told_whole)
{
    char tenant[QD_TENANT_PATH_MAX + 1];
    struct watcher w;

    memset(tenant, 'a', QD_TENANT_PATH_MAX);
    for (unsigned i = 63; i < QD_TENANT_PATH_MAX; i += 64) {
        tenant[i] = '/';
    }
    tenant[QD_TENANT_PATH_MAX] = '\0';
    watch_tenant(&w, tenant);
    tell_expired(tenant, 9);
    Quota__V1__Event *event = hear(&w);
    cr_expect_str_eq(event->tenant, tenant);
    forget(event);
    cancel(&w);
}

Test(watch_events, I2_kinds_are_chosen_and_what_is_no_kind_or_tenant_is_refused)
{
    Quota__V1__WatchEventsRequest asked;
    Quota__V1__EventKind kinds[17] = {QUOTA__V1__EVENT_KIND__EVENT_KIND_CORRECTION_BOOKED};
    char bad[] = "acme//x";
    char details[512];
    struct watcher w;

    quota__v1__watch_events_request__init(&asked);
    asked.kinds = kinds;
    asked.n_kinds = 1;
    watch(&w, &asked);
    tell_expired("acme", 1);
    qd_node_tell_correction(s.node, (struct qd_str){"acme", 4}, 17, 0);
    Quota__V1__Event *event = hear(&w);
    cr_expect_eq(event->entry_sequence, 17);
    cr_expect_str_eq(event->reservation_id, "");
    forget(event);
    cancel(&w);

    kinds[0] = (Quota__V1__EventKind)99;
    watch(&w, &asked);
    cr_expect_null(hear(&w));
    cr_expect_eq(end(&w, details), GRPC_STATUS_INVALID_ARGUMENT);
    cr_expect_not_null(strstr(details, "kinds[0]: 99 is no kind of event"), "%s", details);
    asked.n_kinds = 17;
    watch(&w, &asked);
    cr_expect_null(hear(&w));
    cr_expect_eq(end(&w, details), GRPC_STATUS_INVALID_ARGUMENT);
    asked.n_kinds = 0;
    asked.tenant = bad;
    watch(&w, &asked);
    cr_expect_null(hear(&w));
    cr_expect_eq(end(&w, details), GRPC_STATUS_INVALID_ARGUMENT);
    wait_for_watchers(0);
}

Test(watch_events, X2_more_watchers_than_the_bound_are_refused)
{
    struct qd_watch *others[QD_WATCHERS_MAX];
    struct qd_watch_filter filter = {.kinds = 1U << QD_EVENT_FULL};
    char details[512];
    struct watcher w;

    for (unsigned i = 0; i < QD_WATCHERS_MAX; i++) {
        others[i] = qd_broadcast_join(&s.node->broadcast, &filter, NULL, NULL);
        cr_assert_not_null(others[i]);
    }
    watch_tenant(&w, "");
    cr_expect_null(hear(&w));
    cr_expect_eq(end(&w, details), GRPC_STATUS_UNAVAILABLE);
    cr_expect_not_null(strstr(details, "32 watchers are open"), "%s", details);
    for (unsigned i = 0; i < QD_WATCHERS_MAX; i++) {
        qd_broadcast_leave(&s.node->broadcast, others[i]);
    }
    watch_tenant(&w, "");
    cancel(&w);
}

Test(watch_events, I9_watchers_that_went_away_leave_nothing_behind)
{
    struct watcher w;

    for (uint64_t i = 0; i < 50; i++) {
        watch_tenant(&w, "");
        tell_expired("acme", i); /* its message may be under way */
        cancel(&w);
        tell_expired("acme", i);
    }
    wait_for_watchers(0);
}

Test(watch_events, X2_a_watcher_that_does_not_read_holds_nobody_up_and_hears_what_it_missed)
{
    enum {
        EVENTS = 20000
    };
    char tenant[400];
    struct watcher slow;
    struct watcher quick;

    memset(tenant, 'x', sizeof(tenant) - 1);
    tenant[sizeof(tenant) - 1] = '\0';
    watch_tenant(&slow, "");
    watch_tenant(&quick, "acme");
    for (uint64_t i = 1; i <= EVENTS; i++) { /* 8 MB: more than the windows on the way take */
        tell_expired(tenant, i);
    }
    tell_expired("acme", 1);
    forget(hear(&quick));
    uint64_t heard = 0;
    uint64_t lost = 0;
    for (bool last = false; !last;) {
        Quota__V1__Event *event = hear(&slow);
        heard++;
        lost += event->lost;
        last = strcmp(event->tenant, "acme") == 0;
        forget(event);
    }
    cr_expect_gt(lost, 0);
    cr_expect_eq(heard + lost, EVENTS + 1);
    cr_expect_eq(atomic_load(&s.node->broadcast.lost), lost);
    cancel(&slow);
    cancel(&quick);
}

static void *stop(void *unused)
{
    (void)unused;
    qd_rpc_stop(s.rpc, 5000);
    s.rpc = NULL;
    return NULL;
}

Test(watch_events, X5_a_stop_ends_the_streams_behind_what_was_told)
{
    struct watcher w;
    pthread_t stopper;

    watch_tenant(&w, "");
    for (uint64_t i = 1; i <= 100; i++) {
        tell_expired("acme", i);
    }
    cr_assert_eq(pthread_create(&stopper, NULL, stop, NULL), 0);
    for (uint64_t i = 1; i <= 100; i++) {
        Quota__V1__Event *event = hear(&w);
        cr_assert_not_null(event, "event %lu", (unsigned long)i);
        forget(event);
    }
    cr_expect_null(hear(&w));
    cr_expect_eq(end(&w, NULL), GRPC_STATUS_UNAVAILABLE);
    (void)pthread_join(stopper, NULL);
    cr_expect_eq(qd_broadcast_watchers(&s.node->broadcast), 0);
}

/* --- credentials (X1) --- */

static void setup_known(void)
{
    struct served_with with = cast_with();

    served_open(&s, &with);
}

TestSuite(watch_known, .init = setup_known, .fini = teardown, .timeout = 60);

static void expect_ended(struct watcher *w, grpc_status_code status, const char *says)
{
    char details[512];

    cr_expect_null(hear(w));
    cr_expect_eq(end(w, details), status);
    cr_expect_not_null(strstr(details, says), "%s", details);
}

Test(watch_known, X1_a_watch_ends_when_its_credential_is_taken_away_and_no_other_does)
{
    struct watcher gone;
    struct watcher stays;

    s.token = "billing";
    watch_tenant(&gone, "");
    s.token = "acme-billing";
    watch_tenant(&stays, "");
    qd_rpc_publish_credentials(s.rpc, cast_without("billing"));
    expect_ended(&gone, GRPC_STATUS_UNAUTHENTICATED, "nobody has this token");
    tell_expired("acme", 1);
    Quota__V1__Event *event = hear(&stays);
    cr_expect_str_eq(event->tenant, "acme");
    forget(event);
    cancel(&stays);
    wait_for_watchers(0);
}

Test(watch_known, X1_a_watch_ends_when_its_caller_gets_another_role_or_tenant)
{
    static const struct {
        const char *rest;
        grpc_status_code status; /* OK: it goes on */
        const char *says;
    } cases[] = {
        {"role: gateway", GRPC_STATUS_PERMISSION_DENIED, "WatchEvents is not for role gateway"},
        {"role: billing, tenant: globex", GRPC_STATUS_PERMISSION_DENIED, "is bound to"},
        {"role: admin, tenant: acme", GRPC_STATUS_OK, NULL},
        {"role: billing", GRPC_STATUS_OK, NULL},
    };

    s.token = "acme-billing";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct watcher w;
        qd_rpc_publish_credentials(s.rpc, cast_all());
        watch_tenant(&w, "");
        qd_rpc_publish_credentials(s.rpc, cast_one("acme-billing", cases[i].rest));
        if (cases[i].status != GRPC_STATUS_OK) {
            expect_ended(&w, cases[i].status, cases[i].says);
            continue;
        }
        tell_expired("acme", i + 1);
        forget(hear(&w));
        cancel(&w);
    }
}

/* Its message is under way, and nobody takes it: it ends behind that one. */
Test(watch_known, X1_a_watch_that_does_not_read_ends_behind_the_message_that_is_under_way)
{
    enum {
        EVENTS = 20000
    };
    char tenant[400];
    struct watcher slow;
    unsigned heard = 0;

    memset(tenant, 'x', sizeof(tenant) - 1);
    tenant[sizeof(tenant) - 1] = '\0';
    s.token = "billing";
    watch_tenant(&slow, "");
    for (uint64_t i = 1; i <= EVENTS; i++) { /* 8 MB: more than the windows on the way take */
        tell_expired(tenant, i);
    }
    qd_rpc_publish_credentials(s.rpc, cast_without("billing"));
    Quota__V1__Event *event;
    while ((event = hear(&slow)) != NULL) {
        heard++;
        forget(event);
    }
    cr_expect_lt(heard, EVENTS - QD_WATCH_EVENTS, "what waited in the queue is not told");
    cr_expect_eq(end(&slow, NULL), GRPC_STATUS_UNAUTHENTICATED);
    wait_for_watchers(0);
}

static void *publish_a_moment_later(void *delay_ns)
{
    struct qd_credentials *fewer = cast_without("billing");
    struct timespec begun;
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begun.tv_sec) * 1000000000 + now.tv_nsec - begun.tv_nsec <
             *(const long *)delay_ns);
    qd_rpc_publish_credentials(s.rpc, fewer);
    return NULL;
}

/* Whatever the moment: none is left that nobody asked. */
Test(watch_known, X1_a_watch_that_begins_while_its_credential_is_taken_away_ends)
{
    s.token = "billing";
    for (long i = 0; i < 1000; i++) {
        struct watcher w;
        pthread_t publisher;
        long delay_ns = i % 500 * 1000;
        qd_rpc_publish_credentials(s.rpc, cast_all());
        cr_assert_eq(pthread_create(&publisher, NULL, publish_a_moment_later, &delay_ns), 0);
        watch_tenant(&w, "");
        (void)pthread_join(publisher, NULL);
        cr_expect_null(hear(&w));
        cr_expect_eq(end(&w, NULL), GRPC_STATUS_UNAUTHENTICATED);
    }
    wait_for_watchers(0);
}
