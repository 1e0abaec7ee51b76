/* Codec: a counter's state as bytes, little-endian and versioned (D12). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 */
#ifndef QD_CORE_CODEC_H
#define QD_CORE_CODEC_H

#include "table.h"

void qd_codec_write(const struct qd_at *at, struct qd_counter_state *ret_state);

/* Into a counter that was just begun. False, with the counter as it was, if it isn't a state of
 * such a counter. A narrow window's state may come back into a wide one and the other way round.
 * Any bytes will do: what is read holds the invariants of its kind. */
bool qd_codec_read(const struct qd_at *at, const struct qd_counter_state *state,
                   struct qd_wall_ns now);

#endif /* QD_CORE_CODEC_H */
