#include "server/shard/evict.h"

#include "storage/codec.h"
#include "storage/store.h"

#include <string.h>

#define QD_EVICT_PREFIX "c"

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

void qd_evict_bring_back(struct qd_worker *worker, struct qd_shard *home,
                         const struct qd_bind *bind, struct qd_wall_ns now)
{
    if (!atomic_load_explicit(&worker->node->evicted, memory_order_relaxed)) {
        return;
    }
    uint32_t missing = qd_core_bound_new(home->core);
    for (size_t i = 0; i < bind->item_count; i++) {
        if ((missing >> i & 1U) == 0) {
            continue;
        }
        struct qd_buf key = {0};
        struct qd_buf value = {0};
        state_key(bind->items[i].counter, &key);
        if (qd_store_get(worker->node->store, QD_STORE_SNAPSHOT, qd_buf_str(&key), &value, NULL) ==
                QD_STORE_OK &&
            value.size <= QD_COUNTER_STATE_MAX) {
            struct qd_counter_state state = {.id = bind->items[i].counter,
                                             .size = (uint32_t)value.size};
            memcpy(state.bytes, value.data, value.size);
            if (qd_core_restore(core_of(worker->node, home, &bind->items[i]), &state, now)) {
                qd_count(&worker->figures.restores);
            }
        }
        qd_buf_release(&key);
        qd_buf_release(&value);
    }
}

bool qd_evict_one(struct qd_worker *worker, struct qd_core *core, struct qd_wall_ns now)
{
    struct qd_counter_state state;
    struct qd_batch batch;
    struct qd_buf key = {0};

    if (!qd_core_evict_begin(core, now, &state)) {
        return false;
    }
    /* Later binds look from here on. Set under the lock under which they read it. */
    atomic_store_explicit(&worker->node->evicted, true, memory_order_relaxed);
    qd_batch_init(&batch);
    state_key(state.id, &key);
    qd_batch_put(&batch, QD_STORE_SNAPSHOT, qd_buf_str(&key),
                 (struct qd_str){(const char *)state.bytes, state.size});
    bool stored = qd_store_write(worker->node->store, &batch, false, NULL) == QD_STORE_OK;
    qd_batch_release(&batch);
    qd_buf_release(&key);
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
