/* A rebuild of rollup rows while it runs. Inside server/ledger.
 *
 * Threads:  none; the caller's.
 */
#ifndef QD_LEDGER_REBUILD_RUN_H
#define QD_LEDGER_REBUILD_RUN_H

#include "server/ledger/aggregate.h"
#include "server/ledger/ledger_internal.h"
#include "server/ledger/rebuild_rollups.h"

struct qd_rebuild {
    struct qd_ledger *ledger;
    const struct qd_rebuild_options *options;
    struct qd_rollup_labels labels; /* today's */
    struct qd_store_snapshot *snapshot;
    struct qd_aggregate_arena arena;
    struct qd_aggregate want;   /* rows as the snapshot's entries make them, sorted */
    struct qd_aggregate broken; /* keys of the groups to write anew, sorted; no sums */
    struct qd_aggregate junk;   /* keys in ROLLUP that are not keys of rows; no sums */
    struct qd_aggregate tail;   /* rows of broken groups as later entries make them */
    uint64_t tail_through;      /* entries up to this one are in `want` or `tail` */
    enum qd_store_err tail_err;
    struct qd_rebuild_report report;
    struct qd_buf key; /* scratch */
};

/* Add what `entry` makes of its row; its key is left in `key`. */
__attribute__((warn_unused_result)) enum qd_store_err qd_rebuild_add(
    struct qd_aggregate *rows, const struct qd_entry *entry, const struct qd_rollup_labels *labels,
    struct qd_buf *key);

/* Fill in `want`, `broken`, `junk` and the report's counts of what was read. */
__attribute__((warn_unused_result)) enum qd_store_err qd_rebuild_compare(
    struct qd_rebuild *run, struct qd_store_error *error);

/* `value` is a row's, undamaged, and has these sums; a missing one is 0. */
bool qd_rebuild_same(const struct qd_sums *sums, struct qd_str value);

/* Number of the first row whose key is not below `key`. */
size_t qd_rebuild_seek(const struct qd_aggregate *rows, struct qd_str key);

static inline bool qd_rebuild_in_group(struct qd_str key, struct qd_str group)
{
    return key.len >= group.len && memcmp(key.ptr, group.ptr, group.len) == 0;
}

#endif /* QD_LEDGER_REBUILD_RUN_H */
