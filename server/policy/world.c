#include "server/policy/world.h"

#include "server/core/hash.h"
#include "server/policy/gpu_time.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SEED 0x71756f7461645f31ULL /* any fixed number: tests must not depend on it */

struct qd_world {
    const struct qd_policy *policy;
    struct qd_core *home;
    struct qd_core *commons;
    void *home_memory;
    void *commons_memory;
    struct qd_resolution resolution;
};

static const struct qd_core_config config = {
    .hash_seed = SEED,
    .narrow_windows = 512,
    .wide_windows = 512,
    .buckets = 512,
    .gauges = 512,
    .bindings = 512,
    .reservations = 4096,
    .progress = 256,
    .estimators = 64,
    .roots = 128,
    .name_bytes = 1U << 18,
};

static struct qd_core *new_core(void **ret_memory)
{
    size_t size = qd_core_memory(&config);
    assert(size > 0);
    size = (size + 63) & ~(size_t)63;
    void *memory = aligned_alloc(64, size);
    if (memory == NULL) {
        return NULL;
    }
    memset(memory, 0, size);
    *ret_memory = memory;
    return qd_core_init(memory, size, &config);
}

struct qd_world *qd_world_new(const struct qd_policy *policy)
{
    struct qd_world *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return NULL;
    }
    w->policy = policy;
    w->home = new_core(&w->home_memory);
    w->commons = w->home == NULL ? NULL : new_core(&w->commons_memory);
    if (w->commons == NULL) {
        qd_world_free(w);
        return NULL;
    }
    return w;
}

void qd_world_free(struct qd_world *world)
{
    if (world == NULL) {
        return;
    }
    free(world->home_memory);
    free(world->commons_memory);
    free(world);
}

static struct qd_hash128 binding_key(const struct qd_attributes *a)
{
    struct qd_hasher h;
    qd_hasher_init(&h, SEED);
    qd_hasher_str(&h, a->tenant);
    qd_hasher_str(&h, a->model);
    qd_hasher_str(&h, a->pool);
    qd_hasher_str(&h, a->user);
    for (size_t i = 0; i < a->label_count; i++) {
        qd_hasher_str(&h, a->labels[i].name);
        qd_hasher_str(&h, a->labels[i].value);
    }
    return qd_hasher_end(&h);
}

static struct qd_hash128 estimator_key(const struct qd_attributes *a)
{
    struct qd_hasher h;
    qd_hasher_init(&h, ~SEED);
    qd_hasher_str(&h, a->tenant);
    qd_hasher_str(&h, a->model);
    return qd_hasher_end(&h);
}

/* Resolves `a` and makes its binding. */
static enum qd_world_answer bind(struct qd_world *w, const struct qd_attributes *a,
                                 struct qd_hash128 key, struct qd_wall_ns now)
{
    struct qd_resolve_input in = {.policy = w->policy, .attributes = a, .now = now, .seed = SEED};
    struct qd_resolution *r = &w->resolution;
    struct qd_bind_item items[QD_LIMITS_PER_CHECK_MAX];
    qd_resolve(&in, r);
    if (r->status == QD_RESOLVE_UNKNOWN_TENANT) {
        return QD_WORLD_UNKNOWN_TENANT;
    }
    if (r->status == QD_RESOLVE_TOO_MANY) {
        return QD_WORLD_TOO_MANY_LIMITS;
    }
    for (size_t i = 0; i < r->count; i++) {
        items[i] = (struct qd_bind_item){
            .limit = r->limit[i].use->limit,
            .amount = r->limit[i].amount,
            .burst = r->limit[i].burst,
            .counter = r->limit[i].counter,
            .depth = r->limit[i].depth,
            .name = r->limit[i].name,
        };
    }
    struct qd_bind binding = {
        .key = key,
        .epoch = w->policy->epoch,
        .valid_until = r->valid_until,
        .tenant = a->tenant,
        .estimator = estimator_key(a),
        .blocked = r->blocked,
        .items = items,
        .item_count = r->count,
    };
    return qd_core_bind(w->home, w->commons, &binding, now, NULL) == QD_BOUND ? QD_WORLD_DECIDED
                                                                              : QD_WORLD_FULL;
}

