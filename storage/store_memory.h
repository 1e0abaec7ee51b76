/* A store in memory that can lose power and fail on demand: for tests, and for a node without a
 * disk.
 *
 * Layer:    storage
 * Threads:  as storage/store.h; one mutex. qd_store_memory_crash and _faults: nobody else may use
 * the store meanwhile. Memory:   grows with what is written; deleted keys keep their place until
 * the store is closed.
 */
#ifndef QD_STORAGE_STORE_MEMORY_H
#define QD_STORAGE_STORE_MEMORY_H

#include "storage/store.h"

/* Which of the coming calls fail. {.countdown = 3}: the fourth, once. */
struct qd_store_fault {
    int64_t countdown; /* calls that still succeed; -1: all */
    bool repeat;       /* fail for good once failing */
    bool lands;        /* of a write: all the same the batch is applied, not durable */
    uint64_t calls;    /* calls seen */
};

/* A new store's countdowns are -1. */
struct qd_store_faults {
    struct qd_store_fault write; /* IO; nothing of the batch is applied */
    struct qd_store_fault sync;  /* IO; the batch is applied and seen, but not durable */
    struct qd_store_fault read;  /* gets and iterator moves: IO */
    uint64_t capacity_bytes;     /* of keys and values; a write beyond it: FULL. 0: unbounded */
};

/* NULL: out of memory. Close with qd_store_close. */
struct qd_store *qd_store_memory_new(void);

/* The faults of this store, to be set between operations. */
struct qd_store_faults *qd_store_memory_faults(struct qd_store *store);

/* Lose what was not synced, except the first `keep` writes since the last sync (a real disk may
 * have written some of them). No iterator or snapshot may be open. Faults stay as they are. */
void qd_store_memory_crash(struct qd_store *store, uint64_t keep);

/* Writes since the store was made, and how many of them are durable. */
uint64_t qd_store_memory_writes(struct qd_store *store);
uint64_t qd_store_memory_synced(struct qd_store *store);

#endif /* QD_STORAGE_STORE_MEMORY_H */
