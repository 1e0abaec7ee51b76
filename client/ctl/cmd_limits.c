/* quotactl limits, explain: which limits apply, where they come from, how full they are. */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "client/ctl/uses.h"

#include <stdlib.h>
#include <string.h>

/* "hard, shadow, boosted until 2026-11-02 10:00:00" */
static void notes_text(const Quota__V1__EffectiveLimit *limit, char *ret, size_t size)
{
    const Quota__V1__LimitState *state = limit->state;
    bool shadow = state != NULL && state->action == QUOTA__V1__LIMIT_ACTION__LIMIT_ACTION_SHADOW;
    bool hard = state != NULL && state->hard != 0;
    bool boosted = limit->boosted_until_unix_ns != 0;
    (void)snprintf(ret, size, "%s%s%s%s%s%s", hard ? "hard" : "",
                   hard && (shadow || boosted) ? ", " : "", shadow ? "shadow" : "",
                   shadow && boosted ? ", " : "", boosted ? "boosted until " : "",
                   boosted ? ctl_time_text(limit->boosted_until_unix_ns, NULL).text : "");
}

/* "per model, user: see quotactl counters ls acme" */
static void split_text(const Quota__V1__EffectiveLimit *limit, const char *tenant, char *ret,
                       size_t size)
{
    const char *owner = limit->state != NULL ? limit->state->tenant : "";
    size_t used = (size_t)snprintf(ret, size, "per ");
    for (size_t i = 0; i < limit->n_per && used < size; i++) {
        used += (size_t)snprintf(ret + used, size - used, "%s%s", i > 0 ? ", " : "", limit->per[i]);
    }
    if (used < size) {
        (void)snprintf(ret + used, size - used, ": see quotactl counters ls %s",
                       owner[0] != '\0' ? owner : tenant);
    }
}

/* Whose counter, how full it is, and when it starts anew; a limit without one has none of it. */
static void state_cells(struct ctl_table *table, const Quota__V1__EffectiveLimit *limit,
                        const char *tenant)
{
    const Quota__V1__LimitState *state = limit->state;
    char keys[256];
    char text[512];
    if (state == NULL || limit->no_counter) {
        split_text(limit, tenant, text, sizeof text);
        ctl_table_cell(table, state != NULL ? text : "");
        for (int i = 1; i < 5; i++) {
            ctl_table_cell(table, "");
        }
        return;
    }
    ctl_keys_text(state->n_keys, state->keys, keys, sizeof keys);
    (void)snprintf(text, sizeof text, "%s%s%s", state->tenant[0] != '\0' ? state->tenant : "(all)",
                   keys[0] != '\0' ? " " : "", keys);
    ctl_table_cell(table, text);
    ctl_table_cell(table, ctl_amount_text(state->used, state->unit).text);
    ctl_table_cell(table, ctl_amount_text(state->held, state->unit).text);
    ctl_table_cell(table, ctl_fullness_text(state).text);
    ctl_table_cell(table, ctl_in_text(state->resets_at_unix_ns).text);
}

static void print_limits(struct ctl *ctl, const void *message, const void *tenant)
{
    static const char *const heads[] = {"limit", "amount", "counter of", ">used", ">held",
                                        ">full", "resets", "from",       "notes"};
    const Quota__V1__GetEffectiveLimitsResponse *answer = message;
    char text[512];
    ctl_block_text(answer->block, text, sizeof text);
    (void)fprintf(ctl->out, "%s: plan %s%s%s%s%s; policy r%llu\n", (const char *)tenant,
                  answer->plan[0] != '\0' ? answer->plan : "(none)",
                  answer->plan_from[0] != '\0' ? " from " : "", answer->plan_from,
                  text[0] != '\0' ? "; " : "", text, (unsigned long long)answer->policy_revision);
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < answer->n_limits; i++) {
        const Quota__V1__EffectiveLimit *limit = answer->limits[i];
        ctl_table_cell(table, limit->state != NULL ? limit->state->name : "");
        ctl_table_cell(table, limit->text);
        state_cells(table, limit, tenant);
        ctl_place_text(limit, text, sizeof text);
        ctl_table_cell(table, text);
        notes_text(limit, text, sizeof text);
        ctl_table_cell(table, text);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
}

