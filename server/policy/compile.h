/* What the parts of the policy compiler share: the policy under construction, places and paths,
 * errors. Internal to this folder.
 *
 * Threads:  one compiler belongs to one thread.
 * Memory:   everything that is compiled lives in `arena`; leaving without memory goes to its `oom`.
 */
#ifndef QD_POLICY_COMPILE_H
#define QD_POLICY_COMPILE_H

#include "server/core/policy.h"
#include "server/policy/arena.h"
#include "server/policy/node.h"
#include "server/policy/policy_file.h"
#include "server/policy/suggest.h"

/* Whose limits are read. */
struct qd_limit_scope {
    const char *kind;   /* of the identity: "tenant", "pool h100", "model gpt-4o", "global" */
    const char *owner;  /* qd_limit.owner */
    const char *origin; /* qd_limit_use.origin */
    bool is_shared;     /* by all tenants */
    const struct qd_plan *plan; /* whose limits these replace; NULL: none */
    /* The requests that these limits see; NULL: all. */
    const char *model;
    const char *pool;
    const char *tenant; /* a path or a pattern */
};

/* A hard limit's promise depends on the models and prices, and what a selector can meet on the
 * tenants, too: checked at the end (H1, P1). */
struct qd_pending_check {
    const struct qd_limit *limit;
    const struct qd_node *node;
    const char *path;
    struct qd_limit_scope scope;
    const struct qd_node *match; /* NULL: not at hand */
};

struct qd_compiler {
    struct qd_arena *arena;
    const char *file;   /* in messages; "" for run-time limits */
    const char *folder; /* of imports; NULL: none are accepted */
    struct qd_problems *problems;
    struct qd_policy *policy; /* under construction; the final one for run-time limits */
    bool is_runtime;

    /* The arrays behind the policy's const ones. */
    struct qd_model *models;
    struct qd_pool *pools;
    const char **labels;
    size_t label_capacity;
    struct qd_pending_check *pending;
    size_t pending_count;
    size_t pending_capacity;
    struct qd_import *imports;
    size_t import_count;
    size_t import_capacity;
    bool has_pools_section;
    const char *meter_names; /* see qd_meter_names; NULL: not made yet */
};

/* A place in the policy as people see it: "plans.pro.tokens"; a chain on the stack. */
struct qd_at {
    const struct qd_at *up;
    const char *name; /* NULL only at the top */
};

/* The path of `at` as text in the arena; "" at the top. */
const char *qd_at_text(struct qd_compiler *c, const struct qd_at *at);

/* Report an error (a warning) about `node` at `at`: "file:line:col: path: message". */
void qd_fail(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
             const char *format, ...) __attribute__((format(printf, 4, 5)));
void qd_warn(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
             const char *format, ...) __attribute__((format(printf, 4, 5)));

/* "; did you mean \"x\"?" or "". In the arena. */
const char *qd_did_you_mean(struct qd_compiler *c, const struct qd_suggest *s);

/* --- maps with known keys -----------------------------------------------------------------------
 */

struct qd_field {
    const char *name;
    void (*read)(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *value,
                 void *object);
};

/* Read a map by a table of its keys; unknown ones are reported. False if it is no map. Null is an
 * empty map. */
bool qd_read_fields(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                    const struct qd_field *fields, size_t count, void *object);

/* Report an unknown key, with what is accepted. */
void qd_unknown_key(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                    const struct qd_field *fields, size_t count);

/* True if `node` is a map; null counts as an empty one. Else reported: "... is a list; a map of X
 * is accepted". */
bool qd_expect_map(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                   const char *of_what);

/* --- single values ------------------------------------------------------------------------------
 */

struct qd_word {
    const char *name;
    int value;
};

/* One of `words`; false and reported otherwise. `what` is the noun: "algorithm". */
bool qd_read_word(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                  const char *what, const struct qd_word *words, size_t count, int *ret_value);
bool qd_read_bool(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                  bool *ret_value);
/* A whole number with k, M, G in min..max (a count of `scale` units, see qd_amount_parse). */
bool qd_read_amount(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                    int64_t min, int64_t max, int64_t *ret_value);
/* "80%" or "99.5%": tenths of a percent, min..max. */
bool qd_read_permille(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                      int min, int max, uint16_t *ret_permille);
/* A length of time with a fixed length in min..max ns. */
/* "35d", "90s": in the arena. */
const char *qd_duration_text(struct qd_compiler *c, int64_t ns);
bool qd_read_duration(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                      int64_t min_ns, int64_t max_ns, int64_t *ret_ns);
/* A name for people: UTF-8, 1..127 bytes, no control characters. NULL and reported otherwise. */
const char *qd_read_name(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node);
/* A word of [a-zA-Z0-9._-], 1..63 bytes: names of plans and limits. */
const char *qd_read_ident(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                          const char *what);

