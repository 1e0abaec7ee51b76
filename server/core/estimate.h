/* Estimate: what one candidate of a check is expected to use, and what that costs each limit (P3,
 * P7, P8). Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   struct qd_estimate on the stack.
 */
#ifndef QD_CORE_ESTIMATE_H
#define QD_CORE_ESTIMATE_H

#include "slice.h"

/* No limit counts more than this of one request: larger sums are taken as it. */
#define QD_COST_MAX QD_GAUGE_MAX

#define QD_METERS_OUTPUT \
    (QD_METER_BIT(QD_METER_OUTPUT_TOKENS) | QD_METER_BIT(QD_METER_REASONING_TOKENS))
#define QD_METERS_INPUT                                                                 \
    (QD_METER_BIT(QD_METER_INPUT_TOKENS) | QD_METER_BIT(QD_METER_CACHED_INPUT_TOKENS) | \
     QD_METER_BIT(QD_METER_CACHE_WRITE_TOKENS))
#define QD_METERS_MONEY (QD_METER_BIT(QD_METER_COST) | QD_METER_BIT(QD_METER_CHARGE))

#define QD_OUTPUT_UNKNOWN INT64_C(-1)

struct qd_estimate {
    struct qd_core *core;
    const struct qd_check *check;
    const struct qd_candidate *candidate;
    const struct qd_binding *binding;
    struct qd_wall_ns now;
    bool peek;              /* the amounts are all 0: nothing is added to them (D8) */
    bool unpriced;          /* P8: no price, and the policy goes on without */
    bool refused;           /* P8: no price, and the policy denies */
    struct qd_usage *worst; /* with the largest output that may come; the verdict's */
    int64_t hard_output;    /* the most that a hard limit has taken the output as (H1) */
    /* The last one formed with another output, for limits that estimate it in their own way. */
    bool varied;
    int64_t variant_output;
    struct qd_usage variant;
};

/* Form the worst case, price it, and leave it in `ret_worst`. The other fields are set already. */
void qd_estimate_begin(struct qd_estimate *e, struct qd_usage *ret_worst);

/* What `limit` would count, before its clamp. False: the request has none of its meters, so it
 * doesn't apply. Needs no counter. *ret_unbounded: H1, the cost is only what is known. */
bool qd_estimate_cost(struct qd_estimate *e, const struct qd_limit *limit, int64_t *ret_cost,
                      enum qd_unbounded *ret_unbounded);

/* After the costs: no hard limit holds more output than the worst case says, so that reports of
 * parts leave what it holds for the output alone (H1). */
void qd_estimate_end(struct qd_estimate *e);

/* An estimate is at most a stated part of the limit's amount (P3). */
static inline int64_t qd_estimate_clamp(const struct qd_limit *limit, int64_t amount, int64_t cost)
{
    if (limit->clamp_permille_of_amount == 0) {
        return cost;
    }
    int64_t clamp = (int64_t)((qd_int128)amount * limit->clamp_permille_of_amount / 1000);
    return cost < clamp ? cost : clamp;
}

/* What of the worst case's cost is the input's, for limits that keep the input (S5). */
int64_t qd_estimate_input_nano(const struct qd_estimate *e);

/* True if a check's amounts are all 0: a peek (D8). */
bool qd_check_is_peek(const struct qd_check *check);

/* What `limit` holds for those meters of `u` that are in `mask`; at most QD_COST_MAX. */
int64_t qd_hold_of(const struct qd_limit *limit, const struct qd_usage *u, uint32_t mask);

/* What `limit` books for `u`; at most QD_COST_MAX. */
int64_t qd_booking_of(const struct qd_limit *limit, const struct qd_usage *u);

void qd_usage_copy(struct qd_usage *to, const struct qd_usage *from);

/* Meters that `w` weighs. */
static inline uint32_t qd_weights_meters(const struct qd_weights *w)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < w->count; i++) {
        mask |= QD_METER_BIT(w->item[i].meter);
    }
    return mask;
}

#endif /* QD_CORE_ESTIMATE_H */
