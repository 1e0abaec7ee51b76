/* Booking: the idempotency key, the table of keys in flight, and who writes the group.
 *
 * A thread whose key is in flight elsewhere waits and then looks again: it finds what that one
 * booked, or books itself. A thread whose entry is new queues it; whoever is at the head of the
 * queue when nobody writes takes the whole queue as one group. */
#include "server/ledger/ledger_internal.h"

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
    struct qd_book_job **slot = &ledger->inflight[job->key_hash & (QD_INFLIGHT_BUCKETS - 1)];
    while (*slot != NULL && *slot != job &&
           !qd_slice_equal(qd_buf_str(&(*slot)->key), qd_buf_str(&job->key))) {
        slot = &(*slot)->table_next;
    }
    return slot;
}

/* Put the job into the table, waiting for others with its key. */
static void inflight_enter(struct qd_ledger *ledger, struct qd_book_job *job)
{
    for (;;) {
        struct qd_book_job **slot = inflight_slot(ledger, job);
        if (*slot == NULL) {
            job->table_next = NULL;
            *slot = job;
            return;
        }
        job->retry = false;
        job->waiter_next = (*slot)->waiters;
        (*slot)->waiters = job;
        while (!job->retry) {
            pthread_cond_wait(&job->wake, &ledger->mutex);
        }
    }
}

static void inflight_leave(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_book_job **slot = inflight_slot(ledger, job);
    assert(*slot == job);
    *slot = job->table_next;
    struct qd_book_job *waiter = job->waiters;
    job->waiters = NULL;
    while (waiter != NULL) {
        struct qd_book_job *next = waiter->waiter_next;
        waiter->retry = true;
        pthread_cond_signal(&waiter->wake);
        waiter = next;
    }
}

/* --- look-up and refusal --- */

static enum qd_book_result store_failed(struct qd_receipt *receipt,
                                        const struct qd_store_error *error)
{
    (void)snprintf(receipt->text, sizeof receipt->text,
                   "the ledger cannot store: %s; reports are refused until it can, send this one "
                   "again",
                   error->text[0] != '\0' ? error->text : qd_store_err_text(error->code));
    return QD_BOOK_STORE_ERROR;
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
        return store_failed(receipt, &error);
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

static void format_time(struct qd_wall_ns time, char text[32])
{
    time_t seconds = (time_t)(time.ns / QD_NS_PER_S);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        (void)snprintf(text, 32, "%lld s", (long long)seconds);
    }
}

