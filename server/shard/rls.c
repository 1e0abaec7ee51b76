#include "server/shard/rls.h"

#include "server/policy/intern.h"
#include "server/shard/bind.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ROOT_BYTES 5U /* "~abc/" */
#define SLOTS      60U

const struct qd_limit *qd_rls_limit(int64_t window_ns, bool sliding)
{
    static const struct qd_weights requests = {
        .count = 1, .den = 1, .item = {{.meter = QD_METER_REQUESTS, .num = 1}}};
    char name[32];
    (void)snprintf(name, sizeof(name), "%llds", (long long)(window_ns / QD_NS_PER_S));
    struct qd_limit limit = {.name = name,
                             .owner = "rls",
                             .algorithm = sliding ? QD_SLIDING_WINDOW : QD_FIXED_WINDOW,
                             .failure_mode = QD_FAIL_CLOSED, /* the caller has its own rule */
                             .window_ns = window_ns,
                             .slots = sliding ? SLOTS : 0,
                             .admit = requests,
                             .settle = requests,
                             .refunds = true,
                             .unbooked = true,
                             .unit = "requests",
                             .unit_scale = 1};

    return qd_intern_limit(&limit, "rls");
}

/* "~abc/" and the name: the root spreads counters over the slices. */
static struct qd_str name_of(const struct qd_rls_hits *hits,
                             char text[ROOT_BYTES + QD_RLS_NAME_MAX + 1])
{
    size_t len = hits->name.len < QD_RLS_NAME_MAX ? hits->name.len : QD_RLS_NAME_MAX;

    (void)snprintf(text, ROOT_BYTES + 1, "~%03x/", (unsigned)(hits->counter.hi >> 52));
    if (len > 0) {
        memcpy(text + ROOT_BYTES, hits->name.ptr, len);
    }
    return (struct qd_str){text, ROOT_BYTES + len};
}

/* Of the counter with this amount: another amount is another binding of it (P6). */
static struct qd_hash128 binding_key(const struct qd_rls_hits *hits)
{
    struct qd_hash128 key = hits->counter;

    key.lo ^= (uint64_t)(hits->amount + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return key;
}

/* With the home shard locked. False: no room. */
static bool bind(struct qd_worker *worker, const struct qd_published *published,
                 struct qd_shard *home, const struct qd_rls_hits *hits, struct qd_str name,
                 struct qd_wall_ns now)
{
    struct qd_node *node = worker->node;
    struct qd_limit_state state;
    struct qd_bind bind = {.key = binding_key(hits),
                           .epoch = published->policy->epoch,
                           .valid_until = {QD_WALL_NEVER},
                           .tenant = {name.ptr, ROOT_BYTES - 1},
                           .since = qd_frontier_through(&node->frontier),
                           .items = worker->items,
                           .item_count = 1};

    worker->items[0] = (struct qd_bind_item){.limit = hits->limit,
                                             .amount = hits->amount,
                                             .counter = hits->counter,
                                             .depth = 1,
                                             .name = name};
    return qd_bind_items(worker, home, &bind, now, &state) == QD_BIND_DONE;
}

static enum qd_result settle(struct qd_worker *worker, const struct qd_published *published,
                             struct qd_shard *home, const struct qd_rls_hits *hits, int64_t count,
                             struct qd_wall_ns now)
{
    struct qd_settled settled;
    struct qd_settle s = {.binding = binding_key(hits),
                          .epoch = published->policy->epoch,
                          .charged_at = now,
                          .outcome = QD_OUTCOME_OK,
                          .takes_back = count < 0};

    qd_usage_set(&s.used, QD_METER_REQUESTS, count < 0 ? -count : count);
    return qd_core_settle(home->core, qd_shards_commons(&worker->node->shards), &s, now, &settled);
}

/* With the home shard locked, and bound. */
static int64_t used_now(const struct qd_shard *home, const struct qd_rls_hits *hits,
                        struct qd_wall_ns now, struct qd_limit_state *ret_state)
{
    bool there = qd_core_counter(home->core, hits->counter, now, ret_state);

    assert(there);
    (void)there;
    return ret_state->used;
}

/* With the home shard locked. */
static enum qd_error_code count_locked(struct qd_worker *worker,
                                       const struct qd_published *published, struct qd_shard *home,
                                       const struct qd_rls_hits *hits, struct qd_str name,
                                       struct qd_wall_ns now, struct qd_rls_counted *ret_counted,
                                       struct qd_error *ret_error)
{
    struct qd_limit_state state;
    /* What is given back, or fits, depends on what is there. */
    int64_t first = hits->hits > 0 && !hits->if_it_fits ? hits->hits : 0;

    if (settle(worker, published, home, hits, first, now) == QD_RESULT_NEEDS_BINDING &&
        (!bind(worker, published, home, hits, name, now) ||
         settle(worker, published, home, hits, first, now) != QD_OK)) {
        return qd_error_set(ret_error, QD_ERROR_OVERLOADED,
                            "no room for another counter, or its state cannot be read; raise "
                            "--max-counters, or see /readyz");
    }
    int64_t used = used_now(home, hits, now, &state);
    int64_t before = used - first;
    int64_t rest = hits->hits - first;
    bool over = hits->hits >= 0 && before + hits->hits > hits->amount;
    if (rest < 0 || (rest > 0 && !over)) {
        (void)settle(worker, published, home, hits, rest < -before ? -before : rest, now);
        used = used_now(home, hits, now, &state);
    }
    *ret_counted = (struct qd_rls_counted){
        .before = before, .used = used, .over = over, .now = now, .resets_at = state.resets_at};
    return QD_ERROR_NONE;
}

enum qd_error_code qd_rls_count(struct qd_worker *worker, const struct qd_rls_hits *hits,
                                struct qd_rls_counted *ret_counted, struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;
    const struct qd_published *published =
        atomic_load_explicit(&node->published, memory_order_acquire);
    char text[ROOT_BYTES + QD_RLS_NAME_MAX + 1];
    struct qd_str name = name_of(hits, text);
    struct qd_shard *home = qd_shards_of(&node->shards, name);

    qd_shards_lock(&node->shards, home);
    /* Not before: a slice that has seen the next window counts nothing in the last one. */
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    enum qd_error_code code =
        count_locked(worker, published, home, hits, name, now, ret_counted, ret_error);
    qd_shards_unlock(&node->shards, home);
    return code;
}
