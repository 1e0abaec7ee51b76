#include "server/ledger/usage.h"

#include "server/ledger/expire.h"
#include "server/ledger/usage_run.h"
#include "storage/codec.h"

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

static enum qd_store_err fill_table(struct qd_usage_run *run, struct qd_usage_table *table)
{
    const struct qd_usage_query *query = run->query;
    size_t page_max = run->page_max;
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
        table->rows = qd_aggregate_arena_alloc(aggregate->arena, count * sizeof *table->rows);
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

static enum qd_store_err run_query(struct qd_ledger *ledger, struct qd_usage_run *run,
                                   struct qd_usage_table *table, struct qd_aggregate_arena *arena,
                                   struct qd_store_error *error)
{
    bool scan = !is_aligned(run->query);
    enum qd_store_err err = QD_STORE_OK;
    qd_aggregate_init(&run->aggregate, arena, QD_USAGE_ROWS_MAX);
    if (!scan) {
        err = qd_usage_scan_rollups(ledger, run, table, error);
        scan = err == QD_STORE_OK && run->label_missing;
    }
    if (scan) {
        qd_aggregate_release(&run->aggregate);
        qd_aggregate_arena_release(arena);
        qd_aggregate_init(&run->aggregate, arena, QD_USAGE_ROWS_MAX);
        run->label_missing = false;
        run->err = QD_STORE_OK;
        err = qd_usage_scan_entries(ledger, run, table, error);
        if (err == QD_STORE_OK) {
            err = qd_expired_check_events(ledger, run->query->boundaries[run->first_bucket], error);
        }
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
    struct qd_usage_run run = {
        .query = query,
        .page_max = query->page_max > 0 ? query->page_max : QD_USAGE_PAGE_DEFAULT,
    };
    struct qd_usage_table table = {0};
    struct qd_aggregate_arena arena = {0};
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
        qd_aggregate_arena_release(&arena);
        return err;
    }
    table.memory = arena.blocks;
    *ret_table = table;
    return QD_STORE_OK;
}

void qd_usage_table_release(struct qd_usage_table *table)
{
    struct qd_aggregate_arena arena = {.blocks = table->memory};
    qd_aggregate_arena_release(&arena);
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
