/* Which reservations were settled by a final report, durably: so that a late part of another source
 * neither counts the request again nor takes the estimate back twice (S2, S5).
 *
 * Layer:    shard
 * Threads:  any.
 * Memory:   the caller's buffers.
 *
 * A key is written in the batch that books the closing report (L2). It is needed as long as reports
 * of the reservation are accepted; older ones are swept.
 */
#ifndef QD_SHARD_CLOSED_H
#define QD_SHARD_CLOSED_H

#include "server/shard/token.h"
#include "storage/store.h"

/* Append the key, in QD_STORE_SNAPSHOT. */
void qd_closed_key(const struct qd_token *token, struct qd_buf *key);

/* Forget those of reservations made before `before`, at most `max`. Returns how many; 0 also when
 * the store fails: the next sweep tries again. */
size_t qd_closed_sweep(struct qd_store *store, struct qd_wall_ns before, size_t max);

#endif /* QD_SHARD_CLOSED_H */
