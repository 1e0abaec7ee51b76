#include "server/ledger/usage.h"

#include "server/ledger/aggregate.h"
#include "server/ledger/ledger_internal.h"
#include "server/ledger/scan.h"
#include "storage/codec.h"

#include <stdlib.h>

#define VALUE_MAX (QD_ENTRY_PRICES_MAX * (QD_ENTRY_NAME_MAX + 1))
#define VALUE_END 0x00 /* names have no control characters */

/* What a rollup row and an entry have in common. */
struct facts {
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    const struct qd_str *prices;
    size_t price_count;
    const struct qd_entry *entry;    /* labels come from it, */
    const struct qd_rollup_row *row; /* or from here */
};

struct query_run {
    const struct qd_usage_query *query;
    struct qd_aggregate aggregate;
    struct qd_buf key;     /* scratch: of a group */
    uint32_t first_bucket; /* of boundaries; earlier ones are on earlier pages */
    bool by_meter;         /* groups by it */
    bool of_meter;         /* filters by it */
    bool label_missing;    /* a row lacks a label that is asked for: entries must be scanned */
    enum qd_store_err err;
};

/* --- values of dimensions --- */

static struct qd_str tenant_level(struct qd_str path, uint8_t level)
{
    if (level == 0) {
        return path;
    }
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] == '/' && --level == 0) {
            return (struct qd_str){path.ptr, i};
        }
    }
    return path;
}

static struct qd_str label_value(struct query_run *run, const struct facts *facts,
                                 struct qd_str name)
{
    if (facts->entry != NULL) {
        return qd_rollup_label_value(facts->entry, name);
    }
    for (size_t i = 0; i < facts->row->label_count; i++) {
        if (qd_slice_equal(facts->row->labels[i].name, name)) {
            return facts->row->labels[i].value;
        }
    }
    run->label_missing = true;
    return (struct qd_str){0};
}

static struct qd_str join_prices(const struct facts *facts, char text[VALUE_MAX])
{
    size_t size = 0;
    for (size_t i = 0; i < facts->price_count; i++) {
        if (i > 0) {
            text[size++] = ',';
        }
        if (facts->prices[i].len > 0) {
            memcpy(text + size, facts->prices[i].ptr, facts->prices[i].len);
        }
        size += facts->prices[i].len;
    }
    return (struct qd_str){text, size};
}

static struct qd_str dimension_value(struct query_run *run, const struct facts *facts,
                                     enum qd_usage_dimension dimension, struct qd_str label,
                                     char text[VALUE_MAX])
{
    switch (dimension) {
    case QD_BY_TENANT:
        return facts->tenant;
    case QD_BY_MODEL:
        return facts->model;
    case QD_BY_POOL:
        return facts->pool;
    case QD_BY_PRICE_VERSION:
        return join_prices(facts, text);
    case QD_BY_LABEL:
        return label_value(run, facts, label);
    case QD_BY_USER:
        return label_value(run, facts, qd_slice_of("user"));
    case QD_BY_METER:
        break;
    }
    return (struct qd_str){0};
}

/* --- filters --- */

static bool any_equal(const struct qd_usage_filter *filter, struct qd_str value)
{
    for (size_t i = 0; i < filter->value_count; i++) {
        if (qd_slice_equal(filter->values[i], value)) {
            return true;
        }
    }
    return false;
}

static bool tenant_passes(const struct qd_usage_filter *filter, struct qd_str tenant)
{
    for (size_t i = 0; i < filter->value_count; i++) {
        if (filter->values[i].len > 0 && qd_tenant_within(tenant, filter->values[i])) {
            return true;
        }
    }
    return false;
}

static bool price_passes(const struct qd_usage_filter *filter, const struct facts *facts)
{
    if (facts->price_count == 0) {
        return any_equal(filter, (struct qd_str){0});
    }
    for (size_t i = 0; i < facts->price_count; i++) {
        if (any_equal(filter, facts->prices[i])) {
            return true;
        }
    }
    return false;
}

