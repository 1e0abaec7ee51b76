/* Groups and their sums while a query runs. Inside server/ledger.
 *
 * Threads:  none; the query's.
 * Memory:   everything lies in the arena, which moves to the query's table.
 */
#ifndef QD_LEDGER_AGGREGATE_H
#define QD_LEDGER_AGGREGATE_H

#include "storage/sums.h"

struct qd_aggregate_block;

/* Memory that is freed as a whole. */
struct qd_aggregate_arena {
    struct qd_aggregate_block *blocks;
};

void *qd_aggregate_arena_alloc(struct qd_aggregate_arena *arena,
                               size_t size); /* aligned for anything; NULL */
void qd_aggregate_arena_release(struct qd_aggregate_arena *arena);
/* A copy in the arena; {NULL, 0} and *failed when memory is out. */
struct qd_str qd_aggregate_arena_copy(struct qd_aggregate_arena *arena, struct qd_str text,
                                      bool *failed);

struct qd_aggregate_group {
    struct qd_str key;
    struct qd_sums sums;
};

struct qd_aggregate {
    struct qd_aggregate_arena *arena;
    struct qd_aggregate_group *groups;
    size_t count;
    size_t capacity;
    size_t limit;    /* more groups than this: QD_STORE_INVALID */
    uint32_t *slots; /* hash table of group numbers + 1 */
    size_t slot_count;
    struct qd_sum names[QD_SUMS_MAX]; /* interned names of sums (values unused), sorted */
    struct qd_sums interned;
};

void qd_aggregate_init(struct qd_aggregate *aggregate, struct qd_aggregate_arena *arena,
                       size_t limit);
void qd_aggregate_release(struct qd_aggregate *aggregate); /* not the arena */

/* Add sums to the group of `key`. OK, NO_MEMORY, or INVALID: too many groups or names. */
__attribute__((warn_unused_result)) enum qd_store_err qd_aggregate_add(
    struct qd_aggregate *aggregate, struct qd_str key, const struct qd_sums *sums);

/* Sort the groups by key; nothing can be added afterwards. */
void qd_aggregate_sort(struct qd_aggregate *aggregate);

#endif /* QD_LEDGER_AGGREGATE_H */
