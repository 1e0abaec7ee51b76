#include "server/shard/snapshot.h"

#include "server/shard/stored.h"

#include <stdlib.h>
#include <string.h>

/* --- what a slice has counted --- */

/* Drop what `through` covers. */
static void prune(struct qd_counted *counted, uint64_t through)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < counted->count; i++) {
        if (counted->beyond[i] > through) {
            counted->beyond[kept++] = counted->beyond[i];
        }
    }
    counted->count = kept;
}

void qd_snapshot_counted(struct qd_shard *shard, uint64_t sequence)
{
    struct qd_counted *counted = &shard->counted;

    if (sequence > counted->newest) {
        counted->newest = sequence;
    }
    if (counted->count == counted->capacity) {
        uint32_t capacity = counted->capacity > 0 ? counted->capacity * 2 : 64;
        uint64_t *more = realloc(counted->beyond, capacity * sizeof(*more));
        if (more == NULL) {
            counted->incomplete = true;
            return;
        }
        counted->beyond = more;
        counted->capacity = capacity;
    }
    counted->beyond[counted->count++] = sequence;
}

/* The cut of now. False: without memory for the list it is not known until all that was counted is
 * covered. */
static bool cut_of(struct qd_node *node, struct qd_shard *shard, struct qd_cut *ret_cut)
{
    struct qd_counted *counted = &shard->counted;
    uint64_t through = qd_frontier_through(&node->frontier);

    prune(counted, through);
    if (counted->incomplete && counted->newest > through) {
        return false;
    }
    counted->incomplete = false;
    *ret_cut =
        (struct qd_cut){.through = through, .beyond = counted->beyond, .count = counted->count};
    return true;
}

/* --- one slice --- */

static struct qd_stored_place place_of(const struct qd_node *node, const struct qd_shard *shard)
{
    bool home = shard != &node->shards.commons;

    return (struct qd_stored_place){node->shards.count, home ? shard->index : QD_STORED_COMMONS};
}

static void put(struct qd_batch *batch, struct qd_str key, const struct qd_buf *record)
{
    batch->ops.failed |= record->failed;
    qd_batch_put(batch, QD_STORE_SNAPSHOT, key, qd_buf_str(record));
}

/* What a write that failed may have left there: holds that are no more. */
static void forget_holds(struct qd_node *node, struct qd_stored_place place, struct qd_batch *batch)
{
    struct qd_buf lower = {0};
    struct qd_buf upper = {0};
    struct qd_saved first = {.kind = QD_SAVED_HOLD};
    struct qd_saved last = {.kind = QD_SAVED_HOLD, .id = {.lo = UINT64_MAX}};
    struct qd_str key;
    struct qd_str value;

    qd_stored_key(&first, place, &lower);
    qd_stored_key(&last, place, &upper);
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = qd_buf_str(&lower), .upper = qd_buf_str(&upper)};
    struct qd_store_iter *iter = qd_store_iter_open(node->store, &range);
    batch->ops.failed |= iter == NULL || lower.failed || upper.failed;
    enum qd_store_err err = QD_STORE_OK;
    while (iter != NULL && (err = qd_store_iter_next(iter, &key, &value, NULL)) == QD_STORE_OK) {
        qd_batch_delete(batch, QD_STORE_SNAPSHOT, key);
    }
    batch->ops.failed |= err != QD_STORE_OK && err != QD_STORE_END;
    qd_store_iter_close(iter);
    qd_buf_release(&lower);
    qd_buf_release(&upper);
}

/* Everything of the slice that the store does not have, and its cut. False: nothing to write. */
static bool gather(struct qd_node *node, struct qd_shard *shard, struct qd_batch *batch)
{
    struct qd_stored_place place = place_of(node, shard);
    struct qd_core *commons =
        shard != &node->shards.commons ? qd_shards_commons(&node->shards) : NULL;
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    struct qd_buf key = {0};
    struct qd_buf record = {0};
    struct qd_saved saved;
    struct qd_cut cut;
    uint64_t cursor = 0;
    size_t before = batch->count;

    if (!cut_of(node, shard, &cut)) {
        return false;
    }
    bool all = shard->counted.unwritten;
    if (all) {
        forget_holds(node, place, batch);
    }
    while (qd_core_changed_next(shard->core, commons, all, &cursor, now, &saved)) {
        qd_buf_clear(&key);
        qd_buf_clear(&record);
        qd_stored_key(&saved, place, &key);
        if (saved.size == 0) {
            qd_batch_delete(batch, QD_STORE_SNAPSHOT, qd_buf_str(&key));
            continue;
        }
        struct qd_str token = saved.kind == QD_SAVED_HOLD
                                  ? qd_shard_recall(shard, saved.reservation)
                                  : (struct qd_str){NULL, 0};
        qd_stored_record(&saved, token, &record);
        put(batch, qd_buf_str(&key), &record);
    }
    bool moved = all || cut.through != shard->counted.stored_through || batch->count != before;
    if (moved) {
        qd_buf_clear(&key);
        qd_buf_clear(&record);
        qd_cut_key(place, &key);
        if (node->booting) { /* without all cuts the next boot counts the ledger alone */
            qd_batch_delete(batch, QD_STORE_SNAPSHOT, qd_buf_str(&key));
        } else {
            qd_cut_record(&cut, &record);
            put(batch, qd_buf_str(&key), &record);
            shard->counted.stored_through = cut.through;
        }
    }
    batch->ops.failed |= key.failed;
    qd_buf_release(&key);
    qd_buf_release(&record);
    return moved;
}

