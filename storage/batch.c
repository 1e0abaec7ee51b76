#include "storage/batch.h"

#include <assert.h>

/* In front of each key and value. Host order: a batch never leaves the process. */
struct op_header {
    uint32_t key_size;
    uint32_t value_size;
    uint8_t verb;
    uint8_t space;
};

void qd_batch_init(struct qd_batch *batch)
{
    *batch = (struct qd_batch){0};
}

void qd_batch_release(struct qd_batch *batch)
{
    qd_buf_release(&batch->ops);
    batch->count = 0;
}

void qd_batch_clear(struct qd_batch *batch)
{
    qd_buf_clear(&batch->ops);
    batch->count = 0;
}

static void add(struct qd_batch *batch, const struct qd_batch_op *op)
{
    assert(op->key.len <= UINT32_MAX && op->value.len <= UINT32_MAX);
    assert(op->space < QD_STORE_SPACE_COUNT);
    struct op_header header = {
        .key_size = (uint32_t)op->key.len,
        .value_size = (uint32_t)op->value.len,
        .verb = (uint8_t)op->verb,
        .space = (uint8_t)op->space,
    };
    qd_buf_reserve(&batch->ops, sizeof header + op->key.len + op->value.len);
    qd_buf_append(&batch->ops, &header, sizeof header);
    qd_buf_append_str(&batch->ops, op->key);
    qd_buf_append_str(&batch->ops, op->value);
    batch->count++;
}

void qd_batch_put(struct qd_batch *batch, enum qd_store_space space, struct qd_str key,
                  struct qd_str value)
{
    add(batch, &(struct qd_batch_op){QD_BATCH_PUT, space, key, value});
}

void qd_batch_delete(struct qd_batch *batch, enum qd_store_space space, struct qd_str key)
{
    add(batch, &(struct qd_batch_op){QD_BATCH_DELETE, space, key, {0}});
}

void qd_batch_delete_range(struct qd_batch *batch, enum qd_store_space space, struct qd_str lower,
                           struct qd_str upper)
{
    add(batch, &(struct qd_batch_op){QD_BATCH_DELETE_RANGE, space, lower, upper});
}

void qd_batch_merge(struct qd_batch *batch, enum qd_store_space space, struct qd_str key,
                    struct qd_str sums)
{
    add(batch, &(struct qd_batch_op){QD_BATCH_MERGE, space, key, sums});
}

void qd_batch_append(struct qd_batch *batch, const struct qd_batch *other)
{
    batch->ops.failed |= other->ops.failed;
    qd_buf_append(&batch->ops, other->ops.data, other->ops.size);
    batch->count += other->count;
}

bool qd_batch_next(const struct qd_batch *batch, size_t *cursor, struct qd_batch_op *ret_op)
{
    if (*cursor >= batch->ops.size) {
        return false;
    }
    struct op_header header;
    memcpy(&header, batch->ops.data + *cursor, sizeof header);
    const char *key = (const char *)batch->ops.data + *cursor + sizeof header;
    *ret_op = (struct qd_batch_op){
        .verb = (enum qd_batch_verb)header.verb,
        .space = (enum qd_store_space)header.space,
        .key = {key, header.key_size},
        .value = {key + header.key_size, header.value_size},
    };
    *cursor += sizeof header + header.key_size + header.value_size;
    return true;
}
