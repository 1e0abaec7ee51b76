/* libquota against a server that fails on demand. */
#include "client/quota.h"
#include "quota/v1/quota.pb-c.h"
#include "tests/lib/failalloc.h"
#include "tests/unit/client/fake_server.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(client, .timeout = 120);

static struct fake_server *server;
static struct quota_client *client;

static struct quota_client *connect_to(const char *address, struct quota_config config)
{
    struct quota_client *made = NULL;
    struct quota_error error;
    config.address = address;
    cr_assert_eq(quota_client_new(&config, &error, &made), QUOTA_OK, "%s", error.message);
    return made;
}

static void setup(void)
{
    server = fake_server_new();
    client = connect_to(fake_server_address(server),
                        (struct quota_config){.backoff_ms = 2, .check_timeout_ms = 20000});
}

static void teardown(void)
{
    quota_client_free(client);
    fake_server_free(server);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const struct quota_amount estimate[] = {{"input_tokens", 1200}};
static const struct quota_check plain = {.tenant = "acme/search",
                                         .model = "llama-70b",
                                         .estimate = estimate,
                                         .estimate_count = 1,
                                         .max_output_tokens = 400,
                                         .max_output_tokens_given = true};
static const struct quota_amount used[] = {{"input_tokens", 1200}, {"output_tokens", 233}};

static char *checked_token(void)
{
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &plain, NULL, &answer), QUOTA_OK, "%s",
                 answer.error.message);
    cr_assert_eq(answer.verdict, QUOTA_ALLOWED);
    char *token = strdup(answer.reservation.token);
    quota_check_answer_release(&answer);
    return token;
}

/* X1, X8: a call with a trace brings its token all the same. */
Test(client, X1_a_trace_takes_no_token_away, .init = setup, .fini = teardown)
{
    char path[] = "/tmp/quotad-token-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, "secret\n", 7), 7);
    cr_assert_eq(close(fd), 0);
    struct quota_client *known =
        connect_to(fake_server_address(server), (struct quota_config){.token_file = path});
    static const struct quota_call traced = {
        .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"};
    const struct quota_call *const calls[] = {&traced, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct quota_check_answer answer;
        cr_assert_eq(quota_client_check(known, &plain, calls[i], &answer), QUOTA_OK, "%s",
                     answer.error.message);
        quota_check_answer_release(&answer);
        cr_expect_eq(fake_server_counts(server).with_token, i + 1);
        cr_expect_eq(fake_server_counts(server).with_trace, 1);
    }
    quota_client_free(known);
    (void)unlink(path);
}

Test(client, S1_allowed_check_has_a_reservation_and_a_report_books_it, .init = setup,
     .fini = teardown)
{
    char *token = checked_token();
    struct quota_report report = {.reservation = token, .usage = used, .usage_count = 2};
    struct quota_report_answer booked;
    cr_assert_eq(quota_client_report(client, &report, NULL, &booked), QUOTA_OK);
    cr_assert_not(booked.duplicate);
    cr_assert_eq(booked.settlement, QUOTA_SETTLEMENT_CLOSED);
    cr_assert_str_eq(booked.cost_pico_usd, "1234500000");
    cr_assert_str_eq(booked.node, "fake");
    quota_report_answer_release(&booked);
    cr_assert_eq(fake_server_counts(server).booked_tokens, 1433);
    free(token);
}

Test(client, I8_denial_is_an_answer, .init = setup, .fini = teardown)
{
    struct quota_check check = plain;
    check.tenant = "denied";
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &check, NULL, &answer), QUOTA_OK);
    cr_assert_eq(answer.verdict, QUOTA_DENIED);
    cr_assert_eq(answer.reason, QUOTA_REASON_LIMIT);
    cr_assert(answer.retry_useful);
    cr_assert_eq(answer.retry_after_ns, 12400000000);
    cr_assert_null(answer.reservation.token);
    cr_assert_str_eq(answer.message, "free.tokens 39,200 used + 1,600 estimated > 40,000/min; "
                                     "retry in 12.4 s");
    quota_check_answer_release(&answer);
}

