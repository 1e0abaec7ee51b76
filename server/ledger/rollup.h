/* Rollup rows: sums of entries in quarter hours of UTC (L4).
 *
 * Layer:    server/ledger
 * Units:    a bucket is a number of quarter hours since 1970.
 * Threads:  values only.
 * Memory:   a decoded row points into the key it was read from, and its own `tenant`.
 *
 * A row's key: bucket, tenant, model, pool, price versions, and the names and values of the labels
 * that were rolled up when it was booked (so that a query sees which labels a row can answer for).
 * A row's value: sums by meter, money, number of entries (storage/sums.h). Grants are not usage:
 * not rolled up.
 */
#ifndef QD_LEDGER_ROLLUP_H
#define QD_LEDGER_ROLLUP_H

#include "server/ledger/ledger.h"
#include "storage/sums.h"

#define QD_ROLLUP_NS        (900 * QD_NS_PER_S)
#define QD_ROLLUP_LABEL_MAX 63

/* Names of sums that are not meters. */
#define QD_SUM_COST        "cost"       /* nano-USD, each entry rounded up: as limits count it */
#define QD_SUM_CHARGE      "charge"     /* likewise */
#define QD_SUM_COST_PICO   "#cost_pico" /* exact */
#define QD_SUM_CHARGE_PICO "#charge_pico"
#define QD_SUM_ENTRIES     "#entries"  /* that stand: one that was taken back counts no more (L3) */
#define QD_SUM_UNPRICED    "#unpriced" /* of them, those without a price: money lacks them (P8) */

/* The labels to roll up, sorted. */
struct qd_rollup_labels {
    size_t count;
    struct {
        char name[QD_ROLLUP_LABEL_MAX];
        size_t size;
    } items[QD_LEDGER_ROLLUP_LABELS_MAX];
};

struct qd_rollup_row {
    uint32_t bucket;
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    struct qd_str prices[QD_ENTRY_PRICES_MAX];
    size_t price_count;
    struct qd_label labels[QD_LEDGER_ROLLUP_LABELS_MAX];
    size_t label_count;
    char tenant_bytes[QD_TENANT_PATH_MAX]; /* private */
};

/* OK, or INVALID: more than four, a name twice, or not 1-63 bytes. */
__attribute__((warn_unused_result)) enum qd_store_err qd_rollup_labels_init(
    struct qd_rollup_labels *ret_labels, const char *const *names, size_t count,
    struct qd_store_error *error);

/* The quarter hour of a time (>= 0), rounded down. */
uint32_t qd_rollup_bucket(struct qd_wall_ns time);

/* Append the key of the row that `entry` goes to. */
void qd_rollup_key(const struct qd_entry *entry, const struct qd_rollup_labels *labels,
                   struct qd_buf *buf);
/* OK or CORRUPT. */
__attribute__((warn_unused_result)) enum qd_store_err qd_rollup_key_decode(
    struct qd_str key, struct qd_rollup_row *ret_row);

/* Append the beginning of a row's key: all of it but the labels. Keys of a group of rows that
 * differ in labels only begin with it, and no others do. */
void qd_rollup_group_key(const struct qd_rollup_row *row, struct qd_buf *buf);

/* Add what `entry` adds to its row. Room for QD_SUMS_MAX names always suffices. */
void qd_rollup_add(const struct qd_entry *entry, struct qd_sums *sums);

/* Put the merge of `entry` into a batch; nothing for a grant. The buffers are scratch. */
void qd_rollup_merge(const struct qd_entry *entry, const struct qd_rollup_labels *labels,
                     struct qd_buf *key, struct qd_buf *value, struct qd_batch *batch);

/* The same to another space of such rows. */
void qd_rollup_merge_to(enum qd_store_space space, const struct qd_entry *entry,
                        const struct qd_rollup_labels *labels, struct qd_buf *key,
                        struct qd_buf *value, struct qd_batch *batch);

/* An entry's value of a rolled-up label; "user" is its user. Empty: it has none. */
struct qd_str qd_rollup_label_value(const struct qd_entry *entry, struct qd_str name);

#endif /* QD_LEDGER_ROLLUP_H */
