/* The ledger: the one durable truth of what was used (L1-L4, S6).
 *
 * Layer:    server/ledger, above storage/. Knows entries, not limits or prices.
 * Units:    wall ns; money as the field says.
 * Threads:  every function may be called from any thread. One thread of the ledger's own writes:
 *           bookings that come while it writes share its next synced batch.
 * Memory:   the store is the caller's and must outlive the ledger. A receipt holds what its strings
 *           point to until it is released or used again.
 *
 * Booking: validate -> idempotency key looked up, guarded by the table of keys in flight -> one
 * atomic synced batch with the entry, its key, its rollup row and the caller's own writes ->
 * acknowledged. Sequences are gap-free: they are given when a batch is built, one batch is under
 * way at a time, and a batch is on disk as a whole or not at all.
 *
 * After a failed write it isn't known whether the batch is there. The next booking first finds out:
 * it must get a synced mark written (then whatever is visible is durable) and reads the ledger's
 * end anew.
 */
#ifndef QD_LEDGER_LEDGER_H
#define QD_LEDGER_LEDGER_H

#include "server/measure/histogram.h"
#include "storage/entry.h"
#include "storage/expired_record.h"
#include "storage/store.h"

#define QD_LEDGER_ROLLUP_LABELS_MAX  4
#define QD_LEDGER_HORIZON_DEFAULT_NS (35 * QD_NS_PER_DAY)
#define QD_LEDGER_FUTURE_DEFAULT_NS  QD_NS_PER_DAY
#define QD_LEDGER_GROUP_DEFAULT      512
#define QD_RECEIPT_TEXT_MAX          768

struct qd_ledger; /* opaque */

struct qd_ledger_config {
    int64_t report_horizon_ns;        /* older usage is refused; 0: 35 days */
    int64_t future_max_ns;            /* event times further ahead are refused; 0: 1 day */
    uint32_t group_max;               /* entries of one synced batch; 0: 512 */
    const char *const *rollup_labels; /* L4; "user" stands for the entry's user */
    size_t rollup_label_count;        /* <= QD_LEDGER_ROLLUP_LABELS_MAX */
};

/* What became of a booking. */
enum qd_book_result {
    QD_BOOK_BOOKED,
    QD_BOOK_DUPLICATE,
    QD_BOOK_CONFLICT,
    QD_BOOK_TOO_OLD,
    QD_BOOK_IN_FUTURE,
    QD_BOOK_INVALID,
    QD_BOOK_STORE_ERROR
};

struct qd_booking {
    const struct qd_entry
        *entry;                /* sorted (qd_entry_sort); sequence and recorded time are ignored */
    struct qd_hash128 content; /* of the report; qd_ledger_content makes one of the entry */
    /* L3: booked right behind `entry`, with the next sequence, in the same write: both or neither.
     * It has no idempotency key but the entry's. NULL: none. */
    const struct qd_entry *companion;
    struct qd_str answer;         /* kept for duplicates; <= QD_IDEMPOTENCY_ANSWER_MAX bytes */
    const struct qd_batch *extra; /* written in the same batch, if it is booked; may be NULL */
    struct qd_wall_ns now;
};

struct qd_receipt {
    uint64_t sequence;               /* BOOKED, DUPLICATE, CONFLICT: of the entry that stands */
    struct qd_wall_ns recorded_time; /* of it */
    bool has_first; /* DUPLICATE, CONFLICT: `first` is filled in (it may have been retired) */
    struct qd_entry first; /* the entry that stands */
    struct qd_str answer;  /* DUPLICATE, CONFLICT: the first answer */
    char
        text[QD_RECEIPT_TEXT_MAX]; /* all but BOOKED and DUPLICATE: what, where, what is accepted */
    struct qd_buf key_bytes;       /* private */
    struct qd_buf entry_bytes;     /* private */
};

void qd_receipt_init(struct qd_receipt *receipt);
void qd_receipt_release(struct qd_receipt *receipt);

/* OK; CORRUPT or NEWER_FORMAT when the last entry cannot be read; IO; NO_MEMORY; INVALID for a bad
 * configuration. Writes nothing. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_open(
    struct qd_store *store, const struct qd_ledger_config *config, struct qd_ledger **ret_ledger,
    struct qd_store_error *error);

/* NULL is fine. No call may be under way. The store stays open. */
void qd_ledger_close(struct qd_ledger *ledger);

/* Other labels to roll up from now on (a reload). What is there keeps its labels: queries notice.
 */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_set_rollup_labels(
    struct qd_ledger *ledger, const char *const *labels, size_t count,
    struct qd_store_error *error);