Test(client, S1_check_whose_answer_is_lost_makes_one_hold, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.lose.countdown = 0;
    fake_server_fail(server, &faults);
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &plain, NULL, &answer), QUOTA_OK, "%s",
                 answer.error.message);
    cr_assert(answer.repeated);
    cr_assert_neq(answer.request_id[0], '\0', "the made-up id is told");
    cr_assert_eq(strncmp(answer.request_id, "lq-", 3), 0);
    quota_check_answer_release(&answer);
    struct fake_counts counts = fake_server_counts(server);
    cr_assert_eq(counts.checks, 2);
    cr_assert_eq(counts.holds, 1);
}

Test(client, S6_report_whose_answer_is_lost_is_booked_once, .init = setup, .fini = teardown)
{
    char *token = checked_token();
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.lose.countdown = 0;
    fake_server_fail(server, &faults);
    struct quota_report report = {.reservation = token, .usage = used, .usage_count = 2};
    struct quota_report_answer booked;
    cr_assert_eq(quota_client_report(client, &report, NULL, &booked), QUOTA_OK);
    cr_assert(booked.duplicate, "the second try gets the first answer again");
    quota_report_answer_release(&booked);
    struct fake_counts counts = fake_server_counts(server);
    cr_assert_eq(counts.reports, 2);
    cr_assert_eq(counts.booked, 1);
    free(token);
}

Test(client, check_without_reservation_is_repeated_only_when_refused, .init = setup,
     .fini = teardown)
{
    struct quota_check check = plain;
    check.no_reservation = true;
    struct quota_call call = {.failure_mode = QUOTA_FAIL_ERROR};
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.lose.countdown = 0;
    fake_server_fail(server, &faults);
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &check, &call, &answer), QUOTA_UNAVAILABLE);
    quota_check_answer_release(&answer);
    cr_assert_eq(fake_server_counts(server).checks, 1, "it may have been charged");

    faults.lose.countdown = -1;
    faults.refuse.countdown = 0;
    fake_server_fail(server, &faults);
    cr_assert_eq(quota_client_check(client, &check, &call, &answer), QUOTA_OK);
    quota_check_answer_release(&answer);
    cr_assert_eq(fake_server_counts(server).checks, 2, "the refused try was not counted by it");
}

Test(client, X2_a_report_that_found_the_queue_full_is_sent_again, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.full.countdown = 0;
    fake_server_fail(server, &faults);
    struct quota_report report = {
        .tenant = "acme", .request_id = "r1", .usage = used, .usage_count = 2};
    struct quota_report_answer booked;
    cr_assert_eq(quota_client_report(client, &report, NULL, &booked), QUOTA_OK, "%s",
                 booked.error.message);
    quota_report_answer_release(&booked);
    struct quota_stats stats;
    quota_client_stats(client, &stats);
    cr_assert_eq(stats.tries, 2);
    cr_assert_eq(fake_server_counts(server).booked, 1);
}

Test(client, tries_end_with_tries_max, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.refuse = (struct qd_fault){.countdown = 0, .repeat = true};
    fake_server_fail(server, &faults);
    struct quota_report report = {
        .tenant = "acme", .request_id = "r1", .usage = used, .usage_count = 2};
    struct quota_call call = {.tries_max = 3};
    struct quota_report_answer booked;
    cr_assert_eq(quota_client_report(client, &report, &call, &booked), QUOTA_UNAVAILABLE);
    cr_assert_str_eq(booked.error.reason, "OVERLOADED");
    cr_assert_str_eq(booked.error.message, "overloaded; try again");
    quota_report_answer_release(&booked);
    struct quota_stats stats;
    quota_client_stats(client, &stats);
    cr_assert_eq(stats.tries, 3);
    cr_assert_eq(stats.failed, 1);
}

