/* What a thread keeps from one match to the next, so that none of them begins with an allocation or
 * with clearing what it does not use.
 *
 * Layer:    rls
 * Units:    places are counted in the value's bytes, as automaton.h says.
 * Threads:  one scratch belongs to one thread at a time. It belongs to no set of rules: one will do
 *           for all of them, also after a reload.
 * Memory:   the caller's; what hangs from it grows to what the largest automaton needs and goes
 *           with qd_rls_scratch_release: 24 bytes for each piece and 16 for each stage, which is
 *           at most some 10 for each byte of the wildcards. What no value meets is not touched.
 */
#ifndef QD_RLS_SCRATCH_H
#define QD_RLS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is known of one piece, and the stages that wait for it. First in, first out: nobody may take
 * a piece that begins before the place where the one before it ended, and who came later waits for
 * a later place. */
struct qd_rls_queue {
    uint64_t round;  /* of another round: all below is 0 */
    uint32_t looked; /* behind so many of those that were reached */
    uint32_t head;   /* a stage's number; 0: nobody waits */
    uint32_t tail;
};

struct qd_rls_waiter {
    uint32_t from; /* the first place that is not taken */
    uint32_t next; /* behind it in the queue; 0: nobody */
};

struct qd_rls_reached {
    uint32_t stage;
    uint32_t from; /* the first place that is not taken */
};

/* All zero is an empty one. */
struct qd_rls_scratch {
    uint64_t round;
    struct qd_rls_queue *queues; /* by piece */
    size_t queue_count;
    struct qd_rls_waiter *waiters;  /* by stage */
    struct qd_rls_reached *reached; /* in order, the root first */
    size_t stage_count;
    uint32_t reached_count;
};

/* Make room, and begin a round in which all queues are empty and only the root, which is stage 0,
 * is reached. False if there is no memory. */
bool qd_rls_scratch_begin(struct qd_rls_scratch *scratch, size_t pieces, size_t stages);

/* The queue of a piece in this round. */
struct qd_rls_queue *qd_rls_scratch_queue(struct qd_rls_scratch *scratch, size_t piece);

void qd_rls_scratch_push(struct qd_rls_scratch *scratch, size_t piece, uint32_t stage,
                         uint32_t from);

/* Take the first one off the queue, which has one. */
uint32_t qd_rls_scratch_pop(struct qd_rls_scratch *scratch, struct qd_rls_queue *queue);

/* One more that is reached: each is once in a round. */
void qd_rls_scratch_reach(struct qd_rls_scratch *scratch, uint32_t stage, uint32_t from);

/* Empty again. */
void qd_rls_scratch_release(struct qd_rls_scratch *scratch);

#endif /* QD_RLS_SCRATCH_H */
