/* The values that a split limit's counter is for, read back from its name.
 *
 * Layer:    shard. Threads: any; with the lock of the slice that the name lies in. Memory: none.
 *
 * A name is for people: "acme model=gpt-4o user=ann", with nothing quoted, so that a user named
 * "ann user=bob" looks like two. Only the reading that gives the counter's identity counts.
 */
#ifndef QD_SHARD_COUNTER_KEYS_H
#define QD_SHARD_COUNTER_KEYS_H

#include "server/policy/resolve.h"

/* `count` pairs of a request: "model", "user", ..., or a label's name. */
struct qd_wanted_keys {
    const struct qd_label *key;
    size_t count;
};

/* True if the counter `id` of that name is one of `limit`'s for the subject's tenant, and is for
 * each wanted value. */
bool qd_counter_has_keys(const struct qd_attributes *subject, uint64_t seed,
                         const struct qd_resolved_limit *limit, struct qd_hash128 id,
                         struct qd_str name, struct qd_wanted_keys wanted);

#endif /* QD_SHARD_COUNTER_KEYS_H */