/* S6: keys outlive the horizon, so an event older than that could be booked twice. */
static enum qd_book_result check_time(const struct qd_ledger *ledger, struct qd_book_job *job)
{
    const struct qd_entry *entry = job->booking->entry;
    int64_t now = job->booking->now.ns;
    char event[32];
    char bound[32];
    format_time(entry->event_time, event);
    if (entry->kind == QD_ENTRY_USAGE && entry->event_time.ns < now - ledger->report_horizon_ns) {
        format_time((struct qd_wall_ns){now - ledger->report_horizon_ns}, bound);
        (void)snprintf(job->receipt->text, sizeof job->receipt->text,
                       "event_time %s is older than the ledger accepts (%lld days): %s or later is "
                       "accepted; nothing is booked",
                       event, (long long)(ledger->report_horizon_ns / QD_NS_PER_DAY), bound);
        return QD_BOOK_TOO_OLD;
    }
    if (entry->event_time.ns - now > ledger->future_max_ns) {
        format_time((struct qd_wall_ns){now + ledger->future_max_ns}, bound);
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
    if (job->key.size == 0) {
        return check_time(ledger, job);
    }
    struct qd_buf *value = &job->receipt->key_bytes;
    enum qd_store_err err =
        qd_store_get(ledger->store, QD_STORE_IDEMPOTENCY, qd_buf_str(&job->key), value, &error);
    if (err == QD_STORE_NOT_FOUND) {
        return check_time(ledger, job);
    }
    struct qd_idempotency_record record;
    if (err == QD_STORE_OK) {
        err = qd_idempotency_decode(qd_buf_str(value), &record);
        qd_store_error_set(&error, err, "idempotency key: %s", qd_store_err_text(err));
    }
    return err == QD_STORE_OK ? answer_again(ledger, job, &record)
                              : store_failed(job->receipt, &error);
}

/* --- groups (the mutex is held) --- */

static void enqueue(struct qd_ledger *ledger, struct qd_book_job *job)
{
    job->queue_next = NULL;
    if (ledger->queue_head == NULL) {
        ledger->queue_head = job;
    } else {
        ledger->queue_tail->queue_next = job;
    }
    ledger->queue_tail = job;
}

/* Take up to group_max jobs off the queue: their number. They stay linked. */
static uint32_t take_group(struct qd_ledger *ledger)
{
    uint32_t count = 0;
    while (ledger->queue_head != NULL && count < ledger->group_max) {
        ledger->queue_head = ledger->queue_head->queue_next;
        count++;
    }
    return count;
}

static void finish_group(struct qd_ledger *ledger, struct qd_book_job *first, uint32_t count,
                         const struct qd_store_error *error)
{
    bool booked = error->code == QD_STORE_OK;
    ledger->counts.failed = !booked;
    ledger->counts.failure = *error;
    ledger->counts.groups += booked;
    if (count > ledger->counts.group_largest) {
        ledger->counts.group_largest = count;
    }
    struct qd_book_job *next = first;
    for (uint32_t i = 0; i < count; i++) {
        struct qd_book_job *job = next;
        next = job->queue_next; /* `job` may be gone once it is done and we let go of the mutex */
        if (booked) {
            job->result = QD_BOOK_BOOKED;
        } else {
            job->receipt->sequence = 0;
            job->receipt->recorded_time.ns = 0;
            job->result = store_failed(job->receipt, error);
        }
        job->done = true;
        pthread_cond_signal(&job->wake);
    }
}

/* The head of the queue writes the group. */
static void write_group(struct qd_ledger *ledger)
{
    struct qd_store_error error = {0};
    struct qd_book_job *first = ledger->queue_head;
    struct qd_watermark mark = ledger->mark;
    bool failed = ledger->counts.failed;
    error = ledger->counts.failure;
    ledger->leading = true;
    uint32_t count = take_group(ledger);
    if (!failed) {
        pthread_mutex_unlock(&ledger->mutex);
        error = (struct qd_store_error){0};
        error.code = qd_ledger_commit(ledger, first, count, &mark, &error);
        pthread_mutex_lock(&ledger->mutex);
        ledger->mark = mark;
    }
    finish_group(ledger, first, count, &error);
    qd_ledger_unlead(ledger);
}

/* Queue the job and see it written, by this thread or another. */
static void commit(struct qd_ledger *ledger, struct qd_book_job *job)
{
    enqueue(ledger, job);
    while (!job->done) {
        if (ledger->queue_head == job && !ledger->leading) {
            write_group(ledger);
        } else {
            pthread_cond_wait(&job->wake, &ledger->mutex);
        }
    }
}

static void count_result(struct qd_ledger *ledger, enum qd_book_result result)
{
    ledger->counts.booked += result == QD_BOOK_BOOKED;
    ledger->counts.duplicates += result == QD_BOOK_DUPLICATE;
    ledger->counts.conflicts += result == QD_BOOK_CONFLICT;
    ledger->counts.store_errors += result == QD_BOOK_STORE_ERROR;
    ledger->counts.refused +=
        result == QD_BOOK_TOO_OLD || result == QD_BOOK_IN_FUTURE || result == QD_BOOK_INVALID;
}

static void run(struct qd_ledger *ledger, struct qd_book_job *job)
{
    struct qd_store_error error = {0};
    pthread_mutex_lock(&ledger->mutex);
    if (job->key.size > 0) {
        inflight_enter(ledger, job);
    }
    if (ledger->counts.failed && qd_ledger_heal(ledger, &error) != QD_STORE_OK) {
        job->result = store_failed(job->receipt, &error);
    } else {
        pthread_mutex_unlock(&ledger->mutex);
        job->result = look_up(ledger, job);
        pthread_mutex_lock(&ledger->mutex);
        if (job->result == QD_BOOK_BOOKED) {
            commit(ledger, job);
        }
    }
    if (job->key.size > 0) {
        inflight_leave(ledger, job);
    }
    count_result(ledger, job->result);
    pthread_mutex_unlock(&ledger->mutex);
}

enum qd_book_result qd_ledger_book(struct qd_ledger *ledger, const struct qd_booking *booking,
                                   struct qd_receipt *ret_receipt)
{
    struct qd_store_error error = {0};
    struct qd_book_job job = {.booking = booking, .receipt = ret_receipt};
    clear_receipt(ret_receipt);
    if (booking->answer.len > QD_IDEMPOTENCY_ANSWER_MAX) {
        qd_store_error_set(&error, QD_STORE_INVALID, "answer: at most %d bytes are accepted",
                           QD_IDEMPOTENCY_ANSWER_MAX);
    } else {
        error.code = qd_entry_validate(booking->entry, &error);
    }
    if (error.code != QD_STORE_OK) {
        (void)snprintf(ret_receipt->text, sizeof ret_receipt->text, "%s", error.text);
        pthread_mutex_lock(&ledger->mutex);
        count_result(ledger, QD_BOOK_INVALID);
        pthread_mutex_unlock(&ledger->mutex);
        return QD_BOOK_INVALID;
    }
    if (booking->entry->request_id.len > 0) {
        qd_idempotency_key(booking->entry, &job.key);
        if (job.key.failed) {
            error.code = QD_STORE_NO_MEMORY;
            qd_buf_release(&job.key);
            return store_failed(ret_receipt, &error);
        }
        job.key_hash = XXH3_64bits(job.key.data, job.key.size);
    }
    pthread_cond_init(&job.wake, NULL);
    run(ledger, &job);
    pthread_cond_destroy(&job.wake);
    qd_buf_release(&job.key);
    return job.result;
}
