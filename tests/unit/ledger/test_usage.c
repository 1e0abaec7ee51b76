/* Queries, listings and seeks against the oracle. */
#include "oracle.h"
#include "server/ledger/scan.h"
#include "storage/codec.h"
#include "storage/store_memory.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ENTRIES 3000
#define DAYS    30

struct world {
    struct oracle oracle;
    struct qd_entry grant;
    struct qd_store *store;
    struct qd_ledger *ledger;
};

static struct world *world;

static void make_world(void)
{
    static const char *const labels[] = {"env", "user"};
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("usage", 21));
    world = calloc(1, sizeof *world);
    world->store = qd_store_memory_new();
    struct qd_ledger_config config = {.rollup_labels = labels, .rollup_label_count = 2};
    cr_assert_eq(qd_ledger_open(world->store, &config, &world->ledger, NULL), QD_STORE_OK);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    for (size_t i = 0; i < ENTRIES; i++) {
        struct qd_entry entry;
        oracle_random_entry(&prng, DAYS, &entry);
        struct qd_booking booking = {.entry = &entry,
                                     .now = {ORACLE_NOW_NS + (int64_t)i * QD_NS_PER_MINUTE}};
        cr_assert_eq(qd_ledger_book(world->ledger, &booking, &receipt), QD_BOOK_BOOKED);
        world->oracle.entries[i] = entry;
        world->oracle.entries[i].sequence = receipt.sequence;
        world->oracle.entries[i].recorded_time = receipt.recorded_time;
        world->oracle.count++;
    }
    /* Grants are no usage. */
    struct qd_entry grant = {
        .kind = QD_ENTRY_GRANT,
        .event_time = {ORACLE_NOW_NS},
        .charged_time = {ORACLE_NOW_NS},
        .tenant = qd_slice_of("acme"),
        .limit = qd_slice_of("credits"),
        .quantities = {{qd_slice_of("cost"), -500}},
        .quantity_count = 1,
    };
    struct qd_booking booking = {.entry = &grant, .now = {ORACLE_NOW_NS}};
    cr_assert_eq(qd_ledger_book(world->ledger, &booking, &receipt), QD_BOOK_BOOKED, "%s",
                 receipt.text);
    world->grant = grant;
    world->grant.recorded_time = receipt.recorded_time;
    qd_receipt_release(&receipt);
}

static void drop_world(void)
{
    qd_ledger_close(world->ledger);
    qd_store_close(world->store);
    free(world);
}

TestSuite(usage, .init = make_world, .fini = drop_world);

/* --- one oracle for every query --- */

struct row_test {
    const struct qd_usage_query *query;
    const struct qd_usage_row *row; /* NULL: filters only */
};

static struct qd_str value_of(const struct qd_entry *e, enum qd_usage_dimension dimension,
                              struct qd_str label)
{
    switch (dimension) {
    case QD_BY_TENANT:
        return e->tenant;
    case QD_BY_MODEL:
        return e->model;
    case QD_BY_POOL:
        return e->pool;
    case QD_BY_PRICE_VERSION:
        return e->price_count > 0 ? e->prices[0] : (struct qd_str){0};
    case QD_BY_USER:
        return e->user;
    case QD_BY_LABEL:
        return qd_entry_label(e, label);
    case QD_BY_METER:
        break;
    }
    return (struct qd_str){0};
}

static struct qd_str cut_level(struct qd_str path, uint8_t level)
{
    size_t i = 0;
    for (; level > 0 && i < path.len; i++) {
        if (path.ptr[i] == '/' && --level == 0) {
            break;
        }
    }
    return level == 0 && i < path.len && path.ptr[i] == '/' && i > 0 ? (struct qd_str){path.ptr, i}
                                                                     : path;
}

static bool entry_in_row(const struct qd_entry *e, const void *context)
{
    const struct row_test *test = context;
    const struct qd_usage_query *q = test->query;
    if (!qd_tenant_within(e->tenant, q->tenant)) {
        return false;
    }
    for (size_t i = 0; i < q->filter_count; i++) {
        const struct qd_usage_filter *f = &q->filters[i];
        bool any = f->dimension == QD_BY_METER;
        for (size_t v = 0; v < f->value_count; v++) {
            struct qd_str value = value_of(e, f->dimension, f->label);
            any |= f->dimension == QD_BY_TENANT
                       ? f->values[v].len > 0 && qd_tenant_within(value, f->values[v])
                       : qd_slice_equal(value, f->values[v]);
        }
        if (!any) {
            return false;
        }
    }
    for (size_t i = 0; test->row != NULL && i < q->group_count; i++) {
        const struct qd_usage_group *g = &q->groups[i];
        struct qd_str value = value_of(e, g->dimension, g->label);
        value = g->dimension == QD_BY_TENANT && g->tenant_level > 0
                    ? cut_level(value, g->tenant_level)
                    : value;
        if (g->dimension != QD_BY_METER && !qd_slice_equal(value, test->row->values[i])) {
            return false;
        }
    }
    return true;
}

