/* Codec: a counter as bytes, to be stored and to come back (D12, X5). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 */
#ifndef QD_CORE_CODEC_H
#define QD_CORE_CODEC_H

#include "bytes.h"
#include "table.h"

/* What a saved counter says before its state. Its strings point into the saved bytes. */
struct qd_codec_head {
    struct qd_saved_counter counter;
    enum qd_class class;
    unsigned resets;
    unsigned alert;
    uint64_t since;
    struct qd_bytes state;
};

void qd_codec_write(const struct qd_at *at, struct qd_saved *ret_saved);

/* False: these are no saved counter's bytes. */
bool qd_codec_open(const struct qd_saved *saved, struct qd_codec_head *ret_head);

/* The state into a counter that was just begun. False, with the counter as it was, if it isn't a
 * state of such a counter. A narrow window's state may come back into a wide one and the other way
 * round. Any bytes will do: what is read holds the invariants of its kind. */
bool qd_codec_read(const struct qd_at *at, const struct qd_codec_head *head, struct qd_wall_ns now);

#endif /* QD_CORE_CODEC_H */
