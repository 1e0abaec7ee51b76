/* quotactl's commands against a server that answers what the test says. */
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/usage.pb-c.h"
#include "tests/unit/client/ctl_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

TestSuite(ctl, .timeout = 60);

/* ---- the command line */

Test(ctl, I7_misspelt_commands_get_suggestions)
{
    expect("chek acme", 1, "", "quotactl: \"chek\": unknown command; did you mean \"check\"?\n");
    expect("tenants putt acme", 1, "",
           "quotactl: \"tenants putt\": unknown command; did you mean \"tenants put\"?\n");
    run_any("tenants");
    cr_assert(last.code == 1 && last.out[0] == '\0');
    cr_assert_eq(strstr(last.err, "quotactl: \"tenants\" needs one of: ls, put, delete, set-plan, "
                                  "block, unblock, grant, boost\n\nusage: quotactl tenants"),
                 last.err);
    expect("xyzzy", 1, "", "quotactl: \"xyzzy\": unknown command; quotactl --help lists them\n");
    expect("check acme --modle x", 1, "",
           "quotactl check: --modle: unknown option; did you mean --model?\n");
    expect("check acme --model", 1, "",
           "quotactl check: --model needs a value; see quotactl check --help\n");
    expect("check", 1, "", "quotactl check: needs TENANT; see quotactl check --help\n");
    expect("cancel r_1 r_2", 1, "",
           "quotactl cancel: \"r_2\" is one argument too many; usage: quotactl cancel "
           "RESERVATION\n");
    expect("", 1, "", "quotactl: no command; quotactl --help lists them\n");
    ctl_run_release(&last);
}

Test(ctl, I7_values_say_what_is_accepted)
{
    expect("check acme --use input_tokens=abc", 1, "",
           "quotactl check: --use input_tokens=abc: \"abc\" is not a number; accepted: a whole "
           "number from 0 to 2^53, also as 40k or 1.5M\n");
    expect("check acme --use input_tokens=-5", 1, "",
           "quotactl check: --use input_tokens=-5: \"-5\" is negative; accepted: a whole number "
           "from 0 to 2^53, also as 40k or 1.5M\n");
    expect("check acme --use 1200", 1, "",
           "quotactl check: --use \"1200\": accepted is METER=AMOUNT, e.g. --use "
           "input_tokens=1200\n");
    expect("check acme --use input_tokens=1 --use input_tokens=2", 1, "",
           "quotactl check: --use input_tokens is given twice\n");
    expect("report r_1 --use max_output_tokens=5", 1, "",
           "quotactl report: max_output_tokens is an estimate, not usage; report what was produced "
           "as output_tokens=N\n");
    expect("report", 1, "",
           "quotactl report: needs a RESERVATION, or --tenant and --request-id for usage without a "
           "check\n");
    expect("report r_1 --outcome faild", 1, "",
           "quotactl report: --outcome \"faild\": did you mean \"failed\"? accepted: default, ok, "
           "not_dispatched, failed, disconnected\n");
    expect("check acme --ttl soon", 1, "",
           "quotactl check: --ttl \"soon\" is not a length of time; accepted: 500ms, 90s, 5min, "
           "1h, 7day\n");
    expect("usage --since yesterday", 1, "",
           "quotactl usage: --since \"yesterday\" is not a time; accepted: 2026-11-01, "
           "2026-11-01T08:30, 2026-11-01T08:30:00Z, or 24h (ago)\n");
    expect("usage --since 2026-11-02 --until 2026-11-01 --zone Europe/Berlin", 1, "",
           "quotactl usage: --since 2026-11-02 00:00:00+01:00 is not before --until 2026-11-01 "
           "00:00:00+01:00; --until is exclusive\n");
    expect("check acme --use gpu_seconds=0.0001", 1, "",
           "quotactl check: --use gpu_seconds=0.0001: \"0.0001\" is finer than 0.001 s; accepted: "
           "seconds from 0 to 2^53 ms, to the thousandth, as 1.5\n");
    expect("usage --by modl", 1, "",
           "quotactl usage: --by \"modl\": did you mean \"model\"? accepted: tenant, model, pool, "
           "meter, price, label, user\n");
    expect("status -o yaml", 1, "", "quotactl status: --output \"yaml\": accepted: table, json\n");
    ctl_run_release(&last);
}

