/* quotactl report, extend, cancel. */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/text.h"
#include "client/ctl/uses.h"
#include "quota/v1/quota.pb-c.h"

#include <json-c/json.h>
#include <string.h>

struct report_input {
    struct ctl_uses uses;
    struct ctl_labels labels;
    struct quota_report report;
};

static bool read_report(struct ctl *ctl, const struct ctl_args *args, struct report_input *in)
{
    static const char *const outcomes[] = {"default", "ok",           "not_dispatched",
                                           "failed",  "disconnected", NULL};
    struct quota_report *report = &in->report;
    const char *text = ctl_arg(args, "outcome");
    int outcome = text != NULL ? ctl_read_word(ctl, "--outcome", text, outcomes) : 0;
    if (outcome < 0 || !ctl_read_uses(ctl, args, false, &in->uses) ||
        !ctl_read_labels(ctl, args, "label", &in->labels) ||
        !ctl_read_tier(ctl, ctl_arg(args, "tier"), &report->tier) ||
        !ctl_read_cache_write(ctl, ctl_arg(args, "cache-write"), &report->cache_write)) {
        return false;
    }
    int64_t value = 0;
    text = ctl_arg(args, "attempt");
    if (text != NULL && !ctl_read_count(ctl, "--attempt", text, 0, UINT32_MAX, &value)) {
        return false;
    }
    report->attempt = (uint32_t)value;
    value = 0;
    text = ctl_arg(args, "sequence");
    if (text != NULL && !ctl_read_count(ctl, "--sequence", text, 0, INT32_MAX, &value)) {
        return false;
    }
    report->sequence = (uint32_t)value;
    text = ctl_arg(args, "event-time");
    if (text != NULL &&
        !ctl_read_time(ctl, "--event-time", text, NULL, &report->event_time_unix_ns)) {
        return false;
    }
    report->reservation = args->operand_count > 0 ? args->operands[0] : NULL;
    report->tenant = ctl_arg(args, "tenant");
    report->model = ctl_arg(args, "model");
    report->pool = ctl_arg(args, "pool");
    report->user = ctl_arg(args, "user");
    report->labels = in->labels.entries;
    report->label_count = in->labels.count;
    report->source = ctl_arg(args, "source");
    report->request_id = ctl_arg(args, "request-id");
    report->partial = ctl_flag(args, "part");
    report->outcome = (enum quota_outcome)outcome;
    report->usage = in->uses.amounts;
    report->usage_count = in->uses.count;
    if (report->reservation == NULL && (report->tenant == NULL || report->request_id == NULL)) {
        (void)ctl_fail(ctl, "needs a RESERVATION, or --tenant and --request-id for usage without "
                            "a check");
        return false;
    }
    return true;
}

static void print_meters(struct ctl *ctl, const char *word, const struct quota_amount *amounts,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool money =
            strcmp(amounts[i].meter, "cost") == 0 || strcmp(amounts[i].meter, "charge") == 0;
        bool time = strcmp(amounts[i].meter, "gpu_ms") == 0;
        const char *unit = money ? "nano_usd" : time ? "ms" : "";
        (void)fprintf(ctl->out, "%s%s%s %s", i == 0 ? word : "", i == 0 ? ": " : ", ",
                      ctl_amount_text(amounts[i].amount, unit).text,
                      time ? "of GPU time" : amounts[i].meter);
    }
}

/* Which limits are over: of the tenant, where the command names it; else the fullest counters. */
static void print_over(struct ctl *ctl, uint32_t count, const char *tenant)
{
    (void)fprintf(ctl->out, "%u limit%s above the amount now; next: quotactl %s%s\n", count,
                  count == 1 ? " is" : "s are",
                  tenant != NULL ? "limits " : "counters ls --fullest --min-used 100",
                  tenant != NULL ? tenant : "");
}

static void print_report(struct ctl *ctl, const struct quota_report_answer *answer,
                         const char *tenant)
{
    static const char *const settled[] = {"settled", "post-paid", "still open", "closed",
                                          "settled late"};
    size_t index = (size_t)answer->settlement < 5 ? (size_t)answer->settlement : 0;
    (void)fprintf(ctl->out, "%sBOOKED%s entry %s#%llu; ", ctl_green(ctl), ctl_plain(ctl),
                  answer->node, (unsigned long long)answer->entry_sequence);
    if (answer->unpriced) {
        (void)fprintf(ctl->out, "not priced yet (no price for");
        for (size_t i = 0; i < answer->unpriced_meter_count; i++) {
            (void)fprintf(ctl->out, "%s %s", i > 0 ? "," : "", answer->unpriced_meters[i]);
        }
        (void)fprintf(ctl->out, ")");
    } else {
        (void)fprintf(ctl->out, "cost %s, charge %s", ctl_pico_text(answer->cost_pico_usd).text,
                      ctl_pico_text(answer->charge_pico_usd).text);
    }
    (void)fprintf(ctl->out, "; reservation %s", settled[index]);
    print_meters(ctl, "; released", answer->released, answer->released_count);
    print_meters(ctl, "; beyond the estimate", answer->overrun, answer->overrun_count);
    (void)fprintf(ctl->out, "%s\n", answer->duplicate ? " (booked before)" : "");
    if (answer->limits_over > 0) {
        print_over(ctl, answer->limits_over, tenant);
    }
}

