/* quota.v1.UsageService: what was used, from the ledger (I2, L4-L6). Requests are read by
 * protobuf-c, answers written field by field: the numbers are those of proto/quota/v1/usage.proto.
 */
#include "server/ledger/usage.h"

#include "quota/v1/usage.pb-c.h"
#include "server/ledger/expire.h"
#include "server/ledger/scan.h"
#include "server/policy/intern.h"
#include "server/rpc/admin.h"
#include "server/rpc/text.h"
#include "server/rpc/usage.h"
#include "storage/codec.h"

#include <stdio.h>
#include <stdlib.h>

#define BUCKETS_MAX      100000U /* boundaries of one query */
#define LIST_ENTRIES_MAX 10000U  /* of a page: an export's round trips are few */
/* What an entry may take at most, and what follows the entries. A page ends before that would not
 * fit in: gRPC's clients take 4 MiB. */
#define LIST_ROOM ((ptrdiff_t)QD_ENTRY_BYTES_MAX + 4096)

static enum qd_error_code store_failed(const struct qd_store_error *error,
                                       struct qd_error *ret_error)
{
    if (error->code == QD_STORE_INVALID) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s", error->text);
    }
    if (error->code == QD_STORE_GONE) {
        return qd_error_set(ret_error, QD_ERROR_ENTRIES_EXPIRED, "%s", error->text);
    }
    return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "the ledger cannot be read: %s",
                        error->text);
}

static void put_as_of(struct qd_place *place, uint32_t id, uint64_t sequence)
{
    uint8_t *as_of = qd_out_begin(&place->out, id);

    qd_out_text(&place->out, 1, place->node->name);
    qd_out_number(&place->out, 2, sequence);
    qd_out_end(&place->out, as_of);
}

/* --- QueryUsage --- */

struct buckets {
    struct qd_wall_ns *at;
    size_t count;
};

static int64_t quarter_down(int64_t ns)
{
    return ns / QD_ROLLUP_NS * QD_ROLLUP_NS;
}

/* The first entry's event time may be anywhere before: the ledger begins where its first entry
 * does. */
static bool first_event(void *context, const struct qd_entry *entry)
{
    int64_t *from = context;

    if (entry->event_time.ns < *from) {
        *from = entry->event_time.ns;
    }
    return true;
}

static struct qd_period period_at(const Quota__V1__QueryUsageRequest *q, const struct qd_zone *zone,
                                  int64_t at)
{
    struct qd_calendar calendar = {.unit = QD_CALENDAR_HOUR, .anchor = 1, .zone = zone};

    if (q->bucket == QUOTA__V1__BUCKET__BUCKET_QUARTER_HOUR) {
        int64_t start = quarter_down(at);
        return (struct qd_period){{start}, {start + QD_ROLLUP_NS}};
    }
    if (q->bucket == QUOTA__V1__BUCKET__BUCKET_DAY) {
        calendar.unit = QD_CALENDAR_DAY;
    } else if (q->bucket == QUOTA__V1__BUCKET__BUCKET_MONTH) {
        calendar.unit = QD_CALENDAR_MONTH;
    }
    return qd_calendar_period(&calendar, (struct qd_wall_ns){at});
}

static enum qd_error_code make_buckets(const Quota__V1__QueryUsageRequest *q,
                                       const struct qd_zone *zone, int64_t from, int64_t to,
                                       struct buckets *b, struct qd_error *ret_error)
{
    if (q->bucket == QUOTA__V1__BUCKET__BUCKET_UNSPECIFIED) {
        b->at[0].ns = quarter_down(from);
        b->at[1].ns = quarter_down(to + QD_ROLLUP_NS - 1);
        b->count = 2;
        return QD_ERROR_NONE;
    }
    struct qd_period period = period_at(q, zone, from);
    b->at[b->count++] = period.start;
    while (period.end.ns < to && b->count < BUCKETS_MAX) {
        b->at[b->count++] = period.end;
        period = period_at(q, zone, period.end.ns);
    }
    if (b->count >= BUCKETS_MAX) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_TIME,
            "from, to: more than %u buckets; ask for longer buckets or a shorter time",
            BUCKETS_MAX);
    }
    b->at[b->count++] = period.end;
    return QD_ERROR_NONE;
}

