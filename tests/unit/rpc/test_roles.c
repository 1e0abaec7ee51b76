/* X1: each role against each method, over a real server. A method without a row here fails. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "server/rpc/call.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/certs.h"
#include "tests/unit/rpc/served.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <grpc/support/time.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static struct served s;

TestSuite(roles, .timeout = 120);

/* --- the matrix --- */

static const char *const columns[] = {NULL,         "gateway",  "pool",         "billing",
                                      "admin",      "peer",     "acme-gateway", "acme-billing",
                                      "acme-admin", "acme-pool"};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* Of an empty request, in the order of the columns:
 *   y  it may: whatever the method answers
 *   n  NO_CREDENTIALS
 *   r  ROLE_FORBIDS
 *   p  POOL_FORBIDDEN: it reports for no pool
 *   t  TENANT_FORBIDDEN: the method is about all tenants, or an empty one is not the caller's
 * And without --credentials, of one who calls from elsewhere. */
static const struct {
    const char *path;
    const char *answers;
    char elsewhere;
} matrix[] = {
    {"/quota.v1.QuotaService/CheckQuota", "nyrryrtrtr", 'y'},
    {"/quota.v1.QuotaService/ExtendReservation", "nyrryrtrtr", 'y'},
    {"/quota.v1.QuotaService/CancelReservation", "nyrryrtrtr", 'y'},
    {"/quota.v1.QuotaService/StreamQuota", "nyyryryryy", 'y'}, /* its items: below */
    {"/quota.v1.UsageService/QueryUsage", "nrryyrryyr", 'r'},
    {"/quota.v1.UsageService/ListLedgerEntries", "nrryyrryyr", 'r'},
    {"/quota.v1.UsageService/GetWatermark", "nrryyrryyr", 'r'},
    {"/quota.v1.UsageService/CorrectUsage", "nrryyrrtyr", 'r'},
    {"/quota.v1.UsageService/PriceUnpriced", "nrryyrrtyr", 'r'},
    {"/quota.v1.UsageService/WatchEvents", "nrryyrryyr", 'r'},
    {"/quota.v1.AdminService/GetPolicy", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/ValidatePolicy", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/ReloadPolicy", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/PutTenant", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/DeleteTenant", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/SetPlan", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/ListTenants", "nrryyrryyr", 'r'},
    {"/quota.v1.AdminService/Block", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/Grant", "nrryyrrtyr", 'r'},
    {"/quota.v1.AdminService/Boost", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/ResetCounter", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/GetEffectiveLimits", "nrryyrryyr", 'r'},
    {"/quota.v1.AdminService/ExplainCheck", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/ListCounters", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/ListReservations", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/ReleaseReservation", "nrrryrrryr", 'r'},
    {"/quota.v1.AdminService/GetStatus", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/VerifyLedger", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/RebuildRollups", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/Checkpoint", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/Drain", "nrrryrrrtr", 'r'},
    {"/quota.v1.AdminService/ListAuditRecords", "nrrryrrrtr", 'r'},
    {"/grpc.health.v1.Health/Check", "yyyyyyyyyy", 'y'},
    {"/grpc.health.v1.Health/Watch", "yyyyyyyyyy", 'y'},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "nyyyyyyyyy", 'y'},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "nyyyyyyyyy", 'y'},
    {"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", "nyrryrtrtr", 'y'},
    {"/quota.v1.QuotaService/ReportUsage", "nypryrtrtt", 'y'},
};
#define ROWS (sizeof(matrix) / sizeof(matrix[0]))

static const char *reason_of(char answer)
{
    return answer == 'n'   ? "NO_CREDENTIALS"
           : answer == 'r' ? "ROLE_FORBIDS"
           : answer == 'p' ? "POOL_FORBIDDEN"
           : answer == 't' ? "TENANT_FORBIDDEN"
                           : "";
}

static bool is_refusal(const char *reason)
{
    return strcmp(reason, "NO_CREDENTIALS") == 0 || strcmp(reason, "UNKNOWN_CREDENTIALS") == 0 ||
           strcmp(reason, "ROLE_FORBIDS") == 0 || strcmp(reason, "TENANT_FORBIDDEN") == 0 ||
           strcmp(reason, "POOL_FORBIDDEN") == 0;
}

