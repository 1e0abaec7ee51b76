#include "storage/store_memory.h"

#include "storage/memory_map.h"
#include "storage/sums.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct qd_store_snapshot {
    struct qd_store_snapshot *next;
    uint64_t sequence;
};

struct memory_store {
    struct qd_store base;
    pthread_mutex_t mutex;
    struct qd_memory_map spaces[QD_STORE_SPACE_COUNT];
    uint64_t sequence; /* writes so far */
    uint64_t synced;   /* those that survive a crash */
    struct qd_store_snapshot *snapshots;
    struct qd_store_faults faults;
};

struct memory_iter {
    struct qd_store_iter base;
    struct memory_store *store;
    struct qd_store_snapshot snapshot; /* its own, in the list while it lives */
    uint64_t sequence;
    enum qd_store_space space;
    bool reverse;
    bool started;
    bool inclusive; /* the next move may stay at `at` */
    struct qd_buf lower;
    struct qd_buf upper;
    struct qd_buf at;
    struct qd_buf value;
};

/* Count one call; true: it is to fail. */
static bool fault_strikes(struct qd_store_fault *fault)
{
    fault->calls++;
    if (fault->countdown != 0) {
        fault->countdown -= fault->countdown > 0;
        return false;
    }
    fault->countdown = fault->repeat ? 0 : -1;
    return true;
}

/* --- applying (the mutex is held) --- */

/* The oldest state that somebody may still ask for: a snapshot, or a crash. */
static uint64_t oldest_needed(const struct memory_store *store)
{
    uint64_t oldest = store->synced;
    for (const struct qd_store_snapshot *s = store->snapshots; s != NULL; s = s->next) {
        oldest = s->sequence < oldest ? s->sequence : oldest;
    }
    return oldest;
}

static bool apply_merge(struct memory_store *store, const struct qd_batch_op *op, uint64_t sequence)
{
    struct qd_memory_map *map = &store->spaces[op->space];
    struct qd_memory_node *node = qd_memory_map_find(map, op->key);
    struct qd_str existing;
    bool exists = node != NULL && qd_memory_node_value(node, sequence, &existing);
    struct qd_buf merged = {0};
    qd_sums_merge(exists ? &existing : NULL, &op->value, 1, &merged);
    struct qd_str value = qd_buf_str(&merged);
    bool done =
        !merged.failed && qd_memory_map_set(map, op->key, &value, sequence, oldest_needed(store));
    qd_buf_release(&merged);
    return done;
}

static bool apply_delete_range(struct memory_store *store, const struct qd_batch_op *op,
                               uint64_t sequence)
{
    struct qd_memory_map *map = &store->spaces[op->space];
    struct qd_memory_node *node = qd_memory_map_seek(map, op->key);
    bool done = true;

    while (done && node != NULL && qd_slice_compare(qd_memory_node_key(node), op->value) < 0) {
        struct qd_memory_node *next = qd_memory_map_next(node);
        done =
            qd_memory_map_set(map, qd_memory_node_key(node), NULL, sequence, oldest_needed(store));
        node = next;
    }
    return done;
}

static bool apply(struct memory_store *store, const struct qd_batch_op *op, uint64_t sequence)
{
    if (op->verb == QD_BATCH_MERGE) {
        return apply_merge(store, op, sequence);
    }
    if (op->verb == QD_BATCH_DELETE_RANGE) {
        return apply_delete_range(store, op, sequence);
    }
    return qd_memory_map_set(&store->spaces[op->space], op->key,
                             op->verb == QD_BATCH_PUT ? &op->value : NULL, sequence,
                             oldest_needed(store));
}

static void rewind_to(struct memory_store *store, uint64_t sequence)
{
    for (size_t space = 0; space < QD_STORE_SPACE_COUNT; space++) {
        qd_memory_map_rewind(&store->spaces[space], sequence);
    }
    store->sequence = sequence;
}

static uint64_t used_bytes(const struct memory_store *store)
{
    uint64_t bytes = 0;
    for (size_t space = 0; space < QD_STORE_SPACE_COUNT; space++) {
        bytes += store->spaces[space].used_bytes;
    }
    return bytes;
}

