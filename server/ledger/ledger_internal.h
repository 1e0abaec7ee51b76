/* Inside the ledger: its state, shared by its files. Not for others. */
#ifndef QD_LEDGER_INTERNAL_H
#define QD_LEDGER_INTERNAL_H

#include "server/ledger/ledger.h"
#include "server/ledger/rollup.h"

#include <pthread.h>

#define QD_INFLIGHT_BUCKETS 1024 /* a power of two */

struct qd_ledger {
    struct qd_store *store;
    int64_t report_horizon_ns;
    int64_t future_max_ns;
    uint32_t group_max;

    pthread_mutex_t mutex; /* guards everything below */
    pthread_cond_t idle;   /* signalled when `leading` ends */
    pthread_cond_t work;   /* for the committer: a job, or `stop` */
    pthread_t committer;
    bool started;
    bool stop;
    struct qd_book_job *queue_head;
    struct qd_book_job *queue_tail;
    struct qd_book_job *inflight[QD_INFLIGHT_BUCKETS];
    bool leading; /* one thread builds and writes a batch, or heals; it owns what follows */
    struct qd_batch batch;
    struct qd_buf scratch_key;
    struct qd_buf scratch_value;

    /* Written by the committer only, read by whoever asks. */
    struct qd_histogram commit_ns;
    struct qd_histogram group_size;

    struct qd_rollup_labels labels; /* written by the leader only, under the mutex */
    struct qd_watermark mark;       /* likewise */
    struct qd_ledger_status counts; /* booked.., groups, failure */
    void (*found)(void *context, const struct qd_entry *entry); /* see qd_ledger_on_found */
    void *found_context;
    struct qd_expired expired; /* announced: see qd_ledger_expired */
};

/* "2026-11-29T14:23:27Z" */
void qd_ledger_time_text(struct qd_wall_ns time, char text[32]);

/* The mark of what has expired, as of a snapshot (NULL: now); zeros: nothing has. */
__attribute__((warn_unused_result)) enum qd_store_err qd_expired_read(
    struct qd_store *store, const struct qd_store_snapshot *snapshot,
    struct qd_expired *ret_expired, struct qd_store_error *error);

/* The thread that writes (committer.c). Stopping it waits until the queue is empty. */
__attribute__((warn_unused_result)) bool qd_committer_start(struct qd_ledger *ledger);
void qd_committer_stop(struct qd_ledger *ledger);
/* Jobs for its next group, linked by queue_next. */
void qd_committer_enqueue(struct qd_ledger *ledger, struct qd_book_job *first,
                          struct qd_book_job *last);

/* The job's result is final: count it, call it done, and see to those that waited for its key. */
void qd_book_finish(struct qd_ledger *ledger, struct qd_book_job *job);
/* STORE_ERROR, with a text for the receipt. */
enum qd_book_result qd_book_store_failed(struct qd_receipt *receipt,
                                         const struct qd_store_error *error);

/* Become the one that writes; the mutex is held. */
void qd_ledger_lead(struct qd_ledger *ledger);
/* Hand over to whoever waits; the mutex is held. */
void qd_ledger_unlead(struct qd_ledger *ledger);

/* If the last write failed: get a synced mark written, which makes durable whatever is visible, and
 * read the ledger's end anew. The mutex is held, and let go of meanwhile. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_heal(struct qd_ledger *ledger,
                                                                     struct qd_store_error *error);

/* Read the ledger's end from the store: *ret_mark. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_recover(
    struct qd_store *store, struct qd_watermark *ret_mark, struct qd_store_error *error);

/* The same as of a snapshot (NULL: now). */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_recover_at(
    struct qd_store *store, const struct qd_store_snapshot *snapshot, struct qd_watermark *ret_mark,
    struct qd_store_error *error);

/* Key of an entry in LEDGER. */
void qd_ledger_entry_key(uint64_t sequence, struct qd_buf *ret_key);

/* One entry by sequence; `bytes` holds what it points to. OK, NOT_FOUND, CORRUPT (also if it holds
 * another sequence), NEWER_FORMAT, IO. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_get(struct qd_store *store,
                                                                    uint64_t sequence,
                                                                    struct qd_buf *bytes,
                                                                    struct qd_entry *ret_entry,
                                                                    struct qd_store_error *error);

/* Decode an entry that was read under `key`; as qd_ledger_get. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_decode(
    struct qd_str key, struct qd_str value, struct qd_entry *ret_entry,
    struct qd_store_error *error);

/* Write one group of jobs, oldest first, as one synced batch: OK and receipts filled in, or an
 * error for all of them. The leader calls it without the mutex. */
__attribute__((warn_unused_result)) enum qd_store_err qd_ledger_commit(
    struct qd_ledger *ledger, struct qd_book_job *first, uint32_t count,
    struct qd_watermark *ret_mark, struct qd_store_error *error);

/* What differs between the entry that stands and `again`, for people, into `text`. */
void qd_ledger_conflict_text(const struct qd_entry *first, const struct qd_entry *again, char *text,
                             size_t size);

#endif /* QD_LEDGER_INTERNAL_H */
