/* quotactl tenants ...: run-time tenants, blocks, grants, boosts. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "client/ctl/uses.h"
#include "server/core/decimal.h"

#include <inttypes.h>
#include <string.h>

static void say(struct ctl *ctl, const void *answer, const void *line)
{
    (void)answer;
    (void)fprintf(ctl->out, "%s\n", (const char *)line);
}

/* Print as JSON, or say `line`. */
static int done(struct ctl *ctl, void *answer, const char *line)
{
    return ctl_show(ctl, answer, say, line);
}

static void tenant_row(struct ctl_table *table, const Quota__V1__Tenant *tenant)
{
    char text[1024] = "";
    ctl_table_cell(table, tenant->tenant);
    ctl_table_cell(table, tenant->plan[0] != '\0' ? tenant->plan : "-");
    if (tenant->origin == QUOTA__V1__ORIGIN__ORIGIN_RUNTIME) {
        (void)snprintf(text, sizeof text, "run time");
    } else {
        (void)snprintf(text, sizeof text, "policy, line %u", tenant->line);
    }
    ctl_table_cell(table, text);
    text[0] = '\0';
    for (size_t i = 0; i < tenant->n_limits; i++) {
        size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, "%s%s: %s", i > 0 ? ", " : "",
                       tenant->limits[i]->key, tenant->limits[i]->value);
    }
    ctl_table_cell(table, text);
    ctl_keys_text(tenant->n_labels, tenant->labels, text, sizeof text);
    ctl_table_cell(table, text);
    ctl_block_text(tenant->block, text, sizeof text);
    ctl_table_cell(table, text);
}

static int run_list(struct ctl *ctl, const struct ctl_args *args)
{
    static const char *const heads[] = {"tenant", "plan", "from", "own limits", "labels", "notes"};
    Quota__V1__ListTenantsRequest request;
    quota__v1__list_tenants_request__init(&request);
    request.tenant = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    request.plan = ctl_wire(ctl_arg(args, "plan"));
    request.blocked_only = ctl_flag(args, "blocked");
    request.page_size = 1000;
    struct ctl_table *table =
        ctl->json ? NULL : ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    struct json_object *all = ctl->json ? json_object_new_array() : NULL;
    Quota__V1__ListTenantsResponse *page = NULL;
    int rc = CTL_OK;
    do {
        request.page_token = page != NULL ? page->next_page_token : ctl_wire(NULL);
        Quota__V1__ListTenantsResponse *next =
            ctl_call(ctl, "AdminService/ListTenants", &request.base,
                     &quota__v1__list_tenants_response__descriptor, true);
        ctl_free(page);
        page = next;
        for (size_t i = 0; page != NULL && i < page->n_tenants; i++) {
            if (ctl->json) {
                json_object_array_add(all, ctl_json_message(&page->tenants[i]->base));
            } else {
                tenant_row(table, page->tenants[i]);
            }
        }
        rc = page != NULL ? CTL_OK : CTL_ERROR;
    } while (page != NULL && page->next_page_token[0] != '\0');
    ctl_free(page);
    if (ctl->json && rc == CTL_OK) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "tenants", all);
        (void)ctl_json_print(ctl, object);
    } else if (ctl->json) {
        json_object_put(all);
    } else if (rc == CTL_OK) {
        ctl_table_print(table, ctl->out);
    }
    ctl_table_free(table);
    return rc;
}

/* NULL: the node does not know the tenant, or does not answer. */
static Quota__V1__GetEffectiveLimitsResponse *effective(struct ctl *ctl, const char *tenant)
{
    struct quota_error unused;
    Quota__V1__GetEffectiveLimitsRequest request;
    quota__v1__get_effective_limits_request__init(&request);
    request.tenant = ctl_wire(tenant);
    return ctl_call_quiet(ctl, "AdminService/GetEffectiveLimits", &request.base,
                          &quota__v1__get_effective_limits_response__descriptor, true, &unused);
}

