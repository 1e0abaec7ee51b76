/* Which limits apply to a request: the one place that says so, for bindings, explain and effective
 * limits.
 *
 * Layer:    policy; a pure function over a compiled policy and run-time records.
 * Threads:  none of its own; the caller keeps policy and records alive during the call and as long
 * as the result's pointers are used. Memory:   the result is the caller's; it points into policy,
 * records and itself: do not copy it by value.
 *
 * For each ancestor of the tenant's path, from the root (depth 1) to the path itself:
 *   - the rule is the policy's exact rule; without one, the most specific pattern, unless a
 * run-time record gives the path a plan (P2);
 *   - the plan is the record's (if it says anything about the plan), else the rule's; a tenant
 * whose path and ancestors nobody lists or matches has the default plan at depth 1, or is unknown;
 *   - limits: the plan's, each replaced by the rule's own and then the record's own limit of the
 * same name, and those that have no counterpart in the plan. Boosts and grants change amounts. Then
 * the limits that all tenants share (depth 0): the model's, the pool's, the global ones. Of all
 * these, those whose selector accepts the request apply.
 */
#ifndef QD_POLICY_RESOLVE_H
#define QD_POLICY_RESOLVE_H

#include "server/core/policy.h"

enum qd_adjust_kind {
    QD_ADJUST_PERCENT,  /* boost: amount and burst * value / 100 */
    QD_ADJUST_ABSOLUTE, /* boost: the amount is value; burst in proportion */
    QD_ADJUST_ADD,      /* grant: the amount is raised (or lowered) by value, not below 0 */
};

/* A run-time change of one limit's amount for one tenant path (Boost, Grant). */
struct qd_adjust {
    const char *limit; /* last part of the name: "tokens" */
    enum qd_adjust_kind kind;
    int64_t value;
    struct qd_wall_ns until; /* QD_WALL_NEVER: for good. At or before `now`: ignored */
    bool one_counter;        /* only the counter below (a grant to one `per` value) */
    struct qd_hash128 counter;
};

/* The run-time record of one path. All pointers may be NULL with a count of 0. */
struct qd_override {
    bool listed;   /* there is a tenant record: the path is known */
    bool has_plan; /* the record decides about the plan; `plan` NULL: none */
    const struct qd_plan *plan;
    const struct qd_limit_use *limits;
    size_t limit_count;
    const struct qd_adjust *adjusts;
    size_t adjust_count;
    bool blocked;
    struct qd_wall_ns blocked_until; /* QD_WALL_NEVER, or when the block ends */
};

enum qd_resolve_status {
    QD_RESOLVED = 0,
    QD_RESOLVE_UNKNOWN_TENANT, /* P2: nothing matches and there is no default plan */
    QD_RESOLVE_TOO_MANY,       /* more than QD_LIMITS_PER_CHECK_MAX apply */
};

struct qd_resolved_limit {
    const struct qd_limit_use *use;
    const struct qd_plan *plan; /* the plan it comes from; NULL: not from a plan */
    bool runtime;               /* from a run-time record */
    uint8_t depth;              /* 1..8, or 0: shared by all tenants */
    int64_t amount;             /* after boosts and grants */
    int64_t burst;
    struct qd_wall_ns boosted_until; /* 0: not boosted */
    struct qd_hash128 counter;
    struct qd_str name; /* of the counter: "acme/search", "acme model=gpt-4o", "pool h100" */
};

#define QD_RESOLVE_TEXT_MAX 8192

struct qd_resolution {
    enum qd_resolve_status status;
    bool blocked;
    uint8_t blocked_depth;
    const struct qd_plan *plan;    /* the nearest one in effect; NULL: none */
    struct qd_str plan_from;       /* the path or pattern that gives it; "default_plan" */
    struct qd_wall_ns valid_until; /* the next end of a boost or block; QD_WALL_NEVER */
    size_t count;
    struct qd_resolved_limit limit[QD_LIMITS_PER_CHECK_MAX];
    size_t text_used;
    char text[QD_RESOLVE_TEXT_MAX];
};

struct qd_resolve_input {
    const struct qd_policy *policy;
    const struct qd_attributes
        *attributes; /* tenant: a valid path; family and pool filled in (qd_attributes_complete) */
    const struct qd_override *const
        *overrides;        /* by depth - 1, for each segment of the path; NULL entries: none */
    struct qd_wall_ns now; /* for the ends of boosts and blocks */
    uint64_t seed;         /* of counter identities */
    bool all; /* for listing: limits of tenants whose selector needs an attribute that is absent are
                 kept */
};

/* Fill ret (all of it). Denies nothing by itself: `blocked` and `status` tell. */
void qd_resolve(const struct qd_resolve_input *input, struct qd_resolution *ret_resolution);

/* Fill in `family` and `pool` of `a` from the policy's model, where they are absent. A model
 * without a family is its own family. */
void qd_attributes_complete(const struct qd_policy *policy, struct qd_attributes *a);

#endif /* QD_POLICY_RESOLVE_H */