static bool is_meter(struct qd_str name)
{
    return name.ptr[0] != '#' && !qd_slice_equal(name, qd_slice_of("cost")) &&
           !qd_slice_equal(name, qd_slice_of("charge"));
}

static bool wants_meter(const struct qd_usage_query *q, const struct qd_usage_row *row,
                        struct qd_str name)
{
    for (size_t i = 0; i < q->group_count; i++) {
        if (q->groups[i].dimension == QD_BY_METER &&
            (!is_meter(name) || !qd_slice_equal(row->values[i], name))) {
            return false;
        }
    }
    for (size_t i = 0; i < q->filter_count; i++) {
        bool any = q->filters[i].dimension != QD_BY_METER;
        for (size_t v = 0; v < q->filters[i].value_count; v++) {
            any |= is_meter(name) && qd_slice_equal(q->filters[i].values[v], name);
        }
        if (!any) {
            return false;
        }
    }
    return true;
}

static void keep_wanted(const struct qd_usage_query *q, const struct qd_usage_row *row,
                        struct qd_sums *sums)
{
    size_t kept = 0;
    for (size_t i = 0; i < sums->count; i++) {
        if (wants_meter(q, row, sums->items[i].name)) {
            sums->items[kept++] = sums->items[i];
        }
    }
    sums->count = kept;
}

/* Each row is what the oracle says of its bucket and group, and all rows together are all entries.
 */
static void check_rows(const struct qd_usage_query *q, const struct qd_usage_row *rows,
                       size_t count)
{
    struct qd_sum total_items[QD_SUMS_MAX];
    struct qd_sum all_items[QD_SUMS_MAX];
    struct qd_sums total = qd_sums_over(total_items, QD_SUMS_MAX);
    struct qd_sums all = qd_sums_over(all_items, QD_SUMS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct qd_sum items[QD_SUMS_MAX];
        struct qd_sums expected = qd_sums_over(items, QD_SUMS_MAX);
        struct row_test test = {q, &rows[i]};
        oracle_sum(&world->oracle, rows[i].start.ns, rows[i].end.ns, entry_in_row, &test,
                   &expected);
        keep_wanted(q, &rows[i], &expected);
        cr_assert(oracle_same_sums(&rows[i].sums, &expected), "row %zu", i);
        qd_sums_add_all(&total, &rows[i].sums);
    }
    struct row_test test = {q, NULL};
    oracle_sum(&world->oracle, q->boundaries[0].ns, q->boundaries[q->boundary_count - 1].ns,
               entry_in_row, &test, &all);
    bool by_meter = false;
    for (size_t i = 0; i < q->group_count; i++) {
        by_meter |= q->groups[i].dimension == QD_BY_METER;
    }
    size_t kept = 0;
    for (size_t i = 0; i < all.count; i++) {
        bool of_meter = is_meter(all.items[i].name);
        struct qd_usage_query filters = {.filters = q->filters, .filter_count = q->filter_count};
        if ((of_meter || !by_meter) && wants_meter(&filters, NULL, all.items[i].name)) {
            all.items[kept++] = all.items[i];
        }
    }
    all.count = kept;
    cr_assert(oracle_same_sums(&total, &all));
}

/* Ask page by page, check the whole. */
static bool ask(const struct qd_usage_query *query, size_t *ret_rows)
{
    struct qd_usage_row *rows = calloc(QD_USAGE_ROWS_MAX, sizeof *rows);
    struct qd_usage_table tables[2048];
    struct qd_usage_query page = *query;
    size_t pages = 0;
    size_t count = 0;
    bool scanned = false;
    do {
        struct qd_store_error error = {0};
        cr_assert_lt(pages, 2048);
        cr_assert_eq(qd_usage_query(world->ledger, &page, &tables[pages], &error), QD_STORE_OK,
                     "%s", error.text);
        cr_assert_leq(tables[pages].row_count, query->page_max);
        cr_assert(tables[pages].row_count > 0 || pages == 0);
        for (size_t i = 0; i < tables[pages].row_count; i++) {
            rows[count++] = tables[pages].rows[i];
        }
        scanned |= tables[pages].scanned_entries;
        page.cursor = tables[pages].next_cursor;
        cr_assert_eq(tables[pages].watermark.sequence, ENTRIES + 1);
        pages++;
    } while (page.cursor.len > 0);
    check_rows(query, rows, count);
    for (size_t i = 1; i < count; i++) {
        cr_assert_geq(rows[i].start.ns, rows[i - 1].start.ns);
    }
    for (size_t i = 0; i < pages; i++) {
        qd_usage_table_release(&tables[i]);
    }
    free(rows);
    *ret_rows = count;
    return scanned;
}

