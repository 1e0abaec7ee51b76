/* Booking without waiting: groups, the order of what is done, and keys that are in flight. */
#include "oracle.h"
#include "storage/store_memory.h"
#include "tests/lib/store/gate.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define JOBS_MAX 16

static struct qd_store *inner;
static struct qd_store *store;
static struct qd_ledger *ledger;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t one_more = PTHREAD_COND_INITIALIZER;
static unsigned order[JOBS_MAX]; /* the jobs as they were done */
static unsigned done_count;

/* A job with all that it points to. */
struct one {
    unsigned number;
    char request_id[16];
    struct qd_entry entry;
    struct qd_booking booking;
    struct qd_receipt receipt;
    struct qd_book_job job;
};

static struct one jobs[JOBS_MAX];

static void open_ledger(void)
{
    struct qd_ledger_config config = {0};

    inner = qd_store_memory_new();
    store = gate_new(inner);
    done_count = 0;
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, NULL), QD_STORE_OK);
}

static void close_ledger(void)
{
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        qd_receipt_release(&jobs[i].receipt);
    }
    qd_ledger_close(ledger);
    qd_store_close(store);
}

TestSuite(submit, .init = open_ledger, .fini = close_ledger);

static void note_done(struct qd_book_job *job)
{
    struct one *one = job->context;

    (void)pthread_mutex_lock(&mutex);
    order[done_count++] = one->number;
    (void)pthread_cond_signal(&one_more);
    (void)pthread_mutex_unlock(&mutex);
}

static void submit(unsigned number, const char *request_id, int64_t amount)
{
    struct one *one = &jobs[number];

    one->number = number;
    (void)snprintf(one->request_id, sizeof(one->request_id), "%s", request_id);
    one->entry = (struct qd_entry){.kind = QD_ENTRY_USAGE,
                                   .flags = QD_ENTRY_FINAL,
                                   .event_time = {ORACLE_NOW_NS},
                                   .charged_time = {ORACLE_NOW_NS},
                                   .tenant = qd_slice_of("acme"),
                                   .request_id = qd_slice_of(one->request_id),
                                   .quantities = {{qd_slice_of("requests"), amount}},
                                   .quantity_count = 1};
    one->booking = (struct qd_booking){.entry = &one->entry,
                                       .content = qd_ledger_content(&one->entry, false),
                                       .answer = qd_slice_of("first"),
                                       .now = {ORACLE_NOW_NS}};
    one->job = (struct qd_book_job){
        .booking = &one->booking, .receipt = &one->receipt, .done = note_done, .context = one};
    qd_ledger_submit(ledger, &(struct qd_book_job *){&one->job}, 1);
}

static void await(unsigned count)
{
    (void)pthread_mutex_lock(&mutex);
    while (done_count < count) {
        (void)pthread_cond_wait(&one_more, &mutex);
    }
    (void)pthread_mutex_unlock(&mutex);
}

static struct qd_ledger_status status(void)
{
    struct qd_ledger_status s;

    qd_ledger_status(ledger, &s);
    return s;
}

/* The first job passes the gate alone, so that the ledger has made its mark. */
static void book_first(void)
{
    submit(0, "first", 1);
    await(1);
    gate_shut(store);
}

Test(submit, L2_what_comes_while_a_group_is_written_is_the_next_group_and_done_in_order)
{
    book_first();
    submit(1, "a", 1);
    gate_await_writer(store);
    for (unsigned i = 2; i < 10; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "b%u", i);
        submit(i, id, 1);
    }
    cr_assert_eq(done_count, 1); /* nothing is acknowledged before it is on disk */
    cr_assert_eq(status().watermark.sequence, 1);
    gate_open(store);
    await(10);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(order[i], i);
        cr_assert_eq(jobs[i].job.result, QD_BOOK_BOOKED);
        cr_assert_eq(jobs[i].receipt.sequence, i + 1);
    }
    cr_assert_eq(status().groups, 3);
    cr_assert_eq(status().group_largest, 8);
    qd_store_memory_crash(inner, 0); /* all of it was synced */
    cr_assert_eq(status().booked, 10);
}

Test(submit, S6_a_key_in_flight_is_waited_for_without_a_thread)
{
    book_first();
    submit(1, "a", 1);
    gate_await_writer(store);
    submit(2, "a", 1);
    submit(3, "a", 2);
    submit(4, "a", 1);
    submit(5, "b", 1);
    gate_open(store);
    await(6);
    cr_assert_eq(jobs[1].job.result, QD_BOOK_BOOKED);
    cr_assert_eq(jobs[2].job.result, QD_BOOK_DUPLICATE);
    cr_assert_eq(jobs[3].job.result, QD_BOOK_CONFLICT);
    cr_assert_eq(jobs[4].job.result, QD_BOOK_DUPLICATE);
    cr_assert_eq(jobs[4].receipt.sequence, jobs[1].receipt.sequence);
    cr_assert_eq(jobs[5].job.result, QD_BOOK_BOOKED);
    cr_assert_eq(status().watermark.sequence, 3);
}

