/* When may something be freed that other threads read without a lock? When each of them has since
 * been at rest once.
 *
 * Layer:    shard
 * Threads:  enter and leave: the worker's own thread; the rest: one thread (the loop's), or under a
 * lock of the caller's. Memory:   workers are the callers'; retired things are kept in a list until
 * freed.
 *
 * A worker is a thread's place: between enter and leave it may hold the published policy. What was
 * replaced is retired, and freed by a later qd_quiesce_collect when every worker that was inside at
 * that time has left.
 */
#ifndef QD_SHARD_QUIESCE_H
#define QD_SHARD_QUIESCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_WORKERS_MAX 256U

struct qd_quiesce_slot {
    _Alignas(64) _Atomic uint64_t inside; /* 0: at rest; else the generation at which it entered */
    _Atomic bool taken;
};

struct qd_retired {
    struct qd_retired *next;
    uint64_t generation;
    void *thing;
    void (*free_thing)(void *thing);
};

struct qd_quiesce {
    _Alignas(64) _Atomic uint64_t generation; /* starts at 1 */
    struct qd_retired *retired;
    struct qd_quiesce_slot slots[QD_WORKERS_MAX];
};

void qd_quiesce_init(struct qd_quiesce *q);
/* Frees what is still retired: no worker may be inside. */
void qd_quiesce_release(struct qd_quiesce *q);

/* A place for this thread; NULL: all are taken. Give it back when the thread ends. */
struct qd_quiesce_slot *qd_quiesce_join(struct qd_quiesce *q);
void qd_quiesce_part(struct qd_quiesce_slot *slot);

/* The store is sequentially consistent: the worker's next load of the published pointer comes after
 * it in the one order of all such operations, and so does the collector's look at `inside` after
 * its swap of the pointer. Either the collector sees the worker inside, or the worker sees the new
 * pointer. */
static inline void qd_quiesce_enter(struct qd_quiesce *q, struct qd_quiesce_slot *slot)
{
    uint64_t generation = atomic_load_explicit(&q->generation, memory_order_acquire);
    atomic_store_explicit(&slot->inside, generation, memory_order_seq_cst);
}

/* Release: what the worker did with the old pointer happens before it may be freed. */
static inline void qd_quiesce_leave(struct qd_quiesce_slot *slot)
{
    atomic_store_explicit(&slot->inside, 0, memory_order_release);
}

/* Hand over something that was just unpublished. False: out of memory; it is then never freed. */
bool qd_quiesce_retire(struct qd_quiesce *q, void *thing, void (*free_thing)(void *thing));
/* Free what can be freed; returns how many things still wait. */
size_t qd_quiesce_collect(struct qd_quiesce *q);

#endif /* QD_SHARD_QUIESCE_H */
