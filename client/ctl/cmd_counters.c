/* quotactl counters ls, reset. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "client/ctl/uses.h"

#include <stdlib.h>

static void print_list(struct ctl *ctl, const void *message, const void *context)
{
    (void)context;
    const Quota__V1__ListCountersResponse *answer = message;
    ctl_print_states(ctl, answer->n_counters, answer->counters);
    ctl_print_more(ctl, answer->next_page_token);
}

static int run_list(struct ctl *ctl, const struct ctl_args *args)
{
    int64_t percent = 0;
    Quota__V1__ListCountersRequest request;
    quota__v1__list_counters_request__init(&request);
    const char *text = ctl_arg(args, "min-used");
    if ((text != NULL && !ctl_read_count(ctl, "--min-used", text, 0, 1000, &percent)) ||
        !ctl_read_rows(ctl, args, &request.page_size)) {
        return CTL_ERROR;
    }
    request.tenant = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    request.limit = ctl_wire(ctl_arg(args, "limit"));
    request.min_used_percent = (uint32_t)percent;
    request.order = ctl_flag(args, "fullest") ? QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_FULLEST
                                              : QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_UNSPECIFIED;
    request.page_token = ctl_wire(ctl_arg(args, "page"));
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/ListCounters", &request.base,
                             &quota__v1__list_counters_response__descriptor, true),
                    print_list, NULL);
}

static void print_reset(struct ctl *ctl, const void *message, const void *context)
{
    (void)context;
    const Quota__V1__ResetCounterResponse *answer = message;
    (void)fprintf(ctl->out, "%u counter%s reset%s\n", answer->reset, answer->reset == 1 ? "" : "s",
                  answer->n_before > 0 ? "; before:" : "");
    if (answer->n_before > 0) {
        ctl_print_states(ctl, answer->n_before, answer->before);
    }
}

static int run_reset(struct ctl *ctl, const struct ctl_args *args)
{
    struct ctl_labels keys;
    Quota__V1__Entry entries[CTL_LABELS_MAX];
    Quota__V1__Entry *pointers[CTL_LABELS_MAX];
    if (!ctl_read_labels(ctl, args, "key", &keys)) {
        return CTL_ERROR;
    }
    Quota__V1__ResetCounterRequest request;
    quota__v1__reset_counter_request__init(&request);
    ctl_wire_entries(&keys, entries, pointers);
    request.tenant = ctl_wire(ctl_flag(args, "shared") ? NULL : args->operands[0]);
    request.limit = ctl_wire(args->operands[args->operand_count - 1]);
    request.keys = pointers;
    request.n_keys = keys.count;
    if (args->operand_count < 2 && !ctl_flag(args, "shared")) {
        return ctl_fail(ctl,
                        "needs TENANT LIMIT; or LIMIT --shared for one that all tenants share");
    }
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/ResetCounter", &request.base,
                             &quota__v1__reset_counter_response__descriptor, false),
                    print_reset, NULL);
}

static const struct ctl_option list_options[] = {
    {"limit", 0, "NAME", "only this limit"},
    {"min-used", 0, "PERCENT", "only those at least so full"},
    {"fullest", 0, NULL, "the fullest first"},
    {"count", 'n', "N", "how many (100)"},
    {"page", 0, "TOKEN", "go on where a page ended"},
    {NULL, 0, NULL, NULL},
};
static const struct ctl_option reset_options[] = {
    {"key", 0, "KEY=VALUE", "a value of the limit's `per`; again for more (all counters)"},
    {"shared", 0, NULL, "a limit that all tenants share"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_counter_commands[] = {
    {"counters ls", "[TENANT]", "live counters", NULL,
     "  quotactl counters ls acme\n  quotactl counters ls --fullest --min-used 80\n", list_options,
     0, 1, run_list},
    {"counters reset", "[TENANT] LIMIT", "forget what a limit has counted; the ledger stays", NULL,
     "  quotactl counters reset acme tokens\n"
     "  quotactl counters reset acme pro.tokens --key model=gpt-4o\n",
     reset_options, 1, 2, run_reset},
    {.name = NULL},
};