static int run_limits(struct ctl *ctl, const struct ctl_args *args)
{
    struct ctl_labels labels;
    Quota__V1__Entry entries[CTL_LABELS_MAX];
    Quota__V1__Entry *pointers[CTL_LABELS_MAX];
    if (!ctl_read_labels(ctl, args, "label", &labels)) {
        return CTL_ERROR;
    }
    Quota__V1__GetEffectiveLimitsRequest request;
    quota__v1__get_effective_limits_request__init(&request);
    ctl_wire_entries(&labels, entries, pointers);
    request.tenant = ctl_wire(args->operands[0]);
    request.model = ctl_wire(ctl_arg(args, "model"));
    request.pool = ctl_wire(ctl_arg(args, "pool"));
    request.user = ctl_wire(ctl_arg(args, "user"));
    request.labels = pointers;
    request.n_labels = labels.count;
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/GetEffectiveLimits", &request.base,
                             &quota__v1__get_effective_limits_response__descriptor, true),
                    print_limits, args->operands[0]);
}

/* ---- explain */

struct explain_request {
    struct ctl_uses uses;
    struct ctl_labels labels;
    Quota__V1__Entry entries[CTL_LABELS_MAX];
    Quota__V1__Entry *entry_pointers[CTL_LABELS_MAX];
    Quota__V1__Amount amounts[CTL_USES_MAX];
    Quota__V1__Amount *amount_pointers[CTL_USES_MAX];
    Quota__V1__CheckQuotaRequest check;
    Quota__V1__ExplainCheckRequest explain;
};

static bool fill_explain(struct ctl *ctl, const struct ctl_args *args, struct explain_request *r)
{
    enum quota_tier tier = QUOTA_TIER_STANDARD;
    if (!ctl_read_uses(ctl, args, true, &r->uses) ||
        !ctl_read_labels(ctl, args, "label", &r->labels) ||
        !ctl_read_tier(ctl, ctl_arg(args, "tier"), &tier)) {
        return false;
    }
    quota__v1__check_quota_request__init(&r->check);
    quota__v1__explain_check_request__init(&r->explain);
    r->check.tenant = ctl_wire(args->operands[0]);
    r->check.model = ctl_wire(ctl_arg(args, "model"));
    r->check.pool = ctl_wire(ctl_arg(args, "pool"));
    r->check.user = ctl_wire(ctl_arg(args, "user"));
    r->check.tier = (Quota__V1__ServiceTier)tier;
    ctl_wire_entries(&r->labels, r->entries, r->entry_pointers);
    r->check.labels = r->entry_pointers;
    r->check.n_labels = r->labels.count;
    for (size_t i = 0; i < r->uses.count; i++) {
        quota__v1__amount__init(&r->amounts[i]);
        r->amounts[i].meter = r->uses.names[i];
        r->amounts[i].amount = r->uses.amounts[i].amount;
        r->amount_pointers[i] = &r->amounts[i];
    }
    r->check.estimate = r->amount_pointers;
    r->check.n_estimate = r->uses.count;
    if (r->uses.max_output_given) {
        r->check.max_output_tokens_presence_case =
            QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
        r->check.max_output_tokens = r->uses.max_output;
    }
    r->check.dry_run = 1;
    r->explain.check = &r->check;
    return true;
}

