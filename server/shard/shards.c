#include "server/shard/shards.h"

#include "server/core/fetch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Holds that are looked at under one lock after a reset: about a millisecond. */
#define QD_FORGIVE_PLACES 4096U

static void *map_pages(size_t size, bool huge)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (huge) {
        (void)madvise(memory, size, MADV_HUGEPAGE); /* advice: works without */
    }
    return memory;
}

static uint32_t power_of_two_below(uint32_t n)
{
    return n == 0 ? 0 : UINT32_C(1) << (31 - __builtin_clz(n));
}

/* The side tables of a home shard: token notes and root counts. */
static bool map_side(struct qd_shard *shard, uint32_t reservations)
{
    uint32_t notes = power_of_two_below(reservations);
    size_t note_bytes = notes * sizeof(struct qd_token_note);

    shard->side_size = note_bytes + QD_ROOT_COUNTS * sizeof(struct qd_root_count);
    shard->side_memory = map_pages(shard->side_size, false);
    if (shard->side_memory == NULL) {
        return false;
    }
    shard->notes = shard->side_memory;
    shard->note_count = notes;
    shard->roots = (struct qd_root_count *)(void *)((char *)shard->side_memory + note_bytes);
    return true;
}

static bool shard_init(struct qd_shard *shard, uint32_t index, const struct qd_core_config *config,
                       bool huge)
{
    pthread_mutexattr_t attributes;

    memset(shard, 0, sizeof(*shard));
    shard->index = index;
    if (pthread_mutexattr_init(&attributes) != 0) {
        return false;
    }
    /* A decision is shorter than a futex call: spin a little before sleeping. */
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void)pthread_mutex_init(&shard->lock, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    (void)pthread_mutex_init(&shard->storing, NULL);
    shard->memory_size = qd_core_memory(config);
    if (shard->memory_size == 0) {
        return false;
    }
    shard->memory = map_pages(shard->memory_size, huge);
    if (shard->memory == NULL) {
        return false;
    }
    shard->core = qd_core_init(shard->memory, shard->memory_size, config);
    return shard->core != NULL && map_side(shard, config->reservations);
}

static void shard_release(struct qd_shard *shard)
{
    if (shard->memory != NULL) {
        (void)munmap(shard->memory, shard->memory_size);
    }
    if (shard->side_memory != NULL) {
        (void)munmap(shard->side_memory, shard->side_size);
    }
    free(shard->counted.beyond);
    (void)pthread_mutex_destroy(&shard->storing);
    (void)pthread_mutex_destroy(&shard->lock);
}

bool qd_shards_init(struct qd_shards *shards, const struct qd_shards_config *config)
{
    assert(config->count >= 1 && config->count <= QD_SHARDS_MAX);
    assert((config->count & (config->count - 1)) == 0);

    memset(shards, 0, sizeof(*shards));
    shards->count = config->count;
    shards->bits = (uint32_t)__builtin_ctz(config->count);
    shards->seed = config->slice.hash_seed;
    shards->capacity = config->slice;
    shards->common = config->common;
    atomic_init(&shards->shared, false);
    (void)pthread_mutex_init(&shards->resetting, NULL);
    shards->home = aligned_alloc(QD_CACHE_LINE, config->count * sizeof(struct qd_shard));
    if (shards->home == NULL) {
        return false;
    }
    memset(shards->home, 0, config->count * sizeof(struct qd_shard));
    bool ok = shard_init(&shards->commons, config->count, &config->common, config->huge_pages);
    for (uint32_t i = 0; i < config->count && ok; i++) {
        ok = shard_init(&shards->home[i], i, &config->slice, config->huge_pages);
    }
    if (!ok) {
        qd_shards_release(shards);
    }
    return ok;
}

void qd_shards_release(struct qd_shards *shards)
{
    for (uint32_t i = 0; i < shards->count && shards->home != NULL; i++) {
        shard_release(&shards->home[i]);
    }
    shard_release(&shards->commons);
    (void)pthread_mutex_destroy(&shards->resetting);
    free(shards->home);
    memset(shards, 0, sizeof(*shards));
}

/* Pages that are given back come as zeros. */
static void clear(struct qd_shard *shard, const struct qd_core_config *config)
{
    (void)madvise(shard->memory, shard->memory_size, MADV_DONTNEED);
    (void)madvise(shard->side_memory, shard->side_size, MADV_DONTNEED);
    shard->core = qd_core_init(shard->memory, shard->memory_size, config);
}

void qd_shards_clear(struct qd_shards *shards)
{
    for (uint32_t i = 0; i < shards->count; i++) {
        clear(&shards->home[i], &shards->capacity);
    }
    clear(&shards->commons, &shards->common);
}

uint64_t qd_shards_root_hash(const struct qd_shards *shards, struct qd_str root)
{
    return XXH3_64bits_withSeed(root.ptr, root.len, shards->seed);
}

struct qd_shard *qd_shards_of(struct qd_shards *shards, struct qd_str path)
{
    const char *slash = path.len > 0 ? memchr(path.ptr, '/', path.len) : NULL;
    size_t len = slash != NULL ? (size_t)(slash - path.ptr) : path.len;
    uint64_t hash = qd_shards_root_hash(shards, (struct qd_str){path.ptr, len});

    return qd_shards_at(shards, hash);
}