/* --- limits -------------------------------------------------------------------------------------
 */

struct qd_use_list {
    struct qd_limit_use *uses;
    size_t count;
    size_t capacity;
};

/* Compile `name: value` and append it; errors are reported and append nothing. */
void qd_compile_limit(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *key,
                      const struct qd_node *value, const struct qd_limit_scope *scope,
                      struct qd_use_list *list);

/* Every key of `node` is a limit. */
void qd_compile_limits(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                       const struct qd_limit_scope *scope, struct qd_use_list *list);

/* What a meter's name in a limit stands for. */
struct qd_counted {
    int meter;     /* index */
    int64_t scale; /* counted units in one written unit */
    const char *unit;
    int64_t unit_scale;
    bool is_money;
};

/* "tokens", "gpu_seconds", a policy's own; false if there is no such meter. */
bool qd_meter_lookup(const struct qd_policy *policy, const char *name,
                     struct qd_counted *ret_counted);
/* Offers all names that qd_meter_lookup knows. */
void qd_meter_suggest(const struct qd_policy *policy, struct qd_suggest *s);
/* All meter names for "accepted: ...". In the arena. */
const char *qd_meter_names(struct qd_compiler *c);

/* A map of meters and weights, `tokens` and other derived ones expanded. False and reported on
 * error. */
bool qd_read_weights(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node,
                     bool is_admit, struct qd_weights *ret_weights);
/* Weight 1 of one meter, expanded if it is derived. */
void qd_weights_of_meter(const struct qd_policy *policy, int meter, struct qd_weights *ret_weights);

/* --- sections -----------------------------------------------------------------------------------
 */

void qd_compile_meters(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node);
/* Models and pools: names first, so that limits may refer to them; their limits later. */
void qd_compile_models(struct qd_compiler *c, const struct qd_node *models,
                       const struct qd_node *pools);
void qd_compile_model_limits(struct qd_compiler *c, const struct qd_node *models,
                             const struct qd_node *pools);
void qd_compile_plans(struct qd_compiler *c, const struct qd_node *node);
void qd_compile_tenants(struct qd_compiler *c, const struct qd_node *node);
void qd_compile_prices(struct qd_compiler *c, const struct qd_node *node);
void qd_compile_unknown_price(struct qd_compiler *c, const struct qd_node *node);

/* The checks of one limit that need the whole policy: H1's bounded estimates, prices behind money.
 */
void qd_check_limit(struct qd_compiler *c, const struct qd_pending_check *check, bool has_prices);
/* P1: a selector that accepts no request of the limit's scope is an error. */
/* L7: ledger_retention keeps what a budget counts, and what reports may still repeat. */
void qd_check_budget_kept(struct qd_compiler *c, const struct qd_pending_check *check);
void qd_check_retention(struct qd_compiler *c, const struct qd_node *root);
void qd_check_reach(struct qd_compiler *c, const struct qd_pending_check *check);
/* All of the policy's own. */
void qd_check_policy(struct qd_compiler *c, const struct qd_node *root);

/* Look-up among the compiled ones by plain name (the arrays are sorted). */
const struct qd_model *qd_find_model(const struct qd_policy *p, const char *name);
const struct qd_pool *qd_find_pool(const struct qd_policy *p, const char *name);
const struct qd_plan *qd_find_plan(const struct qd_policy *p, const char *name);
/* The same, to be written to. Only while the policy is compiled. */
struct qd_model *qd_own_model(const struct qd_compiler *c, const struct qd_model *model);
struct qd_pool *qd_own_pool(const struct qd_compiler *c, const struct qd_pool *pool);
/* Report an unknown model, pool or plan with a suggestion. */
void qd_unknown_model(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node);
void qd_unknown_pool(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node);
void qd_unknown_plan(struct qd_compiler *c, const struct qd_at *at, const struct qd_node *node);

#endif /* QD_POLICY_COMPILE_H */