/* " (was pro)", " (was free from *)"; nothing where that is not known. */
static void plan_before(struct ctl *ctl, const char *tenant, char *ret, size_t size)
{
    Quota__V1__GetEffectiveLimitsResponse *before = effective(ctl, tenant);
    ret[0] = '\0';
    if (before != NULL && before->plan[0] == '\0') {
        (void)snprintf(ret, size, " (was no plan)");
    } else if (before != NULL && strcmp(before->plan_from, tenant) == 0) {
        (void)snprintf(ret, size, " (was %s)", before->plan);
    } else if (before != NULL) {
        (void)snprintf(ret, size, " (was %s from %s)", before->plan, before->plan_from);
    }
    ctl_free(before);
}

/* "plan pro", or what applies to a tenant whose record has none: "no plan of its own: plan free
 * from
 * * applies". */
static void plan_text(struct ctl *ctl, const char *tenant, const char *own, char *ret, size_t size)
{
    if (own[0] != '\0') {
        (void)snprintf(ret, size, "plan %s", own);
        return;
    }
    Quota__V1__GetEffectiveLimitsResponse *answer = effective(ctl, tenant);
    if (answer == NULL) {
        (void)snprintf(ret, size, "no plan of its own");
    } else if (answer->plan[0] == '\0') {
        (void)snprintf(ret, size, "no plan");
    } else {
        (void)snprintf(ret, size, "no plan of its own: plan %s from %s applies", answer->plan,
                       answer->plan_from);
    }
    ctl_free(answer);
}

static int run_put(struct ctl *ctl, const struct ctl_args *args)
{
    struct ctl_labels limits;
    struct ctl_labels labels;
    Quota__V1__Entry limit_entries[CTL_LABELS_MAX];
    Quota__V1__Entry label_entries[CTL_LABELS_MAX];
    Quota__V1__Entry *limit_pointers[CTL_LABELS_MAX];
    Quota__V1__Entry *label_pointers[CTL_LABELS_MAX];
    if (!ctl_read_labels(ctl, args, "limit", &limits) ||
        !ctl_read_labels(ctl, args, "label", &labels)) {
        return CTL_ERROR;
    }
    Quota__V1__PutTenantRequest request;
    quota__v1__put_tenant_request__init(&request);
    ctl_wire_entries(&limits, limit_entries, limit_pointers);
    ctl_wire_entries(&labels, label_entries, label_pointers);
    request.tenant = ctl_wire(args->operands[0]);
    request.plan = ctl_wire(ctl_arg(args, "plan"));
    request.limits = limit_pointers;
    request.n_limits = limits.count;
    request.labels = label_pointers;
    request.n_labels = labels.count;
    request.create_only = ctl_flag(args, "create");
    Quota__V1__PutTenantResponse *answer =
        ctl_call(ctl, "AdminService/PutTenant", &request.base,
                 &quota__v1__put_tenant_response__descriptor, !request.create_only);
    char plan[512];
    char line[1200] = "";
    if (answer != NULL && !ctl->json) {
        plan_text(ctl, args->operands[0], request.plan, plan, sizeof plan);
        (void)snprintf(line, sizeof line, "%s %s, %s\nnext: quotactl limits %s",
                       answer->created ? "created" : "replaced", args->operands[0], plan,
                       args->operands[0]);
    }
    return done(ctl, answer, line);
}

static int run_delete(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__DeleteTenantRequest request;
    quota__v1__delete_tenant_request__init(&request);
    request.tenant = ctl_wire(args->operands[0]);
    request.subtree = ctl_flag(args, "subtree");
    Quota__V1__DeleteTenantResponse *answer =
        ctl_call(ctl, "AdminService/DeleteTenant", &request.base,
                 &quota__v1__delete_tenant_response__descriptor, false);
    char line[128] = "";
    if (answer != NULL) {
        (void)snprintf(line, sizeof line, "deleted %u record%s", answer->deleted,
                       answer->deleted == 1 ? "" : "s");
    }
    return done(ctl, answer, line);
}

