/* quotactl usage: sums of usage and money. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"
#include "client/ctl/show.h"
#include "quota/v1/usage.pb-c.h"

#include <stdlib.h>
#include <string.h>

enum {
    GROUPS_MAX = 6,
    FILTERS_MAX = 16,
    METERS_MAX = 32
};

static const struct {
    const char *word;
    Quota__V1__Dimension dimension;
} dimensions[] = {
    {"tenant", QUOTA__V1__DIMENSION__DIMENSION_TENANT},
    {"model", QUOTA__V1__DIMENSION__DIMENSION_MODEL},
    {"pool", QUOTA__V1__DIMENSION__DIMENSION_POOL},
    {"meter", QUOTA__V1__DIMENSION__DIMENSION_METER},
    {"price", QUOTA__V1__DIMENSION__DIMENSION_PRICE_VERSION},
    {"label", QUOTA__V1__DIMENSION__DIMENSION_LABEL},
    {"user", QUOTA__V1__DIMENSION__DIMENSION_USER},
};

struct query {
    Quota__V1__QueryUsageRequest request;
    Quota__V1__GroupBy groups[GROUPS_MAX];
    Quota__V1__GroupBy *group_pointers[GROUPS_MAX];
    Quota__V1__UsageFilter filters[FILTERS_MAX];
    Quota__V1__UsageFilter *filter_pointers[FILTERS_MAX];
    char text[GROUPS_MAX + FILTERS_MAX][640];
    char *values[FILTERS_MAX][1];
    size_t texts;
};

/* "model", "tenant:2", "label:region". The word is cut out of a copy, in place. */
static bool read_dimension(struct ctl *ctl, const char *option, char *word,
                           Quota__V1__Dimension *ret, char **ret_rest)
{
    static const char *const words[] = {"tenant", "model", "pool", "meter",
                                        "price",  "label", "user", NULL};
    char *colon = strchr(word, ':');
    *ret_rest = NULL;
    if (colon != NULL) {
        *colon = '\0';
        *ret_rest = colon + 1;
    }
    int index = ctl_read_word(ctl, option, word, words);
    if (index < 0) {
        return false;
    }
    *ret = dimensions[index].dimension;
    bool label = *ret == QUOTA__V1__DIMENSION__DIMENSION_LABEL;
    if (label && (*ret_rest == NULL || (*ret_rest)[0] == '\0')) {
        (void)ctl_fail(ctl, "%s label: which? accepted: label:KEY", option);
        return false;
    }
    if (*ret_rest != NULL && !label && *ret != QUOTA__V1__DIMENSION__DIMENSION_TENANT) {
        (void)ctl_fail(ctl, "%s %s:%s: accepted: %s, tenant:LEVELS, label:KEY", option, word,
                       *ret_rest, word);
        return false;
    }
    return true;
}

static bool add_group(struct ctl *ctl, struct query *q, const char *word, size_t length)
{
    if (q->request.n_group_by == GROUPS_MAX) {
        (void)ctl_fail(ctl, "--by: at most %d", GROUPS_MAX);
        return false;
    }
    char *copy = q->text[q->texts++];
    (void)snprintf(copy, sizeof q->text[0], "%.*s", (int)(length < 600 ? length : 600), word);
    Quota__V1__GroupBy *group = &q->groups[q->request.n_group_by];
    char *rest = NULL;
    quota__v1__group_by__init(group);
    if (!read_dimension(ctl, "--by", copy, &group->dimension, &rest)) {
        return false;
    }
    if (group->dimension == QUOTA__V1__DIMENSION__DIMENSION_LABEL) {
        group->label = rest;
    } else if (rest != NULL) {
        int64_t level = 0;
        if (!ctl_read_count(ctl, "--by tenant:", rest, 1, 8, &level)) {
            return false;
        }
        group->tenant_level = (uint32_t)level;
    }
    q->group_pointers[q->request.n_group_by++] = group;
    return true;
}