static enum quota_status check_nowhere(struct quota_client *lost, enum quota_failure_mode mode,
                                       struct quota_check_answer *ret)
{
    struct quota_call call = {.failure_mode = mode, .timeout_ms = 200};
    return quota_client_check(lost, &plain, &call, ret);
}

Test(client, failure_mode_decides_when_nobody_answers)
{
    struct quota_client *lost = connect_to("127.0.0.1:1", (struct quota_config){.backoff_ms = 2});
    struct quota_check_answer answer;
    cr_assert_eq(check_nowhere(lost, QUOTA_FAIL_DEFAULT, &answer), QUOTA_OK);
    cr_assert_eq(answer.verdict, QUOTA_DENIED, "closed unless told otherwise");
    cr_assert_eq(answer.reason, QUOTA_REASON_UNREACHABLE);
    cr_assert_str_eq(answer.message, "cannot reach quotad at 127.0.0.1:1: Connection refused");
    quota_check_answer_release(&answer);

    cr_assert_eq(check_nowhere(lost, QUOTA_FAIL_OPEN, &answer), QUOTA_OK);
    cr_assert_eq(answer.verdict, QUOTA_ALLOWED);
    cr_assert_null(answer.reservation.token);
    cr_assert_eq(strncmp(answer.request_id, "lq-", 3), 0, "to report it afterwards");
    quota_check_answer_release(&answer);

    cr_assert_eq(check_nowhere(lost, QUOTA_FAIL_ERROR, &answer), QUOTA_UNAVAILABLE);
    cr_assert_eq(answer.verdict, QUOTA_VERDICT_NONE);
    quota_check_answer_release(&answer);
    struct quota_stats stats;
    quota_client_stats(lost, &stats);
    cr_assert_eq(stats.by_failure_mode, 2);
    quota_client_free(lost);
}

Test(client, I9_silent_server_costs_the_timeout_and_no_more, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.silent = (struct qd_fault){.countdown = 0, .repeat = true};
    fake_server_fail(server, &faults);
    struct quota_call call = {.timeout_ms = 600, .failure_mode = QUOTA_FAIL_ERROR};
    struct quota_check_answer answer;
    int64_t begin = now_ms();
    cr_assert_eq(quota_client_check(client, &plain, &call, &answer), QUOTA_TIMEOUT);
    int64_t took = now_ms() - begin;
    cr_assert(took >= 590 && took < 10000, "took %lld ms", (long long)took);
    char expected[128];
    snprintf(expected, sizeof expected, "no answer from quotad at %s within 600 ms",
             fake_server_address(server));
    cr_assert_str_eq(answer.error.message, expected);
    quota_check_answer_release(&answer);
    cr_assert_eq(fake_server_counts(server).holds, 1, "both tries carried the same request_id");
    cr_assert_geq(fake_server_counts(server).checks, 2, "one hung try leaves room for another");
}

/* The test's limit ends it. */
static void wait_for_extends(uint64_t wanted)
{
    while (fake_server_counts(server).extends < wanted) {
        usleep(1000);
    }
}

Test(client, S1_hold_is_renewed_at_half_of_its_ttl_until_the_report, .init = setup,
     .fini = teardown)
{
    struct quota_check check = plain;
    /* Each try to renew may take an eighth of it: a busy machine needs as much, and does not try
     * twice. */
    check.ttl_ms = 1600;
    struct quota_check_answer answer;
    int64_t begin = now_ms();
    cr_assert_eq(quota_client_check(client, &check, NULL, &answer), QUOTA_OK);
    wait_for_extends(2);
    uint64_t extends = fake_server_counts(server).extends;
    int64_t due = (now_ms() - begin) / 800;
    cr_assert(extends <= (uint64_t)due, "%llu renewals, where %lld were due",
              (unsigned long long)extends, (long long)due);
    struct quota_report report = {
        .reservation = answer.reservation.token, .usage = used, .usage_count = 2};
    struct quota_report_answer booked;
    cr_assert_eq(quota_client_report(client, &report, NULL, &booked), QUOTA_OK);
    quota_report_answer_release(&booked);
    extends = fake_server_counts(server).extends;
    usleep(1000000);
    cr_assert_eq(fake_server_counts(server).extends, extends, "renewed after the report");
    struct quota_stats stats;
    quota_client_stats(client, &stats);
    cr_assert_eq(stats.renewing, 0);
    quota_check_answer_release(&answer);
}