/* The slice takes what it gave away for stored: if it is not, everything is written next time. */
static bool write_batch(struct qd_node *node, struct qd_shard *shard, const struct qd_batch *batch,
                        struct qd_store_error *error)
{
    bool ok = qd_store_write(node->store, batch, false, error) == QD_STORE_OK;

    if (ok) {
        atomic_fetch_add_explicit(&node->snapshot.records, batch->count, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&node->snapshot.failures, 1, memory_order_relaxed);
    }
    shard->counted.unwritten = !ok; /* under `storing`, which whoever reads it has taken */
    return ok;
}

bool qd_snapshot_locked(struct qd_node *node, struct qd_shard *shard)
{
    struct qd_batch batch;
    struct qd_store_error error;

    qd_batch_init(&batch);
    (void)pthread_mutex_lock(&shard->storing);
    bool ok = !gather(node, shard, &batch) || write_batch(node, shard, &batch, &error);
    ok = ok && !shard->counted.incomplete;
    (void)pthread_mutex_unlock(&shard->storing);
    qd_batch_release(&batch);
    return ok;
}

/* --- all of them --- */

static void lock(struct qd_node *node, struct qd_shard *shard)
{
    if (shard == &node->shards.commons) {
        (void)pthread_mutex_lock(&shard->lock);
    } else {
        qd_shards_lock(&node->shards, shard);
    }
}

static void unlock(struct qd_node *node, struct qd_shard *shard)
{
    if (shard == &node->shards.commons) {
        (void)pthread_mutex_unlock(&shard->lock);
    } else {
        qd_shards_unlock(&node->shards, shard);
    }
}

/* Checks wait while the slice is read, not while it is written. Whoever locks `storing` has the
 * shard locked; who has it locked may write without the shard, and needs it no more. */
static bool store_shard(struct qd_node *node, struct qd_shard *shard, struct qd_batch *batch,
                        bool *wrote, struct qd_store_error *error)
{
    qd_batch_clear(batch);
    lock(node, shard);
    (void)pthread_mutex_lock(&shard->storing);
    bool some = gather(node, shard, batch);
    unlock(node, shard);
    bool ok = !some || write_batch(node, shard, batch, error);
    (void)pthread_mutex_unlock(&shard->storing);
    *wrote |= some;
    return ok;
}

static struct qd_shard *shard_at(struct qd_node *node, uint32_t i)
{
    return i < node->shards.count ? &node->shards.home[i] : &node->shards.commons;
}

bool qd_snapshot_round(struct qd_node *node, bool synced, struct qd_store_error *error)
{
    struct qd_batch batch;
    bool ok = true;
    bool wrote = false;

    qd_batch_init(&batch);
    for (uint32_t i = 0; i <= node->shards.count && ok; i++) {
        ok = store_shard(node, shard_at(node, i), &batch, &wrote, error);
    }
    if (ok && wrote && synced) {
        qd_batch_clear(&batch);
        ok = qd_store_write(node->store, &batch, true, error) == QD_STORE_OK;
    }
    qd_batch_release(&batch);
    atomic_fetch_add_explicit(&node->snapshot.rounds, ok, memory_order_relaxed);
    return ok;
}

bool qd_snapshot_boot(struct qd_node *node, const struct qd_batch *extra,
                      struct qd_store_error *error)
{
    struct qd_batch batch;

    qd_batch_init(&batch);
    qd_batch_append(&batch, extra);
    for (uint32_t i = 0; i <= node->shards.count; i++) {
        shard_at(node, i)->counted.stored_through = UINT64_MAX; /* each has its cut written */
        (void)gather(node, shard_at(node, i), &batch);
    }
    bool ok = qd_store_write(node->store, &batch, true, error) == QD_STORE_OK;
    qd_batch_release(&batch);
    return ok;
}
