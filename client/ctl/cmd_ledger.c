/* quotactl ledger ls, export, rebuild-rollups, and verify: the entries, one by one, and as a whole.
 */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/export.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "quota/v1/usage.pb-c.h"

#include <string.h>

#define REBUILD_TIMEOUT_MS 600000 /* it reads every entry */

/* A grant's one quantity is money, or of the balance's own unit, which the entry does not say. That
 * it is in the column of what was used must not make it look used. */
static void grant_text(const Quota__V1__LedgerEntry *entry, char *ret, size_t size)
{
    const Quota__V1__Amount *granted = entry->quantities[0];
    (void)snprintf(ret, size, "granted %s to %s",
                   ctl_meter_text(granted->meter, granted->amount).text, entry->limit);
}

/* What it is about: the quantities; for a reset, which has none, what was reset. */
static void what_text(const Quota__V1__LedgerEntry *entry, char *ret, size_t size)
{
    char keys[512];
    if (entry->kind == QUOTA__V1__ENTRY_KIND__ENTRY_KIND_GRANT && entry->n_quantities == 1) {
        grant_text(entry, ret, size);
        return;
    }
    if (entry->kind != QUOTA__V1__ENTRY_KIND__ENTRY_KIND_ADJUSTMENT || entry->limit[0] == '\0') {
        ctl_held_text(entry->n_quantities, entry->quantities, ret, size);
        return;
    }
    ctl_keys_text(entry->n_labels, entry->labels, keys, sizeof keys);
    (void)snprintf(ret, size, "reset %s%s%s", entry->limit, keys[0] != '\0' ? " " : "", keys);
}

/* What it belongs to: the request, or the reservation; a correction to the entry that it corrects.
 */
static const char *whose_text(const Quota__V1__LedgerEntry *entry, char *ret, size_t size)
{
    if (entry->corrects_sequence != 0) {
        (void)snprintf(ret, size, "%s #%llu", entry->reversal ? "takes back" : "instead of",
                       (unsigned long long)entry->corrects_sequence);
        return ret;
    }
    return entry->request_id[0] != '\0' ? entry->request_id : entry->reservation_id;
}