Test(ctl, I7_every_command_has_help_with_examples)
{
    static const char *const commands[] = {"check",
                                           "report",
                                           "extend",
                                           "cancel",
                                           "usage",
                                           "limits",
                                           "explain",
                                           "tenants ls",
                                           "tenants put",
                                           "tenants delete",
                                           "tenants set-plan",
                                           "tenants block",
                                           "tenants unblock",
                                           "tenants grant",
                                           "tenants boost",
                                           "counters ls",
                                           "counters reset",
                                           "reservations ls",
                                           "reservations release",
                                           "events",
                                           "ledger ls",
                                           "ledger export",
                                           "ledger rebuild-rollups",
                                           "correct",
                                           "price-unpriced",
                                           "verify",
                                           "policy validate",
                                           "policy show",
                                           "policy reload",
                                           "policy diff",
                                           "policy test",
                                           "rls check",
                                           "prices import",
                                           "status",
                                           "top",
                                           "drain",
                                           "backup",
                                           "restore",
                                           "replay",
                                           "completion"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char line[64];
        char example[64];
        snprintf(line, sizeof line, "%s --help", commands[i]);
        snprintf(example, sizeof example, "\nexamples:\n  quotactl %s", commands[i]);
        run_any(line);
        cr_assert_eq(last.code, 0);
        cr_assert(strstr(last.out, example) != NULL || strcmp(commands[i], "completion") == 0, "%s",
                  last.out);
        run_any("--help");
        cr_assert_not_null(strstr(last.out, commands[i]));
    }
    expect("--version", 0, "quotactl " QD_VERSION "\n", "");
    run_any("completion bash");
    cr_assert_eq(last.code, 0);
    cr_assert_not_null(strstr(last.out, "complete -o default -F _quotactl quotactl"));
    ctl_run_release(&last);
}

Test(ctl, I7_every_group_has_help_with_examples)
{
    static const char *const groups[] = {"tenants", "counters", "reservations", "ledger",
                                         "policy",  "rls",      "prices"};
    static const char *const forms[] = {"%s --help", "%s -h", "help %s"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
            char line[64];
            char start[64];
            char example[64];
            const char *form = forms[k];
            size_t before = (size_t)(strstr(form, "%s") - form);
            snprintf(line, sizeof line, "%.*s%s%s", (int)before, form, groups[i],
                     form + before + 2);
            snprintf(start, sizeof start, "usage: quotactl %s COMMAND", groups[i]);
            snprintf(example, sizeof example, "\nexamples:\n  quotactl %s ", groups[i]);
            run_any(line);
            cr_assert_eq(last.code, 0, "%s: %s", line, last.err);
            cr_assert_eq(strstr(last.out, start), last.out);
            cr_assert_not_null(strstr(last.out, example));
        }
    }
    ctl_run_release(&last);
}

Test(ctl, I10_flag_over_environment_over_default)
{
    setenv("QUOTAD_ADDRESS", "10.0.0.1:7070", 1);
    setenv("QUOTACTL_TIMEOUT", "3s", 1);
    expect("status --print-config --timeout 5s", 0,
           "address  10.0.0.1:7070  (environment)\n"
           "output   table  (default)\n"
           "timeout  5000 ms  (flag)\n"
           "color    off  (default)\n",
           "");
    unsetenv("QUOTAD_ADDRESS");
    unsetenv("QUOTACTL_TIMEOUT");
    ctl_run_release(&last);
}

