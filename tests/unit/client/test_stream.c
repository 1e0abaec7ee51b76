/* The streaming form of libquota, and the frames and timers behind it. */
#include "client/frame.h"
#include "client/quota.h"
#include "client/timer.h"
#include "quota/v1/quota.pb-c.h"
#include "tests/lib/prng.h"
#include "tests/unit/client/fake_server.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(stream, .timeout = 60);

static struct fake_server *server;
static struct quota_client *client;
static struct quota_stream *stream;

static void setup(void)
{
    struct quota_error error;
    server = fake_server_new();
    struct quota_config config = {
        .address = fake_server_address(server), .backoff_ms = 2, .check_timeout_ms = 40000};
    cr_assert_eq(quota_client_new(&config, &error, &client), QUOTA_OK);
    cr_assert_eq(quota_stream_new(client, 64, &stream), QUOTA_OK);
}

static void teardown(void)
{
    quota_stream_free(stream);
    quota_client_free(client);
    fake_server_free(server);
}

struct tally {
    pthread_mutex_t lock;
    int allowed, denied, failed, booked, duplicates, report_failed;
};

static const struct quota_amount used[] = {{"input_tokens", 10}};

static void on_report(void *context, const struct quota_report_answer *answer)
{
    struct tally *tally = context;
    pthread_mutex_lock(&tally->lock);
    if (answer->error.status != QUOTA_OK) {
        tally->report_failed += 1;
    } else {
        tally->booked += 1;
        tally->duplicates += answer->duplicate;
    }
    pthread_mutex_unlock(&tally->lock);
}

static void on_check(void *context, const struct quota_check_answer *answer)
{
    struct tally *tally = context;
    pthread_mutex_lock(&tally->lock);
    if (answer->error.status != QUOTA_OK) {
        tally->failed += 1;
    } else if (answer->verdict == QUOTA_DENIED) {
        tally->denied += 1;
    } else {
        tally->allowed += 1;
    }
    pthread_mutex_unlock(&tally->lock);
    if (answer->reservation.token != NULL) {
        struct quota_call call = {.stream = stream};
        struct quota_report report = {
            .reservation = answer->reservation.token, .usage = used, .usage_count = 1};
        cr_assert_eq(quota_client_report_start(client, &report, &call, on_report, tally), QUOTA_OK);
    }
}

static void start_checks(int count, struct tally *tally)
{
    struct quota_call call = {.stream = stream, .failure_mode = QUOTA_FAIL_ERROR};
    for (int i = 0; i < count; i++) {
        struct quota_check check = {.tenant = i % 10 == 9 ? "denied" : "acme"};
        cr_assert_eq(quota_client_check_start(client, &check, &call, on_check, tally), QUOTA_OK);
    }
}

Test(stream, I1_batches_are_answered_item_by_item, .init = setup, .fini = teardown)
{
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    quota_stream_hold(stream);
    start_checks(1000, &tally);
    quota_stream_flush(stream);
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_eq(tally.allowed, 900);
    cr_assert_eq(tally.denied, 100);
    cr_assert_eq(tally.booked, 900);
    struct fake_counts counts = fake_server_counts(server);
    cr_assert_eq(counts.items, 1900);
    cr_assert_eq(counts.largest_batch, 64);
    cr_assert_lt(counts.batches, 1900 / 4, "%llu batches", (unsigned long long)counts.batches);
}

Test(stream, I1_blocking_calls_go_over_a_stream_too, .init = setup, .fini = teardown)
{
    struct quota_call call = {.stream = stream};
    struct quota_check check = {.tenant = "acme"};
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &check, &call, &answer), QUOTA_OK);
    cr_assert_eq(answer.verdict, QUOTA_ALLOWED);
    struct quota_extend extend = {.reservation = answer.reservation.token};
    struct quota_extend_answer extended;
    cr_assert_eq(quota_client_extend(client, &extend, &call, &extended), QUOTA_OK);
    quota_extend_answer_release(&extended);
    struct quota_cancel cancel = {.reservation = answer.reservation.token};
    struct quota_cancel_answer cancelled;
    cr_assert_eq(quota_client_cancel(client, &cancel, &call, &cancelled), QUOTA_OK);
    cr_assert(cancelled.cancelled);
    quota_check_answer_release(&answer);
    cr_assert_eq(fake_server_counts(server).items, 3);
}

Test(stream, S6_broken_stream_loses_and_doubles_nothing, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.end_stream.countdown = 3;
    fake_server_fail(server, &faults);
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    start_checks(500, &tally);
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_eq(tally.allowed, 450);
    cr_assert_eq(tally.booked, 450);
    struct fake_counts counts = fake_server_counts(server);
    cr_assert_eq(counts.holds, 450);
    cr_assert_eq(counts.booked, 450);
    cr_assert_eq(counts.booked_tokens, 4500);
    /* And the stream comes back by itself. */
    uint64_t before = counts.batches;
    start_checks(20, &tally);
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_gt(fake_server_counts(server).batches, before);
}

Test(stream, item_errors_fail_alone, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.refuse.countdown = 5;
    fake_server_fail(server, &faults);
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    start_checks(8, &tally);
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_eq(tally.allowed, 8, "the refused item was tried again by itself");
}

