/* Expiry: what goes, what stays, and who is told (L7, S6, L6). */
#include "oracle.h"
#include "server/ledger/expire.h"
#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "storage/codec.h"
#include "storage/store_memory.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY   QD_NS_PER_DAY
#define START (ORACLE_NOW_NS - 100 * DAY)

static struct qd_store *store;
static struct qd_ledger *ledger;

static void open_ledger(void)
{
    struct qd_store_error error = {0};
    struct qd_ledger_config config = {.report_horizon_ns = 366 * DAY,
                                      .future_max_ns = 5 * QD_NS_PER_MINUTE};
    cr_assert_eq(qd_ledger_open(store, &config, &ledger, &error), QD_STORE_OK, "%s", error.text);
}

static void setup(void)
{
    store = qd_store_memory_new();
    open_ledger();
}

static void teardown(void)
{
    qd_ledger_close(ledger);
    qd_store_close(store);
}

static enum qd_book_result book(struct qd_entry *entry, int64_t now)
{
    struct qd_receipt receipt;
    struct qd_booking booking = {
        .entry = entry, .content = qd_ledger_content(entry, false), .now = {now}};
    qd_receipt_init(&receipt);
    enum qd_book_result result = qd_ledger_book(ledger, &booking, &receipt);
    if (result == QD_BOOK_BOOKED) {
        entry->sequence = receipt.sequence;
        entry->recorded_time = receipt.recorded_time;
    }
    qd_receipt_release(&receipt);
    return result;
}

static struct qd_entry simple_entry(const char *request_id, int64_t event)
{
    return (struct qd_entry){.kind = QD_ENTRY_USAGE,
                             .flags = QD_ENTRY_FINAL,
                             .event_time = {event},
                             .charged_time = {event},
                             .tenant = qd_slice_of("acme"),
                             .model = qd_slice_of("m"),
                             .source = qd_slice_of("gateway"),
                             .request_id = qd_slice_of(request_id),
                             .quantities = {{qd_slice_of("input_tokens"), 10}},
                             .quantity_count = 1};
}

/* A report a day from START on, with the request ids r0, r1, ... */
static void book_days(unsigned days)
{
    static char ids[128][12];
    for (unsigned i = 0; i < days; i++) {
        snprintf(ids[i], sizeof(ids[i]), "r%u", i);
        struct qd_entry entry = simple_entry(ids[i], START + i * DAY);
        cr_assert_eq(book(&entry, START + i * DAY), QD_BOOK_BOOKED);
    }
}

static void expire(int64_t keys_before, int64_t entries_before)
{
    struct qd_expiry expiry = {.keys_before = {keys_before}, .entries_before = {entries_before}};
    struct qd_store_error error = {0};
    bool more = true;
    while (more) {
        cr_assert_eq(qd_ledger_expire(ledger, &expiry, &more, &error), QD_STORE_OK, "%s",
                     error.text);
    }
}

static struct qd_verify_report verify(void)
{
    struct qd_verify_report report;
    cr_assert_eq(qd_ledger_verify(ledger, &report, NULL), QD_STORE_OK);
    return report;
}

static uint64_t count_space(enum qd_store_space space)
{
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = space});
    struct qd_str key;
    struct qd_str value;
    uint64_t count = 0;
    while (qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK) {
        count++;
    }
    qd_store_iter_close(iter);
    return count;
}

static enum qd_store_err usage(int64_t from, int64_t to, int64_t *ret_entries,
                               struct qd_store_error *error)
{
    struct qd_wall_ns boundaries[2] = {{from}, {to}};
    struct qd_usage_query query = {.boundaries = boundaries, .boundary_count = 2};
    struct qd_usage_table table;
    enum qd_store_err err = qd_usage_query(ledger, &query, &table, error);
    if (err == QD_STORE_OK) {
        *ret_entries = table.row_count > 0
                           ? (int64_t)qd_sums_value(&table.rows[0].sums, qd_slice_of("#entries"))
                           : 0;
        qd_usage_table_release(&table);
    }
    return err;
}

/* --- */