Test(ctl, I10_files_of_a_secure_connection_are_settings_too)
{
    setenv("QUOTACTL_TLS_CA", "ca.pem", 1);
    expect("status --print-config --token-file t", 0,
           "address  127.0.0.1:7070  (default)\n"
           "output   table  (default)\n"
           "timeout  10000 ms  (default)\n"
           "color    off  (default)\n"
           "tls-ca   ca.pem  (environment)\n"
           "token-file t  (flag)\n",
           "");
    expect("status --tls-cert c.pem", 1, "",
           "quotactl status: tls_cert and tls_key go together, and with tls_ca, the authority that "
           "the server is known by\n");
    unsetenv("QUOTACTL_TLS_CA");
    ctl_run_release(&last);
}

Test(ctl, I10_addresses_are_looked_at_first)
{
    expect("status --print-config -a 10.0.0.1", 0,
           "address  10.0.0.1:7070  (flag)\n"
           "output   table  (default)\n"
           "timeout  10000 ms  (default)\n"
           "color    off  (default)\n",
           "");
    expect(
        "status -a localhost:99999", 1, "",
        "quotactl status: --address \"localhost:99999\": accepted is HOST:PORT with a port from 1 "
        "to 65535, as in 127.0.0.1:7070\n");
    ctl_run_release(&last);
}

Test(ctl, nobody_there_names_the_next_command)
{
    ctl_run_release(&last);
    last = run_ctl("127.0.0.1:1", "status");
    cr_assert_eq(last.code, 1);
    cr_assert_str_eq(last.err,
                     "quotactl status: cannot reach quotad at 127.0.0.1:1: Connection refused\n"
                     "next: start a node with quotad --dev, or name another with --address "
                     "HOST:PORT (QUOTAD_ADDRESS)\n");
    ctl_run_release(&last);
}

/* ---- check, report */

Test(ctl, I7_check_exits_0_allowed_and_2_denied, .init = setup, .fini = teardown)
{
    expect("check acme/search --model llama-70b --use input_tokens=1200 "
           "--use max_output_tokens=400",
           0,
           "ALLOW acme/search llama-70b; no limit applies; id 1.0\n"
           "next: quotactl report 1.0 --use input_tokens=1200 --use output_tokens=400\n",
           "");
    expect("check denied --model gpt-4o --use input_tokens=1200", 2,
           "DENY  denied gpt-4o: free.tokens 39,200 used + 1,600 estimated > 40,000/min; retry in "
           "12.4 s\n",
           "");
    struct json_object *answer = json("check denied -o json");
    cr_assert_eq(last.code, 2);
    cr_assert_str_eq(text_of(answer, "verdict"), "DENIED");
    cr_assert_str_eq(text_of(answer, "reason"), "LIMIT");
    cr_assert_str_eq(text_of(answer, "retry_after_ns"), "12400000000");
    json_object_put(answer);
}

Test(ctl, I7_report_books_once, .init = setup, .fini = teardown)
{
    const char *line = "report qr1.0 --use input_tokens=1.2k --use output_tokens=233";
    expect(line, 0, "BOOKED entry fake#1; cost $0.001235, charge $0.001235; reservation closed\n",
           "");
    expect(line, 0,
           "BOOKED entry fake#1; cost $0.001235, charge $0.001235; reservation closed (booked "
           "before)\n",
           "");
    cr_assert_eq(fake_server_counts(server).booked_tokens, 1433);
    struct json_object *answer = json("report qr1.0 --source pool --use gpu_seconds=1.8 -o json");
    cr_assert_str_eq(text_of(answer, "cost_pico_usd"), "1234500000");
    json_object_put(answer);
    expect("extend qr1.0", 0, NULL, "");
    expect("cancel qr1.0", 0, "CANCELLED qr1.0\n", "");
}

/* ---- admin calls */

Test(ctl, server_errors_are_shown_as_they_are, .init = setup, .fini = teardown)
{
    fake_server_refuse(server, "/quota.v1.AdminService/SetPlan", 5, "UNKNOWN_PLAN",
                       "no plan \"prp\"; did you mean \"pro\"?");
    expect("tenants set-plan acme prp", 1, "",
           "quotactl tenants set-plan: no plan \"prp\"; did you mean \"pro\"?\n");
}