/* Hash of what a report says: model, pool, user, labels, quantities, outcome, tier, kind, final,
 * limit, and with `event_time` its event time. Not of money, which follows from it. */
struct qd_hash128 qd_ledger_content(const struct qd_entry *entry, bool event_time);

/* Book an entry, durably (L2), and wait for it.
 *   BOOKED       it is on disk, once
 *   DUPLICATE    the key was booked with the same content: the first answer again (S6)
 *   CONFLICT     the key was booked with other content: nothing is booked, `text` names what
 * differs TOO_OLD      usage with an event time before now - report_horizon; nothing is booked
 *   IN_FUTURE    an event time after now + future_max; nothing is booked
 *   INVALID      the entry isn't valid; nothing is booked
 *   STORE_ERROR  not acknowledged: book it again with the same key, and it is booked once */
__attribute__((warn_unused_result)) enum qd_book_result qd_ledger_book(
    struct qd_ledger *ledger, const struct qd_booking *booking, struct qd_receipt *ret_receipt);

/* A booking under way. It, its booking with all that this points to, and its receipt are the
 * caller's, and stay where they are until `done` is called. */
struct qd_book_job {
    const struct qd_booking *booking;
    struct qd_receipt *receipt;
    /* Called once, with `result` as of qd_ledger_book, and without any lock: by the ledger's
     * thread, or by the one that submitted if nothing had to be written. Of jobs that were BOOKED
     * the calls come one after the other, in the order of their sequences. The job may be freed in
     * it. */
    void (*done)(struct qd_book_job *job);
    void *context; /* for `done` */
    enum qd_book_result result;
    struct qd_book_own {   /* the ledger's own */
        struct qd_buf key; /* idempotency key; empty: none */
        uint64_t key_hash;
        uint64_t queued_ns; /* monotonic */
        struct qd_book_job *queue_next;
        struct qd_book_job *table_next;
        struct qd_book_job *first_waiter; /* jobs with the same key, the oldest first */
        struct qd_book_job *last_waiter;
        struct qd_book_job *waiter_next;
    } own; /* zero when submitted */
};

/* Book entries, durably (L2), without waiting: see `done`. Those that are new are in one group, if
 * there is room in it. */
void qd_ledger_submit(struct qd_ledger *ledger, struct qd_book_job *const *jobs, uint32_t count);

/* Told of each entry that is in the ledger though its booking was answered with STORE_ERROR: a
 * write failed, and was found to be there when the store had healed. Called in order, before
 * anything is booked after them, by the thread that heals: one that books, or beats. It may take no
 * lock that is held around a booking, nor book. Set once, before the first booking; none is told
 * otherwise. */
void qd_ledger_on_found(struct qd_ledger *ledger,
                        void (*found)(void *context, const struct qd_entry *entry), void *context);

/* Book several, and wait for all: their results and receipts. `done` and `context` are the
 * ledger's. */
void qd_ledger_book_all(struct qd_ledger *ledger, struct qd_book_job *const *jobs, uint32_t count);

/* Promise that entries to come are recorded after `now`, durably, so that an idle ledger's
 * watermark goes on (L5). Costs a synced write. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_heartbeat(
    struct qd_ledger *ledger, struct qd_wall_ns now, struct qd_store_error *error);

/* Every entry recorded at or before `complete_through` has a sequence <= `sequence` and is in (L5).
 */
struct qd_watermark {
    uint64_t sequence;
    struct qd_wall_ns complete_through; /* 0: nothing yet */
};

struct qd_watermark qd_ledger_watermark(struct qd_ledger *ledger);

struct qd_ledger_status {
    struct qd_watermark watermark;
    bool failed;                   /* the last write failed: reports are refused */
    struct qd_store_error failure; /* why */
    struct qd_store_error damage;  /* CORRUPT: what a report met last, since open; else OK */
    uint64_t booked, duplicates, conflicts, refused, store_errors; /* since open */
    uint64_t groups; /* synced batches written for them */
    uint32_t group_largest;
    struct qd_expired expired; /* L7 */
};

/* For /metrics, of what was booked since open; from any thread. */
struct qd_ledger_measured {
    struct qd_histogram_sum commit_ns;  /* a booking's wait: from the queue to the disk */
    struct qd_histogram_sum group_size; /* bookings of one synced batch */
};
void qd_ledger_measured(const struct qd_ledger *ledger, struct qd_ledger_measured *ret_measured);

void qd_ledger_status(struct qd_ledger *ledger, struct qd_ledger_status *ret_status);

#endif /* QD_LEDGER_LEDGER_H */