static enum qd_error_code time_range(struct qd_place *place, const Quota__V1__QueryUsageRequest *q,
                                     int64_t *ret_from, int64_t *ret_to, struct qd_error *ret_error)
{
    int64_t now = qd_clock_now(&place->node->clock).ns;
    struct qd_store_error error;
    uint64_t last = 0;

    *ret_to = q->to_unix_ns != 0 ? q->to_unix_ns : now + 1;
    *ret_from = q->from_unix_ns;
    if (q->from_unix_ns == 0) {
        /* No entry's event is older than the report horizon before its recording, and the first was
         * recorded first. */
        int64_t oldest = now;
        const struct qd_policy *policy = atomic_load(&place->node->published)->policy;
        if (qd_ledger_visit(place->node->ledger, 0, 1, first_event, &oldest, &last, &error) !=
            QD_STORE_OK) {
            return store_failed(&error, ret_error);
        }
        struct qd_expired expired = qd_ledger_expired(place->node->ledger);
        if (expired.through > 0 && expired.began.ns < oldest) {
            oldest = expired.began.ns; /* L7: its sums are still there */
        }
        *ret_from = oldest - policy->report_horizon_ns;
        *ret_from = *ret_from < 0 ? 0 : *ret_from;
    }
    if (*ret_from < 0 || *ret_from >= *ret_to || *ret_to > INT64_MAX / 2) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_TIME,
            "from_unix_ns: %lld is not before to_unix_ns %lld; accepted is a range of times, from "
            "inclusive, to exclusive",
            (long long)*ret_from, (long long)*ret_to);
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code read_groups(const Quota__V1__QueryUsageRequest *q,
                                      struct qd_usage_group *groups, struct qd_error *ret_error)
{
    if (q->n_group_by > QD_USAGE_GROUPS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "group_by: %zu given; at most %d are accepted", q->n_group_by,
                            QD_USAGE_GROUPS_MAX);
    }
    for (size_t i = 0; i < q->n_group_by; i++) {
        const Quota__V1__GroupBy *g = q->group_by[i];
        bool by_label = g->dimension == QUOTA__V1__DIMENSION__DIMENSION_LABEL;
        if (g->dimension < 1 || g->dimension > QUOTA__V1__DIMENSION__DIMENSION_USER ||
            g->tenant_level > QD_TENANT_SEGMENTS_MAX || by_label != (g->label[0] != '\0')) {
            return qd_error_set(
                ret_error, QD_ERROR_INVALID_FIELD,
                "group_by[%zu]: a dimension is required, `label` with DIMENSION_LABEL only, "
                "`tenant_level` at most %d",
                i, QD_TENANT_SEGMENTS_MAX);
        }
        groups[i] = (struct qd_usage_group){(enum qd_usage_dimension)g->dimension,
                                            qd_str_of(g->label), (uint8_t)g->tenant_level};
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code read_filters(struct qd_place *place,
                                       const Quota__V1__QueryUsageRequest *q,
                                       struct qd_usage_filter *filters, struct qd_error *ret_error)
{
    if (q->n_filters > QD_USAGE_FILTERS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "filters: %zu given; at most %d are accepted", q->n_filters,
                            QD_USAGE_FILTERS_MAX);
    }
    for (size_t i = 0; i < q->n_filters; i++) {
        const Quota__V1__UsageFilter *f = q->filters[i];
        struct qd_str *values = qd_scratch_take(&place->arena, (f->n_values + 1) * sizeof(*values));
        if (f->dimension < 1 || f->dimension > QUOTA__V1__DIMENSION__DIMENSION_USER ||
            f->n_values == 0 || f->n_values > QD_USAGE_VALUES_MAX || values == NULL) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                                "filters[%zu]: a dimension and 1 to %d values are required", i,
                                QD_USAGE_VALUES_MAX);
        }
        for (size_t k = 0; k < f->n_values; k++) {
            values[k] = qd_str_of(f->values[k]);
        }
        filters[i] = (struct qd_usage_filter){(enum qd_usage_dimension)f->dimension,
                                              qd_str_of(f->label), values, f->n_values};
    }
    return QD_ERROR_NONE;
}

/* Below 0 where a scan finds a reversal and no longer its original, which has expired (L7). */
static void put_count(struct qd_out *out, uint32_t id, const struct qd_sums *sums, const char *name)
{
    qd_int128 count = qd_sums_value(sums, qd_str_of(name));

    qd_out_number(out, id, count > 0 ? (uint64_t)count : 0);
}

/* L3: every entry of the row was corrected: none stands there. */
static bool is_taken_back(const struct qd_sums *sums)
{
    for (size_t i = 0; i < sums->count; i++) {
        if (sums->items[i].value != 0) {
            return false;
        }
    }
    return true;
}

