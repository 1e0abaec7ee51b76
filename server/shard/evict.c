#include "server/shard/evict.h"

#include "server/shard/snapshot.h"
#include "server/shard/stored.h"

static struct qd_core *core_of(struct qd_node *node, struct qd_shard *home,
                               const struct qd_bind_item *item)
{
    return item->depth == 0 ? node->shards.commons.core : home->core;
}

/* OK with size 0: it is damaged. NOT_FOUND: there is none. Else the store cannot be read. */
static enum qd_store_err read_state(struct qd_node *node, struct qd_hash128 id,
                                    struct qd_saved *ret_saved)
{
    struct qd_buf key = {0};
    struct qd_buf record = {0};
    struct qd_stored_place place = {0};

    *ret_saved = (struct qd_saved){.kind = QD_SAVED_COUNTER, .id = id};
    qd_stored_key(ret_saved, place, &key);
    enum qd_store_err err =
        qd_store_get(node->store, QD_STORE_SNAPSHOT, qd_buf_str(&key), &record, NULL);
    if (err == QD_STORE_OK &&
        qd_stored_read(qd_buf_str(&key), qd_buf_str(&record), &place, ret_saved) != QD_STORE_OK) {
        ret_saved->size = 0;
    }
    qd_buf_release(&key);
    qd_buf_release(&record);
    return err;
}

bool qd_evict_read(struct qd_node *node, struct qd_hash128 id, struct qd_saved *ret_saved)
{
    return read_state(node, id, ret_saved) != QD_STORE_NOT_FOUND;
}

/* A state that cannot be read is as lost as a damaged one: the core counts it. */
static void bring_back(struct qd_worker *worker, struct qd_core *core, struct qd_hash128 id,
                       struct qd_wall_ns now)
{
    struct qd_saved saved;

    if (qd_evict_read(worker->node, id, &saved) && qd_core_restore(core, &saved, now)) {
        qd_count(&worker->figures.restores);
    }
}

static bool is_unreadable(struct qd_node *node, struct qd_hash128 id)
{
    struct qd_saved saved;
    enum qd_store_err err = read_state(node, id, &saved);

    return err != QD_STORE_OK && err != QD_STORE_NOT_FOUND;
}

bool qd_evict_unreadable(struct qd_worker *worker, struct qd_shard *home,
                         const struct qd_bind *bind, struct qd_wall_ns now, size_t *ret_item)
{
    struct qd_node *node = worker->node;
    struct qd_limit_state state;

    if (node->booting || !atomic_load_explicit(&node->evicted, memory_order_relaxed)) {
        return false;
    }
    for (size_t i = 0; i < bind->item_count; i++) {
        const struct qd_bind_item *item = &bind->items[i];
        if (!qd_core_counter(core_of(node, home, item), item->counter, now, &state) &&
            is_unreadable(node, item->counter)) {
            qd_count(&worker->figures.unreadable);
            *ret_item = i;
            return true;
        }
    }
    return false;
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

bool qd_evict_one(struct qd_worker *worker, struct qd_shard *shard, struct qd_wall_ns now)
{
    struct qd_saved saved;

    if (!qd_core_evict_begin(shard->core, now, &saved)) {
        return false;
    }
    /* What the last snapshot has may be on its way to the store still; and if it went wrong,
     * nothing is there. */
    (void)pthread_mutex_lock(&shard->storing);
    bool stored = saved.stored && !shard->counted.unwritten;
    (void)pthread_mutex_unlock(&shard->storing);
    /* X5: with all of its slice, so that it is of one moment with the cut. */
    if (!stored && !qd_snapshot_locked(worker->node, shard)) {
        return false; /* X4: a store that cannot be written takes nothing out of memory */
    }
    /* Later binds look from here on. Set under the lock under which they read it. */
    atomic_store_explicit(&worker->node->evicted, true, memory_order_relaxed);
    qd_core_evict_end(shard->core, &saved);
    qd_count(&worker->figures.evictions);
    return true;
}
