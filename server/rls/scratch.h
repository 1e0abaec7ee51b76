/* What a thread keeps from one match to the next, so that none of them begins with an allocation or
 * with clearing what it does not use.
 *
 * Layer:    rls
 * Units:    places are counted in the value's bytes, as automaton.h says.
 * Threads:  one scratch belongs to one thread at a time. It belongs to no set of rules: one will do
 *           for all of them, also after a reload.
 * Memory:   the caller's; what hangs from it grows to what the largest automaton needs, at most 40
 *           bytes for each byte of its wildcards, and goes with qd_rls_scratch_release.
 */
#ifndef QD_RLS_SCRATCH_H
#define QD_RLS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The wildcards that wait for one piece. First in, first out: nobody may take a piece that begins
 * before the place where the one before it ended, and who came later waits for a later place. */
struct qd_rls_queue {
    uint64_t round; /* of another round: empty, and not seen */
    uint32_t head;  /* a wildcard's number + 1; 0: nobody waits */
    uint32_t tail;
    bool is_seen; /* the piece has been met: those that begin with it have set out */
};

struct qd_rls_waiter {
    size_t from;    /* the first place that is not taken */
    uint32_t piece; /* which of its pieces it waits for */
    uint32_t next;  /* behind it in the queue, + 1 */
};

/* All zero is an empty one. */
struct qd_rls_scratch {
    uint64_t round;
    struct qd_rls_queue *queues; /* by piece */
    size_t queue_count;
    struct qd_rls_waiter *waiters; /* by wildcard */
    size_t waiter_count;
};

/* Make room, and begin a round in which all queues are empty. False if there is no memory. */
bool qd_rls_scratch_begin(struct qd_rls_scratch *scratch, size_t queues, size_t waiters);

/* The queue of a piece in this round. */
struct qd_rls_queue *qd_rls_scratch_queue(struct qd_rls_scratch *scratch, size_t piece);

void qd_rls_scratch_push(struct qd_rls_scratch *scratch, size_t piece, size_t waiter);

/* Take the first one off the queue, which has one. */
size_t qd_rls_scratch_pop(struct qd_rls_scratch *scratch, struct qd_rls_queue *queue);

/* Empty again. */
void qd_rls_scratch_release(struct qd_rls_scratch *scratch);

#endif /* QD_RLS_SCRATCH_H */
