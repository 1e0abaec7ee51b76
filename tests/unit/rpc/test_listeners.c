/* X1: AdminService at an address of its own. */
#include "grpc/health/v1/health.pb-c.h"
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/served.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct served s;

TestSuite(listeners, .timeout = 120);

static void open_both(void)
{
    served_open(&s,
                &(struct served_with){.rpc = {.admin_listen = "127.0.0.1:0"}, .no_channel = true});
    cr_assert_neq(qd_rpc_admin_port(s.rpc), 0);
    cr_assert_neq(qd_rpc_admin_port(s.rpc), qd_rpc_port(s.rpc));
}

/* The status of an empty request to a port. */
static grpc_status_code ask(int port, const char *path)
{
    char address[64];
    grpc_status_code status;
    Quota__V1__GetStatusRequest empty;
    quota__v1__get_status_request__init(&empty);
    grpc_channel_credentials *insecure = grpc_insecure_credentials_create();

    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    s.channel = grpc_channel_create(address, insecure, NULL);
    grpc_channel_credentials_release(insecure);
    void *answer =
        served_call(&s, path, &empty.base, &quota__v1__get_status_response__descriptor, &status);
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    grpc_channel_destroy(s.channel);
    s.channel = NULL;
    return status;
}

Test(listeners, X1_administration_is_served_at_its_own_address_only)
{
    open_both();
    int all = qd_rpc_port(s.rpc);
    int admin = qd_rpc_admin_port(s.rpc);
    cr_expect_eq(ask(all, "/quota.v1.AdminService/GetStatus"), GRPC_STATUS_UNIMPLEMENTED);
    cr_expect_eq(ask(admin, "/quota.v1.AdminService/GetStatus"), GRPC_STATUS_OK);
    cr_expect_eq(ask(all, "/quota.v1.UsageService/QueryUsage"), GRPC_STATUS_OK);
    cr_expect_eq(ask(admin, "/quota.v1.UsageService/QueryUsage"), GRPC_STATUS_UNIMPLEMENTED);
    cr_expect_eq(ask(all, "/quota.v1.QuotaService/StreamQuota"), GRPC_STATUS_OK);
    cr_expect_eq(ask(admin, "/quota.v1.QuotaService/StreamQuota"), GRPC_STATUS_UNIMPLEMENTED);
    cr_expect_eq(ask(all, "/grpc.health.v1.Health/Check"), GRPC_STATUS_OK);
    cr_expect_eq(ask(admin, "/grpc.health.v1.Health/Check"), GRPC_STATUS_OK);
    served_close(&s);
}

Test(listeners, X1_without_an_address_of_its_own_it_is_served_with_all)
{
    served_open(&s, &(struct served_with){.no_channel = true});
    cr_expect_eq(qd_rpc_admin_port(s.rpc), 0);
    cr_expect_eq(ask(qd_rpc_port(s.rpc), "/quota.v1.AdminService/GetStatus"), GRPC_STATUS_OK);
    served_close(&s);
}

Test(listeners, X4_an_address_in_use_is_named_with_its_flag)
{
    char taken[64];
    struct qd_error error;
    struct qd_rpc_config config = served_config();

    open_both();
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%d", qd_rpc_port(s.rpc));
    config.admin_listen = taken;
    cr_expect_null(qd_rpc_start(s.node, &config, &error));
    cr_expect_not_null(strstr(error.text, "choose another address with --admin-rpc-listen"), "%s",
                       error.text);
    cr_expect_eq(ask(qd_rpc_port(s.rpc), "/grpc.health.v1.Health/Check"), GRPC_STATUS_OK);
    served_close(&s);
}
