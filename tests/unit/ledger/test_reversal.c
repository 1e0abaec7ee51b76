/* Corrections in the ledger: a reversal and its companion, both or neither, one for each entry. */
#include "oracle.h"
#include "server/ledger/reversal.h"
#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "storage/store_memory.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>

static struct qd_store *store;
static struct qd_ledger *ledger;
static struct qd_receipt receipt;

static void open_ledger(void)
{
    struct qd_ledger_config config = {0};
    struct qd_store_error error = {0};
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, &error), QD_STORE_OK, "%s", error.text);
}

static void begin(void)
{
    store = qd_store_memory_new();
    qd_receipt_init(&receipt);
    open_ledger();
}

static void end(void)
{
    qd_receipt_release(&receipt);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

TestSuite(reversal, .init = begin, .fini = end);

static struct qd_entry report(const char *request_id)
{
    return (struct qd_entry){
        .kind = QD_ENTRY_USAGE,
        .flags = QD_ENTRY_FINAL,
        .event_time = {ORACLE_NOW_NS},
        .charged_time = {ORACLE_NOW_NS},
        .tenant = qd_slice_of("acme"),
        .model = qd_slice_of("gpt-4o"),
        .source = qd_slice_of("gateway"),
        .request_id = qd_slice_of(request_id),
        .quantities = {{qd_slice_of("input_tokens"), 1200}, {qd_slice_of("requests"), 1}},
        .quantity_count = 2,
        .prices = {qd_slice_of("gpt-4o@1")},
        .price_count = 1,
        .cost_pico_usd = 1234567,
        .charge_pico_usd = 2000001,
        .cost_nano_usd = 1235,
        .charge_nano_usd = 2001,
    };
}

static void book_report(struct qd_entry *entry)
{
    struct qd_booking booking = {
        .entry = entry, .content = qd_ledger_content(entry, false), .now = {ORACLE_NOW_NS}};
    cr_assert_eq(qd_ledger_book(ledger, &booking, &receipt), QD_BOOK_BOOKED);
    entry->sequence = receipt.sequence;
}

/* What a correction is made of: the reversal and, unless `tokens` is negative, other tokens. */
struct pair {
    char id[QD_REVERSAL_ID_MAX];
    struct qd_entry reversal;
    struct qd_entry rebooked;
    struct qd_booking booking;
};

static void make_pair(const struct qd_entry *original, int64_t tokens, struct pair *p)
{
    qd_reversal_make(original, p->id, qd_slice_of("double report"), &p->reversal);
    p->rebooked = *original;
    p->rebooked.quantities[0].amount = tokens;
    qd_reversal_mark_rebooked(&p->reversal, &p->rebooked);
    p->booking = (struct qd_booking){.entry = &p->reversal,
                                     .companion = tokens >= 0 ? &p->rebooked : NULL,
                                     .content = {(uint64_t)tokens, 7},
                                     .now = {ORACLE_NOW_NS}};
}

static void query(struct qd_usage_table *ret_table)
{
    static const struct qd_wall_ns ends[2] = {
        {0}, {ORACLE_NOW_NS / QD_ROLLUP_NS * QD_ROLLUP_NS + QD_ROLLUP_NS}};
    struct qd_usage_query all = {.boundaries = ends, .boundary_count = 2};
    cr_assert_eq(qd_usage_query(ledger, &all, ret_table, NULL), QD_STORE_OK);
}

static int64_t sum_of(const char *name)
{
    struct qd_usage_table table;
    query(&table);
    int64_t value =
        table.row_count == 0 ? 0 : (int64_t)qd_sums_value(&table.rows[0].sums, qd_slice_of(name));
    qd_usage_table_release(&table);
    return value;
}

static void check_clean(void)
{
    struct qd_verify_report verified;
    cr_assert_eq(qd_ledger_verify(ledger, &verified, NULL), QD_STORE_OK);
    cr_assert(verified.clean, "%s", verified.difference);
}

Test(reversal, L3_it_takes_back_all_that_the_entry_counted)
{
    static const char *const names[] = {"input_tokens", "requests",     "cost",     "charge",
                                        "#cost_pico",   "#charge_pico", "#entries", "#unpriced"};
    struct pair pair;
    struct qd_entry entry = report("r1");
    book_report(&entry);
    make_pair(&entry, -1, &pair);
    cr_assert_eq(qd_ledger_book(ledger, &pair.booking, &receipt), QD_BOOK_BOOKED);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_assert_eq(sum_of(names[i]), 0, "%s: %lld", names[i], (long long)sum_of(names[i]));
    }
    struct qd_entry unpriced = report("r2");
    unpriced.flags |= QD_ENTRY_UNPRICED;
    unpriced.price_count = 0;
    book_report(&unpriced);
    cr_assert_eq(sum_of("#unpriced"), 1);
    make_pair(&unpriced, 1200, &pair);
    pair.rebooked.flags &= (uint8_t)~QD_ENTRY_UNPRICED;
    cr_assert_eq(qd_ledger_book(ledger, &pair.booking, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(sum_of("#unpriced"), 0);
    cr_assert_eq(sum_of("#entries"), 1);
    cr_assert_eq(sum_of("#cost_pico"), 1234567);
    check_clean();
}

Test(reversal, L3_the_companion_has_the_next_sequence_and_no_key)
{
    struct pair pair;
    struct qd_buf bytes = {0};
    struct qd_entry read;
    struct qd_entry entry = report("r1");
    uint64_t found = 7;
    book_report(&entry);
    cr_assert_eq(qd_reversal_find(ledger, &entry, &found, NULL), QD_STORE_OK);
    cr_assert_eq(found, 0);
    make_pair(&entry, 1000, &pair);
    cr_assert_eq(qd_ledger_book(ledger, &pair.booking, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(receipt.sequence, 2);
    cr_assert_eq(qd_ledger_watermark(ledger).sequence, 3);
    cr_assert_eq(qd_ledger_read(ledger, 3, &bytes, &read, NULL), QD_STORE_OK);
    cr_assert_eq(read.quantities[0].amount, 1000);
    cr_assert_eq(read.corrects_sequence, 1);
    cr_assert_gt(read.recorded_time.ns, receipt.recorded_time.ns);
    cr_assert_eq(qd_reversal_find(ledger, &entry, &found, NULL), QD_STORE_OK);
    cr_assert_eq(found, 2);
    cr_assert_eq(qd_ledger_find(ledger, &read, &found, NULL), QD_STORE_NOT_FOUND);
    /* The same again is answered again; another correction of the entry books nothing. */
    cr_assert_eq(qd_ledger_book(ledger, &pair.booking, &receipt), QD_BOOK_DUPLICATE);
    cr_assert_eq(receipt.sequence, 2);
    struct pair other;
    make_pair(&entry, -1, &other);
    cr_assert_eq(qd_ledger_book(ledger, &other.booking, &receipt), QD_BOOK_CONFLICT);
    cr_assert_eq(qd_ledger_watermark(ledger).sequence, 3);
    /* What was booked instead can be corrected in its turn. */
    make_pair(&read, 900, &other);
    cr_assert_eq(qd_ledger_book(ledger, &other.booking, &receipt), QD_BOOK_BOOKED);
    cr_assert_eq(sum_of("input_tokens"), 900);
    cr_assert_eq(sum_of("#entries"), 1);
    qd_buf_release(&bytes);
    check_clean();
}

Test(reversal, an_invalid_companion_is_refused_with_its_reversal)
{
    struct pair pair;
    struct qd_entry entry = report("r1");
    book_report(&entry);
    make_pair(&entry, 1000, &pair);
    pair.rebooked.tenant = qd_slice_of("no tenant");
    cr_assert_eq(qd_ledger_book(ledger, &pair.booking, &receipt), QD_BOOK_INVALID);
    cr_assert_eq(qd_ledger_watermark(ledger).sequence, 1);
    make_pair(&entry, 1000, &pair);
    pair.reversal.corrects_sequence = 0;
    cr_assert_eq(qd_ledger_book(ledger, &pair.booking, &receipt), QD_BOOK_INVALID);
}

/* Whatever fails, and whatever a crash then keeps: none of the two, or both. */
static void fail_and_crash(struct qd_store_fault *fault, int64_t countdown, uint64_t keep)
{
    struct pair pair;
    struct qd_entry entry = report("r1");
    uint64_t reversed = 0;
    book_report(&entry);
    make_pair(&entry, 1000, &pair);
    *fault = (struct qd_store_fault){.countdown = countdown};
    enum qd_book_result result = qd_ledger_book(ledger, &pair.booking, &receipt);
    bool booked = result == QD_BOOK_BOOKED;
    cr_assert(booked || result == QD_BOOK_STORE_ERROR);
    *fault = (struct qd_store_fault){.countdown = -1};
    qd_ledger_close(ledger);
    qd_store_memory_crash(store, keep);
    open_ledger();
    uint64_t last = qd_ledger_watermark(ledger).sequence;
    cr_assert_eq(qd_reversal_find(ledger, &entry, &reversed, NULL), QD_STORE_OK);
    cr_assert(last == 3 || (last == 1 && !booked), "%llu entries", (unsigned long long)last);
    cr_assert_eq(reversed, last == 3 ? 2 : 0);
    cr_assert_eq(sum_of("input_tokens"), last == 3 ? 1000 : 1200);
    /* Sent again it is there, once. */
    result = qd_ledger_book(ledger, &pair.booking, &receipt);
    cr_assert_eq(result, last == 3 ? QD_BOOK_DUPLICATE : QD_BOOK_BOOKED);
    cr_assert_eq(sum_of("input_tokens"), 1000);
    cr_assert_eq(sum_of("#entries"), 1);
    check_clean();
    end();
    begin();
}

Test(reversal, L3_both_or_neither_at_each_fault_and_crash)
{
    for (int64_t countdown = 0; countdown < 4; countdown++) {
        for (uint64_t keep = 0; keep < 3; keep++) {
            fail_and_crash(&qd_store_memory_faults(store)->write, countdown, keep);
            fail_and_crash(&qd_store_memory_faults(store)->sync, countdown, keep);
            fail_and_crash(&qd_store_memory_faults(store)->read, countdown, keep);
        }
    }
}

/* --- a race --- */

#define RACERS 8

struct racer {
    pthread_t thread;
    const struct qd_entry *entry;
    int64_t tokens;
    enum qd_book_result result;
};

static void *race(void *argument)
{
    struct racer *racer = argument;
    struct pair pair;
    struct qd_receipt own;
    qd_receipt_init(&own);
    make_pair(racer->entry, racer->tokens, &pair);
    racer->result = qd_ledger_book(ledger, &pair.booking, &own);
    qd_receipt_release(&own);
    return NULL;
}

Test(reversal, L3_of_racing_corrections_one_is_booked)
{
    for (int round = 0; round < 50; round++) {
        struct racer racers[RACERS];
        char name[16];
        unsigned booked = 0;
        int64_t before = sum_of("input_tokens");
        int64_t winner = 0;
        (void)snprintf(name, sizeof name, "r%d", round);
        struct qd_entry entry = report(name);
        book_report(&entry);
        for (int64_t i = 0; i < RACERS; i++) {
            racers[i] = (struct racer){.entry = &entry, .tokens = 100 + i};
            cr_assert_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        }
        for (size_t i = 0; i < RACERS; i++) {
            cr_assert_eq(pthread_join(racers[i].thread, NULL), 0);
            booked += racers[i].result == QD_BOOK_BOOKED;
            winner = racers[i].result == QD_BOOK_BOOKED ? racers[i].tokens : winner;
            cr_assert(racers[i].result == QD_BOOK_BOOKED || racers[i].result == QD_BOOK_CONFLICT);
        }
        cr_assert_eq(booked, 1);
        cr_assert_eq(sum_of("input_tokens"), before + winner);
    }
    check_clean();
}
