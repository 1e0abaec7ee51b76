/* Opening, closing and recovering; who leads; watermark and status. */
#include "server/ledger/ledger_internal.h"

#include "storage/codec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MARK_VERSION 1

/* META's key of the promise that qd_ledger_heartbeat makes. */
static const struct qd_str floor_key = {"ledger/floor", 12};

/* --- reading entries --- */

void qd_ledger_entry_key(uint64_t sequence, struct qd_buf *ret_key)
{
    qd_buf_clear(ret_key);
    qd_put_key_u64(ret_key, sequence);
}

enum qd_store_err qd_ledger_decode(struct qd_str key, struct qd_str value,
                                   struct qd_entry *ret_entry, struct qd_store_error *error)
{
    struct qd_reader reader = qd_reader_of(key);
    uint64_t sequence = qd_get_key_u64(&reader);
    enum qd_store_err err = qd_reader_finish(&reader);
    if (err != QD_STORE_OK) {
        return qd_store_error_set(error, err, "ledger: a key of %zu bytes, 8 are expected",
                                  key.len);
    }
    err = qd_entry_decode(value, ret_entry);
    if (err == QD_STORE_OK && ret_entry->sequence != sequence) {
        err = QD_STORE_CORRUPT;
    }
    if (err != QD_STORE_OK) {
        qd_store_error_set(error, err, "ledger entry %" PRIu64 ": %s", sequence,
                           qd_store_err_text(err));
    }
    return err;
}

enum qd_store_err qd_ledger_get(struct qd_store *store, uint64_t sequence, struct qd_buf *bytes,
                                struct qd_entry *ret_entry, struct qd_store_error *error)
{
    struct qd_buf key = {0};
    qd_ledger_entry_key(sequence, &key);
    enum qd_store_err err = QD_STORE_NO_MEMORY;
    if (!key.failed) {
        err = qd_store_get(store, QD_STORE_LEDGER, qd_buf_str(&key), bytes, error);
    }
    if (err == QD_STORE_OK) {
        err = qd_ledger_decode(qd_buf_str(&key), qd_buf_str(bytes), ret_entry, error);
    }
    qd_buf_release(&key);
    return err;
}

/* --- recovery --- */

static enum qd_store_err read_floor(struct qd_store *store, struct qd_wall_ns *ret_floor,
                                    struct qd_store_error *error)
{
    struct qd_buf value = {0};
    struct qd_reader reader;
    uint8_t version;
    enum qd_store_err err = qd_store_get(store, QD_STORE_META, floor_key, &value, error);
    ret_floor->ns = 0;
    if (err == QD_STORE_NOT_FOUND) {
        qd_buf_release(&value);
        return QD_STORE_OK;
    }
    if (err == QD_STORE_OK) {
        err = qd_record_open(qd_buf_str(&value), QD_RECORD_MARK, MARK_VERSION, &version, &reader);
        if (err == QD_STORE_OK) {
            ret_floor->ns = qd_get_i64(&reader);
            err = qd_reader_finish(&reader);
        }
        if (err != QD_STORE_OK) {
            qd_store_error_set(error, err, "ledger mark: %s", qd_store_err_text(err));
        }
    }
    qd_buf_release(&value);
    return err;
}

enum qd_store_err qd_ledger_recover_at(struct qd_store *store,
                                       const struct qd_store_snapshot *snapshot,
                                       struct qd_watermark *ret_mark, struct qd_store_error *error)
{
    struct qd_store_iter *iter = qd_store_iter_open(
        store,
        &(struct qd_store_range){.space = QD_STORE_LEDGER, .reverse = true, .snapshot = snapshot});
    if (iter == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory to read the ledger");
    }
    struct qd_watermark mark = {0};
    struct qd_str key;
    struct qd_str value;
    struct qd_entry last = {0};
    enum qd_store_err err = qd_store_iter_next(iter, &key, &value, error);
    if (err == QD_STORE_OK) {
        err = qd_ledger_decode(key, value, &last, error);
    }
    if (err == QD_STORE_OK) {
        mark.sequence = last.sequence;
        mark.complete_through = last.recorded_time;
    }
    qd_store_iter_close(iter);
    if (err != QD_STORE_OK && err != QD_STORE_END) {
        return err;
    }
    *ret_mark = mark;
    return QD_STORE_OK;
}

