#include "server/ledger/expire.h"

#include "server/ledger/ledger_internal.h"
#include "server/ledger/scan.h"
#include "storage/codec.h"
#include "storage/idempotency.h"

#include <inttypes.h>
#include <stdio.h>

/* So many entries gone, and their files are written anew: deleting alone gives back no room. */
#define COMPACT_EVERY 100000

static const struct qd_str expired_key = {"ledger/expired", 14};
static const struct qd_rollup_labels no_labels;

/* --- the mark --- */

enum qd_store_err qd_expired_read(struct qd_store *store, const struct qd_store_snapshot *snapshot,
                                  struct qd_expired *ret_expired, struct qd_store_error *error)
{
    struct qd_expired expired = {0};
    struct qd_str key;
    struct qd_str value;
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_META,
                                                           .lower = expired_key,
                                                           .upper = {"ledger/expired\x01", 15},
                                                           .snapshot = snapshot});
    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read the ledger");
    }
    enum qd_store_err err = qd_store_iter_next(iter, &key, &value, error);
    if (err == QD_STORE_OK) {
        err = qd_expired_decode(value, &expired);
        if (err != QD_STORE_OK) {
            qd_store_error_set(error, err, "mark of expired entries: %s", qd_store_err_text(err));
        }
    }
    qd_store_iter_close(iter);
    if (err != QD_STORE_OK && err != QD_STORE_END) {
        return err;
    }
    *ret_expired = expired;
    return QD_STORE_OK;
}

struct qd_expired qd_ledger_expired(struct qd_ledger *ledger)
{
    pthread_mutex_lock(&ledger->mutex);
    struct qd_expired expired = ledger->expired;
    pthread_mutex_unlock(&ledger->mutex);
    return expired;
}

/* --- a step --- */

struct step {
    const struct qd_expiry *expiry;
    uint32_t max;
    uint32_t count;
    uint64_t last; /* entries may go up to this one */
    bool more;     /* stopped by `max` */
    struct qd_expired mark;
    struct qd_batch batch;
    struct qd_buf key;
    struct qd_buf value;
};

static bool stops(struct step *step)
{
    step->more |= step->count >= step->max;
    return step->count++ >= step->max;
}

static bool drop_key(void *context, const struct qd_entry *entry)
{
    struct step *step = context;
    if (entry->recorded_time.ns >= step->expiry->keys_before.ns || stops(step)) {
        return false;
    }
    if (entry->kind == QD_ENTRY_USAGE && entry->request_id.len > 0) {
        qd_buf_clear(&step->key);
        qd_idempotency_key(entry, &step->key);
        step->batch.ops.failed |= step->key.failed;
        qd_batch_delete(&step->batch, QD_STORE_IDEMPOTENCY, qd_buf_str(&step->key));
    }
    step->mark.keys_through = entry->sequence;
    step->mark.keys_recorded = entry->recorded_time;
    return true;
}

static bool drop_entry(void *context, const struct qd_entry *entry)
{
    struct step *step = context;
    if (entry->recorded_time.ns >= step->expiry->entries_before.ns || stops(step)) {
        return false;
    }
    qd_ledger_entry_key(entry->sequence, &step->key);
    step->batch.ops.failed |= step->key.failed;
    qd_batch_delete(&step->batch, QD_STORE_LEDGER, qd_buf_str(&step->key));
    qd_rollup_merge_to(QD_STORE_EXPIRED, entry, &no_labels, &step->key, &step->value, &step->batch);
    if (step->mark.through == 0) {
        step->mark.began = entry->event_time;
    }
    if (qd_entry_is_usage(entry) && entry->event_time.ns > step->mark.event.ns) {
        step->mark.event = entry->event_time;
    }
    step->mark.through = entry->sequence;
    step->mark.recorded = entry->recorded_time;
    return true;
}

static enum qd_store_err collect(struct qd_ledger *ledger, struct step *step,
                                 struct qd_store_error *error)
{
    uint64_t last;
    uint64_t sequence = qd_ledger_watermark(ledger).sequence;
    enum qd_store_err err = QD_STORE_OK;
    if (step->mark.keys_through + 1 < sequence) { /* the last entry stays, and so may its key */
        err = qd_ledger_visit(ledger, step->mark.keys_through, sequence - 1, drop_key, step, &last,
                              error);
    }
    step->count = 0;
    if (err == QD_STORE_OK && step->mark.through < step->mark.keys_through) {
        err = qd_ledger_visit(ledger, step->mark.through, step->mark.keys_through, drop_entry, step,
                              &last, error);
    }
    return err;
}

