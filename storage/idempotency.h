/* Idempotency keys and what is kept under them (S6).
 *
 * Layer:    storage
 * Threads:  values only.
 * Memory:   decoded bytes point into what was decoded.
 */
#ifndef QD_STORAGE_IDEMPOTENCY_H
#define QD_STORAGE_IDEMPOTENCY_H

#include "storage/entry.h"

#define QD_IDEMPOTENCY_ANSWER_MAX 4096

/* The first booking under a key. A report's key may go once reports of its age are refused (S6); a
 * reversal's (server/ledger/reversal.h) must stay for as long as the entry that it takes back: by
 * it the ledger knows that it was taken back (L3). */
struct qd_idempotency_record {
    struct qd_hash128 content;       /* of what was reported */
    uint64_t sequence;               /* the entry that was booked */
    struct qd_wall_ns recorded_time; /* of that entry: when the key may go */
    struct qd_str answer;            /* the first answer, in the caller's own encoding */
};

/* Append the key of an entry: tenant (in key order), source, request id, attempt, part. */
void qd_idempotency_key(const struct qd_entry *entry, struct qd_buf *buf);

void qd_idempotency_encode(const struct qd_idempotency_record *record, struct qd_buf *buf);
/* OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_idempotency_decode(
    struct qd_str bytes, struct qd_idempotency_record *ret_record);

#endif /* QD_STORAGE_IDEMPOTENCY_H */