static void put_row(struct qd_out *out, const Quota__V1__QueryUsageRequest *q,
                    const struct qd_usage_row *row)
{
    uint8_t *message = qd_out_begin(out, 1);

    qd_out_number(out, 1, (uint64_t)row->start.ns);
    qd_out_number(out, 2, (uint64_t)row->end.ns);
    for (size_t i = 0; i < q->n_group_by; i++) {
        uint8_t *group = qd_out_begin(out, 3);
        qd_out_number(out, 1, (uint64_t)q->group_by[i]->dimension);
        qd_out_text(out, 2, q->group_by[i]->label);
        qd_out_str(out, 3, row->values[i]);
        qd_out_end(out, group);
    }
    for (size_t i = 0; i < row->sums.count; i++) {
        const struct qd_sum *sum = &row->sums.items[i];
        bool meter = sum->name.ptr[0] != '#' &&
                     !qd_slice_equal(sum->name, qd_str_of(QD_SUM_COST)) &&
                     !qd_slice_equal(sum->name, qd_str_of(QD_SUM_CHARGE));
        if (meter) {
            qd_out_amount(out, 4, sum->name, (int64_t)sum->value);
        }
    }
    qd_out_int128(out, 5, qd_sums_value(&row->sums, qd_str_of(QD_SUM_COST_PICO)));
    qd_out_int128(out, 6, qd_sums_value(&row->sums, qd_str_of(QD_SUM_CHARGE_PICO)));
    put_count(out, 7, &row->sums, QD_SUM_ENTRIES);
    put_count(out, 8, &row->sums, QD_SUM_UNPRICED);
    qd_out_end(out, message);
}

/* D7: held and used apart. */
static void put_held(struct qd_place *place, struct qd_str tenant)
{
    struct qd_out *out = &place->out;
    struct qd_held held = qd_admin_held(place, tenant);
    uint8_t *message = qd_out_begin(out, 6);

    qd_out_number(out, 1, held.reservations);
    if (held.reservations > 0) {
        qd_out_amount(out, 2, qd_str_of("tokens"), held.tokens);
    }
    if (held.cost_nano_usd > 0) {
        qd_out_amount(out, 2, qd_str_of("cost"), held.cost_nano_usd);
    }
    qd_out_end(out, message);
}

static enum qd_error_code run_query(struct qd_place *place, const Quota__V1__QueryUsageRequest *q,
                                    const struct qd_usage_query *query, struct qd_error *ret_error)
{
    struct qd_usage_table table;
    struct qd_store_error error;
    struct qd_out *out = &place->out;

    if (qd_usage_query(place->node->ledger, query, &table, &error) != QD_STORE_OK) {
        return store_failed(&error, ret_error);
    }
    for (size_t i = 0; i < table.row_count; i++) {
        if (!is_taken_back(&table.rows[i].sums)) {
            put_row(out, q, &table.rows[i]);
        }
    }
    if (table.next_cursor.len > 0) {
        qd_out_hex(out, 2, table.next_cursor);
    }
    put_as_of(place, 3, table.watermark.sequence);
    qd_out_number(out, 4, (uint64_t)table.watermark.complete_through.ns);
    qd_out_number(out, 5, table.scanned_entries);
    if (q->include_held && q->page_token[0] == '\0') {
        put_held(place, query->tenant);
    }
    qd_usage_table_release(&table);
    return QD_ERROR_NONE;
}

