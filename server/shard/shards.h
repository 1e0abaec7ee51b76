/* The slices of the core, each behind one lock, and which of them a request needs.
 *
 * Layer:    shard
 * Threads:  any thread locks; lock order: the directory's lock, then one home shard, then commons;
 *           all of them in ascending order, commons last (reload). A mutex is held for one
 * decision. Memory:   each slice lies in its own anonymous mapping, sized by the configuration;
 * pages that were never used cost address space only.
 *
 * A tenant's slice is chosen by a hash of its root segment, so that every ancestor's counter lies
 * in the same slice. Counters that tenants share (pools, models, global limits) lie in commons.
 */
#ifndef QD_SHARD_SHARDS_H
#define QD_SHARD_SHARDS_H

#include "server/core/core.h"

#include <pthread.h>
#include <stdatomic.h>

#define QD_SHARDS_MAX       256U
#define QD_CACHE_LINE       64
#define QD_TOKEN_NOTE_BYTES 240U

/* What is kept of a reservation beside the core's record, for callers that have its short id only.
 */
struct qd_token_note {
    uint64_t reservation; /* the core's number; 0: empty */
    uint16_t len;
    char text[QD_TOKEN_NOTE_BYTES];
};

/* Checks of one root segment, for /metrics. */
struct qd_root_count {
    uint64_t hash; /* 0: empty */
    uint64_t allowed;
    uint64_t denied;
    char name[64]; /* NUL-terminated */
};

#define QD_ROOT_COUNTS 1024U /* per shard, a power of two; further roots are counted together */

/* Which entries of the ledger a slice has counted: see snapshot.h. Under the shard's lock. */
struct qd_counted {
    uint64_t *beyond; /* those after what all have counted */
    uint32_t count;
    uint32_t capacity;
    bool incomplete; /* there was no memory for one of them */
    bool unwritten;  /* a write of what it gave away failed; under `storing` as well */
    uint64_t newest;
    uint64_t stored_through;
};

/* Which chunks the store has of a slice's journal: see snapshot.h. Under the shard's lock and
 * `storing`. */
struct qd_journaled {
    uint64_t first; /* number of the oldest chunk that may be there */
    uint64_t begun; /* of the first of the journal that the last fold began */
    uint64_t next;
    size_t begun_bytes; /* what that fold wrote of it: the holds of that moment */
    size_t bytes;       /* what came after */
    uint32_t walks;     /* since then */
};

struct qd_shard {
    _Alignas(QD_CACHE_LINE) pthread_mutex_t lock;
    struct qd_core *core;
    struct qd_token_note *notes; /* by reservation number modulo the places in turn */
    uint32_t note_count;         /* power of two, or 0 */
    uint32_t index;
    struct qd_root_count *roots; /* open addressing */
    uint32_t root_count;
    uint64_t other_allowed;
    uint64_t other_denied;
    /* Reservations that were answered twice (S1: same request id): a failed delivery doesn't cancel
     * them. */
    uint64_t repeated[16];
    uint32_t repeated_next;
    struct qd_counted counted;
    struct qd_journaled journaled;
    _Atomic int64_t stored_at; /* the store had all of it then, wall ns; 0: not yet */
    pthread_mutex_t
        storing; /* taken with the shard's lock; held on while what changed is written */
    void *memory;
    size_t memory_size;
    void *side_memory;
    size_t side_size;
};

struct qd_shards {
    struct qd_shard *home; /* `count` of them */
    uint32_t count;        /* power of two */
    uint32_t bits;
    struct qd_shard commons;
    /* Some policy of this process had limits that tenants share: commons must be locked from then
     * on. */
    _Atomic bool shared;
    pthread_mutex_t resetting; /* qd_shards_reset_begin. Taken before any shard's lock */
    uint64_t seed;
    struct qd_core_config capacity; /* of each home shard */
    struct qd_core_config common;   /* of commons */
};

struct qd_shards_config {
    uint32_t count;               /* power of two, 1..QD_SHARDS_MAX */
    struct qd_core_config slice;  /* of each home shard */
    struct qd_core_config common; /* of commons */
    bool huge_pages;              /* advise transparent huge pages */
};

