/* libquota against the real node: streams, renewal, and a node that is killed while reports are on
 * their way. */
#include "client/quota.h"
#include "tests/lib/process.h"
#include "tests/lib/tempdir.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

TestSuite(client_live, .timeout = 120);

static struct qd_tempdir dir;
static struct qd_process node;
static char address[64];
static char program[PATH_MAX];
static struct quota_client *client;

/* One that the node can have again after it was killed: below those that the system gives out, it
 * becomes nobody's outgoing connection meanwhile. */
static uint16_t lasting_port(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        uint16_t port = (uint16_t)(10000 + ((unsigned)getpid() * 31 + i) % 20000);
        struct sockaddr_in name = {.sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_geq(fd, 0);
        bool is_free = bind(fd, (struct sockaddr *)&name, sizeof name) == 0;
        (void)close(fd);
        if (is_free) {
            return port;
        }
    }
    cr_assert_fail("no port is free");
    return 0;
}

/* On the port of the first time, so that clients find it again. */
static void start_node(void)
{
    char log[PATH_MAX];
    char data[PATH_MAX];
    char listen[96];
    snprintf(listen, sizeof listen, "--listen=%s", address);
    qd_tempdir_path(&dir, "quotad.log", log);
    qd_tempdir_path(&dir, "data", data);
    char data_option[PATH_MAX + 16];
    snprintf(data_option, sizeof data_option, "--data-dir=%s", data);
    const char *const argv[] = {program,     "--dev", listen, "--admin-listen=127.0.0.1:0",
                                data_option, NULL};
    qd_process_start(&node, argv, log);
    uint16_t port = qd_process_wait_port(&node, "gRPC 127.0.0.1:", 60000);
    cr_assert_neq(port, 0, "quotad did not come up");
}

static void setup(void)
{
    struct quota_error error;
    /* quotad refuses settings that it does not know, and these are the tests' own. */
    static const char *const ours[] = {"QUOTAD_BIN", "QUOTAD_SOURCE_DIR", "QUOTAD_BUILD_DIR",
                                       "QUOTAD_TRACE_DATA"};
    snprintf(program, sizeof program, "%s", qd_process_program("QUOTAD_BIN"));
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        (void)unsetenv(ours[i]);
    }
    qd_tempdir_init(&dir);
    snprintf(address, sizeof address, "127.0.0.1:%u", lasting_port());
    start_node();
    struct quota_config config = {
        .address = address, .check_timeout_ms = 30000, .report_timeout_ms = 60000};
    config.tries_max = 100;
    cr_assert_eq(quota_client_new(&config, &error, &client), QUOTA_OK, "%s", error.message);
}

static void teardown(void)
{
    quota_client_free(client);
    qd_process_release(&node);
    qd_tempdir_release(&dir);
}

static const struct quota_amount used[] = {{"input_tokens", 7}, {"output_tokens", 3}};

struct tally {
    pthread_mutex_t lock;
    struct quota_stream *stream;
    int allowed, booked, duplicates, failed;
    uint64_t last_entry;
    char first_error[256];
};

static void on_report(void *context, const struct quota_report_answer *answer)
{
    struct tally *tally = context;
    pthread_mutex_lock(&tally->lock);
    if (answer->error.status == QUOTA_OK) {
        tally->booked += 1;
        tally->duplicates += answer->duplicate ? 1 : 0;
        if (answer->entry_sequence > tally->last_entry) {
            tally->last_entry = answer->entry_sequence;
        }
    } else {
        tally->failed += 1;
        snprintf(tally->first_error, sizeof tally->first_error, "%.250s", answer->error.message);
    }
    pthread_mutex_unlock(&tally->lock);
}

static void on_check(void *context, const struct quota_check_answer *answer)
{
    struct tally *tally = context;
    pthread_mutex_lock(&tally->lock);
    tally->allowed += answer->verdict == QUOTA_ALLOWED ? 1 : 0;
    pthread_mutex_unlock(&tally->lock);
    struct quota_call call = {.stream = tally->stream};
    struct quota_report report = {
        .reservation = answer->reservation.token, .usage = used, .usage_count = 2};
    if (answer->reservation.token != NULL) {
        cr_assert_eq(quota_client_report_start(client, &report, &call, on_report, tally), QUOTA_OK);
    }
}

/* Sums of the ledger would need the usage service; the entries' numbers are gap-free instead: as
 * many entries as reports were booked means that none is lost and none is there twice. */
static uint64_t next_entry(void)
{
    struct quota_report report = {
        .tenant = "probe", .request_id = "probe", .usage = used, .usage_count = 2};
    struct quota_report_answer answer;
    cr_assert_eq(quota_client_report(client, &report, NULL, &answer), QUOTA_OK, "%s",
                 answer.error.message);
    uint64_t entry = answer.entry_sequence;
    cr_assert_not(answer.duplicate);
    quota_report_answer_release(&answer);
    return entry;
}

