#include "server/shard/evicted.h"

#include "server/shard/evict.h"
#include "server/shard/limit_index.h"
#include "server/shard/peek.h"
#include "server/shard/stored.h"

#include <string.h>

struct looking {
    struct qd_node *node;
    struct qd_limit_index limits;
    size_t deleted;
};

/* With the lock of its shard: what is in memory has a record of its own, which the next fold looks
 * after. The record is read again: since the walk began it may have come back, counted, and made
 * room once more. */
static void drop(struct looking *l, struct qd_shard *shard, const struct qd_limit *limit,
                 struct qd_hash128 id, struct qd_str key, struct qd_wall_ns now)
{
    struct qd_limit_state state;
    struct qd_saved saved;
    struct qd_batch batch;

    if (qd_core_counter(shard->core, id, now, &state) || !qd_evict_read(l->node, id, &saved) ||
        saved.size == 0 || !qd_peek_is_over(limit, &saved, now)) {
        return;
    }
    qd_batch_init(&batch);
    qd_batch_delete(&batch, QD_STORE_SNAPSHOT, key);
    l->deleted += qd_store_write(l->node->store, &batch, false, NULL) == QD_STORE_OK;
    qd_batch_release(&batch);
}

/* One that cannot be read, or whose limit is gone, stays: it may be bound some day (P6). */
static void look(struct looking *l, struct qd_str key, struct qd_str record)
{
    struct qd_stored_place place;
    struct qd_saved saved;
    struct qd_saved_counter counter;
    struct qd_shards *shards = &l->node->shards;
    struct qd_wall_ns now = qd_clock_now(&l->node->clock);

    if (qd_stored_read(key, record, &place, &saved) != QD_STORE_OK ||
        !qd_core_saved_counter(&saved, &counter)) {
        return;
    }
    const struct qd_limit *limit = qd_limit_index_find(&l->limits, &counter);
    if (limit != NULL && qd_peek_is_over(limit, &saved, now)) {
        struct qd_shard *shard = qd_shards_of_counter(shards, &counter);
        qd_shards_lock(shards, shard);
        drop(l, shard, limit, saved.id, key, now);
        qd_shards_unlock(shards, shard);
    }
}

static void remember(struct qd_evicted_sweep *sweep, struct qd_str key)
{
    sweep->next_len = key.len < sizeof(sweep->next) ? key.len : sizeof(sweep->next);
    memcpy(sweep->next, key.ptr, sweep->next_len);
}

static void walk(struct looking *l, struct qd_evicted_sweep *sweep, size_t looks)
{
    struct qd_str next = {(const char *)sweep->next, sweep->next_len};
    struct qd_store_range range = {.space = QD_STORE_SNAPSHOT,
                                   .lower = next.len > 0 ? next : (struct qd_str){"c", 1},
                                   .upper = {"d", 1}};
    struct qd_store_iter *iter = qd_store_iter_open(l->node->store, &range);
    struct qd_str key;
    struct qd_str record;

    sweep->next_len = 0; /* from the beginning, unless there is more */
    for (size_t i = 0; iter != NULL && qd_store_iter_next(iter, &key, &record, NULL) == QD_STORE_OK;
         i++) {
        if (i == looks) {
            remember(sweep, key);
            break;
        }
        look(l, key, record);
    }
    qd_store_iter_close(iter);
}

size_t qd_evicted_sweep(struct qd_node *node, struct qd_evicted_sweep *sweep, size_t looks)
{
    struct looking l = {.node = node};

    if (!atomic_load_explicit(&node->evicted, memory_order_acquire)) {
        return 0;
    }
    if (qd_limit_index_init(&l.limits)) {
        walk(&l, sweep, looks);
    }
    qd_limit_index_release(&l.limits);
    return l.deleted;
}