/* What is about to disappear is announced first. */
static void announce(struct qd_ledger *ledger, const struct qd_expired *mark)
{
    pthread_mutex_lock(&ledger->mutex);
    ledger->expired = *mark;
    pthread_mutex_unlock(&ledger->mutex);
}

static enum qd_store_err write_step(struct qd_ledger *ledger, struct step *step,
                                    struct qd_store_error *error)
{
    qd_buf_clear(&step->value);
    qd_expired_encode(&step->mark, &step->value);
    step->batch.ops.failed |= step->value.failed;
    qd_batch_put(&step->batch, QD_STORE_META, expired_key, qd_buf_str(&step->value));
    announce(ledger, &step->mark);
    return qd_store_write(ledger->store, &step->batch, false, error);
}

enum qd_store_err qd_ledger_expire(struct qd_ledger *ledger, const struct qd_expiry *expiry,
                                   bool *ret_more, struct qd_store_error *error)
{
    struct step step = {.expiry = expiry,
                        .max = expiry->max > 0 ? expiry->max : QD_EXPIRE_STEP_DEFAULT};
    struct qd_expired before = {0};
    enum qd_store_err err = qd_expired_read(ledger->store, NULL, &before, error);
    if (err == QD_STORE_OK) {
        step.mark = before;
        err = collect(ledger, &step, error);
    }
    /* Entries without keys: the mark alone goes on. */
    if (err == QD_STORE_OK &&
        (step.mark.keys_through > before.keys_through || step.mark.through > before.through)) {
        err = write_step(ledger, &step, error);
    }
    if (err == QD_STORE_OK && step.mark.through / COMPACT_EVERY > before.through / COMPACT_EVERY) {
        qd_ledger_entry_key(step.mark.through, &step.key);
        err = qd_store_compact(ledger->store, QD_STORE_LEDGER, (struct qd_str){NULL, 0},
                               qd_buf_str(&step.key), error);
    }
    *ret_more = err == QD_STORE_OK && step.more;
    qd_batch_release(&step.batch);
    qd_buf_release(&step.key);
    qd_buf_release(&step.value);
    return err;
}

/* --- who reads what has expired --- */

enum qd_store_err qd_expired_check_events(struct qd_ledger *ledger, struct qd_wall_ns from,
                                          struct qd_store_error *error)
{
    struct qd_expired expired = qd_ledger_expired(ledger);
    if (expired.through == 0 || from.ns > expired.event.ns) {
        return QD_STORE_OK;
    }
    char event[32];
    qd_ledger_time_text(expired.event, event);
    return qd_store_error_set(error, QD_STORE_GONE,
                              "entries with event times up to %s have expired (ledger_retention), "
                              "and this question reads entries: begin later, or ask for whole "
                              "quarter hours of UTC and no labels but rollup_labels, of which the "
                              "sums are kept",
                              event);
}

enum qd_store_err qd_expired_check_cursor(struct qd_ledger *ledger, uint64_t cursor,
                                          struct qd_store_error *error)
{
    uint64_t through = qd_ledger_expired(ledger).through;
    if (cursor == 0 || cursor >= through) {
        return QD_STORE_OK;
    }
    return qd_store_error_set(error, QD_STORE_GONE,
                              "cursor: entries %" PRIu64 " to %" PRIu64
                              " have expired (ledger_retention) before they were read; go on at "
                              "cursor %" PRIu64 ", their sums are still in the usage",
                              cursor + 1, through, through);
}

enum qd_store_err qd_expired_visit_prices(struct qd_ledger *ledger,
                                          bool (*visit)(void *context,
                                                        const struct qd_entry *entry),
                                          void *context, struct qd_store_error *error)
{
    struct qd_store_iter *iter =
        qd_store_iter_open(ledger->store, &(struct qd_store_range){.space = QD_STORE_EXPIRED});
    enum qd_store_err err = iter != NULL ? QD_STORE_OK : QD_STORE_NO_MEMORY;
    bool more = true;
    while (err == QD_STORE_OK && more) {
        struct qd_str key;
        struct qd_str value;
        struct qd_rollup_row row;
        struct qd_entry entry = {0};
        err = qd_store_iter_next(iter, &key, &value, error);
        if (err == QD_STORE_OK) {
            err = qd_rollup_key_decode(key, &row);
        }
        if (err == QD_STORE_OK) {
            entry.price_count = row.price_count;
            memcpy(entry.prices, row.prices, sizeof(entry.prices));
            more = visit(context, &entry);
        }
    }
    qd_store_iter_close(iter);
    return err == QD_STORE_END ? QD_STORE_OK : err;
}
