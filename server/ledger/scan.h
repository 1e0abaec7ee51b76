/* Reading entries one by one: by cursor (L6), from a time on, and to rebuild what derives from
 * them.
 *
 * Layer:    server/ledger
 * Units:    wall ns.
 * Threads:  any; reads a snapshot, stops nobody.
 * Memory:   an entry is the visitor's for the length of its call.
 */
#ifndef QD_LEDGER_SCAN_H
#define QD_LEDGER_SCAN_H

#include "server/ledger/ledger.h"

/* One entry by its sequence; `bytes` holds what it points to. OK, NOT_FOUND (never booked, or
 * retired), or a store's error. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_read(struct qd_ledger *ledger,
                                                                     uint64_t sequence,
                                                                     struct qd_buf *bytes,
                                                                     struct qd_entry *ret_entry,
                                                                     struct qd_store_error *error);

/* The sequence of what was booked under the idempotency key of `entry` (S6): its tenant, source,
 * request id, attempt and part; nothing else of it is looked at. OK, NOT_FOUND, or a store's error.
 * A booking under way is not found yet. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_find(struct qd_ledger *ledger,
                                                                     const struct qd_entry *entry,
                                                                     uint64_t *ret_sequence,
                                                                     struct qd_store_error *error);

/* Called for each entry in order of sequence; false stops after it. */
typedef bool (*qd_entry_visitor)(void *context, const struct qd_entry *entry);

/* Visit entries with `after` < sequence <= `through` (0: the last durable one). OK, or the first
 * error: CORRUPT names the entry. *ret_last: sequence of the last entry visited, or `after`. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_visit(
    struct qd_ledger *ledger, uint64_t after, uint64_t through, qd_entry_visitor visit,
    void *context, uint64_t *ret_last, struct qd_store_error *error);

/* Visit the entries whose event or charged time may be at or after `since`, and some that aren't:
 * the visitor looks. They are found by their recorded time, without reading earlier ones. To
 * rebuild the `used` of a budget: everything charged in its period is visited. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_visit_since(
    struct qd_ledger *ledger, struct qd_wall_ns since, qd_entry_visitor visit, void *context,
    struct qd_store_error *error);

/* The sequence of the first entry recorded at or after `time`; one past the last if there is none.
 */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_seek_time(
    struct qd_ledger *ledger, struct qd_wall_ns time, uint64_t *ret_sequence,
    struct qd_store_error *error);

#define QD_LIST_SCAN_DEFAULT 100000

/* Which entries to list. Zero or empty: no condition. */
struct qd_ledger_list {
    uint64_t cursor;                 /* `next_cursor` of the page before; 0: from `recorded_from` */
    uint32_t page_max;               /* entries; 0: 100 */
    uint32_t scan_max;               /* entries looked at; 0: QD_LIST_SCAN_DEFAULT */
    struct qd_str tenant;            /* it and all below it */
    struct qd_wall_ns recorded_from; /* inclusive */
    struct qd_wall_ns recorded_to;   /* exclusive */
    uint32_t kinds;                  /* bits 1 << enum qd_entry_kind */
    struct qd_str model;
    struct qd_str pool;
    struct qd_str request_id;
    bool unpriced_only;
};

struct qd_ledger_page {
    uint64_t next_cursor; /* go on here, now or after a restart: nothing twice, nothing missed */
    bool end;             /* nothing more is complete at present */
    uint32_t count;       /* entries visited */
    struct qd_watermark watermark;
};

/* List one page, in order of sequence. A page may be short, even empty, without being the end:
 * scan_max. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_list(
    struct qd_ledger *ledger, const struct qd_ledger_list *list, qd_entry_visitor visit,
    void *context, struct qd_ledger_page *ret_page, struct qd_store_error *error);

#endif /* QD_LEDGER_SCAN_H */
