#include "server/shard/snapshot.h"

#include "server/shard/journal.h"
#include "server/shard/stored.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES    (1U << 20)
#define FOLD_WALKS     64U
#define JOURNALS_BYTES (64U << 20) /* of all slices, before they grow beyond their holds */

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
    *ret_cut = (struct qd_cut){.time = qd_core_latest(shard->core),
                               .through = through,
                               .beyond = counted->beyond,
                               .count = counted->count};
    return true;
}

/* --- one slice --- */

static struct qd_stored_place place_of(const struct qd_node *node, const struct qd_shard *shard)
{
    bool home = shard != &node->shards.commons;

    return (struct qd_stored_place){node->shards.count, home ? shard->index : QD_STORED_COMMONS};
}

/* What one walk of a slice gives, on its way to the store. */
struct gathering {
    struct qd_stored_place place;
    enum qd_walk walk;
    struct qd_journaled *journaled;
    struct qd_batch *batch;
    struct qd_buf key;
    struct qd_buf record;
    struct qd_buf chunk; /* empty: none is begun */
    size_t chunk_bytes;  /* of all that ended */
};

static void put(struct gathering *g, const struct qd_buf *record)
{
    g->batch->ops.failed |= g->key.failed || record->failed;
    qd_batch_put(g->batch, QD_STORE_SNAPSHOT, qd_buf_str(&g->key), qd_buf_str(record));
}

static void drop(struct gathering *g)
{
    g->batch->ops.failed |= g->key.failed;
    qd_batch_delete(g->batch, QD_STORE_SNAPSHOT, qd_buf_str(&g->key));
}

static void end_chunk(struct gathering *g)
{
    if (g->chunk.size == 0 && !g->chunk.failed) {
        return;
    }
    qd_journal_end(&g->chunk);
    qd_buf_clear(&g->key);
    qd_journal_key(g->place, g->journaled->next++, &g->key);
    put(g, &g->chunk);
    g->chunk_bytes += g->chunk.size;
    qd_buf_clear(&g->chunk);
}

static void add_to_journal(struct gathering *g, const struct qd_saved *saved, struct qd_str token)
{
    if (g->chunk.size == 0) {
        qd_journal_begin(&g->chunk);
    }
    qd_journal_add(&g->chunk, saved, token);
    if (g->chunk.size > CHUNK_BYTES) {
        end_chunk(g);
    }
}

static void put_record(struct gathering *g, const struct qd_saved *saved)
{
    qd_buf_clear(&g->key);
    qd_stored_key(saved, g->place, &g->key);
    if (saved->size == 0) {
        drop(g);
        return;
    }
    qd_buf_clear(&g->record);
    qd_stored_record(saved, &g->record);
    put(g, &g->record);
}

/* The journal begins anew: what was before is in the records now. */
static void forget_journal(struct gathering *g, uint64_t begun)
{
    struct qd_journaled *j = g->journaled;

    for (uint64_t number = j->first; number < begun; number++) {
        qd_buf_clear(&g->key);
        qd_journal_key(g->place, number, &g->key);
        drop(g);
    }
    j->begun = begun;
    j->begun_bytes = g->chunk_bytes;
    j->bytes = 0;
    j->walks = 0;
}

static void walk_slice(struct qd_node *node, struct qd_shard *shard, struct gathering *g)
{
    struct qd_core *commons =
        shard != &node->shards.commons ? qd_shards_commons(&node->shards) : NULL;
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    uint64_t begun = g->journaled->next;
    struct qd_saved saved;
    uint64_t cursor = 0;

    while (qd_core_walk(shard->core, commons, g->walk, &cursor, now, &saved)) {
        bool is_hold = saved.kind == QD_SAVED_HOLD;
        if (is_hold && node->booting) {
            continue; /* the boot's own snapshot has them all */
        }
        if (is_hold || g->walk == QD_WALK_CHANGED) {
            struct qd_str token = {NULL, 0};
            if (is_hold && saved.size > 0) {
                token = qd_shard_recall(shard, saved.reservation);
            }
            add_to_journal(g, &saved, token);
        } else {
            put_record(g, &saved);
        }
    }
    end_chunk(g);
    if (g->walk == QD_WALK_CHANGED) {
        g->journaled->bytes += g->chunk_bytes;
        g->journaled->walks++;
    } else {
        forget_journal(g, begun);
    }
}

/* When a fold costs less than going on: a boot reads the journal, and files carry what is void. Not
 * all slices at the same time, whose holds come and go alike: one waits for twice the holds that
 * its journal began with, another for four times. */
static bool is_fold_due(const struct qd_node *node, const struct qd_shard *shard)
{
    const struct qd_journaled *j = &shard->journaled;
    size_t eighths = 16 + shard->index % 16;
    size_t limit = JOURNALS_BYTES / (node->shards.count + 1) + j->begun_bytes / 8 * eighths;

    return j->walks >= FOLD_WALKS || j->bytes > limit;
}

