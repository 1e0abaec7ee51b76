#include "server/ledger/verify.h"

#include "server/ledger/aggregate.h"
#include "server/ledger/ledger_internal.h"
#include "storage/codec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Entries are added, rollups taken away: what isn't zero in the end is a difference. */
struct verify_run {
    struct qd_ledger *ledger;
    struct qd_store_snapshot *snapshot;
    struct qd_aggregate aggregate;
    struct qd_buf key;
    struct qd_verify_report report;
    uint64_t last_sequence;
    int64_t last_recorded_ns;
};

__attribute__((format(printf, 2, 3))) static void differ(struct verify_run *run, const char *format,
                                                         ...)
{
    if (run->report.clean) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(run->report.difference, sizeof run->report.difference, format, arguments);
        va_end(arguments);
        run->report.clean = false;
    }
}

static enum qd_store_err add(struct verify_run *run, const struct qd_rollup_row *row,
                             const struct qd_sums *sums)
{
    qd_buf_clear(&run->key);
    qd_rollup_group_key(row, &run->key);
    return run->key.failed ? QD_STORE_NO_MEMORY
                           : qd_aggregate_add(&run->aggregate, qd_buf_str(&run->key), sums);
}

static enum qd_store_err check_entry(struct verify_run *run, struct qd_str key, struct qd_str value)
{
    struct qd_entry entry;
    struct qd_store_error error = {0};
    run->report.entries++;
    if (qd_ledger_decode(key, value, &entry, &error) != QD_STORE_OK) {
        differ(run, "%s", error.text);
        return QD_STORE_OK;
    }
    if (entry.sequence != run->last_sequence + 1) {
        differ(run, "after ledger entry %" PRIu64 " comes %" PRIu64, run->last_sequence,
               entry.sequence);
    }
    if (entry.recorded_time.ns <= run->last_recorded_ns) {
        differ(run, "ledger entry %" PRIu64 " is recorded before the one in front of it",
               entry.sequence);
    }
    run->last_sequence = entry.sequence;
    run->last_recorded_ns = entry.recorded_time.ns;
    if (!qd_entry_is_usage(&entry)) {
        return QD_STORE_OK;
    }
    struct qd_sum items[QD_ENTRY_QUANTITIES_MAX + 8];
    struct qd_sums sums = qd_sums_over(items, sizeof items / sizeof items[0]);
    qd_rollup_add(&entry, &sums);
    struct qd_rollup_row row = {
        .bucket = qd_rollup_bucket(entry.event_time),
        .tenant = entry.tenant,
        .model = entry.model,
        .pool = entry.pool,
        .price_count = entry.price_count,
    };
    memcpy(row.prices, entry.prices, sizeof row.prices);
    return add(run, &row, &sums);
}

static enum qd_store_err check_row(struct verify_run *run, struct qd_str key, struct qd_str value)
{
    struct qd_rollup_row row;
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    run->report.rollups++;
    if (qd_rollup_key_decode(key, &row) != QD_STORE_OK ||
        qd_sums_decode(value, &sums) != QD_STORE_OK || sums.flags != 0) {
        differ(run, "rollup row %" PRIu64 " is damaged", run->report.rollups);
        return QD_STORE_OK;
    }
    for (size_t i = 0; i < sums.count; i++) {
        sums.items[i].value = -sums.items[i].value;
    }
    return add(run, &row, &sums);
}

/* What entries had added when they expired (L7). */
static enum qd_store_err check_expired(struct verify_run *run, struct qd_str key,
                                       struct qd_str value)
{
    struct qd_rollup_row row;
    struct qd_sum items[QD_SUMS_MAX];
    struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
    if (qd_rollup_key_decode(key, &row) != QD_STORE_OK ||
        qd_sums_decode(value, &sums) != QD_STORE_OK || sums.flags != 0) {
        differ(run, "a row of expired entries is damaged");
        return QD_STORE_OK;
    }
    return add(run, &row, &sums);
}

