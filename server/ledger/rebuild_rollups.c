#include "server/ledger/rebuild_rollups.h"

#include "server/ledger/rebuild_run.h"
#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "storage/codec.h"

#include <inttypes.h>
#include <stdio.h>

/* So many entries at most are read while bookings wait; unless they come faster than they can be
 * read, CATCH_UPS times in a row. */
#define TAIL_MAX  1000
#define CATCH_UPS 16

/* Some of the broken groups, as they should be: one batch. */
struct piece {
    struct qd_rebuild *run;
    size_t first; /* of run->broken */
    size_t end;
    struct qd_aggregate_arena arena;
    struct qd_aggregate rows;
    struct qd_batch batch;
    struct qd_buf value;
    struct qd_rebuild_report done; /* counts of rows only */
};

static enum qd_store_err no_memory(struct qd_store_error *error)
{
    return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to rebuild rollups");
}

/* The rows of a group in a space, now or in a snapshot. */
static struct qd_store_iter *open_group(struct qd_rebuild *run, enum qd_store_space space,
                                        const struct qd_store_snapshot *snapshot,
                                        struct qd_str group)
{
    qd_buf_clear(&run->key);
    qd_buf_append(&run->key, group.ptr, group.len);
    qd_buf_append_u8(&run->key, 0xff); /* behind any number of labels */
    return run->key.failed
               ? NULL
               : qd_store_iter_open(run->ledger->store,
                                    &(struct qd_store_range){.space = space,
                                                             .lower = group,
                                                             .upper = qd_buf_str(&run->key),
                                                             .snapshot = snapshot});
}

/* What has expired of a group is kept under the key of its row without labels. */
static enum qd_store_err add_expired(struct piece *piece, struct qd_str group,
                                     struct qd_store_error *error)
{
    struct qd_store_iter *iter =
        open_group(piece->run, QD_STORE_EXPIRED, piece->run->snapshot, group);
    enum qd_store_err err = iter != NULL ? QD_STORE_OK : no_memory(error);
    while (err == QD_STORE_OK) {
        struct qd_str key;
        struct qd_str value;
        struct qd_sum items[QD_SUMS_MAX];
        struct qd_sums sums = qd_sums_over(items, QD_SUMS_MAX);
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = qd_sums_decode(value, &sums);
        }
        if (err == QD_STORE_OK) {
            err = qd_aggregate_add(&piece->rows, key, &sums);
        }
    }
    qd_store_iter_close(iter);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

/* Take as many groups as fit into one batch. */
static enum qd_store_err fill(struct piece *piece, uint32_t rows_max, struct qd_store_error *error)
{
    const struct qd_rebuild *run = piece->run;
    enum qd_store_err err = QD_STORE_OK;
    while (err == QD_STORE_OK && piece->end < run->broken.count && piece->rows.count < rows_max) {
        struct qd_str group = run->broken.groups[piece->end++].key;
        for (size_t i = qd_rebuild_seek(&run->want, group);
             err == QD_STORE_OK && i < run->want.count &&
             qd_rebuild_in_group(run->want.groups[i].key, group);
             i++) {
            err =
                qd_aggregate_add(&piece->rows, run->want.groups[i].key, &run->want.groups[i].sums);
        }
        if (err == QD_STORE_OK) {
            err = add_expired(piece, group, error);
        }
    }
    return err;
}

/* --- what was booked since the snapshot --- */

