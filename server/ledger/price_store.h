/* Price versions as they were used, kept for good (P7): what an entry cost can be computed again.
 *
 * Layer:    server/ledger, above storage/.
 * Threads:  any; versions are put by one at a time (whoever loads the policy).
 * Memory:   a record that is read points into the caller's buffer.
 */
#ifndef QD_LEDGER_PRICE_STORE_H
#define QD_LEDGER_PRICE_STORE_H

#include "storage/price_record.h"

/* Keep a version before its first use. OK also if it is there with the same content and
 * `effective`; INVALID if it is there with other ones ("price version ... was used with other
 * content: give the new one another name"), or if it is out of bounds. Durable on OK. */
__attribute__((warn_unused_result)) enum qd_store_err qd_price_store_put(
    struct qd_store *store, const struct qd_price_record *record, struct qd_store_error *error);

/* The same as a write of a batch of the caller's, who has looked that it isn't there. */
void qd_price_store_add(struct qd_batch *batch, const struct qd_price_record *record);

/* OK and the record, which points into `bytes`; NOT_FOUND; CORRUPT; IO. */
__attribute__((warn_unused_result)) enum qd_store_err qd_price_store_get(
    struct qd_store *store, enum qd_price_book book, struct qd_str version, struct qd_buf *bytes,
    struct qd_price_record *ret_record, struct qd_store_error *error);

/* Called for each record, by book and version; false stops after it. */
typedef bool (*qd_price_visitor)(void *context, const struct qd_price_record *record);

__attribute__((warn_unused_result)) enum qd_store_err qd_price_store_list(
    struct qd_store *store, qd_price_visitor visit, void *context, struct qd_store_error *error);

#endif /* QD_LEDGER_PRICE_STORE_H */
