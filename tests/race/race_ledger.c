/* Threads that book, query, list, beat and repair rollups on one ledger: no data race, no key
 * booked twice, no gap, and no sum that lacks an entry.
 */
#include "server/ledger/ledger.h"
#include "server/ledger/rebuild_rollups.h"
#include "server/ledger/scan.h"
#include "server/ledger/usage.h"
#include "server/ledger/verify.h"
#include "storage/store_memory.h"
#include "tests/race/race.h"

#include <pthread.h>

#define WRITERS 4
#define ROUNDS  300
#define NOW_NS  (INT64_C(1790000000) * QD_NS_PER_S)

static struct qd_store *store;
static struct qd_ledger *ledger;

static void *write_main(void *argument)
{
    unsigned *ret_booked = argument;
    struct qd_receipt receipt;
    char request_id[16];
    qd_receipt_init(&receipt);
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(request_id, sizeof request_id, "r%d", i); /* the same for all writers */
        struct qd_entry entry = {
            .kind = QD_ENTRY_USAGE,
            .event_time = {NOW_NS},
            .charged_time = {NOW_NS},
            .tenant = qd_slice_of("acme"),
            .request_id = qd_slice_of(request_id),
            .quantities = {{qd_slice_of("requests"), 1}},
            .quantity_count = 1,
        };
        struct qd_booking booking = {.entry = &entry, .now = {NOW_NS + i}};
        enum qd_book_result result = qd_ledger_book(ledger, &booking, &receipt);
        REQUIRE(result == QD_BOOK_BOOKED || result == QD_BOOK_DUPLICATE);
        *ret_booked += result == QD_BOOK_BOOKED;
        /* One key, and each says something else. */
        (void)snprintf(request_id, sizeof request_id, "c%d", i);
        entry.request_id = qd_slice_of(request_id);
        booking.content = (struct qd_hash128){.lo = (uintptr_t)ret_booked, .hi = 1};
        result = qd_ledger_book(ledger, &booking, &receipt);
        REQUIRE(result == QD_BOOK_BOOKED || result == QD_BOOK_CONFLICT);
        *ret_booked += result == QD_BOOK_BOOKED;
    }
    qd_receipt_release(&receipt);
    return NULL;
}

static bool count_entry(void *context, const struct qd_entry *entry)
{
    REQUIRE(entry->sequence == ++*(uint64_t *)context);
    return true;
}

static void *read_main(void *argument)
{
    (void)argument;
    struct qd_wall_ns ends[2] = {{0}, {NOW_NS / QD_ROLLUP_NS * QD_ROLLUP_NS + QD_ROLLUP_NS}};
    struct qd_usage_query query = {.boundaries = ends, .boundary_count = 2};
    for (int i = 0; i < 100; i++) {
        struct qd_usage_table table;
        struct qd_ledger_page page;
        struct qd_ledger_status status;
        uint64_t seen = 0;
        REQUIRE(qd_usage_query(ledger, &query, &table, NULL) == QD_STORE_OK);
        qd_int128 entries = table.row_count > 0
                                ? qd_sums_value(&table.rows[0].sums, qd_slice_of(QD_SUM_ENTRIES))
                                : 0;
        REQUIRE(entries == (qd_int128)table.watermark.sequence); /* L5: as_of is exact */
        qd_usage_table_release(&table);
        REQUIRE(qd_ledger_list(ledger, &(struct qd_ledger_list){.page_max = 100000}, count_entry,
                               &seen, &page, NULL) == QD_STORE_OK);
        REQUIRE(page.end && page.next_cursor == seen);
        REQUIRE(qd_ledger_heartbeat(ledger, (struct qd_wall_ns){NOW_NS + i}, NULL) == QD_STORE_OK);
        qd_ledger_status(ledger, &status);
        REQUIRE(!status.failed);
    }
    return NULL;
}

/* The row that everybody books to has widgets, which no entry has: it is made anew again and again,
 * while it is booked to. The reader sees that no entry is lost. */
static void *repair_main(void *argument)
{
    struct qd_entry entry = {.event_time = {NOW_NS}, .tenant = qd_slice_of("acme")};
    struct qd_rollup_labels labels = {0};
    struct qd_sum one = {qd_slice_of("widgets"), 1};
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    struct qd_batch batch = {0};
    (void)argument;
    qd_rollup_key(&entry, &labels, &key);
    qd_sums_encode(&(struct qd_sums){.items = &one, .count = 1, .capacity = 1}, &value);
    qd_batch_merge(&batch, QD_STORE_ROLLUP, qd_buf_str(&key), qd_buf_str(&value));
    for (int i = 0; i < 100; i++) {
        struct qd_rebuild_report report;
        struct qd_rebuild_options options = {0};
        REQUIRE(qd_store_write(store, &batch, false, NULL) == QD_STORE_OK);
        REQUIRE(qd_ledger_rebuild_rollups(ledger, &options, &report, NULL) == QD_STORE_OK);
        REQUIRE(report.groups == 1);
    }
    qd_batch_release(&batch);
    qd_buf_release(&key);
    qd_buf_release(&value);
    return NULL;
}

int main(void)
{
    store = qd_store_memory_new();
    struct qd_ledger_config config = {0};
    REQUIRE(store != NULL && qd_ledger_open(store, &config, &ledger, NULL) == QD_STORE_OK);
    pthread_t writers[WRITERS];
    pthread_t reader;
    pthread_t repairer;
    unsigned booked[WRITERS] = {0};
    unsigned total = 0;
    for (size_t i = 0; i < WRITERS; i++) {
        REQUIRE(pthread_create(&writers[i], NULL, write_main, &booked[i]) == 0);
    }
    REQUIRE(pthread_create(&reader, NULL, read_main, NULL) == 0);
    REQUIRE(pthread_create(&repairer, NULL, repair_main, NULL) == 0);
    for (size_t i = 0; i < WRITERS; i++) {
        REQUIRE(pthread_join(writers[i], NULL) == 0);
        total += booked[i];
    }
    REQUIRE(pthread_join(reader, NULL) == 0);
    REQUIRE(pthread_join(repairer, NULL) == 0);
    REQUIRE(total == 2 * ROUNDS);
    struct qd_verify_report report;
    REQUIRE(qd_ledger_verify(ledger, &report, NULL) == QD_STORE_OK && report.clean);
    REQUIRE(report.entries == 2 * ROUNDS);
    qd_ledger_close(ledger);
    qd_store_close(store);
    return 0;
}
