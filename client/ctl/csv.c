#include "client/ctl/csv.h"

/* The numbers of quota.v1.LedgerEntry, Entry and Amount. */
enum {
    NODE = 1,
    SEQUENCE = 2,
    KIND = 3,
    EVENT_TIME = 4,
    RECORDED_TIME = 5,
    TENANT = 6,
    MODEL = 7,
    POOL = 8,
    USER = 9,
    LABELS = 10,
    SOURCE = 11,
    REQUEST_ID = 12,
    ATTEMPT = 13,
    PART_SEQUENCE = 14,
    FINAL = 15,
    OUTCOME = 16,
    TIER = 17,
    QUANTITIES = 18,
    PRICE_VERSIONS = 19,
    COST_PICO = 20,
    CHARGE_PICO = 21,
    COST_NANO = 22,
    CHARGE_NANO = 23,
    UNPRICED = 24,
    CORRECTS_SEQUENCE = 25,
    CORRECTS_NODE = 26,
    RESERVATION_ID = 27,
    CACHE_WRITE_TTL = 28,
    LIMIT = 29,
    NOTE = 30,
    REVERSAL = 31,
    PAIR_NAME = 1,
    PAIR_VALUE = 2
};

/* One line while it is written. */
struct row {
    const struct ctl_plan *plan;
    struct ctl_value values[CTL_PLAN_FIELDS_MAX + 1];
    struct ctl_sink *sink;
};

/* Inside quotes. */
static void put_doubled(struct ctl_sink *sink, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') {
            ctl_sink_put_char(sink, '"');
        }
        ctl_sink_put_char(sink, text[i]);
    }
}

static bool needs_quotes(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ',' || text[i] == '"' || text[i] == '\r' || text[i] == '\n') {
            return true;
        }
    }
    return false;
}

/* A field of RFC 4180: in quotes where it must be. */
static void put_text(struct ctl_sink *sink, const char *text, size_t size)
{
    if (!needs_quotes(text, size)) {
        ctl_sink_put(sink, text, size);
        return;
    }
    ctl_sink_put_char(sink, '"');
    put_doubled(sink, text, size);
    ctl_sink_put_char(sink, '"');
}

static void text(struct row *row, uint32_t id)
{
    put_text(row->sink, row->values[id].bytes, row->values[id].size);
    ctl_sink_put_char(row->sink, ',');
}

static void number(struct row *row, uint32_t id)
{
    ctl_sink_put_signed(row->sink, (int64_t)row->values[id].number);
    ctl_sink_put_char(row->sink, ',');
}

static void word(struct row *row, uint32_t id)
{
    ctl_sink_put_text(row->sink, ctl_plan_word(row->plan, id, row->values[id].number));
    ctl_sink_put_char(row->sink, ',');
}

static void truth(struct row *row, uint32_t id)
{
    ctl_sink_put_text(row->sink, row->values[id].number != 0 ? "true," : "false,");
}

/* P8: unpriced is not 0. */
static void nano(struct row *row, uint32_t id)
{
    if (row->values[UNPRICED].number == 0) {
        ctl_sink_put_signed(row->sink, (int64_t)row->values[id].number);
    }
}

/* Does a name or a value of these pairs need quotes? Then all of the field does. */
static bool pairs_need_quotes(struct row *row, uint32_t id, bool *ret_well)
{
    const struct ctl_plan *inner = ctl_plan_inner(row->plan, id);
    struct ctl_value pair[CTL_PLAN_FIELDS_MAX + 1];
    const uint8_t *at = NULL;
    const char *bytes;
    size_t size;
    bool quotes = false;
    *ret_well = true;
    while (*ret_well && ctl_wire_next(row->values, id, &at, &bytes, &size)) {
        *ret_well = ctl_wire_read(inner, bytes, size, pair);
        quotes |= *ret_well && needs_quotes(pair[PAIR_NAME].bytes, pair[PAIR_NAME].size);
        quotes |= *ret_well && needs_quotes(pair[PAIR_VALUE].bytes, pair[PAIR_VALUE].size);
    }
    return quotes;
}

/* A name or a value in a list. What separates there has a backslash before it, so that no label can
 * look like two: who sends `eu;team=z` as a value does not become team z on a bill. */
static void put_part(struct ctl_sink *sink, const char *text, size_t size, bool quoted)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ';' || text[i] == '=' || text[i] == '\\') {
            ctl_sink_put_char(sink, '\\');
        }
        if (text[i] == '"' && quoted) {
            ctl_sink_put_char(sink, '"');
        }
        ctl_sink_put_char(sink, text[i]);
    }
}

