/* Who the node is to its own records: a mark in META, written at the first start and never changed.
 *
 * Layer:    storage
 * Threads:  values only.
 * Memory:   none.
 *
 * Entries are known by the node's name and their sequence (L1, L6); counters by hashes of this
 * seed. With another name or seed, all that is stored would belong to somebody else.
 */
#ifndef QD_STORAGE_IDENTITY_RECORD_H
#define QD_STORAGE_IDENTITY_RECORD_H

#include "storage/buf.h"
#include "storage/store.h"

#define QD_NODE_NAME_MAX 63U

struct qd_identity {
    uint64_t hash_seed;
    char name[QD_NODE_NAME_MAX + 1];
};

void qd_identity_encode(const struct qd_identity *identity, struct qd_buf *buf);
/* OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_identity_decode(
    struct qd_str bytes, struct qd_identity *ret_identity);

#endif /* QD_STORAGE_IDENTITY_RECORD_H */