/* The entries that are left begin after those that expired, and the last one never does. */
static enum qd_store_err begin(struct verify_run *run, struct qd_store_error *error)
{
    struct qd_expired expired;
    enum qd_store_err err = qd_expired_read(run->ledger->store, run->snapshot, &expired, error);
    if (err == QD_STORE_OK && expired.through > 0) {
        run->last_sequence = expired.through;
        run->last_recorded_ns = expired.recorded.ns;
        run->report.expired = expired.through;
    }
    return err;
}

static enum qd_store_err walk(struct verify_run *run, enum qd_store_space space,
                              enum qd_store_err (*check)(struct verify_run *, struct qd_str,
                                                         struct qd_str),
                              struct qd_store_error *error)
{
    struct qd_store_iter *iter = qd_store_iter_open(
        run->ledger->store, &(struct qd_store_range){.space = space, .snapshot = run->snapshot});
    if (iter == NULL) {
        return QD_STORE_NO_MEMORY;
    }
    enum qd_store_err err = QD_STORE_OK;
    while (err == QD_STORE_OK) {
        struct qd_str key;
        struct qd_str value;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = check(run, key, value);
        }
    }
    qd_store_iter_close(iter);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

static void compare(struct verify_run *run)
{
    qd_aggregate_sort(&run->aggregate);
    run->report.groups = run->aggregate.count;
    for (size_t i = 0; i < run->aggregate.count && run->report.clean; i++) {
        const struct qd_aggregate_group *group = &run->aggregate.groups[i];
        for (size_t k = 0; k < group->sums.count; k++) {
            const struct qd_sum *sum = &group->sums.items[k];
            struct qd_rollup_row row = {0};
            struct qd_reader reader = qd_reader_of(group->key);
            size_t size;
            if (sum->value == 0) {
                continue;
            }
            row.bucket = qd_get_key_u32(&reader);
            qd_get_key_tenant(&reader, row.tenant_bytes, &size);
            row.model = qd_get_str(&reader, QD_ENTRY_NAME_MAX);
            differ(run,
                   "tenant %.*s, model \"%.*s\", quarter hour from %" PRId64
                   " s: entries have %s of %.*s than rollups",
                   (int)size, row.tenant_bytes, (int)row.model.len,
                   row.model.len > 0 ? row.model.ptr : "", (int64_t)row.bucket * 900,
                   sum->value > 0 ? "more" : "less", (int)sum->name.len, sum->name.ptr);
            break;
        }
    }
}

enum qd_store_err qd_ledger_verify(struct qd_ledger *ledger, struct qd_verify_report *ret_report,
                                   struct qd_store_error *error)
{
    struct qd_aggregate_arena arena = {0};
    struct verify_run run = {.ledger = ledger, .report = {.clean = true}, .last_recorded_ns = -1};
    run.snapshot = qd_store_snapshot_open(ledger->store);
    qd_aggregate_init(&run.aggregate, &arena, QD_VERIFY_GROUPS_MAX);
    enum qd_store_err err = run.snapshot != NULL ? QD_STORE_OK : QD_STORE_NO_MEMORY;
    if (err == QD_STORE_OK) {
        err = begin(&run, error);
    }
    if (err == QD_STORE_OK) {
        err = walk(&run, QD_STORE_LEDGER, check_entry, error);
    }
    if (err == QD_STORE_OK && run.report.expired > 0 && run.report.entries == 0) {
        differ(&run, "after expired ledger entry %" PRIu64 " comes none", run.report.expired);
    }
    if (err == QD_STORE_OK) {
        err = walk(&run, QD_STORE_EXPIRED, check_expired, error);
    }
    if (err == QD_STORE_OK) {
        err = walk(&run, QD_STORE_ROLLUP, check_row, error);
    }
    if (err == QD_STORE_OK) {
        compare(&run);
        run.report.through = run.last_sequence;
        *ret_report = run.report;
    } else if (err == QD_STORE_NO_MEMORY) {
        qd_store_error_set(error, err, "no memory to verify the ledger");
    } else if (err == QD_STORE_INVALID) {
        qd_store_error_set(error, err, "more than %d groups to compare", QD_VERIFY_GROUPS_MAX);
    }
    qd_aggregate_release(&run.aggregate);
    qd_aggregate_arena_release(&arena);
    qd_buf_release(&run.key);
    qd_store_snapshot_close(ledger->store, run.snapshot);
    return err;
}
