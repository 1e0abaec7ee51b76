#include "server/rls/scratch.h"

#include <assert.h>
#include <stdlib.h>

static bool make_queues(struct qd_rls_scratch *scratch, size_t count)
{
    if (count <= scratch->queue_count) {
        return true;
    }
    free(scratch->queues);
    scratch->queues = calloc(count, sizeof *scratch->queues);
    scratch->queue_count = scratch->queues != NULL ? count : 0;
    return scratch->queues != NULL;
}

static bool make_waiters(struct qd_rls_scratch *scratch, size_t count)
{
    if (count <= scratch->waiter_count) {
        return true;
    }
    free(scratch->waiters);
    scratch->waiters = calloc(count, sizeof *scratch->waiters);
    scratch->waiter_count = scratch->waiters != NULL ? count : 0;
    return scratch->waiters != NULL;
}

bool qd_rls_scratch_begin(struct qd_rls_scratch *scratch, size_t queues, size_t waiters)
{
    scratch->round++;
    return make_queues(scratch, queues) && make_waiters(scratch, waiters);
}

struct qd_rls_queue *qd_rls_scratch_queue(struct qd_rls_scratch *scratch, size_t piece)
{
    assert(piece < scratch->queue_count);
    struct qd_rls_queue *queue = &scratch->queues[piece];
    if (queue->round != scratch->round) {
        *queue = (struct qd_rls_queue){.round = scratch->round};
    }
    return queue;
}

void qd_rls_scratch_push(struct qd_rls_scratch *scratch, size_t piece, size_t waiter)
{
    struct qd_rls_queue *queue = qd_rls_scratch_queue(scratch, piece);
    uint32_t number = (uint32_t)waiter + 1;
    assert(waiter < scratch->waiter_count);
    if (queue->head == 0) {
        queue->head = number;
    } else {
        scratch->waiters[queue->tail - 1].next = number;
    }
    scratch->waiters[waiter].next = 0;
    queue->tail = number;
}

size_t qd_rls_scratch_pop(struct qd_rls_scratch *scratch, struct qd_rls_queue *queue)
{
    assert(queue->head != 0);
    size_t waiter = queue->head - 1;
    queue->head = scratch->waiters[waiter].next;
    return waiter;
}

void qd_rls_scratch_release(struct qd_rls_scratch *scratch)
{
    free(scratch->queues);
    free(scratch->waiters);
    *scratch = (struct qd_rls_scratch){0};
}
