/* X8, X1: a line of a call that failed or was slow names its trace and its peer, and who may not do
 * what it asks; a flood is sampled, a secret is not there. */
#include "server/rpc/call_log.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/log_pipe.h"
#include "tests/unit/rpc/served.h"

#include "quota/v1/quota.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

TestSuite(call_log, .init = log_pipe_open, .fini = log_pipe_close, .timeout = 60);

/* From the level on: the time before it is another each time. */
static const char *line(void)
{
    const char *level = strstr(log_pipe_read(), "level=");

    return level != NULL ? level : "";
}

/* --- a call by itself --- */

static const struct qd_method method = {"/quota.v1.QuotaService/ReportUsage",
                                        QD_METHOD_REPORT,
                                        1,
                                        NULL,
                                        NULL,
                                        QD_ROLES_ALL,
                                        QD_BOUND_FREE};

static void expect_line(const char *const *traceparents, size_t count, const char *fields)
{
    struct qd_call call = {.method = &method};
    grpc_metadata metadata[2];
    char wanted[512];

    for (size_t i = 0; i < count; i++) {
        metadata[i].key = grpc_slice_from_static_string("traceparent");
        metadata[i].value = grpc_slice_from_static_string(traceparents[i]);
    }
    call.metadata = (grpc_metadata_array){.count = count, .capacity = count, .metadata = metadata};
    qd_call_log(&call, QD_MEASURED_REPORT, QD_ERROR_STORE_ERROR, 12345678);
    (void)snprintf(wanted, sizeof(wanted),
                   "level=warn msg=\"call failed\" method=/quota.v1.QuotaService/ReportUsage "
                   "reason=STORE_ERROR duration_us=12345%s left_out=0\n",
                   fields);
    cr_expect_str_eq(line(), wanted);
}

Test(call_log, X8_a_failed_call_names_its_trace)
{
    static const char *const good[] = {"00-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-00"};
    static const char *const bad[] = {"00-" TRACE "-" SPAN "-01\" level=fake"};

    expect_line(good, 1, " trace_id=" TRACE " parent_id=" SPAN);
    expect_line(bad, 1, "");
    expect_line(good, 0, "");
    expect_line(good, 2, "");
}

Test(call_log, X8_a_slow_call_is_told_and_a_slow_query_is_not)
{
    struct qd_call call = {.method = &method};

    qd_call_log(&call, QD_MEASURED_REPORT, QD_ERROR_NONE, QD_NS_PER_S - 1);
    qd_call_log(&call, QD_MEASURED_OTHER, QD_ERROR_NONE, 60 * QD_NS_PER_S);
    cr_expect_str_eq(log_pipe_read(), "");
    qd_call_log(&call, QD_MEASURED_REPORT, QD_ERROR_NONE, 2 * QD_NS_PER_S);
    cr_expect_str_eq(line(), "level=warn msg=\"call was slow\" "
                             "method=/quota.v1.QuotaService/ReportUsage duration_us=2000000 "
                             "left_out=0\n");
}