static int print_report_json(struct ctl *ctl, const struct quota_report_answer *answer)
{
    struct json_object *object = json_object_new_object();
    struct json_object *meters = json_object_new_array();
    json_object_object_add(object, "duplicate", json_object_new_boolean(answer->duplicate));
    json_object_object_add(object, "settlement",
                           json_object_new_string(ctl_enum_word(&quota__v1__settlement__descriptor,
                                                                (int)answer->settlement)));
    json_object_object_add(object, "node", json_object_new_string(answer->node));
    json_object_object_add(object, "entry_sequence",
                           json_object_new_uint64(answer->entry_sequence));
    json_object_object_add(object, "cost_nano_usd", json_object_new_int64(answer->cost_nano_usd));
    json_object_object_add(object, "charge_nano_usd",
                           json_object_new_int64(answer->charge_nano_usd));
    json_object_object_add(object, "cost_pico_usd", json_object_new_string(answer->cost_pico_usd));
    json_object_object_add(object, "charge_pico_usd",
                           json_object_new_string(answer->charge_pico_usd));
    json_object_object_add(object, "unpriced", json_object_new_boolean(answer->unpriced));
    for (size_t i = 0; i < answer->unpriced_meter_count; i++) {
        json_object_array_add(meters, json_object_new_string(answer->unpriced_meters[i]));
    }
    json_object_object_add(object, "unpriced_meters", meters);
    json_object_object_add(object, "released",
                           ctl_json_amounts(answer->released, answer->released_count));
    json_object_object_add(object, "overrun",
                           ctl_json_amounts(answer->overrun, answer->overrun_count));
    json_object_object_add(object, "limits_over", json_object_new_int64(answer->limits_over));
    json_object_object_add(object, "policy_revision",
                           json_object_new_uint64(answer->policy_revision));
    return ctl_json_print(ctl, object);
}

static int run_report(struct ctl *ctl, const struct ctl_args *args)
{
    struct report_input in = {.report = {.reservation = NULL}};
    struct quota_report_answer answer;
    struct quota_client *client = read_report(ctl, args, &in) ? ctl_client(ctl) : NULL;
    if (client == NULL) {
        return CTL_ERROR;
    }
    int rc = CTL_OK;
    if (quota_client_report(client, &in.report, NULL, &answer) != QUOTA_OK) {
        rc = ctl_fail_call(ctl, &answer.error);
        if (answer.error.status == QUOTA_UNAVAILABLE || answer.error.status == QUOTA_TIMEOUT) {
            (void)fprintf(ctl->err, "not booked, or not known to be: the same command again books "
                                    "it once\n");
        }
    } else if (ctl->json) {
        rc = print_report_json(ctl, &answer);
    } else {
        print_report(ctl, &answer, in.report.tenant);
    }
    quota_report_answer_release(&answer);
    return rc;
}

static int run_extend(struct ctl *ctl, const struct ctl_args *args)
{
    struct ctl_uses uses;
    int64_t ttl_ns = 0;
    const char *ttl = ctl_arg(args, "ttl");
    if (!ctl_read_uses(ctl, args, false, &uses) ||
        (ttl != NULL && !ctl_read_span(ctl, "--ttl", ttl, &ttl_ns))) {
        return CTL_ERROR;
    }
    struct quota_client *client = ctl_client(ctl);
    struct quota_extend extend = {.reservation = args->operands[0],
                                  .tenant = ctl_arg(args, "tenant"),
                                  .used_so_far = uses.amounts,
                                  .used_so_far_count = uses.count,
                                  .ttl_ms = ttl_ns / 1000000};
    struct quota_extend_answer answer;
    if (client == NULL) {
        return CTL_ERROR;
    }
    int rc = CTL_OK;
    if (quota_client_extend(client, &extend, NULL, &answer) != QUOTA_OK) {
        rc = ctl_fail_call(ctl, &answer.error);
        quota_extend_answer_release(&answer);
        return rc;
    }
    rc = answer.stop ? CTL_DENIED : CTL_OK;
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "continuation",
                               json_object_new_string(answer.stop ? "STOP" : "CONTINUE"));
        json_object_object_add(object, "message", json_object_new_string(answer.message));
        json_object_object_add(object, "limit", ctl_json_limit(answer.limit));
        json_object_object_add(object, "expires_at_unix_ns",
                               json_object_new_int64(answer.expires_at_unix_ns));
        (void)ctl_json_print(ctl, object);
    } else if (answer.stop) {
        (void)fprintf(ctl->out, "%sSTOP%s  %s: %s; held until %s\n", ctl_red(ctl), ctl_plain(ctl),
                      extend.reservation, answer.message,
                      ctl_time_text(answer.expires_at_unix_ns, NULL).text);
    } else {
        (void)fprintf(ctl->out, "%sGO ON%s %s; held until %s\n", ctl_green(ctl), ctl_plain(ctl),
                      extend.reservation, ctl_time_text(answer.expires_at_unix_ns, NULL).text);
    }
    quota_extend_answer_release(&answer);
    return rc;
}

