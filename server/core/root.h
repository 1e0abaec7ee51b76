/* Root: what is counted for one tenant root (the first path segment): its quotas (D12) and the
 * generation that its bindings compare (P2). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   32 bytes each and a place in the index. Roots with nothing in memory make room for
 * others.
 */
#ifndef QD_CORE_ROOT_H
#define QD_CORE_ROOT_H

#include "slice.h"

/* The hash of the first segment of `path` (a tenant's path, or a counter's name that starts with
 * one). */
struct qd_hash128 qd_root_id(const struct qd_core *core, struct qd_str path);

/* The root of `path`, made if it isn't there; QD_SLAB_NONE when the table is full of busy ones. */
uint32_t qd_root_obtain(struct qd_core *core, struct qd_str path, struct qd_wall_ns now);

/* A counter of the root of `path` was made (+1) or dropped (-1). */
void qd_root_count(struct qd_core *core, struct qd_str path, int change);

static inline struct qd_root *qd_root_at(const struct qd_core *core, uint32_t index)
{
    return qd_slab_at(&core->roots, index);
}

#endif /* QD_CORE_ROOT_H */
