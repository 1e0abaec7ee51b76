/* Reports at once: begin, book, wait, apply (L2, S2-S7, X5). */
#include "server/shard/reports.h"

#include "server/core/mutant.h"
#include "server/shard/closed.h"
#include "server/shard/report.h"
#include "server/shard/stored_answer.h"
#include "storage/codec.h"

#include <assert.h>
#include <stdlib.h>

struct qd_reports {
    struct qd_worker *worker;
    pthread_mutex_t mutex;
    pthread_cond_t booked;
    uint32_t pending; /* on their way to the disk; under the mutex */
    uint32_t count;
    bool under_way; /* from the first begin to finish: node->booking is shared */
    bool finished;  /* `count` results lie there: the next begin starts anew */
    uint32_t capacity;
    struct qd_report_work *works;
    struct qd_book_job **jobs; /* of those that are to be booked */
    uint32_t job_count;
};

/* --- booking and settling --- */

static enum qd_error_code booking_error(enum qd_book_result result,
                                        const struct qd_receipt *receipt,
                                        struct qd_error *ret_error)
{
    switch (result) {
    case QD_BOOK_CONFLICT:
        return qd_error_set(ret_error, QD_ERROR_REPORT_CONFLICT, "%s", receipt->text);
    case QD_BOOK_TOO_OLD:
        return qd_error_set(ret_error, QD_ERROR_REPORT_TOO_OLD, "%s", receipt->text);
    case QD_BOOK_IN_FUTURE:
        return qd_error_set(ret_error, QD_ERROR_INVALID_TIME, "%s", receipt->text);
    case QD_BOOK_INVALID:
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s", receipt->text);
    case QD_BOOK_STORE_ERROR:
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                            "not booked: %s; retry the same report", receipt->text);
    case QD_BOOK_BOOKED:
    case QD_BOOK_DUPLICATE:
        break;
    }
    return QD_ERROR_NONE;
}

static void on_booked(struct qd_book_job *job)
{
    struct qd_reports *reports = job->context;

    (void)pthread_mutex_lock(&reports->mutex);
    if (--reports->pending == 0) {
        (void)pthread_cond_signal(&reports->booked);
    }
    (void)pthread_mutex_unlock(&reports->mutex);
}

/* One entry, its key, its rollup and the reservation's end: one synced write (L2). */
static void prepare_booking(struct qd_report_work *w, struct qd_reports *reports)
{
    qd_receipt_init(&w->receipt);
    qd_batch_init(&w->extra);
    qd_stored_answer_encode(&w->result.answer, &w->stored_answer);
    if (w->has_reference && w->final && !w->closed_before) {
        qd_closed_key(&w->reference.token, &w->closed_key);
        struct qd_hash128 identity = qd_report_identity(&w->entry);
        qd_batch_put(&w->extra, QD_STORE_SNAPSHOT, qd_buf_str(&w->closed_key),
                     (struct qd_str){(const char *)&identity, sizeof(identity)});
    }
    w->booking = (struct qd_booking){.entry = &w->entry,
                                     .content = w->content,
                                     .answer = qd_buf_str(&w->stored_answer),
                                     .extra = &w->extra,
                                     .now = w->now};
    w->job = (struct qd_book_job){
        .booking = &w->booking, .receipt = &w->receipt, .done = on_booked, .context = reports};
    w->to_book = true;
    reports->jobs[reports->job_count++] = &w->job;
}

static enum qd_error_code end_booking(struct qd_report_work *w, bool *ret_duplicate)
{
    struct qd_report_answer *a = &w->result.answer;
    struct qd_error *error = &w->result.error;
    enum qd_error_code code = booking_error(w->job.result, &w->receipt, error);

    *ret_duplicate = w->job.result == QD_BOOK_DUPLICATE;
    if (*ret_duplicate && !qd_stored_answer_decode(w->receipt.answer, a)) {
        code = qd_error_set(error, QD_ERROR_STORE_ERROR,
                            "booked before as entry %llu, but its answer cannot be read",
                            (unsigned long long)w->receipt.sequence);
    }
    a->entry_sequence = w->receipt.sequence;
    a->duplicate = *ret_duplicate;
    qd_buf_release(&w->stored_answer);
    qd_buf_release(&w->closed_key);
    qd_batch_release(&w->extra);
    qd_receipt_release(&w->receipt);
    return code;
}

/* --- several at once --- */

static void count(struct qd_worker *worker, const struct qd_report_result *result)
{
    if (result->code != QD_ERROR_NONE) {
        qd_count(&worker->figures.reports_failed);
    } else if (result->answer.duplicate) {
        qd_count(&worker->figures.reports_duplicate);
    } else {
        qd_count(&worker->figures.reports);
        if (result->answer.settlement == QD_SETTLEMENT_LATE) {
            qd_count(&worker->figures.reports_late);
        }
    }
}

/* The reservation's turn, if the report has one. False: it cannot be waited for, as reports that
 * have theirs may be what it waits for. */
static bool take_turn(struct qd_report_work *w, bool may_wait)
{
    struct qd_turns *turns = &w->worker->node->turns;

    if (!w->has_reference) {
        return true;
    }
    if (may_wait) {
        qd_turns_take(turns, w->reference.token.reservation);
        w->has_turn = true;
    } else {
        w->has_turn = qd_turns_try(turns, w->reference.token.reservation);
    }
    return w->has_turn;
}