static struct qd_wall_ns day(int64_t days_ago)
{
    return (struct qd_wall_ns){(ORACLE_NOW_NS / QD_NS_PER_DAY - days_ago) * QD_NS_PER_DAY};
}

Test(usage, L4_rollups_answer_grouped_queries_exactly)
{
    struct qd_wall_ns days[DAYS + 3];
    for (int i = 0; i < DAYS + 3; i++) {
        days[i] = day(DAYS + 1 - i);
    }
    struct qd_usage_group groups[] = {
        {.dimension = QD_BY_TENANT, .tenant_level = 1},
        {.dimension = QD_BY_MODEL},
        {.dimension = QD_BY_LABEL, .label = qd_slice_of("env")},
        {.dimension = QD_BY_USER},
        {.dimension = QD_BY_PRICE_VERSION},
        {.dimension = QD_BY_POOL},
    };
    static const char *const subtrees[] = {"", "acme", "acme/search", "beta/one", "nobody"};
    for (size_t s = 0; s < 5; s++) {
        for (size_t n = 0; n <= 6; n++) {
            struct qd_usage_query query = {
                .tenant = qd_slice_of(subtrees[s]),
                .boundaries = days,
                .boundary_count = DAYS + 3,
                .groups = groups,
                .group_count = n,
                .page_max = 97,
            };
            size_t rows;
            cr_assert(!ask(&query, &rows), "rollups should do");
            cr_assert_eq(rows == 0, s == 4);
        }
    }
}

Test(usage, L4_random_queries_by_rollups_and_by_entries)
{
    static const char *const texts[] = {"",         "gpt-4o",       "llama-70b", "h100",
                                        "dev",      "ann",          "acme",      "beta/one",
                                        "gpt-4o@1", "input_tokens", "gpu_ms"};
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("queries", 22));
    size_t scans = 0;
    for (int round = 0; round < 120; round++) {
        struct qd_usage_group groups[QD_USAGE_GROUPS_MAX] = {0};
        struct qd_usage_filter filters[2] = {0};
        struct qd_str values[2][3];
        struct qd_wall_ns boundaries[16];
        struct qd_usage_query query = {.boundaries = boundaries,
                                       .groups = groups,
                                       .filters = filters,
                                       .tenant = qd_slice_of(round % 3 == 0 ? "acme" : "")};
        bool aligned = qd_prng_chance(&prng, 2, 3);
        int64_t at = day(DAYS + 1).ns;
        query.boundary_count = 2 + (size_t)qd_prng_below(&prng, 14);
        for (size_t i = 0; i < query.boundary_count; i++) {
            at += 1 + qd_prng_between(&prng, 0, 5 * QD_NS_PER_DAY);
            at = aligned ? (at + QD_ROLLUP_NS - 1) / QD_ROLLUP_NS * QD_ROLLUP_NS : at;
            boundaries[i].ns = at;
        }
        bool other_label = false;
        query.group_count = (size_t)qd_prng_below(&prng, 4);
        for (size_t i = 0; i < query.group_count; i++) {
            groups[i].dimension = (enum qd_usage_dimension)(1 + qd_prng_below(&prng, 7));
            if (groups[i].dimension == QD_BY_LABEL) {
                bool team = qd_prng_chance(&prng, 1, 3);
                groups[i].label = qd_slice_of(team ? "team" : "env");
                other_label |= team;
            }
            groups[i].tenant_level = (uint8_t)qd_prng_below(&prng, 4);
        }
        query.filter_count = (size_t)qd_prng_below(&prng, 3);
        for (size_t i = 0; i < query.filter_count; i++) {
            filters[i].dimension = (enum qd_usage_dimension)(1 + qd_prng_below(&prng, 7));
            filters[i].label =
                filters[i].dimension == QD_BY_LABEL ? qd_slice_of("env") : (struct qd_str){0};
            filters[i].values = values[i];
            filters[i].value_count = 3;
            for (size_t v = 0; v < 3; v++) {
                values[i][v] = qd_slice_of(texts[qd_prng_below(&prng, 11)]);
            }
        }
        query.page_max = 1 + (uint32_t)qd_prng_below(&prng, 300);
        if (qd_prng_chance(&prng, 1, 2)) {
            query.page_max += 500;
        }
        size_t rows;
        bool scanned = ask(&query, &rows);
        cr_assert(!scanned || !aligned || other_label);
        scans += scanned;
    }
    cr_assert_gt(scans, 20);
}

