/* I9: what waits for the disk, and what does not wait for each other. */
#include "served.h"

#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "quota/v1/usage.pb-c.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define QUEUE   3U
#define LONG_MS 60000

static struct served s;
static sem_t begun; /* a checkpoint */
static sem_t may_end;

static enum qd_error_code slow_checkpoint(void *context, const char *name,
                                          struct qd_checkpoint *ret_checkpoint,
                                          struct qd_error *ret_error)
{
    (void)context;
    (void)name;
    *ret_checkpoint = (struct qd_checkpoint){0};
    (void)sem_post(&begun);
    (void)sem_wait(&may_end);
    return qd_error_set(ret_error, QD_ERROR_OVERLOADED, "only to take its time");
}

static void set_up(void)
{
    struct served_with with = {
        .rpc = {.booking_queue = QUEUE, .hooks = {.checkpoint = slow_checkpoint}}};

    cr_assert_eq(sem_init(&begun, 0, 0), 0);
    cr_assert_eq(sem_init(&may_end, 0, 0), 0);
    served_open(&s, &with);
}

static void tear_down(void)
{
    served_close(&s);
}

TestSuite(booking, .init = set_up, .fini = tear_down, .timeout = 120);

static void begin_checkpoint(struct served_pending *ret_pending)
{
    Quota__V1__CheckpointRequest q;

    quota__v1__checkpoint_request__init(&q);
    served_begin(&s, "/quota.v1.AdminService/Checkpoint", &q.base, LONG_MS, ret_pending);
}

static void end_checkpoint(struct served_pending *pending)
{
    grpc_status_code status;

    cr_expect_null(served_end(&s, pending, &quota__v1__checkpoint_response__descriptor, &status));
    cr_expect_eq(status, GRPC_STATUS_UNAVAILABLE);
}

static grpc_status_code report(const char *id)
{
    char tenant[] = "acme";
    char model[] = "m";
    char request_id[32];
    Quota__V1__ReportUsageRequest q;
    grpc_status_code status;

    quota__v1__report_usage_request__init(&q);
    (void)snprintf(request_id, sizeof(request_id), "%s", id);
    q.tenant = tenant;
    q.model = model;
    q.request_id = request_id;
    void *answer = served_call(&s, "/quota.v1.QuotaService/ReportUsage", &q.base,
                               &quota__v1__report_usage_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return status;
}

Test(booking, I9_no_report_waits_for_administration_or_queries)
{
    struct served_pending slow;
    struct served_pending behind;
    Quota__V1__QueryUsageRequest query;
    grpc_status_code status;

    begin_checkpoint(&slow);
    (void)sem_wait(&begun);
    quota__v1__query_usage_request__init(&query);
    served_begin(&s, "/quota.v1.UsageService/QueryUsage", &query.base, LONG_MS, &behind);
    cr_expect_eq(report("on time"), GRPC_STATUS_OK);
    (void)sem_post(&may_end);
    end_checkpoint(&slow);
    void *answer = served_end(&s, &behind, &quota__v1__query_usage_response__descriptor, &status);
    cr_expect_eq(status, GRPC_STATUS_OK);
    protobuf_c_message_free_unpacked(answer, NULL);
}

/* Their queue has a bound of its own (X2), and a query is no report (I8). */
Test(booking, I8_X2_a_query_that_finds_the_queue_full_is_unavailable)
{
    struct served_pending calls[QUEUE + 1];
    struct qd_rpc_figures figures = {0};
    Quota__V1__QueryUsageRequest query;
    grpc_status_code status;

    begin_checkpoint(&calls[0]);
    (void)sem_wait(&begun);
    for (size_t i = 1; i <= QUEUE; i++) {
        begin_checkpoint(&calls[i]);
    }
    while (figures.booking_waiting < QUEUE) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        qd_rpc_figures(s.rpc, &figures);
    }
    quota__v1__query_usage_request__init(&query);
    cr_expect_null(served_call(&s, "/quota.v1.UsageService/QueryUsage", &query.base,
                               &quota__v1__query_usage_response__descriptor, &status));
    cr_expect_eq(status, GRPC_STATUS_UNAVAILABLE);
    cr_expect_str_eq(s.reason, "OVERLOADED");
    cr_expect_eq(report("all the same"), GRPC_STATUS_OK);
    for (size_t i = 0; i <= QUEUE; i++) {
        (void)sem_post(&may_end);
    }
    for (size_t i = 0; i <= QUEUE; i++) {
        end_checkpoint(&calls[i]);
    }
}