static grpc_status_code call_empty(const char *path)
{
    grpc_status_code status;
    Quota__V1__GetStatusRequest empty; /* no field is set */

    quota__v1__get_status_request__init(&empty);
    void *answer =
        served_call(&s, path, &empty.base, &quota__v1__get_status_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    return status;
}

/* A watch that is let in never ends: it is known by its headers, and by what the server counted. */
static const char *watch_empty(const char *path)
{
    struct qd_rpc_figures before, after;
    grpc_metadata_array initial;
    char bearer[100];
    (void)snprintf(bearer, sizeof(bearer), "Bearer %s", s.token != NULL ? s.token : "");
    grpc_metadata authorization = {.key = grpc_slice_from_static_string("authorization"),
                                   .value = grpc_slice_from_static_string(bearer)};
    grpc_slice nothing = grpc_empty_slice();
    grpc_byte_buffer *sent = grpc_raw_byte_buffer_create(&nothing, 1);
    grpc_slice name = grpc_slice_from_static_string(path);
    grpc_call *call =
        grpc_channel_create_call(s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.queue, name, NULL,
                                 gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_metadata_array_init(&initial);
    grpc_op ops[4] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA,
         .data.send_initial_metadata = {.metadata = &authorization, .count = s.token != NULL}},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = sent},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &initial},
    };
    qd_rpc_figures(s.rpc, &before);
    cr_assert_eq(grpc_call_start_batch(call, ops, 4, call, NULL), GRPC_CALL_OK);
    (void)grpc_completion_queue_pluck(s.queue, call, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    qd_rpc_figures(s.rpc, &after);
    (void)grpc_call_cancel(call, NULL);
    grpc_call_unref(call);
    grpc_metadata_array_destroy(&initial);
    grpc_byte_buffer_destroy(sent);
    for (size_t i = 1; i < QD_ERROR_COUNT; i++) {
        if (after.errors_by_code[i] > before.errors_by_code[i]) {
            return qd_error_reason((enum qd_error_code)i);
        }
    }
    return "";
}

static void try_method(const struct qd_method *m, const char *who, char expected)
{
    const char *reason = s.reason;

    s.token = who;
    if (m->kind == QD_METHOD_WATCH) {
        reason = watch_empty(m->path);
    } else {
        grpc_status_code status = call_empty(m->path);
        if (expected != 'y') {
            cr_expect_eq(status,
                         expected == 'n' ? GRPC_STATUS_UNAUTHENTICATED
                                         : GRPC_STATUS_PERMISSION_DENIED,
                         "%s of %s: status %d", m->path, who != NULL ? who : "nobody", status);
        }
    }
    if (expected == 'y') {
        cr_expect_not(is_refusal(reason), "%s of %s: %s", m->path, who != NULL ? who : "nobody",
                      reason);
    } else {
        cr_expect_str_eq(reason, reason_of(expected), "%s of %s: \"%s\"", m->path,
                         who != NULL ? who : "nobody", reason);
    }
}

static const char *answers_of(const char *path)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(matrix[i].path, path) == 0) {
            return matrix[i].answers;
        }
    }
    return NULL;
}

static void open_cast(void)
{
    struct served_with with = cast_with();

    served_open(&s, &with);
}

Test(roles, X1_each_role_against_each_method)
{
    const struct qd_method *const *services;
    size_t seen = 0;

    open_cast();
    uint32_t count = qd_rpc_methods(&services);
    for (uint32_t i = 0; i < count; i++) {
        for (const struct qd_method *m = services[i]; m->path != NULL; m++, seen++) {
            const char *answers = answers_of(m->path);
            cr_expect_not_null(answers, "%s has no row: say who may call it", m->path);
            if (answers == NULL) {
                continue;
            }
            cr_assert_eq(strlen(answers), COLUMNS, "%s", m->path);
            for (size_t k = 0; k < COLUMNS; k++) {
                try_method(m, columns[k], answers[k]);
            }
        }
    }
    cr_expect_eq(seen, ROWS, "a row is of no method");
    served_close(&s);
}

/* The file of --credentials refuses a peer that is bound (test_credentials), so there is no column
 * for it. If one were there all the same, it could do no more than any caller. */
