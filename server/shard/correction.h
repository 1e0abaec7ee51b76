/* The two entries of a correction: what takes the original back, and what stands instead (L3).
 *
 * Layer:    shard
 * Threads:  none of its own; the policy must stay published during the call.
 * Memory:   large: keep it on the heap. Entries point into it, into the arguments and into the
 * policy's names.
 */
#ifndef QD_SHARD_CORRECTION_H
#define QD_SHARD_CORRECTION_H

#include "server/core/policy.h"
#include "server/ledger/reversal.h"
#include "server/shard/pricing.h"
#include "server/shard/request.h"

#define QD_REASON_MAX 255

struct qd_correct_args {
    /* Which entry: by its number and node (empty: this one), ... */
    uint64_t sequence;
    struct qd_str node;
    /* ... or, with sequence 0, by the idempotency key of its report (S6). */
    struct qd_str key_tenant;
    struct qd_str key_source; /* empty: "gateway" */
    struct qd_str key_request_id;
    uint32_t key_attempt;
    uint32_t key_part;

    struct qd_str correction_id;
    struct qd_str reason;
    struct qd_str actor;  /* X6 */
    struct qd_str within; /* only entries of this tenant and below; empty: of all (X1) */
    bool dry_run;
    bool take_back; /* nothing is booked instead; nothing below may be given */
    /* What is right. What isn't given stays; given usage is all of it, but for `requests`, which
     * stay unless they are given. */
    struct qd_amount_arg usage[QD_ARG_METERS];
    size_t usage_count;
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_label labels[QD_ARG_LABELS];
    size_t label_count;
};

struct qd_correction {
    struct qd_entry original;
    struct qd_entry reversal;
    struct qd_entry rebooked; /* with `rebooks` */
    bool rebooks;
    struct qd_priced priced; /* of `rebooked` */
    char id[QD_REVERSAL_ID_MAX];
};

/* What the arguments say by themselves, without the entry. */
enum qd_error_code qd_correction_validate(const struct qd_correct_args *args,
                                          struct qd_error *ret_error);

/* From c->original: the reversal, and the rebooking at the prices of the original's time. */
enum qd_error_code qd_correction_make(struct qd_correction *c, const struct qd_policy *policy,
                                      const struct qd_correct_args *args,
                                      struct qd_error *ret_error);

/* Of the correction as asked for: the same again is answered again (S6). */
struct qd_hash128 qd_correction_content(const struct qd_correct_args *args);

#endif /* QD_SHARD_CORRECTION_H */
