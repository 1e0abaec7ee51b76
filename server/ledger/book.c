/* Booking: the idempotency key, and the table of keys in flight.
 *
 * A job whose key is in flight waits for that one's end and is then looked up anew: it finds what
 * was booked, or books itself. A job whose entry is new goes to the committer. */
#include "server/ledger/ledger_internal.h"

#include "server/ledger/expire.h"
#include "storage/idempotency.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <xxhash.h>

void qd_receipt_init(struct qd_receipt *receipt)
{
    *receipt = (struct qd_receipt){0};
}

void qd_receipt_release(struct qd_receipt *receipt)
{
    qd_buf_release(&receipt->key_bytes);
    qd_buf_release(&receipt->entry_bytes);
    *receipt = (struct qd_receipt){0};
}

static void clear_receipt(struct qd_receipt *receipt)
{
    qd_buf_clear(&receipt->key_bytes);
    qd_buf_clear(&receipt->entry_bytes);
    receipt->sequence = 0;
    receipt->recorded_time.ns = 0;
    receipt->has_first = false;
    receipt->answer = (struct qd_str){0};
    receipt->text[0] = '\0';
}

/* --- the table of keys in flight (the mutex is held) --- */

static struct qd_book_job **inflight_slot(struct qd_ledger *ledger, const struct qd_book_job *job)
{
    struct qd_book_job **slot = &ledger->inflight[job->own.key_hash & (QD_INFLIGHT_BUCKETS - 1)];
    while (*slot != NULL && *slot != job &&
           !qd_slice_equal(qd_buf_str(&(*slot)->own.key), qd_buf_str(&job->own.key))) {
        slot = &(*slot)->own.table_next;
    }
    return slot;
}

/* Put the job into the table. False: its key is in flight, and it waits for that job's end. */
static bool inflight_enter(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_book_job **slot = inflight_slot(ledger, job);
    if (*slot == NULL) {
        job->own.table_next = NULL;
        *slot = job;
        return true;
    }
    struct qd_book_own *holder = &(*slot)->own;
    job->own.waiter_next = NULL;
    if (holder->first_waiter == NULL) {
        holder->first_waiter = job;
    } else {
        holder->last_waiter->own.waiter_next = job;
    }
    holder->last_waiter = job;
    return false;
}

static void inflight_leave(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_book_job **slot = inflight_slot(ledger, job);
    assert(*slot == job);
    *slot = job->own.table_next;
}

/* --- look-up and refusal --- */

enum qd_book_result qd_book_store_failed(struct qd_receipt *receipt,
                                         const struct qd_store_error *error)
{
    (void)snprintf(receipt->text, sizeof receipt->text,
                   "the ledger cannot store: %s; reports are refused until it can, send this one "
                   "again",
                   error->text[0] != '\0' ? error->text : qd_store_err_text(error->code));
    return QD_BOOK_STORE_ERROR;
}

/* X4: what is damaged stays damaged: noted for whoever asks how the ledger is. */
static enum qd_book_result read_failed(struct qd_ledger *ledger, struct qd_book_job *job,
                                       enum qd_store_err err, const struct qd_store_error *error)
{
    if (err == QD_STORE_CORRUPT) {
        pthread_mutex_lock(&ledger->mutex);
        ledger->counts.damage = *error;
        ledger->counts.damage.code = err;
        pthread_mutex_unlock(&ledger->mutex);
    }
    return qd_book_store_failed(job->receipt, error);
}

/* The key was booked before: fill in the receipt. */
static enum qd_book_result answer_again(struct qd_ledger *ledger, struct qd_book_job *job,
                                        const struct qd_idempotency_record *record)
{
    struct qd_receipt *receipt = job->receipt;
    struct qd_store_error error = {0};
    receipt->sequence = record->sequence;
    receipt->recorded_time = record->recorded_time;
    receipt->answer = record->answer;
    enum qd_store_err err = qd_ledger_get(ledger->store, record->sequence, &receipt->entry_bytes,
                                          &receipt->first, &error);
    if (err != QD_STORE_OK && err != QD_STORE_NOT_FOUND) {
        return read_failed(ledger, job, err, &error);
    }
    receipt->has_first = err == QD_STORE_OK;
    if (qd_hash128_equal(record->content, job->booking->content)) {
        return QD_BOOK_DUPLICATE;
    }
    if (receipt->has_first) {
        qd_ledger_conflict_text(&receipt->first, job->booking->entry, receipt->text,
                                sizeof receipt->text);
    } else {
        (void)snprintf(receipt->text, sizeof receipt->text,
                       "request_id \"%.*s\" was booked as entry %llu with other content; nothing "
                       "is booked",
                       (int)job->booking->entry->request_id.len,
                       job->booking->entry->request_id.ptr, (unsigned long long)record->sequence);
    }
    return QD_BOOK_CONFLICT;
}

