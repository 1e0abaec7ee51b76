/* quotactl check: one CheckQuota, as a gateway would send it. */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/text.h"
#include "client/ctl/uses.h"
#include "quota/v1/quota.pb-c.h"

#include <json-c/json.h>
#include <string.h>

enum {
    CANDIDATES_MAX = 17
};

struct input {
    struct ctl_uses uses;
    struct ctl_labels labels;
    char candidate_text[CANDIDATES_MAX][3][128];
    struct quota_candidate candidates[CANDIDATES_MAX];
    struct quota_check check;
};

/* "MODEL[,POOL[,PROVIDER]]" */
static bool read_candidate(struct ctl *ctl, const char *text, struct input *in)
{
    size_t index = in->check.candidate_count;
    if (index == CANDIDATES_MAX - 1) {
        (void)ctl_fail(ctl, "more than %d candidates", CANDIDATES_MAX - 1);
        return false;
    }
    for (int part = 0; part < 3; part++) {
        size_t length = strcspn(text, ",");
        if (length >= sizeof in->candidate_text[0][0]) {
            (void)ctl_fail(ctl, "--candidate: a name of %zu bytes; at most 127", length);
            return false;
        }
        (void)snprintf(in->candidate_text[index][part], sizeof in->candidate_text[0][0], "%.*s",
                       (int)length, text);
        text += length;
        text += *text == ',' ? 1 : 0;
    }
    in->candidates[index] = (struct quota_candidate){
        in->candidate_text[index][0], in->candidate_text[index][1], in->candidate_text[index][2]};
    in->check.candidate_count += 1;
    return true;
}

static bool read_numbers(struct ctl *ctl, const struct ctl_args *args, struct quota_check *check)
{
    int64_t value = 0;
    const char *text = ctl_arg(args, "attempt");
    if (text != NULL && !ctl_read_count(ctl, "--attempt", text, 0, UINT32_MAX, &value)) {
        return false;
    }
    check->attempt = (uint32_t)value;
    value = 0;
    text = ctl_arg(args, "priority");
    if (text != NULL && !ctl_read_count(ctl, "--priority", text, 0, 100, &value)) {
        return false;
    }
    check->priority = (uint32_t)value;
    value = 0;
    text = ctl_arg(args, "weight");
    if (text != NULL && !ctl_read_count(ctl, "--weight", text, 1, 1000, &value)) {
        return false;
    }
    check->weight = (uint32_t)value;
    value = 0;
    text = ctl_arg(args, "ttl");
    if (text != NULL && !ctl_read_span(ctl, "--ttl", text, &value)) {
        return false;
    }
    check->ttl_ms = value / 1000000;
    text = ctl_arg(args, "event-time");
    return text == NULL ||
           ctl_read_time(ctl, "--event-time", text, NULL, &check->event_time_unix_ns);
}

static bool read_input(struct ctl *ctl, const struct ctl_args *args, struct input *in)
{
    struct quota_check *check = &in->check;
    if (!ctl_read_uses(ctl, args, true, &in->uses) ||
        !ctl_read_labels(ctl, args, "label", &in->labels) ||
        !ctl_read_tier(ctl, ctl_arg(args, "tier"), &check->tier) ||
        !ctl_read_cache_write(ctl, ctl_arg(args, "cache-write"), &check->cache_write) ||
        !read_numbers(ctl, args, check)) {
        return false;
    }
    const char *candidate;
    for (size_t i = 0; (candidate = ctl_arg_at(args, "candidate", i)) != NULL; i++) {
        if (!read_candidate(ctl, candidate, in)) {
            return false;
        }
    }
    check->tenant = args->operands[0];
    check->model = ctl_arg(args, "model");
    check->pool = ctl_arg(args, "pool");
    check->user = ctl_arg(args, "user");
    check->labels = in->labels.entries;
    check->label_count = in->labels.count;
    check->estimate = in->uses.amounts;
    check->estimate_count = in->uses.count;
    check->max_output_tokens = in->uses.max_output;
    check->max_output_tokens_given = in->uses.max_output_given;
    check->candidates = in->candidates;
    check->request_id = ctl_arg(args, "request-id");
    check->dry_run = ctl_flag(args, "dry-run");
    check->no_reservation = ctl_flag(args, "no-reservation");
    return true;
}

static int64_t held_of(const struct quota_check_answer *answer, const char *meter)
{
    for (size_t i = 0; i < answer->held_count; i++) {
        if (strcmp(answer->held[i].meter, meter) == 0) {
            return answer->held[i].amount;
        }
    }
    return -1;
}

