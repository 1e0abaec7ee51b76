/* Usage queries: sums by time and by whatever one groups by, from rollups (L4, L5).
 *
 * Layer:    server/ledger
 * Units:    wall ns; sums in each meter's unit, money as storage names it (server/ledger/rollup.h).
 * Threads:  any; reads a snapshot, stops nobody.
 * Memory:   a table owns all that its rows point to, until it is released.
 *
 * The caller computes the time buckets: any hours, days or months of any zone, as boundaries. When
 * all of them are quarter hours of UTC and every label asked for was rolled up, the answer comes
 * from rollups, and its cost does not depend on the number of entries; else entries are scanned,
 * and the table says so.
 */
#ifndef QD_LEDGER_USAGE_H
#define QD_LEDGER_USAGE_H

#include "server/ledger/ledger.h"
#include "server/ledger/rollup.h"

#define QD_USAGE_GROUPS_MAX   6
#define QD_USAGE_FILTERS_MAX  16
#define QD_USAGE_VALUES_MAX   64
#define QD_USAGE_ROWS_MAX     200000 /* groups of one answer before paging */
#define QD_USAGE_PAGE_DEFAULT 100

enum qd_usage_dimension {
    QD_BY_TENANT = 1,
    QD_BY_MODEL,
    QD_BY_POOL,
    QD_BY_METER,         /* a row then holds one meter, without money and number of entries */
    QD_BY_PRICE_VERSION, /* all versions of an entry, joined by "," */
    QD_BY_LABEL,
    QD_BY_USER,
};

struct qd_usage_group {
    enum qd_usage_dimension dimension;
    struct qd_str label;  /* QD_BY_LABEL: its name */
    uint8_t tenant_level; /* QD_BY_TENANT: how many segments make a group; 0: the whole path */
};

/* Any of the values. QD_BY_TENANT: each a subtree. "" matches what has no value. QD_BY_METER: other
 * meters, money and number of entries are left out. */
struct qd_usage_filter {
    enum qd_usage_dimension dimension;
    struct qd_str label;
    const struct qd_str *values;
    size_t value_count;
};

struct qd_usage_query {
    struct qd_str tenant;                /* it and all below it; empty: everything */
    const struct qd_wall_ns *boundaries; /* rising; bucket i is [i, i + 1) of event times; >= 2 */
    size_t boundary_count;
    const struct qd_usage_group *groups;
    size_t group_count;
    const struct qd_usage_filter *filters; /* all must hold */
    size_t filter_count;
    uint32_t page_max;    /* 0: QD_USAGE_PAGE_DEFAULT */
    struct qd_str cursor; /* `next_cursor` of the page before; empty: the first page */
};

struct qd_usage_row {
    struct qd_wall_ns start;
    struct qd_wall_ns end;
    struct qd_str values[QD_USAGE_GROUPS_MAX]; /* of the groups, in their order; empty: no value */
    struct qd_sums sums; /* meters, money, #entries, #unpriced; missing is not zero */
};

struct qd_usage_table {
    struct qd_usage_row *rows; /* in order of start, then values; none without entries */
    size_t row_count;
    struct qd_str next_cursor;     /* empty: this was the last page */
    struct qd_watermark watermark; /* `sequence`: as_of, exactly what is in (L5) */
    bool scanned_entries;
    uint8_t flags; /* of enum qd_sums_flag: not 0 means that a sum cannot be trusted */
    void *memory;  /* private */
};

/* OK; INVALID (bad boundaries, too many groups, a bad cursor) with a sentence; or a store's error.
 * The table is to be released on OK only. */
__attribute__((warn_unused_result)) enum qd_store_err qd_usage_query(
    struct qd_ledger *ledger, const struct qd_usage_query *query, struct qd_usage_table *ret_table,
    struct qd_store_error *error);

void qd_usage_table_release(struct qd_usage_table *table);

/* One weight of a sum: `num` for each unit of `meter` (a meter, "cost" or "charge"). */
struct qd_usage_weight {
    struct qd_str meter;
    int64_t num;
};

/* Σ num * Σ meter over what `query` selects between its first and last boundary; groups and paging
 * are ignored. 0 if there is nothing. INVALID if it overflows. */
__attribute__((warn_unused_result)) enum qd_store_err qd_usage_sum(
    struct qd_ledger *ledger, const struct qd_usage_query *query,
    const struct qd_usage_weight *weights, size_t weight_count, qd_int128 *ret_sum,
    struct qd_store_error *error);

#endif /* QD_LEDGER_USAGE_H */
