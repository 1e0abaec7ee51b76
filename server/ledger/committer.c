/* The thread that writes: what has come while it wrote is its next group (L2).
 *
 * So a group grows with the load and with the time of a sync: alone, a booking waits for no other.
 */
#include "server/ledger/ledger_internal.h"

#include <assert.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * (uint64_t)QD_NS_PER_S + (uint64_t)now.tv_nsec;
}

void qd_committer_enqueue(struct qd_ledger *ledger, struct qd_book_job *first,
                          struct qd_book_job *last)
{
    uint64_t now = now_ns();
    last->own.queue_next = NULL;
    for (struct qd_book_job *job = first; job != NULL; job = job->own.queue_next) {
        job->own.queued_ns = now;
    }
    pthread_mutex_lock(&ledger->mutex);
    if (ledger->queue_head == NULL) {
        ledger->queue_head = first;
        pthread_cond_signal(&ledger->work);
    } else {
        ledger->queue_tail->own.queue_next = first;
    }
    ledger->queue_tail = last;
    pthread_mutex_unlock(&ledger->mutex);
}

/* Take up to group_max jobs off the queue: their number. They stay linked. */
static uint32_t take_group(struct qd_ledger *ledger)
{
    uint32_t count = 0;
    while (ledger->queue_head != NULL && count < ledger->group_max) {
        ledger->queue_head = ledger->queue_head->own.queue_next;
        count++;
    }
    return count;
}

/* Write the group; the mutex is held, and let go of meanwhile. After a failed write nothing is
 * written until somebody has healed the ledger: what waited fails with it. */
static struct qd_store_error write_group(struct qd_ledger *ledger, struct qd_book_job *first,
                                         uint32_t count)
{
    struct qd_store_error error = ledger->counts.failure;
    struct qd_watermark mark = ledger->mark;
    if (!ledger->counts.failed) {
        pthread_mutex_unlock(&ledger->mutex);
        error = (struct qd_store_error){0};
        error.code = qd_ledger_commit(ledger, first, count, &mark, &error);
        pthread_mutex_lock(&ledger->mutex);
        ledger->mark = mark;
    }
    bool booked = error.code == QD_STORE_OK;
    ledger->counts.failed = !booked;
    ledger->counts.failure = error;
    ledger->counts.groups += booked;
    if (count > ledger->counts.group_largest) {
        ledger->counts.group_largest = count;
    }
    return error;
}

/* What was booked has waited so long; nobody else writes these. */
static void measure_group(struct qd_ledger *ledger, const struct qd_book_job *first, uint32_t count)
{
    uint64_t now = now_ns();
    const struct qd_book_job *job = first;
    for (uint32_t i = 0; i < count; i++, job = job->own.queue_next) {
        qd_histogram_add(&ledger->commit_ns, QD_HISTOGRAM_LATENCY, now - job->own.queued_ns);
    }
    qd_histogram_add(&ledger->group_size, QD_HISTOGRAM_SIZE, count);
}

static void finish_group(struct qd_ledger *ledger, struct qd_book_job *first, uint32_t count,
                         const struct qd_store_error *error)
{
    struct qd_book_job *next = first;
    for (uint32_t i = 0; i < count; i++) {
        struct qd_book_job *job = next;
        next = job->own.queue_next; /* the job may be gone once it is finished */
        if (error->code != QD_STORE_OK) {
            job->receipt->sequence = 0;
            job->receipt->recorded_time.ns = 0;
            job->result = qd_book_store_failed(job->receipt, error);
        }
        qd_book_finish(ledger, job);
    }
}

static void *committer_main(void *argument)
{
    struct qd_ledger *ledger = argument;
    pthread_mutex_lock(&ledger->mutex);
    for (;;) {
        while ((ledger->queue_head == NULL && !ledger->stop) || ledger->leading) {
            pthread_cond_wait(&ledger->work, &ledger->mutex);
        }
        struct qd_book_job *first = ledger->queue_head;
        if (first == NULL) {
            break;
        }
        ledger->leading = true;
        uint32_t count = take_group(ledger);
        struct qd_store_error error = write_group(ledger, first, count);
        qd_ledger_unlead(ledger);
        pthread_mutex_unlock(&ledger->mutex);
        if (error.code == QD_STORE_OK) {
            measure_group(ledger, first, count);
        }
        finish_group(ledger, first, count, &error);
        pthread_mutex_lock(&ledger->mutex);
    }
    pthread_mutex_unlock(&ledger->mutex);
    return NULL;
}

bool qd_committer_start(struct qd_ledger *ledger)
{
    ledger->started = pthread_create(&ledger->committer, NULL, committer_main, ledger) == 0;
    return ledger->started;
}

void qd_committer_stop(struct qd_ledger *ledger)
{
    if (!ledger->started) {
        return;
    }
    pthread_mutex_lock(&ledger->mutex);
    ledger->stop = true;
    pthread_cond_signal(&ledger->work);
    pthread_mutex_unlock(&ledger->mutex);
    (void)pthread_join(ledger->committer, NULL);
    ledger->started = false;
}
