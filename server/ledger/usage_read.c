/* Where a query's sums come from: rollup rows, or entries. */
#include "server/ledger/ledger_internal.h"
#include "server/ledger/scan.h"
#include "server/ledger/usage_run.h"
#include "storage/codec.h"

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
    struct qd_usage_run *run = context;
    size_t bucket = find_bucket(run->query, entry->event_time);
    if (bucket == run->query->boundary_count || !qd_entry_is_usage(entry) ||
        !qd_tenant_within(entry->tenant, run->query->tenant)) {
        return true;
    }
    struct qd_sum items[QD_ENTRY_QUANTITIES_MAX + 8];
    struct qd_sums sums = qd_sums_over(items, sizeof items / sizeof items[0]);
    qd_rollup_add(entry, &sums);
    struct qd_usage_facts facts = {
        .tenant = entry->tenant,
        .model = entry->model,
        .pool = entry->pool,
        .prices = entry->prices,
        .price_count = entry->price_count,
        .entry = entry,
    };
    qd_usage_add(run, &facts, (uint32_t)bucket, &sums);
    return run->err == QD_STORE_OK;
}

enum qd_store_err qd_usage_scan_entries(struct qd_ledger *ledger, struct qd_usage_run *run,
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

static enum qd_store_err add_row(struct qd_usage_run *run, struct qd_str key, struct qd_str value,
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
    struct qd_usage_facts facts = {
        .tenant = row.tenant,
        .model = row.model,
        .pool = row.pool,
        .prices = row.prices,
        .price_count = row.price_count,
        .row = &row,
    };
    qd_usage_add(run, &facts, (uint32_t)*ret_bucket, &sums);
    return run->err;
}

/* How many groups lie after the cursor. Only counted when a bucket ends. */
static size_t groups_after(const struct qd_usage_run *run)
{
    size_t count = 0;
    for (size_t i = 0; i < run->aggregate.count; i++) {
        count += qd_slice_compare(run->aggregate.groups[i].key, run->query->cursor) > 0;
    }
    return count;
}

static enum qd_store_err read_rows(struct qd_usage_run *run, struct row_range *range,
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
        if (start >= run->query->boundaries[bucket + 1].ns && groups_after(run) > run->page_max) {
            return QD_STORE_OK; /* the page is full, and one more row says that there is a next */
        }
        err = add_row(run, key, value, &bucket, error);
        if (err != QD_STORE_OK || run->label_missing) {
            return err;
        }
    }
}

enum qd_store_err qd_usage_scan_rollups(struct qd_ledger *ledger, struct qd_usage_run *run,
                                        struct qd_usage_table *table, struct qd_store_error *error)
{
    const struct qd_usage_query *query = run->query;
    struct row_range range = {.tenant = query->tenant};
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    struct qd_store_error ignored;
    struct qd_wall_ns complete = qd_ledger_watermark(ledger).complete_through;
    struct qd_store_snapshot *snapshot = qd_store_snapshot_open(ledger->store);
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
        err = read_rows(run, &range, error);
    }
    qd_store_iter_close(range.iter);
    qd_store_snapshot_close(ledger->store, snapshot);
    qd_buf_release(&range.lower);
    qd_buf_release(&range.upper);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
    return err;
}