static int run_set_plan(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__SetPlanRequest request;
    quota__v1__set_plan_request__init(&request);
    request.tenant = ctl_wire(args->operands[0]);
    request.plan = ctl_wire(args->operand_count > 1 ? args->operands[1] : NULL);
    if (request.plan[0] == '\0' && !ctl_flag(args, "none")) {
        return ctl_fail(ctl, "needs a PLAN, or --none to take its own plan away");
    }
    char before[512] = "";
    if (!ctl->json) {
        plan_before(ctl, args->operands[0], before, sizeof before);
    }
    Quota__V1__SetPlanResponse *answer = ctl_call(ctl, "AdminService/SetPlan", &request.base,
                                                  &quota__v1__set_plan_response__descriptor, true);
    char plan[512];
    char line[1200] = "";
    if (answer != NULL && !ctl->json) {
        plan_text(ctl, args->operands[0], request.plan, plan, sizeof plan);
        (void)snprintf(line, sizeof line, "%s: %s%s", args->operands[0], plan, before);
    }
    return done(ctl, answer, line);
}

static int block(struct ctl *ctl, const struct ctl_args *args, bool unblock)
{
    Quota__V1__BlockRequest request;
    quota__v1__block_request__init(&request);
    const char *until = unblock ? NULL : ctl_arg(args, "until");
    request.tenant = ctl_wire(args->operands[0]);
    request.unblock = unblock;
    request.reason = ctl_wire(unblock ? NULL : ctl_arg(args, "reason"));
    if (until != NULL && !ctl_read_end(ctl, "--until", until, &request.until_unix_ns)) {
        return CTL_ERROR;
    }
    Quota__V1__BlockResponse *answer = ctl_call(ctl, "AdminService/Block", &request.base,
                                                &quota__v1__block_response__descriptor, true);
    char line[1024] = "";
    char state[512];
    if (answer != NULL) {
        ctl_block_text(answer->block, state, sizeof state);
        (void)snprintf(line, sizeof line, "%s: %s%s", args->operands[0],
                       answer->block != NULL ? state : "not blocked",
                       !answer->was_blocked && unblock ? " (it was not)" : "");
    }
    return done(ctl, answer, line);
}

static int run_block(struct ctl *ctl, const struct ctl_args *args)
{
    return block(ctl, args, false);
}

static int run_unblock(struct ctl *ctl, const struct ctl_args *args)
{
    return block(ctl, args, true);
}

/* Whether the limit of that name counts money, if the tenant has one; the server answers for
 * others. False after a message. */
static bool find_unit(struct ctl *ctl, const char *tenant, const char *limit, bool *ret_found,
                      bool *ret_money)
{
    Quota__V1__GetEffectiveLimitsRequest request;
    quota__v1__get_effective_limits_request__init(&request);
    request.tenant = ctl_wire(tenant);
    Quota__V1__GetEffectiveLimitsResponse *answer =
        ctl_call(ctl, "AdminService/GetEffectiveLimits", &request.base,
                 &quota__v1__get_effective_limits_response__descriptor, true);
    *ret_found = false;
    for (size_t i = 0; answer != NULL && i < answer->n_limits && !*ret_found; i++) {
        const Quota__V1__LimitState *state = answer->limits[i]->state;
        const char *last = state != NULL ? strrchr(state->name, '.') : NULL;
        *ret_found = state != NULL && (strcmp(state->name, limit) == 0 ||
                                       (last != NULL && strcmp(last + 1, limit) == 0));
        *ret_money = *ret_found && strcmp(state->unit, "nano_usd") == 0;
    }
    bool ok = answer != NULL;
    ctl_free(answer);
    return ok;
}

/* An amount in a limit's unit: "$25" is nano-USD, "1M" a count; "-" lowers. Each is taken for its
 * own kind of limit alone: a bare 5 isn't five nano-dollars. */