/* Random entries, bounds that go on at random, steps of all sizes, and crashes between them: what
 * is left and what has expired are the rollups, after each step. */
Test(expire, L7_what_expires_moves_exactly, .init = setup, .fini = teardown)
{
    struct qd_prng prng;
    qd_prng_init(&prng, qd_prng_seed("expire", 77));
    int64_t now = START;
    struct qd_expiry expiry = {.keys_before = {START}, .entries_before = {START}};
    static bool keyed[4096]; /* by sequence: usage, whose key goes */
    uint64_t booked = 0;
    uint64_t rolled_up = 0;
    for (int round = 0; round < 60; round++) {
        for (uint64_t n = qd_prng_below(&prng, 40); n > 0; n--) {
            struct qd_entry entry;
            char id[24];
            oracle_random_entry(&prng, 3, &entry);
            snprintf(id, sizeof(id), "q%" PRIu64, booked);
            entry.request_id = qd_slice_of(id);
            entry.source = qd_slice_of("s");
            now += qd_prng_between(&prng, 1, DAY / 10);
            entry.event_time.ns = now - qd_prng_between(&prng, 0, 2 * DAY);
            entry.charged_time = entry.event_time;
            cr_assert_eq(book(&entry, now), QD_BOOK_BOOKED);
            booked++;
            keyed[booked] = entry.kind == QD_ENTRY_USAGE;
            rolled_up += qd_entry_is_usage(&entry);
        }
        expiry.keys_before.ns = now - qd_prng_between(&prng, 5, 15) * DAY;
        expiry.entries_before.ns = expiry.keys_before.ns - qd_prng_between(&prng, -2, 4) * DAY;
        expiry.max = (uint32_t)qd_prng_between(&prng, 1, 30);
        bool more = false;
        cr_assert_eq(qd_ledger_expire(ledger, &expiry, &more, NULL), QD_STORE_OK);
        if (qd_prng_below(&prng, 4) == 0) { /* the step may be lost, or not */
            qd_ledger_close(ledger);
            qd_store_memory_crash(store, qd_prng_below(&prng, 2));
            open_ledger();
        }
        struct qd_expired expired = qd_ledger_expired(ledger);
        struct qd_verify_report report = verify();
        cr_assert(report.clean, "round %d: %s", round, report.difference);
        cr_assert_eq(report.entries + report.expired, booked);
        cr_assert_eq(report.expired, expired.through);
        cr_assert_leq(expired.through, expired.keys_through);
        cr_assert_eq(count_space(QD_STORE_LEDGER), booked - expired.through);
        uint64_t keys = booked;
        for (uint64_t i = 1; i <= expired.keys_through; i++) {
            keys -= keyed[i];
        }
        cr_assert_eq(count_space(QD_STORE_IDEMPOTENCY), keys);
        int64_t counted;
        int64_t end = (now / QD_ROLLUP_NS + 1) * QD_ROLLUP_NS;
        cr_assert_eq(usage(0, end, &counted, NULL), QD_STORE_OK);
        cr_assert_eq(counted, (int64_t)rolled_up, "rollups keep all");
    }
    cr_assert_gt(qd_ledger_expired(ledger).through, 100);
}

Test(expire, L7_the_last_entry_stays_and_numbers_go_on, .init = setup, .fini = teardown)
{
    book_days(10);
    expire(ORACLE_NOW_NS, ORACLE_NOW_NS);
    cr_assert_eq(qd_ledger_expired(ledger).through, 9);
    cr_assert_eq(count_space(QD_STORE_LEDGER), 1);
    qd_ledger_close(ledger);
    open_ledger();
    cr_assert_eq(qd_ledger_watermark(ledger).sequence, 10);
    cr_assert_eq(qd_ledger_expired(ledger).through, 9);
    struct qd_entry entry = simple_entry("next", ORACLE_NOW_NS);
    cr_assert_eq(book(&entry, ORACLE_NOW_NS), QD_BOOK_BOOKED);
    cr_assert_eq(entry.sequence, 11);
    cr_assert(verify().clean);
}

