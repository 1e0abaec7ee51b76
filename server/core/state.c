#include "state.h"

void qd_state_of(const struct qd_at *at, struct qd_wall_ns now, struct qd_limit_state *ret_state)
{
    int64_t total = qd_counter_total(at, now);
    int64_t held = qd_counter_held(at);
    int64_t capacity = qd_counter_capacity(at);
    *ret_state = (struct qd_limit_state){
        .limit = at->limit,
        .amount = at->counter->amount,
        .burst = (int64_t)at->counter->burst,
        .depth = (uint8_t)at->counter->depth,
        .name = qd_table_name(at),
        .used = total - held,
        .held = held,
        .remaining = total < capacity ? capacity - total : 0,
        .resets_at = qd_counter_resets_at(at, now),
        .retry_at = now,
    };
}

void qd_state_for(const struct qd_at *at, int64_t cost, struct qd_wall_ns now,
                  struct qd_limit_state *ret_state)
{
    qd_state_of(at, now, ret_state);
    ret_state->estimate = cost;
    ret_state->denies = !qd_counter_fits(at, ret_state->used + ret_state->held, cost);
    if (!ret_state->denies) {
        return;
    }
    ret_state->never_fits = qd_counter_never_fits(at, cost);
    ret_state->retry_at = qd_counter_retry_at(at, cost, now, &ret_state->retry_is_hint);
}