void qd_ledger_time_text(struct qd_wall_ns time, char text[32])
{
    time_t seconds = (time_t)(time.ns / QD_NS_PER_S);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        (void)snprintf(text, 32, "%lld s", (long long)seconds);
    }
}

/* Events before this may have been booked, and their keys be gone. Asked after the key was looked
 * up: one that disappeared meanwhile was announced before. */
static int64_t first_event_taken(struct qd_ledger *ledger, int64_t now)
{
    int64_t horizon = now - ledger->report_horizon_ns;
    struct qd_expired expired = qd_ledger_expired(ledger);
    int64_t keys =
        expired.keys_through > 0 ? expired.keys_recorded.ns + ledger->future_max_ns + 1 : INT64_MIN;
    return keys > horizon ? keys : horizon;
}

/* S6: keys outlive the horizon, so an event older than that could be booked twice. */
static enum qd_book_result check_time(struct qd_ledger *ledger, struct qd_book_job *job)
{
    const struct qd_entry *entry = job->booking->entry;
    int64_t now = job->booking->now.ns;
    char event[32];
    char bound[32];
    qd_ledger_time_text(entry->event_time, event);
    int64_t first = first_event_taken(ledger, now);
    if (entry->kind == QD_ENTRY_USAGE && entry->event_time.ns < first) {
        qd_ledger_time_text((struct qd_wall_ns){first}, bound);
        (void)snprintf(job->receipt->text, sizeof job->receipt->text,
                       "event_time %s is older than the ledger accepts (%lld days): %s or later is "
                       "accepted; nothing is booked",
                       event, (long long)((now - first) / QD_NS_PER_DAY), bound);
        return QD_BOOK_TOO_OLD;
    }
    if (entry->event_time.ns - now > ledger->future_max_ns) {
        qd_ledger_time_text((struct qd_wall_ns){now + ledger->future_max_ns}, bound);
        (void)snprintf(job->receipt->text, sizeof job->receipt->text,
                       "event_time %s is in the future: %s or earlier is accepted; check the "
                       "sender's clock and that the time is in nanoseconds",
                       event, bound);
        return QD_BOOK_IN_FUTURE;
    }
    return QD_BOOK_BOOKED;
}

/* BOOKED: it is new and may be queued. Anything else: the result. No lock is held. */
static enum qd_book_result look_up(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_store_error error = {0};
    if (job->own.key.size == 0) {
        return check_time(ledger, job);
    }
    struct qd_buf *value = &job->receipt->key_bytes;
    enum qd_store_err err =
        qd_store_get(ledger->store, QD_STORE_IDEMPOTENCY, qd_buf_str(&job->own.key), value, &error);
    if (err == QD_STORE_NOT_FOUND) {
        return check_time(ledger, job);
    }
    struct qd_idempotency_record record;
    if (err == QD_STORE_OK) {
        err = qd_idempotency_decode(qd_buf_str(value), &record);
        qd_store_error_set(&error, err, "idempotency key: %s", qd_store_err_text(err));
    }
    return err == QD_STORE_OK ? answer_again(ledger, job, &record)
                              : read_failed(ledger, job, err, &error);
}

/* --- booking --- */

static void count_result(struct qd_ledger *ledger, const struct qd_book_job *job)
{
    enum qd_book_result result = job->result;
    if (result == QD_BOOK_BOOKED) {
        ledger->counts.booked += job->booking->companion != NULL ? 2 : 1;
    }
    ledger->counts.duplicates += result == QD_BOOK_DUPLICATE;
    ledger->counts.conflicts += result == QD_BOOK_CONFLICT;
    ledger->counts.store_errors += result == QD_BOOK_STORE_ERROR;
    ledger->counts.refused +=
        result == QD_BOOK_TOO_OLD || result == QD_BOOK_IN_FUTURE || result == QD_BOOK_INVALID;
}

/* Look the job's key up. True: it is new, and for the committer; else it is finished, or waits for
 * another with its key. */
static bool begin(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_store_error error = {0};
    pthread_mutex_lock(&ledger->mutex);
    if (job->own.key.size > 0 && !inflight_enter(ledger, job)) {
        pthread_mutex_unlock(&ledger->mutex);
        return false;
    }
    bool healed = !ledger->counts.failed || qd_ledger_heal(ledger, &error) == QD_STORE_OK;
    pthread_mutex_unlock(&ledger->mutex);
    job->result = healed ? look_up(ledger, job) : qd_book_store_failed(job->receipt, &error);
    if (job->result != QD_BOOK_BOOKED) {
        qd_book_finish(ledger, job);
        return false;
    }
    return true;
}

