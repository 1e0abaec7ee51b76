/* quotactl correct, price-unpriced: what the ledger says is corrected by new entries (L3, P8). */
#include "client/ctl/answer.h"
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "client/ctl/uses.h"
#include "quota/v1/usage.pb-c.h"
#include "server/core/decimal.h"

#include <stdlib.h>
#include <string.h>

/* ---- correct */

struct correction {
    Quota__V1__CorrectUsageRequest request;
    Quota__V1__ReportKey report;
    char node[256];
    char meters[CTL_USES_MAX][CTL_METER_MAX];
    Quota__V1__Amount amounts[CTL_USES_MAX];
    Quota__V1__Amount *usage[CTL_USES_MAX];
    struct ctl_labels labels;
    Quota__V1__Entry entries[CTL_LABELS_MAX];
    Quota__V1__Entry *entry_pointers[CTL_LABELS_MAX];
};

/* "42", or as `ledger ls` shows it: "node-a#42". */
static bool read_entry(struct ctl *ctl, const char *text, struct correction *c)
{
    const char *hash = strrchr(text, '#');
    int64_t sequence = 0;
    if (hash != NULL && (size_t)(hash - text) < sizeof c->node) {
        memcpy(c->node, text, (size_t)(hash - text));
        c->request.node = c->node;
        text = hash + 1;
    }
    if (!ctl_read_count(ctl, "--entry", text, 1, INT64_MAX, &sequence)) {
        return false;
    }
    c->request.sequence = (uint64_t)sequence;
    return true;
}

static bool read_key(struct ctl *ctl, const struct ctl_args *args, struct correction *c)
{
    int64_t attempt = 0;
    int64_t sequence = 0;
    const char *text = ctl_arg(args, "attempt");
    if (text != NULL && !ctl_read_count(ctl, "--attempt", text, 0, UINT32_MAX, &attempt)) {
        return false;
    }
    text = ctl_arg(args, "sequence");
    if (text != NULL && !ctl_read_count(ctl, "--sequence", text, 0, INT32_MAX, &sequence)) {
        return false;
    }
    quota__v1__report_key__init(&c->report);
    c->report.tenant = ctl_wire(ctl_arg(args, "of"));
    c->report.source = ctl_wire(ctl_arg(args, "source"));
    c->report.request_id = ctl_wire(ctl_arg(args, "report"));
    c->report.attempt = (uint32_t)attempt;
    c->report.sequence = (uint32_t)sequence;
    c->request.report = &c->report;
    return true;
}

static bool read_which(struct ctl *ctl, const struct ctl_args *args, struct correction *c)
{
    const char *entry = ctl_arg(args, "entry");
    const char *report = ctl_arg(args, "report");
    if ((entry != NULL) == (report != NULL) || (report != NULL && ctl_arg(args, "of") == NULL)) {
        (void)ctl_fail(ctl, "needs --entry N, or --report ID --of TENANT; quotactl ledger ls shows "
                            "entries");
        return false;
    }
    return entry != NULL ? read_entry(ctl, entry, c) : read_key(ctl, args, c);
}

static bool add_usage(struct ctl *ctl, const char *text, struct correction *c)
{
    size_t n = c->request.n_usage;
    if (n == CTL_USES_MAX - 1) {
        (void)ctl_fail(ctl, "--usage: more than %d meters", CTL_USES_MAX - 1);
        return false;
    }
    int64_t amount = 0;
    if (!ctl_read_use(ctl, "--usage", text, c->meters[n], &amount)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(c->meters[i], c->meters[n]) == 0) {
            (void)ctl_fail(ctl, "--usage: %s is given twice", c->meters[n]);
            return false;
        }
    }
    quota__v1__amount__init(&c->amounts[n]);
    c->amounts[n].meter = c->meters[n];
    c->amounts[n].amount = amount;
    c->usage[n] = &c->amounts[n];
    c->request.n_usage = n + 1;
    return true;
}

/* "input_tokens=1200,output_tokens=233"; the option may come again. */
static bool read_usage(struct ctl *ctl, const struct ctl_args *args, struct correction *c)
{
    const char *text;
    for (size_t i = 0; (text = ctl_arg_at(args, "usage", i)) != NULL; i++) {
        while (*text != '\0') {
            char one[CTL_METER_MAX + 64];
            size_t size = strcspn(text, ",");
            (void)snprintf(one, sizeof one, "%.*s", (int)size, text);
            if (!add_usage(ctl, one, c)) {
                return false;
            }
            text += size + (text[size] == ',');
        }
    }
    c->request.usage = c->usage;
    return true;
}