static bool add_filter(struct ctl *ctl, struct query *q, const char *text)
{
    if (q->request.n_filters == FILTERS_MAX) {
        (void)ctl_fail(ctl, "--where: at most %d", FILTERS_MAX);
        return false;
    }
    char *copy = q->text[q->texts++];
    (void)snprintf(copy, sizeof q->text[0], "%.600s", text);
    char *equals = strchr(copy, '=');
    if (equals == NULL) {
        (void)ctl_fail(ctl, "--where \"%s\": accepted is DIMENSION=VALUE, e.g. model=gpt-4o", text);
        return false;
    }
    *equals = '\0';
    Quota__V1__UsageFilter *filter = &q->filters[q->request.n_filters];
    char *rest = NULL;
    quota__v1__usage_filter__init(filter);
    if (!read_dimension(ctl, "--where", copy, &filter->dimension, &rest)) {
        return false;
    }
    if (filter->dimension == QUOTA__V1__DIMENSION__DIMENSION_LABEL) {
        filter->label = rest;
    }
    q->values[q->request.n_filters][0] = equals + 1;
    filter->values = q->values[q->request.n_filters];
    filter->n_values = 1;
    q->filter_pointers[q->request.n_filters++] = filter;
    return true;
}

static bool read_bucket(struct ctl *ctl, const char *text, Quota__V1__Bucket *ret)
{
    static const char *const words[] = {"all",  "15min", "1h",     "hour",  "1d",
                                        "1day", "day",   "1month", "month", NULL};
    static const Quota__V1__Bucket buckets[] = {
        QUOTA__V1__BUCKET__BUCKET_UNSPECIFIED, QUOTA__V1__BUCKET__BUCKET_QUARTER_HOUR,
        QUOTA__V1__BUCKET__BUCKET_HOUR,        QUOTA__V1__BUCKET__BUCKET_HOUR,
        QUOTA__V1__BUCKET__BUCKET_DAY,         QUOTA__V1__BUCKET__BUCKET_DAY,
        QUOTA__V1__BUCKET__BUCKET_DAY,         QUOTA__V1__BUCKET__BUCKET_MONTH,
        QUOTA__V1__BUCKET__BUCKET_MONTH};
    int index = text != NULL ? ctl_read_word(ctl, "--every", text, words) : 0;
    if (index < 0) {
        return false;
    }
    *ret = buckets[index];
    return true;
}

static bool read_query(struct ctl *ctl, const struct ctl_args *args, struct query *q)
{
    const char *text;
    const char *zone = ctl_arg(args, "zone");
    quota__v1__query_usage_request__init(&q->request);
    q->request.tenant = ctl_wire(args->operand_count > 0 ? args->operands[0] : NULL);
    q->request.zone = ctl_wire(zone);
    q->request.group_by = q->group_pointers;
    q->request.filters = q->filter_pointers;
    q->request.page_size = 1000;
    text = ctl_arg(args, "since");
    if (text != NULL && !ctl_read_time(ctl, "--since", text, zone, &q->request.from_unix_ns)) {
        return false;
    }
    text = ctl_arg(args, "until");
    if (text != NULL && !ctl_read_time(ctl, "--until", text, zone, &q->request.to_unix_ns)) {
        return false;
    }
    int64_t to = q->request.to_unix_ns;
    if (!ctl_check_range(ctl, q->request.from_unix_ns, to != 0 ? to : ctl_now_unix_ns(), zone)) {
        return false;
    }
    for (size_t i = 0; (text = ctl_arg_at(args, "by", i)) != NULL; i++) {
        while (*text != '\0') {
            size_t length = strcspn(text, ",");
            if (!add_group(ctl, q, text, length)) {
                return false;
            }
            text += length + (text[length] == ',' ? 1 : 0);
        }
    }
    for (size_t i = 0; (text = ctl_arg_at(args, "where", i)) != NULL; i++) {
        if (!add_filter(ctl, q, text)) {
            return false;
        }
    }
    /* What is held is of now, and of the tenant as a whole. */
    q->request.include_held = ctl_arg(args, "until") == NULL && q->request.n_filters == 0;
    return read_bucket(ctl, ctl_arg(args, "every"), &q->request.bucket);
}

