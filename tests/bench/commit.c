/* What a group of bookings costs, against the store alone.
 *
 *     bench_commit FOLDER [groups]
 *
 * For groups of 64, 256 and 512 entries, in turns in one run: quotad's commit path (validate, look
 * the key up, encode entry, key and rollup, one synced write, call back), and bare RocksDB, which
 * writes the same bytes, taken down from the ledger's own batches, with one sync each. Both stores
 * lie in FOLDER: its disk is what is measured. Prints key=value lines: entries a second of either,
 * and the median time of a group in microseconds.
 *
 * Threads: this one submits, the ledger's writes. */
#include "server/ledger/ledger.h"
#include "storage/store_rocksdb.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_MAX 512U
#define ROUNDS    5U /* turns of either */

/* --- a store that writes batches down before it passes them on --- */

struct recorder {
    struct qd_store base;
    struct qd_store *inner;
    struct qd_batch *batches;
    size_t count, capacity;
};

static void recorder_close(struct qd_store *store)
{
    struct recorder *r = (struct recorder *)store;
    qd_store_close(r->inner);
}

static enum qd_store_err recorder_get(struct qd_store *store, enum qd_store_space space,
                                      struct qd_str key, struct qd_buf *ret_value,
                                      struct qd_store_error *error)
{
    return qd_store_get(((struct recorder *)store)->inner, space, key, ret_value, error);
}

static enum qd_store_err recorder_write(struct qd_store *store, const struct qd_batch *batch,
                                        bool sync, struct qd_store_error *error)
{
    struct recorder *r = (struct recorder *)store;
    if (r->count < r->capacity) {
        qd_batch_append(&r->batches[r->count++], batch);
    }
    return qd_store_write(r->inner, batch, sync, error);
}

static struct qd_store_iter *recorder_iter_open(struct qd_store *store,
                                                const struct qd_store_range *range)
{
    return qd_store_iter_open(((struct recorder *)store)->inner, range);
}

static const struct qd_store_ops recorder_ops = {.close = recorder_close,
                                                 .get = recorder_get,
                                                 .write = recorder_write,
                                                 .iter_open = recorder_iter_open};

/* --- */

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_commit: %s: %s\n", what, why);
    exit(1);
}

static void *must(void *memory)
{
    if (memory == NULL) {
        die("memory", "none left");
    }
    return memory;
}

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * QD_NS_PER_S + now.tv_nsec;
}

static struct qd_wall_ns wall_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct qd_wall_ns){(int64_t)now.tv_sec * QD_NS_PER_S + now.tv_nsec};
}

static struct qd_store *open_store(const char *folder, const char *name)
{
    char path[4096];
    struct qd_store *store = NULL;
    struct qd_store_error error;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct qd_store_rocksdb_config config = {.path = path};
    if (qd_store_rocksdb_open(&config, &store, &error) != QD_STORE_OK) {
        die(path, error.text);
    }
    return store;
}

/* --- the ledger's way --- */

struct one {
    char tenant[32];
    char request_id[32];
    struct qd_entry entry;
    struct qd_booking booking;
    struct qd_receipt receipt;
    struct qd_book_job job;
};

struct writer {
    struct qd_ledger *ledger;
    struct one *ones;
    struct qd_book_job *jobs[GROUP_MAX];
    uint64_t number; /* of reports so far */
    pthread_mutex_t mutex;
    pthread_cond_t all_done;
    uint32_t pending;
};

static void on_done(struct qd_book_job *job)
{
    struct writer *w = job->context;
    if (job->result != QD_BOOK_BOOKED) {
        die("booking", job->receipt->text);
    }
    pthread_mutex_lock(&w->mutex);
    if (--w->pending == 0) {
        pthread_cond_signal(&w->all_done);
    }
    pthread_mutex_unlock(&w->mutex);
}

/* As a gateway reports: a tenant of 10,000, tokens, a price. */
static void fill(struct writer *w, struct one *one, struct qd_wall_ns now)
{
    uint64_t n = ++w->number;
    snprintf(one->tenant, sizeof one->tenant, "t%05u/core/app", (unsigned)(n * 7919 % 10000));
    snprintf(one->request_id, sizeof one->request_id, "req-%016llx", (unsigned long long)n);
    one->entry = (struct qd_entry){
        .kind = QD_ENTRY_USAGE,
        .flags = QD_ENTRY_FINAL,
        .event_time = now,
        .charged_time = now,
        .tenant = qd_slice_of(one->tenant),
        .model = qd_slice_of("gpt-4o"),
        .source = qd_slice_of("gateway"),
        .request_id = qd_slice_of(one->request_id),
        .quantities = {{qd_slice_of("input_tokens"), 1200},
                       {qd_slice_of("output_tokens"), 233},
                       {qd_slice_of("requests"), 1}},
        .quantity_count = 3,
        .prices = {qd_slice_of("gpt-4o@2026-01-01")},
        .price_count = 1,
        .cost_pico_usd = 5330000000,
        .charge_pico_usd = 5330000000,
        .cost_nano_usd = 5330000,
        .charge_nano_usd = 5330000,
    };
    one->booking = (struct qd_booking){.entry = &one->entry,
                                       .content = qd_ledger_content(&one->entry, false),
                                       .answer = qd_slice_of("an answer of usual size: 40 bytes"),
                                       .now = now};
    one->job = (struct qd_book_job){
        .booking = &one->booking, .receipt = &one->receipt, .done = on_done, .context = w};
}