/* Everything of the slice that the store does not have, and its cut. False: nothing to write. */
static bool gather(struct qd_node *node, struct qd_shard *shard, bool fold, struct qd_batch *batch)
{
    struct gathering g = {
        .place = place_of(node, shard), .batch = batch, .journaled = &shard->journaled};
    struct qd_cut cut;
    size_t before = batch->count;

    if (!cut_of(node, shard, &cut)) {
        return false;
    }
    g.walk = shard->counted.unwritten           ? QD_WALK_ALL
             : fold || is_fold_due(node, shard) ? QD_WALK_FOLD
                                                : QD_WALK_CHANGED;
    walk_slice(node, shard, &g);
    bool moved = shard->counted.unwritten || cut.through != shard->counted.stored_through ||
                 batch->count != before;
    if (moved) {
        qd_buf_clear(&g.key);
        qd_buf_clear(&g.record);
        /* Without all cuts of the last process the next boot counts the ledger alone. */
        qd_cut_key(node->booting ? node->resumed : g.place, &g.key);
        if (node->booting) {
            drop(&g);
        } else {
            qd_cut_record(&cut, &g.record);
            put(&g, &g.record);
            shard->counted.stored_through = cut.through;
        }
    }
    qd_buf_release(&g.key);
    qd_buf_release(&g.record);
    qd_buf_release(&g.chunk);
    return moved;
}

/* The slice takes what it gave away for stored: if it is not, everything is written next time, and
 * the journal that may or may not be there forgotten. */
static bool write_batch(struct qd_node *node, struct qd_shard *shard, const struct qd_batch *batch,
                        struct qd_store_error *error)
{
    bool ok = qd_store_write(node->store, batch, false, error) == QD_STORE_OK;

    if (ok) {
        shard->journaled.first = shard->journaled.begun;
        atomic_fetch_add_explicit(&node->snapshot.bytes, batch->ops.size, memory_order_relaxed);
        atomic_store(&node->snapshot.unsynced, true);
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
    bool ok = !gather(node, shard, true, &batch) || write_batch(node, shard, &batch, &error);
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
                        struct qd_store_error *error)
{
    qd_batch_clear(batch);
    lock(node, shard);
    (void)pthread_mutex_lock(&shard->storing);
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    bool some = gather(node, shard, false, batch);
    unlock(node, shard);
    bool ok = !some || write_batch(node, shard, batch, error);
    if (ok) {
        atomic_store_explicit(&shard->stored_at, now.ns, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&shard->storing);
    return ok;
}

/* After a part that is the round's last one if `last`. */
static void count_round(struct qd_node *node, bool ok, bool last)
{
    struct qd_snapshot_figures *figures = &node->snapshot;

    figures->failed |= !ok;
    if (last && !figures->failed) {
        atomic_fetch_add_explicit(&figures->rounds, 1, memory_order_relaxed);
        atomic_store_explicit(&figures->stored_at, qd_clock_now(&node->clock).ns,
                              memory_order_relaxed);
    }
    if (last) {
        figures->failed = false;
    }
}

static struct qd_shard *shard_at(struct qd_node *node, uint32_t i)
{
    return i < node->shards.count ? &node->shards.home[i] : &node->shards.commons;
}

bool qd_snapshot_part(struct qd_node *node, uint32_t part, uint32_t parts, bool synced,
                      struct qd_store_error *error)
{
    uint64_t slices = (uint64_t)node->shards.count + 1;
    uint32_t begin = (uint32_t)(slices * part / parts);
    uint32_t end = (uint32_t)(slices * (part + 1) / parts);
    struct qd_batch batch;
    bool ok = true;

    qd_batch_init(&batch);
    for (uint32_t i = begin; i < end && ok; i++) {
        ok = store_shard(node, shard_at(node, i), &batch, error);
    }
    if (ok && synced && atomic_exchange(&node->snapshot.unsynced, false)) {
        qd_batch_clear(&batch);
        ok = qd_store_write(node->store, &batch, true, error) == QD_STORE_OK;
        if (!ok) {
            atomic_store(&node->snapshot.unsynced, true);
        }
    }
    qd_batch_release(&batch);
    count_round(node, ok, part + 1 == parts);
    return ok;
}

bool qd_snapshot_round(struct qd_node *node, bool synced, struct qd_store_error *error)
{
    return qd_snapshot_part(node, 0, 1, synced, error);
}

bool qd_snapshot_boot(struct qd_node *node, uint64_t journal_next, const struct qd_batch *extra,
                      struct qd_store_error *error)
{
    struct qd_batch batch;
    uint32_t slices = node->shards.count + 1;

    qd_batch_init(&batch);
    qd_batch_append(&batch, extra);
    for (uint32_t i = 0; i < slices; i++) {
        struct qd_shard *shard = shard_at(node, i);
        shard->counted.stored_through = UINT64_MAX; /* each has its cut written */
        shard->journaled = (struct qd_journaled){journal_next, journal_next, journal_next, 0, 0, 0};
        (void)gather(node, shard, true, &batch);
        shard->journaled.first = shard->journaled.begun;
        shard->counted.unwritten = false;                 /* if the write fails, there is no node */
        shard->journaled.walks = i * FOLD_WALKS / slices; /* they fold in turns */
    }
    bool ok = qd_store_write(node->store, &batch, true, error) == QD_STORE_OK;
    qd_batch_release(&batch);
    int64_t now = qd_clock_now(&node->clock).ns;
    for (uint32_t i = 0; i < slices && ok; i++) {
        atomic_store_explicit(&shard_at(node, i)->stored_at, now, memory_order_relaxed);
    }
    atomic_store_explicit(&node->snapshot.stored_at, ok ? now : 0, memory_order_relaxed);
    return ok;
}

struct qd_wall_ns qd_snapshot_oldest(struct qd_node *node)
{
    int64_t oldest = INT64_MAX;

    for (uint32_t i = 0; i <= node->shards.count; i++) {
        int64_t at = atomic_load_explicit(&shard_at(node, i)->stored_at, memory_order_relaxed);
        oldest = at < oldest ? at : oldest;
    }
    return (struct qd_wall_ns){oldest};
}
