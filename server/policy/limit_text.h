/* Limits as people read them: "40,000/min", "$500/month (Europe/Berlin)".
 *
 * Layer:    policy. Threads: any. Memory: the caller's buffers.
 */
#ifndef QD_POLICY_LIMIT_TEXT_H
#define QD_POLICY_LIMIT_TEXT_H

#include "server/core/limit.h"

#define QD_LIMIT_TEXT_MAX 256

/* An amount in the limit's unit, without the unit's name: "40,000", "$0.41", "12.5" (GPU-seconds).
 * Returns the length. */
size_t qd_limit_amount_text(const struct qd_limit *limit, int64_t amount,
                            char ret_text[QD_LIMIT_TEXT_MAX]);

/* Amount and window: "40,000/min", "$500/month (Europe/Berlin)", "20 at once", "4,096 a request".
 */
size_t qd_limit_text(const struct qd_limit *limit, int64_t amount,
                     char ret_text[QD_LIMIT_TEXT_MAX]);

/* The full name: "free.tokens", "pool:h100.requests"; `tenant` is the path of the counter for
 * limits that are a tenant's own: "acme/search.cost". Cut off at `size` - 1. */
size_t qd_limit_full_name(const struct qd_limit *limit, struct qd_str tenant, char *buffer,
                          size_t size);

/* "input_tokens + 5*output_tokens" with the policy's names; of the settle weights. */
struct qd_policy;
size_t qd_weights_text(const struct qd_policy *policy, const struct qd_weights *weights,
                       char ret_text[QD_LIMIT_TEXT_MAX]);

/* The words that a policy has for them. */
const char *qd_algorithm_text(enum qd_algorithm algorithm);

#endif /* QD_POLICY_LIMIT_TEXT_H */