/* The report that would settle it, ready to paste. */
static void print_next(struct ctl *ctl, const struct input *in,
                       const struct quota_check_answer *answer)
{
    (void)fprintf(ctl->out, "next: quotactl report %s", answer->reservation.id);
    bool output = false;
    for (size_t i = 0; i < in->uses.count; i++) {
        const struct quota_amount *use = &in->uses.amounts[i];
        if (strcmp(use->meter, "requests") != 0) {
            (void)fprintf(ctl->out, " --use %s=%lld", use->meter, (long long)use->amount);
        }
        output = output || strcmp(use->meter, "output_tokens") == 0;
    }
    if (!output) {
        long long guess = in->uses.max_output_given ? (long long)in->uses.max_output : 100;
        (void)fprintf(ctl->out, " --use output_tokens=%lld", guess);
    }
    (void)fputc('\n', ctl->out);
}

static void print_allowed(struct ctl *ctl, const struct input *in, const char *what,
                          const struct quota_check_answer *answer)
{
    char state[320];
    (void)fprintf(ctl->out, "%sALLOW%s %s", ctl_green(ctl), ctl_plain(ctl), what);
    if (answer->limit != NULL) {
        ctl_limit_state_text(answer->limit, state, sizeof state);
        (void)fprintf(ctl->out, "; tightest %s: %s", answer->limit->name, state);
    } else if (!answer->repeated) { /* the first answer named them */
        (void)fprintf(ctl->out, "; no limit applies");
    }
    int64_t tokens = held_of(answer, "tokens");
    if (tokens >= 0) {
        const char *verb = in->check.dry_run && !in->check.no_reservation ? "would hold"
                           : in->check.dry_run                            ? "would charge"
                           : in->check.no_reservation                     ? "charged"
                                                                          : "held";
        (void)fprintf(ctl->out, "; %s %s tokens", verb, ctl_count_text(tokens).text);
    }
    if (answer->reservation.token != NULL) {
        (void)fprintf(ctl->out, "; id %s", answer->reservation.id);
    }
    (void)fprintf(ctl->out, "%s\n", answer->repeated ? " (checked before)" : "");
    if (answer->reservation.token != NULL) {
        print_next(ctl, in, answer);
    }
}

static void print_denied(struct ctl *ctl, const struct input *in, const char *what,
                         const struct quota_check_answer *answer)
{
    bool nameless = answer->reason == QUOTA_REASON_UNKNOWN_PRICE && in->check.model == NULL &&
                    in->check.candidate_count == 0;
    (void)fprintf(ctl->out, "%sDENY%s  %s: ", ctl_red(ctl), ctl_plain(ctl), what);
    if (answer->message[0] != '\0') {
        (void)fprintf(ctl->out, "%s%s\n", answer->message, nameless ? ": --model NAME" : "");
        return;
    }
    (void)fprintf(ctl->out, "%s",
                  ctl_enum_word(&quota__v1__reason__descriptor, (int)answer->reason));
    if (answer->retry_useful) {
        (void)fprintf(ctl->out, "; retry in %s", ctl_span_text(answer->retry_after_ns).text);
    }
    (void)fputc('\n', ctl->out);
}

static int print_json(struct ctl *ctl, const struct quota_check_answer *answer)
{
    struct json_object *object = json_object_new_object();
    struct json_object *headers = json_object_new_object();
    struct json_object *shadows = json_object_new_array();
    json_object_object_add(object, "verdict",
                           json_object_new_string(ctl_enum_word(&quota__v1__verdict__descriptor,
                                                                (int)answer->verdict)));
    json_object_object_add(
        object, "reason",
        json_object_new_string(ctl_enum_word(&quota__v1__reason__descriptor, (int)answer->reason)));
    json_object_object_add(object, "message", json_object_new_string(answer->message));
    json_object_object_add(object, "limit", ctl_json_limit(answer->limit));
    json_object_object_add(object, "retry_after_ns", json_object_new_int64(answer->retry_after_ns));
    json_object_object_add(object, "retry_useful", json_object_new_boolean(answer->retry_useful));
    json_object_object_add(object, "retry_is_hint", json_object_new_boolean(answer->retry_is_hint));
    json_object_object_add(object, "candidate", json_object_new_int64(answer->candidate));
    struct json_object *hold = NULL;
    if (answer->reservation.token != NULL) {
        hold = json_object_new_object();
        json_object_object_add(hold, "token", json_object_new_string(answer->reservation.token));
        json_object_object_add(hold, "id", json_object_new_string(answer->reservation.id));
        json_object_object_add(hold, "expires_at_unix_ns",
                               json_object_new_int64(answer->reservation.expires_at_unix_ns));
    }
    json_object_object_add(object, "reservation", hold);
    json_object_object_add(object, "held", ctl_json_amounts(answer->held, answer->held_count));
    for (size_t i = 0; i < answer->would_deny_count; i++) {
        json_object_array_add(shadows, ctl_json_limit(&answer->would_deny[i]));
    }
    json_object_object_add(object, "would_deny", shadows);
    for (size_t i = 0; i < answer->header_count; i++) {
        json_object_object_add(headers, answer->headers[i].key,
                               json_object_new_string(answer->headers[i].value));
    }
    json_object_object_add(object, "headers", headers);
    json_object_object_add(object, "repeated_check", json_object_new_boolean(answer->repeated));
    json_object_object_add(object, "request_id", json_object_new_string(answer->request_id));
    json_object_object_add(object, "policy_revision",
                           json_object_new_uint64(answer->policy_revision));
    return ctl_json_print(ctl, object);
}

