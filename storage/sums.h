/* Named sums: what a rollup row holds, and what a store's merge adds up.
 *
 * Layer:    storage
 * Threads:  none; the owner's.
 * Memory:   the items are the caller's array; names point to wherever they came from.
 *
 * Adding never fails: a sum that would overflow stays at the bound and sets OVERFLOW for good,
 * names beyond the bound are dropped and set DROPPED, an operand that does not decode sets CORRUPT.
 * Readers look at the flags. (A merge that could fail would wedge the store's compactions.)
 */
#ifndef QD_STORAGE_SUMS_H
#define QD_STORAGE_SUMS_H

#include "storage/codec.h"

#define QD_SUMS_MAX     128 /* names of one record */
#define QD_SUM_NAME_MAX 127 /* bytes of a name */

enum qd_sums_flag {
    QD_SUMS_OVERFLOW = 1,
    QD_SUMS_DROPPED = 2,
    QD_SUMS_CORRUPT = 4,
};

struct qd_sum {
    struct qd_str name;
    qd_int128 value;
};

/* Sorted by name, each name once. */
struct qd_sums {
    uint8_t flags; /* of enum qd_sums_flag */
    size_t count;
    size_t capacity;
    struct qd_sum *items;
};

/* Empty sums over the caller's array. */
static inline struct qd_sums qd_sums_over(struct qd_sum *items, size_t capacity)
{
    return (struct qd_sums){.items = items, .capacity = capacity};
}

/* Add to one name; a new name is inserted. */
void qd_sums_add(struct qd_sums *sums, struct qd_str name, qd_int128 value);
/* Add all of `from`. */
void qd_sums_add_all(struct qd_sums *sums, const struct qd_sums *from);
/* NULL if there is no such name: missing is not zero. */
const struct qd_sum *qd_sums_find(const struct qd_sums *sums, struct qd_str name);
/* 0 if there is no such name. */
qd_int128 qd_sums_value(const struct qd_sums *sums, struct qd_str name);

void qd_sums_encode(const struct qd_sums *sums, struct qd_buf *buf);
/* Into the array of `ret_sums` (its capacity must be QD_SUMS_MAX). OK, CORRUPT or NEWER_FORMAT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_sums_decode(struct qd_str bytes,
                                                                     struct qd_sums *ret_sums);

/* The merge of both stores: existing (NULL: none) plus each operand, appended to `ret_value`. */
void qd_sums_merge(const struct qd_str *existing, const struct qd_str *operands, size_t count,
                   struct qd_buf *ret_value);

#endif /* QD_STORAGE_SUMS_H */