Test(call_log, X8_a_flood_of_one_reason_hides_no_other)
{
    struct qd_call call = {.method = &method};
    unsigned lines = 0;

    for (unsigned i = 0; i < 10000; i++) {
        qd_call_log(&call, QD_MEASURED_REPORT, QD_ERROR_UNKNOWN_METER, 1000);
    }
    for (const char *at = log_pipe_read(); (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    cr_expect(lines >= 5 && lines <= 100, "%u", lines); /* 5 a second */
    qd_call_log(&call, QD_MEASURED_REPORT, QD_ERROR_INTERNAL, 1000);
    cr_expect_not_null(strstr(line(), "reason=INTERNAL"));
}

/* --- through a server --- */

static grpc_status_code check(struct served *s, const char *tenant)
{
    Quota__V1__CheckQuotaRequest m;
    grpc_status_code status = GRPC_STATUS_OK;
    char name[64];

    quota__v1__check_quota_request__init(&m);
    (void)snprintf(name, sizeof(name), "%s", tenant);
    char model[] = "m";
    m.tenant = name;
    m.model = model;
    void *answer = served_call(s, "/quota.v1.QuotaService/CheckQuota", &m.base,
                               &quota__v1__check_quota_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return status;
}

Test(call_log, X8_traceparent_comes_with_the_call_and_X7_what_it_said_does_not)
{
    struct served s = {0};

    served_open(&s, &(struct served_with){0});
    (void)log_pipe_read();
    s.metadata[0].key = grpc_slice_from_static_string("traceparent");
    s.metadata[0].value = grpc_slice_from_static_string("00-" TRACE "-" SPAN "-01");
    s.metadata[1].key = grpc_slice_from_static_string("authorization");
    s.metadata[1].value = grpc_slice_from_static_string("Bearer sesame");
    s.metadata_count = 2;
    cr_expect_eq(check(&s, "acme"), GRPC_STATUS_OK);
    cr_expect_str_eq(log_pipe_read(), "", "what goes well is no news");
    cr_expect_eq(check(&s, "open sesame"), GRPC_STATUS_INVALID_ARGUMENT);
    const char *got = line();
    cr_expect_not_null(strstr(got, "level=info msg=\"call failed\" "
                                   "method=/quota.v1.QuotaService/CheckQuota "
                                   "reason=INVALID_TENANT duration_us="),
                       "%s", got);
    cr_expect_not_null(strstr(got, " trace_id=" TRACE " parent_id=" SPAN " left_out=0\n"), "%s",
                       got);
    cr_expect_null(strstr(got, "sesame"));
    served_close(&s);
}

/* --- who was refused --- */

#define PEER " peer=ipv4:127.0.0.1:"

static struct served guarded;

static void open_guarded(void)
{
    struct served_with with = cast_with();

    served_open(&guarded, &with);
    (void)log_pipe_read();
}

static const char *line_of(const char *token, const char *tenant)
{
    guarded.token = token;
    (void)check(&guarded, tenant);
    return line();
}

Test(call_log, X1_where_a_refused_call_comes_from_is_told_and_X7_its_token_is_not)
{
    open_guarded();
    const char *got = line_of(NULL, "acme");
    cr_expect_not_null(strstr(got, " reason=NO_CREDENTIALS "), "%s", got);
    cr_expect_not_null(strstr(got, PEER), "%s", got);
    cr_expect_str_eq(line_of("gateway", "acme"), "");
    got = line_of("sesame", "acme"); /* the call may have been another's before */
    cr_expect_not_null(strstr(got, " reason=UNKNOWN_CREDENTIALS "), "%s", got);
    cr_expect_not_null(strstr(got, PEER), "%s", got);
    cr_expect_null(strstr(got, "caller="), "%s", got);
    cr_expect_null(strstr(got, "gateway"), "%s", got);
    cr_expect_null(strstr(got, "sesame"), "%s", got);
    served_close(&guarded);
}

Test(call_log, X1_a_known_caller_that_may_not_is_named)
{
    open_guarded();
    const char *got = line_of("billing", "acme");
    cr_expect_not_null(strstr(got, " reason=ROLE_FORBIDS "), "%s", got);
    cr_expect_not_null(strstr(got, PEER), "%s", got);
    cr_expect_not_null(strstr(got, " caller=billing/billing left_out="), "%s", got);
    got = line_of("acme-gateway", "globex");
    cr_expect_not_null(strstr(got, " reason=TENANT_FORBIDDEN "), "%s", got);
    cr_expect_not_null(strstr(got, " caller=acme-gateway/gateway left_out="), "%s", got);
    got = line_of("acme-gateway", "not a tenant");
    cr_expect_str_neq(got, "");
    cr_expect_null(strstr(got, "globex"), "%s", got);
    served_close(&guarded);
}

static void send_two(const char *token, Quota__V1__StreamRequest *one,
                     Quota__V1__StreamRequest *other)
{
    Quota__V1__StreamRequest *items[] = {one, other};
    Quota__V1__StreamQuotaRequest q;
    grpc_status_code status;

    quota__v1__stream_quota_request__init(&q);
    q.n_items = 2;
    q.items = items;
    guarded.token = token;
    void *answer = served_call(&guarded, "/quota.v1.QuotaService/StreamQuota", &q.base,
                               &quota__v1__stream_quota_response__descriptor, &status);
    cr_assert_not_null(answer, "%s", guarded.reason);
    protobuf_c_message_free_unpacked(answer, NULL);
}

/* They are counted as calls are: an alert sends somebody to look for them. */
Test(call_log, X1_an_item_of_a_stream_that_its_caller_may_not_is_told)
{
    Quota__V1__CheckQuotaRequest own, others;
    Quota__V1__ReportUsageRequest reported;
    Quota__V1__StreamRequest items[3];

    quota__v1__check_quota_request__init(&own);
    quota__v1__check_quota_request__init(&others);
    quota__v1__report_usage_request__init(&reported);
    own.tenant = reported.tenant = cast_text("acme");
    others.tenant = cast_text("globex");
    own.model = others.model = reported.model = cast_text("m");
    reported.pool = cast_text("other");
    for (size_t i = 0; i < 3; i++) {
        quota__v1__stream_request__init(&items[i]);
        items[i].id = i + 1;
        items[i].call_case = QUOTA__V1__STREAM_REQUEST__CALL_CHECK;
    }
    items[0].check = &own;
    items[1].check = &others;
    items[2].call_case = QUOTA__V1__STREAM_REQUEST__CALL_REPORT;
    items[2].report = &reported;
    open_guarded();
    send_two("acme-gateway", &items[0], &items[0]);
    cr_expect_str_eq(log_pipe_read(), "");
    send_two("acme-gateway", &items[0], &items[1]);
    const char *got = line();
    cr_expect_not_null(strstr(got, "msg=\"item refused\" method=/quota.v1.QuotaService/StreamQuota "
                                   "reason=TENANT_FORBIDDEN" PEER),
                       "%s", got);
    cr_expect_not_null(strstr(got, " caller=acme-gateway/gateway left_out=0\n"), "%s", got);
    send_two("pool", &items[2], &items[2]);
    got = line();
    cr_expect_not_null(strstr(got, "msg=\"item refused\" method=/quota.v1.QuotaService/StreamQuota "
                                   "reason=POOL_FORBIDDEN" PEER),
                       "%s", got);
    cr_expect_not_null(strstr(got, " caller=pool/pool left_out=0\n"), "%s", got);
    served_close(&guarded);
}
