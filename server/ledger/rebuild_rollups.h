/* Rollup rows made anew from the entries, where they are wrong: an operator's repair (L4).
 *
 * Layer:    server/ledger
 * Threads:  any. Bookings and queries go on: entries and rows are compared in a snapshot. Only what
 *           was found is written under the ledger's lead, QD_REBUILD_ROWS rows or so at a time:
 *           bookings wait for that long (about the time of one large synced write), no longer.
 * Memory:   every row that entries make, while it runs.
 *
 * Rows are compared in groups (quarter hour, tenant, model, pool, prices). A group is written anew
 *   - if its sums are not those of its entries and of what had expired of it: what `verify` names;
 *   - or if a row of it differs from what its entries make of it under today's rollup_labels. That
 *     can be said only of a group of which nothing has expired (L7: the sums of what has are kept
 *     without labels), and which has no row from before a change of rollup_labels (an entry does
 *     not say under which ones it was booked).
 * All other groups stay as they are, byte for byte.
 *
 * A group written anew has the rows that its entries make under today's rollup_labels, and what
 * had expired of it in one more row, without labels: which label has how much of that is known
 * nowhere else, and the rows that said it are wrong. A query for a label that reads such a row asks
 * for entries instead, and is refused as they have expired (`unlabelled` counts these groups).
 *
 * The entries are the truth: if one cannot be read, or is missing, nothing is changed.
 *
 * A group is written with one atomic batch: a query sees its old rows or its new ones. After a
 * crash or an error some groups are written and the others are as they were; run it again.
 */
#ifndef QD_LEDGER_REBUILD_ROLLUPS_H
#define QD_LEDGER_REBUILD_ROLLUPS_H

#include "server/ledger/tenant_store.h"

#define QD_REBUILD_ROWS 8192 /* of one batch; a group is never divided */

struct qd_rebuild_options {
    uint32_t rows_max;               /* of one batch; 0: QD_REBUILD_ROWS */
    struct qd_tenant_store *tenants; /* each batch has an audit record there (X6); NULL: none */
    struct qd_tenant_change change;  /* who, what, when; `detail` is filled in */
};

struct qd_rebuild_report {
    uint64_t entries;    /* read */
    uint64_t through;    /* sequence of the last one that was compared; 0: none */
    uint64_t expired;    /* entries that are gone (L7); their sums are not */
    uint64_t rows;       /* before */
    uint64_t groups;     /* written anew; 0: nothing differed, nothing was changed */
    uint64_t unlabelled; /* of them, those that have a row without labels for what expired */
    uint64_t added;      /* rows that were missing */
    uint64_t changed;    /* rows that had other sums, or could not be read */
    uint64_t dropped;    /* rows that no entry has */
};

/* OK and a report, also when nothing differed. CORRUPT: an entry, or a row of what has expired,
 * cannot be read or is missing, *error says which. GONE: entries expired while it ran. INVALID:
 * rollup_labels changed while it ran, or there are too many rows (QD_VERIFY_GROUPS_MAX). IO,
 * NO_MEMORY. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_rebuild_rollups(
    struct qd_ledger *ledger, const struct qd_rebuild_options *options,
    struct qd_rebuild_report *ret_report, struct qd_store_error *error);

#endif /* QD_LEDGER_REBUILD_ROLLUPS_H */