static enum qd_error_code query_usage(struct qd_place *place, struct qd_call *call,
                                      struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_usage_group groups[QD_USAGE_GROUPS_MAX];
    struct qd_usage_filter filters[QD_USAGE_FILTERS_MAX];
    struct buckets buckets = {
        qd_scratch_take(&place->arena, BUCKETS_MAX * sizeof(struct qd_wall_ns)), 0};
    const Quota__V1__QueryUsageRequest *q =
        qd_place_unpack(place, &quota__v1__query_usage_request__descriptor, bytes, ret_error);
    struct qd_usage_query query = {.groups = groups, .filters = filters};
    int64_t from = 0;
    int64_t to = 0;

    if (q == NULL || buckets.at == NULL) {
        return ret_error->code;
    }
    const struct qd_zone *zone = qd_intern_zone(q->zone[0] != '\0' ? q->zone : "UTC");
    if (zone == NULL) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_FIELD,
            "zone: %s is no time zone; accepted are IANA names such as \"Europe/Berlin\"",
            qd_quote(qd_str_of(q->zone)).text);
    }
    if (q->bucket > QUOTA__V1__BUCKET__BUCKET_MONTH ||
        !qd_unhex(place, q->page_token, &query.cursor)) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_PAGE_TOKEN,
            "page_token or bucket: not as this server gave them; begin with the first page");
    }
    query.tenant = qd_str_of(q->tenant);
    if (qd_optional_tenant(query.tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &query.tenant, ret_error) != QD_ERROR_NONE ||
        qd_page_size(q->page_size, &query.page_max, ret_error) != QD_ERROR_NONE ||
        time_range(place, q, &from, &to, ret_error) != QD_ERROR_NONE ||
        make_buckets(q, zone, from, to, &buckets, ret_error) != QD_ERROR_NONE ||
        read_groups(q, groups, ret_error) != QD_ERROR_NONE ||
        read_filters(place, q, filters, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    query.boundaries = buckets.at;
    query.boundary_count = buckets.count;
    query.group_count = q->n_group_by;
    query.filter_count = q->n_filters;
    return run_query(place, q, &query, ret_error);
}

/* --- ListLedgerEntries --- */

/* Field numbers above 15 take two bytes of tag: qd_out_varint writes them as it does all. */
void qd_usage_put_entry(struct qd_place *place, uint32_t field, const struct qd_entry *e)
{
    struct qd_out *out = &place->out;
    bool unpriced = (e->flags & QD_ENTRY_UNPRICED) != 0;
    char id[QD_SHORT_ID_MAX];
    uint8_t *message = qd_out_begin(out, field);

    qd_out_text(out, 1, place->node->name);
    qd_out_number(out, 2, e->sequence);
    qd_out_number(out, 3, (uint64_t)e->kind);
    qd_out_number(out, 4, (uint64_t)e->event_time.ns);
    qd_out_number(out, 5, (uint64_t)e->recorded_time.ns);
    qd_out_str(out, 6, e->tenant);
    qd_out_str(out, 7, e->model);
    qd_out_str(out, 8, e->pool);
    qd_out_str(out, 9, e->user);
    for (size_t i = 0; i < e->label_count; i++) {
        qd_out_entry(out, 10, e->labels[i].name, e->labels[i].value);
    }
    qd_out_str(out, 11, e->source);
    qd_out_str(out, 12, e->request_id);
    qd_out_number(out, 13, e->attempt);
    qd_out_number(out, 14, e->part);
    qd_out_number(out, 15, (e->flags & QD_ENTRY_FINAL) != 0);
    qd_out_number(out, 16, e->kind == QD_ENTRY_USAGE ? (uint64_t)e->outcome + 1 : 0);
    qd_out_number(out, 17, (uint64_t)e->tier);
    for (size_t i = 0; i < e->quantity_count; i++) {
        qd_out_amount(out, 18, e->quantities[i].meter, e->quantities[i].amount);
    }
    for (size_t i = 0; i < e->price_count; i++) {
        qd_out_str(out, 19, e->prices[i]);
    }
    if (!unpriced) {
        qd_out_int128(out, 20, e->cost_pico_usd);
        qd_out_int128(out, 21, e->charge_pico_usd);
        qd_out_number(out, 22, (uint64_t)e->cost_nano_usd);
        qd_out_number(out, 23, (uint64_t)e->charge_nano_usd);
    }
    qd_out_number(out, 24, unpriced);
    qd_out_number(out, 25, e->corrects_sequence);
    if (e->corrects_sequence != 0) {
        qd_out_text(out, 26, place->node->name);
    }
    if (e->reservation != 0) {
        qd_out_str(out, 27, (struct qd_str){id, qd_short_id_encode(e->reservation, id)});
    }
    qd_out_number(out, 28, e->cache_write_1h_tokens != 0 ? 2 : 0);
    qd_out_str(out, 29, e->limit);
    qd_out_str(out, 30, e->note);
    qd_out_number(out, 31, qd_entry_is_reversal(e));
    qd_out_end(out, message);
}

static bool put_entry(void *context, const struct qd_entry *e)
{
    struct qd_place *place = context;

    qd_usage_put_entry(place, 1, e);
    return !place->out.full && place->out.end - place->out.at >= LIST_ROOM;
}

#define CURSOR_DIGITS_MAX 20 /* of UINT64_MAX */

/* L6: a cursor beyond the last entry was never given. Accepted, it would let an export of another
 * ledger look complete. More than UINT64_MAX reads as that, which is beyond, too. */
enum qd_error_code qd_usage_read_cursor(const struct qd_place *place, const char *text,
                                        uint64_t *ret_cursor, struct qd_error *ret_error)
{
    uint64_t last = qd_ledger_watermark(place->node->ledger).sequence;
    size_t len = strlen(text);
    uint64_t cursor = strtoull(text, NULL, 10);

    if (strspn(text, "0123456789") != len || len > CURSOR_DIGITS_MAX || cursor > last) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_PAGE_TOKEN,
                            "cursor: %s is not one that this server gave: its last entry is %llu; "
                            "leave it out to begin at the start",
                            qd_quote(qd_str_of(text)).text, (unsigned long long)last);
    }
    *ret_cursor = cursor;
    return QD_ERROR_NONE;
}