/* --- operations --- */

static struct memory_store *of(struct qd_store *store)
{
    return (struct memory_store *)store;
}

static void memory_close(struct qd_store *base)
{
    struct memory_store *store = of(base);
    assert(store->snapshots == NULL);
    for (size_t space = 0; space < QD_STORE_SPACE_COUNT; space++) {
        qd_memory_map_release(&store->spaces[space]);
    }
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

static enum qd_store_err memory_get(struct qd_store *base, enum qd_store_space space,
                                    struct qd_str key, struct qd_buf *ret_value,
                                    struct qd_store_error *error)
{
    struct memory_store *store = of(base);
    enum qd_store_err err = QD_STORE_NOT_FOUND;
    struct qd_str value;
    pthread_mutex_lock(&store->mutex);
    struct qd_memory_node *node = qd_memory_map_find(&store->spaces[space], key);
    if (fault_strikes(&store->faults.read)) {
        err = qd_store_error_set(error, QD_STORE_IO, "reading failed (injected)");
    } else if (node != NULL && qd_memory_node_value(node, store->sequence, &value)) {
        qd_buf_clear(ret_value);
        qd_buf_append_str(ret_value, value);
        err = ret_value->failed
                  ? qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for a value")
                  : QD_STORE_OK;
    }
    pthread_mutex_unlock(&store->mutex);
    return err;
}

static uint64_t batch_bytes(const struct qd_batch *batch)
{
    uint64_t bytes = 0;
    size_t cursor = 0;
    struct qd_batch_op op;
    while (qd_batch_next(batch, &cursor, &op)) {
        bytes += op.key.len + op.value.len;
    }
    return bytes;
}

static enum qd_store_err write_locked(struct memory_store *store, const struct qd_batch *batch,
                                      bool sync, struct qd_store_error *error)
{
    bool struck = fault_strikes(&store->faults.write);
    if (struck && !store->faults.write.lands) {
        return qd_store_error_set(error, QD_STORE_IO, "writing failed (injected)");
    }
    uint64_t capacity = store->faults.capacity_bytes;
    if (capacity > 0 && used_bytes(store) + batch_bytes(batch) > capacity) {
        return qd_store_error_set(error, QD_STORE_FULL, "disk full: %llu bytes of %llu used",
                                  (unsigned long long)used_bytes(store),
                                  (unsigned long long)capacity);
    }
    uint64_t before = store->sequence;
    size_t cursor = 0;
    struct qd_batch_op op;
    while (qd_batch_next(batch, &cursor, &op)) {
        if (!apply(store, &op, before + 1)) {
            rewind_to(store, before);
            return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for a write");
        }
    }
    store->sequence = before + 1;
    if (struck) {
        return qd_store_error_set(error, QD_STORE_IO, "writing failed (injected), but is there");
    }
    if (sync) {
        if (fault_strikes(&store->faults.sync)) {
            return qd_store_error_set(error, QD_STORE_IO, "sync failed (injected)");
        }
        store->synced = store->sequence;
    }
    return QD_STORE_OK;
}

static enum qd_store_err memory_write(struct qd_store *base, const struct qd_batch *batch,
                                      bool sync, struct qd_store_error *error)
{
    struct memory_store *store = of(base);
    pthread_mutex_lock(&store->mutex);
    enum qd_store_err err = write_locked(store, batch, sync, error);
    pthread_mutex_unlock(&store->mutex);
    return err;
}

static void link_snapshot(struct memory_store *store, struct qd_store_snapshot *snapshot)
{
    snapshot->next = store->snapshots;
    store->snapshots = snapshot;
}

static void unlink_snapshot(struct memory_store *store, struct qd_store_snapshot *snapshot)
{
    struct qd_store_snapshot **link = &store->snapshots;
    while (*link != snapshot) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = snapshot->next;
}

static struct qd_store_snapshot *memory_snapshot_open(struct qd_store *base)
{
    struct memory_store *store = of(base);
    struct qd_store_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot != NULL) {
        pthread_mutex_lock(&store->mutex);
        snapshot->sequence = store->sequence;
        link_snapshot(store, snapshot);
        pthread_mutex_unlock(&store->mutex);
    }
    return snapshot;
}