Test(expire, S6_a_report_whose_key_may_be_gone_is_too_old, .init = setup, .fini = teardown)
{
    book_days(20);
    expire(START + 10 * DAY, 0); /* r0 to r9 */
    cr_assert_eq(count_space(QD_STORE_IDEMPOTENCY), 10);
    cr_assert_eq(count_space(QD_STORE_LEDGER), 20);
    int64_t now = START + 20 * DAY;
    struct qd_entry again = simple_entry("r9", START + 9 * DAY);
    /* The ledger's own horizon would take it, and has no key to know it by. */
    cr_assert_eq(book(&again, now), QD_BOOK_TOO_OLD);
    again = simple_entry("r10", START + 10 * DAY);
    cr_assert_eq(book(&again, now), QD_BOOK_DUPLICATE);
    /* Of the last time that is refused nothing can have been booked later. */
    again = simple_entry("new", START + 9 * DAY + 5 * QD_NS_PER_MINUTE);
    cr_assert_eq(book(&again, now), QD_BOOK_TOO_OLD);
    again.event_time.ns++;
    again.charged_time = again.event_time;
    cr_assert_eq(book(&again, now), QD_BOOK_BOOKED);
    cr_assert(verify().clean);
}

Test(expire, S6_an_answer_outlives_its_entry_as_long_as_its_key, .init = setup, .fini = teardown)
{
    struct qd_entry grant = simple_entry("g", START);
    grant.kind = QD_ENTRY_GRANT;
    cr_assert_eq(book(&grant, START), QD_BOOK_BOOKED);
    book_days(20);
    expire(ORACLE_NOW_NS, START + 5 * DAY);
    cr_assert_gt(qd_ledger_expired(ledger).through, 1);
    cr_assert_eq(book(&grant, ORACLE_NOW_NS), QD_BOOK_DUPLICATE, "a grant is given once, for ever");
    grant.quantities[0].amount++;
    cr_assert_eq(book(&grant, ORACLE_NOW_NS), QD_BOOK_CONFLICT);
    cr_assert(verify().clean);
}

struct seen {
    uint64_t first;
    uint64_t count;
};

static bool see(void *context, const struct qd_entry *entry)
{
    struct seen *seen = context;
    seen->first = seen->count++ == 0 ? entry->sequence : seen->first;
    return true;
}

Test(expire, L6_a_cursor_before_what_expired_is_refused, .init = setup, .fini = teardown)
{
    struct seen seen = {0};
    struct qd_ledger_page page;
    struct qd_store_error error = {0};
    struct qd_ledger_list list = {.cursor = 4};
    book_days(20);
    expire(ORACLE_NOW_NS, START + 4 * DAY); /* entries 1 to 4 */
    cr_assert_eq(qd_ledger_list(ledger, &list, see, &seen, &page, &error), QD_STORE_OK);
    cr_assert(seen.first == 5 && seen.count == 16);
    expire(ORACLE_NOW_NS, START + 7 * DAY);
    cr_assert_eq(qd_ledger_list(ledger, &list, see, &seen, &page, &error), QD_STORE_GONE);
    cr_assert_str_eq(error.text,
                     "cursor: entries 5 to 7 have expired (ledger_retention) before they were "
                     "read; go on at cursor 7, their sums are still in the usage");
    list.cursor = 7;
    seen.count = 0;
    cr_assert_eq(qd_ledger_list(ledger, &list, see, &seen, &page, &error), QD_STORE_OK);
    cr_assert(seen.first == 8 && seen.count == 13);
    list = (struct qd_ledger_list){.recorded_from = {START + 2 * DAY}};
    seen.count = 0;
    cr_assert_eq(qd_ledger_list(ledger, &list, see, &seen, &page, &error), QD_STORE_OK);
    cr_assert(seen.first == 8 && seen.count == 13,
              "from a time: what is left, and the mark says so");
}