Test(submit, X4_a_failed_group_fails_whole_and_its_key_books_again)
{
    book_first();
    submit(1, "a", 1);
    gate_await_writer(store);
    submit(2, "a", 1); /* waits for the key of 1 */
    submit(3, "b", 1); /* of the next group */
    qd_store_memory_faults(inner)->write.countdown = 0;
    gate_open(store);
    await(4);
    cr_assert_eq(jobs[1].job.result, QD_BOOK_STORE_ERROR);
    cr_assert_eq(jobs[1].receipt.sequence, 0);
    /* 2 is looked up anew when 1 has failed, for which the ledger is healed: by then 3 may go, too.
     */
    cr_assert_eq(jobs[2].job.result, QD_BOOK_BOOKED);
    cr_assert_eq(jobs[3].job.result, QD_BOOK_BOOKED);
    cr_assert_eq(status().watermark.sequence, 3);
    submit(4, "a", 1);
    await(5);
    cr_assert_eq(jobs[4].job.result, QD_BOOK_DUPLICATE);
}

static uint64_t total(const struct qd_histogram_sum *sum)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < QD_HISTOGRAM_BUCKETS; i++) {
        count += sum->counts[i];
    }
    return count;
}

/* Each booking's wait begins when it is queued, behind another group too; what has failed, and what
 * needed no write, has not waited for the disk. */
Test(submit, I6_waits_for_the_disk_and_sizes_of_groups_are_measured)
{
    struct qd_ledger_measured m;

    book_first();
    submit(1, "a", 1);
    gate_await_writer(store);
    for (unsigned i = 2; i < 5; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "b%u", i);
        submit(i, id, 1);
    }
    submit(5, "a", 1); /* a duplicate, in the end */
    (void)usleep(20000);
    gate_open(store);
    await(6);
    qd_ledger_measured(ledger, &m);
    cr_expect_eq(total(&m.commit_ns), 5);
    cr_expect_geq(m.commit_ns.sum, 4 * UINT64_C(20000000));
    cr_expect_eq(total(&m.group_size), 3);
    cr_expect_eq(m.group_size.counts[qd_histogram_bucket(QD_HISTOGRAM_SIZE, 1)], 2);
    cr_expect_eq(m.group_size.counts[qd_histogram_bucket(QD_HISTOGRAM_SIZE, 3)], 1);
    cr_expect_eq(m.group_size.sum, 5);
    qd_store_memory_faults(inner)->write.countdown = 0;
    submit(6, "c", 1);
    await(7);
    cr_expect_eq(jobs[6].job.result, QD_BOOK_STORE_ERROR);
    qd_ledger_measured(ledger, &m);
    cr_expect_eq(total(&m.commit_ns), 5);
    cr_expect_eq(total(&m.group_size), 3);
}

Test(submit, X4_nothing_is_written_after_a_failure_until_somebody_heals)
{
    book_first();
    submit(1, "a", 1);
    gate_await_writer(store);
    submit(2, "b", 1);
    qd_store_memory_faults(inner)->sync.countdown = 0; /* there, but not durable */
    gate_open(store);
    await(3);
    cr_assert_eq(jobs[1].job.result, QD_BOOK_STORE_ERROR);
    cr_assert_eq(jobs[2].job.result, QD_BOOK_STORE_ERROR);
    cr_assert(status().failed);
    submit(3, "a", 1); /* makes it durable first, then finds it */
    submit(4, "b", 1);
    await(5);
    cr_assert_eq(jobs[3].job.result, QD_BOOK_DUPLICATE);
    cr_assert_eq(jobs[4].job.result, QD_BOOK_BOOKED);
    cr_assert_eq(status().watermark.sequence, 3);
    cr_assert(!status().failed);
}

Test(submit, what_is_refused_is_done_before_submit_returns)
{
    struct one *one = &jobs[0];

    submit(0, "x", 1);
    await(1);
    one->entry.tenant = qd_slice_of("");
    one->job.result = QD_BOOK_BOOKED;
    qd_ledger_submit(ledger, &(struct qd_book_job *){&one->job}, 1);
    cr_assert_eq(done_count, 2);
    cr_assert_eq(one->job.result, QD_BOOK_INVALID);
    cr_assert_eq(status().refused, 1);
}