Test(ctl, status_for_people_and_programs, .init = setup, .fini = teardown)
{
    Quota__V1__GetStatusResponse status;
    Quota__V1__PolicyInfo policy;
    Quota__V1__Stat stat;
    Quota__V1__Stat *stats[] = {&stat};
    quota__v1__get_status_response__init(&status);
    quota__v1__policy_info__init(&policy);
    quota__v1__stat__init(&stat);
    char node[] = "n1", version[] = "0.1.0", file[] = "policy.yaml", name[] = "checks_allowed";
    char summary[] = "2 plans, 3 tenant rules";
    status.node = node;
    status.version = version;
    status.state = QUOTA__V1__NODE_STATE__NODE_STATE_SERVING;
    status.incarnation = 3;
    status.started_at_unix_ns = 1000000000;
    status.now_unix_ns = 201000000000;
    policy.revision = 4;
    policy.file = file;
    policy.summary = summary;
    status.policy = &policy;
    stat.name = name;
    stat.value = 1234567;
    status.stats = stats;
    status.n_stats = 1;
    status.open_reservations = 12;
    fake_server_reply(server, "/quota.v1.AdminService/GetStatus", &status.base);
    run_any("status");
    cr_assert_not_null(strstr(last.out, "n1: serving; quotad 0.1.0, incarnation 3, up 3 min 20 s\n"
                                        "policy r4 policy.yaml: 2 plans, 3 tenant rules\n"),
                       "%s", last.out);
    cr_assert_not_null(strstr(last.out, "checks_allowed  1,234,567\n"));
    struct json_object *object = json("status -o json");
    cr_assert_str_eq(text_of(object, "state"), "SERVING");
    cr_assert_str_eq(text_of(object, "open_reservations"), "12");
    cr_assert_str_eq(text_of(json_object_object_get(object, "policy"), "revision"), "4");
    json_object_put(object);
}

Test(ctl, put_tenant_sends_what_was_said, .init = setup, .fini = teardown)
{
    Quota__V1__PutTenantResponse answer;
    quota__v1__put_tenant_response__init(&answer);
    answer.created = 1;
    fake_server_reply(server, "/quota.v1.AdminService/PutTenant", &answer.base);
    expect("tenants put initech --plan pro --limit cost=$5/day --label region=eu", 0,
           "created initech, plan pro\nnext: quotactl limits initech\n", "");
    size_t size = 0;
    uint8_t *bytes = fake_server_request(server, "/quota.v1.AdminService/PutTenant", &size);
    Quota__V1__PutTenantRequest *request = quota__v1__put_tenant_request__unpack(NULL, size, bytes);
    cr_assert_str_eq(request->tenant, "initech");
    cr_assert_str_eq(request->plan, "pro");
    cr_assert_eq(request->n_limits, 1);
    cr_assert_str_eq(request->limits[0]->key, "cost");
    cr_assert_str_eq(request->limits[0]->value, "$5/day");
    cr_assert_str_eq(request->labels[0]->value, "eu");
    quota__v1__put_tenant_request__free_unpacked(request, NULL);
    free(bytes);
}

/* The tenant has one limit, acme.credit, in this unit. */
static void reply_limit(char *unit, uint32_t column)
{
    Quota__V1__LimitState state;
    Quota__V1__EffectiveLimit limit;
    Quota__V1__EffectiveLimit *limits[] = {&limit};
    Quota__V1__GetEffectiveLimitsResponse answer;
    quota__v1__limit_state__init(&state);
    quota__v1__effective_limit__init(&limit);
    quota__v1__get_effective_limits_response__init(&answer);
    state.name = "acme.credit";
    state.unit = unit;
    limit.state = &state;
    limit.file = "policy.yaml";
    limit.line = 24;
    limit.column = column;
    answer.limits = limits;
    answer.n_limits = 1;
    fake_server_reply(server, "/quota.v1.AdminService/GetEffectiveLimits", &answer.base);
}

