#include "server/shard/quiesce.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void qd_quiesce_init(struct qd_quiesce *q)
{
    memset(q, 0, sizeof(*q));
    atomic_init(&q->generation, 1);
    for (size_t i = 0; i < QD_WORKERS_MAX; i++) {
        atomic_init(&q->slots[i].inside, 0);
        atomic_init(&q->slots[i].taken, false);
    }
}

struct qd_quiesce_slot *qd_quiesce_join(struct qd_quiesce *q)
{
    for (size_t i = 0; i < QD_WORKERS_MAX; i++) {
        bool taken = false;
        if (atomic_compare_exchange_strong(&q->slots[i].taken, &taken, true)) {
            return &q->slots[i];
        }
    }
    return NULL;
}

void qd_quiesce_part(struct qd_quiesce_slot *slot)
{
    assert(atomic_load(&slot->inside) == 0);
    atomic_store(&slot->taken, false);
}

bool qd_quiesce_retire(struct qd_quiesce *q, void *thing, void (*free_thing)(void *thing))
{
    struct qd_retired *retired = malloc(sizeof(*retired));

    if (retired == NULL) {
        return false;
    }
    /* Workers that enter from now on carry the next generation. */
    retired->generation = atomic_fetch_add(&q->generation, 1);
    retired->thing = thing;
    retired->free_thing = free_thing;
    retired->next = q->retired;
    q->retired = retired;
    return true;
}

/* The oldest generation at which a worker that is inside entered; UINT64_MAX: all are at rest. */
static uint64_t oldest_inside(struct qd_quiesce *q)
{
    uint64_t oldest = UINT64_MAX;

    for (size_t i = 0; i < QD_WORKERS_MAX; i++) {
        uint64_t inside = atomic_load_explicit(&q->slots[i].inside, memory_order_seq_cst);
        if (inside != 0 && inside < oldest) {
            oldest = inside;
        }
    }
    return oldest;
}

size_t qd_quiesce_collect(struct qd_quiesce *q)
{
    size_t waiting = 0;

    if (q->retired == NULL) {
        return 0;
    }
    uint64_t oldest = oldest_inside(q);
    for (struct qd_retired **at = &q->retired; *at != NULL;) {
        struct qd_retired *retired = *at;
        if (retired->generation < oldest) {
            *at = retired->next;
            retired->free_thing(retired->thing);
            free(retired);
        } else {
            at = &retired->next;
            waiting++;
        }
    }
    return waiting;
}

void qd_quiesce_release(struct qd_quiesce *q)
{
    size_t waiting = qd_quiesce_collect(q);

    assert(waiting == 0);
    (void)waiting;
}
