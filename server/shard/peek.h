/* Counters that are out in the store, for admin calls that only look (D12).
 *
 * Layer:    shard
 * Threads:  any; nothing need be locked.
 * Memory:   a small slice on the heap during the call.
 */
#ifndef QD_SHARD_PEEK_H
#define QD_SHARD_PEEK_H

#include "server/shard/node.h"

/* The state that a binding would bring back for a counter that isn't in memory; nothing changes.
 * The state's name is not filled in. False: the counter would begin empty (never evicted, damaged,
 * or the store cannot be read). */
bool qd_peek_stored(struct qd_node *node, const struct qd_bind_item *item, struct qd_wall_ns now,
                    struct qd_limit_state *ret_state);

/* The same of a state that was read. False: it is none of such a counter. */
bool qd_peek_saved(const struct qd_bind_item *item, const struct qd_saved *saved,
                   struct qd_wall_ns now, struct qd_limit_state *ret_state);

/* Does a stored state count nothing any more? False also when it cannot be read. */
bool qd_peek_is_over(const struct qd_limit *limit, const struct qd_saved *saved,
                     struct qd_wall_ns now);

#endif /* QD_SHARD_PEEK_H */