static void memory_snapshot_close(struct qd_store *base, struct qd_store_snapshot *snapshot)
{
    struct memory_store *store = of(base);
    pthread_mutex_lock(&store->mutex);
    unlink_snapshot(store, snapshot);
    pthread_mutex_unlock(&store->mutex);
    free(snapshot);
}

/* --- iterators: they remember a key, not a place --- */

static void memory_iter_close(struct qd_store_iter *base)
{
    struct memory_iter *iter = (struct memory_iter *)base;
    pthread_mutex_lock(&iter->store->mutex);
    unlink_snapshot(iter->store, &iter->snapshot);
    pthread_mutex_unlock(&iter->store->mutex);
    qd_buf_release(&iter->lower);
    qd_buf_release(&iter->upper);
    qd_buf_release(&iter->at);
    qd_buf_release(&iter->value);
    free(iter);
}

static struct qd_store_iter *memory_iter_open(struct qd_store *base,
                                              const struct qd_store_range *range)
{
    struct memory_store *store = of(base);
    struct memory_iter *iter = calloc(1, sizeof *iter);
    if (iter == NULL) {
        return NULL;
    }
    iter->base.ops = base->ops;
    iter->store = store;
    iter->space = range->space;
    iter->reverse = range->reverse;
    qd_buf_append_str(&iter->lower, range->lower);
    qd_buf_append_str(&iter->upper, range->upper);
    pthread_mutex_lock(&store->mutex);
    iter->sequence = range->snapshot != NULL ? range->snapshot->sequence : store->sequence;
    iter->snapshot.sequence = iter->sequence;
    link_snapshot(store, &iter->snapshot);
    pthread_mutex_unlock(&store->mutex);
    if (iter->lower.failed || iter->upper.failed) {
        memory_iter_close(&iter->base);
        return NULL;
    }
    return &iter->base;
}

static struct qd_memory_node *first_forward(struct memory_iter *iter)
{
    struct qd_str from = qd_buf_str(&iter->lower);
    bool from_at = iter->started && qd_slice_compare(qd_buf_str(&iter->at), from) >= 0;
    if (from_at) {
        from = qd_buf_str(&iter->at);
    }
    struct qd_memory_node *node = qd_memory_map_seek(&iter->store->spaces[iter->space], from);
    if (from_at && !iter->inclusive && node != NULL &&
        qd_slice_equal(qd_memory_node_key(node), from)) {
        node = qd_memory_map_next(node);
    }
    return node;
}

static struct qd_memory_node *first_backward(struct memory_iter *iter)
{
    struct qd_str upper = qd_buf_str(&iter->upper);
    struct qd_str at = qd_buf_str(&iter->at);
    if (!iter->started || (upper.len > 0 && qd_slice_compare(at, upper) >= 0)) {
        return qd_memory_map_before(&iter->store->spaces[iter->space], upper);
    }
    if (iter->inclusive) {
        struct qd_memory_node *node = qd_memory_map_find(&iter->store->spaces[iter->space], at);
        if (node != NULL) {
            return node;
        }
    }
    return at.len > 0 ? qd_memory_map_before(&iter->store->spaces[iter->space], at) : NULL;
}

static bool in_range(const struct memory_iter *iter, const struct qd_memory_node *node)
{
    struct qd_str key = qd_memory_node_key(node);
    if (iter->reverse) {
        return qd_slice_compare(key, qd_buf_str(&iter->lower)) >= 0;
    }
    return iter->upper.size == 0 || qd_slice_compare(key, qd_buf_str(&iter->upper)) < 0;
}

