/* quotactl usage against a server that answers what the test says. */
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_usage, .init = setup, .fini = teardown, .timeout = 60);

#define USAGE "/quota.v1.UsageService/QueryUsage"

/* Texts that a message may point to. */
static char *text(const char *value)
{
    static char places[32][64];
    static unsigned next;
    char *place = places[next++ % 32];
    (void)snprintf(place, sizeof places[0], "%s", value);
    return place;
}

static void reply_usage(bool scanned, int64_t gpu_ms)
{
    Quota__V1__QueryUsageResponse reply;
    Quota__V1__UsageRow row;
    Quota__V1__UsageRow *rows[] = {&row};
    Quota__V1__Amount amount;
    Quota__V1__Amount *amounts[] = {&amount};
    quota__v1__query_usage_response__init(&reply);
    quota__v1__usage_row__init(&row);
    quota__v1__amount__init(&amount);
    amount.meter = text("gpu_ms");
    amount.amount = gpu_ms;
    row.quantities = amounts;
    row.n_quantities = 1;
    row.entries = 1;
    row.cost_pico_usd = text("0");
    row.charge_pico_usd = text("0");
    reply.rows = rows;
    reply.n_rows = 1;
    reply.scanned_entries = scanned;
    fake_server_reply(server, USAGE, &reply.base);
}

Test(ctl_usage, L4_usage_says_that_entries_were_scanned)
{
    reply_usage(true, 1);
    run("usage acme --by label:zzz", 0);
    expect_in(last.out, "\ncounted from single entries: label zzz has no rollup (rollup_labels in "
                        "the policy)\n");
    run("usage acme --by label:zzz --where label:b=c --by user", 0);
    expect_in(last.out, ": label zzz or user or label b has no rollup (");
    run("usage acme --zone Africa/Monrovia", 0);
    expect_in(last.out, "single entries: a bucket does not begin on a quarter of an hour of UTC\n");
    reply_usage(false, 1);
    run("usage acme --by label:zzz", 0);
    cr_assert_null(strstr(last.out, "single entries"), "%s", last.out);
}

Test(ctl_usage, I7_usage_shows_gpu_seconds_exactly)
{
    reply_usage(false, 1245);
    run("usage acme", 0);
    expect_in(last.out, "  1.245  ");
    reply_usage(false, 1066050);
    run("usage acme", 0);
    expect_in(last.out, "  1,066.05  ");
    reply_usage(false, -2000);
    run("usage acme", 0);
    expect_in(last.out, "  -2  ");
}

Test(ctl_usage, I7_usage_help_says_the_range_and_when_held_is_shown)
{
    run("usage --help", 0);
    expect_in(last.out, "beginning of the ledger unless --since");
    expect_in(last.out, "not with --until or --where");
}
