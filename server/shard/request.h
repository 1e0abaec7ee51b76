/* Requests as plain values: what the gateways' calls ask and what they are answered. No gRPC, no
 * protobuf: server/rpc turns messages into these and back.
 *
 * Layer:    shard
 * Units:    as in proto/quota/v1: times in wall ns, durations in ns (ttl in ms), amounts in meters'
 * units. Threads:  values only. Memory:   strings of arguments are the caller's, for the call. An
 * answer owns its texts; it is large: keep one per thread.
 */
#ifndef QD_SHARD_REQUEST_H
#define QD_SHARD_REQUEST_H

#include "server/core/core.h"
#include "server/shard/error.h"
#include "server/shard/token.h"

struct qd_amount_arg {
    struct qd_str meter;
    int64_t amount;
};

struct qd_candidate_arg {
    struct qd_str model;
    struct qd_str pool;
    struct qd_str provider;
};

/* More than the bounds, so that one too many is seen and refused, not cut off. */
#define QD_ARG_LABELS     (QD_LABELS_MAX + 1)
#define QD_ARG_METERS     (QD_METERS_MAX + 1)
#define QD_ARG_CANDIDATES (QD_CANDIDATES_MAX + 1)

/* `..._count` counts what came; only the first QD_ARG_... are kept. */
struct qd_check_args {
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_str request_id;
    struct qd_label labels[QD_ARG_LABELS];
    size_t label_count;
    struct qd_amount_arg estimate[QD_ARG_METERS];
    size_t estimate_count;
    struct qd_candidate_arg candidates[QD_ARG_CANDIDATES];
    size_t candidate_count;
    int64_t max_output_tokens;
    int64_t event_time_ns;
    int64_t ttl_ms;
    uint32_t attempt;
    uint32_t priority;
    uint32_t weight;
    uint32_t tier;            /* as on the wire: range not yet checked */
    uint32_t cache_write_ttl; /* as on the wire */
    bool max_output_given;
    bool event_time_given;
    bool dry_run;
    bool no_reservation;
    bool instant; /* not on the wire: nobody will tell its end, see core.h */
    bool brief;
};

/* Why a check was denied: enum qd_reason and what only the shell knows. Numbers as on the wire. */
enum qd_denial {
    QD_DENIAL_NONE = 0,
    QD_DENIAL_LIMIT = 1,
    QD_DENIAL_NEVER_FITS = 2,
    QD_DENIAL_UNKNOWN_TENANT = 3,
    QD_DENIAL_BLOCKED = 4,
    QD_DENIAL_UNKNOWN_PRICE = 5,
    QD_DENIAL_CAPACITY = 6,
    QD_DENIAL_DRAINING = 7,
    QD_DENIAL_UNDECIDED = 8,
};

#define QD_STATE_NAME_MAX 768U
#define QD_SHADOW_MAX     16U
#define QD_MESSAGE_MAX    640U

/* A limit's state with a name of its own. */
struct qd_state_copy {
    struct qd_limit_state state; /* state.name points to `name` */
    char name[QD_STATE_NAME_MAX];
};

struct qd_check_answer {
    struct qd_wall_ns now;          /* when it was decided */
    const struct qd_policy *policy; /* that decided: names its meters; until the worker leaves */
    bool allowed;
    enum qd_denial denial;
    struct qd_verdict verdict; /* binding.name points into `binding_name` */
    char binding_name[QD_STATE_NAME_MAX];
    struct qd_state_copy shadow[QD_SHADOW_MAX];
    size_t shadow_count;
    int64_t retry_after_ns;
    bool retry_useful;
    bool retry_is_hint;
    char message[QD_MESSAGE_MAX]; /* denials only */
    size_t message_len;
    char token[QD_TOKEN_TEXT_MAX];
    size_t token_len; /* 0: no reservation */
    char id[QD_SHORT_ID_MAX];
    size_t id_len;
    uint64_t policy_revision;
    uint64_t number; /* of the reservation on this node, for an undeliverable answer */
};

struct qd_report_args {
    struct qd_str reservation;
    struct qd_str tenant;
    struct qd_str model;
    struct qd_str pool;
    struct qd_str user;
    struct qd_label labels[QD_ARG_LABELS];
    size_t label_count;
    struct qd_str source;
    struct qd_str request_id;
    uint32_t attempt;
    uint32_t sequence;
    bool partial;
    uint32_t outcome; /* as on the wire */
    struct qd_amount_arg usage[QD_ARG_METERS];
    size_t usage_count;
    uint32_t tier;
    uint32_t cache_write_ttl;
    bool event_time_given;
    int64_t event_time_ns;
};

/* Numbers as on the wire. */
enum qd_settlement {
    QD_SETTLEMENT_NONE = 1,
    QD_SETTLEMENT_PARTIAL = 2,
    QD_SETTLEMENT_CLOSED = 3,
    QD_SETTLEMENT_LATE = 4,
};

#define QD_PICO_TEXT_MAX 48U

struct qd_report_answer {
    const struct qd_policy *policy; /* as in qd_check_answer */
    bool duplicate;
    uint64_t entry_sequence;
    int64_t cost_nano;
    int64_t charge_nano;
    char cost_pico[QD_PICO_TEXT_MAX];
    char charge_pico[QD_PICO_TEXT_MAX];
    bool unpriced;
    uint32_t unpriced_meters; /* bits */
    enum qd_settlement settlement;
    struct qd_usage released;
    struct qd_usage overrun;
    uint32_t limits_over;
    uint64_t policy_revision;
};

struct qd_extend_args {
    struct qd_str reservation;
    struct qd_str tenant;
    struct qd_amount_arg used[QD_ARG_METERS];
    size_t used_count;
    int64_t ttl_ms;
};

struct qd_extend_answer {
    const struct qd_policy *policy; /* as in qd_check_answer */
    bool go_on;
    enum qd_denial denial;
    struct qd_state_copy stopping; /* limit NULL when told to go on */
    char message[QD_MESSAGE_MAX];
    size_t message_len;
    struct qd_wall_ns expires;
};

#endif /* QD_SHARD_REQUEST_H */