void qd_book_finish(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_book_job *waiter = NULL;
    pthread_mutex_lock(&ledger->mutex);
    if (job->own.key.size > 0) {
        inflight_leave(ledger, job);
        waiter = job->own.first_waiter;
    }
    count_result(ledger, job);
    pthread_mutex_unlock(&ledger->mutex);
    qd_buf_release(&job->own.key);
    job->done(job); /* which may free it */
    while (waiter != NULL) {
        struct qd_book_job *next = waiter->own.waiter_next;
        if (begin(ledger, waiter)) { /* nothing was booked: it books itself */
            qd_committer_enqueue(ledger, waiter, waiter);
        }
        waiter = next;
    }
}

/* The entry is valid and the job has its key, or the result says why not. */
static enum qd_book_result prepare(struct qd_book_job *job)
{
    const struct qd_booking *booking = job->booking;
    struct qd_store_error error = {0};
    clear_receipt(job->receipt);
    if (booking->answer.len > QD_IDEMPOTENCY_ANSWER_MAX) {
        error.code =
            qd_store_error_set(&error, QD_STORE_INVALID, "answer: at most %d bytes are accepted",
                               QD_IDEMPOTENCY_ANSWER_MAX);
    } else {
        error.code = qd_entry_validate(booking->entry, &error);
    }
    if (error.code == QD_STORE_OK && booking->companion != NULL) {
        error.code = qd_entry_validate(booking->companion, &error);
    }
    if (error.code != QD_STORE_OK) {
        (void)snprintf(job->receipt->text, sizeof job->receipt->text, "%s", error.text);
        return QD_BOOK_INVALID;
    }
    if (booking->entry->request_id.len > 0) {
        qd_idempotency_key(booking->entry, &job->own.key);
        if (job->own.key.failed) {
            qd_buf_release(&job->own.key);
            error.code = QD_STORE_NO_MEMORY;
            return qd_book_store_failed(job->receipt, &error);
        }
        job->own.key_hash = XXH3_64bits(job->own.key.data, job->own.key.size);
    }
    return QD_BOOK_BOOKED;
}

void qd_ledger_submit(struct qd_ledger *ledger, struct qd_book_job *const *jobs, uint32_t count)
{
    struct qd_book_job *first = NULL;
    struct qd_book_job *last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct qd_book_job *job = jobs[i];
        job->result = prepare(job);
        if (job->result != QD_BOOK_BOOKED) {
            qd_book_finish(ledger, job);
        } else if (begin(ledger, job)) {
            if (first == NULL) {
                first = job;
            } else {
                last->own.queue_next = job;
            }
            last = job;
        }
    }
    if (first != NULL) {
        qd_committer_enqueue(ledger, first, last);
    }
}

/* --- waiting for it --- */

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    uint32_t pending;
};

static void wake(struct qd_book_job *job)
{
    struct waiting *waiting = job->context;
    pthread_mutex_lock(&waiting->mutex);
    if (--waiting->pending == 0) {
        pthread_cond_signal(
            &waiting->wake); /* under the mutex: `waiting` may be gone right after */
    }
    pthread_mutex_unlock(&waiting->mutex);
}

void qd_ledger_book_all(struct qd_ledger *ledger, struct qd_book_job *const *jobs, uint32_t count)
{
    struct waiting waiting = {.pending = count};
    for (uint32_t i = 0; i < count; i++) {
        jobs[i]->done = wake;
        jobs[i]->context = &waiting;
    }
    pthread_mutex_init(&waiting.mutex, NULL);
    pthread_cond_init(&waiting.wake, NULL);
    qd_ledger_submit(ledger, jobs, count);
    pthread_mutex_lock(&waiting.mutex);
    while (waiting.pending > 0) {
        pthread_cond_wait(&waiting.wake, &waiting.mutex);
    }
    pthread_mutex_unlock(&waiting.mutex);
    pthread_cond_destroy(&waiting.wake);
    pthread_mutex_destroy(&waiting.mutex);
}

enum qd_book_result qd_ledger_book(struct qd_ledger *ledger, const struct qd_booking *booking,
                                   struct qd_receipt *ret_receipt)
{
    struct qd_book_job job = {.booking = booking, .receipt = ret_receipt};
    qd_ledger_book_all(ledger, &(struct qd_book_job *){&job}, 1);
    return job.result;
}
