/* PriceUnpriced: entries that were booked without a price get one, once there is one (P8, L3).
 *
 * Layer:    shard
 * Threads:  the worker's own, entered.
 * Memory:   a page is large: keep it on the heap.
 *
 * A page is bounded work: a cursor leads to the next. Each entry's correction has the same content
 * in every run, so a run that is repeated, or was killed half way, books nothing twice (S6).
 */
#ifndef QD_SHARD_PRICE_UNPRICED_H
#define QD_SHARD_PRICE_UNPRICED_H

#include "server/shard/correct.h"

struct qd_price_unpriced_args {
    struct qd_str tenant;    /* it and all below it; empty: all */
    struct qd_str model;     /* empty: all */
    struct qd_wall_ns since; /* event time, inclusive; 0: all */
    uint64_t cursor;         /* `next_cursor` of the page before; 0: from the start */
    bool dry_run;
    struct qd_str actor; /* X6 */
};

/* A model, in a pool, that has no price yet for what was used. */
struct qd_still_unpriced {
    char model[QD_ENTRY_NAME_MAX + 1];
    char pool[QD_ENTRY_NAME_MAX + 1];
    uint64_t entries;
};

struct qd_price_unpriced_page {
    uint64_t next_cursor;
    bool end;
    uint64_t priced; /* corrections booked; of a dry run: that would be */
    uint64_t unpriced;
    qd_int128 cost_pico_usd; /* of the priced */
    qd_int128 charge_pico_usd;
    struct qd_still_unpriced still[QD_CORRECT_BATCH_MAX];
    uint32_t still_count;
};

/* One page. After an error begin again with the same cursor. */
enum qd_error_code qd_price_unpriced(struct qd_worker *worker,
                                     const struct qd_price_unpriced_args *args,
                                     struct qd_price_unpriced_page *ret_page,
                                     struct qd_error *ret_error);

#endif /* QD_SHARD_PRICE_UNPRICED_H */
