/* A limit's specification: what is counted, how, and what happens at the bound (P3, P4).
 *
 * Layer:    core (pure)
 * Units:    amounts are in the limit's unit: the weighted sum of its meters.
 * Threads:  immutable once interned.
 * Memory:   specs are interned by the shell (server/policy/intern.c) and live as long as the
 * process, so that a counter can point at its spec through any reload. The amount is not part of
 * the spec: it belongs to the use of a limit (a plan's, a tenant's) and to the counter.
 */
#ifndef QD_CORE_LIMIT_H
#define QD_CORE_LIMIT_H

#include "types.h"
#include "usage.h"
#include "zone.h"

enum qd_algorithm {
    QD_TOKEN_BUCKET, /* rate amount/window, capacity burst */
    QD_LEAKY_BUCKET, /* drains amount/window; admits while level <= burst (may overshoot by one) */
    QD_FIXED_WINDOW, /* epoch-aligned */
    QD_SLIDING_WINDOW, /* S slots, strict or weighted (D4) */
    QD_CALENDAR,       /* D6 */
    QD_CONCURRENCY,    /* gauge of open reservations */
    QD_PER_REQUEST,    /* a cap on one request: no counter */
    QD_PREPAID,        /* a balance that only grants raise */
};

enum qd_admit_test {
    QD_ADMIT_USED_PLUS_ESTIMATE, /* used + held + estimate <= amount */
    QD_ADMIT_USED_BELOW,         /* used + held < amount */
};

enum qd_action {
    QD_ENFORCE,
    QD_SHADOW
};
enum qd_consistency {
    QD_GOSSIP,
    QD_HARD
};
enum qd_failure_mode {
    QD_FAIL_OPEN,
    QD_FAIL_CLOSED,
    QD_FAIL_SHARE
};

/* What an expired hold, or a FAILED outcome, leaves charged (S4, S5). */
enum qd_keep {
    QD_KEEP_NOTHING,
    QD_KEEP_INPUT,
    QD_KEEP_ALL
};

/* How the output part of an estimate is formed (P3). */
enum qd_output_estimate {
    QD_OUTPUT_WORST_CASE, /* max_output_tokens, else the model's maximum, clamped */
    QD_OUTPUT_QUANTILE,   /* running quantile of past outputs of (tenant, model), clamped by worst
                             case */
    QD_OUTPUT_NONE,       /* output is not estimated, counted as produced */
    QD_OUTPUT_MAX_OF,     /* OpenAI: the estimate is max(input, max_output), not their sum */
};

/* Attributes that split a limit into separate counters, or that a selector tests. Bits of a mask.
 */
enum qd_attribute {
    QD_ATTR_MODEL = 1U << 0,
    QD_ATTR_FAMILY = 1U << 1,
    QD_ATTR_POOL = 1U << 2,
    QD_ATTR_USER = 1U << 3,
    QD_ATTR_LABEL = 1U << 4,  /* `per: label:NAME`; the label's name is in per_label */
    QD_ATTR_TENANT = 1U << 5, /* for cross-tenant limits split by the request's whole path */
};

/* One weight: the limit counts num/weight_den units for each unit of `meter`. May be negative. */
struct qd_weight {
    uint8_t meter;
    int32_t num; /* |num| <= 10^6 */
};

#define QD_WEIGHTS_MAX 12

/* Σ num*amount / den, rounded up, floored at 0. */
struct qd_weights {
    uint8_t count;
    int32_t den; /* 1..10^6 */
    struct qd_weight item[QD_WEIGHTS_MAX];
};

/* A selector's test of one attribute: matches if `negate` != (value in set). "*" means present. */
struct qd_match {
    uint32_t attribute;     /* one enum qd_attribute bit */
    const char *label;      /* for QD_ATTR_LABEL */
    const char *const *any; /* alternatives, exact; NULL: any present value */
    size_t any_count;
    bool negate;
};

#define QD_THRESHOLDS_MAX 8

struct qd_limit {
    uint32_t index;   /* in the intern table */
    const char *name; /* "requests", "tokens", ... unique in its scope */
    const char
        *owner; /* the rest of the full name: "free" (a plan), "pool:h100", "model:gpt-4o",
                   "global"; NULL: the tenant path that the counter is for. Not in the identity */
    struct qd_hash128 identity; /* P6: scope kind, name, algorithm, window, S, per, unit */
    uint64_t spec;              /* hash of all of it, the same in every process */

    enum qd_algorithm algorithm;
    enum qd_admit_test admit_test;
    enum qd_action action;
    enum qd_consistency consistency;
    enum qd_failure_mode failure_mode;

    int64_t window_ns; /* buckets, fixed, sliding: 1 s .. 1 year */
    uint16_t slots;    /* sliding: S, 1..60 */
    bool weighted;     /* sliding: weighted instead of strict */
    struct qd_calendar calendar;

    uint32_t per;          /* mask of enum qd_attribute */
    const char *per_label; /* with QD_ATTR_LABEL */
    const struct qd_match *selector;
    size_t selector_count;

    /* Weights name counted meters only: derived ones (`tokens`, the policy's sums) are expanded by
     * the compiler of policies. `max_output_tokens` in `admit` is the weight of output_tokens. */
    struct qd_weights admit;  /* what a check holds */
    struct qd_weights settle; /* what a report books */
    enum qd_output_estimate output_estimate;
    uint16_t quantile_permille;        /* 500..999, for QD_OUTPUT_QUANTILE */
    int64_t default_max_output;        /* 0: the model's maximum */
    uint16_t clamp_permille_of_amount; /* 0: no clamp; else the estimate is at most this part of the
                                          amount */
    bool refunds;  /* false: Azure PAYG, settle never lowers a charge before the reset */
    bool unbooked; /* what it counts is in no ledger (I3): long windows are no budgets either */

    enum qd_keep on_expiry; /* S5 */
    enum qd_keep on_failed; /* S4 */

    uint16_t threshold_permille[QD_THRESHOLDS_MAX]; /* ascending, 0-terminated unless full */
    const char *unit;   /* shown to people: "requests", "tokens", "USD", "GPU-s" */
    int64_t unit_scale; /* counted units in one shown unit: 10^9 for USD, 1000 for GPU-s, else 1 */
    bool money;         /* the unit is nano-USD */
};

/* One use of a limit: a plan's, a tenant's, a pool's or model's. */
struct qd_limit_use {
    const struct qd_limit *limit;
    int64_t amount;     /* > 0, or 0 to forbid */
    int64_t burst;      /* buckets: capacity; otherwise 0 */
    const char *origin; /* "plan pro", "tenant acme/search", "pool h100", "PutTenant" */
    const char *file;   /* NULL for run-time limits */
    uint32_t line;
    uint32_t column;
};

/* True for a limit that keeps used and held apart: calendar, fixed >= 1 h, prepaid (D7). */
static inline bool qd_limit_is_budget(const struct qd_limit *l)
{
    return l->algorithm == QD_CALENDAR || l->algorithm == QD_PREPAID ||
           (l->algorithm == QD_FIXED_WINDOW && l->window_ns >= QD_NS_PER_HOUR && !l->unbooked);
}

/* Σ num*amount / den over `u`, rounded up; negative sums count 0; saturates at INT64_MAX. */
int64_t qd_weights_apply(const struct qd_weights *w, const struct qd_usage *u);

#endif /* QD_CORE_LIMIT_H */
