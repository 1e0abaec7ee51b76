/* ResetCounter: a limit's counters of one tenant start anew, durably and audited (P2, D7).
 *
 * Layer:    shard
 * Threads:  the worker's own, entered.
 * Memory:   the caller's; the worker's resolution is used up.
 *
 * The reset is a ledger entry, an ADJUSTMENT without quantities that names the limit. A budget's
 * used is what the ledger has, so its place among the reports says what still counts: at boot,
 * entries before it are forgotten when it comes by. While it is booked no report is between its
 * entry and its counters: what is before it in the ledger is before it in the counters too.
 *
 * D12: counters that were evicted are looked for among all that the store has, unless the keys name
 * just one: a million take about a second (five if all are the reset's), and reports wait so long.
 */
#ifndef QD_SHARD_RESET_H
#define QD_SHARD_RESET_H

#include "server/shard/bind.h"

/* The tenant of a reset that is of none: of a limit that all share. */
#define QD_RESET_SHARED "-"

struct qd_reset_args {
    struct qd_str tenant; /* valid, or QD_RESET_SHARED */
    struct qd_str limit;  /* its full name: "free.tokens", "pool:h100.concurrency" */
    /* Values of the limit's `per` attributes; none: all its counters. */
    struct qd_label keys[QD_LABELS_MAX];
    size_t key_count;
    struct qd_str actor; /* X6 */
};

struct qd_recount_how;

struct qd_reset_listener {
    /* A counter as it was before: in no order, those in memory first. */
    void (*on_counter)(void *context, const struct qd_policy *policy,
                       const struct qd_limit_state *before, struct qd_wall_ns now);
    void *context;
    uint32_t most; /* so many are told of, of the others nothing */
};

/* What the keys say a request is about: `model`, `pool`, `user`, and labels, which are written to
 * `labels`. Checks them. */
enum qd_error_code qd_reset_subject(const struct qd_reset_args *args,
                                    struct qd_label labels[QD_LABELS_MAX],
                                    struct qd_subject_args *ret_subject,
                                    struct qd_error *ret_error);

/* Book it, then start the counters anew: *ret_count of them. STORE_ERROR: nothing was reset, or
 * (the text says which) some that lie in the store were not. Blocks for a synced write; reports
 * wait meanwhile. */
enum qd_error_code qd_reset(struct qd_worker *worker, const struct qd_reset_args *args,
                            const struct qd_reset_listener *listener, uint32_t *ret_count,
                            struct qd_error *ret_error);

/* For who counts the ledger by himself: `hit` is called with the place of each of these budgets
 * that the reset of this entry started anew. */
void qd_reset_find(struct qd_worker *worker, const struct qd_published *published,
                   const struct qd_entry *entry, const struct qd_budget *budgets, size_t count,
                   void (*hit)(void *context, size_t place), void *context);

/* As booked in this entry, where `how` says. A limit that there is no more is passed over. False:
 * some that lie in the store are as they were, since it cannot be read or written. */
bool qd_reset_again(struct qd_worker *worker, const struct qd_published *published,
                    const struct qd_entry *entry, const struct qd_recount_how *how);

#endif /* QD_SHARD_RESET_H */
