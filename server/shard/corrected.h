/* What a correction is about in the end (L3): corrections may correct corrections.
 *
 * Layer:    shard
 * Threads:  the worker's own, entered; takes the directory's lock.
 * Memory:   the worker's resolution is used up.
 */
#ifndef QD_SHARD_CORRECTED_H
#define QD_SHARD_CORRECTED_H

#include "server/shard/bind.h"

/* False: the entry corrects none. If what it corrects has expired (L7), no counters are known. */
bool qd_corrected_find(struct qd_worker *worker, const struct qd_published *published,
                       const struct qd_entry *entry, struct qd_wall_ns now,
                       struct qd_corrected *ret_corrected);

#endif /* QD_SHARD_CORRECTED_H */
