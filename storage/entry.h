/* The ledger entry: one immutable record of what was used and what it cost (L1), and its bytes.
 *
 * Layer:    storage
 * Units:    times are wall ns; quantities are in each meter's unit; money as the name says.
 * Threads:  values only.
 * Memory:   strings point to the caller's memory, or into the bytes that were decoded.
 */
#ifndef QD_STORAGE_ENTRY_H
#define QD_STORAGE_ENTRY_H

#include "server/core/core.h"
#include "storage/store.h"

#define QD_ENTRY_NAME_MAX       255 /* model, pool, user, source, request id, label values, note */
#define QD_ENTRY_METER_MAX      63  /* a meter's name, a label's name */
#define QD_ENTRY_LIMIT_MAX      383 /* a limit's full name: a tenant's path, ".", a name */
#define QD_ENTRY_QUANTITIES_MAX QD_METERS_MAX
#define QD_ENTRY_LABELS_MAX     (QD_LABELS_MAX + 1) /* a request's, and `provider` */
#define QD_ENTRY_PRICES_MAX     4                   /* model and pool, cost and charge */
#define QD_ENTRY_BYTES_MAX      24576               /* of an encoded entry, by the bounds above */

enum qd_entry_kind {
    QD_ENTRY_USAGE = 1,
    QD_ENTRY_CORRECTION = 2, /* takes an entry back (negative quantities), or books it anew (L3) */
    QD_ENTRY_GRANT = 3,      /* raises or lowers the balance of the prepaid limit `limit` */
    QD_ENTRY_ADJUSTMENT =
        4, /* no usage: the counters of `limit` were reset, `labels` are the keys */
};

enum qd_entry_flag {
    QD_ENTRY_UNPRICED = 1, /* a price was not known: money is 0 and means nothing (P8) */
    QD_ENTRY_FINAL = 2,    /* the part that closed its reservation, or all of a post-paid report */
    QD_ENTRY_REVERSAL = 4, /* a correction that takes back all of the entry that it corrects (L3) */
};

/* What the check reserved under another value than the report gave. */
enum qd_entry_reserved_field {
    QD_RESERVED_MODEL = 1,
    QD_RESERVED_POOL = 2,
    QD_RESERVED_USER = 4,
    QD_RESERVED_LABELS = 8, /* as a whole */
};

/* What was used of one meter; never `cost`, `charge` or a derived meter. */
struct qd_entry_quantity {
    struct qd_str meter;
    int64_t amount; /* -QD_AMOUNT_MAX .. QD_AMOUNT_MAX; negative only in corrections and grants */
};

/* X5: counters count by what the check reserved, so that a restart needs it where the report says
 * otherwise. Fields without their bit are as the entry's own, and ignored here. */
struct qd_entry_reserved {
    uint8_t differs; /* of enum qd_entry_reserved_field */
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_label labels[QD_ENTRY_LABELS_MAX]; /* as the entry's */
    size_t label_count;
};

struct qd_entry {
    uint64_t sequence;            /* on this node, gap-free from 1; given by the ledger */
    struct qd_wall_ns event_time; /* when it happened: the billing period, the price */
    struct qd_wall_ns
        recorded_time;              /* when it was booked; rises with the sequence; by the ledger */
    struct qd_wall_ns charged_time; /* the slot in which counters took it: when it was reserved,
                                       else the event's time */
    enum qd_entry_kind kind;
    enum qd_outcome outcome;
    enum qd_price_tier tier;
    uint8_t flags; /* of enum qd_entry_flag */

    struct qd_str tenant; /* path, required */
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_label labels[QD_ENTRY_LABELS_MAX]; /* sorted by name, each name once */
    size_t label_count;

    /* Idempotency key, with the tenant (S6). No request id: none, and retries book again. */
    struct qd_str source;
    struct qd_str request_id;
    uint32_t attempt;
    uint32_t part; /* sequence of the report among its source's parts */

    struct qd_entry_quantity quantities[QD_ENTRY_QUANTITIES_MAX]; /* as the labels */
    size_t quantity_count;
    int64_t cache_write_1h_tokens; /* of the cache_write_tokens, those written for 1 h */

    struct qd_str prices[QD_ENTRY_PRICES_MAX]; /* the versions applied: "gpt-4o@2026-01-01" */
    size_t price_count;
    qd_int128 cost_pico_usd;
    qd_int128 charge_pico_usd;
    int64_t cost_nano_usd; /* as limits count it: rounded up once */
    int64_t charge_nano_usd;

    struct qd_str corrects_node;    /* empty: this node */
    uint64_t corrects_sequence;     /* 0: corrects nothing */
    struct qd_str limit;            /* grants: the prepaid limit; adjustments: its full name */
    struct qd_str note;             /* for people */
    struct qd_str reservation_node; /* who made the reservation; empty: this node */
    uint64_t reservation_incarnation;
    uint64_t reservation; /* its number there; 0: post-paid */
    struct qd_entry_reserved reserved;
};

/* Bring labels and quantities into their order. */
void qd_entry_sort(struct qd_entry *entry);

/* Note in `reserved` where the subject that the counters know differs from the entry's own model,
 * pool, user and labels. The entry is sorted; `labels` (at most QD_ENTRY_LABELS_MAX) may be in any
 * order. */
void qd_entry_set_reserved(struct qd_entry *entry, struct qd_str model, struct qd_str pool,
                           struct qd_str user, const struct qd_label *labels, size_t label_count);

/* Check all bounds of the struct's comments: OK, or INVALID with a sentence. */
__attribute__((warn_unused_result)) enum qd_store_err qd_entry_validate(
    const struct qd_entry *entry, struct qd_store_error *error);

/* Append the record. The entry must be valid. Version 1, or 2 when something was reserved under
 * another value, or 3 for a reversal: who doesn't know it must not take it for usage. */
void qd_entry_encode(const struct qd_entry *entry, struct qd_buf *buf);

/* OK, CORRUPT or NEWER_FORMAT; *ret_entry is undefined on failure. What decodes is valid, and
 * encodes to the same bytes. */
__attribute__((warn_unused_result)) enum qd_store_err qd_entry_decode(struct qd_str bytes,
                                                                      struct qd_entry *ret_entry);

/* The amount of one meter; false if it is missing (which is not 0). */
bool qd_entry_quantity(const struct qd_entry *entry, struct qd_str meter, int64_t *ret_amount);
/* The value of one label; {NULL, 0} if it has none. */
struct qd_str qd_entry_label(const struct qd_entry *entry, struct qd_str name);

/* L3: it takes another entry back; what it counts, it counts down. */
static inline bool qd_entry_is_reversal(const struct qd_entry *entry)
{
    return (entry->flags & QD_ENTRY_REVERSAL) != 0;
}

/* It says what was used (or takes it back), and is in rollups and sums. */
static inline bool qd_entry_is_usage(const struct qd_entry *entry)
{
    return entry->kind == QD_ENTRY_USAGE || entry->kind == QD_ENTRY_CORRECTION;
}

/* "OK", "NOT_DISPATCHED", ... */
const char *qd_entry_outcome_name(enum qd_outcome outcome);

#endif /* QD_STORAGE_ENTRY_H */