Test(expire, L7_a_question_that_reads_entries_never_answers_less, .init = setup, .fini = teardown)
{
    struct qd_store_error error = {0};
    int64_t entries = 0;
    book_days(20);
    expire(ORACLE_NOW_NS, START + 7 * DAY);
    int64_t end = ORACLE_NOW_NS + 1; /* no quarter hour: entries are read */
    cr_assert_eq(usage(START + 6 * DAY, end, &entries, &error), QD_STORE_GONE);
    cr_assert_not_null(
        strstr(error.text, "up to 2026-06-19T14:13:20Z have expired (ledger_retention)"));
    cr_assert_eq(usage(START + 6 * DAY + 1, end, &entries, &error), QD_STORE_OK);
    cr_assert_eq(entries, 13, "none of these has expired");
    cr_assert_eq(START % QD_ROLLUP_NS, ORACLE_NOW_NS % QD_ROLLUP_NS);
    int64_t aligned = START / QD_ROLLUP_NS * QD_ROLLUP_NS;
    cr_assert_eq(usage(aligned, aligned + 100 * DAY, &entries, &error), QD_STORE_OK);
    cr_assert_eq(entries, 20, "rollups have all");
}

Test(expire, L7_verify_sees_what_was_lost_on_the_way, .init = setup, .fini = teardown)
{
    struct qd_batch batch = {0};
    struct qd_buf key = {0};
    book_days(20);
    expire(ORACLE_NOW_NS, START + 7 * DAY);
    cr_assert(verify().clean);
    /* An entry that nobody moved. */
    qd_put_key_u64(&key, 8);
    qd_batch_delete(&batch, QD_STORE_LEDGER, qd_buf_str(&key));
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    struct qd_verify_report report = verify();
    cr_assert(!report.clean);
    cr_assert_str_eq(report.difference, "after ledger entry 7 comes 9");
    qd_batch_release(&batch);
    qd_buf_release(&key);
}

Test(expire, L7_verify_counts_what_has_expired, .init = setup, .fini = teardown)
{
    struct qd_batch batch = {0};
    struct qd_str key;
    struct qd_str value;
    book_days(20);
    expire(ORACLE_NOW_NS, START + 7 * DAY);
    struct qd_store_iter *iter =
        qd_store_iter_open(store, &(struct qd_store_range){.space = QD_STORE_EXPIRED});
    cr_assert_eq(qd_store_iter_next(iter, &key, &value, NULL), QD_STORE_OK);
    qd_batch_delete(&batch, QD_STORE_EXPIRED, key);
    qd_store_iter_close(iter);
    cr_assert_eq(qd_store_write(store, &batch, true, NULL), QD_STORE_OK);
    struct qd_verify_report report = verify();
    cr_assert(!report.clean);
    cr_assert_not_null(strstr(report.difference, "entries have less of "), "%s", report.difference);
    qd_batch_release(&batch);
}

Test(expire, X4_a_step_that_could_not_be_written_is_made_again, .init = setup, .fini = teardown)
{
    struct qd_expiry expiry = {.keys_before = {ORACLE_NOW_NS}, .entries_before = {START + 7 * DAY}};
    struct qd_store_error error = {0};
    bool more = true;
    book_days(20);
    qd_store_memory_faults(store)->write.countdown = 0;
    cr_assert_eq(qd_ledger_expire(ledger, &expiry, &more, &error), QD_STORE_IO);
    cr_assert(!more);
    cr_assert_eq(count_space(QD_STORE_LEDGER), 20);
    cr_assert(verify().clean);
    expire(ORACLE_NOW_NS, START + 7 * DAY);
    cr_assert_eq(count_space(QD_STORE_LEDGER), 13);
    cr_assert(verify().clean);
}

Test(expire, P7_prices_of_expired_entries_are_still_known, .init = setup, .fini = teardown)
{
    struct qd_entry entry = simple_entry("priced", START);
    struct seen seen = {0};
    entry.prices[0] = qd_slice_of("m@2026-01-01");
    entry.price_count = 1;
    cr_assert_eq(book(&entry, START), QD_BOOK_BOOKED);
    book_days(3);
    expire(ORACLE_NOW_NS, START + 1);
    cr_assert_eq(qd_ledger_expired(ledger).through, 1);
    cr_assert_eq(qd_expired_visit_prices(ledger, see, &seen, NULL), QD_STORE_OK);
    cr_assert_eq(seen.count, 1);
}