enum qd_store_err qd_ledger_recover(struct qd_store *store, struct qd_watermark *ret_mark,
                                    struct qd_store_error *error)
{
    struct qd_watermark mark = {0};
    struct qd_wall_ns floor;
    enum qd_store_err err = read_floor(store, &floor, error);
    if (err == QD_STORE_OK) {
        err = qd_ledger_recover_at(store, NULL, &mark, error);
    }
    if (err != QD_STORE_OK) {
        return err;
    }
    if (mark.complete_through.ns < floor.ns) {
        mark.complete_through = floor;
    }
    *ret_mark = mark;
    return QD_STORE_OK;
}

/* --- open and close --- */

enum qd_store_err qd_ledger_open(struct qd_store *store, const struct qd_ledger_config *config,
                                 struct qd_ledger **ret_ledger, struct qd_store_error *error)
{
    struct qd_ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for the ledger");
    }
    ledger->store = store;
    ledger->report_horizon_ns =
        config->report_horizon_ns > 0 ? config->report_horizon_ns : QD_LEDGER_HORIZON_DEFAULT_NS;
    ledger->future_max_ns =
        config->future_max_ns > 0 ? config->future_max_ns : QD_LEDGER_FUTURE_DEFAULT_NS;
    ledger->group_max = config->group_max > 0 ? config->group_max : QD_LEDGER_GROUP_DEFAULT;
    /* Whatever is visible may not be durable yet: the first booking makes sure. */
    ledger->counts.failed = true;
    pthread_mutex_init(&ledger->mutex, NULL);
    pthread_cond_init(&ledger->idle, NULL);
    pthread_cond_init(&ledger->work, NULL);
    enum qd_store_err err = qd_rollup_labels_init(&ledger->labels, config->rollup_labels,
                                                  config->rollup_label_count, error);
    if (err == QD_STORE_OK) {
        err = qd_ledger_recover(store, &ledger->mark, error);
    }
    if (err == QD_STORE_OK) {
        err = qd_expired_read(store, NULL, &ledger->expired, error);
    }
    if (err == QD_STORE_OK && !qd_committer_start(ledger)) {
        err = qd_store_error_set(error, QD_STORE_NO_MEMORY, "no thread for the ledger");
    }
    if (err != QD_STORE_OK) {
        qd_ledger_close(ledger);
        return err;
    }
    *ret_ledger = ledger;
    return QD_STORE_OK;
}

void qd_ledger_close(struct qd_ledger *ledger)
{
    if (ledger == NULL) {
        return;
    }
    qd_committer_stop(ledger);
    assert(ledger->queue_head == NULL && !ledger->leading);
    pthread_cond_destroy(&ledger->work);
    pthread_cond_destroy(&ledger->idle);
    pthread_mutex_destroy(&ledger->mutex);
    qd_batch_release(&ledger->batch);
    qd_buf_release(&ledger->scratch_key);
    qd_buf_release(&ledger->scratch_value);
    free(ledger);
}

void qd_ledger_lead(struct qd_ledger *ledger)
{
    while (ledger->leading) {
        pthread_cond_wait(&ledger->idle, &ledger->mutex);
    }
    ledger->leading = true;
}

void qd_ledger_unlead(struct qd_ledger *ledger)
{
    assert(ledger->leading);
    ledger->leading = false;
    if (ledger->queue_head != NULL) {
        pthread_cond_signal(&ledger->work);
    }
    pthread_cond_signal(&ledger->idle);
}

enum qd_store_err qd_ledger_set_rollup_labels(struct qd_ledger *ledger, const char *const *labels,
                                              size_t count, struct qd_store_error *error)
{
    struct qd_rollup_labels other;
    enum qd_store_err err = qd_rollup_labels_init(&other, labels, count, error);
    if (err == QD_STORE_OK) {
        pthread_mutex_lock(&ledger->mutex);
        qd_ledger_lead(ledger);
        ledger->labels = other;
        qd_ledger_unlead(ledger);
        pthread_mutex_unlock(&ledger->mutex);
    }
    return err;
}

/* --- watermark and status --- */

static enum qd_store_err write_floor(struct qd_ledger *ledger, struct qd_wall_ns floor,
                                     struct qd_store_error *error)
{
    struct qd_buf *value = &ledger->scratch_value;
    qd_buf_clear(value);
    size_t begin = qd_record_begin(value, QD_RECORD_MARK, MARK_VERSION);
    qd_put_i64(value, floor.ns);
    qd_record_end(value, begin);
    qd_batch_clear(&ledger->batch);
    qd_batch_put(&ledger->batch, QD_STORE_META, floor_key, qd_buf_str(value));
    ledger->batch.ops.failed |= value->failed;
    return qd_store_write(ledger->store, &ledger->batch, true, error);
}