/* False: out of memory or a capacity out of range; nothing is held then. */
bool qd_shards_init(struct qd_shards *shards, const struct qd_shards_config *config);
void qd_shards_release(struct qd_shards *shards);

/* Everything in the slices and beside them is gone; at boot, while nobody else uses them. */
void qd_shards_clear(struct qd_shards *shards);

/* The shard of a root segment (or of a whole path: its first segment counts). */
struct qd_shard *qd_shards_of(struct qd_shards *shards, struct qd_str path);
/* The one in which a stored counter belongs; commons if it is shared. */
struct qd_shard *qd_shards_of_counter(struct qd_shards *shards,
                                      const struct qd_saved_counter *counter);

/* Of `count` shards, the number of that of a root segment with this hash: high bits, since the
 * core's tables use the low ones. */
static inline uint32_t qd_shards_index_of(uint64_t root_hash, uint32_t count)
{
    return (uint32_t)(root_hash >> 40) & (count - 1);
}

static inline struct qd_shard *qd_shards_at(struct qd_shards *shards, uint64_t root_hash)
{
    return &shards->home[qd_shards_index_of(root_hash, shards->count)];
}

/* Lock a home shard, and commons too if anything is shared. */
void qd_shards_lock(struct qd_shards *shards, struct qd_shard *home);
void qd_shards_unlock(struct qd_shards *shards, struct qd_shard *home);

/* With a home shard locked by qd_shards_lock: commons if that locked it too, else NULL: nothing is
 * shared, and nobody may touch it. */
static inline struct qd_core *qd_shards_commons(struct qd_shards *shards)
{
    return atomic_load_explicit(&shards->shared, memory_order_relaxed) ? shards->commons.core
                                                                       : NULL;
}

/* Lock everything (reload). */
void qd_shards_lock_all(struct qd_shards *shards);
void qd_shards_unlock_all(struct qd_shards *shards);

/* ResetCounter: counters are reset between these two, by one operator at a time. The end goes
 * through the holds of `home`, or of all shards (NULL) if the counter is one that tenants share,
 * and forgives what was charged before (qd_core_forgive): a few thousand holds at a time, so that
 * checks go on meanwhile. No shard is locked in either. */
void qd_shards_reset_begin(struct qd_shards *shards);
void qd_shards_reset_end(struct qd_shards *shards, struct qd_shard *home);

/* A reservation's number on this node: the slice's own number with the shard's index in the low
 * bits. */
static inline uint64_t qd_shards_number(const struct qd_shards *shards, const struct qd_shard *home,
                                        uint64_t reservation)
{
    return reservation << shards->bits | home->index;
}
static inline struct qd_shard *qd_shards_by_number(struct qd_shards *shards, uint64_t number,
                                                   uint64_t *ret_reservation)
{
    *ret_reservation = number >> shards->bits;
    return &shards->home[number & (shards->count - 1)];
}

/* Under the home shard's lock: keep or find what a short id stands for. A token that is too long
 * for a note isn't kept; qd_shard_recall then finds nothing. */
void qd_shard_note(struct qd_shard *home, uint64_t reservation, struct qd_str token);
struct qd_str qd_shard_recall(const struct qd_shard *home, uint64_t reservation);

/* Under the home shard's lock: remember that a reservation was answered twice, and ask. */
void qd_shard_mark_repeated(struct qd_shard *home, uint64_t reservation);
bool qd_shard_was_repeated(const struct qd_shard *home, uint64_t reservation);

/* Under the home shard's lock: count one check of a root segment. */
void qd_shard_count(struct qd_shard *home, struct qd_str root, uint64_t hash, bool allowed);

/* Ask memory for what qd_shard_count will touch. */
void qd_shard_prefetch_count(const struct qd_shard *home, uint64_t hash);

/* Hash of a root segment, as qd_shards_of uses it. */
uint64_t qd_shards_root_hash(const struct qd_shards *shards, struct qd_str root);

#endif /* QD_SHARD_SHARDS_H */