Test(stream, S1_late_hold_of_a_timed_out_check_is_given_back, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.late.countdown = 0;
    faults.late_ms = 700;
    fake_server_fail(server, &faults);
    struct quota_call call = {
        .stream = stream, .timeout_ms = 100, .tries_max = 1, .failure_mode = QUOTA_FAIL_ERROR};
    struct quota_check check = {.tenant = "acme"};
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &check, &call, &answer), QUOTA_TIMEOUT);
    quota_check_answer_release(&answer);
    for (int i = 0; i < 300 && fake_server_counts(server).released == 0; i++) {
        usleep(10000);
    }
    cr_assert_eq(fake_server_counts(server).released, 1);
}

Test(stream, nobody_there)
{
    struct quota_error error;
    struct quota_config config = {.address = "127.0.0.1:1", .backoff_ms = 2, .tries_max = 2};
    cr_assert_eq(quota_client_new(&config, &error, &client), QUOTA_OK);
    cr_assert_eq(quota_stream_new(client, 0, &stream), QUOTA_OK);
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    start_checks(10, &tally);
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_eq(tally.failed, 10);
    quota_stream_free(stream);
    quota_client_free(client);
}

/* ---- frames: against protobuf-c */

Test(frame, batch_is_what_protobuf_c_would_write)
{
    Quota__V1__CancelReservationRequest cancel;
    quota__v1__cancel_reservation_request__init(&cancel);
    char text[400];
    memset(text, 'x', sizeof text);
    text[399] = '\0';
    cancel.reservation = text;
    Quota__V1__StreamRequest item;
    quota__v1__stream_request__init(&item);
    item.id = UINT64_C(1) << 40;
    item.call_case = QUOTA__V1__STREAM_REQUEST__CALL_CANCEL;
    item.cancel = &cancel;
    Quota__V1__StreamRequest *items[] = {&item};
    Quota__V1__StreamQuotaRequest batch;
    quota__v1__stream_quota_request__init(&batch);
    batch.n_items = 1;
    batch.items = items;
    uint8_t expected[600], inner[500], got[600];
    size_t size = quota__v1__stream_quota_request__pack(&batch, expected);
    size_t inner_size = quota__v1__cancel_reservation_request__pack(&cancel, inner);
    cr_assert_eq(lq_frame_item_size(item.id, 5, inner_size), size);
    cr_assert_eq(lq_frame_item_write(got, item.id, 5, inner, inner_size) - got, (ssize_t)size);
    cr_assert_arr_eq(got, expected, size);

    struct lq_frame_reader reader = {got, got + size};
    struct lq_frame_item read;
    cr_assert_eq(lq_frame_next(&reader, &read), 1);
    cr_assert_eq(read.id, item.id);
    cr_assert_eq(read.field, 5);
    cr_assert_eq(read.message_size, inner_size);
    cr_assert_arr_eq(read.message, inner, inner_size);
    cr_assert_eq(lq_frame_next(&reader, &read), 0);
    for (size_t cut = 1; cut < size; cut++) { /* every truncation is refused */
        struct lq_frame_reader part = {got, got + cut};
        cr_assert_eq(lq_frame_next(&part, &read), -1, "at %zu", cut);
    }
}

Test(frame, hostile_bytes_stay_inside)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("frame", 1));
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)qd_prng_below(&prng, 40);
        uint8_t *bytes = malloc(size + 1); /* exact, for the sanitizer */
        qd_prng_fill(&prng, bytes, size);
        if (size > 0 && i % 2 == 0) {
            bytes[0] = 0x0a;
        }
        struct lq_frame_reader reader = {bytes, bytes + size};
        struct lq_frame_item item;
        while (lq_frame_next(&reader, &item) > 0) {
            cr_assert(item.message == NULL ||
                      (item.message >= bytes && item.message + item.message_size <= bytes + size));
        }
        free(bytes);
    }
}

/* ---- timers: against a sorted list */

Test(timers, come_in_order_whatever_is_set_moved_and_cleared)
{
    enum {
        COUNT = 300
    };
    static struct lq_timer timers[COUNT];
    struct lq_timers heap = {0};
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("timers", 1));
    cr_assert(lq_timers_reserve(&heap, COUNT));
    for (int i = 0; i < 20000; i++) {
        struct lq_timer *timer = &timers[qd_prng_below(&prng, COUNT)];
        if (qd_prng_chance(&prng, 1, 3)) {
            lq_timer_clear(&heap, timer);
        } else {
            lq_timer_set(&heap, timer, (int64_t)qd_prng_below(&prng, 1000));
        }
        int64_t soonest = INT64_MAX;
        for (int k = 0; i % 50 == 0 && k < COUNT; k++) {
            if (timers[k].place != 0 && timers[k].at_ns < soonest) {
                soonest = timers[k].at_ns;
            }
        }
        if (i % 50 == 0 && soonest != INT64_MAX) {
            cr_assert_eq(lq_timers_first(&heap)->at_ns, soonest);
        }
    }
    int64_t last = INT64_MIN;
    while (lq_timers_first(&heap) != NULL) {
        struct lq_timer *first = lq_timers_first(&heap);
        cr_assert_geq(first->at_ns, last);
        last = first->at_ns;
        lq_timer_clear(&heap, first);
    }
    lq_timers_release(&heap);
}
