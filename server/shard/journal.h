/* A slice's journal: what has changed in it since its records were last brought up to date, in
 * chunks in the SNAPSHOT space (X5).
 *
 *   j <shards> <shard> <number>   a chunk: counters, holds and estimators as they were at its time
 *
 * The newest chunk that names a thing tells its state, and a chunk's state is newer than a record
 * (stored.h). A counter or hold is written with a few copies of its bytes this way, where a key of
 * its own would cost a search, and one more to forget it: holds live for seconds, and counters
 * change every second. Folding ends it: see snapshot.h.
 *
 * Layer:    shard
 * Threads:  values only; qd_journal_read from any.
 * Memory:   buffers are the caller's.
 */
#ifndef QD_SHARD_JOURNAL_H
#define QD_SHARD_JOURNAL_H

#include "server/core/core.h"
#include "server/shard/stored.h"
#include "storage/codec.h"
#include "storage/store.h"

#define QD_JOURNAL_KIND 'j'

/* Append the key of a chunk. Numbers rise. */
void qd_journal_key(struct qd_stored_place place, uint64_t number, struct qd_buf *key);

/* A chunk is begun in an empty buffer, filled, and ended. `token` is what a hold's short id stands
 * for; empty: not known (S1). */
void qd_journal_begin(struct qd_buf *chunk);
void qd_journal_add(struct qd_buf *chunk, const struct qd_saved *saved, struct qd_str token);
void qd_journal_end(struct qd_buf *chunk);

/* --- reading --- */

/* A thing's state. */
struct qd_journal_item {
    enum qd_saved_kind kind;
    struct qd_hash128 id;
    struct qd_str token;
    struct qd_str bytes; /* empty: a hold that is gone */
};

/* Open a chunk: OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_journal_open(
    struct qd_str key, struct qd_str chunk, struct qd_stored_place *ret_place, uint64_t *ret_number,
    struct qd_reader *ret_items);
/* The next item; it points into the chunk. END after the last, or CORRUPT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_journal_next(
    struct qd_reader *items, struct qd_journal_item *ret_item);

/* The item's bytes, where the core takes them. */
void qd_journal_saved(const struct qd_journal_item *item, struct qd_saved *ret_saved);

/* Told of each chunk's key, and of the newest state of each thing. Anything but OK ends it. */
struct qd_journal_visitor {
    enum qd_store_err (*chunk)(void *context, struct qd_str key, uint64_t number); /* may be NULL */
    enum qd_store_err (*item)(void *context, struct qd_stored_place place,
                              const struct qd_journal_item *item);
    void *context;
};

/* All slices' journals, one after the other, each held in memory meanwhile. */
__attribute__((warn_unused_result)) enum qd_store_err qd_journal_read(
    struct qd_store *store, const struct qd_journal_visitor *visitor, struct qd_store_error *error);

/* Give back the room of journals that are void: they lie in files that stay until then. Takes as
 * long as writing anew the records that lie in the same tables. */
__attribute__((warn_unused_result)) enum qd_store_err qd_journal_compact(
    struct qd_store *store, struct qd_store_error *error);

#endif /* QD_SHARD_JOURNAL_H */
