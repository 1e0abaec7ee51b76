/* The first answer of a report as the ledger keeps it beside its idempotency key, for whoever asks
 * again (S6).
 *
 * Layer:    shard
 * Threads:  none; values only.
 * Memory:   the caller's.
 */
#ifndef QD_SHARD_STORED_ANSWER_H
#define QD_SHARD_STORED_ANSWER_H

#include "server/shard/request.h"
#include "storage/buf.h"

/* Appends to `buf`; look at buf->failed. Without `duplicate` and `entry_sequence`, which are not
 * the first answer's own. */
void qd_stored_answer_encode(const struct qd_report_answer *answer, struct qd_buf *buf);

/* False: not such bytes, or of another version; *ret_answer then holds nothing of use. */
__attribute__((warn_unused_result)) bool qd_stored_answer_decode(
    struct qd_str bytes, struct qd_report_answer *ret_answer);

#endif /* QD_SHARD_STORED_ANSWER_H */
