/* Up to which entry of the ledger everything has reached the counters (X5).
 *
 * Entries are counted by several threads, each its own, so that one may be counted before another
 * that was booked first.
 *
 * Layer:    shard
 * Threads:  any; one mutex, taken last.
 * Memory:   a bit for each entry between the first that is not counted and the last that is.
 */
#ifndef QD_SHARD_FRONTIER_H
#define QD_SHARD_FRONTIER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct qd_frontier {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    uint64_t through;
    uint64_t *bits;
    uint64_t capacity; /* bits, a power of two */
};

/* False: out of memory. Everything through `through` is counted. */
bool qd_frontier_init(struct qd_frontier *frontier, uint64_t through);
void qd_frontier_release(struct qd_frontier *frontier);

/* This entry has been counted, or there is nothing in it to count. Each is marked once. Without
 * memory it waits for the entries before it. */
void qd_frontier_mark(struct qd_frontier *frontier, uint64_t sequence);

/* Everything through here is counted. */
uint64_t qd_frontier_through(struct qd_frontier *frontier);

/* At boot, while nobody else uses it. */
void qd_frontier_start(struct qd_frontier *frontier, uint64_t through);

#endif /* QD_SHARD_FRONTIER_H */
