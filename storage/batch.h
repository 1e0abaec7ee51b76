/* A batch of writes that a store applies all or nothing.
 *
 * Layer:    storage
 * Threads:  none; the owner's.
 * Memory:   copies what it is given; clearing keeps the memory for the next batch.
 */
#ifndef QD_STORAGE_BATCH_H
#define QD_STORAGE_BATCH_H

#include "storage/buf.h"

/* Key spaces, in an order that never changes: a store's column families. The name is on disk. */
#define QD_STORE_SPACES(X)        \
    X(META, "default")            \
    X(LEDGER, "ledger")           \
    X(IDEMPOTENCY, "idempotency") \
    X(ROLLUP, "rollup")           \
    X(TENANT, "tenant")           \
    X(PRICE, "price")             \
    X(SNAPSHOT, "snapshot")       \
    X(EXPIRED, "expired")

#define QD_STORE_SPACE_ENUM(name, text) QD_STORE_##name,
enum qd_store_space {
    QD_STORE_SPACES(QD_STORE_SPACE_ENUM) QD_STORE_SPACE_COUNT
};
#undef QD_STORE_SPACE_ENUM

enum qd_batch_verb {
    QD_BATCH_PUT = 1,
    QD_BATCH_DELETE,
    QD_BATCH_DELETE_RANGE, /* all keys from `key` to before the one in the value */
    QD_BATCH_MERGE,        /* add the sums in the value (storage/sums.h) to those that are there */
};

struct qd_batch {
    struct qd_buf ops; /* failed: memory ran out, and the write will say so */
    size_t count;
};

struct qd_batch_op {
    enum qd_batch_verb verb;
    enum qd_store_space space;
    struct qd_str key;
    struct qd_str value; /* empty for a deletion; a range's upper bound */
};

void qd_batch_init(struct qd_batch *batch);
void qd_batch_release(struct qd_batch *batch);
void qd_batch_clear(struct qd_batch *batch);

/* Keys and values are at most 2^32 - 1 bytes. */
void qd_batch_put(struct qd_batch *batch, enum qd_store_space space, struct qd_str key,
                  struct qd_str value);
void qd_batch_delete(struct qd_batch *batch, enum qd_store_space space, struct qd_str key);
/* All keys in [lower, upper), without a look at what lies there. */
void qd_batch_delete_range(struct qd_batch *batch, enum qd_store_space space, struct qd_str lower,
                           struct qd_str upper);
void qd_batch_merge(struct qd_batch *batch, enum qd_store_space space, struct qd_str key,
                    struct qd_str sums);

/* All of `other`'s writes, after this batch's own. */
void qd_batch_append(struct qd_batch *batch, const struct qd_batch *other);

/* Walk the writes: start with *cursor = 0; false at the end. */
bool qd_batch_next(const struct qd_batch *batch, size_t *cursor, struct qd_batch_op *ret_op);

#endif /* QD_STORAGE_BATCH_H */
