/* StreamQuota's messages, taken apart. Internal to rpc.
 *
 * Layer:    rpc
 * Threads:  none; values only.
 * Memory:   an item's call points into the message.
 */
#ifndef QD_RPC_STREAM_H
#define QD_RPC_STREAM_H

#include "server/rpc/wire.h"

/* Numbers as on the wire: StreamRequest's fields. */
enum qd_item_kind {
    QD_ITEM_NONE = 0,
    QD_ITEM_CHECK = 2,
    QD_ITEM_REPORT = 3,
    QD_ITEM_EXTEND = 4,
    QD_ITEM_CANCEL = 5
};

struct qd_stream_item {
    uint64_t id;
    enum qd_item_kind kind; /* of the last call in it; NONE: there is none */
    struct qd_str call;     /* not yet read */
};

/* True: a StreamQuotaRequest of *ret_count items, each a StreamRequest. Their calls, and what a
 * later call of the same item replaces, are not looked into. */
bool qd_stream_scan(struct qd_str bytes, size_t *ret_count);

/* The next item of a message, from qd_wire_of(bytes) on; one that is malformed is passed over.
 * False: no more. */
bool qd_stream_next(struct qd_wire *wire, struct qd_stream_item *ret_item);

/* Does an item of this message wait for the disk? False for what is no such message. */
bool qd_stream_needs_booking(struct qd_str bytes);

#endif /* QD_RPC_STREAM_H */