static bool read_limit_amount(struct ctl *ctl, const struct ctl_args *args, const char *option,
                              const char *text, int64_t *ret_amount)
{
    bool negative = text[0] == '-';
    bool found = false;
    bool money_wanted = false;
    if (!find_unit(ctl, args->operands[0], args->operands[1], &found, &money_wanted)) {
        return false;
    }
    if (found && money_wanted != (text[negative] == '$')) {
        (void)ctl_fail(ctl, "%s \"%s\": %s counts %s; accepted is an amount such as %s", option,
                       text, args->operands[1], money_wanted ? "money" : "no money",
                       money_wanted ? "$25 or $0.50" : "5000 or 2M");
        return false;
    }
    const char *rest = text + (negative ? 1 : 0);
    struct qd_decimal value;
    int64_t amount = 0;
    if (rest[0] == '$') {
        struct qd_str money = {rest + 1, strlen(rest + 1)};
        if (qd_decimal_parse(money, &value) != QD_DECIMAL_OK || value.negative ||
            qd_decimal_to_int64(&value, QD_NANO_DIGITS, &amount) != QD_DECIMAL_OK) {
            (void)ctl_fail(ctl, "%s \"%s\": accepted is an amount such as $25 or $0.50", option,
                           text);
            return false;
        }
    } else if (!ctl_read_count(ctl, option, rest, 0, INT64_C(1) << 53, &amount)) {
        return false;
    }
    *ret_amount = negative ? -amount : amount;
    return true;
}

static int run_grant(struct ctl *ctl, const struct ctl_args *args)
{
    struct ctl_labels keys;
    Quota__V1__Entry entries[CTL_LABELS_MAX];
    Quota__V1__Entry *pointers[CTL_LABELS_MAX];
    char id[64];
    Quota__V1__GrantRequest request;
    quota__v1__grant_request__init(&request);
    if (!ctl_read_labels(ctl, args, "key", &keys) ||
        !read_limit_amount(ctl, args, "AMOUNT", args->operands[2], &request.amount)) {
        return CTL_ERROR;
    }
    ctl_wire_entries(&keys, entries, pointers);
    (void)snprintf(id, sizeof id, "quotactl-%016" PRIx64, (uint64_t)ctl_now_unix_ns());
    request.tenant = ctl_wire(args->operands[0]);
    request.limit = ctl_wire(args->operands[1]);
    request.keys = pointers;
    request.n_keys = keys.count;
    request.grant_id = ctl_wire(ctl_arg(args, "id") != NULL ? ctl_arg(args, "id") : id);
    request.note = ctl_wire(ctl_arg(args, "note"));
    Quota__V1__GrantResponse *answer = ctl_call(ctl, "AdminService/Grant", &request.base,
                                                &quota__v1__grant_response__descriptor, true);
    char line[1024] = "";
    if (answer != NULL && answer->state != NULL) {
        const Quota__V1__LimitState *state = answer->state;
        (void)snprintf(line, sizeof line, "%s %s: %s used + %s held of %s%s", args->operands[0],
                       state->name, ctl_amount_text(state->used, state->unit).text,
                       ctl_amount_text(state->held, state->unit).text,
                       ctl_amount_text(state->limit, state->unit).text,
                       answer->duplicate ? " (granted before)" : "");
    }
    return done(ctl, answer, line);
}

static int run_boost(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__BoostRequest request;
    quota__v1__boost_request__init(&request);
    request.tenant = ctl_wire(args->operands[0]);
    request.limit = ctl_wire(args->operands[1]);
    request.reason = ctl_wire(ctl_arg(args, "reason"));
    request.remove = ctl_flag(args, "remove");
    const char *percent = ctl_arg(args, "percent");
    const char *amount = ctl_arg(args, "amount");
    const char *until = ctl_arg(args, "until");
    int64_t value = 0;
    if (!request.remove && ((percent == NULL) == (amount == NULL) || until == NULL)) {
        return ctl_fail(ctl, "needs --percent N or --amount N, and --until TIME; or --remove");
    }
    if (percent != NULL && !request.remove) {
        if (!ctl_read_count(ctl, "--percent", percent, 1, 100000, &value)) {
            return CTL_ERROR;
        }
        request.size_case = QUOTA__V1__BOOST_REQUEST__SIZE_PERCENT;
        request.percent = (uint32_t)value;
    } else if (amount != NULL && !request.remove) {
        if (!read_limit_amount(ctl, args, "--amount", amount, &value)) {
            return CTL_ERROR;
        }
        request.size_case = QUOTA__V1__BOOST_REQUEST__SIZE_AMOUNT;
        request.amount = value;
    }
    if (until != NULL && !request.remove &&
        !ctl_read_end(ctl, "--until", until, &request.until_unix_ns)) {
        return CTL_ERROR;
    }
    Quota__V1__BoostResponse *answer = ctl_call(ctl, "AdminService/Boost", &request.base,
                                                &quota__v1__boost_response__descriptor, true);
    if (answer != NULL && !ctl->json) {
        ctl_print_states(ctl, answer->n_states, answer->states);
    }
    char line[256] = "";
    if (answer != NULL) {
        (void)snprintf(line, sizeof line, "%s%s",
                       answer->until_unix_ns != 0 ? "boosted until " : "not boosted",
                       answer->until_unix_ns != 0 ? ctl_time_text(answer->until_unix_ns, NULL).text
                                                  : "");
    }
    return done(ctl, answer, line);
}

