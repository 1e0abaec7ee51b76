/* A compiled policy: what the YAML file says, in flat arrays that the pure core can walk.
 *
 * Layer:    core (pure). Built by server/policy; matching and look-up are here.
 * Threads:  immutable once published; readers hold it for the length of one call.
 * Memory:   everything hangs from the builder's arena and is freed with the policy; limit specs and
 *           zones are interned and outlive it.
 */
#ifndef QD_CORE_POLICY_H
#define QD_CORE_POLICY_H

#include "limit.h"
#include "price.h"
#include "types.h"

struct qd_meter_def {
    const char *name;
    const char *unit;
    bool builtin;
    bool derived; /* computed as `weights` of others; never reported */
    struct qd_weights weights;
};

/* The policy says nothing of a model's GPU-time. */
#define QD_GPU_TIME_DEFAULT (-1)

struct qd_model {
    const char *name;
    const char *family;        /* NULL: itself */
    const char *pool;          /* NULL: none */
    int64_t max_output_tokens; /* 0: unknown, or none */
    bool no_output;            /* none, as of an embedding model */
    int64_t max_input_tokens;  /* 0: unknown */
    /* GPU-time where a check gives none; 0: none; QD_GPU_TIME_DEFAULT: see qd_gpu_time_of. */
    int64_t gpu_us_per_input_token;
    int64_t gpu_us_per_output_token;
    bool priced_by_gpu_time;           /* by a line of its own, in either book */
    struct qd_price_list cost;         /* count 0: not priced */
    struct qd_price_list charge;       /* count 0: as the cost */
    const struct qd_limit_use *limits; /* shared by all tenants */
    size_t limit_count;
};

struct qd_pool {
    const char *name;
    bool priced_by_gpu_time; /* in either book */
    struct qd_price_list cost;
    struct qd_price_list charge;
    const struct qd_limit_use *limits; /* shared by all tenants */
    size_t limit_count;
};

struct qd_plan {
    const char *name;
    const struct qd_limit_use *limits;
    size_t limit_count;
};

/* What the policy says of a tenant path or pattern ("acme", "acme/search", "*", "acme/STAR" with
 * STAR = *). A `*` segment stands for exactly one segment. */
struct qd_tenant_rule {
    const char *pattern;
    bool is_pattern;
    uint8_t segments;
    const struct qd_plan *plan;        /* NULL: none of its own */
    const struct qd_limit_use *limits; /* its own; one with a plan limit's name replaces that */
    size_t limit_count;
    bool blocked;
    uint32_t line;
};

enum qd_unknown_price {
    QD_UNKNOWN_PRICE_DENY,
    QD_UNKNOWN_PRICE_CAP,
    QD_UNKNOWN_PRICE_UNPRICED
};

struct qd_policy {
    uint64_t revision;         /* 1, 2, ... by this process; shown as r1, r2 */
    uint32_t epoch;            /* what bindings compare; differs from every earlier policy's */
    struct qd_hash128 content; /* of the source bytes */

    const struct qd_meter_def *meters; /* index = enum qd_meter, then custom ones */
    size_t meter_count;                /* <= QD_METERS_MAX */
    const struct qd_model *models;     /* sorted by name */
    size_t model_count;
    const struct qd_pool *pools; /* sorted by name */
    size_t pool_count;
    const struct qd_plan *plans; /* sorted by name */
    size_t plan_count;
    const struct qd_tenant_rule
        *tenants; /* exact ones first, sorted by name; then patterns, most specific first */
    size_t tenant_exact_count;
    size_t tenant_count;
    const struct qd_plan *default_plan; /* NULL: unknown tenants are denied (P2) */
    const struct qd_limit_use *limits;  /* global, shared by all tenants */
    size_t limit_count;

    enum qd_unknown_price unknown_price; /* P8 */
    struct qd_price_list cap_price;      /* for QD_UNKNOWN_PRICE_CAP */
    bool cap_by_gpu_time;                /* the cap has a price of GPU-time */
    int64_t reservation_ttl_ns;
    int64_t report_horizon_ns;        /* S6, default 35 days */
    int64_t ledger_retention_ns;      /* L7; 0: entries are kept for ever */
    const char *const *rollup_labels; /* <= 4 (L4) */
    size_t rollup_label_count;
    const char *const *
        attribute_labels; /* labels that some limit selects or splits by: part of the binding key */
    size_t attribute_label_count;
    bool uses_user;     /* some limit selects or splits by user */
    bool uses_quantile; /* some limit estimates outputs by quantile */
    bool uses_money;    /* some limit weighs cost or charge */
    bool dev;           /* --dev: any tenant, any model, one generous plan */
};

struct qd_label {
    struct qd_str name;
    struct qd_str value;
};

/* What a request says of itself, for matching. `family` and `pool` are filled in from the model. */
struct qd_attributes {
    struct qd_str tenant; /* valid path (P2) */
    struct qd_str model;
    struct qd_str family;
    struct qd_str pool;
    struct qd_str user;
    const struct qd_label *labels;
    size_t label_count;
};

/* One limit that applies to a request, before it has a counter. */
struct qd_applied {
    const struct qd_limit_use *use;
    uint8_t
        depth; /* 1..8: the ancestor (in segments) that it counts for; 0: shared by all tenants */
    struct qd_hash128 counter; /* identity of the counter: (scope, limit identity, values of per) */
};

/* Rule for exactly this path: exact, else the most specific pattern, else NULL. */
const struct qd_tenant_rule *qd_policy_tenant_rule(const struct qd_policy *p, struct qd_str path);

const struct qd_model *qd_policy_model(const struct qd_policy *p, struct qd_str name);
const struct qd_pool *qd_policy_pool(const struct qd_policy *p, struct qd_str name);
const struct qd_plan *qd_policy_plan(const struct qd_policy *p, struct qd_str name);

/* Index of a meter by name, or -1. */
int qd_policy_meter(const struct qd_policy *p, struct qd_str name);

/* True if `limit`'s selector accepts `a`. */
bool qd_limit_selects(const struct qd_limit *limit, const struct qd_attributes *a);

/* Identity of the counter that `limit` keeps for `a` at `depth` (see struct qd_applied). `seed` is
 * the cluster's hash secret. */
struct qd_hash128 qd_counter_identity(const struct qd_limit *limit, const struct qd_attributes *a,
                                      uint8_t depth, uint64_t seed);

/* Fill the derived meters of `u` (`tokens`, the policy's sums) from the others. */
void qd_policy_derive(const struct qd_policy *p, struct qd_usage *u);

/* Checks P2's form of a path: 1-8 segments of 1-63 of [a-zA-Z0-9._-]. */
bool qd_tenant_path_valid(struct qd_str path);
/* The first `depth` segments of a valid path. */
struct qd_str qd_tenant_path_prefix(struct qd_str path, uint8_t depth);
uint8_t qd_tenant_path_depth(struct qd_str path);

#endif /* QD_CORE_POLICY_H */