static enum qd_store_err iter_next_locked(struct memory_iter *iter, struct qd_store_error *error)
{
    if (fault_strikes(&iter->store->faults.read)) {
        return qd_store_error_set(error, QD_STORE_IO, "reading failed (injected)");
    }
    struct qd_memory_node *node = iter->reverse ? first_backward(iter) : first_forward(iter);
    struct qd_str value = {0};
    while (node != NULL && in_range(iter, node) &&
           !qd_memory_node_value(node, iter->sequence, &value)) {
        node = iter->reverse ? qd_memory_map_before(&iter->store->spaces[iter->space],
                                                    qd_memory_node_key(node))
                             : qd_memory_map_next(node);
    }
    if (node == NULL || !in_range(iter, node)) {
        return QD_STORE_END;
    }
    qd_buf_clear(&iter->at);
    qd_buf_append_str(&iter->at, qd_memory_node_key(node));
    qd_buf_clear(&iter->value);
    qd_buf_append_str(&iter->value, value);
    iter->started = true;
    iter->inclusive = false;
    if (iter->at.failed || iter->value.failed) {
        return qd_store_error_set(error, QD_STORE_NO_MEMORY, "no memory for a key");
    }
    return QD_STORE_OK;
}

static enum qd_store_err memory_iter_next(struct qd_store_iter *base, struct qd_str *ret_key,
                                          struct qd_str *ret_value, struct qd_store_error *error)
{
    struct memory_iter *iter = (struct memory_iter *)base;
    pthread_mutex_lock(&iter->store->mutex);
    enum qd_store_err err = iter_next_locked(iter, error);
    pthread_mutex_unlock(&iter->store->mutex);
    if (err == QD_STORE_OK) {
        *ret_key = qd_buf_str(&iter->at);
        *ret_value = qd_buf_str(&iter->value);
    }
    return err;
}

static void memory_iter_seek(struct qd_store_iter *base, struct qd_str key)
{
    struct memory_iter *iter = (struct memory_iter *)base;
    struct qd_buf at = {0};
    qd_buf_append_str(&at, key);
    qd_buf_release(&iter->at);
    iter->at = at;
    iter->started = true;
    iter->inclusive = true;
}

static enum qd_store_err memory_checkpoint(struct qd_store *base, const char *path,
                                           struct qd_store_error *error)
{
    (void)base;
    return qd_store_error_set(
        error, QD_STORE_INVALID,
        "%s: a store in memory has no files to copy: it ends with its process", path);
}

/* Nothing to gain: what is deleted keeps its place until the store is closed. */
static enum qd_store_err memory_compact(struct qd_store *base, enum qd_store_space space,
                                        struct qd_str lower, struct qd_str upper,
                                        struct qd_store_error *error)
{
    (void)base;
    (void)space;
    (void)lower;
    (void)upper;
    (void)error;
    return QD_STORE_OK;
}

static const struct qd_store_ops memory_ops = {
    .close = memory_close,
    .get = memory_get,
    .write = memory_write,
    .snapshot_open = memory_snapshot_open,
    .snapshot_close = memory_snapshot_close,
    .iter_open = memory_iter_open,
    .iter_next = memory_iter_next,
    .iter_seek = memory_iter_seek,
    .iter_close = memory_iter_close,
    .checkpoint = memory_checkpoint,
    .compact = memory_compact,
};

struct qd_store *qd_store_memory_new(void)
{
    struct memory_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->base.ops = &memory_ops;
    store->faults.write.countdown = -1;
    store->faults.sync.countdown = -1;
    store->faults.read.countdown = -1;
    pthread_mutex_init(&store->mutex, NULL);
    return &store->base;
}

struct qd_store_faults *qd_store_memory_faults(struct qd_store *store)
{
    return &of(store)->faults;
}

void qd_store_memory_crash(struct qd_store *store, uint64_t keep)
{
    struct memory_store *memory = of(store);
    assert(memory->snapshots == NULL);
    uint64_t lost = memory->sequence - memory->synced;
    uint64_t survive = memory->synced + (keep < lost ? keep : lost);
    rewind_to(memory, survive);
    memory->synced = survive;
}

uint64_t qd_store_memory_writes(struct qd_store *store)
{
    return of(store)->sequence;
}

uint64_t qd_store_memory_synced(struct qd_store *store)
{
    return of(store)->synced;
}
