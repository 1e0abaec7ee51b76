#include "server/shard/reset_stored.h"

#include "server/shard/evict.h"
#include "server/shard/peek.h"
#include "server/shard/stored.h"

#include <stdlib.h>

/* --- one record --- */

static void tell(struct qd_reset_stored *s, const struct qd_saved *saved)
{
    struct qd_saved_counter counter;
    struct qd_limit_state state;

    if (s->on_state == NULL || !qd_core_saved_counter(saved, &counter)) {
        return;
    }
    struct qd_bind_item item = {.limit = s->limit->use->limit,
                                .amount = counter.amount,
                                .burst = counter.burst,
                                .counter = saved->id};
    if (!qd_peek_saved(&item, saved, s->now, &state)) {
        state = (struct qd_limit_state){.limit = item.limit, /* it would begin empty */
                                        .amount = item.amount,
                                        .burst = item.burst,
                                        .remaining = item.amount,
                                        .resets_at = {QD_WALL_NEVER}};
    }
    state.depth = counter.depth;
    state.name = counter.name;
    if (!s->on_state(s->context, &state)) {
        s->on_state = NULL;
    }
}

static void add_delete(struct qd_batch *batch, struct qd_hash128 id)
{
    struct qd_saved saved = {.kind = QD_SAVED_COUNTER, .id = id};
    struct qd_buf key = {0};

    qd_stored_key(&saved, (struct qd_stored_place){0}, &key);
    batch->ops.failed |= key.failed;
    qd_batch_delete(batch, QD_STORE_SNAPSHOT, qd_buf_str(&key));
    qd_buf_release(&key);
}

/* --- all that match --- */

/* With the shard locked, so that no binding brings one back in between. */
static enum qd_store_err start_anew(struct qd_reset_stored *s)
{
    struct qd_batch batch;
    uint32_t deleted = 0;
    enum qd_store_err err = QD_STORE_OK;

    qd_batch_init(&batch);
    for (size_t i = 0; i < s->batch_count; i++) {
        if (qd_core_counter_reset(s->core, s->batch[i], s->since, s->now)) {
            s->count++; /* it came back since */
        } else {
            add_delete(&batch, s->batch[i]);
            deleted++;
        }
    }
    if (deleted > 0) {
        err = qd_store_write(s->node->store, &batch, false, NULL);
    }
    s->count += err == QD_STORE_OK ? deleted : 0;
    s->batch_count = 0;
    qd_batch_release(&batch);
    return err;
}

static enum qd_store_err flush(struct qd_reset_stored *s)
{
    qd_shards_lock(&s->node->shards, s->home);
    enum qd_store_err err = start_anew(s);
    qd_shards_unlock(&s->node->shards, s->home);
    return err;
}

static int compare_ids(const void *a, const void *b)
{
    const struct qd_hash128 *left = a;
    const struct qd_hash128 *right = b;

    return left->hi != right->hi ? (left->hi > right->hi) - (left->hi < right->hi)
                                 : (left->lo > right->lo) - (left->lo < right->lo);
}

static bool was_in_memory(const struct qd_reset_stored *s, struct qd_hash128 id)
{
    return s->in_memory.size > 0 && bsearch(&id, s->in_memory.data, s->in_memory.size / sizeof(id),
                                            sizeof(id), compare_ids) != NULL;
}

/* A record that cannot be read is none: its counter starts empty anyway. */
static bool is_wanted(const struct qd_reset_stored *s, struct qd_str key, struct qd_str record,
                      struct qd_saved *ret_saved)
{
    struct qd_stored_place place;
    struct qd_saved_counter counter;

    return qd_stored_read(key, record, &place, ret_saved) == QD_STORE_OK &&
           qd_core_saved_counter(ret_saved, &counter) &&
           qd_reset_is_of(s->limit, counter.limit_identity) && counter.depth == s->limit->depth &&
           qd_counter_has_keys(s->subject, s->node->shards.seed, s->limit, ret_saved->id,
                               counter.name, s->wanted) &&
           !was_in_memory(s, ret_saved->id);
}

enum qd_store_err qd_reset_stored_begin(struct qd_reset_stored *stored)
{
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {"c", 1}, .upper = {"d", 1}};

    if (!atomic_load_explicit(&stored->node->evicted, memory_order_relaxed)) {
        return QD_STORE_OK;
    }
    stored->iter = qd_store_iter_open(stored->node->store, &range);
    return stored->iter != NULL ? QD_STORE_OK : QD_STORE_NO_MEMORY;
}

void qd_reset_stored_pass(struct qd_reset_stored *stored, struct qd_hash128 id)
{
    if (stored->iter != NULL) {
        qd_buf_append(&stored->in_memory, &id, sizeof(id));
    }
}

enum qd_store_err qd_reset_stored_walk(struct qd_reset_stored *stored)
{
    struct qd_buf *in_memory = &stored->in_memory;
    struct qd_saved saved;
    struct qd_str key;
    struct qd_str record;
    enum qd_store_err err = in_memory->failed ? QD_STORE_NO_MEMORY : QD_STORE_OK;

    if (stored->iter == NULL) {
        return err;
    }
    if (in_memory->size > 0) {
        qsort(in_memory->data, in_memory->size / sizeof(struct qd_hash128),
              sizeof(struct qd_hash128), compare_ids);
    }
    while (err == QD_STORE_OK &&
           (err = qd_store_iter_next(stored->iter, &key, &record, NULL)) == QD_STORE_OK) {
        if (is_wanted(stored, key, record, &saved)) {
            tell(stored, &saved);
            stored->batch[stored->batch_count++] = saved.id;
            err = stored->batch_count == QD_RESET_BATCH ? flush(stored) : err;
        }
    }
    return err == QD_STORE_END ? flush(stored) : err;
}

void qd_reset_stored_end(struct qd_reset_stored *stored)
{
    qd_store_iter_close(stored->iter);
    qd_buf_release(&stored->in_memory);
}

/* --- just one --- */

enum qd_store_err qd_reset_stored_one(struct qd_reset_stored *stored, struct qd_hash128 id)
{
    struct qd_saved saved;

    if (!atomic_load_explicit(&stored->node->evicted, memory_order_relaxed) ||
        !qd_evict_read(stored->node, id, &saved)) {
        return QD_STORE_OK;
    }
    tell(stored, &saved);
    stored->batch[stored->batch_count++] = id;
    return start_anew(stored);
}