static void print_explanation(struct ctl *ctl, const Quota__V1__LimitExplanation *part)
{
    const Quota__V1__EffectiveLimit *limit = part->limit;
    const Quota__V1__LimitState *state = limit != NULL ? limit->state : NULL;
    char place[300];
    if (state == NULL) {
        return;
    }
    ctl_place_text(limit, place, sizeof place);
    bool shadow = state->action == QUOTA__V1__LIMIT_ACTION__LIMIT_ACTION_SHADOW;
    (void)fprintf(ctl->out, "%s%s%s %s  %s", part->fits || shadow ? ctl_green(ctl) : ctl_red(ctl),
                  part->fits ? "fits  "
                  : shadow   ? "shadow"
                             : "DENY  ",
                  ctl_plain(ctl), state->name, limit->text);
    if (limit->plan[0] != '\0') {
        (void)fprintf(ctl->out, "  (plan %s, %s)\n", limit->plan, place);
    } else {
        (void)fprintf(ctl->out, "  (%s)\n", place);
    }
    (void)fprintf(ctl->out, "       %s used + %s held + %s estimated of %s",
                  ctl_amount_text(state->used, state->unit).text,
                  ctl_amount_text(state->held, state->unit).text,
                  ctl_amount_text(state->estimate, state->unit).text,
                  ctl_amount_text(state->limit, state->unit).text);
    if (part->estimate_text[0] != '\0') {
        (void)fprintf(ctl->out, "; estimate = %s", part->estimate_text);
    }
    if (!part->fits && part->retry_after_ns > 0) {
        (void)fprintf(ctl->out, "; fits in %s", ctl_span_text(part->retry_after_ns).text);
    } else if (!part->fits && !part->retry_useful) {
        (void)fprintf(ctl->out, "; waiting does not help");
    }
    (void)fputc('\n', ctl->out);
}

static int run_explain(struct ctl *ctl, const struct ctl_args *args)
{
    struct explain_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    Quota__V1__ExplainCheckResponse *answer = NULL;
    if (fill_explain(ctl, args, request)) {
        answer = ctl_call(ctl, "AdminService/ExplainCheck", &request->explain.base,
                          &quota__v1__explain_check_response__descriptor, true);
    }
    free(request);
    if (answer == NULL) {
        return CTL_ERROR;
    }
    const Quota__V1__CheckQuotaResponse *result = answer->result;
    bool denied = result != NULL && result->verdict == QUOTA__V1__VERDICT__VERDICT_DENIED;
    if (ctl->json) {
        (void)ctl_json_print_message(ctl, &answer->base);
    } else {
        (void)fprintf(ctl->out, "%s%s%s%s: plan %s%s%s; price %s; policy r%llu\n",
                      denied ? "DENY  " : "ALLOW ", args->operands[0],
                      ctl_arg(args, "model") != NULL ? " " : "",
                      ctl_arg(args, "model") != NULL ? ctl_arg(args, "model") : "",
                      answer->plan[0] != '\0' ? answer->plan : "(none)",
                      answer->plan_from[0] != '\0' ? " from " : "", answer->plan_from,
                      answer->price_version[0] != '\0' ? answer->price_version : "(none)",
                      result != NULL ? (unsigned long long)result->policy_revision : 0);
        for (size_t i = 0; i < answer->n_limits; i++) {
            print_explanation(ctl, answer->limits[i]);
        }
        if (result != NULL && result->message[0] != '\0') {
            (void)fprintf(ctl->out, "%s\n", result->message);
        }
    }
    ctl_free(answer);
    return denied ? CTL_DENIED : CTL_OK;
}

static const struct ctl_option limits_options[] = {
    {"model", 'm', "NAME", "only limits of this model, with its counters"},
    {"pool", 0, "NAME", "the same for a pool"},
    {"user", 0, "NAME", "the same for a user"},
    {"label", 0, "KEY=VALUE", "the same for a label; again for more"},
    {NULL, 0, NULL, NULL},
};

static const struct ctl_option explain_options[] = {
    {"model", 'm', "NAME", "the model asked for"},
    {"pool", 0, "NAME", "the pool that serves it"},
    {"user", 0, "NAME", "the end user"},
    {"label", 0, "KEY=VALUE", "a label; again for more"},
    {"use", 'u', "METER=AMOUNT", "part of the estimate; again for more"},
    {"tier", 0, "NAME", "price variant: standard, batch, priority, flex"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_limit_commands[] = {
    {"limits", "TENANT", "the limits of a tenant, where they come from, how full they are", NULL,
     "  quotactl limits acme/search\n  quotactl limits acme --model gpt-4o -o json\n",
     limits_options, 1, 1, run_limits},
    {"explain", "TENANT", "what a check would answer, limit by limit, and why",
     "Changes nothing. Exit code: 0 it would be allowed, 2 denied.\n",
     "  quotactl explain acme/search --model llama-70b --use input_tokens=1200\n"
     "  quotactl explain acme --model gpt-4o --use input_tokens=50k -o json\n",
     explain_options, 1, 1, run_explain},
    {.name = NULL},
};