static const struct qd_price_list *priced(const struct qd_price_list *list)
{
    return list != NULL && list->count > 0 ? list : NULL;
}

/* The price lists of a model and its pool, for both books; the charge defaults to the cost (P7). */
static void fill_prices(struct qd_candidate *c, const struct qd_model *model,
                        const struct qd_pool *pool)
{
    c->cost_model = model != NULL ? priced(&model->cost) : NULL;
    c->cost_pool = pool != NULL ? priced(&pool->cost) : NULL;
    c->charge_model = model != NULL ? priced(&model->charge) : NULL;
    c->charge_pool = pool != NULL ? priced(&pool->charge) : NULL;
    if (c->charge_model != NULL || c->charge_pool != NULL) {
        c->charge_model = c->charge_model != NULL ? c->charge_model : c->cost_model;
        c->charge_pool = c->charge_pool != NULL ? c->charge_pool : c->cost_pool;
    }
}

static void find_subjects(const struct qd_world *w, const struct qd_attributes *a,
                          const struct qd_model **ret_model, const struct qd_pool **ret_pool)
{
    *ret_model = a->model.ptr != NULL ? qd_policy_model(w->policy, a->model) : NULL;
    *ret_pool = a->pool.ptr != NULL ? qd_policy_pool(w->policy, a->pool) : NULL;
}

void qd_world_check(struct qd_world *world, const struct qd_world_check *check,
                    struct qd_wall_ns now, struct qd_world_verdict *ret_verdict)
{
    struct qd_world *w = world;
    struct qd_world_verdict *v = ret_verdict;
    struct qd_attributes a = check->attributes;
    struct qd_candidate candidate = {0};
    memset(v, 0, sizeof *v);
    qd_attributes_complete(w->policy, &a);
    find_subjects(w, &a, &v->hold.model, &v->hold.pool);
    fill_prices(&candidate, v->hold.model, v->hold.pool);
    candidate.binding = binding_key(&a);
    candidate.max_output_given =
        check->has_max_output || (v->hold.model != NULL && v->hold.model->no_output);
    candidate.max_output_tokens = check->has_max_output   ? check->max_output_tokens
                                  : v->hold.model != NULL ? v->hold.model->max_output_tokens
                                                          : 0;
    struct qd_gpu_time gpu = qd_gpu_time_of(w->policy, v->hold.model, v->hold.pool);
    candidate.gpu_us_per_input_token = gpu.us_per_input_token;
    candidate.gpu_us_per_output_token = gpu.us_per_output_token;
    struct qd_check request = {
        .epoch = w->policy->epoch,
        .root = qd_tenant_path_prefix(a.tenant, 1),
        .candidates = &candidate,
        .candidate_count = 1,
        .estimate = check->use,
        .tier = check->tier,
        .cache_write_ttl = check->cache_write_ttl,
        .unknown_price = w->policy->unknown_price,
        .cap_price = priced(&w->policy->cap_price),
        .ttl_ns = check->ttl_ns != 0 ? check->ttl_ns : w->policy->reservation_ttl_ns,
        .reserve = !check->dry_run,
        .dry_run = check->dry_run,
    };
    if (!qd_usage_has(&request.estimate, QD_METER_REQUESTS)) {
        qd_usage_set(&request.estimate, QD_METER_REQUESTS, 1);
    }
    qd_core_check(w->home, w->commons, &request, now, &v->verdict, v->states, &v->state_count);
    if (v->verdict.decision == QD_NEEDS_BINDING) {
        v->answer = bind(w, &a, candidate.binding, now);
        if (v->answer != QD_WORLD_DECIDED) {
            return;
        }
        qd_core_check(w->home, w->commons, &request, now, &v->verdict, v->states, &v->state_count);
    }
    assert(v->verdict.decision != QD_NEEDS_BINDING);
    v->hold.reservation = v->verdict.reservation;
    v->hold.made_at = v->verdict.made_at;
    v->hold.binding = candidate.binding;
    v->hold.estimate = v->verdict.estimate;
    v->hold.tier = check->tier;
    v->hold.cache_write_ttl = check->cache_write_ttl;
}