/* ---- the answer */

struct result {
    Quota__V1__QueryUsageResponse **pages;
    size_t page_count;
    char *meters[METERS_MAX]; /* borrowed from the pages: a column each */
    size_t meter_count;
};

static void collect_meters(struct result *result, const Quota__V1__UsageRow *row)
{
    for (size_t i = 0; i < row->n_quantities; i++) {
        size_t k = 0;
        while (k < result->meter_count &&
               strcmp(result->meters[k], row->quantities[i]->meter) != 0) {
            k++;
        }
        if (k == result->meter_count && k < METERS_MAX) {
            result->meters[result->meter_count++] = row->quantities[i]->meter;
        }
    }
}

static bool fetch(struct ctl *ctl, struct query *q, struct result *result)
{
    for (;;) {
        Quota__V1__QueryUsageResponse *page =
            ctl_call(ctl, "UsageService/QueryUsage", &q->request.base,
                     &quota__v1__query_usage_response__descriptor, true);
        Quota__V1__QueryUsageResponse **pages =
            realloc(result->pages, (result->page_count + 1) * sizeof *pages);
        if (page == NULL || pages == NULL) {
            result->pages = pages != NULL ? pages : result->pages;
            ctl_free(page);
            return false;
        }
        result->pages = pages;
        result->pages[result->page_count++] = page;
        for (size_t i = 0; i < page->n_rows; i++) {
            collect_meters(result, page->rows[i]);
        }
        if (page->next_page_token[0] == '\0') {
            return true;
        }
        q->request.page_token = page->next_page_token;
    }
}

/* Money and entries belong to a request, not to a meter: rows by meter have none (usage.proto). */
static bool by_meter(const struct query *q)
{
    for (size_t i = 0; i < q->request.n_group_by; i++) {
        if (q->groups[i].dimension == QUOTA__V1__DIMENSION__DIMENSION_METER) {
            return true;
        }
    }
    return false;
}

static const char *zone_of(const struct query *q)
{
    return q->request.zone[0] != '\0' ? q->request.zone : NULL;
}

static struct json_object *json_row(const struct query *q, const Quota__V1__UsageRow *row)
{
    static const char *const of_entries[] = {"cost_pico_usd", "charge_pico_usd", "entries",
                                             "unpriced_entries"};
    struct json_object *object = ctl_json_message(&row->base);
    for (size_t i = 0; by_meter(q) && i < sizeof of_entries / sizeof of_entries[0]; i++) {
        json_object_object_del(object, of_entries[i]);
    }
    json_object_object_add(
        object, "start",
        json_object_new_string(ctl_time_text(row->start_unix_ns, zone_of(q)).text));
    return object;
}

static void print_json(struct ctl *ctl, const struct query *q, const struct result *result)
{
    struct json_object *object = ctl_json_message(&result->pages[result->page_count - 1]->base);
    const Quota__V1__HeldUsage *held = result->pages[0]->held;
    json_object_object_add(object, "held", held != NULL ? ctl_json_message(&held->base) : NULL);
    struct json_object *rows = json_object_new_array();
    for (size_t p = 0; p < result->page_count; p++) {
        for (size_t i = 0; i < result->pages[p]->n_rows; i++) {
            json_object_array_add(rows, json_row(q, result->pages[p]->rows[i]));
        }
    }
    json_object_object_add(object, "rows", rows);
    json_object_object_del(object, "next_page_token");
    (void)ctl_json_print(ctl, object);
}