Test(client, S1_forgotten_and_no_renewal_holds_are_not_renewed, .init = setup, .fini = teardown)
{
    struct quota_check check = plain;
    check.ttl_ms = 2000; /* half of it is time enough to forget it before the first renewal */
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &check, NULL, &answer), QUOTA_OK);
    quota_client_forget(client, answer.reservation.token);
    quota_client_forget(client, "qr1.unknown");
    quota_check_answer_release(&answer);
    check.no_renewal = true;
    cr_assert_eq(quota_client_check(client, &check, NULL, &answer), QUOTA_OK);
    quota_check_answer_release(&answer);
    usleep(1300000);
    cr_assert_eq(fake_server_counts(server).extends, 0);
}

Test(client, S1_renewal_ends_after_renew_for_ms, .init = setup, .fini = teardown)
{
    struct quota_client *other =
        connect_to(fake_server_address(server), (struct quota_config){.renew_for_ms = 1250});
    struct quota_check check = plain;
    check.ttl_ms = 1000;
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(other, &check, NULL, &answer), QUOTA_OK);
    quota_check_answer_release(&answer);
    struct quota_stats stats;
    do { /* the test's limit ends it */
        usleep(100000);
        quota_client_stats(other, &stats);
    } while (stats.renewing != 0);
    cr_assert_leq(fake_server_counts(server).extends, 3, "a lost report must not hold for ever");
    quota_client_free(other);
}

struct stops {
    _Atomic int count;
    char reservation[64];
    char message[64];
};

static void on_stop(void *context, const char *reservation, const char *message)
{
    struct stops *stops = context;
    snprintf(stops->reservation, sizeof stops->reservation, "%s", reservation);
    snprintf(stops->message, sizeof stops->message, "%s", message);
    stops->count += 1;
}

Test(client, S3_renewal_that_says_stop_tells_the_caller_once, .init = setup, .fini = teardown)
{
    fake_server_stop_output(server, true);
    struct stops stops = {0};
    struct quota_check check = plain;
    check.ttl_ms = 800;
    check.on_stop = on_stop;
    check.on_stop_context = &stops;
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &check, NULL, &answer), QUOTA_OK);
    while (stops.count == 0) { /* the test's limit ends it */
        usleep(1000);
    }
    wait_for_extends(fake_server_counts(server).extends + 2); /* still renewed, for the report */
    struct quota_cancel cancel = {.reservation = answer.reservation.token};
    struct quota_cancel_answer cancelled;
    cr_assert_eq(quota_client_cancel(client, &cancel, NULL, &cancelled), QUOTA_OK);
    cr_assert_eq(stops.count, 1);
    cr_assert_str_eq(stops.reservation, answer.reservation.token);
    cr_assert_str_eq(stops.message, "acme.cost is spent");
    quota_check_answer_release(&answer);
}