Test(roles, X1_a_peer_that_is_bound_could_do_nothing)
{
    struct qd_caller peer = {
        .role = QD_ROLE_PEER, .tenant_len = 4, .name = "acme-peer", .tenant = "acme"};
    const struct qd_method *const *services;
    uint32_t count = qd_rpc_methods(&services);

    for (uint32_t i = 0; i < count; i++) {
        for (const struct qd_method *m = services[i]; m->path != NULL; m++) {
            struct qd_error error;
            bool open = (m->roles & QD_ROLES_OPEN) != 0; /* these ask nobody */
            bool all = strstr(m->path, "ServerReflection") != NULL;
            enum qd_error_code code =
                qd_caller_may_call(&peer, m->path, m->roles, m->bound, &error);
            cr_expect(open || code == (all ? QD_ERROR_NONE : QD_ERROR_ROLE_FORBIDS), "%s: %s",
                      m->path, qd_error_reason(code));
        }
    }
}

static struct served_with with_nobody(void)
{
    struct served_with with = cast_with();

    qd_credentials_free(with.rpc.credentials);
    with.rpc.credentials = NULL;
    return with;
}

/* Without --credentials it is as on a laptop. */
Test(roles, X1_without_credentials_everybody_of_this_machine_may_do_everything)
{
    const struct qd_method *const *services;
    struct served_with with = with_nobody();

    served_open(&s, &with);
    uint32_t count = qd_rpc_methods(&services);
    for (uint32_t i = 0; i < count; i++) {
        for (const struct qd_method *m = services[i]; m->path != NULL; m++) {
            try_method(m, NULL, 'y');
            try_method(m, "nobody", 'y');
        }
    }
    served_close(&s);
}

Test(roles, X1_nobody_has_an_unknown_token)
{
    open_cast();
    s.token = "guess";
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNAUTHENTICATED);
    cr_expect_str_eq(s.reason, "UNKNOWN_CREDENTIALS");
    s.token = "";
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNAUTHENTICATED);
    cr_expect_str_eq(s.reason, "UNKNOWN_CREDENTIALS");
    served_close(&s);
}

Test(roles, X1_a_credential_that_was_taken_out_is_refused)
{
    open_cast();
    s.token = "admin";
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_OK);
    qd_rpc_publish_credentials(s.rpc, cast_without("admin"));
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNAUTHENTICATED);
    qd_rpc_publish_credentials(s.rpc, cast_all());
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_OK);
    served_close(&s);
}

static void batch(grpc_call *call, const grpc_op *ops, size_t count)
{
    cr_assert_eq(grpc_call_start_batch(call, ops, count, call, NULL), GRPC_CALL_OK);
    (void)grpc_completion_queue_pluck(s.queue, call, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

/* A stream that is open asks nobody's leave: each of its messages does. */
Test(roles, X1_an_open_stream_ends_with_its_credential)
{
    grpc_metadata authorization = {.key = grpc_slice_from_static_string("authorization"),
                                   .value = grpc_slice_from_static_string("Bearer gateway")};
    grpc_metadata_array initial, trailing;
    grpc_status_code status = GRPC_STATUS_UNKNOWN;
    grpc_slice details = grpc_empty_slice();
    grpc_slice nothing = grpc_empty_slice();
    grpc_byte_buffer *sent = grpc_raw_byte_buffer_create(&nothing, 1);
    grpc_byte_buffer *received = NULL;

    open_cast();
    grpc_call *call = grpc_channel_create_call(
        s.channel, NULL, GRPC_PROPAGATE_DEFAULTS, s.queue,
        grpc_slice_from_static_string("/quota.v1.QuotaService/StreamQuota"), NULL,
        gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_metadata_array_init(&initial);
    grpc_metadata_array_init(&trailing);
    const grpc_op open[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA,
         .data.send_initial_metadata = {.metadata = &authorization, .count = 1}},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &initial},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = sent},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &received},
    };
    batch(call, open, 4);
    cr_assert_not_null(received);
    grpc_byte_buffer_destroy(received);
    qd_rpc_publish_credentials(s.rpc, cast_without("gateway"));
    const grpc_op again[] = {
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = sent},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &trailing,
                                        .status = &status,
                                        .status_details = &details}},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
    };
    batch(call, again, 3);
    cr_expect_eq(status, GRPC_STATUS_UNAUTHENTICATED);
    grpc_slice_unref(details);
    grpc_call_unref(call);
    grpc_byte_buffer_destroy(sent);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    served_close(&s);
}