/* Boundaries of a zone's calendar, as the policy's side would make them. */
static void check_zone(const char *zone, int step_hours)
{
    struct qd_wall_ns boundaries[2000];
    size_t count = 0;
    setenv("TZ", zone, 1);
    tzset();
    struct tm parts = {.tm_year = 126, .tm_mon = 7, .tm_mday = 15, .tm_isdst = -1};
    while (count < 2000) {
        struct tm copy = parts;
        copy.tm_isdst = -1;
        time_t at = mktime(&copy);
        if (count == 0 || (int64_t)at * QD_NS_PER_S > boundaries[count - 1].ns) {
            boundaries[count++].ns = (int64_t)at * QD_NS_PER_S;
        }
        if ((int64_t)at * QD_NS_PER_S > ORACLE_NOW_NS) {
            break;
        }
        parts.tm_hour += step_hours;
    }
    struct qd_usage_query query = {
        .boundaries = boundaries, .boundary_count = count, .page_max = 500};
    size_t rows;
    cr_assert(!ask(&query, &rows), "%s: rollups should do", zone);
    cr_assert_gt(rows, 20);
}

Test(usage, L4_hours_and_days_of_any_zone)
{
    static const char *const zones[] = {
        "UTC",         "Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe",
        "Pacific/Apia"};
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        check_zone(zones[i], 24);
        check_zone(zones[i], 1);
    }
}

