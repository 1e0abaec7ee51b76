#include "server/shard/evict.h"

#include "storage/codec.h"
#include "storage/store.h"

#include <string.h>

#define QD_EVICT_PREFIX "c"

/* 'C', which none of the types in storage/codec.h is. These records end with the boot that wrote
 * them: see qd_evict_wipe. */
#define QD_RECORD_COUNTER         ((enum qd_record_type)0x43)
#define QD_RECORD_COUNTER_VERSION 1

static void state_key(struct qd_hash128 id, struct qd_buf *key)
{
    qd_buf_append(key, QD_EVICT_PREFIX, 1);
    qd_put_key_u64(key, id.hi);
    qd_put_key_u64(key, id.lo);
}

static struct qd_core *core_of(struct qd_node *node, struct qd_shard *home,
                               const struct qd_bind_item *item)
{
    return item->depth == 0 ? node->shards.commons.core : home->core;
}

/* The record of a state, checksum and all. */
static void put_record(struct qd_buf *record, const struct qd_saved *state)
{
    size_t begin = qd_record_begin(record, QD_RECORD_COUNTER, QD_RECORD_COUNTER_VERSION);
    qd_buf_append(record, state->bytes, state->size);
    qd_record_end(record, begin);
}

/* Size 0 if the record is damaged. */
static void read_record(const struct qd_buf *record, struct qd_saved *ret_state)
{
    uint8_t version;
    struct qd_reader body;

    ret_state->size = 0;
    if (record->failed ||
        qd_record_open(qd_buf_str(record), QD_RECORD_COUNTER, QD_RECORD_COUNTER_VERSION, &version,
                       &body) != QD_STORE_OK) {
        return;
    }
    size_t size = (size_t)(body.end - body.at);
    if (size > 0 && size <= sizeof(ret_state->bytes)) {
        memcpy(ret_state->bytes, body.at, size);
        ret_state->size = (uint32_t)size;
    }
}

bool qd_evict_read(struct qd_node *node, struct qd_hash128 id, struct qd_saved *ret_state)
{
    struct qd_buf key = {0};
    struct qd_buf record = {0};

    *ret_state = (struct qd_saved){.id = id, .size = 0};
    state_key(id, &key);
    enum qd_store_err err =
        qd_store_get(node->store, QD_STORE_SNAPSHOT, qd_buf_str(&key), &record, NULL);
    if (err == QD_STORE_OK) {
        read_record(&record, ret_state);
    }
    qd_buf_release(&key);
    qd_buf_release(&record);
    return err != QD_STORE_NOT_FOUND;
}

/* A state that cannot be read is as lost as a damaged one: the core counts it. */
static void bring_back(struct qd_worker *worker, struct qd_core *core, struct qd_hash128 id,
                       struct qd_wall_ns now)
{
    struct qd_saved state;

    if (qd_evict_read(worker->node, id, &state) && qd_core_restore(core, &state, now)) {
        qd_count(&worker->figures.restores);
    }
}

void qd_evict_bring_back(struct qd_worker *worker, struct qd_shard *home,
                         const struct qd_bind *bind, struct qd_wall_ns now)
{
    if (!atomic_load_explicit(&worker->node->evicted, memory_order_relaxed)) {
        return;
    }
    uint32_t missing = qd_core_bound_new(home->core);
    for (size_t i = 0; i < bind->item_count; i++) {
        if (missing >> i & 1U) {
            const struct qd_bind_item *item = &bind->items[i];
            bring_back(worker, core_of(worker->node, home, item), item->counter, now);
        }
    }
}

bool qd_evict_one(struct qd_worker *worker, struct qd_core *core, struct qd_wall_ns now)
{
    struct qd_saved state;
    struct qd_batch batch;
    struct qd_buf key = {0};
    struct qd_buf record = {0};

    if (!qd_core_evict_begin(core, now, &state)) {
        return false;
    }
    /* Later binds look from here on. Set under the lock under which they read it. */
    atomic_store_explicit(&worker->node->evicted, true, memory_order_relaxed);
    qd_batch_init(&batch);
    state_key(state.id, &key);
    put_record(&record, &state);
    qd_batch_put(&batch, QD_STORE_SNAPSHOT, qd_buf_str(&key), qd_buf_str(&record));
    bool stored = !key.failed && !record.failed &&
                  qd_store_write(worker->node->store, &batch, false, NULL) == QD_STORE_OK;
    qd_batch_release(&batch);
    qd_buf_release(&key);
    qd_buf_release(&record);
    if (stored) { /* X4: a store that cannot be written takes nothing out of memory */
        qd_core_evict_end(core, &state);
        qd_count(&worker->figures.evictions);
    }
    return stored;
}

bool qd_evict_wipe(struct qd_store *store, struct qd_store_error *error)
{
    struct qd_batch batch;
    struct qd_str name;
    struct qd_str value;
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {QD_EVICT_PREFIX, 1}, .upper = {"d", 1}};
    enum qd_store_err err;

    struct qd_store_iter *iter = qd_store_iter_open(store, &range);
    if (iter == NULL) {
        return false;
    }
    qd_batch_init(&batch);
    while ((err = qd_store_iter_next(iter, &name, &value, error)) == QD_STORE_OK) {
        qd_batch_delete(&batch, QD_STORE_SNAPSHOT, name);
    }
    qd_store_iter_close(iter);
    if (err == QD_STORE_END) {
        err = qd_store_write(store, &batch, false, error);
    }
    qd_batch_release(&batch);
    return err == QD_STORE_OK;
}
