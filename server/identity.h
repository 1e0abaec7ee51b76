/* The node's name and the seed of its hashes, as its store keeps them from its first start on.
 *
 * Layer:    composition (boot.c)
 * Threads:  one, at boot.
 * Memory:   the caller's struct.
 */
#ifndef QD_SERVER_IDENTITY_H
#define QD_SERVER_IDENTITY_H

#include "storage/identity_record.h"

/* Read what the store keeps into *identity; a store that keeps none is given *identity, durably.
 * OK, or what failed: CORRUPT, NEWER_FORMAT, IO, FULL, NO_MEMORY. */
__attribute__((warn_unused_result)) enum qd_store_err qd_identity_settle(
    struct qd_store *store, struct qd_identity *identity, struct qd_store_error *error);

#endif /* QD_SERVER_IDENTITY_H */