Test(ctl, I7_a_place_without_a_column_is_file_and_line, .init = setup, .fini = teardown)
{
    reply_limit("tokens", 0);
    run_any("limits acme");
    cr_assert_not_null(strstr(last.out, "policy.yaml:24"), "%s", last.out);
    cr_assert_null(strstr(last.out, "policy.yaml:24:"), "%s", last.out);
    reply_limit("tokens", 5);
    run_any("limits acme");
    cr_assert_not_null(strstr(last.out, "policy.yaml:24:5"), "%s", last.out);
}

Test(ctl, I7_money_is_written_with_a_dollar_sign, .init = setup, .fini = teardown)
{
    reply_limit("nano_usd", 5);
    expect(
        "tenants grant acme credit 5", 1, "",
        "quotactl tenants grant: AMOUNT \"5\": credit counts money; accepted is an amount such as "
        "$25 or $0.50\n");
    expect(
        "tenants boost acme acme.credit --amount -5 --until 1h", 1, "",
        "quotactl tenants boost: --amount \"-5\": acme.credit counts money; accepted is an amount "
        "such as $25 or $0.50\n");
    reply_limit("tokens", 5);
    expect(
        "tenants grant acme credit $5", 1, "",
        "quotactl tenants grant: AMOUNT \"$5\": credit counts no money; accepted is an amount such "
        "as 5000 or 2M\n");
}

/* What a block with this --until asks for; 0: it was refused. */
static int64_t block_until(const char *until)
{
    char line[128];
    (void)snprintf(line, sizeof line, "tenants block acme --until %s", until);
    run_any(line);
    if (last.code != 0) {
        return 0;
    }
    size_t size = 0;
    uint8_t *bytes = fake_server_request(server, "/quota.v1.AdminService/Block", &size);
    Quota__V1__BlockRequest *request = quota__v1__block_request__unpack(NULL, size, bytes);
    int64_t asked = request->until_unix_ns;
    quota__v1__block_request__free_unpacked(request, NULL);
    free(bytes);
    return asked;
}

Test(ctl, P2_ends_are_times_to_come, .init = setup, .fini = teardown)
{
    Quota__V1__BlockResponse answer;
    quota__v1__block_response__init(&answer);
    fake_server_reply(server, "/quota.v1.AdminService/Block", &answer.base);
    int64_t hour = INT64_C(3600) * 1000000000;
    int64_t before = (int64_t)time(NULL) * 1000000000;
    int64_t until = block_until("2h");
    cr_assert_geq(until, before + 2 * hour);
    cr_assert_leq(until, before + 3 * hour);
    cr_assert_eq(block_until("2100-01-01"), INT64_C(4102444800) * 1000000000);

    cr_assert_eq(block_until("2026-01-01"), 0, "a time in the past is no time to come");
    cr_assert_not_null(strstr(last.err, "--until \"2026-01-01\" is in the past: it is 20"), "%s",
                       last.err);
    cr_assert_not_null(strstr(last.err, "accepted is a time to come, or a length from now"), "%s",
                       last.err);
    cr_assert_eq(block_until("soon"), 0);
    cr_assert_not_null(strstr(last.err, "or 24h (from now)"), "%s", last.err);
    cr_assert_eq(block_until("4000000000weeks"), 0, "no overflow");
}

Test(ctl, grant_reads_dollars_exactly, .init = setup, .fini = teardown)
{
    reply_limit("nano_usd", 5);
    Quota__V1__GrantResponse answer;
    quota__v1__grant_response__init(&answer);
    fake_server_reply(server, "/quota.v1.AdminService/Grant", &answer.base);
    run_any("tenants grant acme credit $0.07 --id order-1");
    cr_assert_eq(last.code, 0, "%s", last.err);
    size_t size = 0;
    uint8_t *bytes = fake_server_request(server, "/quota.v1.AdminService/Grant", &size);
    Quota__V1__GrantRequest *request = quota__v1__grant_request__unpack(NULL, size, bytes);
    cr_assert_eq(request->amount, 70000000);
    cr_assert_str_eq(request->grant_id, "order-1");
    quota__v1__grant_request__free_unpacked(request, NULL);
    free(bytes);
}

