/* One slice of the real core under a policy, with a clock that its user sets: what policy tests run
 * against.
 *
 * Layer:    policy (over core). No I/O, no clock of its own.
 * Units:    as in server/core/core.h.
 * Threads:  one world belongs to one thread.
 * Memory:   one block for two slices (home and commons), sized for tests: a few hundred counters.
 */
#ifndef QD_POLICY_WORLD_H
#define QD_POLICY_WORLD_H

#include "server/core/core.h"
#include "server/policy/resolve.h"

struct qd_world;

/* The policy must outlive the world. NULL: out of memory. */
struct qd_world *qd_world_new(const struct qd_policy *policy);
void qd_world_free(struct qd_world *world);

struct qd_world_check {
    struct qd_attributes attributes; /* tenant: a valid path */
    struct qd_usage use;             /* `requests` is 1 unless given */
    int64_t max_output_tokens;       /* with has_max_output */
    bool has_max_output;
    enum qd_price_tier tier;
    enum qd_cache_write_ttl cache_write_ttl;
    int64_t ttl_ns; /* 0: the policy's */
    bool dry_run;
};

enum qd_world_answer {
    QD_WORLD_DECIDED,
    QD_WORLD_UNKNOWN_TENANT,
    QD_WORLD_TOO_MANY_LIMITS,
    QD_WORLD_FULL,
};

/* What a check leaves for its report. */
struct qd_world_hold {
    uint64_t reservation; /* 0: none */
    struct qd_wall_ns made_at;
    struct qd_hash128 binding;
    struct qd_usage estimate;
    const struct qd_model *model;
    const struct qd_pool *pool;
    enum qd_price_tier tier;
    enum qd_cache_write_ttl cache_write_ttl;
};

struct qd_world_verdict {
    enum qd_world_answer answer;
    struct qd_verdict verdict;
    struct qd_world_hold hold;
    size_t state_count;
    struct qd_limit_state states[QD_LIMITS_PER_CHECK_MAX];
};

/* CheckQuota. States stay valid until the next call on this world. */
void qd_world_check(struct qd_world *world, const struct qd_world_check *check,
                    struct qd_wall_ns now, struct qd_world_verdict *ret_verdict);

struct qd_world_report {
    const struct qd_world_hold *hold; /* NULL: post-paid, for `attributes` */
    struct qd_attributes attributes;
    struct qd_usage used;
    enum qd_outcome outcome;
    bool final;
    enum qd_price_tier tier; /* post-paid only, as the next */
    enum qd_cache_write_ttl cache_write_ttl;
};

/* ReportUsage: priced, then settled. ret_cost_nano (may be NULL): -1 if the price is unknown. */
enum qd_world_answer qd_world_report(struct qd_world *world, const struct qd_world_report *report,
                                     struct qd_wall_ns now, int64_t *ret_cost_nano);

/* CancelReservation. False: the hold is gone. */
bool qd_world_cancel(struct qd_world *world, const struct qd_world_hold *hold,
                     struct qd_wall_ns now);

/* End what has expired by `now`. */
void qd_world_expire(struct qd_world *world, struct qd_wall_ns now);

#endif /* QD_POLICY_WORLD_H */