static void print_row(struct ctl_table *table, const struct query *q, const struct result *result,
                      const Quota__V1__UsageRow *row)
{
    ctl_table_cell(table, ctl_time_text(row->start_unix_ns, zone_of(q)).text);
    for (size_t i = 0; i < q->request.n_group_by; i++) {
        const char *value = i < row->n_groups ? row->groups[i]->value : "";
        ctl_table_cell(table, value[0] != '\0' ? value : "-");
    }
    for (size_t m = 0; m < result->meter_count; m++) {
        const char *meter = result->meters[m];
        struct ctl_text cell = {""};
        for (size_t i = 0; i < row->n_quantities; i++) {
            if (strcmp(row->quantities[i]->meter, meter) == 0) {
                int64_t amount = row->quantities[i]->amount;
                /* In tables GPU time is in seconds, exactly, as money is made of it. */
                cell = strcmp(meter, "gpu_ms") == 0 ? ctl_seconds_text(amount)
                                                    : ctl_count_text(amount);
            }
        }
        ctl_table_cell(table, cell.text);
    }
    if (by_meter(q)) {
        return;
    }
    bool priced = row->unpriced_entries < row->entries || row->entries == 0; /* P8: not $0 */
    ctl_table_cell(table, ctl_pico_text(priced ? row->cost_pico_usd : "").text);
    ctl_table_cell(table, ctl_pico_text(priced ? row->charge_pico_usd : "").text);
    ctl_table_cell(table, ctl_count_text((int64_t)row->entries).text);
    ctl_table_cell(table, row->unpriced_entries > 0
                              ? ctl_count_text((int64_t)row->unpriced_entries).text
                              : "");
}

/* "label region or user": what may have no rollup. */
static void add_cause(Quota__V1__Dimension dimension, const char *label, char *ret, size_t size)
{
    bool user = dimension == QUOTA__V1__DIMENSION__DIMENSION_USER;
    size_t at = strlen(ret);
    if (user || dimension == QUOTA__V1__DIMENSION__DIMENSION_LABEL) {
        (void)snprintf(ret + at, size - at, "%s%s%s", at > 0 ? " or " : "",
                       user ? "user" : "label ", label);
    }
}

static void print_held(struct ctl *ctl, const Quota__V1__HeldUsage *held)
{
    char amounts[256];
    if (held == NULL || held->reservations == 0) {
        return;
    }
    ctl_held_text(held->n_amounts, held->amounts, amounts, sizeof amounts);
    (void)fprintf(ctl->out, "held besides: %s by %s open reservation%s\n", amounts,
                  ctl_count_text((int64_t)held->reservations).text,
                  held->reservations == 1 ? "" : "s");
}

/* L4: that entries were scanned takes time, and has a cure. Which of several labels has no rollup,
 * the answer does not say. */
static void print_scanned(struct ctl *ctl, const struct query *q, const struct result *result)
{
    char causes[1024] = "";
    bool scanned = false;
    for (size_t p = 0; p < result->page_count; p++) {
        scanned |= result->pages[p]->scanned_entries != 0;
    }
    for (size_t i = 0; i < q->request.n_group_by; i++) {
        add_cause(q->groups[i].dimension, q->groups[i].label, causes, sizeof causes);
    }
    for (size_t i = 0; i < q->request.n_filters; i++) {
        add_cause(q->filters[i].dimension, q->filters[i].label, causes, sizeof causes);
    }
    if (scanned && causes[0] != '\0') {
        (void)fprintf(ctl->out,
                      "counted from single entries: %s has no rollup (rollup_labels in the "
                      "policy)\n",
                      causes);
    } else if (scanned) {
        (void)fprintf(ctl->out, "counted from single entries: a bucket does not begin on a quarter "
                                "of an hour of UTC\n");
    }
}

