/* Booking: once, again, in conflict, too late, while the store fails, and across crashes. */
#include "oracle.h"
#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "storage/store_memory.h"
#include "storage/store_rocksdb.h"
#include "tests/lib/failalloc.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct qd_ledger *open_ledger(struct qd_store *store)
{
    static const char *const labels[] = {"env", "user"};
    struct qd_ledger *ledger = NULL;
    struct qd_store_error error = {0};
    struct qd_ledger_config config = {.rollup_labels = labels, .rollup_label_count = 2};
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, &error), QD_STORE_OK, "%s", error.text);
    return ledger;
}

static struct qd_entry simple_entry(const char *request_id, int64_t output_tokens)
{
    struct qd_entry entry = {
        .kind = QD_ENTRY_USAGE,
        .flags = QD_ENTRY_FINAL,
        .event_time = {ORACLE_NOW_NS},
        .charged_time = {ORACLE_NOW_NS},
        .tenant = qd_slice_of("acme/search"),
        .model = qd_slice_of("gpt-4o"),
        .source = qd_slice_of("gateway"),
        .request_id = qd_slice_of(request_id),
        .attempt = 1,
        .quantities = {{qd_slice_of("input_tokens"), 1200},
                       {qd_slice_of("output_tokens"), output_tokens}},
        .quantity_count = 2,
        .cost_pico_usd = 1234567,
        .charge_pico_usd = 2000000,
        .cost_nano_usd = 1235,
        .charge_nano_usd = 2000,
    };
    return entry;
}

static enum qd_book_result book(struct qd_ledger *ledger, const struct qd_entry *entry,
                                struct qd_receipt *receipt)
{
    struct qd_booking booking = {
        .entry = entry,
        .content = qd_ledger_content(entry, false),
        .answer = qd_slice_of("the first answer"),
        .now = {ORACLE_NOW_NS},
    };
    return qd_ledger_book(ledger, &booking, receipt);
}

Test(book, S6_same_key_same_content_gets_the_first_answer)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 233);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.sequence, 1);
    cr_assert_eq(receipt.recorded_time.ns, ORACLE_NOW_NS);
    /* Prices may have changed since; what counts is what was reported. */
    entry.cost_nano_usd = 9;
    entry.event_time.ns += 5;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_DUPLICATE);
    cr_assert_eq(receipt.sequence, 1);
    cr_assert(receipt.has_first);
    cr_assert_eq(receipt.first.cost_nano_usd, 1235);
    cr_assert(qd_slice_equal(receipt.answer, qd_slice_of("the first answer")));
    entry.part = 1;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.sequence, 2);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, S6_same_key_other_content_says_what_differs)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 233);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    struct qd_entry other = simple_entry("r1", 240);
    other.model = qd_slice_of("llama-70b");
    other.quantities[2] = (struct qd_entry_quantity){qd_slice_of("requests"), 1};
    other.quantity_count = 3;
    other.labels[0] = (struct qd_label){qd_slice_of("env"), qd_slice_of("prod")};
    other.label_count = 1;
    other.outcome = QD_OUTCOME_FAILED;
    cr_assert_eq(book(ledger, &other, &receipt), QD_BOOK_CONFLICT);
    cr_assert_str_eq(
        receipt.text,
        "request_id \"r1\" (source \"gateway\", attempt 1, sequence 0) was booked as entry 1 with "
        "other content: output_tokens 233, now 240; requests missing, now 1; model \"gpt-4o\", now "
        "\"llama-70b\"; label env \"\", now \"prod\"; outcome \"OK\", now \"FAILED\"; nothing is "
        "booked: give another part another sequence, a retry the same content");
    cr_assert_eq(receipt.sequence, 1);
    cr_assert_eq(qd_ledger_watermark(ledger).sequence, 1);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, S6_events_beyond_the_horizon_are_refused)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 1);
    entry.event_time.ns = ORACLE_NOW_NS - 35 * QD_NS_PER_DAY;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    entry = simple_entry("r2", 1);
    entry.event_time.ns = ORACLE_NOW_NS - 35 * QD_NS_PER_DAY - 1;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_TOO_OLD);
    cr_assert_str_eq(receipt.text,
                     "event_time 2026-08-17T14:13:19Z is older than the ledger accepts (35 days): "
                     "2026-08-17T14:13:20Z or later is accepted; nothing is booked");
    entry.kind = QD_ENTRY_CORRECTION; /* L3: may concern any time */
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    entry = simple_entry("r3", 1);
    entry.event_time.ns = ORACLE_NOW_NS + QD_NS_PER_DAY;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    entry = simple_entry("r4", 1);
    entry.event_time.ns = ORACLE_NOW_NS + QD_NS_PER_DAY + 1;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_IN_FUTURE);
    cr_assert_str_eq(receipt.text,
                     "event_time 2026-09-22T14:13:20Z is in the future: 2026-09-22T14:13:20Z or "
                     "earlier is accepted; check the sender's clock and that the time is in "
                     "nanoseconds");
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, X4_a_full_disk_refuses_and_books_once_when_there_is_room)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    qd_store_memory_faults(store)->capacity_bytes = 1;
    entry = simple_entry("r2", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_STORE_ERROR);
    cr_assert_eq(strncmp(receipt.text, "the ledger cannot store: disk full: ", 36), 0, "%s",
                 receipt.text);
    struct qd_ledger_status status;
    qd_ledger_status(ledger, &status);
    cr_assert(status.failed);
    cr_assert_eq(status.failure.code, QD_STORE_FULL);
    qd_store_memory_faults(store)->capacity_bytes = 0;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.sequence, 2);
    qd_ledger_status(ledger, &status);
    cr_assert(!status.failed);
    cr_assert_eq(status.booked, 2);
    cr_assert_eq(status.store_errors, 1);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, L2_a_failed_sync_is_not_acknowledged_as_a_duplicate_until_it_is_durable)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_store_faults *faults = qd_store_memory_faults(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    entry = simple_entry("r2", 1);
    faults->sync = (struct qd_store_fault){.countdown = 0, .repeat = true};
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_STORE_ERROR);
    cr_assert_eq(receipt.sequence, 0);
    /* It is visible, but could be lost: still refused. */
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_STORE_ERROR);
    faults->sync.countdown = -1;
    faults->sync.repeat = false;
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_DUPLICATE);
    cr_assert_eq(receipt.sequence, 2);
    qd_ledger_close(ledger);
    qd_store_memory_crash(store, 0);
    ledger = open_ledger(store);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_DUPLICATE);
    entry = simple_entry("r3", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.sequence, 3);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

