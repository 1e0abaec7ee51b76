/* Taking stored counters in again at boot (X5). Holds: saved_hold.c; estimators: estimator.c. */
#include "codec.h"
#include "root.h"

bool qd_core_saved_counter(const struct qd_saved *saved, struct qd_saved_counter *ret_counter)
{
    struct qd_codec_head head;
    if (!qd_codec_open(saved, &head)) {
        return false;
    }
    *ret_counter = head.counter;
    return true;
}

enum qd_load qd_core_load_counter(struct qd_core *core, const struct qd_limit *limit,
                                  const struct qd_saved *saved, struct qd_wall_ns now)
{
    struct qd_codec_head head;
    struct qd_at at;
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    if (!qd_codec_open(saved, &head)) {
        return QD_LOAD_BAD;
    }
    const struct qd_saved_counter *c = &head.counter;
    struct qd_bind_item item = {.limit = limit,
                                .amount = c->amount,
                                .burst = c->burst,
                                .counter = saved->id,
                                .depth = c->depth,
                                .name = c->name};
    if (qd_table_find(core, saved->id, &at)) {
        return QD_LOAD_BAD; /* twice */
    }
    if (c->depth > 0 && qd_root_obtain(core, c->name, seen) == QD_SLAB_NONE) {
        return QD_LOAD_FULL;
    }
    if (!qd_table_make(core, &item, seen, &at)) {
        return QD_LOAD_FULL;
    }
    if (!qd_codec_read(&at, &head, seen)) {
        qd_table_drop(&at);
        return QD_LOAD_BAD;
    }
    if (!head.counter.leased && qd_counter_is_fresh(&at, seen)) {
        qd_table_drop(&at);
        return QD_LOAD_OVER;
    }
    at.counter->stored = 1;
    return QD_LOADED;
}
