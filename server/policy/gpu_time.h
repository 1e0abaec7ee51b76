/* How much GPU-time a check's tokens are taken to need, where the check itself does not say.
 *
 * Layer:    policy
 * Units:    microseconds of GPU-time for one token.
 * Threads:  pure; the caller keeps the policy alive.
 */
#ifndef QD_POLICY_GPU_TIME_H
#define QD_POLICY_GPU_TIME_H

#include "server/core/policy.h"

/* What is assumed of a model whose GPU-time costs something and whose "gpu_time" says nothing. An
 * estimate of 0 would make hard budgets hold $0 (H1, P8), so this is on the large side: what
 * `quotactl replay` reports too. */
#define QD_GPU_US_PER_INPUT_TOKEN  100
#define QD_GPU_US_PER_OUTPUT_TOKEN 2000

struct qd_gpu_time {
    int64_t us_per_input_token;
    int64_t us_per_output_token;
};

/* Of `model` in `pool`; both may be NULL (unknown, none). What the model's "gpu_time" leaves out is
 * the default where GPU-time has a price (the model's, the pool's, the cap's), else 0. */
struct qd_gpu_time qd_gpu_time_of(const struct qd_policy *policy, const struct qd_model *model,
                                  const struct qd_pool *pool);

/* True if some line of `list` prices one of `meters` (bits). */
bool qd_price_list_prices(const struct qd_price_list *list, uint32_t meters);

#endif /* QD_POLICY_GPU_TIME_H */