/* --- tokens in plaintext --- */

/* An address of this machine that is not loopback; false: it has none. */
static bool own_address(char text[INET_ADDRSTRLEN])
{
    struct ifaddrs *all = NULL;
    bool found = false;

    cr_assert_eq(getifaddrs(&all), 0);
    for (const struct ifaddrs *a = all; a != NULL && !found; a = a->ifa_next) {
        if (a->ifa_addr != NULL && a->ifa_addr->sa_family == AF_INET &&
            (a->ifa_flags & IFF_LOOPBACK) == 0 && (a->ifa_flags & IFF_UP) != 0) {
            const struct sockaddr_in *in = (const void *)a->ifa_addr;
            found = inet_ntop(AF_INET, &in->sin_addr, text, INET_ADDRSTRLEN) != NULL;
        }
    }
    freeifaddrs(all);
    return found;
}

static void dial_at(const char *host, int port, grpc_channel_credentials *credentials)
{
    char address[64];

    (void)snprintf(address, sizeof(address), "%s:%d", host, port);
    s.channel = grpc_channel_create(address, credentials, NULL);
    grpc_channel_credentials_release(credentials);
}

static void open_at(const char *host, struct served_with with, const struct qd_tls_files *tls,
                    grpc_channel_credentials *credentials)
{
    char listen[64];

    (void)snprintf(listen, sizeof(listen), "%s:0", host);
    with.no_channel = true;
    with.rpc.listen = listen;
    if (tls != NULL) {
        with.rpc.tls = *tls;
    }
    served_open(&s, &with);
    dial_at(host, qd_rpc_port(s.rpc), credentials);
}

Test(roles, X1_a_token_in_plaintext_from_elsewhere_is_refused)
{
    char host[INET_ADDRSTRLEN];

    if (!own_address(host)) {
        cr_skip_test("this machine has loopback only");
    }
    open_at(host, cast_with(), NULL, grpc_insecure_credentials_create());
    s.token = "admin";
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNAUTHENTICATED);
    cr_expect_str_eq(s.reason, "INSECURE_TOKEN");
    s.token = "guess"; /* not even whether there is such a token is told */
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNAUTHENTICATED);
    cr_expect_str_eq(s.reason, "INSECURE_TOKEN");
    served_close(&s);
}

static struct qd_tempdir dir;
static char paths[3][PATH_MAX];

static struct qd_tls_files make_files(const char *names)
{
    qd_tempdir_init(&dir);
    certs_authority(&dir, "ca");
    certs_make(&dir, "server", "ca", names, 2);
    return (struct qd_tls_files){
        .cert = qd_tempdir_path(&dir, "server.pem", paths[0]),
        .key = qd_tempdir_path(&dir, "server.key", paths[1]),
    };
}

static void open_over_tls_at(const char *host, struct served_with with)
{
    char name[INET_ADDRSTRLEN + 8];

    (void)snprintf(name, sizeof(name), "IP:%s", host);
    struct qd_tls_files files = make_files(name);
    open_at(host, with, &files, certs_channel(&dir, "ca", NULL));
}

