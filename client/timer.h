/* Timers of one client: a binary heap, soonest first.
 *
 * Layer:    client. Units: monotonic ns.
 * Threads:  none of its own; the client's lock guards it.
 * Memory:   timers live in their owners; the heap only points at them.
 */
#ifndef QD_CLIENT_TIMER_H
#define QD_CLIENT_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lq_timer {
    int64_t at_ns;
    size_t place; /* in the heap, from 1; 0: not set */
    /* Called on the client's thread with the lock held, once the timer is out of the heap; releases
     * the lock. (Between the two, another thread could end the timer's owner.) */
    void (*fire)(struct lq_timer *timer);
};

struct lq_timers {
    struct lq_timer **heap; /* heap[1] is the soonest */
    size_t count;
    size_t room;
};

/* Room for one timer more than `count`, so that setting it cannot fail. False: out of memory. */
bool lq_timers_reserve(struct lq_timers *timers, size_t count);
void lq_timers_release(struct lq_timers *timers);

/* Set, or move, a timer. Room was reserved. */
void lq_timer_set(struct lq_timers *timers, struct lq_timer *timer, int64_t at_ns);

/* Take it out; fine when it is not set. */
void lq_timer_clear(struct lq_timers *timers, struct lq_timer *timer);

/* The soonest, or NULL. */
struct lq_timer *lq_timers_first(const struct lq_timers *timers);

#endif /* QD_CLIENT_TIMER_H */