static bool read_correction(struct ctl *ctl, const struct ctl_args *args, struct correction *c)
{
    Quota__V1__CorrectUsageRequest *request = &c->request;
    const char *id = ctl_arg(args, "id");
    quota__v1__correct_usage_request__init(request);
    if (!read_which(ctl, args, c) || !read_usage(ctl, args, c) ||
        !ctl_read_labels(ctl, args, "label", &c->labels)) {
        return false;
    }
    if (ctl_arg(args, "reason") == NULL) {
        (void)ctl_fail(ctl, "needs --reason TEXT: who reads the ledger later sees it");
        return false;
    }
    ctl_wire_entries(&c->labels, c->entries, c->entry_pointers);
    request->n_labels = c->labels.count;
    request->labels = c->entry_pointers;
    request->reason = ctl_wire(ctl_arg(args, "reason"));
    request->correction_id = ctl_wire(id != NULL ? id : "quotactl");
    request->dry_run = ctl_flag(args, "dry-run");
    request->take_back = ctl_flag(args, "take-back");
    request->tenant = ctl_wire(ctl_arg(args, "tenant"));
    request->model = ctl_wire(ctl_arg(args, "model"));
    request->pool = ctl_wire(ctl_arg(args, "pool"));
    request->user = ctl_wire(ctl_arg(args, "user"));
    return true;
}

static void row(struct ctl_table *table, const char *word, const Quota__V1__LedgerEntry *entry)
{
    char text[1024];
    ctl_table_cell(table, word);
    (void)snprintf(text, sizeof text, "%s#%llu", entry->node, (unsigned long long)entry->sequence);
    ctl_table_cell(table, entry->sequence > 0 ? text : "-");
    ctl_table_cell(table, entry->tenant);
    ctl_table_cell(table, entry->model);
    ctl_held_text(entry->n_quantities, entry->quantities, text, sizeof text);
    ctl_table_cell(table, text);
    ctl_table_cell(table, ctl_pico_text(entry->cost_pico_usd).text);
    ctl_table_cell(table, ctl_pico_text(entry->charge_pico_usd).text);
}

