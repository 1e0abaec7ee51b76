/* The heartbeat: an idle ledger's watermark goes on (L5); a store that fails is noticed, and so is
 * its recovery (X4). */
#include "server/ledger/heart.h"
#include "storage/store_memory.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <time.h>

struct world {
    _Atomic int64_t now_ns;
    _Atomic unsigned failures, recoveries;
    _Atomic int code;
};

static struct qd_wall_ns world_now(void *context)
{
    struct world *world = context;
    return (struct qd_wall_ns){atomic_load(&world->now_ns)};
}

static void world_changed(void *context, const struct qd_store_error *failure)
{
    struct world *world = context;
    if (failure != NULL) {
        atomic_store(&world->code, (int)failure->code);
        atomic_fetch_add(&world->failures, 1);
    } else {
        atomic_fetch_add(&world->recoveries, 1);
    }
}

/* At most 10 s; ends the test otherwise. */
static void wait_for(_Atomic unsigned *figure, unsigned wanted)
{
    for (unsigned i = 0; i < 10000 && atomic_load(figure) < wanted; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    cr_assert(atomic_load(figure) >= wanted);
}

static struct qd_watermark wait_watermark(struct qd_ledger *ledger, int64_t wanted_ns)
{
    for (unsigned i = 0; i < 10000 && qd_ledger_watermark(ledger).complete_through.ns < wanted_ns;
         i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return qd_ledger_watermark(ledger);
}

Test(heart, L5_an_idle_ledgers_watermark_goes_on)
{
    struct world world = {.now_ns = 1000 * QD_NS_PER_S};
    struct qd_store *store = qd_store_memory_new();
    struct qd_store_error error;
    struct qd_ledger *ledger = NULL;
    cr_assert(qd_ledger_open(store, &(struct qd_ledger_config){0}, &ledger, &error) == QD_STORE_OK);
    struct qd_heart_config config = {.ledger = ledger,
                                     .period_ms = 2,
                                     .now = world_now,
                                     .changed = world_changed,
                                     .context = &world};
    struct qd_heart *heart = qd_heart_start(&config);
    cr_assert_not_null(heart);
    cr_assert(wait_watermark(ledger, 1000 * QD_NS_PER_S).complete_through.ns == 1000 * QD_NS_PER_S);
    /* Nothing is written while the watermark is young. */
    uint64_t writes = qd_store_memory_writes(store);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    cr_assert(qd_store_memory_writes(store) == writes);
    atomic_store(&world.now_ns, 2000 * QD_NS_PER_S);
    cr_assert(wait_watermark(ledger, 2000 * QD_NS_PER_S).complete_through.ns == 2000 * QD_NS_PER_S);
    /* A clock that steps back takes nothing back. */
    atomic_store(&world.now_ns, 500 * QD_NS_PER_S);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    cr_assert(qd_ledger_watermark(ledger).complete_through.ns == 2000 * QD_NS_PER_S);
    qd_heart_stop(heart);
    cr_assert(atomic_load(&world.failures) == 0 && atomic_load(&world.recoveries) == 0);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

Test(heart, X4_a_full_store_is_noticed_and_so_is_its_recovery)
{
    struct world world = {.now_ns = 1000 * QD_NS_PER_S};
    struct qd_store *store = qd_store_memory_new();
    struct qd_store_error error;
    struct qd_ledger *ledger = NULL;
    cr_assert(qd_ledger_open(store, &(struct qd_ledger_config){0}, &ledger, &error) == QD_STORE_OK);
    qd_store_memory_faults(store)->capacity_bytes = 1;
    struct qd_heart_config config = {.ledger = ledger,
                                     .period_ms = 2,
                                     .now = world_now,
                                     .changed = world_changed,
                                     .context = &world};
    struct qd_heart *heart = qd_heart_start(&config);
    cr_assert_not_null(heart);
    wait_for(&world.failures, 1);
    cr_assert(atomic_load(&world.code) == QD_STORE_FULL);
    qd_heart_stop(heart);
    qd_store_memory_faults(store)->capacity_bytes = 0;
    struct qd_ledger_status status;
    qd_ledger_status(ledger, &status);
    cr_assert(status.failed);
    heart = qd_heart_start(&config); /* a heart of its own tells only what changes under it */
    cr_assert_not_null(heart);
    cr_assert(wait_watermark(ledger, 1000 * QD_NS_PER_S).complete_through.ns == 1000 * QD_NS_PER_S);
    wait_for(&world.recoveries, 1);
    qd_ledger_status(ledger, &status);
    cr_assert(!status.failed);
    qd_heart_stop(heart);
    cr_assert(atomic_load(&world.failures) == 2 && atomic_load(&world.recoveries) == 1);
    qd_ledger_close(ledger);
    qd_store_close(store);
}

static _Atomic uint64_t durable_through;
static _Atomic unsigned durable_told;

static void world_durable(void *context, uint64_t sequence)
{
    (void)context;
    atomic_store(&durable_through, sequence);
    atomic_fetch_add(&durable_told, 1);
}

static void book_one(struct qd_ledger *ledger)
{
    struct qd_receipt receipt;
    struct qd_entry entry = {.kind = QD_ENTRY_USAGE,
                             .event_time = {1000 * QD_NS_PER_S},
                             .charged_time = {1000 * QD_NS_PER_S},
                             .tenant = qd_slice_of("acme"),
                             .quantities = {{qd_slice_of("requests"), 1}},
                             .quantity_count = 1};
    struct qd_booking booking = {.entry = &entry, .now = {1000 * QD_NS_PER_S}};
    qd_receipt_init(&receipt);
    cr_assert(qd_ledger_book(ledger, &booking, &receipt) == QD_BOOK_BOOKED);
    qd_receipt_release(&receipt);
}

Test(heart, X4_only_what_is_durable_is_told)
{
    struct world world = {.now_ns = 1000 * QD_NS_PER_S};
    struct qd_store *store = qd_store_memory_new();
    struct qd_store_error error;
    struct qd_ledger *ledger = NULL;
    cr_assert(qd_ledger_open(store, &(struct qd_ledger_config){0}, &ledger, &error) == QD_STORE_OK);
    struct qd_heart_config config = {.ledger = ledger,
                                     .period_ms = 2,
                                     .now = world_now,
                                     .durable = world_durable,
                                     .context = &world};
    book_one(ledger);
    struct qd_heart *heart = qd_heart_start(&config);
    wait_for(&durable_told, 1);
    cr_assert(atomic_load(&durable_through) == 1);
    book_one(ledger);
    wait_for(&durable_told, atomic_load(&durable_told) + 2);
    cr_assert(atomic_load(&durable_through) == 2);
    qd_heart_stop(heart);
    /* A store that takes nothing: whatever it shows may be lost. */
    qd_store_memory_faults(store)->sync.countdown = 0;
    qd_store_memory_faults(store)->sync.repeat = true;
    cr_assert(qd_ledger_heartbeat(ledger, (struct qd_wall_ns){2000 * QD_NS_PER_S}, &error) ==
              QD_STORE_IO);
    unsigned told = atomic_load(&durable_told);
    heart = qd_heart_start(&config);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    cr_assert(atomic_load(&durable_told) == told);
    qd_heart_stop(heart);
    qd_ledger_close(ledger);
    qd_store_close(store);
}