static void end_turn(struct qd_report_work *w)
{
    if (w->has_turn) {
        qd_turns_end(&w->worker->node->turns, w->reference.token.reservation);
    }
}

/* False: not begun. */
static bool begin(struct qd_report_work *w, struct qd_reports *reports)
{
    struct qd_report_result *result = &w->result;

    result->code = qd_report_validate(w, &result->error);
    if (result->code != QD_ERROR_NONE) {
        return true;
    }
    if (!take_turn(w, reports->count == 0)) {
        return false;
    }
    qd_report_identify(w);
    result->code = qd_report_look_at_reservation(w, &result->error);
    if (result->code == QD_ERROR_NONE) {
        result->code = qd_report_make_entry(w, &result->error);
    }
    if (result->code == QD_ERROR_NONE) {
        qd_report_make_answer(w, &result->answer);
        prepare_booking(w, reports);
    }
    return true;
}

static void finish(struct qd_report_work *w)
{
    struct qd_report_result *result = &w->result;
    bool duplicate = false;

    if (w->to_book) {
        result->code = end_booking(w, &duplicate);
        if (result->code == QD_ERROR_NONE && (!duplicate || QD_MUTANT(S6_apply))) {
            qd_report_apply(w, &result->answer);
            if (!duplicate) {
                qd_frontier_mark(&w->worker->node->frontier, w->result.answer.entry_sequence);
            }
        } else if (result->code == QD_ERROR_NONE) {
            qd_report_release(w);
        }
    }
    result->answer.policy = w->policy;
    end_turn(w);
    count(w->worker, result);
}

bool qd_reports_begin(struct qd_reports *reports, const struct qd_report_args *args)
{
    if (reports->finished) {
        reports->count = 0;
        reports->finished = false;
    }
    if (reports->count == reports->capacity) {
        return false;
    }
    if (!reports->under_way) { /* a reset, or other prices, come before or after: see node.h */
        (void)pthread_rwlock_rdlock(&reports->worker->node->booking);
        reports->under_way = true;
    }
    struct qd_report_work *w = &reports->works[reports->count];
    w->worker = reports->worker;
    w->args = args;
    w->published = atomic_load_explicit(&reports->worker->node->published, memory_order_acquire);
    w->policy = w->published->policy;
    w->now = qd_clock_now(&reports->worker->node->clock);
    w->has_reference = w->has_turn = w->open = w->live = w->closed_before = w->to_book = false;
    w->stored_answer = (struct qd_buf){0};
    w->closed_key = (struct qd_buf){0};
    if (!begin(w, reports)) {
        return false;
    }
    reports->count++;
    return true;
}

uint32_t qd_reports_finish(struct qd_reports *reports)
{
    struct qd_node *node = reports->worker->node;

    if (reports->finished) { /* nothing was begun since: what was finished is not applied twice */
        return 0;
    }
    reports->pending = reports->job_count;
    qd_ledger_submit(node->ledger, reports->jobs, reports->job_count);
    reports->job_count = 0;
    (void)pthread_mutex_lock(&reports->mutex);
    while (reports->pending > 0) {
        (void)pthread_cond_wait(&reports->booked, &reports->mutex);
    }
    (void)pthread_mutex_unlock(&reports->mutex);
    for (uint32_t i = 0; i < reports->count; i++) {
        finish(&reports->works[i]);
    }
    if (reports->under_way) {
        (void)pthread_rwlock_unlock(&node->booking);
        reports->under_way = false;
    }
    reports->finished = true;
    return reports->count;
}

struct qd_report_result *qd_reports_result(struct qd_reports *reports, uint32_t i)
{
    assert(reports->finished && i < reports->count);
    return &reports->works[i].result;
}

static void init(struct qd_reports *reports, struct qd_worker *worker, struct qd_report_work *works,
                 struct qd_book_job **jobs, uint32_t capacity)
{
    *reports =
        (struct qd_reports){.worker = worker, .works = works, .jobs = jobs, .capacity = capacity};
    (void)pthread_mutex_init(&reports->mutex, NULL);
    (void)pthread_cond_init(&reports->booked, NULL);
}

static void release(struct qd_reports *reports)
{
    (void)pthread_cond_destroy(&reports->booked);
    (void)pthread_mutex_destroy(&reports->mutex);
}

struct qd_reports *qd_reports_new(struct qd_worker *worker, uint32_t capacity)
{
    struct qd_reports *reports = malloc(sizeof(*reports));
    struct qd_report_work *works = malloc(capacity * sizeof(*works));
    struct qd_book_job **jobs = malloc(capacity * sizeof(struct qd_book_job *));

    if (reports == NULL || works == NULL || jobs == NULL) {
        free(reports);
        free(works);
        free(jobs);
        return NULL;
    }
    init(reports, worker, works, jobs, capacity);
    return reports;
}

void qd_reports_free(struct qd_reports *reports)
{
    if (reports != NULL) {
        release(reports);
        free(reports->works);
        free(reports->jobs);
        free(reports);
    }
}

enum qd_error_code qd_node_report(struct qd_worker *worker, const struct qd_report_args *args,
                                  struct qd_report_answer *ret_answer, struct qd_error *ret_error)
{
    struct qd_reports one;
    struct qd_report_work work;
    struct qd_book_job *job;

    init(&one, worker, &work, &job, 1);
    (void)qd_reports_begin(&one, args); /* the first one is never turned away */
    (void)qd_reports_finish(&one);
    release(&one);
    *ret_answer = work.result.answer;
    *ret_error = work.result.error;
    return work.result.code;
}