static void book_group(struct writer *w, uint32_t size)
{
    struct qd_wall_ns now = wall_now();
    for (uint32_t i = 0; i < size; i++) {
        fill(w, &w->ones[i], now);
        w->jobs[i] = &w->ones[i].job;
    }
    w->pending = size;
    qd_ledger_submit(w->ledger, w->jobs, size);
    pthread_mutex_lock(&w->mutex);
    while (w->pending > 0) {
        pthread_cond_wait(&w->all_done, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
}

static struct qd_ledger *open_ledger(struct qd_store *store)
{
    static const struct qd_ledger_config config = {.group_max = GROUP_MAX};
    struct qd_ledger *ledger = NULL;
    struct qd_store_error error;
    if (qd_ledger_open(store, &config, &ledger, &error) != QD_STORE_OK) {
        die("ledger", error.text);
    }
    return ledger;
}

/* --- */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

struct times {
    int64_t *ns;
    size_t count;
};

static void print_times(const char *who, uint32_t size, struct times *t)
{
    int64_t sum = 0;
    for (size_t i = 0; i < t->count; i++) {
        sum += t->ns[i];
    }
    qsort(t->ns, t->count, sizeof t->ns[0], compare);
    printf("%s_%u_per_s=%.0f\n", who, size, (double)t->count * size * 1e9 / (double)sum);
    int64_t median = t->ns[t->count / 2];
    printf("%s_%u_group_us=%.0f\n", who, size, (double)median / 1e3);
}

static void note(struct times *t, int64_t from)
{
    t->ns[t->count++] = clock_ns() - from;
}

/* Groups of `size`: first one turn is written down, then both take turns with that. */
static void measure(struct writer *w, struct recorder *recorder, struct qd_store *bare,
                    uint32_t size, size_t groups)
{
    struct times ours = {.ns = must(calloc(ROUNDS * groups, sizeof(int64_t)))};
    struct times theirs = {.ns = must(calloc(ROUNDS * groups, sizeof(int64_t)))};
    recorder->batches = must(calloc(groups, sizeof *recorder->batches));
    recorder->count = 0;
    book_group(w, size); /* the ledger's mark, and what else comes once */
    recorder->capacity = groups;
    for (size_t i = 0; i < groups; i++) {
        book_group(w, size);
    }
    recorder->capacity = 0;
    if (recorder->count != groups) {
        die("groups", "were not written as submitted");
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < groups; i++) {
            int64_t from = clock_ns();
            book_group(w, size);
            note(&ours, from);
        }
        for (size_t i = 0; i < groups; i++) {
            struct qd_store_error error;
            int64_t from = clock_ns();
            if (qd_store_write(bare, &recorder->batches[i], true, &error) != QD_STORE_OK) {
                die("bare store", error.text);
            }
            note(&theirs, from);
        }
    }
    for (size_t i = 0; i < groups; i++) {
        qd_batch_release(&recorder->batches[i]);
    }
    free(recorder->batches);
    print_times("quotad", size, &ours);
    print_times("bare", size, &theirs);
    free(ours.ns);
    free(theirs.ns);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        die("usage", "bench_commit FOLDER [groups]");
    }
    size_t groups = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 40;
    struct recorder recorder = {.base.ops = &recorder_ops, .inner = open_store(argv[1], "ledger")};
    struct qd_store *bare = open_store(argv[1], "bare");
    struct writer writer = {.ledger = open_ledger(&recorder.base),
                            .ones = must(calloc(GROUP_MAX, sizeof(struct one)))};
    pthread_mutex_init(&writer.mutex, NULL);
    pthread_cond_init(&writer.all_done, NULL);
    for (uint32_t i = 0; i < GROUP_MAX; i++) {
        qd_receipt_init(&writer.ones[i].receipt);
    }
    measure(&writer, &recorder, bare, 64, groups);
    measure(&writer, &recorder, bare, 256, groups);
    measure(&writer, &recorder, bare, 512, groups);
    for (uint32_t i = 0; i < GROUP_MAX; i++) {
        qd_receipt_release(&writer.ones[i].receipt);
    }
    qd_ledger_close(writer.ledger);
    qd_store_close(&recorder.base);
    qd_store_close(bare);
    free(writer.ones);
    return 0;
}
