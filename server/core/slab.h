/* Slab: a table of equal records with a free list, handed out by index.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   `capacity * stride` bytes of the slice's block. Records above `high` were never used
 * and were never touched, so a large table costs address space until it fills.
 *
 * A free record's first four bytes hold the free list; all else in it is the owner's, who keeps
 * there what must survive (a generation). Whether a record is live is the owner's to know.
 */
#ifndef QD_CORE_SLAB_H
#define QD_CORE_SLAB_H

#include <stdint.h>

#define QD_SLAB_NONE UINT32_MAX

struct qd_slab {
    uint8_t *base;
    uint32_t stride;   /* bytes, a multiple of 8 */
    uint32_t capacity; /* records */
    uint32_t high;     /* records ever used; <= capacity */
    uint32_t free;     /* index + 1 of the first free one below high; 0: none */
    uint32_t live;     /* records handed out */
};

void qd_slab_init(struct qd_slab *slab, void *base, uint32_t stride, uint32_t capacity);

/* A record, with whatever bytes it had; QD_SLAB_NONE when all are live. */
uint32_t qd_slab_take(struct qd_slab *slab);

/* Give a live record back. Its first four bytes are overwritten. */
void qd_slab_give(struct qd_slab *slab, uint32_t index);

static inline void *qd_slab_at(const struct qd_slab *slab, uint32_t index)
{
    return slab->base + (uint64_t)index * slab->stride;
}

#endif /* QD_CORE_SLAB_H */
