#include "tests/bench/ledger_fill.h"

#include "storage/store_rocksdb.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP   512U /* entries of a batch */
#define BATCHES 8U   /* submitted at once, while as many are being written */

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* --- a store that syncs nothing --- */

struct unsynced {
    struct qd_store base;
    struct qd_store *inner;
};

static struct qd_store *inner_of(struct qd_store *store)
{
    return ((struct unsynced *)store)->inner;
}

static void unsynced_close(struct qd_store *store)
{
    qd_store_close(inner_of(store));
    free(store);
}

static enum qd_store_err unsynced_get(struct qd_store *store, enum qd_store_space space,
                                      struct qd_str key, struct qd_buf *ret_value,
                                      struct qd_store_error *error)
{
    return qd_store_get(inner_of(store), space, key, ret_value, error);
}

static enum qd_store_err unsynced_write(struct qd_store *store, const struct qd_batch *batch,
                                        bool sync, struct qd_store_error *error)
{
    (void)sync;
    return qd_store_write(inner_of(store), batch, false, error);
}

static struct qd_store_snapshot *unsynced_snapshot_open(struct qd_store *store)
{
    return qd_store_snapshot_open(inner_of(store));
}

static void unsynced_snapshot_close(struct qd_store *store, struct qd_store_snapshot *snapshot)
{
    qd_store_snapshot_close(inner_of(store), snapshot);
}

static struct qd_store_iter *unsynced_iter_open(struct qd_store *store,
                                                const struct qd_store_range *range)
{
    return qd_store_iter_open(inner_of(store), range);
}

static const struct qd_store_ops unsynced_ops = {
    .close = unsynced_close,
    .get = unsynced_get,
    .write = unsynced_write,
    .snapshot_open = unsynced_snapshot_open,
    .snapshot_close = unsynced_snapshot_close,
    .iter_open = unsynced_iter_open,
};

struct qd_store *ledger_fill_store(const char *folder, bool synced)
{
    struct qd_store_rocksdb_config config = {.path = folder};
    struct qd_store *store = NULL;
    struct qd_store_error error;
    if (qd_store_rocksdb_open(&config, &store, &error) != QD_STORE_OK) {
        die(folder, error.text);
    }
    if (synced) {
        return store;
    }
    struct unsynced *unsynced = calloc(1, sizeof *unsynced);
    if (unsynced == NULL) {
        die("memory", "none left");
    }
    unsynced->base.ops = &unsynced_ops;
    unsynced->inner = store;
    return &unsynced->base;
}

struct qd_ledger *ledger_fill_open(struct qd_store *store)
{
    static const struct qd_ledger_config config = {.group_max = GROUP};
    struct qd_ledger *ledger = NULL;
    struct qd_store_error error;
    if (qd_ledger_open(store, &config, &ledger, &error) != QD_STORE_OK) {
        die("ledger", error.text);
    }
    return ledger;
}

/* --- filling --- */

struct one {
    char tenant[32];
    char model[32];
    char request_id[32];
    struct qd_entry entry;
    struct qd_booking booking;
    struct qd_receipt receipt;
    struct qd_book_job job;
};

/* Entries under way together. */
struct load {
    struct one ones[GROUP * BATCHES];
    struct qd_book_job *jobs[GROUP * BATCHES];
    pthread_mutex_t mutex;
    pthread_cond_t all_done;
    uint32_t pending;
};

static void on_done(struct qd_book_job *job)
{
    struct load *load = job->context;
    if (job->result != QD_BOOK_BOOKED) {
        die("booking", job->receipt->text);
    }
    pthread_mutex_lock(&load->mutex);
    if (--load->pending == 0) {
        pthread_cond_signal(&load->all_done);
    }
    pthread_mutex_unlock(&load->mutex);
}

/* Entry number `n`, as a gateway reports it. */
static void make(const struct ledger_fill *fill, uint64_t n, struct load *load, struct one *one)
{
    uint64_t model = n / fill->tenants % fill->models;
    struct qd_wall_ns now = {fill->end.ns -
                             (int64_t)((qd_int128)fill->span_ns * (int64_t)(fill->entries - n - 1) /
                                       (int64_t)fill->entries)};
    snprintf(one->tenant, sizeof one->tenant, "t%07llu/core/app",
             (unsigned long long)(n % fill->tenants));
    snprintf(one->model, sizeof one->model, model == 0 ? "bench" : "model-%u", (unsigned)model);
    snprintf(one->request_id, sizeof one->request_id, "req-%016llx", (unsigned long long)n);
    one->entry = (struct qd_entry){
        .kind = QD_ENTRY_USAGE,
        .flags = QD_ENTRY_FINAL,
        .event_time = now,
        .charged_time = now,
        .tenant = qd_slice_of(one->tenant),
        .model = qd_slice_of(one->model),
        .source = qd_slice_of("gateway"),
        .request_id = qd_slice_of(one->request_id),
        .quantities = {{qd_slice_of("input_tokens"), 1200 + (int64_t)(n % 100)},
                       {qd_slice_of("output_tokens"), 233},
                       {qd_slice_of("requests"), 1}},
        .quantity_count = 3,
        .prices = {qd_slice_of("bench@2026-01-01")},
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
        .booking = &one->booking, .receipt = &one->receipt, .done = on_done, .context = load};
}

static void await(struct load *load)
{
    pthread_mutex_lock(&load->mutex);
    while (load->pending > 0) {
        pthread_cond_wait(&load->all_done, &load->mutex);
    }
    pthread_mutex_unlock(&load->mutex);
}

static struct load *load_new(void)
{
    struct load *load = calloc(1, sizeof *load);
    if (load == NULL) {
        die("memory", "none left");
    }
    pthread_mutex_init(&load->mutex, NULL);
    pthread_cond_init(&load->all_done, NULL);
    for (uint32_t i = 0; i < GROUP * BATCHES; i++) {
        qd_receipt_init(&load->ones[i].receipt);
        load->jobs[i] = &load->ones[i].job;
    }
    return load;
}

static void load_free(struct load *load)
{
    await(load);
    for (uint32_t i = 0; i < GROUP * BATCHES; i++) {
        qd_receipt_release(&load->ones[i].receipt);
    }
    free(load);
}

void ledger_fill(struct qd_ledger *ledger, const struct ledger_fill *fill)
{
    struct load *loads[2] = {load_new(), load_new()};
    uint64_t n = 0;
    for (unsigned turn = 0; n < fill->entries; turn = 1 - turn) {
        struct load *load = loads[turn];
        await(load);
        uint32_t count = 0;
        while (count < GROUP * BATCHES && n < fill->entries) {
            make(fill, n++, load, &load->ones[count++]);
        }
        load->pending = count;
        qd_ledger_submit(ledger, load->jobs, count);
    }
    load_free(loads[0]);
    load_free(loads[1]);
}
