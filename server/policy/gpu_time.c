#include "server/policy/gpu_time.h"

bool qd_price_list_prices(const struct qd_price_list *list, uint32_t meters)
{
    for (size_t i = 0; i < list->count; i++) {
        for (size_t k = 0; k < list->sheets[i].line_count; k++) {
            if (QD_METER_BIT(list->sheets[i].lines[k].meter) & meters) {
                return true;
            }
        }
    }
    return false;
}

struct qd_gpu_time qd_gpu_time_of(const struct qd_policy *policy, const struct qd_model *model,
                                  const struct qd_pool *pool)
{
    bool is_priced = policy->cap_by_gpu_time || (model != NULL && model->priced_by_gpu_time) ||
                     (pool != NULL && pool->priced_by_gpu_time);
    struct qd_gpu_time time = {
        model != NULL ? model->gpu_us_per_input_token : QD_GPU_TIME_DEFAULT,
        model != NULL ? model->gpu_us_per_output_token : QD_GPU_TIME_DEFAULT,
    };
    if (time.us_per_input_token == QD_GPU_TIME_DEFAULT) {
        time.us_per_input_token = is_priced ? QD_GPU_US_PER_INPUT_TOKEN : 0;
    }
    if (time.us_per_output_token == QD_GPU_TIME_DEFAULT) {
        time.us_per_output_token = is_priced ? QD_GPU_US_PER_OUTPUT_TOKEN : 0;
    }
    return time;
}