Test(client, S3_extend_and_cancel, .init = setup, .fini = teardown)
{
    char *token = checked_token();
    struct quota_extend extend = {
        .reservation = token, .used_so_far = used, .used_so_far_count = 2};
    struct quota_extend_answer extended;
    cr_assert_eq(quota_client_extend(client, &extend, NULL, &extended), QUOTA_OK);
    cr_assert_not(extended.stop);
    quota_extend_answer_release(&extended);
    struct quota_cancel cancel = {.reservation = token};
    struct quota_cancel_answer cancelled;
    cr_assert_eq(quota_client_cancel(client, &cancel, NULL, &cancelled), QUOTA_OK);
    cr_assert(cancelled.cancelled);
    cr_assert_eq(quota_client_cancel(client, &cancel, NULL, &cancelled), QUOTA_OK);
    cr_assert_not(cancelled.cancelled, "twice is harmless");
    free(token);
}

/* ---- the callback form */

struct tally {
    pthread_mutex_t lock;
    int allowed, denied, failed, booked;
    int cancelled, refused_blocking;
};

static void on_check(void *context, const struct quota_check_answer *answer)
{
    struct tally *tally = context;
    pthread_mutex_lock(&tally->lock);
    if (answer->error.status != QUOTA_OK) {
        tally->failed += 1;
        tally->cancelled += answer->error.status == QUOTA_CANCELLED;
    } else if (answer->verdict == QUOTA_ALLOWED) {
        tally->allowed += 1;
    } else {
        tally->denied += 1;
    }
    pthread_mutex_unlock(&tally->lock);
}

Test(client, callbacks_come_once_each, .init = setup, .fini = teardown)
{
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct quota_check denied = plain;
    denied.tenant = "denied";
    for (int i = 0; i < 500; i++) {
        cr_assert_eq(quota_client_check_start(client, i % 10 == 0 ? &denied : &plain, NULL,
                                              on_check, &tally),
                     QUOTA_OK);
    }
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_eq(tally.allowed, 450);
    cr_assert_eq(tally.denied, 50);
    cr_assert_eq(tally.failed, 0);
}

Test(client, open_calls_are_bounded, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.silent = (struct qd_fault){.countdown = 0, .repeat = true};
    fake_server_fail(server, &faults);
    struct quota_client *small =
        connect_to(fake_server_address(server), (struct quota_config){.in_flight_max = 3});
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(quota_client_check_start(small, &plain, NULL, on_check, &tally), QUOTA_OK);
    }
    cr_assert_eq(quota_client_check_start(small, &plain, NULL, on_check, &tally), QUOTA_BUSY);
    cr_assert_eq(quota_client_wait(small, 0, 10), QUOTA_TIMEOUT);
    quota_client_free(small); /* their callbacks run before this returns */
    cr_assert_eq(tally.failed, 3);
    cr_assert_eq(tally.cancelled, 3);
}

static void on_check_block(void *context, const struct quota_check_answer *answer)
{
    struct tally *tally = context;
    (void)answer;
    struct quota_check_answer inner;
    tally->refused_blocking = quota_client_check(client, &plain, NULL, &inner) == QUOTA_INVALID;
    quota_check_answer_release(&inner);
    tally->booked =
        quota_client_check_start(client, &plain, NULL, on_check, tally) == QUOTA_OK ? 1 : 0;
}

Test(client, callback_may_start_a_call_but_not_wait_for_one, .init = setup, .fini = teardown)
{
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    cr_assert_eq(quota_client_check_start(client, &plain, NULL, on_check_block, &tally), QUOTA_OK);
    cr_assert_eq(quota_client_wait(client, 0, 10000), QUOTA_OK);
    cr_assert_eq(tally.refused_blocking, 1);
    cr_assert_eq(tally.booked, 1);
    cr_assert_eq(tally.allowed, 1);
}

static void *many_checks(void *arg)
{
    for (int i = 0; i < 100; i++) {
        free(checked_token());
    }
    return arg;
}

Test(client, one_client_serves_many_threads, .init = setup, .fini = teardown)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, many_checks, NULL);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(fake_server_counts(server).holds, 800);
}

static void on_report_free(void *context, const struct quota_report_answer *answer)
{
    cr_assert_eq(answer->error.status, QUOTA_OK);
    free(context);
}

