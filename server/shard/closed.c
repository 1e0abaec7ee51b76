#include "server/shard/closed.h"

#include "storage/codec.h"

#define PREFIX "r"

void qd_closed_key(const struct qd_token *token, struct qd_buf *key)
{
    qd_buf_append(key, PREFIX, 1);
    qd_put_key_u64(key, (uint64_t)token->made_at.ns); /* first, so that old ones go in one range */
    qd_put_key_u64(key, token->node);
    qd_put_key_u64(key, token->incarnation);
    qd_put_key_u64(key, token->reservation);
}

size_t qd_closed_sweep(struct qd_store *store, struct qd_wall_ns before, size_t max)
{
    struct qd_buf upper = {0};
    struct qd_batch batch;
    struct qd_str name;
    struct qd_str value;
    size_t count = 0;

    if (before.ns <= 0) {
        return 0;
    }
    qd_buf_append(&upper, PREFIX, 1);
    qd_put_key_u64(&upper, (uint64_t)before.ns);
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {PREFIX, 1}, .upper = qd_buf_str(&upper)};
    struct qd_store_iter *iter = upper.failed ? NULL : qd_store_iter_open(store, &range);
    qd_batch_init(&batch);
    while (iter != NULL && count < max &&
           qd_store_iter_next(iter, &name, &value, NULL) == QD_STORE_OK) {
        qd_batch_delete(&batch, QD_STORE_SNAPSHOT, name);
        count++;
    }
    qd_store_iter_close(iter);
    if (count > 0 && qd_store_write(store, &batch, false, NULL) != QD_STORE_OK) {
        count = 0;
    }
    qd_batch_release(&batch);
    qd_buf_release(&upper);
    return count;
}