Test(roles, X1_a_token_over_TLS_may_come_from_elsewhere)
{
    char host[INET_ADDRSTRLEN];

    if (!own_address(host)) {
        cr_skip_test("this machine has loopback only");
    }
    open_over_tls_at(host, cast_with());
    s.token = "admin";
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_OK);
    s.token = NULL;
    cr_expect_eq(call_empty("/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNAUTHENTICATED);
    cr_expect_str_eq(s.reason, "NO_CREDENTIALS");
    served_close(&s);
    qd_tempdir_release(&dir);
}

/* --- nobody is asked who it is --- */

static char elsewhere_of(const char *path)
{
    size_t i = 0;

    while (i < ROWS && strcmp(matrix[i].path, path) != 0) {
        i++;
    }
    cr_assert_lt(i, ROWS, "%s has no row", path);
    return matrix[i].elsewhere;
}

static void try_from_elsewhere(const struct qd_method *first)
{
    for (const struct qd_method *m = first; m->path != NULL; m++) {
        try_method(m, NULL, elsewhere_of(m->path));
        try_method(m, "admin", elsewhere_of(m->path)); /* no word makes one an admin */
    }
}

static void try_all_from_elsewhere(void)
{
    const struct qd_method *const *services;
    uint32_t count = qd_rpc_methods(&services);

    for (uint32_t i = 0; i < count; i++) {
        try_from_elsewhere(services[i]);
    }
}

Test(roles, X1_without_credentials_others_have_no_billing_and_no_administration)
{
    char host[INET_ADDRSTRLEN];

    if (!own_address(host)) {
        cr_skip_test("this machine has loopback only");
    }
    open_at(host, with_nobody(), NULL, grpc_insecure_credentials_create());
    try_all_from_elsewhere();
    served_close(&s);
}

/* What is encrypted may come from anybody all the same. */
Test(roles, X1_nor_have_they_over_TLS)
{
    char host[INET_ADDRSTRLEN];

    if (!own_address(host)) {
        cr_skip_test("this machine has loopback only");
    }
    open_over_tls_at(host, with_nobody());
    try_all_from_elsewhere();
    served_close(&s);
    qd_tempdir_release(&dir);
}

Test(roles, X1_nor_at_the_listener_of_AdminService)
{
    char host[INET_ADDRSTRLEN];
    struct served_with with = with_nobody();

    if (!own_address(host)) {
        cr_skip_test("this machine has loopback only");
    }
    with.no_channel = true;
    with.rpc.admin_listen = "0.0.0.0:0";
    served_open(&s, &with);
    dial_at(host, qd_rpc_admin_port(s.rpc), grpc_insecure_credentials_create());
    try_from_elsewhere(qd_admin_methods);
    served_close(&s);
}

/* --- certificates --- */

static const char by_certificate[] =
    "- {name: edge, role: gateway, spiffe: 'spiffe://prod/ns/edge/*'}\n"
    "- {name: ops, role: admin, san: ops.example}\n";

/* The reason of a GetStatus, for admins, on a new connection. */
static const char *status_as(const char *own)
{
    if (s.channel != NULL) {
        grpc_channel_destroy(s.channel);
    }
    served_dial(&s, certs_channel(&dir, "ca", own));
    grpc_status_code status = call_empty("/quota.v1.AdminService/GetStatus");
    return status == GRPC_STATUS_OK ? "OK" : s.reason;
}

Test(roles, X1_a_certificate_names_its_owner)
{
    struct served_with with = {.no_channel = true};
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);

    with.rpc.tls = make_files("IP:127.0.0.1");
    with.rpc.tls.client_ca = qd_tempdir_path(&dir, "ca.pem", paths[2]);
    with.rpc.tls.client_optional = true;
    with.rpc.credentials =
        qd_credentials_load_bytes("c.yaml", by_certificate, strlen(by_certificate), problems);
    cr_assert_not_null(with.rpc.credentials);
    qd_problems_free(problems);
    certs_make(&dir, "ops", "ca", "DNS:Ops.example", 2);
    certs_make(&dir, "edge", "ca", "URI:spiffe://prod/ns/edge/gw", 2);
    certs_make(&dir, "wrong-san", "ca", "DNS:ops.example.evil", 2);
    /* The right text in the wrong place is not the right name. */
    certs_make(&dir, "wrong-kind", "ca", "email:ops@ops.example,URI:https://ops.example", 2);
    certs_make(&dir, "wrong-uri", "ca", "URI:spiffe://prod/ns/other/gw", 2);
    served_open(&s, &with);
    cr_expect_str_eq(status_as("ops"), "OK");
    cr_expect_str_eq(status_as("edge"), "ROLE_FORBIDS");
    cr_expect_eq(call_empty("/quota.v1.QuotaService/StreamQuota"), GRPC_STATUS_OK);
    cr_expect_str_eq(status_as("wrong-san"), "UNKNOWN_CREDENTIALS");
    cr_expect_str_eq(status_as("wrong-kind"), "UNKNOWN_CREDENTIALS");
    cr_expect_str_eq(status_as("wrong-uri"), "UNKNOWN_CREDENTIALS");
    cr_expect_str_eq(status_as(NULL), "NO_CREDENTIALS");
    s.token = "guess"; /* a token that is given counts, and no certificate makes up for it */
    cr_expect_str_eq(status_as("ops"), "UNKNOWN_CREDENTIALS");
    served_close(&s);
    qd_tempdir_release(&dir);
}