static bool passes(struct query_run *run, const struct facts *facts)
{
    char text[VALUE_MAX];
    bool all = true;
    for (size_t i = 0; all && i < run->query->filter_count; i++) {
        const struct qd_usage_filter *filter = &run->query->filters[i];
        switch (filter->dimension) {
        case QD_BY_METER:
            break; /* of the sums, not of the row */
        case QD_BY_TENANT:
            all &= tenant_passes(filter, facts->tenant);
            break;
        case QD_BY_PRICE_VERSION:
            all &= price_passes(filter, facts);
            break;
        case QD_BY_MODEL:
        case QD_BY_POOL:
        case QD_BY_LABEL:
        case QD_BY_USER:
            all &= any_equal(filter,
                             dimension_value(run, facts, filter->dimension, filter->label, text));
            break;
        }
    }
    return all;
}

static bool meter_passes(const struct query_run *run, struct qd_str name)
{
    bool is_meter = name.ptr[0] != '#' && !qd_slice_equal(name, qd_slice_of(QD_SUM_COST)) &&
                    !qd_slice_equal(name, qd_slice_of(QD_SUM_CHARGE));
    bool all = is_meter || (!run->by_meter && !run->of_meter);
    for (size_t i = 0; i < run->query->filter_count; i++) {
        const struct qd_usage_filter *filter = &run->query->filters[i];
        all &= filter->dimension != QD_BY_METER || any_equal(filter, name);
    }
    return all;
}

/* --- adding up --- */

/* The key of a group: bucket, then each value and an end. `meter` for QD_BY_METER. */
static void group_key(struct query_run *run, const struct facts *facts, uint32_t bucket,
                      struct qd_str meter)
{
    char text[VALUE_MAX];
    qd_buf_clear(&run->key);
    qd_put_key_u32(&run->key, bucket);
    for (size_t i = 0; i < run->query->group_count; i++) {
        const struct qd_usage_group *group = &run->query->groups[i];
        struct qd_str value =
            group->dimension == QD_BY_METER
                ? meter
                : dimension_value(run, facts, group->dimension, group->label, text);
        if (group->dimension == QD_BY_TENANT) {
            value = tenant_level(value, group->tenant_level);
        }
        qd_buf_append_str(&run->key, value);
        qd_buf_append_u8(&run->key, VALUE_END);
    }
}

static void add_to_group(struct query_run *run, const struct facts *facts, uint32_t bucket,
                         struct qd_str meter, const struct qd_sums *sums)
{
    if (run->err != QD_STORE_OK || run->label_missing) {
        return;
    }
    group_key(run, facts, bucket, meter);
    run->err = run->key.failed ? QD_STORE_NO_MEMORY
                               : qd_aggregate_add(&run->aggregate, qd_buf_str(&run->key), sums);
}

/* Add a row's or an entry's sums to bucket number `bucket`. */
static void add(struct query_run *run, const struct facts *facts, uint32_t bucket,
                const struct qd_sums *sums)
{
    if (!passes(run, facts) || bucket < run->first_bucket) {
        return;
    }
    if (!run->by_meter && !run->of_meter) {
        add_to_group(run, facts, bucket, (struct qd_str){0}, sums);
        return;
    }
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums kept = qd_sums_over(items, QD_SUMS_MAX);
    kept.flags = sums->flags;
    for (size_t i = 0; i < sums->count; i++) {
        if (!meter_passes(run, sums->items[i].name)) {
            continue;
        }
        if (run->by_meter) {
            kept.count = 0;
        }
        qd_sums_add(&kept, sums->items[i].name, sums->items[i].value);
        if (run->by_meter) {
            add_to_group(run, facts, bucket, sums->items[i].name, &kept);
        }
    }
    if (!run->by_meter && kept.count > 0) {
        add_to_group(run, facts, bucket, (struct qd_str){0}, &kept);
    }
}

