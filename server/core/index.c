#include "server/core/index.h"

#include "server/core/check.h"
#include "server/core/fetch.h"

/* The slot at which a hash starts: a multiplication instead of a division, for any slot count. */
static uint32_t home_of(const struct qd_index *index, uint32_t hash)
{
    return (uint32_t)(((uint64_t)hash * index->slot_count) >> 32);
}

static uint32_t following(const struct qd_index *index, uint32_t at)
{
    return at + 1 == index->slot_count ? 0 : at + 1;
}

/* Steps from slot `from` forward to slot `to`. */
static uint32_t distance(const struct qd_index *index, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + index->slot_count - from;
}

uint32_t qd_index_slots(uint32_t capacity)
{
    return capacity + capacity / 2 + 2;
}

void qd_index_init(struct qd_index *index, uint64_t *slots, uint32_t capacity)
{
    *index = (struct qd_index){.slot_count = qd_index_slots(capacity), .capacity = capacity};
    index->slots = slots;
}

uint32_t qd_index_next(const struct qd_index *index, uint32_t hash, struct qd_index_walk *walk)
{
    uint32_t at = walk->started ? following(index, walk->at) : home_of(index, hash);
    while (index->slots[at] != 0) { /* ends: at least a third of the slots is empty */
        if ((uint32_t)(index->slots[at] >> 32) == hash) {
            *walk = (struct qd_index_walk){.at = at, .started = true};
            return (uint32_t)index->slots[at] - 1;
        }
        at = following(index, at);
    }
    return QD_INDEX_NONE;
}

bool qd_index_insert(struct qd_index *index, uint32_t hash, uint32_t value)
{
    QD_CHECK(value != QD_INDEX_NONE);
    if (index->count >= index->capacity) {
        return false;
    }
    uint32_t at = home_of(index, hash);
    while (index->slots[at] != 0) {
        at = following(index, at);
    }
    index->slots[at] = (uint64_t)hash << 32 | (value + 1);
    index->count++;
    return true;
}

void qd_index_remove(struct qd_index *index, uint32_t hash, uint32_t value)
{
    uint64_t wanted = (uint64_t)hash << 32 | (value + 1);
    uint32_t hole = home_of(index, hash);
    while (index->slots[hole] != wanted) {
        QD_CHECK(index->slots[hole] != 0);
        hole = following(index, hole);
    }
    /* Shift back whatever would no longer be found across the hole. */
    for (uint32_t at = following(index, hole); index->slots[at] != 0; at = following(index, at)) {
        uint32_t home = home_of(index, (uint32_t)(index->slots[at] >> 32));
        if (distance(index, home, at) >= distance(index, hole, at)) {
            index->slots[hole] = index->slots[at];
            hole = at;
        }
    }
    index->slots[hole] = 0;
    index->count--;
}

void qd_index_prefetch(const struct qd_index *index, uint32_t hash)
{
    qd_fetch(&index->slots[home_of(index, hash)]);
}
