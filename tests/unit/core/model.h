/* The whole core, naively: what the rules say, with plain arrays and sums taken anew each time.
 *
 * Layer:    tests. Threads: none. Memory: the caller's struct.
 *
 * Windows are sums by slot, budgets sums of the current period, what is held is added up over all
 * open reservations whenever it is asked for. Nothing is cached, evicted, interned or linked.
 * Buckets alone use the algorithm itself (server/core/bucket.h, which has its own oracle): one for
 * each counter.
 */
#ifndef QD_TESTS_CORE_MODEL_H
#define QD_TESTS_CORE_MODEL_H

#include "server/core/bucket.h"
#include "server/core/core.h"

#define M_COUNTERS 512
#define M_HOLDS    4096
#define M_SLOTS    512
#define M_CHARGES  QD_LIMITS_PER_CHECK_MAX

struct m_counter {
    const struct qd_limit *limit; /* NULL: not used yet */
    struct qd_hash128 id;
    int64_t amount, burst;
    unsigned resets;
    /* sliding and short fixed windows: sums by slot number */
    int64_t slot_number[M_SLOTS];
    int64_t slot_sum[M_SLOTS];
    /* budgets: what was booked in one period */
    int64_t period;
    int64_t booked;
    struct qd_bucket bucket;
};

struct m_charge {
    struct m_counter *counter;
    unsigned resets;
    int64_t amount;
};

enum m_state {
    M_GONE,
    M_OPEN,
    M_KEPT
};

struct m_hold {
    enum m_state state;
    uint64_t number; /* as the core called it */
    int64_t made_ns, expires_ns;
    struct qd_hash128 request;
    uint32_t attempt;
    uint64_t content;
    uint32_t epoch;
    struct qd_usage expected;
    int64_t input_nano; /* what the estimated input costs */
    int64_t told_nano;  /* what the reports cost that told of input; all of it once none is left */
    unsigned charge_count;
    struct m_charge charge[M_CHARGES];
};

struct m_item {
    struct m_counter *counter;
    const struct qd_limit *limit;
};

struct model {
    int64_t now_ns; /* the latest seen */
    struct m_counter counters[M_COUNTERS];
    struct m_hold holds[M_HOLDS];
    unsigned hold_high;
};

/* What a check came to. */
struct m_answer {
    enum qd_decision decision;
    enum qd_reason reason;
    unsigned candidate;
    bool repeated;
    uint64_t reservation; /* of a repeated one */
    uint32_t shadow_denials;
    unsigned
        count; /* limits that concern the request, of the chosen candidate, or the described one */
    const struct qd_limit *limit[M_CHARGES];
    int64_t used[M_CHARGES], held[M_CHARGES], estimate[M_CHARGES];
    bool denies[M_CHARGES];
};

struct m_candidate {
    const struct m_item *items;
    unsigned count;
    int64_t max_output;       /* -1: not given */
    int64_t model_max_output; /* 0: unknown */
};

void m_time(struct model *m, int64_t now_ns);
struct m_counter *m_counter(struct model *m, struct qd_hash128 id);
/* A binding was made: the counter is there, with these amounts. */
struct m_counter *m_bind(struct model *m, const struct qd_bind_item *item);
void m_reset(struct model *m, struct m_counter *c);
int64_t m_used(struct model *m, struct m_counter *c);
int64_t m_held(const struct model *m, const struct m_counter *c);

/* Holds whose second has come end. */
void m_expire(struct model *m);
/* `described`: the candidate that a denial of all is about. */
void m_check(struct model *m, const struct qd_check *check, const struct m_candidate *candidates,
             unsigned described, struct m_answer *ret_answer);
/* The core named the reservation that the last allowed check made. */
void m_name_reservation(struct model *m, uint64_t number);
/* `items`: the counters that apply to the report's request now. */
void m_settle(struct model *m, const struct qd_settle *settle, const struct m_item *items,
              unsigned item_count, struct qd_settled *ret_settled);
enum qd_result m_extend(struct model *m, uint64_t number, const struct qd_usage *used,
                        int64_t ttl_ns);
enum qd_result m_cancel(struct model *m, uint64_t number);

/* Prices of the model: nano-USD of a vector, rounded up. */
int64_t m_price(const struct qd_usage *u);
#define M_INPUT_PICO  2500
#define M_OUTPUT_PICO 10300

#endif /* QD_TESTS_CORE_MODEL_H */