static enum qd_error_code list_entries(struct qd_place *place, struct qd_call *call,
                                       struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ListLedgerEntriesRequest *q = qd_place_unpack(
        place, &quota__v1__list_ledger_entries_request__descriptor, bytes, ret_error);
    struct qd_ledger_list list = {0};
    struct qd_ledger_page page;
    struct qd_store_error error;
    char cursor[24];

    if (q == NULL) {
        return ret_error->code;
    }
    list.tenant = qd_str_of(q->tenant);
    if (qd_page_size_to(q->page_size, LIST_ENTRIES_MAX, &list.page_max, ret_error) !=
            QD_ERROR_NONE ||
        qd_optional_tenant(list.tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &list.tenant, ret_error) != QD_ERROR_NONE ||
        qd_usage_read_cursor(place, q->cursor, &list.cursor, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    list.recorded_from.ns = q->from_unix_ns;
    list.recorded_to.ns = q->to_unix_ns;
    for (size_t i = 0; i < q->n_kinds; i++) {
        list.kinds |= q->kinds[i] < 32 ? UINT32_C(1) << q->kinds[i] : 0;
    }
    if (qd_ledger_list(place->node->ledger, &list, put_entry, place, &page, &error) !=
        QD_STORE_OK) {
        return store_failed(&error, ret_error);
    }
    int len = snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)page.next_cursor);
    qd_out_str(&place->out, 2, (struct qd_str){cursor, (size_t)len});
    qd_out_number(&place->out, 3, page.end);
    qd_out_number(&place->out, 4, (uint64_t)page.watermark.complete_through.ns);
    put_as_of(place, 5, page.watermark.sequence);
    qd_out_number(&place->out, 6, qd_ledger_expired(place->node->ledger).through);
    return QD_ERROR_NONE;
}

/* --- GetWatermark --- */

static enum qd_error_code get_watermark(struct qd_place *place, struct qd_call *call,
                                        struct qd_str bytes, struct qd_error *ret_error)
{
    (void)call;
    if (qd_place_unpack(place, &quota__v1__get_watermark_request__descriptor, bytes, ret_error) ==
        NULL) {
        return ret_error->code;
    }
    struct qd_watermark mark = qd_ledger_watermark(place->node->ledger);
    qd_out_number(&place->out, 1, (uint64_t)mark.complete_through.ns);
    put_as_of(place, 2, mark.sequence);
    return QD_ERROR_NONE;
}

/* Queries read the disk: they go where booking does, and let checks go on. */
#define READERS (QD_ROLE_BILLING | QD_ROLE_ADMIN)

const struct qd_method qd_usage_methods[] = {
    {"/quota.v1.UsageService/QueryUsage", QD_METHOD_BOOKING, 4, query_usage, NULL, READERS,
     QD_BOUND_CONFINED},
    {"/quota.v1.UsageService/ListLedgerEntries", QD_METHOD_BOOKING, 4, list_entries, NULL, READERS,
     QD_BOUND_CONFINED},
    {"/quota.v1.UsageService/GetWatermark", QD_METHOD_INLINE, 4, get_watermark, NULL, READERS,
     QD_BOUND_FREE},
    {"/quota.v1.UsageService/CorrectUsage", QD_METHOD_BOOKING, 4, qd_usage_correct, NULL, READERS,
     QD_BOUND_ADMIN_ONLY},
    {"/quota.v1.UsageService/PriceUnpriced", QD_METHOD_BOOKING, 4, qd_usage_price_unpriced, NULL,
     READERS, QD_BOUND_ADMIN_ONLY},
    {"/quota.v1.UsageService/WatchEvents", QD_METHOD_WATCH, 4, qd_usage_watch_events, NULL, READERS,
     QD_BOUND_CONFINED},
    {NULL, QD_METHOD_INLINE, 0, NULL, NULL, 0, QD_BOUND_REFUSED},
};