/* Number of the broken group that a row's key belongs to; SIZE_MAX: to none. */
static size_t broken_group(const struct qd_rebuild *run, struct qd_str key)
{
    size_t low = 0; /* the group, if it is one, is the last one that is not above the key */
    size_t high = run->broken.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (qd_slice_compare(run->broken.groups[middle].key, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 && qd_rebuild_in_group(key, run->broken.groups[low - 1].key) ? low - 1
                                                                                : SIZE_MAX;
}

static bool add_tail(void *context, const struct qd_entry *entry)
{
    struct qd_rebuild *run = context;
    if (entry->sequence != run->tail_through + 1) {
        run->tail_err = QD_STORE_GONE;
        return false;
    }
    run->tail_through = entry->sequence;
    if (qd_entry_is_usage(entry)) {
        qd_buf_clear(&run->key);
        qd_rollup_key(entry, &run->labels, &run->key);
        if (run->key.failed) {
            run->tail_err = QD_STORE_NO_MEMORY;
        } else if (broken_group(run, qd_buf_str(&run->key)) != SIZE_MAX) {
            run->tail_err = qd_rebuild_add(&run->tail, entry, &run->labels, &run->key);
        }
    }
    return run->tail_err == QD_STORE_OK;
}

/* Through the last entry that is there. */
static enum qd_store_err catch_up(struct qd_rebuild *run, struct qd_store_error *error)
{
    uint64_t last;
    uint64_t through = qd_ledger_watermark(run->ledger).sequence;
    if (through <= run->tail_through) {
        return QD_STORE_OK;
    }
    enum qd_store_err err =
        qd_ledger_visit(run->ledger, run->tail_through, through, add_tail, run, &last, error);
    if (err == QD_STORE_OK) {
        err = run->tail_err;
    }
    if (err == QD_STORE_OK && run->tail_through != through) {
        err = QD_STORE_GONE;
    }
    if (err == QD_STORE_GONE) {
        qd_store_error_set(error, err,
                           "ledger entry %" PRIu64 " has gone while rollups were rebuilt: try "
                           "again",
                           run->tail_through + 1);
    }
    return err;
}

static enum qd_store_err take_tail(struct piece *piece)
{
    const struct qd_aggregate *tail = &piece->run->tail;
    enum qd_store_err err = QD_STORE_OK;
    for (size_t i = 0; i < tail->count && err == QD_STORE_OK; i++) {
        size_t group = broken_group(piece->run, tail->groups[i].key);
        if (group >= piece->first && group < piece->end) {
            err = qd_aggregate_add(&piece->rows, tail->groups[i].key, &tail->groups[i].sums);
        }
    }
    return err;
}

/* --- the batch --- */

static void put_row(struct piece *piece, const struct qd_aggregate_group *row)
{
    qd_buf_clear(&piece->value);
    qd_sums_encode(&row->sums, &piece->value);
    piece->batch.ops.failed |= piece->value.failed;
    qd_batch_put(&piece->batch, QD_STORE_ROLLUP, row->key, qd_buf_str(&piece->value));
}

static bool is_junk(const struct qd_rebuild *run, struct qd_str key)
{
    size_t at = qd_rebuild_seek(&run->junk, key);
    return at < run->junk.count && qd_slice_equal(run->junk.groups[at].key, key);
}

/* A row that is there, with those of the group that should be: those below it are missing. */
static void fix_row(struct piece *piece, size_t *at, struct qd_str key, struct qd_str value)
{
    const struct qd_aggregate *rows = &piece->rows;
    int order = 1;
    while (*at < rows->count && (order = qd_slice_compare(rows->groups[*at].key, key)) < 0) {
        put_row(piece, &rows->groups[(*at)++]);
        piece->done.added++;
    }
    if (*at == rows->count || order > 0) {
        if (is_junk(piece->run, key)) {
            return; /* goes with the first piece, as others like it */
        }
        qd_batch_delete(&piece->batch, QD_STORE_ROLLUP, key);
        piece->done.dropped++;
        return;
    }
    if (!qd_rebuild_same(&rows->groups[*at].sums, value)) {
        put_row(piece, &rows->groups[*at]);
        piece->done.changed++;
    }
    (*at)++;
}

static enum qd_store_err fix_group(struct piece *piece, struct qd_str group,
                                   struct qd_store_error *error)
{
    const struct qd_aggregate *rows = &piece->rows;
    size_t at = qd_rebuild_seek(rows, group);
    struct qd_store_iter *iter = open_group(piece->run, QD_STORE_ROLLUP, NULL, group);
    enum qd_store_err err = iter != NULL ? QD_STORE_OK : no_memory(error);
    while (err == QD_STORE_OK) {
        struct qd_str key;
        struct qd_str value;
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            fix_row(piece, &at, key, value);
        }
    }
    qd_store_iter_close(iter);
    for (; at < rows->count && qd_rebuild_in_group(rows->groups[at].key, group); at++) {
        put_row(piece, &rows->groups[at]);
        piece->done.added++;
    }
    return err == QD_STORE_END ? QD_STORE_OK : err;
}

/* This thread leads: nobody else writes rows. */
static enum qd_store_err build(struct piece *piece, struct qd_store_error *error)
{
    struct qd_rebuild *run = piece->run;
    enum qd_store_err err = catch_up(run, error);
    if (err == QD_STORE_OK) {
        err = take_tail(piece);
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    qd_aggregate_sort(&piece->rows);
    for (size_t i = piece->first; i < piece->end && err == QD_STORE_OK; i++) {
        err = fix_group(piece, run->broken.groups[i].key, error);
    }
    for (size_t i = 0; i < run->junk.count && piece->first == 0; i++) {
        qd_batch_delete(&piece->batch, QD_STORE_ROLLUP, run->junk.groups[i].key);
        piece->done.dropped++;
    }
    return err;
}

static bool same_labels(const struct qd_rollup_labels *a, const struct qd_rollup_labels *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; i < a->count && same; i++) {
        same = qd_slice_equal((struct qd_str){a->items[i].name, a->items[i].size},
                              (struct qd_str){b->items[i].name, b->items[i].size});
    }
    return same;
}

/* Lead the ledger, healed (as a booking would). The mutex is held. */
static enum qd_store_err lead(struct qd_rebuild *run, struct qd_store_error *error)
{
    struct qd_ledger *ledger = run->ledger;
    enum qd_store_err err = qd_ledger_heal(ledger, error);
    if (err != QD_STORE_OK) {
        return err;
    }
    qd_ledger_lead(ledger);
    if (ledger->counts.failed) {
        *error = ledger->counts.failure;
        err = error->code;
    } else if (!same_labels(&ledger->labels, &run->labels)) {
        err = qd_store_error_set(error, QD_STORE_INVALID,
                                 "rollup_labels have changed while rollups were rebuilt: try "
                                 "again");
    }
    if (err != QD_STORE_OK) {
        qd_ledger_unlead(ledger);
    }
    return err;
}

/* X6: who changed rows, in the write that changes them. */
static void add_audit(struct piece *piece)
{
    const struct qd_rebuild_options *options = piece->run->options;
    struct qd_tenant_change change = options->change;
    char detail[QD_AUDIT_DETAIL_MAX];
    (void)snprintf(detail, sizeof detail,
                   "%" PRIu64 " rollup rows added, %" PRIu64 " changed, %" PRIu64
                   " dropped, from ledger entries up to %" PRIu64,
                   piece->done.added, piece->done.changed, piece->done.dropped,
                   piece->run->tail_through);
    change.detail = qd_slice_of(detail);
    qd_tenant_store_audit_put(options->tenants, &change, (struct qd_str){0}, &piece->batch);
}

/* As the one that leads. *ret_end: whether something was written. */
static enum qd_store_err write_led(struct piece *piece, enum qd_audit_end *ret_end,
                                   struct qd_store_error *error)
{
    enum qd_store_err err = build(piece, error);
    if (err != QD_STORE_OK || piece->batch.count == 0) {
        return err;
    }
    if (piece->run->options->tenants != NULL) {
        add_audit(piece);
    }
    err = qd_store_write(piece->run->ledger->store, &piece->batch, true, error);
    *ret_end = err == QD_STORE_OK ? QD_AUDIT_WRITTEN : QD_AUDIT_FAILED;
    return err;
}

static enum qd_store_err lead_and_write(struct piece *piece, enum qd_audit_end *ret_end,
                                        struct qd_store_error *error)
{
    struct qd_ledger *ledger = piece->run->ledger;
    pthread_mutex_lock(&ledger->mutex);
    enum qd_store_err err = lead(piece->run, error);
    if (err == QD_STORE_OK) {
        pthread_mutex_unlock(&ledger->mutex);
        err = write_led(piece, ret_end, error);
        pthread_mutex_lock(&ledger->mutex);
        if (*ret_end == QD_AUDIT_FAILED) { /* is it there? the next one that writes finds out */
            ledger->counts.failed = true;
            ledger->counts.failure = *error;
        }
        qd_ledger_unlead(ledger);
    }
    pthread_mutex_unlock(&ledger->mutex);
    return err;
}

static enum qd_store_err write_piece(struct piece *piece, struct qd_store_error *error)
{
    struct qd_ledger *ledger = piece->run->ledger;
    enum qd_store_err err = QD_STORE_OK;
    for (int i = 0; i < CATCH_UPS && err == QD_STORE_OK &&
                    qd_ledger_watermark(ledger).sequence > piece->run->tail_through + TAIL_MAX;
         i++) {
        err = catch_up(piece->run, error);
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    struct qd_tenant_store *tenants = piece->run->options->tenants;
    enum qd_audit_end end = QD_AUDIT_UNUSED;
    if (tenants != NULL) {
        err = qd_tenant_store_audit_begin(tenants, error);
        if (err != QD_STORE_OK) {
            return err;
        }
    }
    err = lead_and_write(piece, &end, error);
    if (tenants != NULL) {
        qd_tenant_store_audit_end(tenants, end);
    }
    return err;
}

static enum qd_store_err repair(struct qd_rebuild *run, struct qd_store_error *error)
{
    run->tail_through = run->report.through;
    uint32_t rows_max = run->options->rows_max > 0 ? run->options->rows_max : QD_REBUILD_ROWS;
    enum qd_store_err err = QD_STORE_OK;
    size_t next = 0;
    bool more = run->broken.count > 0 || run->junk.count > 0;
    while (err == QD_STORE_OK && more) {
        struct piece piece = {.run = run, .first = next, .end = next};
        qd_aggregate_init(&piece.rows, &piece.arena, QD_VERIFY_GROUPS_MAX);
        err = fill(&piece, rows_max, error);
        if (err == QD_STORE_OK) {
            err = write_piece(&piece, error);
        }
        run->report.added += piece.done.added;
        run->report.changed += piece.done.changed;
        run->report.dropped += piece.done.dropped;
        next = piece.end;
        more = next < run->broken.count;
        qd_aggregate_release(&piece.rows);
        qd_aggregate_arena_release(&piece.arena);
        qd_batch_release(&piece.batch);
        qd_buf_release(&piece.value);
    }
    return err;
}

/* --- the whole --- */

static enum qd_store_err begin(struct qd_rebuild *run)
{
    struct qd_ledger *ledger = run->ledger;
    qd_aggregate_init(&run->want, &run->arena, QD_VERIFY_GROUPS_MAX);
    qd_aggregate_init(&run->broken, &run->arena, QD_VERIFY_GROUPS_MAX);
    qd_aggregate_init(&run->junk, &run->arena, QD_VERIFY_GROUPS_MAX);
    qd_aggregate_init(&run->tail, &run->arena, QD_VERIFY_GROUPS_MAX);
    pthread_mutex_lock(&ledger->mutex);
    run->labels = ledger->labels;
    pthread_mutex_unlock(&ledger->mutex);
    run->snapshot = qd_store_snapshot_open(ledger->store);
    return run->snapshot != NULL ? QD_STORE_OK : QD_STORE_NO_MEMORY;
}

enum qd_store_err qd_ledger_rebuild_rollups(struct qd_ledger *ledger,
                                            const struct qd_rebuild_options *options,
                                            struct qd_rebuild_report *ret_report,
                                            struct qd_store_error *error)
{
    struct qd_rebuild run = {.ledger = ledger, .options = options};
    struct qd_store_error failure = {0};
    enum qd_store_err err = begin(&run);
    if (err == QD_STORE_OK) {
        err = qd_rebuild_compare(&run, &failure);
    }
    if (err == QD_STORE_OK) {
        err = repair(&run, &failure);
    }
    if (err == QD_STORE_OK) {
        *ret_report = run.report;
    } else if (err == QD_STORE_NO_MEMORY) {
        (void)no_memory(&failure);
    } else if (err == QD_STORE_INVALID && failure.code != err) {
        qd_store_error_set(&failure, err, "more than %d rollup rows, or %d meters",
                           QD_VERIFY_GROUPS_MAX, QD_SUMS_MAX);
    }
    if (err != QD_STORE_OK && error != NULL) {
        *error = failure;
    }
    qd_store_snapshot_close(ledger->store, run.snapshot);
    qd_aggregate_release(&run.want);
    qd_aggregate_release(&run.broken);
    qd_aggregate_release(&run.junk);
    qd_aggregate_release(&run.tail);
    qd_aggregate_arena_release(&run.arena);
    qd_buf_release(&run.key);
    return err;
}
