/* quotactl ledger ls: the entries, one by one. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "quota/v1/usage.pb-c.h"

#include <string.h>

static void row(struct ctl_table *table, const Quota__V1__LedgerEntry *entry)
{
    char text[512];
    char kind[32];
    (void)snprintf(text, sizeof text, "%s#%llu", entry->node, (unsigned long long)entry->sequence);
    ctl_table_cell(table, text);
    ctl_table_cell(table, ctl_time_text(entry->event_time_unix_ns, NULL).text);
    ctl_table_cell(table, ctl_enum_words(&quota__v1__entry_kind__descriptor, (int)entry->kind, kind,
                                         sizeof kind));
    ctl_table_cell(table, entry->tenant);
    ctl_table_cell(table, entry->model);
    ctl_table_cell(table, entry->source);
    ctl_held_text(entry->n_quantities, entry->quantities, text, sizeof text);
    ctl_table_cell(table, text);
    ctl_table_cell(table, ctl_pico_text(entry->cost_pico_usd).text);
    ctl_table_cell(table, ctl_pico_text(entry->charge_pico_usd).text);
    ctl_table_cell(table, entry->request_id[0] != '\0' ? entry->request_id : entry->reservation_id);
}

static void print_list(struct ctl *ctl, const void *message, const void *context)
{
    static const char *const heads[] = {"entry",  "event time", "kind",  "tenant",  "model",
                                        "source", "quantities", ">cost", ">charge", "request"};
    (void)context;
    const Quota__V1__ListLedgerEntriesResponse *answer = message;
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < answer->n_entries; i++) {
        row(table, answer->entries[i]);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    (void)fprintf(ctl->out, "%s: --cursor %s\n", answer->end ? "end; later" : "more",
                  answer->next_cursor);
}

static int run_list(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ListLedgerEntriesRequest request;
    quota__v1__list_ledger_entries_request__init(&request);
    const char *text = ctl_arg(args, "since");
    if (text != NULL && !ctl_read_time(ctl, "--since", text, NULL, &request.from_unix_ns)) {
        return CTL_ERROR;
    }
    text = ctl_arg(args, "until");
    if (text != NULL && !ctl_read_time(ctl, "--until", text, NULL, &request.to_unix_ns)) {
        return CTL_ERROR;
    }
    if (!ctl_check_range(ctl, request.from_unix_ns, request.to_unix_ns, NULL) ||
        !ctl_read_rows(ctl, args, &request.page_size)) {
        return CTL_ERROR;
    }
    request.tenant = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    request.cursor = ctl_wire(ctl_arg(args, "cursor"));
    return ctl_show(ctl,
                    ctl_call(ctl, "UsageService/ListLedgerEntries", &request.base,
                             &quota__v1__list_ledger_entries_response__descriptor, true),
                    print_list, NULL);
}

static const struct ctl_option list_options[] = {
    {"since", 's', "TIME", "recorded from"},
    {"until", 0, "TIME", "recorded to, exclusive"},
    {"cursor", 0, "CURSOR", "go on where an answer ended"},
    {"count", 'n', "N", "how many (100)"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_ledger_commands[] = {
    {"ledger ls", "[TENANT]", "the ledger's entries, in a stable order, resumable", NULL,
     "  quotactl ledger ls acme -n 20\n  quotactl ledger ls --since 2026-11-01 -o json\n",
     list_options, 0, 1, run_list},
    {.name = NULL},
};
