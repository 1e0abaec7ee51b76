/* Threads that book and repeat reports, list and verify, while old keys and entries go: no data
 * race, no key booked twice, no entry missed without a word (S6, L6, L7). */
#include "server/ledger/expire.h"
#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "storage/store_memory.h"
#include "tests/race/race.h"

#include <pthread.h>
#include <stdatomic.h>

#define WRITERS 3
#define ROUNDS  400
#define HOUR    QD_NS_PER_HOUR
#define NOW_NS  (INT64_C(1790000000) * QD_NS_PER_S)

static struct qd_ledger *ledger;
static _Atomic int64_t clock_ns = NOW_NS;
static _Atomic bool done;
static _Atomic bool booked_before[ROUNDS];

/* 1 if it was booked, which it never is twice. */
static unsigned report(int number, struct qd_receipt *receipt)
{
    char request_id[16];
    (void)snprintf(request_id, sizeof request_id, "r%d", number);
    struct qd_entry entry = {
        .kind = QD_ENTRY_USAGE,
        .event_time = {NOW_NS + number * HOUR},
        .charged_time = {NOW_NS + number * HOUR},
        .tenant = qd_slice_of("acme"),
        .request_id = qd_slice_of(request_id),
        .quantities = {{qd_slice_of("requests"), 1}},
        .quantity_count = 1,
    };
    struct qd_booking booking = {.entry = &entry, .now = {atomic_load(&clock_ns)}};
    bool booked = qd_ledger_book(ledger, &booking, receipt) == QD_BOOK_BOOKED;
    REQUIRE(!booked || !atomic_exchange(&booked_before[number], true));
    return booked;
}

/* Each report by all writers, and again when its key is about to go, or has gone. */
static void *write_main(void *argument)
{
    unsigned *ret_booked = argument;
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t now = NOW_NS + i * HOUR;
        int64_t before = atomic_load(&clock_ns);
        while (before < now && !atomic_compare_exchange_weak(&clock_ns, &before, now)) {
        }
        *ret_booked += report(i, &receipt);
        for (int k = 18; k < 23 && k <= i; k++) {
            *ret_booked += report(i - k, &receipt);
        }
    }
    qd_receipt_release(&receipt);
    return NULL;
}

static void *sweep_main(void *argument)
{
    (void)argument;
    while (!atomic_load(&done)) {
        int64_t now = atomic_load(&clock_ns);
        struct qd_expiry expiry = {
            .keys_before = {now - 20 * HOUR}, .entries_before = {now - 40 * HOUR}, .max = 7};
        bool more;
        REQUIRE(qd_ledger_expire(ledger, &expiry, &more, NULL) == QD_STORE_OK);
    }
    return NULL;
}

struct list {
    uint64_t last;
    bool gap;
};

static bool follow(void *context, const struct qd_entry *entry)
{
    struct list *list = context;
    list->gap |= list->last > 0 && entry->sequence != list->last + 1;
    list->last = entry->sequence;
    return true;
}

static void *read_main(void *argument)
{
    (void)argument;
    uint64_t cursor = 0;
    while (!atomic_load(&done)) {
        struct list list = {.last = cursor};
        struct qd_ledger_page page;
        struct qd_verify_report verified;
        enum qd_store_err err =
            qd_ledger_list(ledger, &(struct qd_ledger_list){.cursor = cursor, .page_max = 20},
                           follow, &list, &page, NULL);
        REQUIRE(err == QD_STORE_OK || err == QD_STORE_GONE);
        REQUIRE(err == QD_STORE_GONE || !list.gap);
        cursor = err == QD_STORE_OK ? page.next_cursor : qd_ledger_expired(ledger).through;
        REQUIRE(qd_ledger_verify(ledger, &verified, NULL) == QD_STORE_OK && verified.clean);
    }
    return NULL;
}

int main(void)
{
    struct qd_store *store = qd_store_memory_new();
    struct qd_ledger_config config = {.report_horizon_ns = 366 * QD_NS_PER_DAY,
                                      .future_max_ns = HOUR};
    REQUIRE(store != NULL && qd_ledger_open(store, &config, &ledger, NULL) == QD_STORE_OK);
    pthread_t writers[WRITERS];
    pthread_t sweeper;
    pthread_t reader;
    unsigned booked[WRITERS] = {0};
    unsigned total = 0;
    for (size_t i = 0; i < WRITERS; i++) {
        REQUIRE(pthread_create(&writers[i], NULL, write_main, &booked[i]) == 0);
    }
    REQUIRE(pthread_create(&sweeper, NULL, sweep_main, NULL) == 0);
    REQUIRE(pthread_create(&reader, NULL, read_main, NULL) == 0);
    for (size_t i = 0; i < WRITERS; i++) {
        REQUIRE(pthread_join(writers[i], NULL) == 0);
        total += booked[i];
    }
    atomic_store(&done, true);
    REQUIRE(pthread_join(sweeper, NULL) == 0);
    REQUIRE(pthread_join(reader, NULL) == 0);
    REQUIRE(total <= ROUNDS); /* one that was late may be too old */
    struct qd_verify_report report_at_end;
    REQUIRE(qd_ledger_verify(ledger, &report_at_end, NULL) == QD_STORE_OK && report_at_end.clean);
    REQUIRE(report_at_end.entries + report_at_end.expired == total);
    REQUIRE(report_at_end.expired > 100);
    qd_ledger_close(ledger);
    qd_store_close(store);
    return 0;
}