static void put_value(struct ctl_sink *sink, const struct ctl_value *value, bool quoted)
{
    put_part(sink, value->bytes, value->size, quoted);
}

/* "name=value;name=value": quantities and labels have no columns of their own, as they differ. */
static bool pairs(struct row *row, uint32_t id)
{
    const struct ctl_plan *inner = ctl_plan_inner(row->plan, id);
    struct ctl_value pair[CTL_PLAN_FIELDS_MAX + 1];
    struct ctl_sink *sink = row->sink;
    const uint8_t *at = NULL;
    const char *bytes;
    size_t size;
    size_t count = 0;
    bool well;
    bool quoted = pairs_need_quotes(row, id, &well);
    ctl_sink_put(sink, "\"", quoted ? 1 : 0);
    while (well && ctl_wire_next(row->values, id, &at, &bytes, &size)) {
        well = ctl_wire_read(inner, bytes, size, pair);
        ctl_sink_put(sink, ";", count++ > 0 ? 1 : 0);
        put_value(sink, &pair[PAIR_NAME], quoted);
        ctl_sink_put_char(sink, '=');
        if (id == QUANTITIES) {
            ctl_sink_put_signed(sink, (int64_t)pair[PAIR_VALUE].number);
        } else {
            put_value(sink, &pair[PAIR_VALUE], quoted);
        }
    }
    ctl_sink_put(sink, "\",", quoted ? 1 : 0);
    ctl_sink_put_char(sink, ',');
    return well;
}

static bool versions_need_quotes(struct row *row)
{
    const uint8_t *at = NULL;
    const char *bytes;
    size_t size;
    bool quotes = false;
    while (ctl_wire_next(row->values, PRICE_VERSIONS, &at, &bytes, &size)) {
        quotes |= needs_quotes(bytes, size);
    }
    return quotes;
}

static void price_versions(struct row *row)
{
    const uint8_t *at = NULL;
    const char *bytes;
    size_t size;
    size_t count = 0;
    bool quoted = versions_need_quotes(row);
    ctl_sink_put(row->sink, "\"", quoted ? 1 : 0);
    while (ctl_wire_next(row->values, PRICE_VERSIONS, &at, &bytes, &size)) {
        ctl_sink_put(row->sink, ";", count++ > 0 ? 1 : 0);
        put_part(row->sink, bytes, size, quoted);
    }
    ctl_sink_put(row->sink, "\"", quoted ? 1 : 0);
    ctl_sink_put_char(row->sink, ',');
}

const char ctl_csv_head[] =
    "node,sequence,kind,event_time_unix_ns,recorded_time_unix_ns,tenant,model,pool,user,source,"
    "request_id,attempt,part_sequence,final,outcome,tier,quantities,labels,price_versions,"
    "cost_pico_usd,charge_pico_usd,unpriced,corrects_node,corrects_sequence,reservation_id,"
    "limit,note,reversal,cache_write_ttl,cost_nano_usd,charge_nano_usd\n";

bool ctl_csv_entry(const struct ctl_plan *plan, const char *bytes, size_t size,
                   struct ctl_sink *sink)
{
    struct row row = {.plan = plan, .sink = sink};
    if (!ctl_wire_read(plan, bytes, size, row.values)) {
        return false;
    }
    text(&row, NODE);
    number(&row, SEQUENCE);
    word(&row, KIND);
    number(&row, EVENT_TIME);
    number(&row, RECORDED_TIME);
    text(&row, TENANT);
    text(&row, MODEL);
    text(&row, POOL);
    text(&row, USER);
    text(&row, SOURCE);
    text(&row, REQUEST_ID);
    number(&row, ATTEMPT);
    number(&row, PART_SEQUENCE);
    truth(&row, FINAL);
    word(&row, OUTCOME);
    word(&row, TIER);
    if (!pairs(&row, QUANTITIES) || !pairs(&row, LABELS)) {
        return false;
    }
    price_versions(&row);
    text(&row, COST_PICO);
    text(&row, CHARGE_PICO);
    truth(&row, UNPRICED);
    text(&row, CORRECTS_NODE);
    number(&row, CORRECTS_SEQUENCE);
    text(&row, RESERVATION_ID);
    text(&row, LIMIT);
    text(&row, NOTE);
    truth(&row, REVERSAL);
    word(&row, CACHE_WRITE_TTL);
    nano(&row, COST_NANO);
    ctl_sink_put_char(sink, ',');
    nano(&row, CHARGE_NANO);
    ctl_sink_put_char(sink, '\n');
    return true;
}