static void row(struct ctl_table *table, const Quota__V1__LedgerEntry *entry)
{
    char text[1024];
    char kind[32];
    (void)snprintf(text, sizeof text, "%s#%llu", entry->node, (unsigned long long)entry->sequence);
    ctl_table_cell(table, text);
    ctl_table_cell(table, ctl_time_text(entry->event_time_unix_ns, NULL).text);
    ctl_table_cell(table, ctl_enum_words(&quota__v1__entry_kind__descriptor, (int)entry->kind, kind,
                                         sizeof kind));
    ctl_table_cell(table, entry->tenant);
    ctl_table_cell(table, entry->model);
    ctl_table_cell(table, entry->source);
    what_text(entry, text, sizeof text);
    ctl_table_cell(table, text);
    ctl_table_cell(table, ctl_pico_text(entry->cost_pico_usd).text);
    ctl_table_cell(table, ctl_pico_text(entry->charge_pico_usd).text);
    ctl_table_cell(table, whose_text(entry, text, sizeof text));
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

/* Which entries are asked for. */
static bool read_range(struct ctl *ctl, const struct ctl_args *args,
                       Quota__V1__ListLedgerEntriesRequest *ret_request)
{
    quota__v1__list_ledger_entries_request__init(ret_request);
    const char *text = ctl_arg(args, "since");
    if (text != NULL && !ctl_read_time(ctl, "--since", text, NULL, &ret_request->from_unix_ns)) {
        return false;
    }
    text = ctl_arg(args, "until");
    if (text != NULL && !ctl_read_time(ctl, "--until", text, NULL, &ret_request->to_unix_ns)) {
        return false;
    }
    ret_request->tenant = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    ret_request->cursor = ctl_wire(ctl_arg(args, "cursor"));
    return ctl_check_range(ctl, ret_request->from_unix_ns, ret_request->to_unix_ns, NULL);
}

static int run_list(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ListLedgerEntriesRequest request;
    if (!read_range(ctl, args, &request) || !ctl_read_rows(ctl, args, &request.page_size)) {
        return CTL_ERROR;
    }
    return ctl_show(ctl,
                    ctl_call(ctl, "UsageService/ListLedgerEntries", &request.base,
                             &quota__v1__list_ledger_entries_response__descriptor, true),
                    print_list, NULL);
}

/* ---- export */

static int run_export(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__ListLedgerEntriesRequest request;
    const char *format = ctl_arg(args, "format");
    bool csv = format != NULL && strcmp(format, "csv") == 0;
    bool headless = ctl_flag(args, "no-header");
    if (format != NULL && !csv && strcmp(format, "jsonl") != 0) {
        return ctl_fail(ctl, "--format %s: accepted: jsonl, csv", format);
    }
    if (headless && !csv) {
        return ctl_fail(ctl, "--no-header is for --format csv: jsonl has none");
    }
    if (!read_range(ctl, args, &request)) {
        return CTL_ERROR;
    }
    return ctl_export(ctl, &request,
                      headless ? CTL_EXPORT_CSV_ROWS
                      : csv    ? CTL_EXPORT_CSV
                               : CTL_EXPORT_JSONL);
}

/* ---- verify */

/* What to do about it: by what differs. */
static const char *next_step(const char *difference)
{
    if (strncmp(difference, "limit ", 6) == 0) {
        return "next: if the limit was away from its tenant for a part of its period, quotactl "
               "counters reset TENANT LIMIT; else quotactl verify --help";
    }
    if (strstr(difference, "rollup") != NULL) {
        return "next: quotactl ledger rebuild-rollups";
    }
    return "next: quotactl verify --help";
}

static void print_verified(struct ctl *ctl, const void *message, const void *context)
{
    const Quota__V1__VerifyLedgerResponse *answer = message;
    (void)context;
    (void)fprintf(ctl->out, "%s entries up to #%s", ctl_count_text((int64_t)answer->entries).text,
                  ctl_count_text((int64_t)answer->through_sequence).text);
    if (answer->expired > 0) {
        (void)fprintf(ctl->out, " and %s that have expired",
                      ctl_count_text((int64_t)answer->expired).text);
    }
    (void)fprintf(ctl->out, ", %s rollup rows, %s groups, %s budgets compared, %s skipped: ",
                  ctl_count_text((int64_t)answer->rollups).text,
                  ctl_count_text((int64_t)answer->groups).text,
                  ctl_count_text((int64_t)answer->budgets).text,
                  ctl_count_text((int64_t)answer->budgets_skipped).text);
    if (answer->clean) {
        (void)fprintf(ctl->out, "%sclean%s\n", ctl_green(ctl), ctl_plain(ctl));
    } else {
        (void)fprintf(ctl->out, "%sDIFFERS%s: %s\n", ctl_red(ctl), ctl_plain(ctl),
                      answer->difference);
        (void)fprintf(ctl->out, "%s\n", next_step(answer->difference));
    }
    if (answer->budgets_skipped > 0) {
        (void)fprintf(ctl->out,
                      "skipped: by today's policy no entry of the period finds the budget (its "
                      "tenant has\nanother plan now), or the first entries of a balance have "
                      "expired\n");
    }
}

static int run_verify(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__VerifyLedgerRequest request;
    quota__v1__verify_ledger_request__init(&request);
    (void)args;
    Quota__V1__VerifyLedgerResponse *answer =
        ctl_call(ctl, "AdminService/VerifyLedger", &request.base,
                 &quota__v1__verify_ledger_response__descriptor, true);
    bool clean = answer != NULL && answer->clean != 0;
    int code = ctl_show(ctl, answer, print_verified, NULL);
    return code == CTL_OK && !clean ? CTL_ERROR : code;
}

/* ---- rebuild-rollups */

static void print_rebuilt(struct ctl *ctl, const void *message, const void *context)
{
    const Quota__V1__RebuildRollupsResponse *answer = message;
    (void)context;
    (void)fprintf(ctl->out, "%s entries up to #%s", ctl_count_text((int64_t)answer->entries).text,
                  ctl_count_text((int64_t)answer->through_sequence).text);
    if (answer->expired > 0) {
        (void)fprintf(ctl->out, " and %s that have expired",
                      ctl_count_text((int64_t)answer->expired).text);
    }
    if (answer->groups == 0 && answer->rows_dropped == 0) {
        (void)fprintf(ctl->out, ", %s rollup rows: nothing differs, nothing was changed\n",
                      ctl_count_text((int64_t)answer->rows).text);
        return;
    }
    uint64_t after = answer->rows + answer->rows_added - answer->rows_dropped;
    (void)fprintf(ctl->out, "; rollup rows: %s before, %s after\n",
                  ctl_count_text((int64_t)answer->rows).text, ctl_count_text((int64_t)after).text);
    (void)fprintf(ctl->out, "%s rows added, %s changed, %s dropped in %s groups\n",
                  ctl_count_text((int64_t)answer->rows_added).text,
                  ctl_count_text((int64_t)answer->rows_changed).text,
                  ctl_count_text((int64_t)answer->rows_dropped).text,
                  ctl_count_text((int64_t)answer->groups).text);
    if (answer->groups_unlabelled > 0) {
        (void)fprintf(ctl->out,
                      "of them with expired entries, whose sums have no labels now: %s (usage by "
                      "label is refused there)\n",
                      ctl_count_text((int64_t)answer->groups_unlabelled).text);
    }
    (void)fprintf(ctl->out, "next: quotactl verify\n");
}

static int run_rebuild(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__RebuildRollupsRequest request;
    quota__v1__rebuild_rollups_request__init(&request);
    (void)args;
    if (ctl->timeout_from == CTL_DEFAULT) {
        ctl->timeout_ms = REBUILD_TIMEOUT_MS;
    }
    return ctl_show(ctl,
                    ctl_call(ctl, "AdminService/RebuildRollups", &request.base,
                             &quota__v1__rebuild_rollups_response__descriptor, false),
                    print_rebuilt, NULL);
}

static const struct ctl_option export_options[] = {
    {"format", 0, "FORMAT", "jsonl (default): a JSON object a line; or csv"},
    {"since", 's', "TIME", "recorded from"},
    {"until", 0, "TIME", "recorded to, exclusive"},
    {"cursor", 0, "CURSOR", "go on where an export ended"},
    {"no-header", 0, NULL, "csv without the line of names: to append to a file"},
    {NULL, 0, NULL, NULL},
};

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
    {"ledger export", "[TENANT]", "all that is complete, for a billing system",
     "Where it ended goes to stderr: the next export goes on there.\n"
     "In csv, quantities, labels and price_versions are lists: name=value;name=value. A ;, = or\n"
     "\\ within a name or a value has a \\ before it. Money is exact in ..._pico_usd, and rounded\n"
     "up once, as limits counted it, in ..._nano_usd; empty where the price is not known yet.\n"
     "What an entry with reversal=true takes back is negative: the sums of all entries are "
     "right.\n",
     "  quotactl ledger export > ledger.jsonl\n"
     "  quotactl ledger export --format csv > ledger.csv\n"
     "  quotactl ledger export --format csv --no-header --cursor 1200 >> ledger.csv\n",
     export_options, 0, 1, run_export},
    {"ledger rebuild-rollups", "", "makes rollup rows that are wrong anew from the entries", NULL,
     "  quotactl ledger rebuild-rollups\n", NULL, 0, 0, run_rebuild},
    {"verify", "", "reads the whole ledger: is it in order, do rollups and counters agree?",
     "It changes nothing; exit code 1 when something differs. If it says DIFFERS:\n"
     "- a rollup: quotactl ledger rebuild-rollups makes it anew from the entries;\n"
     "- a limit (amounts in its smallest unit: nano-USD, ms, tokens): a limit that was taken from\n"
     "  a tenant and came back within its period (set-plan away and back, a reload without it and\n"
     "  one with it) has not counted what was booked meanwhile. It differs until the period ends,\n"
     "  or until quotactl counters reset TENANT LIMIT, which makes it begin at 0;\n"
     "- a limit to which that did not happen, or entries: keep a copy of the data directory,\n"
     "  report it, and go back to a backup (quotactl restore --help).\n"
     "Skipped are budgets that cannot be compared: by today's policy no entry of their period "
     "finds\n"
     "them, as their tenant has another plan now, or the first entries of a balance have "
     "expired.\n",
     "  quotactl verify\n  quotactl verify -o json\n", NULL, 0, 0, run_verify},
    {.name = NULL},
};
