/* Names: interned, counted strings in one arena, for people to read (tenants, counters' scopes).
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   a buddy arena of 32-byte granules (free neighbours join again, so that years of signups
 *           don't crumble it), one byte a granule beside it, and an index.
 *
 * Equal strings share one copy. A name is named by a handle; 0 is "no name". A string longer than
 * QD_NAME_BYTES_MAX is cut: names are for reading, identity is the counter's hash. */
#ifndef QD_CORE_NAMES_H
#define QD_CORE_NAMES_H

#include "fetch.h"
#include "index.h"
#include "types.h"

#define QD_NAME_GRANULE    32
#define QD_NAME_ORDERS     6 /* blocks of 32 .. 1024 bytes */
#define QD_NAME_BYTES_MAX  (QD_NAME_GRANULE * 32 - 6)
#define QD_NAME_BLOCK_SIZE (QD_NAME_GRANULE << (QD_NAME_ORDERS - 1))

struct qd_names {
    uint8_t *arena;
    uint8_t *order; /* per granule: of the free block that starts there, + 1; else 0 */
    uint32_t granules;
    uint32_t high;                 /* granules ever used, a multiple of the largest block */
    uint32_t free[QD_NAME_ORDERS]; /* first free block of each order, granule + 1; 0: none */
    uint32_t used;                 /* granules in live blocks */
    uint64_t seed;
    struct qd_index index;
};

/* `granules` is a multiple of 32; `order` has one zeroed byte for each; `slots` is what
 * qd_index_slots(granules) asks for. */
void qd_names_init(struct qd_names *names, void *arena, uint8_t *order, uint32_t granules,
                   uint64_t *slots, uint64_t seed);

/* A handle that counts for one more user, or 0 when the arena is full (or `text` is empty). */
uint32_t qd_names_intern(struct qd_names *names, struct qd_str text);

/* One more, or one less, user of a live handle; 0 is let be. The last one frees the name. */
void qd_names_hold(struct qd_names *names, uint32_t handle);
void qd_names_drop(struct qd_names *names, uint32_t handle);

/* The text of a live handle, valid until its last user drops it; {NULL, 0} for 0. */
struct qd_str qd_names_text(const struct qd_names *names, uint32_t handle);

static inline void qd_names_prefetch(const struct qd_names *names, uint32_t handle)
{
    if (handle != 0) {
        qd_fetch(names->arena + (size_t)(handle - 1) * QD_NAME_GRANULE);
    }
}

#endif /* QD_CORE_NAMES_H */