static int run_cancel(struct ctl *ctl, const struct ctl_args *args)
{
    struct quota_client *client = ctl_client(ctl);
    struct quota_cancel cancel = {.reservation = args->operands[0],
                                  .tenant = ctl_arg(args, "tenant")};
    struct quota_cancel_answer answer;
    if (client == NULL) {
        return CTL_ERROR;
    }
    if (quota_client_cancel(client, &cancel, NULL, &answer) != QUOTA_OK) {
        return ctl_fail_call(ctl, &answer.error);
    }
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "cancelled", json_object_new_boolean(answer.cancelled));
        return ctl_json_print(ctl, object);
    }
    if (answer.cancelled) {
        (void)fprintf(ctl->out, "CANCELLED %s\n", cancel.reservation);
    } else { /* cancelling twice is harmless, and the node keeps no record of what is closed */
        (void)fprintf(
            ctl->out,
            "nothing to cancel: %s is not open on this node: it was settled, cancelled or "
            "has expired, or it never was\n",
            cancel.reservation);
    }
    return CTL_OK;
}

static const struct ctl_option report_options[] = {
    {"use", 'u', "METER=AMOUNT", "what was used; again for more; gpu_seconds=1.5 works too"},
    {"tenant", 't', "TENANT", "for usage without a check"},
    {"request-id", 0, "ID", "part of the idempotency key; required without a reservation"},
    {"model", 'm', "NAME", "what served it (as reserved)"},
    {"pool", 0, "NAME", "what served it (as reserved)"},
    {"user", 0, "NAME", "the end user (as reserved)"},
    {"label", 0, "KEY=VALUE", "a label; again for more (as reserved)"},
    {"source", 0, "NAME", "who reports (gateway)"},
    {"attempt", 0, "N", "which attempt (as reserved)"},
    {"sequence", 0, "N", "number of this part among the source's parts (0)"},
    {"part", 0, NULL, "more parts follow: the reservation stays open"},
    {"outcome", 0, "WORD", "ok, not_dispatched, failed, disconnected"},
    {"tier", 0, "NAME", "price variant (as reserved)"},
    {"cache-write", 0, "5m|1h", "price variant of cache_write_tokens"},
    {"event-time", 0, "TIME", "when it happened"},
    {NULL, 0, NULL, NULL},
};

static const struct ctl_option extend_options[] = {
    {"use", 'u', "METER=AMOUNT", "used so far, in all; again for more"},
    {"ttl", 0, "TIME", "the hold's new life (as checked)"},
    {"tenant", 't', "TENANT", "must be the reservation's"},
    {NULL, 0, NULL, NULL},
};

static const struct ctl_option cancel_options[] = {
    {"tenant", 't', "TENANT", "must be the reservation's"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_settle_commands[] = {
    {"report", "[RESERVATION]", "book what a request really used, once",
     "The truth replaces the estimate. The same report again is booked once and answered alike;\n"
     "RESERVATION is the token, or the short id on the node that made it.\n",
     "  quotactl report r_7Q --use input_tokens=1200 --use output_tokens=233\n"
     "  quotactl report r_7Q --source pool --use gpu_seconds=1.8\n"
     "  quotactl report r_7Q --outcome not_dispatched\n"
     "  quotactl report --tenant acme --request-id nightly-17 --model gpt-4o "
     "--use input_tokens=80k\n",
     report_options, 0, 1, run_report},
    {"extend", "RESERVATION", "renew a hold; ask whether to go on", "Exit code: 0 go on, 2 stop.\n",
     "  quotactl extend r_7Q --use output_tokens=180\n"
     "  quotactl extend r_7Q --ttl 10min\n",
     extend_options, 1, 1, run_extend},
    {"cancel", "RESERVATION", "give a hold back: the request was never sent", NULL,
     "  quotactl cancel r_7Q\n", cancel_options, 1, 1, run_cancel},
    {.name = NULL},
};
