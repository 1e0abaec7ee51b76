/* A check in steps, for a caller that has several at hand: what one needs comes from memory while
 * another is worked on. qd_node_check takes all of them in a row.
 *
 * Layer:    shard
 * Threads:  the worker's own thread, entered from begin to decide.
 * Memory:   the work is the caller's: large, hardly initialized, not to be copied. The arguments
 *           live until the answer is there.
 */
#ifndef QD_SHARD_CHECK_H
#define QD_SHARD_CHECK_H

#include "server/shard/bind.h"

struct qd_check_work {
    struct qd_worker *worker;
    const struct qd_published *published;
    const struct qd_check_args *args;
    struct qd_shard *home;
    struct qd_str root;
    uint64_t root_hash;
    struct qd_wall_ns now;
    struct qd_mono_ns begun; /* the same moment, to measure from */
    struct qd_check check;
    struct qd_candidate candidates[QD_CANDIDATES_MAX];
    /* D12: of candidates whose binding found no room. Only the first of them can be named. */
    struct qd_unbound unbound[QD_CANDIDATES_MAX];
    struct qd_limit_state full[QD_CANDIDATES_MAX];
    char full_name[QD_STATE_NAME_MAX];
    bool full_named;
    struct qd_explanation *explanation; /* NULL: nobody asks */
    struct qd_subject
        subjects[QD_CANDIDATES_MAX]; /* only the first `check.candidate_count` are set */
};

/* Validate, form the keys, ask for the binding. On an error there is nothing to go on with. */
enum qd_error_code qd_check_begin(struct qd_check_work *work, struct qd_worker *worker,
                                  const struct qd_check_args *args, struct qd_error *ret_error);

/* Once the binding has had its time to come: ask for what it names. A hint; may be left out. */
void qd_check_approach(const struct qd_check_work *work);

/* Decide by the state of now. */
enum qd_error_code qd_check_decide(struct qd_check_work *work, struct qd_check_answer *ret_answer,
                                   struct qd_error *ret_error);

/* Into the worker's figures: how a check ended. `answer` is looked at if code is QD_ERROR_NONE. */
void qd_check_count(struct qd_worker *worker, enum qd_error_code code,
                    const struct qd_check_answer *answer);

#endif /* QD_SHARD_CHECK_H */
