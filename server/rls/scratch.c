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

static bool make_stages(struct qd_rls_scratch *scratch, size_t count)
{
    if (count <= scratch->stage_count) {
        return true;
    }
    free(scratch->waiters);
    free(scratch->reached);
    scratch->waiters = calloc(count, sizeof *scratch->waiters);
    scratch->reached = calloc(count, sizeof *scratch->reached);
    scratch->stage_count = scratch->waiters != NULL && scratch->reached != NULL ? count : 0;
    return scratch->stage_count > 0;
}

bool qd_rls_scratch_begin(struct qd_rls_scratch *scratch, size_t pieces, size_t stages)
{
    assert(stages > 0);
    scratch->round++;
    if (!make_queues(scratch, pieces) || !make_stages(scratch, stages)) {
        return false;
    }
    scratch->reached[0] = (struct qd_rls_reached){0};
    scratch->reached_count = 1;
    return true;
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

void qd_rls_scratch_push(struct qd_rls_scratch *scratch, size_t piece, uint32_t stage,
                         uint32_t from)
{
    struct qd_rls_queue *queue = qd_rls_scratch_queue(scratch, piece);
    assert(stage > 0 && stage < scratch->stage_count);
    if (queue->head == 0) {
        queue->head = stage;
    } else {
        scratch->waiters[queue->tail].next = stage;
    }
    scratch->waiters[stage] = (struct qd_rls_waiter){.from = from};
    queue->tail = stage;
}

uint32_t qd_rls_scratch_pop(struct qd_rls_scratch *scratch, struct qd_rls_queue *queue)
{
    uint32_t stage = queue->head;
    assert(stage != 0);
    queue->head = scratch->waiters[stage].next;
    return stage;
}

void qd_rls_scratch_reach(struct qd_rls_scratch *scratch, uint32_t stage, uint32_t from)
{
    assert(scratch->reached_count < scratch->stage_count);
    scratch->reached[scratch->reached_count++] = (struct qd_rls_reached){stage, from};
}

void qd_rls_scratch_release(struct qd_rls_scratch *scratch)
{
    free(scratch->queues);
    free(scratch->waiters);
    free(scratch->reached);
    *scratch = (struct qd_rls_scratch){0};
}