Test(ctl, usage_asks_for_days_of_the_zone, .init = setup, .fini = teardown)
{
    Quota__V1__QueryUsageResponse answer;
    Quota__V1__UsageRow row;
    Quota__V1__UsageRow *rows[] = {&row};
    Quota__V1__GroupValue group;
    Quota__V1__GroupValue *groups[] = {&group};
    Quota__V1__Amount amount;
    Quota__V1__Amount *amounts[] = {&amount};
    Quota__V1__HeldUsage held;
    Quota__V1__Amount on_hold[2];
    Quota__V1__Amount *holds[2];
    char hold_meters[2][8] = {"tokens", "cost"};
    char model[] = "llama-70b", meter[] = "input_tokens", cost[] = "1234500000000";
    quota__v1__query_usage_response__init(&answer);
    quota__v1__usage_row__init(&row);
    quota__v1__group_value__init(&group);
    quota__v1__amount__init(&amount);
    quota__v1__held_usage__init(&held);
    for (int i = 0; i < 2; i++) {
        quota__v1__amount__init(&on_hold[i]);
        on_hold[i].meter = hold_meters[i];
        on_hold[i].amount = i == 0 ? 1600 : 5000000;
        holds[i] = &on_hold[i];
    }
    held.reservations = 2;
    held.amounts = holds;
    held.n_amounts = 2;
    group.dimension = QUOTA__V1__DIMENSION__DIMENSION_MODEL;
    group.value = model;
    amount.meter = meter;
    amount.amount = 1433000;
    row.start_unix_ns = INT64_C(1793487600000000000);
    row.groups = groups;
    row.n_groups = 1;
    row.quantities = amounts;
    row.n_quantities = 1;
    row.cost_pico_usd = cost;
    row.charge_pico_usd = cost;
    row.entries = 17;
    answer.rows = rows;
    answer.n_rows = 1;
    answer.held = &held;
    fake_server_reply(server, "/quota.v1.UsageService/QueryUsage", &answer.base);
    expect("usage acme --by model --every 1h --since 2026-11-01 --zone Europe/Berlin", 0,
           "start                      model      input_tokens   cost  charge  entries  unpriced\n"
           "2026-11-01 00:00:00+01:00  llama-70b     1,433,000  $1.23   $1.23       17\n"
           "held besides: 1,600 tokens, $0.005 cost by 2 open reservations\n"
           "complete through -\n",
           "");
    size_t size = 0;
    uint8_t *bytes = fake_server_request(server, "/quota.v1.UsageService/QueryUsage", &size);
    Quota__V1__QueryUsageRequest *request =
        quota__v1__query_usage_request__unpack(NULL, size, bytes);
    cr_assert_eq(request->from_unix_ns, INT64_C(1793487600000000000));
    cr_assert_eq(request->bucket, QUOTA__V1__BUCKET__BUCKET_HOUR);
    cr_assert_str_eq(request->zone, "Europe/Berlin");
    cr_assert(request->include_held);
    quota__v1__query_usage_request__free_unpacked(request, NULL);
    free(bytes);
    struct json_object *object = json("usage acme --by model --zone Europe/Berlin -o json");
    struct json_object *first =
        json_object_array_get_idx(json_object_object_get(object, "rows"), 0);
    cr_assert_str_eq(text_of(first, "cost_pico_usd"), "1234500000000");
    cr_assert_str_eq(text_of(first, "start"), "2026-11-01 00:00:00+01:00");
    json_object_put(object);
    /* A report's money belongs to no meter of it. */
    expect("usage acme --by meter", 0,
           "start                 meter      input_tokens\n"
           "2026-10-31 23:00:00Z  llama-70b     1,433,000\n"
           "held besides: 1,600 tokens, $0.005 cost by 2 open reservations\n"
           "complete through -\n",
           "");
    object = json("usage acme --by meter -o json");
    first = json_object_array_get_idx(json_object_object_get(object, "rows"), 0);
    cr_assert_not(json_object_object_get_ex(first, "cost_pico_usd", NULL));
    cr_assert_not(json_object_object_get_ex(first, "entries", NULL));
    json_object_put(object);
}
