/* Limits and denials in words, for people (D3, I8): "free.tokens 39,200 used + 1,600 estimated >
 * 40,000/min; retry in 12.4 s".
 *
 * Layer:    shard
 * Threads:  none of its own.
 * Memory:   texts are the caller's; what is too long is cut off.
 */
#ifndef QD_SHARD_DESCRIBE_H
#define QD_SHARD_DESCRIBE_H

#include "server/shard/request.h"

/* A text being built. */
struct qd_text {
    char *at;
    size_t used;
    size_t room; /* without the NUL */
};

void qd_text_init(struct qd_text *text, char *buffer, size_t size);
void qd_text_add(struct qd_text *text, const char *more);
void qd_text_add_str(struct qd_text *text, struct qd_str more);
void qd_text_add_int(struct qd_text *text, int64_t value);
__attribute__((format(printf, 2, 3))) void qd_text_addf(struct qd_text *text, const char *format,
                                                        ...);

/* An amount in the limit's unit: "39,200", "$0.41", "12.5 GPU-s". */
void qd_describe_amount(struct qd_text *text, const struct qd_limit *limit, int64_t amount);
/* Amount and window: "40,000/min", "$500/month (Europe/Berlin)", "20". */
void qd_describe_size(struct qd_text *text, const struct qd_limit *limit, int64_t amount);
/* Full name: "free.tokens". */
void qd_describe_name(struct qd_text *text, const struct qd_limit_state *state);
/* "12.4 s", "3 min 5 s", "2 h 10 min". */
void qd_describe_wait(struct qd_text *text, int64_t wait_ns);
/* UTC, to the second: "2026-12-01T00:00:00Z". */
void qd_describe_time(struct qd_text *text, struct qd_wall_ns at);

/* Why a limit denies. */
void qd_describe_denial(struct qd_text *text, const struct qd_limit_state *state,
                        struct qd_wall_ns now, bool retry_useful, int64_t retry_after_ns);

/* What is counted: "tokens", "input_tokens + 5*output_tokens". */
void qd_describe_meters(struct qd_text *text, const struct qd_policy *policy,
                        const struct qd_weights *weights);

/* The unit on the wire: "nano_usd" for money. */
const char *qd_describe_unit(const struct qd_limit *limit);

#endif /* QD_SHARD_DESCRIBE_H */
