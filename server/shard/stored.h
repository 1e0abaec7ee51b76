/* What is stored of counters and estimators: keys and records in the SNAPSHOT space (X5, D12).
 *
 *   c <identity>                    a counter
 *   e <shards> <shard> <identity>   an estimator
 *   j <shards> <shard> <number>     what has changed since in a slice, and its holds: journal.h
 *   k <shards> <shard>              a cut: which entries of the ledger its slice had counted when
 *                                   the above were written
 *   r ...                           closed reservations: closed.h
 *
 * Layer:    shard
 * Threads:  values only.
 * Memory:   buffers are the caller's.
 */
#ifndef QD_SHARD_STORED_H
#define QD_SHARD_STORED_H

#include "server/core/core.h"
#include "storage/store.h"

/* Which slice: of how many, and which. Commons is number `QD_STORED_COMMONS`. */
struct qd_stored_place {
    uint32_t shards;
    uint32_t shard;
};
#define QD_STORED_COMMONS UINT32_MAX

/* Append the key of a saved counter or estimator. */
void qd_stored_key(const struct qd_saved *saved, struct qd_stored_place place, struct qd_buf *key);
/* Append its record. */
void qd_stored_record(const struct qd_saved *saved, struct qd_buf *record);

/* Read one back. OK, CORRUPT or NEWER_FORMAT. *ret_place is left alone for counters. */
__attribute__((warn_unused_result)) enum qd_store_err qd_stored_read(
    struct qd_str key, struct qd_str record, struct qd_stored_place *ret_place,
    struct qd_saved *ret_saved);

#define QD_CUT_VERSION 3 /* since it has its time; before 2 holds lay elsewhere */

/* A slice has counted every entry through `through`, and of those after it just the ones listed. */
struct qd_cut {
    struct qd_wall_ns time; /* the latest that the slice has seen (D5) */
    uint64_t through;
    uint64_t *beyond; /* rising once read; the owner's to free */
    uint32_t count;
};

void qd_cut_key(struct qd_stored_place place, struct qd_buf *key);
void qd_cut_record(const struct qd_cut *cut, struct qd_buf *record);
/* As qd_stored_read, or NO_MEMORY, or GONE for a version that is read no more; ret_cut->beyond is
 * to be freed on OK. */
__attribute__((warn_unused_result)) enum qd_store_err qd_cut_read(struct qd_str key,
                                                                  struct qd_str record,
                                                                  struct qd_stored_place *ret_place,
                                                                  struct qd_cut *ret_cut);
bool qd_cut_has(const struct qd_cut *cut, uint64_t sequence);

#endif /* QD_SHARD_STORED_H */