static bool find_key(struct qd_store *store, struct qd_buf *ret_key)
{
    struct qd_str key;
    struct qd_str value;
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_IDEMPOTENCY});
    bool found = qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK;
    if (found) {
        qd_buf_append_str(ret_key, key);
    }
    qd_store_iter_close(iter);
    return found;
}

Test(book, X4_a_damaged_key_is_refused_and_noted_never_booked_anew)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    struct qd_ledger_status status;
    struct qd_buf key = {0};
    struct qd_batch batch = {0};
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    qd_ledger_status(ledger, &status);
    cr_assert_eq(status.damage.code, QD_STORE_OK);
    cr_assert(find_key(store, &key));
    qd_batch_put(&batch, QD_STORE_IDEMPOTENCY, qd_buf_str(&key), qd_slice_of("rubbish"));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_STORE_ERROR);
    cr_assert_not_null(strstr(receipt.text, "corrupt data"), "%s", receipt.text);
    qd_ledger_status(ledger, &status);
    cr_assert_eq(status.damage.code, QD_STORE_CORRUPT);
    cr_assert_not_null(strstr(status.damage.text, "idempotency key: corrupt data"));
    cr_assert_not(status.failed, "others are taken");
    entry = simple_entry("r2", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.sequence, 2);
    qd_buf_release(&key);
    qd_batch_release(&batch);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, L2_the_callers_writes_go_with_the_entry)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_batch extra = {0};
    struct qd_buf value = {0};
    qd_batch_put(&extra, QD_STORE_SNAPSHOT, qd_slice_of("closed/7"), qd_slice_of("1"));
    struct qd_entry entry = simple_entry("r1", 1);
    struct qd_booking booking = {.entry = &entry, .extra = &extra, .now = {ORACLE_NOW_NS}};
    qd_store_memory_faults(store)->write.countdown = 1; /* the mark passes, the group doesn't */
    cr_assert_eq(qd_ledger_book(ledger, &booking, &receipt), QD_BOOK_STORE_ERROR);
    cr_assert_eq(qd_store_get(store, QD_STORE_SNAPSHOT, qd_slice_of("closed/7"), &value, NULL),
                 QD_STORE_NOT_FOUND);
    cr_assert_eq(qd_ledger_book(ledger, &booking, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(qd_store_get(store, QD_STORE_SNAPSHOT, qd_slice_of("closed/7"), &value, NULL),
                 QD_STORE_OK);
    qd_store_memory_crash(store, 0);
    cr_assert_eq(qd_store_get(store, QD_STORE_SNAPSHOT, qd_slice_of("closed/7"), &value, NULL),
                 QD_STORE_OK);
    qd_batch_release(&extra);
    qd_buf_release(&value);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, invalid_entries_are_refused)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", -1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_INVALID);
    cr_assert_str_eq(receipt.text, "output_tokens: -1 is out of range, 0 to 2^53 is accepted");
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(book, L5_the_watermark_never_goes_back_and_a_heartbeat_moves_it)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    struct qd_entry entry = simple_entry("r1", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    struct qd_wall_ns later = {ORACLE_NOW_NS + QD_NS_PER_HOUR};
    cr_assert_eq(qd_ledger_heartbeat(ledger, later, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_watermark(ledger).complete_through.ns, later.ns);
    cr_assert_eq(qd_ledger_heartbeat(ledger, (struct qd_wall_ns){1}, NULL), QD_STORE_OK);
    cr_assert_eq(qd_ledger_watermark(ledger).complete_through.ns, later.ns);
    qd_ledger_close(ledger);
    qd_store_memory_crash(store, 0);
    ledger = open_ledger(store);
    cr_assert_eq(qd_ledger_watermark(ledger).complete_through.ns, later.ns);
    /* The clock went back an hour: what is booked now is recorded after what was promised. */
    entry = simple_entry("r2", 1);
    cr_assert_eq(book(ledger, &entry, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.recorded_time.ns, later.ns + 1);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

/* --- against the oracle, with crashes and faults --- */

static const char *random_request(struct qd_prng *prng)
{
    static const char *const names[] = {"q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"};
    return names[qd_prng_below(prng, 8)];
}

static bool check_entry(void *context, const struct qd_entry *entry)
{
    struct oracle *oracle = context;
    size_t i = (size_t)entry->sequence - 1;
    cr_assert_lt(i, oracle->count);
    const struct qd_entry *expected = &oracle->entries[i];
    cr_assert(qd_slice_equal(entry->tenant, expected->tenant));
    cr_assert(qd_slice_equal(entry->request_id, expected->request_id));
    cr_assert_eq(entry->attempt, expected->attempt);
    cr_assert(qd_hash128_equal(qd_ledger_content(entry, false), oracle->content[i]));
    cr_assert_eq(entry->cost_nano_usd, expected->cost_nano_usd);
    cr_assert_eq(entry->event_time.ns, expected->event_time.ns);
    return true;
}

static void check_all(struct qd_ledger *ledger, struct oracle *oracle)
{
    uint64_t last = 0;
    cr_assert_eq(qd_ledger_watermark(ledger).sequence, oracle->count);
    cr_assert_eq(qd_ledger_visit(ledger, 0, 0, check_entry, oracle, &last, NULL), QD_STORE_OK);
    cr_assert_eq(last, oracle->count);
    struct qd_sum expected_items[QD_SUMS_MAX];
    struct qd_sums expected = qd_sums_over(expected_items, QD_SUMS_MAX);
    oracle_sum(oracle, 0, INT64_MAX, NULL, NULL, &expected);
    struct qd_wall_ns ends[2] = {{0}, {ORACLE_NOW_NS / QD_ROLLUP_NS * QD_ROLLUP_NS + QD_ROLLUP_NS}};
    struct qd_usage_query query = {.boundaries = ends, .boundary_count = 2};
    struct qd_usage_table table;
    cr_assert_eq(qd_usage_query(ledger, &query, &table, NULL), QD_STORE_OK);
    cr_assert_eq(table.row_count, oracle->count > 0);
    cr_assert(oracle->count == 0 || oracle_same_sums(&table.rows[0].sums, &expected));
    cr_assert_eq(table.watermark.sequence, oracle->count);
    qd_usage_table_release(&table);
}

/* One report: what the ledger says must be what the oracle says. */
static void step(struct qd_prng *prng, struct qd_ledger *ledger, struct oracle *oracle,
                 struct qd_receipt *receipt, bool *ret_unknown)
{
    struct qd_entry entry;
    oracle_random_entry(prng, 30, &entry);
    if (qd_prng_chance(prng, 1, 2)) {
        entry.request_id = qd_slice_of(random_request(prng));
        entry.attempt = (uint32_t)qd_prng_below(prng, 40);
        long known = oracle_find(oracle, &entry);
        if (known >= 0 && qd_prng_chance(prng, 1, 2)) {
            entry = oracle->entries[known]; /* a faithful retry */
        }
    }
    struct qd_hash128 content = qd_ledger_content(&entry, false);
    struct qd_booking booking = {.entry = &entry, .content = content, .now = {ORACLE_NOW_NS}};
    enum qd_book_result result = qd_ledger_book(ledger, &booking, receipt);
    *ret_unknown = result == QD_BOOK_STORE_ERROR;
    long first = oracle_find(oracle, &entry);
    if (*ret_unknown) {
        /* Perhaps booked, perhaps not: the recovered ledger will say. Keep it as a candidate. */
        oracle->entries[oracle->count] = entry;
        oracle->content[oracle->count] = content;
    } else if (first < 0) {
        cr_assert_eq(result, QD_BOOK_BOOKED, "%s", receipt->text);
        cr_assert_eq(receipt->sequence, oracle->count + 1);
        oracle->entries[oracle->count] = entry;
        oracle->content[oracle->count] = content;
        oracle->count++;
    } else if (qd_hash128_equal(oracle->content[first], content)) {
        cr_assert_eq(result, QD_BOOK_DUPLICATE);
        cr_assert_eq(receipt->sequence, (uint64_t)first + 1);
    } else {
        cr_assert_eq(result, QD_BOOK_CONFLICT);
        cr_assert_eq(receipt->sequence, (uint64_t)first + 1);
    }
}

/* After an unknown outcome the ledger must hold the candidate or not, and agree with itself. */
static void settle_unknown(struct qd_ledger *ledger, struct oracle *oracle)
{
    cr_assert_eq(qd_ledger_heartbeat(ledger, (struct qd_wall_ns){0}, NULL), QD_STORE_OK);
    uint64_t sequence = qd_ledger_watermark(ledger).sequence;
    cr_assert(sequence == oracle->count || sequence == oracle->count + 1);
    oracle->count = sequence;
}

Test(book, L2_crashes_and_faults_at_random_against_the_oracle)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("book", 11));
    struct oracle *oracle = calloc(1, sizeof *oracle);
    struct qd_store *store = qd_store_memory_new();
    struct qd_store_faults *faults = qd_store_memory_faults(store);
    struct qd_ledger *ledger = open_ledger(store);
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    for (int round = 0; round < 4000; round++) {
        bool unknown;
        if (qd_prng_chance(&prng, 1, 20)) {
            struct qd_store_fault *fault =
                qd_prng_chance(&prng, 1, 2) ? &faults->sync : &faults->write;
            fault->countdown = (int64_t)qd_prng_below(&prng, 3);
        }
        if (qd_prng_chance(&prng, 1, 40)) {
            faults->read.countdown = (int64_t)qd_prng_below(&prng, 4);
        }
        step(&prng, ledger, oracle, &receipt, &unknown);
        if (unknown || qd_prng_chance(&prng, 1, 50)) {
            faults->sync.countdown = faults->write.countdown = faults->read.countdown = -1;
            if (qd_prng_chance(&prng, 1, 2)) {
                qd_ledger_close(ledger);
                qd_store_memory_crash(store, qd_prng_below(&prng, 2));
                ledger = open_ledger(store);
            }
            settle_unknown(ledger, oracle);
        }
        if (round % 500 == 0) {
            faults->sync.countdown = faults->write.countdown = faults->read.countdown = -1;
            check_all(ledger, oracle);
        }
    }
    faults->sync.countdown = faults->write.countdown = faults->read.countdown = -1;
    check_all(ledger, oracle);
    cr_assert_gt(oracle->count, 1500);
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
    free(oracle);
}

/* --- many threads --- */

#define RACERS    8
#define RACE_KEYS 200

struct race {
    struct qd_ledger *ledger;
    pthread_barrier_t start;
    uint64_t sequence[RACERS][RACE_KEYS];
    unsigned booked[RACERS];
    unsigned duplicate[RACERS];
    enum qd_book_result contested[RACERS][RACE_KEYS];
    uint64_t contested_sequence[RACERS][RACE_KEYS];
};

struct racer {
    struct race *race;
    size_t number;
};

static void *race_main(void *argument)
{
    struct racer *racer = argument;
    struct race *race = racer->race;
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    char request_id[16];
    for (size_t k = 0; k < RACE_KEYS; k++) {
        pthread_barrier_wait(&race->start); /* all with one key at the same time */
        (void)snprintf(request_id, sizeof request_id, "race-%zu", k);
        struct qd_entry entry = simple_entry(request_id, 7);
        enum qd_book_result result = book(race->ledger, &entry, &receipt);
        race->booked[racer->number] += result == QD_BOOK_BOOKED;
        race->duplicate[racer->number] += result == QD_BOOK_DUPLICATE;
        race->sequence[racer->number][k] = receipt.sequence;
        entry = simple_entry("", 7); /* and one without a key */
        race->booked[racer->number] += book(race->ledger, &entry, &receipt) == QD_BOOK_BOOKED;
        /* A key over which two parties contradict each other. */
        pthread_barrier_wait(&race->start);
        (void)snprintf(request_id, sizeof request_id, "contested-%zu", k);
        entry = simple_entry(request_id, 7 + (int64_t)racer->number % 2);
        race->contested[racer->number][k] = book(race->ledger, &entry, &receipt);
        race->contested_sequence[racer->number][k] = receipt.sequence;
    }
    qd_receipt_release(&receipt);
    return NULL;
}

/* Of each contested key one party has booked once, and everybody is told so. */
static void check_contested(const struct race *race)
{
    for (size_t k = 0; k < RACE_KEYS; k++) {
        size_t winner = RACERS;
        for (size_t i = 0; i < RACERS; i++) {
            if (race->contested[i][k] == QD_BOOK_BOOKED) {
                cr_assert_eq(winner, RACERS, "booked twice");
                winner = i;
            }
        }
        cr_assert_lt(winner, RACERS);
        for (size_t i = 0; i < RACERS; i++) {
            bool same = i % 2 == winner % 2;
            cr_assert(i == winner ||
                      race->contested[i][k] == (same ? QD_BOOK_DUPLICATE : QD_BOOK_CONFLICT));
            cr_assert_eq(race->contested_sequence[i][k], race->contested_sequence[winner][k]);
        }
    }
}

static void run_race(struct qd_store *store)
{
    struct race *race = calloc(1, sizeof *race);
    race->ledger = open_ledger(store);
    pthread_barrier_init(&race->start, NULL, RACERS);
    pthread_t threads[RACERS];
    struct racer racers[RACERS];
    for (size_t i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){race, i};
        cr_assert_eq(pthread_create(&threads[i], NULL, race_main, &racers[i]), 0);
    }
    unsigned booked = 0;
    unsigned duplicate = 0;
    for (size_t i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        booked += race->booked[i];
        duplicate += race->duplicate[i];
    }
    cr_assert_eq(booked, RACE_KEYS + RACE_KEYS * RACERS);
    cr_assert_eq(duplicate, RACE_KEYS * (RACERS - 1));
    for (size_t k = 0; k < RACE_KEYS; k++) {
        for (size_t i = 1; i < RACERS; i++) {
            cr_assert_eq(race->sequence[i][k], race->sequence[0][k]);
        }
    }
    check_contested(race);
    struct qd_ledger_status status;
    struct qd_verify_report verified;
    qd_ledger_status(race->ledger, &status);
    cr_assert_eq(status.watermark.sequence, booked + RACE_KEYS);
    cr_assert_leq(status.groups, booked + RACE_KEYS);
    cr_assert_eq(qd_ledger_verify(race->ledger, &verified, NULL), QD_STORE_OK);
    cr_assert(verified.clean, "%s", verified.difference);
    pthread_barrier_destroy(&race->start);
    qd_ledger_close(race->ledger);
    free(race);
}

Test(book, S6_racing_threads_book_one_key_once_whoever_contradicts)
{
    struct qd_store *store = qd_store_memory_new();
    run_race(store);
    qd_store_close(store);
}

Test(book, L2_racing_threads_on_disk_share_syncs)
{
    struct qd_tempdir dir;
    qd_tempdir_init(&dir);
    struct qd_store *store = NULL;
    struct qd_store_rocksdb_config config = {.path = dir.path};
    cr_assert_eq(qd_store_rocksdb_open(&config, &store, NULL), QD_STORE_OK);
    run_race(store);
    qd_store_close(store);
    qd_tempdir_release(&dir);
}

static int open_and_book(void *context)
{
    (void)context;
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger *ledger = NULL;
    struct qd_ledger_config config = {0};
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    int failed = 1;
    if (store != NULL && qd_ledger_open(store, &config, &ledger, NULL) == QD_STORE_OK) {
        struct qd_entry entry = simple_entry("r1", 1);
        enum qd_book_result first = book(ledger, &entry, &receipt);
        enum qd_book_result again = book(ledger, &entry, &receipt);
        failed = first != QD_BOOK_BOOKED || again != QD_BOOK_DUPLICATE;
    }
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
    return failed;
}

Test(book, every_failing_allocation_is_an_error_and_nothing_more)
{
    cr_assert_gt(qd_failalloc_each(open_and_book, NULL, false), 5);
}
