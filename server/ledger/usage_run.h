/* A usage query while it runs. Inside server/ledger.
 *
 * Threads:  none; the query's.
 */
#ifndef QD_LEDGER_USAGE_RUN_H
#define QD_LEDGER_USAGE_RUN_H

#include "server/ledger/aggregate.h"
#include "server/ledger/usage.h"

/* What a rollup row and an entry have in common. */
struct qd_usage_facts {
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    const struct qd_str *prices;
    size_t price_count;
    const struct qd_entry *entry;    /* labels come from it, */
    const struct qd_rollup_row *row; /* or from here */
};

struct qd_usage_run {
    const struct qd_usage_query *query;
    size_t page_max;
    struct qd_aggregate aggregate;
    struct qd_buf key;     /* scratch: of a group */
    uint32_t first_bucket; /* of boundaries; earlier ones are on earlier pages */
    bool by_meter;         /* groups by it */
    bool of_meter;         /* filters by it */
    bool label_missing;    /* a row lacks a label that is asked for: entries must be scanned */
    enum qd_store_err err;
};

/* Add a row's or an entry's sums to bucket number `bucket`, if it passes the filters. Sets `err` or
 * `label_missing`. */
void qd_usage_add(struct qd_usage_run *run, const struct qd_usage_facts *facts, uint32_t bucket,
                  const struct qd_sums *sums);

/* Add what lies in the buckets from `first_bucket` on, from entries. Fills in the table's
 * watermark. */
__attribute__((warn_unused_result)) enum qd_store_err qd_usage_scan_entries(
    struct qd_ledger *ledger, struct qd_usage_run *run, struct qd_usage_table *table,
    struct qd_store_error *error);

/* The same from rollups, bucket by bucket, until the page is full. Stops early if a label is
 * missing. */
__attribute__((warn_unused_result)) enum qd_store_err qd_usage_scan_rollups(
    struct qd_ledger *ledger, struct qd_usage_run *run, struct qd_usage_table *table,
    struct qd_store_error *error);

#endif /* QD_LEDGER_USAGE_RUN_H */