/* Seen under ASan: the library looked at the reservation after its callback had freed it. */
Test(client, a_callback_may_free_what_its_call_was_given, .init = setup, .fini = teardown)
{
    for (int i = 0; i < 300; i++) {
        char *token = checked_token();
        struct quota_report report = {.reservation = token, .usage = used, .usage_count = 2};
        cr_assert_eq(quota_client_report_start(client, &report, NULL, on_report_free, token),
                     QUOTA_OK);
    }
    cr_assert_eq(quota_client_wait(client, 0, 20000), QUOTA_OK);
    cr_assert_eq(fake_server_counts(server).booked, 300);
}

/* ---- what is wrong with a call */

Test(client, mistakes_are_told_in_words, .init = setup, .fini = teardown)
{
    struct quota_check_answer answer;
    struct quota_check check = {.tenant = NULL};
    cr_assert_eq(quota_client_check(client, &check, NULL, &answer), QUOTA_INVALID);
    cr_assert_str_eq(answer.error.message,
                     "check.tenant is missing; accepted: a path such as \"acme/search\"");
    struct quota_report report = {.tenant = "acme"};
    struct quota_report_answer booked;
    cr_assert_eq(quota_client_report(client, &report, NULL, &booked), QUOTA_INVALID);
    cr_assert_str_eq(booked.error.message, "a report needs a reservation, or, for post-paid "
                                           "usage, tenant and request_id");
    struct quota_client *none = NULL;
    struct quota_error error;
    cr_assert_eq(quota_client_new(&(struct quota_config){.check_timeout_ms = -5}, &error, &none),
                 QUOTA_INVALID);
    cr_assert_str_eq(error.message, "config.check_timeout_ms is -5; accepted are 0 to 86400000");
    cr_assert_eq(quota_client_new(&(struct quota_config){.address = "a b"}, &error, &none),
                 QUOTA_INVALID);
    cr_assert_str_eq(error.message, "address \"a b\" is not valid; accepted: host:port, "
                                    "dns:///name:port or unix:/path");
    cr_assert_null(none);
}

Test(client, garbage_from_the_server_is_an_error, .init = setup, .fini = teardown)
{
    struct fake_faults faults = FAKE_NO_FAULTS;
    faults.garbage.countdown = 0;
    fake_server_fail(server, &faults);
    struct quota_check_answer answer;
    cr_assert_eq(quota_client_check(client, &plain, NULL, &answer), QUOTA_INTERNAL);
    cr_assert_str_eq(answer.error.message,
                     "the answer (2 bytes) is not a quota.v1.CheckQuotaResponse");
    quota_check_answer_release(&answer);
}

Test(client, invoke_carries_any_call, .init = setup, .fini = teardown)
{
    fake_server_refuse(server, "/x.Y/Z", 3, "UNKNOWN_METER", "\"tokns\": unknown meter");
    struct quota_bytes reply;
    cr_assert_eq(quota_client_invoke(client, "/x.Y/Z", "abc", 3, NULL, &reply), QUOTA_INVALID);
    cr_assert_str_eq(reply.error.reason, "UNKNOWN_METER");
    cr_assert_str_eq(reply.error.message, "\"tokns\": unknown meter");
    quota_bytes_release(&reply);
    size_t size = 0;
    uint8_t *sent = fake_server_request(server, "/x.Y/Z", &size);
    cr_assert_eq(size, 3);
    cr_assert_arr_eq(sent, "abc", 3);
    free(sent);
    cr_assert_eq(quota_client_invoke(client, "/x.Y/W", "", 0, NULL, &reply), QUOTA_UNSUPPORTED);
    quota_bytes_release(&reply);
}

/* ---- memory */

static int new_and_free(void *context)
{
    struct quota_client *made = NULL;
    struct quota_config config = {.address = context, .source = "pool"};
    if (quota_client_new(&config, NULL, &made) != QUOTA_OK) {
        return made == NULL ? 1 : 0; /* untouched on failure */
    }
    quota_client_free(made);
    return 0;
}

