/* Price versions as they were used, kept for good (P7): what an entry cost can be computed again.
 *
 * Layer:    server/ledger, above storage/.
 * Threads:  any; versions are put by one at a time (whoever loads the policy).
 * Memory:   a record that is read points into the caller's buffer.
 */
#ifndef QD_LEDGER_PRICE_STORE_H
#define QD_LEDGER_PRICE_STORE_H

#include "storage/price_record.h"

/* Keep a version, as a write of the caller's batch, who has looked that it isn't there. */
void qd_price_store_add(struct qd_batch *batch, const struct qd_price_record *record);

/* Forget a version that no entry names, as a write of the caller's batch. */
void qd_price_store_delete(struct qd_batch *batch, enum qd_price_book book, struct qd_str version);

/* OK and the record, which points into `bytes`; NOT_FOUND; CORRUPT; IO. */
__attribute__((warn_unused_result)) enum qd_store_err qd_price_store_get(
    struct qd_store *store, enum qd_price_book book, struct qd_str version, struct qd_buf *bytes,
    struct qd_price_record *ret_record, struct qd_store_error *error);

#endif /* QD_LEDGER_PRICE_STORE_H */
