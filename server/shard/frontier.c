#include "server/shard/frontier.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY UINT64_C(65536)

bool qd_frontier_init(struct qd_frontier *frontier, uint64_t through)
{
    *frontier = (struct qd_frontier){.through = through, .capacity = CAPACITY};
    frontier->bits = calloc(CAPACITY / 64, sizeof(uint64_t));
    (void)pthread_mutex_init(&frontier->mutex, NULL);
    (void)pthread_cond_init(&frontier->moved, NULL);
    return frontier->bits != NULL;
}

void qd_frontier_release(struct qd_frontier *frontier)
{
    free(frontier->bits);
    (void)pthread_cond_destroy(&frontier->moved);
    (void)pthread_mutex_destroy(&frontier->mutex);
}

static uint64_t *word_of(uint64_t *bits, uint64_t capacity, uint64_t sequence)
{
    return &bits[(sequence & (capacity - 1)) / 64];
}

static uint64_t mask_of(uint64_t sequence)
{
    return UINT64_C(1) << (sequence % 64);
}

static bool grow(struct qd_frontier *frontier)
{
    uint64_t capacity = frontier->capacity * 2;
    uint64_t *bits = calloc(capacity / 64, sizeof(*bits));

    if (bits == NULL) {
        return false;
    }
    for (uint64_t i = 1; i <= frontier->capacity; i++) {
        uint64_t sequence = frontier->through + i;
        if (*word_of(frontier->bits, frontier->capacity, sequence) & mask_of(sequence)) {
            *word_of(bits, capacity, sequence) |= mask_of(sequence);
        }
    }
    free(frontier->bits);
    frontier->bits = bits;
    frontier->capacity = capacity;
    return true;
}

void qd_frontier_mark(struct qd_frontier *frontier, uint64_t sequence)
{
    (void)pthread_mutex_lock(&frontier->mutex);
    assert(sequence > frontier->through);
    while (sequence - frontier->through > frontier->capacity) {
        if (!grow(frontier)) {
            (void)pthread_cond_wait(&frontier->moved, &frontier->mutex);
        }
    }
    uint64_t before = frontier->through;
    *word_of(frontier->bits, frontier->capacity, sequence) |= mask_of(sequence);
    for (uint64_t next = before + 1;
         *word_of(frontier->bits, frontier->capacity, next) & mask_of(next); next++) {
        *word_of(frontier->bits, frontier->capacity, next) &= ~mask_of(next);
        frontier->through = next;
    }
    if (frontier->through != before) {
        (void)pthread_cond_broadcast(&frontier->moved);
    }
    (void)pthread_mutex_unlock(&frontier->mutex);
}

uint64_t qd_frontier_through(struct qd_frontier *frontier)
{
    (void)pthread_mutex_lock(&frontier->mutex);
    uint64_t through = frontier->through;
    (void)pthread_mutex_unlock(&frontier->mutex);
    return through;
}

void qd_frontier_start(struct qd_frontier *frontier, uint64_t through)
{
    memset(frontier->bits, 0, frontier->capacity / 8);
    frontier->through = through;
}