Test(usage, bad_queries_say_why)
{
    struct qd_wall_ns boundaries[] = {day(2), day(2), day(1)};
    struct qd_usage_query query = {.boundaries = boundaries, .boundary_count = 3};
    struct qd_usage_table table;
    struct qd_store_error error = {0};
    cr_assert_eq(qd_usage_query(world->ledger, &query, &table, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "from must be before to");
    query.boundaries = &boundaries[1];
    query.boundary_count = 2;
    query.cursor = qd_slice_of("zzzzz");
    cr_assert_eq(qd_usage_query(world->ledger, &query, &table, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "page_token: it isn't one of this query; ask for the first page "
                                 "without one");
}

Test(usage, L4_a_label_that_was_not_rolled_up_yet_scans_entries)
{
    static const char *const more[] = {"env", "team", "user"};
    cr_assert_eq(qd_ledger_set_rollup_labels(world->ledger, more, 3, NULL), QD_STORE_OK);
    struct qd_wall_ns boundaries[] = {day(DAYS + 1), day(-1)};
    struct qd_usage_group group = {.dimension = QD_BY_LABEL, .label = qd_slice_of("team")};
    struct qd_usage_query query = {.boundaries = boundaries,
                                   .boundary_count = 2,
                                   .groups = &group,
                                   .group_count = 1,
                                   .page_max = 10};
    size_t rows;
    cr_assert(ask(&query, &rows));
    cr_assert_eq(rows, 3);
    static const char *const bad[] = {"a", "b", "c", "d", "e"};
    struct qd_store_error error = {0};
    cr_assert_eq(qd_ledger_set_rollup_labels(world->ledger, bad, 5, &error), QD_STORE_INVALID);
    cr_assert_str_eq(error.text, "rollup_labels: 5 are given, at most 4 are accepted");
}

Test(usage, D7_sums_with_weights_equal_the_entries)
{
    struct qd_wall_ns boundaries[] = {day(20), day(5)};
    struct qd_usage_query query = {
        .tenant = qd_slice_of("acme"), .boundaries = boundaries, .boundary_count = 2};
    struct qd_usage_weight weights[] = {{qd_slice_of("input_tokens"), 1},
                                        {qd_slice_of("output_tokens"), 5},
                                        {qd_slice_of("cost"), 2},
                                        {qd_slice_of("nothing"), 9}};
    qd_int128 sum = -1;
    cr_assert_eq(qd_usage_sum(world->ledger, &query, weights, 4, &sum, NULL), QD_STORE_OK);
    qd_int128 expected = 0;
    for (size_t i = 0; i < world->oracle.count; i++) {
        const struct qd_entry *e = &world->oracle.entries[i];
        int64_t amount = 0;
        if (e->event_time.ns < day(20).ns || e->event_time.ns >= day(5).ns ||
            !qd_tenant_within(e->tenant, qd_slice_of("acme"))) {
            continue;
        }
        expected += qd_entry_quantity(e, weights[0].meter, &amount) ? amount : 0;
        expected += qd_entry_quantity(e, weights[1].meter, &amount) ? 5 * amount : 0;
        expected += 2 * (qd_int128)e->cost_nano_usd;
    }
    cr_assert(sum == expected && expected > 0);
}

/* --- listings --- */

struct collect {
    uint64_t sequences[ENTRIES + 10];
    size_t count;
};

static bool collect_entry(void *context, const struct qd_entry *entry)
{
    struct collect *collect = context;
    collect->sequences[collect->count++] = entry->sequence;
    return true;
}

static bool in_list(const struct qd_ledger_list *list, const struct qd_entry *e)
{
    return qd_tenant_within(e->tenant, list->tenant) &&
           (list->model.len == 0 || qd_slice_equal(list->model, e->model)) &&
           (list->kinds == 0 || (list->kinds & 1U << e->kind) != 0) &&
           (!list->unpriced_only || (e->flags & QD_ENTRY_UNPRICED) != 0) &&
           e->recorded_time.ns >= list->recorded_from.ns &&
           (list->recorded_to.ns == 0 || e->recorded_time.ns < list->recorded_to.ns);
}

static void check_list(struct qd_ledger_list list)
{
    struct collect *collect = calloc(1, sizeof *collect);
    struct qd_ledger_page page = {0};
    do {
        cr_assert_eq(qd_ledger_list(world->ledger, &list, collect_entry, collect, &page, NULL),
                     QD_STORE_OK);
        cr_assert(page.end || page.next_cursor > list.cursor);
        list.cursor = page.next_cursor;
    } while (!page.end);
    size_t at = 0;
    for (size_t i = 0; i < world->oracle.count; i++) {
        if (in_list(&list, &world->oracle.entries[i])) {
            cr_assert_lt(at, collect->count);
            cr_assert_eq(collect->sequences[at++], i + 1);
        }
    }
    at += in_list(&list, &world->grant);
    cr_assert_eq(at, collect->count);
    free(collect);
}

Test(usage, L6_listings_by_cursor_miss_nothing_and_repeat_nothing)
{
    check_list((struct qd_ledger_list){.page_max = 7});
    check_list(
        (struct qd_ledger_list){.page_max = 7, .scan_max = 13, .tenant = qd_slice_of("acme")});
    check_list((struct qd_ledger_list){.model = qd_slice_of("gpt-4o"), .page_max = 1000});
    check_list((struct qd_ledger_list){.kinds = 1U << QD_ENTRY_CORRECTION});
    check_list((struct qd_ledger_list){.unpriced_only = true, .kinds = 1U << QD_ENTRY_USAGE});
    for (int64_t k = -1; k < 8; k++) {
        struct qd_wall_ns from = {ORACLE_NOW_NS + k * 500 * QD_NS_PER_MINUTE};
        struct qd_wall_ns to = {from.ns + 777 * QD_NS_PER_MINUTE};
        check_list((struct qd_ledger_list){.recorded_from = from, .recorded_to = to});
        uint64_t sequence;
        cr_assert_eq(qd_ledger_seek_time(world->ledger, from, &sequence, NULL), QD_STORE_OK);
        int64_t minutes = k * 500;
        uint64_t expected = minutes <= 0 ? 1 : (uint64_t)minutes + 1;
        cr_assert_eq(sequence, minutes >= ENTRIES ? ENTRIES + 2 : expected);
    }
}

static bool sum_charged(void *context, const struct qd_entry *entry)
{
    int64_t *total = context;
    if (entry->charged_time.ns >= day(3).ns) {
        *total += entry->cost_nano_usd;
    }
    return true;
}

Test(usage, D7_a_budget_is_rebuilt_by_visiting_entries)
{
    int64_t total = 0;
    int64_t expected = 0;
    cr_assert_eq(qd_ledger_visit_since(world->ledger, day(3), sum_charged, &total, NULL),
                 QD_STORE_OK);
    for (size_t i = 0; i < world->oracle.count; i++) {
        const struct qd_entry *e = &world->oracle.entries[i];
        expected += e->charged_time.ns >= day(3).ns ? e->cost_nano_usd : 0;
    }
    cr_assert_eq(total, expected);
    cr_assert_gt(total, 0);
}