/* The tenant's path begins a counter's name. */
struct qd_shard *qd_shards_of_counter(struct qd_shards *shards,
                                      const struct qd_saved_counter *counter)
{
    const char *blank =
        counter->name.len > 0 ? memchr(counter->name.ptr, ' ', counter->name.len) : NULL;
    size_t len = blank != NULL ? (size_t)(blank - counter->name.ptr) : counter->name.len;

    return counter->depth == 0 ? &shards->commons
                               : qd_shards_of(shards, (struct qd_str){counter->name.ptr, len});
}

static void lock(pthread_mutex_t *mutex)
{
    int result = pthread_mutex_lock(mutex);

    assert(result == 0);
    (void)result;
}

static void unlock(pthread_mutex_t *mutex)
{
    int result = pthread_mutex_unlock(mutex);

    assert(result == 0);
    (void)result;
}

/* `shared` turns true under all locks (qd_shards_lock_all) and stays so: whoever holds its home
 * shard reads one value from lock to unlock, and relaxed order is enough. */
void qd_shards_lock(struct qd_shards *shards, struct qd_shard *home)
{
    lock(&home->lock);
    if (atomic_load_explicit(&shards->shared, memory_order_relaxed)) {
        lock(&shards->commons.lock);
    }
}

void qd_shards_unlock(struct qd_shards *shards, struct qd_shard *home)
{
    if (atomic_load_explicit(&shards->shared, memory_order_relaxed)) {
        unlock(&shards->commons.lock);
    }
    unlock(&home->lock);
}

void qd_shards_lock_all(struct qd_shards *shards)
{
    for (uint32_t i = 0; i < shards->count; i++) {
        lock(&shards->home[i].lock);
    }
    lock(&shards->commons.lock);
}

void qd_shards_unlock_all(struct qd_shards *shards)
{
    unlock(&shards->commons.lock);
    for (uint32_t i = shards->count; i > 0; i--) {
        unlock(&shards->home[i - 1].lock);
    }
}

void qd_shards_reset_begin(struct qd_shards *shards)
{
    lock(&shards->resetting);
}

static void forgive(struct qd_shards *shards, struct qd_shard *home)
{
    uint64_t cursor = 0;
    bool more = true;

    while (more) {
        qd_shards_lock(shards, home);
        more = qd_core_forgive(home->core, qd_shards_commons(shards), &cursor, QD_FORGIVE_PLACES);
        qd_shards_unlock(shards, home);
    }
}

void qd_shards_reset_end(struct qd_shards *shards, struct qd_shard *home)
{
    for (uint32_t i = 0; i < shards->count; i++) {
        if (home == NULL || home == &shards->home[i]) {
            forgive(shards, &shards->home[i]);
        }
    }
    unlock(&shards->resetting);
}

/* Notes go round in as many places as the reservations do, so that their memory grows with those.
 */
static uint32_t notes_in_turn(const struct qd_shard *home)
{
    uint32_t places = power_of_two_below(qd_core_hold_places(home->core));

    return places < home->note_count ? places : home->note_count;
}

void qd_shard_note(struct qd_shard *home, uint64_t reservation, struct qd_str token)
{
    uint32_t count = notes_in_turn(home);

    if (count == 0) {
        return;
    }
    struct qd_token_note *note = &home->notes[reservation & (count - 1)];
    if (token.len > QD_TOKEN_NOTE_BYTES) {
        note->reservation = 0;
        return;
    }
    note->reservation = reservation;
    note->len = (uint16_t)token.len;
    memcpy(note->text, token.ptr, token.len);
}

struct qd_str qd_shard_recall(const struct qd_shard *home, uint64_t reservation)
{
    /* Among today's places, or the fewer of before. */
    for (uint32_t count = notes_in_turn(home); count > 0 && reservation != 0; count /= 2) {
        const struct qd_token_note *note = &home->notes[reservation & (count - 1)];
        if (note->reservation == reservation) {
            return (struct qd_str){note->text, note->len};
        }
    }
    return (struct qd_str){NULL, 0};
}

void qd_shard_mark_repeated(struct qd_shard *home, uint64_t reservation)
{
    home->repeated[home->repeated_next++ % 16] = reservation;
}

bool qd_shard_was_repeated(const struct qd_shard *home, uint64_t reservation)
{
    for (size_t i = 0; i < 16; i++) {
        if (home->repeated[i] == reservation) {
            return true;
        }
    }
    return false;
}

void qd_shard_prefetch_count(const struct qd_shard *home, uint64_t hash)
{
    qd_fetch(&home->roots[(hash >> 8) & (QD_ROOT_COUNTS - 1)]);
}

void qd_shard_count(struct qd_shard *home, struct qd_str root, uint64_t hash, bool allowed)
{
    hash |= 1; /* 0 marks an empty place */
    for (uint32_t i = 0; i < 4; i++) {
        struct qd_root_count *at = &home->roots[((hash >> 8) + i) & (QD_ROOT_COUNTS - 1)];
        if (at->hash == 0) {
            size_t len = root.len < sizeof(at->name) - 1 ? root.len : sizeof(at->name) - 1;
            memcpy(at->name, root.ptr, len);
            at->name[len] = '\0';
            at->hash = hash;
        }
        if (at->hash == hash) {
            at->allowed += allowed;
            at->denied += !allowed;
            return;
        }
    }
    home->other_allowed += allowed;
    home->other_denied += !allowed;
}