static const struct ctl_option list_options[] = {
    {"plan", 0, "NAME", "only those with this plan"},
    {"blocked", 0, NULL, "only blocked ones"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option put_options[] = {
    {"plan", 0, "NAME", "a plan of the policy"},
    {"limit", 0, "METER=LIMIT", "a limit of its own, in the policy's short form; again for more"},
    {"label", 0, "KEY=VALUE", "again for more"},
    {"create", 0, NULL, "fail if there is a record"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option delete_options[] = {
    {"subtree", 0, NULL, "and all records below it"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option plan_options[] = {
    {"none", 0, NULL, "take its own plan away: what the policy gives applies again"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option block_options[] = {
    {"reason", 0, "TEXT", "shown to the tenant"},
    {"until", 0, "TIME", "a time, or a length from now: 2h"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option grant_options[] = {
    {"id", 0, "ID", "grants once per id (a new one)"},
    {"key", 0, "KEY=VALUE", "a value of the limit's `per`; again for more"},
    {"note", 0, "TEXT", "for the ledger"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option boost_options[] = {
    {"percent", 0, "N", "of the policy's amount: 200 doubles it"},
    {"amount", 0, "N", "instead of the policy's amount; $ for money"},
    {"until", 0, "TIME", "a time, or a length from now: 2h"},
    {"remove", 0, NULL, "take a boost away"},
    {"reason", 0, "TEXT", "for the audit"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_tenant_commands[] = {
    {"tenants ls", "[TENANT]", "list tenants, from the policy and from run time", NULL,
     "  quotactl tenants ls\n  quotactl tenants ls acme --blocked\n", list_options, 0, 1, run_list},
    {"tenants put", "TENANT", "create or replace a tenant's record", NULL,
     "  quotactl tenants put initech --plan pro --label region=eu\n"
     "  quotactl tenants put initech/ci --limit requests=10/min --limit cost='$5/day'\n",
     put_options, 1, 1, run_put},
    {"tenants delete", "TENANT", "remove a tenant's run-time record", NULL,
     "  quotactl tenants delete initech --subtree\n", delete_options, 1, 1, run_delete},
    {"tenants set-plan", "TENANT [PLAN]", "change a tenant's plan only", NULL,
     "  quotactl tenants set-plan initech enterprise\n"
     "  quotactl tenants set-plan initech --none\n",
     plan_options, 1, 2, run_set_plan},
    {"tenants block", "TENANT", "deny every check of a tenant and all below it", NULL,
     "  quotactl tenants block initech --reason 'invoice 4711 is open' --until 7day\n",
     block_options, 1, 1, run_block},
    {"tenants unblock", "TENANT", "let a blocked tenant through again", NULL,
     "  quotactl tenants unblock initech\n", NULL, 1, 1, run_unblock},
    {"tenants grant", "TENANT LIMIT AMOUNT", "raise a prepaid balance, once", NULL,
     "  quotactl tenants grant initech credit '$25' --id order-1893 --note 'top-up'\n",
     grant_options, 3, 3, run_grant},
    {"tenants boost", "TENANT LIMIT", "raise a limit for one tenant, for a time", NULL,
     "  quotactl tenants boost initech tokens --percent 200 --until 2h --reason launch\n"
     "  quotactl tenants boost initech tokens --remove\n",
     boost_options, 2, 2, run_boost},
    {.name = NULL},
};
