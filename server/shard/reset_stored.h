/* A reset's counters that lie in the store (D12): a record is deleted, since a counter without one
 * starts empty when it is bound.
 *
 * Layer:    shard
 * Threads:  the reset's own; which locks are held, each function says.
 * Memory:   16 bytes for each counter of the reset that is in memory.
 *
 * The counters in memory are reset at one moment, under their slice's lock, and the store is read
 * as of that moment. A record of a counter that was in memory then is an old one, and its new state
 * may be stored meanwhile: those are told apart by a list. Any other may come back into memory
 * before its turn: then it is reset there.
 *
 * X5: deletions are not synced. A cut that has counted the reset's entry is written after them, and
 * of unsynced writes a loss of power takes the last ones: where the cut is, the deletions are.
 * Where it isn't, the boot does the reset again, in the store as well.
 */
#ifndef QD_SHARD_RESET_STORED_H
#define QD_SHARD_RESET_STORED_H

#include "server/shard/counter_keys.h"
#include "server/shard/node.h"

#define QD_RESET_BATCH 64U /* records deleted at once: its slice is locked so long */

struct qd_reset_stored {
    /* Filled in by the caller. */
    struct qd_node *node;
    struct qd_shard *home;
    struct qd_core *core; /* of `home`, or commons: where the counters belong */
    const struct qd_resolved_limit *limit;
    const struct qd_attributes *subject;
    struct qd_wanted_keys wanted;
    uint64_t since; /* the reset's own entry */
    struct qd_wall_ns now;
    /* A state before; its name is valid during the call. False: no more are wanted. NULL: none. */
    bool (*on_state)(void *context, const struct qd_limit_state *before);
    void *context;
    /* The rest begins as 0. */
    struct qd_store_iter *iter;
    struct qd_buf in_memory; /* identities of those that were */
    struct qd_hash128 batch[QD_RESET_BATCH];
    size_t batch_count;
    uint32_t count; /* that were started anew here */
};

/* Is a limit, of which something was counted, the reset's? (P6) */
static inline bool qd_reset_is_of(const struct qd_resolved_limit *limit, uint64_t identity)
{
    return limit->use->limit->identity.lo == identity;
}

/* With the shard locked (qd_shards_lock). At the moment of the reset: read the store as it is. */
__attribute__((warn_unused_result)) enum qd_store_err qd_reset_stored_begin(
    struct qd_reset_stored *stored);
/* This one was in memory at that moment, and was reset. */
void qd_reset_stored_pass(struct qd_reset_stored *stored, struct qd_hash128 id);

/* With nothing locked: all the others. Reads each counter's record that there is: measured, a
 * million in 0.6 to 0.8 s, and in 5.4 s when all are deleted. An error: some are as they were. */
__attribute__((warn_unused_result)) enum qd_store_err qd_reset_stored_walk(
    struct qd_reset_stored *stored);

/* With the shard locked: this one, which is not in memory. Without begin. */
__attribute__((warn_unused_result)) enum qd_store_err qd_reset_stored_one(
    struct qd_reset_stored *stored, struct qd_hash128 id);

void qd_reset_stored_end(struct qd_reset_stored *stored);

#endif /* QD_SHARD_RESET_STORED_H */