/* Adds cost and charge of `used`. False: the price is unknown, and nothing stands in for it. */
static bool price_usage(const struct qd_world *w, const struct qd_world_hold *hold,
                        struct qd_wall_ns now, struct qd_usage *used)
{
    struct qd_candidate lists = {0};
    struct qd_price_query query = {
        .usage = used, .tier = hold->tier, .cache_write_ttl = hold->cache_write_ttl, .at = now};
    qd_int128 cost;
    qd_int128 charge;
    uint32_t unpriced;
    fill_prices(&lists, hold->model, hold->pool);
    bool known = qd_price_compute(lists.cost_model, lists.cost_pool, &query, &cost, &unpriced) ==
                 QD_PRICE_OK;
    if (!known && priced(&w->policy->cap_price) != NULL) {
        known = qd_price_compute(&w->policy->cap_price, lists.cost_pool, &query, &cost,
                                 &unpriced) == QD_PRICE_OK;
        charge = cost;
    } else if (known && (lists.charge_model != NULL || lists.charge_pool != NULL)) {
        known = qd_price_compute(lists.charge_model, lists.charge_pool, &query, &charge,
                                 &unpriced) == QD_PRICE_OK;
    } else {
        charge = cost;
    }
    if (known) {
        qd_usage_set(used, QD_METER_COST, qd_nano_usd_from_pico(cost));
        qd_usage_set(used, QD_METER_CHARGE, qd_nano_usd_from_pico(charge));
    }
    return known;
}

enum qd_world_answer qd_world_report(struct qd_world *world, const struct qd_world_report *report,
                                     struct qd_wall_ns now, int64_t *ret_cost_nano)
{
    struct qd_world *w = world;
    struct qd_attributes a = report->attributes;
    struct qd_world_hold post_paid = {
        .made_at = now, .tier = report->tier, .cache_write_ttl = report->cache_write_ttl};
    const struct qd_world_hold *hold = report->hold;
    if (hold == NULL) {
        qd_attributes_complete(w->policy, &a);
        find_subjects(w, &a, &post_paid.model, &post_paid.pool);
        post_paid.binding = binding_key(&a);
        hold = &post_paid;
    }
    struct qd_settle settle = {
        .reservation = hold->reservation,
        .binding = hold->binding,
        .epoch = w->policy->epoch,
        .charged_at = hold->made_at,
        .estimate = hold->estimate,
        .used = report->used,
        .outcome = report->outcome,
        .final = report->final,
    };
    struct qd_settled settled;
    bool known = price_usage(w, hold, now, &settle.used);
    if (ret_cost_nano != NULL) {
        *ret_cost_nano = known ? settle.used.amount[QD_METER_COST] : -1;
    }
    enum qd_result rc = qd_core_settle(w->home, w->commons, &settle, now, &settled);
    if (rc == QD_RESULT_NEEDS_BINDING && report->hold == NULL) {
        enum qd_world_answer answer = bind(w, &a, hold->binding, now);
        if (answer != QD_WORLD_DECIDED) {
            return answer;
        }
        rc = qd_core_settle(w->home, w->commons, &settle, now, &settled);
    }
    return rc == QD_OK ? QD_WORLD_DECIDED : QD_WORLD_FULL;
}

bool qd_world_cancel(struct qd_world *world, const struct qd_world_hold *hold,
                     struct qd_wall_ns now)
{
    return qd_core_cancel(world->home, world->commons, hold->reservation, now) == QD_OK;
}

void qd_world_expire(struct qd_world *world, struct qd_wall_ns now)
{
    while (qd_core_expire(world->home, world->commons, now, 64) > 0) {
    }
}