static void print_corrected(struct ctl *ctl, const void *message, const void *context)
{
    static const char *const heads[] = {"",           "entry", "tenant", "model",
                                        "quantities", ">cost", ">charge"};
    const Quota__V1__CorrectUsageResponse *answer = message;
    const bool *dry_run = context;
    bool rebooked = answer->rebooked != NULL;
    (void)fprintf(ctl->out, "%s%s%s entry %s#%llu%s\n", ctl_green(ctl),
                  *dry_run   ? "WOULD CORRECT"
                  : rebooked ? "CORRECTED"
                             : "TAKEN BACK",
                  ctl_plain(ctl), answer->reversal->corrects_node,
                  (unsigned long long)answer->reversal->corrects_sequence,
                  answer->duplicate ? "; this was booked before" : "");
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    row(table, "taken back", answer->reversal);
    if (rebooked) {
        row(table, "instead", answer->rebooked);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
}

static int run_correct(struct ctl *ctl, const struct ctl_args *args)
{
    struct correction c = {.node = ""};
    if (!read_correction(ctl, args, &c)) {
        return CTL_ERROR;
    }
    bool dry_run = c.request.dry_run != 0;
    Quota__V1__CorrectUsageResponse *answer =
        ctl_call(ctl, "UsageService/CorrectUsage", &c.request.base,
                 &quota__v1__correct_usage_response__descriptor, true);
    if (answer != NULL && answer->reversal == NULL) {
        ctl_free(answer);
        return ctl_fail(ctl, "the answer lacks what was booked");
    }
    return ctl_show(ctl, answer, print_corrected, &dry_run);
}

/* ---- price-unpriced */

enum {
    MODELS_MAX = 256
};

struct totals {
    uint64_t priced;
    uint64_t unpriced;
    qd_int128 cost_pico_usd;
    qd_int128 charge_pico_usd;
    struct still_unpriced {
        char model[256];
        char pool[256];
        uint64_t entries;
    } still[MODELS_MAX]; /* the last one takes in whatever has no place of its own */
    size_t still_count;
};

static qd_int128 pico_of(const char *text)
{
    bool negative = *text == '-';
    qd_int128 value = 0;
    for (text += negative; *text >= '0' && *text <= '9'; text++) {
        value = value * 10 + (*text - '0');
    }
    return negative ? -value : value;
}

static void add_still(struct totals *t, const Quota__V1__UnpricedModel *model)
{
    size_t i = 0;
    while (i < t->still_count && (strcmp(t->still[i].model, model->model) != 0 ||
                                  strcmp(t->still[i].pool, model->pool) != 0)) {
        i++;
    }
    if (i == MODELS_MAX) {
        i--;
        (void)snprintf(t->still[i].model, sizeof t->still[i].model, "others");
        t->still[i].pool[0] = '\0';
    } else if (i == t->still_count) {
        (void)snprintf(t->still[i].model, sizeof t->still[i].model, "%s", model->model);
        (void)snprintf(t->still[i].pool, sizeof t->still[i].pool, "%s", model->pool);
        t->still_count++;
    }
    t->still[i].entries += model->entries;
}

static void add_page(struct totals *t, const Quota__V1__PriceUnpricedResponse *page)
{
    t->priced += page->priced;
    t->unpriced += page->unpriced;
    t->cost_pico_usd += pico_of(page->cost_pico_usd);
    t->charge_pico_usd += pico_of(page->charge_pico_usd);
    for (size_t i = 0; i < page->n_still_unpriced; i++) {
        add_still(t, page->still_unpriced[i]);
    }
}

static int print_priced_json(struct ctl *ctl, const struct totals *t, bool dry_run)
{
    struct json_object *object = json_object_new_object();
    struct json_object *still = json_object_new_array();
    char cost[QD_DECIMAL_TEXT_MAX];
    char charge[QD_DECIMAL_TEXT_MAX];
    (void)qd_decimal_format(t->cost_pico_usd, 0, cost);
    (void)qd_decimal_format(t->charge_pico_usd, 0, charge);
    for (size_t i = 0; i < t->still_count; i++) {
        struct json_object *model = json_object_new_object();
        json_object_object_add(model, "model", json_object_new_string(t->still[i].model));
        json_object_object_add(model, "pool", json_object_new_string(t->still[i].pool));
        json_object_object_add(model, "entries", json_object_new_uint64(t->still[i].entries));
        json_object_array_add(still, model);
    }
    json_object_object_add(object, "priced", json_object_new_uint64(t->priced));
    json_object_object_add(object, "unpriced", json_object_new_uint64(t->unpriced));
    json_object_object_add(object, "still_unpriced", still);
    json_object_object_add(object, "cost_pico_usd", json_object_new_string(cost));
    json_object_object_add(object, "charge_pico_usd", json_object_new_string(charge));
    json_object_object_add(object, "dry_run", json_object_new_boolean(dry_run));
    return ctl_json_print(ctl, object);
}

static int print_priced(struct ctl *ctl, const struct totals *t, bool dry_run)
{
    static const char *const heads[] = {"model", "pool", ">entries"};
    char cost[QD_DECIMAL_TEXT_MAX];
    char charge[QD_DECIMAL_TEXT_MAX];
    (void)qd_decimal_format(t->cost_pico_usd, 0, cost);
    (void)qd_decimal_format(t->charge_pico_usd, 0, charge);
    (void)fprintf(ctl->out, "%s %s %s: cost %s, charge %s\n", dry_run ? "would price" : "priced",
                  ctl_count_text((int64_t)t->priced).text, t->priced == 1 ? "entry" : "entries",
                  ctl_pico_text(cost).text, ctl_pico_text(charge).text);
    if (t->unpriced == 0) {
        return CTL_OK;
    }
    (void)fprintf(ctl->out,
                  "%s still without a price; add it to the policy, with `effective` before they "
                  "happened, and run this again:\n",
                  ctl_count_text((int64_t)t->unpriced).text);
    struct ctl_table *table = ctl_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < t->still_count; i++) {
        ctl_table_cell(table, t->still[i].model);
        ctl_table_cell(table, t->still[i].pool);
        ctl_table_cell(table, ctl_count_text((int64_t)t->still[i].entries).text);
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    return CTL_OK;
}

static bool price_all(struct ctl *ctl, Quota__V1__PriceUnpricedRequest *request, struct totals *t)
{
    char cursor[64] = "";
    bool end = false;
    while (!end) {
        request->cursor = cursor;
        Quota__V1__PriceUnpricedResponse *page =
            ctl_call(ctl, "UsageService/PriceUnpriced", &request->base,
                     &quota__v1__price_unpriced_response__descriptor, true);
        if (page == NULL) {
            return false;
        }
        add_page(t, page);
        end = page->end != 0;
        (void)snprintf(cursor, sizeof cursor, "%s", page->next_cursor);
        ctl_free(page);
    }
    return true;
}

static int run_price(struct ctl *ctl, const struct ctl_args *args)
{
    Quota__V1__PriceUnpricedRequest request;
    const char *since = ctl_arg(args, "since");
    quota__v1__price_unpriced_request__init(&request);
    if (since != NULL && !ctl_read_time(ctl, "--since", since, NULL, &request.since_unix_ns)) {
        return CTL_ERROR;
    }
    bool dry_run = ctl_flag(args, "dry-run");
    request.tenant = ctl_wire(ctl_arg(args, "tenant"));
    request.model = ctl_wire(ctl_arg(args, "model"));
    request.dry_run = dry_run;
    struct totals *totals = calloc(1, sizeof *totals);
    if (totals == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    int code = CTL_ERROR;
    if (price_all(ctl, &request, totals)) {
        code = ctl->json ? print_priced_json(ctl, totals, dry_run)
                         : print_priced(ctl, totals, dry_run);
    } else if (totals->priced > 0 && !dry_run) {
        (void)fprintf(ctl->err,
                      "priced %s before that; the same command again goes on, and prices nothing "
                      "twice\n",
                      ctl_count_text((int64_t)totals->priced).text);
    }
    free(totals);
    return code;
}

static const struct ctl_option correct_options[] = {
    {"entry", 'e', "N", "the entry's number, as ledger ls shows it; or:"},
    {"report", 0, "ID", "the entry of the report with this request id, with:"},
    {"of", 0, "TENANT", "whose report"},
    {"source", 0, "NAME", "its source (gateway)"},
    {"attempt", 0, "N", "its attempt (0)"},
    {"sequence", 0, "N", "its part's number (0)"},
    {"reason", 0, "TEXT", "why; required"},
    {"take-back", 0, NULL, "nothing is booked instead"},
    {"usage", 'u', "METER=AMOUNT,...", "all that was really used"},
    {"tenant", 't', "TENANT", "who really used it"},
    {"model", 'm', "NAME", "what really served it"},
    {"pool", 0, "NAME", "what really served it"},
    {"user", 0, "NAME", "the end user"},
    {"label", 0, "KEY=VALUE", "all labels; again for more"},
    {"id", 0, "ID", "the correction's own id (quotactl)"},
    {"dry-run", 0, NULL, "show what would be booked"},
    {NULL, 0, NULL, NULL},
};

static const struct ctl_option price_options[] = {
    {"tenant", 't', "TENANT", "only this tenant and below it"},
    {"model", 'm', "NAME", "only this model"},
    {"since", 's', "TIME", "only what happened from then on"},
    {"dry-run", 0, NULL, "count them, book nothing"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_correct_commands[] = {
    {"correct", "", "take a ledger entry back, and book what is right instead",
     "Nothing is edited: what takes the entry back and what stands instead are new entries, at "
     "the\n"
     "prices of the time when it happened. What is not given stays. Budgets of the entry's period\n"
     "follow at once. The same correction again books nothing more.\n",
     "  quotactl correct --entry 42 --usage input_tokens=1200,output_tokens=233 --reason 'ticket "
     "7'\n"
     "  quotactl correct --entry 42 --model llama-70b --reason 'wrong model' --dry-run\n"
     "  quotactl correct --report req-17 --of acme --take-back --reason 'reported twice'\n",
     correct_options, 0, 0, run_correct},
    {"price-unpriced", "", "price what was booked before its price was known",
     "Each entry without a price is corrected, if the policy has a price now for the time when it\n"
     "happened. Run again, or broken off and run again, it prices nothing twice.\n",
     "  quotactl price-unpriced --dry-run\n"
     "  quotactl price-unpriced --model gpt-5 --since 2026-11-01\n",
     price_options, 0, 0, run_price},
    {.name = NULL},
};