static void print_table(struct ctl *ctl, const struct query *q, const struct result *result)
{
    const char *heads[1 + GROUPS_MAX + METERS_MAX + 4];
    char names[METERS_MAX][128];
    size_t columns = 0;
    heads[columns++] = "start";
    for (size_t i = 0; i < q->request.n_group_by; i++) {
        const Quota__V1__GroupBy *group = q->request.group_by[i];
        const char *word = group->label[0] != '\0' ? group->label : "";
        for (size_t k = 0; word[0] == '\0' && k < sizeof dimensions / sizeof dimensions[0]; k++) {
            word = dimensions[k].dimension == group->dimension ? dimensions[k].word : "";
        }
        heads[columns++] = word;
    }
    for (size_t m = 0; m < result->meter_count; m++) {
        bool gpu = strcmp(result->meters[m], "gpu_ms") == 0;
        (void)snprintf(names[m], sizeof names[m], ">%.120s",
                       gpu ? "gpu_seconds" : result->meters[m]);
        heads[columns++] = names[m];
    }
    static const char *const of_entries[] = {">cost", ">charge", ">entries", ">unpriced"};
    for (size_t i = 0; !by_meter(q) && i < sizeof of_entries / sizeof of_entries[0]; i++) {
        heads[columns++] = of_entries[i];
    }
    struct ctl_table *table = ctl_table_new(heads, columns);
    for (size_t p = 0; p < result->page_count; p++) {
        for (size_t i = 0; i < result->pages[p]->n_rows; i++) {
            print_row(table, q, result, result->pages[p]->rows[i]);
        }
    }
    ctl_table_print(table, ctl->out);
    ctl_table_free(table);
    print_scanned(ctl, q, result);
    print_held(ctl, result->pages[0]->held);
    const Quota__V1__QueryUsageResponse *last = result->pages[result->page_count - 1];
    (void)fprintf(ctl->out, "complete through %s\n",
                  ctl_time_text(last->complete_through_unix_ns, NULL).text);
}

static int run_usage(struct ctl *ctl, const struct ctl_args *args)
{
    struct result result = {.pages = NULL};
    struct query *q = calloc(1, sizeof *q);
    if (q == NULL) {
        return ctl_fail(ctl, "out of memory");
    }
    int rc = CTL_ERROR;
    if (read_query(ctl, args, q) && fetch(ctl, q, &result)) {
        rc = CTL_OK;
        if (ctl->json) {
            print_json(ctl, q, &result);
        } else {
            print_table(ctl, q, &result);
        }
    }
    for (size_t i = 0; i < result.page_count; i++) {
        ctl_free(result.pages[i]);
    }
    free(result.pages);
    free(q);
    return rc;
}

static const struct ctl_option usage_options[] = {
    {"by", 'b', "DIMENSION", "group: tenant[:LEVELS], model, pool, meter, price, user, label:KEY"},
    {"every", 'e', "15min|1h|day|month", "length of a bucket (one for all)"},
    {"since", 's', "TIME", "from: a date in --zone, a time, or 24h (ago)"},
    {"until", 0, "TIME", "to, exclusive (now)"},
    {"zone", 'z', "ZONE", "of days, months and dates: Europe/Berlin (UTC)"},
    {"where", 'w', "DIMENSION=VALUE", "only these; again: all must hold"},
    {NULL, 0, NULL, NULL},
};

const struct ctl_command ctl_usage_commands[] = {
    {"usage", "[TENANT]", "what was used, from the ledger",
     "Sums for a tenant and all below it; without a tenant, for all. By event time: from the\n"
     "beginning of the ledger unless --since (the policy's report_horizon before its first\n"
     "entry, as that event may be so old), until now unless --until. Both ends are widened to a\n"
     "quarter of an hour, or to the bucket that --every asks for.\n"
     "What open reservations hold is of now and of the whole tenant: it is shown below the sums,\n"
     "and no part of them, but not with --until or --where.\n"
     "--by or --where with a label that is not in the policy's rollup_labels reads every entry of\n"
     "the range, and says so.\n",
     "  quotactl usage acme --by model --every 1h --since 2026-11-01 --zone Europe/Berlin -o json\n"
     "  quotactl usage --by tenant:1,model --every day --since 7day\n"
     "  quotactl usage acme --by label:region --where model=gpt-4o\n",
     usage_options, 0, 1, run_usage},
    {.name = NULL},
};