static void print_answer(struct ctl *ctl, const struct input *in,
                         const struct quota_check_answer *answer)
{
    char what[700];
    const char *model = in->check.model;
    if (in->check.candidate_count > 0 && answer->candidate < in->check.candidate_count &&
        in->candidates[answer->candidate].model[0] != '\0') {
        model = in->candidates[answer->candidate].model;
    }
    (void)snprintf(what, sizeof what, "%s%s%s", in->check.tenant, model != NULL ? " " : "",
                   model != NULL ? model : "");
    if (answer->verdict == QUOTA_ALLOWED) {
        print_allowed(ctl, in, what, answer);
    } else {
        print_denied(ctl, in, what, answer);
    }
    for (size_t i = 0; i < answer->would_deny_count; i++) {
        char state[320];
        ctl_limit_state_text(&answer->would_deny[i], state, sizeof state);
        (void)fprintf(ctl->out, "shadow: %s would deny: %s\n", answer->would_deny[i].name, state);
    }
}

static int run_check(struct ctl *ctl, const struct ctl_args *args)
{
    struct input in = {.check = {.no_renewal = true}};
    struct quota_check_answer answer;
    if (!read_input(ctl, args, &in)) {
        return CTL_ERROR;
    }
    struct quota_client *client = ctl_client(ctl);
    if (client == NULL) {
        return CTL_ERROR;
    }
    int rc = CTL_OK;
    if (quota_client_check(client, &in.check, NULL, &answer) != QUOTA_OK) {
        rc = ctl_fail_call(ctl, &answer.error);
    } else {
        if (ctl->json) {
            (void)print_json(ctl, &answer);
        } else {
            print_answer(ctl, &in, &answer);
        }
        rc = answer.verdict == QUOTA_ALLOWED ? CTL_OK : CTL_DENIED;
    }
    quota_check_answer_release(&answer);
    return rc;
}

static const struct ctl_option check_options[] = {
    {"model", 'm', "NAME", "the model asked for"},
    {"pool", 0, "NAME", "the pool that serves it (the policy's for the model)"},
    {"user", 0, "NAME", "the end user"},
    {"label", 0, "KEY=VALUE", "a label; again for more"},
    {"use", 'u', "METER=AMOUNT", "part of the estimate; again for more; also max_output_tokens=N"},
    {"candidate", 0, "MODEL[,POOL[,PROVIDER]]", "an alternative, in order of preference"},
    {"request-id", 0, "ID", "the request; the same id gets the same reservation"},
    {"attempt", 0, "N", "which attempt at it, from 0"},
    {"ttl", 0, "TIME", "how long the hold lasts (5min)"},
    {"dry-run", 'n', NULL, "answer, and change nothing"},
    {"no-reservation", 0, NULL, "charge, and hold nothing"},
    {"priority", 0, "0-100", "importance"},
    {"weight", 0, "1-1000", "share among equals"},
    {"tier", 0, "NAME", "price variant: standard, batch, priority, flex"},
    {"cache-write", 0, "5m|1h", "price variant of cache_write_tokens"},
    {"event-time", 0, "TIME", "when the request arrived"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_check_commands[] = {
    {"check", "TENANT", "may this request run? reserves what it is expected to use",
     "Tests every limit that applies; all of them are charged, or none. The hold lasts for its\n"
     "TTL unless it is reported, extended or cancelled. Exit code: 0 allowed, 2 denied.\n",
     "  quotactl check acme/search --model llama-70b --use input_tokens=1200 "
     "--use max_output_tokens=400\n"
     "  quotactl check acme --candidate gpt-4o --candidate llama-70b,h100 --use input_tokens=2k\n"
     "  quotactl check acme --model gpt-4o --use input_tokens=1200 --dry-run -o json\n",
     check_options, 1, 1, run_check},
    {.name = NULL},
};