void qd_ledger_on_found(struct qd_ledger *ledger,
                        void (*found)(void *context, const struct qd_entry *entry), void *context)
{
    ledger->found = found;
    ledger->found_context = context;
}

/* Tell of the entries after `mark`, moving it on, up to `end`. This thread leads. */
static enum qd_store_err tell_found(struct qd_ledger *ledger, const struct qd_watermark *end,
                                    struct qd_watermark *mark, struct qd_store_error *error)
{
    struct qd_buf bytes = {0};
    struct qd_entry entry;
    enum qd_store_err err = QD_STORE_OK;
    while (err == QD_STORE_OK && mark->sequence < end->sequence) {
        err = qd_ledger_get(ledger->store, mark->sequence + 1, &bytes, &entry, error);
        if (err == QD_STORE_OK) {
            ledger->found(ledger->found_context, &entry);
            mark->sequence = entry.sequence;
            mark->complete_through = entry.recorded_time;
        }
    }
    qd_buf_release(&bytes);
    return err;
}

/* Write the mark durably and read the ledger's end anew. This thread leads and holds the mutex,
 * which it lets go of meanwhile. */
static enum qd_store_err mark_and_recover(struct qd_ledger *ledger, struct qd_wall_ns now)
{
    struct qd_store_error failure = {0};
    struct qd_watermark mark = ledger->mark;
    struct qd_watermark end = mark;
    struct qd_wall_ns floor = mark.complete_through;
    if (floor.ns < now.ns) {
        floor = now;
    }
    pthread_mutex_unlock(&ledger->mutex);
    enum qd_store_err err = write_floor(ledger, floor, &failure);
    if (err == QD_STORE_OK) {
        err = qd_ledger_recover(ledger->store, &end, &failure);
    }
    if (err == QD_STORE_OK && ledger->found != NULL) {
        err = tell_found(ledger, &end, &mark, &failure);
    }
    pthread_mutex_lock(&ledger->mutex);
    failure.code = err;
    ledger->counts.failed = err != QD_STORE_OK;
    ledger->counts.failure = failure;
    ledger->mark = err == QD_STORE_OK ? end : mark; /* so that each is told once */
    return err;
}

enum qd_store_err qd_ledger_heal(struct qd_ledger *ledger, struct qd_store_error *error)
{
    enum qd_store_err err = QD_STORE_OK;
    qd_ledger_lead(ledger);
    if (ledger->counts.failed) {
        err = mark_and_recover(ledger, (struct qd_wall_ns){0});
        *error = ledger->counts.failure;
    }
    qd_ledger_unlead(ledger);
    return err;
}

enum qd_store_err qd_ledger_heartbeat(struct qd_ledger *ledger, struct qd_wall_ns now,
                                      struct qd_store_error *error)
{
    pthread_mutex_lock(&ledger->mutex);
    qd_ledger_lead(ledger);
    enum qd_store_err err = mark_and_recover(ledger, now);
    if (err != QD_STORE_OK && error != NULL) {
        *error = ledger->counts.failure;
    }
    qd_ledger_unlead(ledger);
    pthread_mutex_unlock(&ledger->mutex);
    return err;
}

struct qd_watermark qd_ledger_watermark(struct qd_ledger *ledger)
{
    pthread_mutex_lock(&ledger->mutex);
    struct qd_watermark mark = ledger->mark;
    pthread_mutex_unlock(&ledger->mutex);
    return mark;
}

void qd_ledger_status(struct qd_ledger *ledger, struct qd_ledger_status *ret_status)
{
    pthread_mutex_lock(&ledger->mutex);
    *ret_status = ledger->counts;
    ret_status->watermark = ledger->mark;
    ret_status->expired = ledger->expired;
    /* Freshly opened isn't failed: nothing was tried yet. */
    ret_status->failed = ledger->counts.failed && ledger->counts.failure.code != QD_STORE_OK;
    pthread_mutex_unlock(&ledger->mutex);
}

void qd_ledger_measured(const struct qd_ledger *ledger, struct qd_ledger_measured *ret_measured)
{
    struct qd_ledger_measured measured = {0};
    qd_histogram_collect(&ledger->commit_ns, &measured.commit_ns);
    qd_histogram_collect(&ledger->group_size, &measured.group_size);
    *ret_measured = measured;
}
