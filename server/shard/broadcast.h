/* Broadcast: events on their way to whoever watches (I2).
 *
 * Layer:    shard
 * Threads:  any. Telling never waits for a watcher: each has a queue of its own, and what a slow
 *           one does not take in time is dropped, the oldest first, and counted.
 * Memory:   0.6 MB for each watcher, from join to leave; at most QD_WATCHERS_MAX of them (X2).
 *
 * Best effort, from now on: what is durable is in the ledger.
 */
#ifndef QD_SHARD_BROADCAST_H
#define QD_SHARD_BROADCAST_H

#include "server/core/core.h"

#include <pthread.h>
#include <stdatomic.h>

#define QD_WATCHERS_MAX 32U
#define QD_WATCH_EVENTS 512U /* that may wait for one watcher */

/* Which events a watcher hears. All zero: all. */
struct qd_watch_filter {
    char
        tenant[QD_TENANT_PATH_MAX + 1]; /* this one and all below it; "": all, and what is shared */
    uint32_t kinds;                     /* 1 << kind; 0: all */
};

/* Something may be there for the watcher. Called with the broadcast's lock: it must not wait, and
 * not join, leave or tell. */
typedef void (*qd_watch_wake)(void *context);

struct qd_watch; /* one watcher; opaque */

struct qd_broadcast {
    pthread_mutex_t lock;
    struct qd_watch *watchers;
    uint32_t count;
    _Atomic uint64_t told[QD_EVENT_KINDS]; /* since the start */
    _Atomic uint64_t lost;                 /* dropped from watchers' queues */
};

void qd_broadcast_init(struct qd_broadcast *broadcast);
/* No watcher may be left. */
void qd_broadcast_release(struct qd_broadcast *broadcast);

/* Hear what is told from here on. NULL: there are QD_WATCHERS_MAX, or no memory. */
struct qd_watch *qd_broadcast_join(struct qd_broadcast *broadcast,
                                   const struct qd_watch_filter *filter, qd_watch_wake wake,
                                   void *context);
/* Frees it; `wake` is not called any more. NULL is fine. */
void qd_broadcast_leave(struct qd_broadcast *broadcast, struct qd_watch *watch);

void qd_broadcast_tell(struct qd_broadcast *broadcast, const struct qd_event *event);

/* The oldest event that waits; false: none. *ret_lost: how many were dropped before it, here or in
 * a slice's ring (those may have been others'). ret_event->lost says nothing more. */
bool qd_watch_next(struct qd_watch *watch, struct qd_event *ret_event, uint64_t *ret_lost);

/* The filter's, while the watcher has not left. */
struct qd_str qd_watch_tenant(const struct qd_watch *watch);

uint32_t qd_broadcast_watchers(struct qd_broadcast *broadcast);

#endif /* QD_SHARD_BROADCAST_H */