/* Number of the bucket that holds `time`; boundary_count if none. */
static size_t find_bucket(const struct qd_usage_query *query, struct qd_wall_ns time)
{
    size_t last = query->boundary_count - 1;
    if (time.ns < query->boundaries[0].ns || time.ns >= query->boundaries[last].ns) {
        return query->boundary_count;
    }
    size_t low = 0;
    size_t high = last;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (query->boundaries[middle].ns <= time.ns) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* --- from entries --- */

static bool add_entry(void *context, const struct qd_entry *entry)
{
    struct query_run *run = context;
    size_t bucket = find_bucket(run->query, entry->event_time);
    if (bucket == run->query->boundary_count || entry->kind == QD_ENTRY_GRANT ||
        !qd_tenant_within(entry->tenant, run->query->tenant)) {
        return true;
    }
    struct qd_sum items[QD_ENTRY_QUANTITIES_MAX + 8];
    struct qd_sums sums = qd_sums_over(items, sizeof items / sizeof items[0]);
    qd_rollup_add(entry, &sums);
    struct facts facts = {
        .tenant = entry->tenant,
        .model = entry->model,
        .pool = entry->pool,
        .prices = entry->prices,
        .price_count = entry->price_count,
        .entry = entry,
    };
    add(run, &facts, (uint32_t)bucket, &sums);
    return run->err == QD_STORE_OK;
}

static enum qd_store_err scan_entries(struct qd_ledger *ledger, struct query_run *run,
                                      struct qd_usage_table *table, struct qd_store_error *error)
{
    uint64_t first = 1;
    uint64_t last;
    table->scanned_entries = true;
    table->watermark = qd_ledger_watermark(ledger);
    struct qd_wall_ns recorded = {run->query->boundaries[run->first_bucket].ns -
                                  ledger->future_max_ns};
    if (recorded.ns > 0) {
        enum qd_store_err err = qd_ledger_seek_time(ledger, recorded, &first, error);
        if (err != QD_STORE_OK) {
            return err;
        }
    }
    if (table->watermark.sequence < first) {
        return QD_STORE_OK;
    }
    return qd_ledger_visit(ledger, first - 1, table->watermark.sequence, add_entry, run, &last,
                           error);
}

/* --- from rollups --- */

struct row_range {
    struct qd_store_iter *iter;
    struct qd_buf lower; /* scratch: (bucket, lower end of the subtree) */
    struct qd_buf upper;
    struct qd_str tenant;
};

static bool bounds_of(struct row_range *range, uint32_t bucket)
{
    qd_buf_clear(&range->lower);
    qd_buf_clear(&range->upper);
    qd_put_key_u32(&range->lower, bucket);
    qd_put_key_subtree_lower(&range->lower, range->tenant);
    qd_put_key_u32(&range->upper, bucket);
    qd_put_key_subtree_upper(&range->upper, range->tenant);
    return !range->lower.failed && !range->upper.failed;
}

/* The next row within the subtree, whatever its bucket; jumps over the other tenants of a bucket.
 */
static enum qd_store_err next_row(struct row_range *range, struct qd_str *ret_key,
                                  struct qd_str *ret_value, struct qd_store_error *error)
{
    for (;;) {
        enum qd_store_err err = qd_store_iter_next(range->iter, ret_key, ret_value, error);
        if (err != QD_STORE_OK) {
            return err;
        }
        struct qd_reader reader = qd_reader_of(*ret_key);
        uint32_t bucket = qd_get_key_u32(&reader);
        if (!bounds_of(range, bucket)) {
            return QD_STORE_NO_MEMORY;
        }
        if (qd_slice_compare(*ret_key, qd_buf_str(&range->lower)) < 0) {
            qd_store_iter_seek(range->iter, qd_buf_str(&range->lower));
        } else if (qd_slice_compare(*ret_key, qd_buf_str(&range->upper)) < 0) {
            return QD_STORE_OK;
        } else {
            if (!bounds_of(range, bucket + 1)) {
                return QD_STORE_NO_MEMORY;
            }
            qd_store_iter_seek(range->iter, qd_buf_str(&range->lower));
        }
    }
}

static enum qd_store_err add_row(struct query_run *run, struct qd_str key, struct qd_str value,
                                 size_t *ret_bucket, struct qd_store_error *error)
{
    struct qd_rollup_row row;
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    enum qd_store_err err = qd_rollup_key_decode(key, &row);
    if (err == QD_STORE_OK) {
        err = qd_sums_decode(value, &sums);
    }
    if (err != QD_STORE_OK) {
        return qd_store_error_set(error, err, "a rollup row: %s", qd_store_err_text(err));
    }
    *ret_bucket = find_bucket(run->query, (struct qd_wall_ns){(int64_t)row.bucket * QD_ROLLUP_NS});
    struct facts facts = {
        .tenant = row.tenant,
        .model = row.model,
        .pool = row.pool,
        .prices = row.prices,
        .price_count = row.price_count,
        .row = &row,
    };
    add(run, &facts, (uint32_t)*ret_bucket, &sums);
    return run->err;
}

/* How many groups lie after the cursor. Only counted when a bucket ends. */
static size_t groups_after(const struct query_run *run)
{
    size_t count = 0;
    for (size_t i = 0; i < run->aggregate.count; i++) {
        count += qd_slice_compare(run->aggregate.groups[i].key, run->query->cursor) > 0;
    }
    return count;
}

static enum qd_store_err read_rows(struct query_run *run, struct row_range *range, size_t page_max,
                                   struct qd_store_error *error)
{
    size_t bucket = run->first_bucket;
    for (;;) {
        struct qd_str key;
        struct qd_str value;
        enum qd_store_err err = next_row(range, &key, &value, error);
        if (err != QD_STORE_OK) {
            return err == QD_STORE_END ? QD_STORE_OK : err;
        }
        struct qd_reader reader = qd_reader_of(key);
        int64_t start = (int64_t)qd_get_key_u32(&reader) * QD_ROLLUP_NS;
        if (start >= run->query->boundaries[bucket + 1].ns && groups_after(run) > page_max) {
            return QD_STORE_OK; /* the page is full, and one more row says that there is a next */
        }
        err = add_row(run, key, value, &bucket, error);
        if (err != QD_STORE_OK || run->label_missing) {
            return err;
        }
    }
}

static enum qd_store_err scan_rollups(struct qd_ledger *ledger, struct query_run *run,
                                      struct qd_usage_table *table, struct qd_store_error *error)
{
    const struct qd_usage_query *query = run->query;
    struct row_range range = {.tenant = query->tenant};
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    struct qd_store_error ignored;
    struct qd_wall_ns complete = qd_ledger_watermark(ledger).complete_through;
    struct qd_store_snapshot *snapshot = qd_store_snapshot_open(ledger->store);
    size_t page_max = query->page_max > 0 ? query->page_max : QD_USAGE_PAGE_DEFAULT;
    enum qd_store_err err = QD_STORE_NO_MEMORY;
    qd_put_key_u32(&lower, qd_rollup_bucket(query->boundaries[run->first_bucket]));
    qd_put_key_subtree_lower(&lower, query->tenant);
    qd_put_key_u32(&upper, qd_rollup_bucket(query->boundaries[query->boundary_count - 1]));
    if (snapshot != NULL && !lower.failed && !upper.failed) {
        range.iter =
            qd_store_iter_open(ledger->store, &(struct qd_store_range){.space = QD_STORE_ROLLUP,
                                                                       .lower = qd_buf_str(&lower),
                                                                       .upper = qd_buf_str(&upper),
                                                                       .snapshot = snapshot});
    }
    if (range.iter != NULL) {
        /* Entries and rollups are written together: the last entry of the snapshot is the as_of. */
        err = qd_ledger_recover_at(ledger->store, snapshot, &table->watermark, &ignored);
    }
    if (err == QD_STORE_OK) {
        table->watermark.complete_through = complete;
        err = read_rows(run, &range, page_max, error);
    }
    qd_store_iter_close(range.iter);
    qd_store_snapshot_close(ledger->store, snapshot);
    qd_buf_release(&range.lower);
    qd_buf_release(&range.upper);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
    return err;
}

/* --- the answer --- */

static void fill_row(const struct qd_usage_query *query, const struct qd_aggregate_group *group,
                     struct qd_usage_row *ret_row)
{
    struct qd_reader reader = qd_reader_of(group->key);
    uint32_t bucket = qd_get_key_u32(&reader);
    *ret_row = (struct qd_usage_row){
        .start = query->boundaries[bucket],
        .end = query->boundaries[bucket + 1],
        .sums = group->sums,
    };
    const char *at = (const char *)reader.at;
    for (size_t i = 0; i < query->group_count; i++) {
        size_t size = strlen(at); /* VALUE_END */
        ret_row->values[i] = (struct qd_str){at, size};
        at += size + 1;
    }
}

static enum qd_store_err fill_table(struct query_run *run, struct qd_usage_table *table)
{
    const struct qd_usage_query *query = run->query;
    size_t page_max = query->page_max > 0 ? query->page_max : QD_USAGE_PAGE_DEFAULT;
    struct qd_aggregate *aggregate = &run->aggregate;
    qd_aggregate_sort(aggregate);
    size_t first = 0;
    while (first < aggregate->count &&
           qd_slice_compare(aggregate->groups[first].key, query->cursor) <= 0) {
        first++;
    }
    size_t count = aggregate->count - first;
    if (count > page_max) {
        count = page_max;
        table->next_cursor = aggregate->groups[first + count - 1].key;
    }
    if (count > 0) {
        table->rows = qd_arena_alloc(aggregate->arena, count * sizeof *table->rows);
        if (table->rows == NULL) {
            return QD_STORE_NO_MEMORY;
        }
    }
    for (size_t i = 0; i < count; i++) {
        fill_row(query, &aggregate->groups[first + i], &table->rows[i]);
        table->flags |= table->rows[i].sums.flags;
    }
    table->row_count = count;
    return QD_STORE_OK;
}

static bool label_given(enum qd_usage_dimension dimension, struct qd_str label)
{
    return dimension >= QD_BY_TENANT && dimension <= QD_BY_USER &&
           (dimension == QD_BY_LABEL) == (label.len > 0);
}

static enum qd_store_err check_query(const struct qd_usage_query *query, uint32_t *ret_first_bucket,
                                     struct qd_store_error *error)
{
    if (query->boundary_count < 2 || query->boundary_count > UINT32_MAX ||
        query->boundaries[0].ns < 0) {
        return qd_store_error_set(error, QD_STORE_INVALID, "from must be after 1970 and before to");
    }
    for (size_t i = 1; i < query->boundary_count; i++) {
        if (query->boundaries[i - 1].ns >= query->boundaries[i].ns) {
            return qd_store_error_set(error, QD_STORE_INVALID, "from must be before to");
        }
    }
    bool valid =
        query->group_count <= QD_USAGE_GROUPS_MAX && query->filter_count <= QD_USAGE_FILTERS_MAX;
    for (size_t i = 0; valid && i < query->group_count; i++) {
        valid = label_given(query->groups[i].dimension, query->groups[i].label);
    }
    for (size_t i = 0; valid && i < query->filter_count; i++) {
        valid = label_given(query->filters[i].dimension, query->filters[i].label) &&
                query->filters[i].value_count >= 1 &&
                query->filters[i].value_count <= QD_USAGE_VALUES_MAX;
    }
    if (!valid) {
        return qd_store_error_set(error, QD_STORE_INVALID,
                                  "at most %d groups and %d filters of 1 to %d values are "
                                  "accepted, a label's name with a label and only there",
                                  QD_USAGE_GROUPS_MAX, QD_USAGE_FILTERS_MAX, QD_USAGE_VALUES_MAX);
    }
    *ret_first_bucket = 0;
    if (query->cursor.len > 0) {
        struct qd_reader reader = qd_reader_of(query->cursor);
        *ret_first_bucket = qd_get_key_u32(&reader);
        if (reader.failed || *ret_first_bucket >= query->boundary_count - 1) {
            return qd_store_error_set(error, QD_STORE_INVALID,
                                      "page_token: it isn't one of this query; ask for the first "
                                      "page without one");
        }
    }
    return QD_STORE_OK;
}

/* Quarter hours of UTC, all of them: rollups can answer. */
static bool is_aligned(const struct qd_usage_query *query)
{
    for (size_t i = 0; i < query->boundary_count; i++) {
        if (query->boundaries[i].ns % QD_ROLLUP_NS != 0) {
            return false;
        }
    }
    return true;
}

static enum qd_store_err run_query(struct qd_ledger *ledger, struct query_run *run,
                                   struct qd_usage_table *table, struct qd_arena *arena,
                                   struct qd_store_error *error)
{
    bool scan = !is_aligned(run->query);
    enum qd_store_err err = QD_STORE_OK;
    qd_aggregate_init(&run->aggregate, arena, QD_USAGE_ROWS_MAX);
    if (!scan) {
        err = scan_rollups(ledger, run, table, error);
        scan = err == QD_STORE_OK && run->label_missing;
    }
    if (scan) {
        qd_aggregate_release(&run->aggregate);
        qd_arena_release(arena);
        qd_aggregate_init(&run->aggregate, arena, QD_USAGE_ROWS_MAX);
        run->label_missing = false;
        run->err = QD_STORE_OK;
        err = scan_entries(ledger, run, table, error);
    }
    if (err == QD_STORE_OK) {
        err = run->err;
    }
    if (err == QD_STORE_OK) {
        err = fill_table(run, table);
    }
    if (err == QD_STORE_NO_MEMORY) {
        qd_store_error_set(error, err, "no memory for the answer: ask for less");
    } else if (err == QD_STORE_INVALID) {
        qd_store_error_set(error, err, "more than %d rows: ask for a shorter time or fewer groups",
                           QD_USAGE_ROWS_MAX);
    }
    return err;
}

enum qd_store_err qd_usage_query(struct qd_ledger *ledger, const struct qd_usage_query *query,
                                 struct qd_usage_table *ret_table, struct qd_store_error *error)
{
    struct query_run run = {.query = query};
    struct qd_usage_table table = {0};
    struct qd_arena arena = {0};
    enum qd_store_err err = check_query(query, &run.first_bucket, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    for (size_t i = 0; i < query->group_count; i++) {
        run.by_meter |= query->groups[i].dimension == QD_BY_METER;
    }
    for (size_t i = 0; i < query->filter_count; i++) {
        run.of_meter |= query->filters[i].dimension == QD_BY_METER;
    }
    err = run_query(ledger, &run, &table, &arena, error);
    qd_aggregate_release(&run.aggregate);
    qd_buf_release(&run.key);
    if (err != QD_STORE_OK) {
        qd_arena_release(&arena);
        return err;
    }
    table.memory = arena.blocks;
    *ret_table = table;
    return QD_STORE_OK;
}

void qd_usage_table_release(struct qd_usage_table *table)
{
    struct qd_arena arena = {.blocks = table->memory};
    qd_arena_release(&arena);
    *table = (struct qd_usage_table){0};
}

enum qd_store_err qd_usage_sum(struct qd_ledger *ledger, const struct qd_usage_query *query,
                               const struct qd_usage_weight *weights, size_t weight_count,
                               qd_int128 *ret_sum, struct qd_store_error *error)
{
    if (query->boundary_count < 2) {
        return qd_store_error_set(error, QD_STORE_INVALID, "from must be before to");
    }
    struct qd_wall_ns ends[2] = {query->boundaries[0],
                                 query->boundaries[query->boundary_count - 1]};
    struct qd_usage_query whole = {
        .tenant = query->tenant,
        .boundaries = ends,
        .boundary_count = 2,
        .filters = query->filters,
        .filter_count = query->filter_count,
    };
    struct qd_usage_table table;
    enum qd_store_err err = qd_usage_query(ledger, &whole, &table, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    qd_int128 sum = 0;
    bool overflow = table.flags != 0;
    for (size_t i = 0; table.row_count > 0 && i < weight_count; i++) {
        qd_int128 part = qd_sums_value(&table.rows[0].sums, weights[i].meter);
        overflow |= __builtin_mul_overflow(part, (qd_int128)weights[i].num, &part);
        overflow |= __builtin_add_overflow(sum, part, &sum);
    }
    qd_usage_table_release(&table);
    if (overflow) {
        return qd_store_error_set(error, QD_STORE_INVALID, "the sum overflows");
    }
    *ret_sum = sum;
    return QD_STORE_OK;
}