Test(client_live, I1_stream_checks_and_reports, .init = setup, .fini = teardown)
{
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    cr_assert_eq(quota_stream_new(client, 64, &tally.stream), QUOTA_OK);
    struct quota_call call = {.stream = tally.stream};
    for (int i = 0; i < 1500; i++) {
        char tenant[32];
        snprintf(tenant, sizeof tenant, "t%d", i % 30);
        struct quota_check check = {
            .tenant = tenant, .model = "m", .estimate = used, .estimate_count = 2};
        cr_assert_eq(quota_client_check_start(client, &check, &call, on_check, &tally), QUOTA_OK);
    }
    cr_assert_eq(quota_client_wait(client, 0, 60000), QUOTA_OK);
    quota_stream_free(tally.stream);
    cr_assert_eq(tally.allowed, 1500);
    cr_assert_eq(tally.booked, 1500, "%s", tally.first_error);
    cr_assert_eq(tally.duplicates, 0);
    cr_assert_eq(next_entry(), 1501);
}

Test(client_live, S1_renewed_hold_outlives_its_ttl, .init = setup, .fini = teardown)
{
    struct quota_check check = {
        .tenant = "acme", .model = "m", .estimate = used, .estimate_count = 2, .ttl_ms = 3000};
    struct quota_check_answer kept;
    struct quota_check_answer left;
    struct quota_extend_answer extended;
    cr_assert_eq(quota_client_check(client, &check, NULL, &kept), QUOTA_OK);
    check.no_renewal = true;
    cr_assert_eq(quota_client_check(client, &check, NULL, &left), QUOTA_OK);
    sleep(6); /* the TTL, the quantum of a second, and the node's sweep */
    struct quota_extend extend = {.reservation = kept.reservation.token};
    cr_assert_eq(quota_client_extend(client, &extend, NULL, &extended), QUOTA_OK, "%s",
                 extended.error.message);
    quota_extend_answer_release(&extended);
    extend.reservation = left.reservation.token;
    cr_assert_eq(quota_client_extend(client, &extend, NULL, &extended), QUOTA_NOT_FOUND,
                 "nobody renewed it");
    quota_extend_answer_release(&extended);
    quota_check_answer_release(&kept);
    quota_check_answer_release(&left);
}

Test(client_live, S1_check_again_gets_the_same_reservation, .init = setup, .fini = teardown)
{
    struct quota_check check = {
        .tenant = "acme", .model = "m", .estimate = used, .estimate_count = 2};
    struct quota_check_answer first;
    struct quota_check_answer second;
    check.request_id = "r-1";
    cr_assert_eq(quota_client_check(client, &check, NULL, &first), QUOTA_OK);
    cr_assert_eq(quota_client_check(client, &check, NULL, &second), QUOTA_OK);
    cr_assert(second.repeated);
    cr_assert_str_eq(second.reservation.id, first.reservation.id);
    quota_check_answer_release(&first);
    quota_check_answer_release(&second);
}

enum {
    REPORTS = 3000
};

static void *send_reports(void *arg)
{
    for (int i = 0; i < REPORTS; i++) {
        char id[32];
        snprintf(id, sizeof id, "req-%d", i);
        struct quota_report report = {
            .tenant = "acme", .request_id = id, .usage = used, .usage_count = 2};
        cr_assert_eq(quota_client_report_start(client, &report, NULL, on_report, arg), QUOTA_OK);
        (void)quota_client_wait(client, 64, -1);
    }
    return NULL;
}

static void wait_until_booked(struct tally *tally, int wanted)
{
    for (int booked = 0; booked < wanted;) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        pthread_mutex_lock(&tally->lock);
        booked = tally->booked;
        pthread_mutex_unlock(&tally->lock);
    }
}

/* X5: every report is acknowledged in the end, whatever was lost on the way, and is booked once.
 * (The node is started on the main thread: a child of a thread that ends is killed with it.) */
Test(client_live, X5_reports_survive_a_killed_node_exactly_once, .init = setup, .fini = teardown)
{
    struct tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t sender;
    cr_assert_eq(pthread_create(&sender, NULL, send_reports, &tally), 0);
    for (int i = 0; i < 3; i++) {
        wait_until_booked(&tally,
                          300 + 600 * i); /* others are on their way, however fast it goes */
        (void)qd_process_stop(&node, SIGKILL, 10000);
        qd_process_release(&node);
        start_node();
    }
    pthread_join(sender, NULL);
    cr_assert_eq(quota_client_wait(client, 0, 60000), QUOTA_OK);
    cr_assert_eq(tally.failed, 0, "%s", tally.first_error);
    cr_assert_eq(tally.booked, REPORTS);
    struct quota_stats stats;
    quota_client_stats(client, &stats);
    cr_assert_gt(stats.tries, REPORTS, "no report was on its way when the node was killed");
    cr_assert_eq(next_entry(), REPORTS + 1, "%d were recognised as repeats", tally.duplicates);
}
