/* One limit while it is being compiled. Internal to limit_*.c.
 *
 * Threads, memory: the compiler's.
 */
#ifndef QD_POLICY_LIMIT_DRAFT_H
#define QD_POLICY_LIMIT_DRAFT_H

#include "server/policy/amount.h"
#include "server/policy/compile.h"

/* The keys of a limit's long form, in the order in which messages name them. */
#define QD_LIMIT_KEYS(X)                        \
    X(LIMIT, "limit")                           \
    X(WINDOW, "window")                         \
    X(METER, "meter")                           \
    X(WEIGHTS, "weights")                       \
    X(ADMIT, "admit")                           \
    X(SETTLE, "settle")                         \
    X(UNIT, "unit")                             \
    X(ALGORITHM, "algorithm")                   \
    X(BURST, "burst")                           \
    X(SLOTS, "slots")                           \
    X(WEIGHTED, "weighted")                     \
    X(ZONE, "zone")                             \
    X(ANCHOR, "anchor")                         \
    X(PER, "per")                               \
    X(MATCH, "match")                           \
    X(HARD, "hard")                             \
    X(TEST, "test")                             \
    X(ACTION, "action")                         \
    X(FAILURE_MODE, "failure_mode")             \
    X(WARN, "warn")                             \
    X(OUTPUT, "output")                         \
    X(QUANTILE, "quantile")                     \
    X(DEFAULT_MAX_OUTPUT, "default_max_output") \
    X(CLAMP, "clamp")                           \
    X(REFUNDS, "refunds")                       \
    X(ON_EXPIRY, "on_expiry")                   \
    X(ON_FAILED, "on_failed")

enum qd_limit_key {
#define X(id, name) QD_KEY_##id,
    QD_LIMIT_KEYS(X)
#undef X
    QD_KEY_COUNT
};

struct qd_limit_draft {
    struct qd_compiler *c;
    const struct qd_at *at;
    const struct qd_node *key;
    const struct qd_node *value;
    const struct qd_limit_scope *scope;
    const struct qd_node
        *given[QD_KEY_COUNT]; /* NULL: not given. LIMIT: the scalar of the short form */
    struct qd_limit spec;
    struct qd_counted counted;
    int64_t amount;
    int64_t burst;
    bool has_amount;
    bool has_span;
    struct qd_span span;
    const char *span_text; /* as written */
    bool is_per_request;   /* "4096/request" */
    bool is_prepaid;       /* "prepaid" */
    bool is_bad;           /* something was reported */
};

/* Report an error at the value of `key` (at the limit's name if it is not given). */
void qd_draft_fail(struct qd_limit_draft *d, enum qd_limit_key key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The path of a key below the limit. */
struct qd_at qd_draft_at(const struct qd_limit_draft *d, enum qd_limit_key key);

/* limit, window, algorithm, burst, slots, weighted, zone, anchor: what and how long (P4). */
void qd_draft_window(struct qd_limit_draft *d);

/* per, match (P3). */
void qd_draft_selector(struct qd_limit_draft *d);

/* The rest, with defaults that depend on the algorithm, and what must not be combined (P3, H1, H7).
 */
void qd_draft_options(struct qd_limit_draft *d);

#endif /* QD_POLICY_LIMIT_DRAFT_H */