Test(client, new_survives_every_failing_allocation)
{
    char address[] = "127.0.0.1:1";
    cr_assert_geq(qd_failalloc_each(new_and_free, address, false), 3);
}

static int check_and_report(void *context)
{
    (void)context;
    struct quota_check_answer answer;
    struct quota_check check = plain;
    check.request_id = "same";
    enum quota_status status = quota_client_check(client, &check, NULL, &answer);
    quota_check_answer_release(&answer);
    if (status != QUOTA_OK) {
        return status == QUOTA_NO_MEMORY ? 1 : 0;
    }
    struct quota_report report = {
        .tenant = "acme", .request_id = "r1", .usage = used, .usage_count = 2};
    struct quota_report_answer booked;
    status = quota_client_report(client, &report, NULL, &booked);
    quota_report_answer_release(&booked);
    return status == QUOTA_OK ? 0 : status == QUOTA_NO_MEMORY ? 1 : 0;
}

Test(client, calls_survive_every_failing_allocation, .init = setup, .fini = teardown)
{
    cr_assert_geq(qd_failalloc_each(check_and_report, NULL, false), 4);
}

static int stream_new_and_free(void *context)
{
    struct quota_stream *stream = NULL;
    (void)context;
    if (quota_stream_new(client, 0, &stream) != QUOTA_OK) {
        return stream == NULL ? 1 : 0;
    }
    quota_stream_free(stream);
    return 0;
}

Test(client, stream_new_survives_every_failing_allocation, .init = setup, .fini = teardown)
{
    cr_assert_eq(qd_failalloc_each(stream_new_and_free, NULL, false), 1);
}

Test(client, I2_a_followed_stream_gives_its_messages_and_then_its_end, .init = setup,
     .fini = teardown)
{
    static const char method[] = "/quota.v1.UsageService/WatchEvents";
    struct quota_follow *follow = NULL;
    struct quota_error error;
    struct quota_bytes message;
    cr_assert_eq(quota_follow_new(client, "x.Y/Z", "", 0, 0, &error, &follow), QUOTA_INVALID);
    cr_assert_eq(quota_follow_new(client, "/x.Y/Z", "", 0, 0, &error, &follow), QUOTA_UNSUPPORTED);
    fake_server_refuse(server, method, 3, "INVALID_FIELD", "kinds[0]: no");
    cr_assert_eq(quota_follow_new(client, method, "", 0, 0, &error, &follow), QUOTA_INVALID);
    cr_assert_str_eq(error.message, "kinds[0]: no");
    cr_assert_str_eq(error.reason, "INVALID_FIELD");
    cr_assert_null(follow);

    Quota__V1__CancelReservationResponse sent;
    quota__v1__cancel_reservation_response__init(&sent);
    sent.cancelled = 1;
    fake_server_reply(server, method, &sent.base);
    cr_assert_eq(quota_follow_new(client, method, "", 0, 0, &error, &follow), QUOTA_OK, "%s",
                 error.message);
    cr_assert_eq(quota_follow_next(follow, -1, &message), QUOTA_OK);
    cr_assert(message.size == 2 && message.data[1] == 1);
    quota_bytes_release(&message);
    for (unsigned i = 0; i < 2; i++) { /* an end is told again */
        cr_assert_eq(quota_follow_next(follow, -1, &message), QUOTA_UNAVAILABLE);
        cr_assert_str_eq(message.error.message, "the server ended the stream");
        cr_assert_str_eq(message.error.reason, "");
    }
    quota_follow_free(follow);
    cr_assert_eq(quota_follow_new(client, method, "", 0, 0, NULL, &follow), QUOTA_OK);
    quota_follow_free(follow); /* unread */
    quota_follow_free(NULL);
}
