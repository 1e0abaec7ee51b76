/* The ledger's heartbeat: a thread that lets the watermark go on while nothing is booked (L5), and
 * that finds out when a store that failed takes writes again (X4).
 *
 * Layer:    server/ledger
 * Units:    ms of monotonic time between beats; the wall time is the caller's clock.
 * Threads:  one of its own, which may block on the disk; start and stop by one thread.
 * Memory:   owns its thread; the ledger and the clock's context are the caller's and must outlive
 * it.
 */
#ifndef QD_LEDGER_HEART_H
#define QD_LEDGER_HEART_H

#include "server/ledger/ledger.h"

#define QD_HEART_PERIOD_MS 5000U
#define QD_HEART_TICK_MS   1000U /* at most: between two calls of `durable` */
#define QD_HEART_SWEEPS    200U  /* steps of one beat */

struct qd_heart; /* opaque */

struct qd_heart_config {
    struct qd_ledger *ledger;
    uint32_t period_ms; /* 0: QD_HEART_PERIOD_MS */
    struct qd_wall_ns (*now)(void *context);
    /* The store began to fail (`failure` says why), or takes writes again (NULL). Called by the
     * heart's thread, once a change. May be NULL. */
    void (*changed)(void *context, const struct qd_store_error *failure);
    /* About each second while the store takes writes: entries up to `sequence` are durable. Called
     * by the heart's thread. May be NULL. */
    void (*durable)(void *context, uint64_t sequence);
    /* Delete what has expired, a bounded step; true: there is more. By the heart's thread, after a
     * beat, while the store takes writes. May be NULL. */
    bool (*sweep)(void *context);
    void *context;
};

/* Begin to beat: at each period, a synced write if the watermark is older than a period or the last
 * write failed; a busy ledger costs nothing more. NULL: out of memory or threads. */
struct qd_heart *qd_heart_start(const struct qd_heart_config *config);

/* Stops between two beats. NULL is fine. */
void qd_heart_stop(struct qd_heart *heart);

#endif /* QD_LEDGER_HEART_H */
