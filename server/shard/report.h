/* A report on its way: what its files share. Internal to shard.
 *
 *   reports.c         several at once: book, wait, answer
 *   report_read.c     what it says, and the state of its reservation
 *   report_entry.c    its ledger entry, priced, and its answer
 *   report_settle.c   its usage on the counters
 *
 * Threads:  the worker's own, except for the booking.
 * Memory:   a part of struct qd_reports; large, hardly initialized, not to be copied.
 */
#ifndef QD_SHARD_REPORT_H
#define QD_SHARD_REPORT_H

#include "server/shard/bind.h"
#include "server/shard/pricing.h"
#include "server/shard/reference.h"
#include "server/shard/reports.h"

/* What one report works on. */
struct qd_report_work {
    struct qd_worker *worker;
    const struct qd_published *published;
    const struct qd_policy *policy; /* of the beginning: whose meters the answer speaks of */
    const struct qd_report_args *args;
    struct qd_wall_ns now;
    bool has_reference;
    struct qd_reference reference;
    struct qd_usage usage; /* as given, and `requests` where this part counts them */
    struct qd_wall_ns event_time;
    struct qd_wall_ns charged_at;
    enum qd_outcome outcome;
    bool final;
    bool closed_before;         /* the reservation was settled by an earlier report */
    bool open;                  /* its hold is in memory, be it one that was kept */
    bool live;                  /* and had not expired */
    struct qd_subject reserved; /* what the counters know it as */
    struct qd_entry entry;
    struct qd_hash128 content; /* of the report as given (S6) */
    struct qd_priced priced;
    char stand_in_id[64];
    bool has_turn;
    bool to_book;
    struct qd_booking booking;
    struct qd_book_job job;
    struct qd_receipt receipt;
    struct qd_buf stored_answer;
    struct qd_buf closed_key;
    struct qd_batch extra;
    struct qd_report_result result;
};

static inline struct qd_str qd_report_pick(struct qd_str given, struct qd_str otherwise)
{
    return given.len > 0 ? given : otherwise;
}

/* report_read.c. Each returns QD_ERROR_NONE, or *ret_error says what is wrong. */
enum qd_error_code qd_report_validate(struct qd_report_work *w, struct qd_error *ret_error);
/* S6: its idempotency key, and the reservation's number. */
void qd_report_identify(struct qd_report_work *w);
/* Which report closed it: a retry of that one finds the reservation as it was the first time. */
struct qd_hash128 qd_report_identity(const struct qd_entry *entry);
/* With the reservation's turn: is its hold open, was it closed by another report? */
enum qd_error_code qd_report_look_at_reservation(struct qd_report_work *w,
                                                 struct qd_error *ret_error);

/* report_entry.c */
enum qd_error_code qd_report_make_entry(struct qd_report_work *w, struct qd_error *ret_error);
void qd_report_make_answer(const struct qd_report_work *w, struct qd_report_answer *a);

/* report_settle.c. X5: when it is booked. */
void qd_report_apply(struct qd_report_work *w, struct qd_report_answer *answer);
/* S6: it had been booked before this hold was made. */
void qd_report_release(struct qd_report_work *w);

#endif /* QD_SHARD_REPORT_H */
