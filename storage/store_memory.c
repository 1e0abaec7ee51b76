/* A skip list for each key space; each key has its versions, newest first, so that snapshots read
 * the past and a crash falls back to it. */
#include "storage/store_memory.h"

#include "storage/sums.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define LEVELS_MAX 16

struct version {
    struct version *older;
    uint64_t sequence; /* of the write that made it */
    bool deleted;
    size_t size;
    uint8_t data[];
};

struct node {
    struct version *newest;
    const uint8_t *key; /* behind `next` */
    size_t key_size;
    unsigned levels;
    struct node *next[];
};

struct qd_store_snapshot {
    struct qd_store_snapshot *next;
    uint64_t sequence;
};

struct memory_store {
    struct qd_store base;
    pthread_mutex_t mutex;
    struct node *heads[QD_STORE_SPACE_COUNT][LEVELS_MAX];
    uint64_t sequence; /* writes so far */
    uint64_t synced;   /* those that survive a crash */
    uint64_t used_bytes;
    uint64_t random;
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

static struct qd_str node_key(const struct node *node)
{
    return (struct qd_str){(const char *)node->key, node->key_size};
}

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

/* --- the skip list --- */

/* Geometric with ratio 1/4, from a fixed seed: runs repeat. */
static unsigned random_levels(struct memory_store *store)
{
    store->random ^= store->random << 13;
    store->random ^= store->random >> 7;
    store->random ^= store->random << 17;
    unsigned levels = 1;
    for (uint64_t bits = store->random; levels < LEVELS_MAX && (bits & 3) == 0; bits >>= 2) {
        levels++;
    }
    return levels;
}

/* First node >= key; `ret_links` (may be NULL): the link to change at each level to insert before
 * it. */
static struct node *seek(struct memory_store *store, enum qd_store_space space, struct qd_str key,
                         struct node **ret_links[LEVELS_MAX])
{
    struct node **links = store->heads[space];
    for (unsigned level = LEVELS_MAX; level-- > 0;) {
        while (links[level] != NULL && qd_slice_compare(node_key(links[level]), key) < 0) {
            links = links[level]->next;
        }
        if (ret_links != NULL) {
            ret_links[level] = &links[level];
        }
    }
    return links[0];
}

/* Last node < key, or the very last if `key` is empty; NULL if there is none. */
static struct node *seek_before(struct memory_store *store, enum qd_store_space space,
                                struct qd_str key)
{
    struct node **links = store->heads[space];
    struct node *last = NULL;
    for (unsigned level = LEVELS_MAX; level-- > 0;) {
        while (links[level] != NULL &&
               (key.len == 0 || qd_slice_compare(node_key(links[level]), key) < 0)) {
            last = links[level];
            links = last->next;
        }
    }
    return last;
}

static struct node *find_or_insert(struct memory_store *store, enum qd_store_space space,
                                   struct qd_str key)
{
    struct node **links[LEVELS_MAX];
    struct node *found = seek(store, space, key, links);
    if (found != NULL && qd_slice_equal(node_key(found), key)) {
        return found;
    }
    unsigned levels = random_levels(store);
    size_t size = sizeof(struct node) + levels * sizeof(struct node *);
    struct node *node = malloc(size + key.len);
    if (node == NULL) {
        return NULL;
    }
    uint8_t *key_bytes = (uint8_t *)node + size;
    if (key.len > 0) {
        memcpy(key_bytes, key.ptr, key.len);
    }
    *node = (struct node){.key = key_bytes, .key_size = key.len, .levels = levels};
    for (unsigned level = 0; level < levels; level++) {
        node->next[level] = *links[level];
        *links[level] = node;
    }
    store->used_bytes += key.len;
    return node;
}

/* --- versions --- */

static const struct version *version_at(const struct node *node, uint64_t sequence)
{
    const struct version *version = node->newest;
    while (version != NULL && version->sequence > sequence) {
        version = version->older;
    }
    return version;
}

static bool exists_at(const struct node *node, uint64_t sequence, struct qd_str *ret_value)
{
    const struct version *version = version_at(node, sequence);
    if (version == NULL || version->deleted) {
        return false;
    }
    *ret_value = (struct qd_str){(const char *)version->data, version->size};
    return true;
}

/* The oldest state that somebody may still ask for: a snapshot, or a crash. */
static uint64_t oldest_needed(const struct memory_store *store)
{
    uint64_t oldest = store->synced;
    for (const struct qd_store_snapshot *s = store->snapshots; s != NULL; s = s->next) {
        oldest = s->sequence < oldest ? s->sequence : oldest;
    }
    return oldest;
}

static void free_versions(struct memory_store *store, struct version *version)
{
    while (version != NULL) {
        struct version *older = version->older;
        store->used_bytes -= version->size;
        free(version);
        version = older;
    }
}

/* Drop versions that nobody can see: all below the newest one at or before `oldest`. */
static void prune(struct memory_store *store, struct node *node, uint64_t oldest)
{
    struct version *version = node->newest;
    while (version != NULL && version->sequence > oldest) {
        version = version->older;
    }
    if (version != NULL) {
        free_versions(store, version->older);
        version->older = NULL;
    }
}

/* Put or delete one key; false: out of memory. */
static bool push_version(struct memory_store *store, const struct qd_batch_op *op,
                         struct qd_str value, uint64_t sequence)
{
    struct node *node = find_or_insert(store, op->space, op->key);
    struct version *version = malloc(sizeof *version + value.len);
    if (node == NULL || version == NULL) {
        free(version);
        return false;
    }
    version->older = node->newest;
    version->sequence = sequence;
    version->deleted = op->verb == QD_BATCH_DELETE;
    version->size = value.len;
    if (value.len > 0) {
        memcpy(version->data, value.ptr, value.len);
    }
    node->newest = version;
    store->used_bytes += value.len;
    prune(store, node, oldest_needed(store));
    return true;
}

static bool apply_merge(struct memory_store *store, const struct qd_batch_op *op, uint64_t sequence)
{
    struct qd_str existing;
    struct node *node = seek(store, op->space, op->key, NULL);
    bool exists = node != NULL && qd_slice_equal(node_key(node), op->key) &&
                  exists_at(node, sequence, &existing);
    struct qd_buf merged = {0};
    qd_sums_merge(exists ? &existing : NULL, &op->value, 1, &merged);
    bool done = !merged.failed && push_version(store, op, qd_buf_str(&merged), sequence);
    qd_buf_release(&merged);
    return done;
}

static bool apply(struct memory_store *store, const struct qd_batch_op *op, uint64_t sequence)
{
    switch (op->verb) {
    case QD_BATCH_PUT:
        return push_version(store, op, op->value, sequence);
    case QD_BATCH_DELETE:
        return push_version(store, op, (struct qd_str){0}, sequence);
    case QD_BATCH_MERGE:
        return apply_merge(store, op, sequence);
    default:
        assert(false);
        return false;
    }
}

/* Take back every version newer than `sequence`. */
static void rewind_to(struct memory_store *store, uint64_t sequence)
{
    for (size_t space = 0; space < QD_STORE_SPACE_COUNT; space++) {
        for (struct node *node = store->heads[space][0]; node != NULL; node = node->next[0]) {
            while (node->newest != NULL && node->newest->sequence > sequence) {
                struct version *gone = node->newest;
                node->newest = gone->older;
                gone->older = NULL;
                free_versions(store, gone);
            }
        }
    }
    store->sequence = sequence;
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
        struct node *node = store->heads[space][0];
        while (node != NULL) {
            struct node *next = node->next[0];
            free_versions(store, node->newest);
            free(node);
            node = next;
        }
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
    struct node *node = seek(store, space, key, NULL);
    if (fault_strikes(&store->faults.read)) {
        err = qd_store_error_set(error, QD_STORE_IO, "reading failed (injected)");
    } else if (node != NULL && qd_slice_equal(node_key(node), key) &&
               exists_at(node, store->sequence, &value)) {
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
    if (fault_strikes(&store->faults.write)) {
        return qd_store_error_set(error, QD_STORE_IO, "writing failed (injected)");
    }
    uint64_t capacity = store->faults.capacity_bytes;
    if (capacity > 0 && store->used_bytes + batch_bytes(batch) > capacity) {
        return qd_store_error_set(error, QD_STORE_FULL, "disk full: %llu bytes of %llu used",
                                  (unsigned long long)store->used_bytes,
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

static uint64_t memory_disk_bytes(struct qd_store *base)
{
    struct memory_store *store = of(base);
    pthread_mutex_lock(&store->mutex);
    uint64_t bytes = store->used_bytes;
    pthread_mutex_unlock(&store->mutex);
    return bytes;
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

static struct node *first_forward(struct memory_iter *iter)
{
    struct qd_str from = qd_buf_str(&iter->lower);
    bool from_at = iter->started && qd_slice_compare(qd_buf_str(&iter->at), from) >= 0;
    if (from_at) {
        from = qd_buf_str(&iter->at);
    }
    struct node *node = seek(iter->store, iter->space, from, NULL);
    if (from_at && !iter->inclusive && node != NULL && qd_slice_equal(node_key(node), from)) {
        node = node->next[0];
    }
    return node;
}

static struct node *first_backward(struct memory_iter *iter)
{
    struct qd_str upper = qd_buf_str(&iter->upper);
    struct qd_str at = qd_buf_str(&iter->at);
    if (!iter->started || (upper.len > 0 && qd_slice_compare(at, upper) >= 0)) {
        return seek_before(iter->store, iter->space, upper);
    }
    if (iter->inclusive) {
        struct node *node = seek(iter->store, iter->space, at, NULL);
        if (node != NULL && qd_slice_equal(node_key(node), at)) {
            return node;
        }
    }
    return at.len > 0 ? seek_before(iter->store, iter->space, at) : NULL;
}

static bool in_range(const struct memory_iter *iter, const struct node *node)
{
    struct qd_str key = node_key(node);
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
    struct node *node = iter->reverse ? first_backward(iter) : first_forward(iter);
    struct qd_str value = {0};
    while (node != NULL && in_range(iter, node) && !exists_at(node, iter->sequence, &value)) {
        node =
            iter->reverse ? seek_before(iter->store, iter->space, node_key(node)) : node->next[0];
    }
    if (node == NULL || !in_range(iter, node)) {
        return QD_STORE_END;
    }
    qd_buf_clear(&iter->at);
    qd_buf_append_str(&iter->at, node_key(node));
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
    .disk_bytes = memory_disk_bytes,
};

struct qd_store *qd_store_memory_new(void)
{
    struct memory_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->base.ops = &memory_ops;
    store->random = UINT64_C(0x9e3779b97f4a7c15);
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

void qd_store_memory_crash(struct qd_store *base, uint64_t keep)
{
    struct memory_store *store = of(base);
    assert(store->snapshots == NULL);
    uint64_t lost = store->sequence - store->synced;
    uint64_t survive = store->synced + (keep < lost ? keep : lost);
    rewind_to(store, survive);
    store->synced = survive;
}

uint64_t qd_store_memory_writes(struct qd_store *store)
{
    return of(store)->sequence;
}

uint64_t qd_store_memory_synced(struct qd_store *store)
{
    return of(store)->synced;
}
