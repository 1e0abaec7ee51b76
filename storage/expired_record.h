/* What has expired of the ledger (L7): a mark in META.
 *
 * Layer:    storage
 * Units:    sequences of ledger entries; wall ns.
 * Threads:  values only.
 * Memory:   none.
 */
#ifndef QD_STORAGE_EXPIRED_RECORD_H
#define QD_STORAGE_EXPIRED_RECORD_H

#include "server/core/types.h"
#include "storage/buf.h"
#include "storage/store.h"

struct qd_expired {
    uint64_t through;                /* entries up to this one are gone; 0: none is */
    struct qd_wall_ns recorded;      /* when that one was recorded */
    struct qd_wall_ns event;         /* the latest event time of those that are gone */
    struct qd_wall_ns began;         /* event time of the first entry there ever was */
    uint64_t keys_through;           /* idempotency keys of usage up to this entry are gone (S6) */
    struct qd_wall_ns keys_recorded; /* when that one was recorded */
};

void qd_expired_encode(const struct qd_expired *expired, struct qd_buf *buf);
/* OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_expired_decode(
    struct qd_str bytes, struct qd_expired *ret_expired);

#endif /* QD_STORAGE_EXPIRED_RECORD_H */
