/* CheckQuota's flow: validate, key, decide under the shard's lock, bind on a miss, token. */
#include "server/shard/check.h"

#include "server/core/check.h"
#include "server/core/price.h"
#include "server/policy/gpu_time.h"
#include "server/shard/describe.h"
#include "server/shard/directory.h"
#include "server/shard/node.h"
#include "server/shard/validate.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Bindings that one check may have to make, races with reloads included. */
#define QD_BIND_TRIES (QD_CANDIDATES_MAX + 8)

static const struct qd_price_list *priced(const struct qd_price_list *list)
{
    return list->count > 0 ? list : NULL;
}

static void fill_candidate(struct qd_check_work *w, size_t index,
                           const struct qd_candidate_arg *arg)
{
    const struct qd_check_args *args = w->args;
    struct qd_candidate *c = &w->candidates[index];
    struct qd_subject *s = &w->subjects[index];
    struct qd_subject_args subject = {.tenant = args->tenant,
                                      .model = arg != NULL && arg->model.len > 0 ? arg->model
                                                                                 : args->model,
                                      .pool = args->pool,
                                      .user = args->user,
                                      .labels = args->labels,
                                      .label_count = args->label_count};

    if (arg != NULL) {
        /* A candidate of another model doesn't take the check's pool. */
        subject.pool = arg->pool.len > 0 || arg->model.len > 0 ? arg->pool : args->pool;
        subject.provider = arg->provider;
    }
    qd_subject_init(s, w->published->policy, w->worker->node->shards.seed, &subject);
    const struct qd_model *model = s->model;
    const struct qd_pool *pool = s->pool;
    memset(c, 0, sizeof(*c));
    c->binding = s->key;
    struct qd_gpu_time gpu = qd_gpu_time_of(w->published->policy, model, pool);
    c->gpu_us_per_input_token = gpu.us_per_input_token;
    c->gpu_us_per_output_token = gpu.us_per_output_token;
    if (model != NULL) {
        c->cost_model = priced(&model->cost);
        c->charge_model = model->charge.count > 0 ? &model->charge : c->cost_model;
    }
    if (pool != NULL) {
        c->cost_pool = priced(&pool->cost);
        c->charge_pool = pool->charge.count > 0 ? &pool->charge : c->cost_pool;
    }
    c->max_output_given = args->max_output_given || (model != NULL && model->no_output);
    c->max_output_tokens = args->max_output_given ? args->max_output_tokens
                           : model != NULL        ? model->max_output_tokens
                                                  : 0;
}

/* S1: same (tenant, request_id) and other content is a conflict. The content is all that decides.
 */
static void fill_request_id(struct qd_check_work *w)
{
    const struct qd_check_args *args = w->args;
    struct qd_check *c = &w->check;
    uint64_t seed = w->worker->node->shards.seed;

    c->attempt = args->attempt;
    if (args->request_id.len == 0) {
        return;
    }
    c->request = qd_request_hash(w->worker->node, args->tenant, args->request_id);
    struct qd_amount_arg sum = {.amount = args->max_output_given ? args->max_output_tokens : -1};
    uint64_t content =
        XXH3_64bits_withSeed(&sum.amount, sizeof(sum.amount), seed + args->no_reservation);
    for (size_t i = 0; i < c->candidate_count; i++) {
        content =
            XXH3_64bits_withSeed(&w->candidates[i].binding, sizeof(struct qd_hash128), content);
    }
    for (uint32_t left = c->estimate.present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        content =
            XXH3_64bits_withSeed(&c->estimate.amount[meter], sizeof(int64_t), content + meter);
    }
    c->content = content;
}

static enum qd_error_code fill(struct qd_check_work *w, struct qd_error *ret_error)
{
    const struct qd_check_args *args = w->args;
    const struct qd_policy *policy = w->published->policy;
    struct qd_check *c = &w->check;

    if (qd_validate_usage("estimate", policy, args->estimate, args->estimate_count, &c->estimate,
                          ret_error) != QD_ERROR_NONE ||
        qd_validate_ttl(args->ttl_ms, policy->reservation_ttl_ns, &c->ttl_ns, ret_error) !=
            QD_ERROR_NONE ||
        qd_validate_tier(args->tier, &c->tier, ret_error) != QD_ERROR_NONE ||
        qd_validate_cache_ttl(args->cache_write_ttl, &c->cache_write_ttl, ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (args->event_time_given &&
        qd_validate_event_time("event_time", (struct qd_wall_ns){args->event_time_ns}, w->now,
                               policy->report_horizon_ns, QD_ERROR_INVALID_TIME,
                               ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    c->event_time.ns = args->event_time_given ? args->event_time_ns : 0;
    c->epoch = policy->epoch;
    c->root = w->root;
    c->candidates = w->candidates;
    c->candidate_count = args->candidate_count > 0 ? args->candidate_count : 1;
    w->full_named = false;
    for (size_t i = 0; i < c->candidate_count; i++) {
        fill_candidate(w, i, args->candidate_count > 0 ? &args->candidates[i] : NULL);
    }
    if (!qd_usage_has(&c->estimate, QD_METER_REQUESTS)) {
        qd_usage_set(&c->estimate, QD_METER_REQUESTS, 1);
    }
    c->unknown_price = policy->unknown_price;
    c->cap_price = &policy->cap_price;
    c->request = (struct qd_hash128){0, 0};
    c->content = 0;
    c->reserve = !args->no_reservation;
    c->dry_run = args->dry_run || w->explanation != NULL;
    c->instant = args->instant;
    c->priority = (uint8_t)args->priority;
    c->weight = args->weight == 0 ? 1 : args->weight;
    fill_request_id(w);
    return QD_ERROR_NONE;
}

/* --- the answer --- */

static void copy_name(struct qd_limit_state *state, char *room)
{
    size_t len = state->name.len < QD_STATE_NAME_MAX ? state->name.len : QD_STATE_NAME_MAX;

    if (len > 0) {
        memcpy(room, state->name.ptr, len);
    }
    state->name = (struct qd_str){room, len};
}

/* Under the lock: names belong to the slice. */
static void copy_states(struct qd_check_work *w, size_t state_count, struct qd_check_answer *a)
{
    a->shadow_count = 0;
    if (a->verdict.binding.limit != NULL) {
        copy_name(&a->verdict.binding, a->binding_name);
    }
    if (w->explanation != NULL) {
        w->explanation->count = state_count;
        for (size_t i = 0; i < state_count; i++) {
            w->explanation->states[i].state = w->worker->states[i];
            copy_name(&w->explanation->states[i].state, w->explanation->states[i].name);
        }
    }
    for (size_t i = 0; i < state_count && a->shadow_count < QD_SHADOW_MAX; i++) {
        const struct qd_limit_state *state = &w->worker->states[i];
        if (state->limit->action == QD_SHADOW && state->denies) { /* D10 */
            struct qd_state_copy *copy = &a->shadow[a->shadow_count++];
            copy->state = *state;
            copy_name(&copy->state, copy->name);
        }
    }
}

static enum qd_error_code make_token(struct qd_check_work *w, struct qd_check_answer *a,
                                     struct qd_error *ret_error)
{
    const struct qd_check_args *args = w->args;
    struct qd_node *node = w->worker->node;
    const struct qd_subject *s = &w->subjects[a->verdict.candidate];
    struct qd_token token;

    token.node = node->name_hash;
    token.incarnation = node->incarnation;
    token.reservation = a->number;
    token.policy_revision = w->published->policy->revision;
    token.made_at = a->verdict.made_at;
    token.expires = a->verdict.expires;
    token.event_time.ns = args->event_time_given ? args->event_time_ns : a->verdict.made_at.ns;
    token.ttl_ns = w->check.ttl_ns;
    token.attempt = args->attempt;
    token.tier = w->check.tier;
    token.cache_write_ttl = w->check.cache_write_ttl;
    token.estimate.present = a->verdict.estimate.present;
    for (uint32_t left = token.estimate.present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        token.estimate.amount[meter] = a->verdict.estimate.amount[meter];
    }
    token.tenant = args->tenant;
    token.model = s->attributes.model;
    token.pool = s->attributes.pool;
    token.user = args->user;
    token.request_id = args->request_id;
    token.label_count = s->attributes.label_count;
    QD_CHECK(token.label_count <= QD_TOKEN_LABELS_MAX); /* X2 */
    for (size_t i = 0; i < token.label_count; i++) {
        token.labels[i] = s->attributes.labels[i];
    }
    a->token_len = qd_token_encode(&node->token_key, &token, a->token);
    if (a->token_len == 0) {
        return qd_error_set(
            ret_error, QD_ERROR_TOKEN_TOO_LARGE,
            "names and labels are too long for a reservation: a token has 1,024 bytes; "
            "shorten labels, or check with no_reservation");
    }
    a->id_len = qd_short_id_encode(a->number, a->id);
    return QD_ERROR_NONE;
}

static enum qd_denial denial_of(enum qd_reason reason)
{
    switch (reason) {
    case QD_REASON_NONE:
        return QD_DENIAL_NONE;
    case QD_REASON_LIMIT:
        return QD_DENIAL_LIMIT;
    case QD_REASON_NEVER_FITS:
        return QD_DENIAL_NEVER_FITS;
    case QD_REASON_BLOCKED:
        return QD_DENIAL_BLOCKED;
    case QD_REASON_UNKNOWN_PRICE:
        return QD_DENIAL_UNKNOWN_PRICE;
    case QD_REASON_CAPACITY:
        return QD_DENIAL_CAPACITY;
    }
    return QD_DENIAL_UNDECIDED;
}

/* The nearest block of the path or an ancestor, as the operator worded it. */
static void describe_block(struct qd_check_work *w, struct qd_text *text)
{
    struct qd_directory *d = w->worker->node->directory;
    struct qd_str path = w->args->tenant;
    struct qd_tenant_record *record = malloc(sizeof(*record));
    struct qd_buf buf = {0};

    for (uint8_t depth = qd_tenant_path_depth(path); depth > 0 && record != NULL; depth--) {
        struct qd_str prefix = qd_tenant_path_prefix(path, depth);
        if (qd_directory_get(d, prefix, &buf, record) && record->block.blocked &&
            (record->block.until.ns == 0 || record->block.until.ns > w->now.ns)) {
            qd_text_add_str(text, prefix);
            qd_text_add(text, " is blocked: ");
            qd_text_add_str(text, record->block.reason);
            if (record->block.until.ns != 0) {
                qd_text_add(text, "; until ");
                qd_describe_time(text, record->block.until);
            }
            qd_buf_release(&buf);
            free(record);
            return;
        }
    }
    qd_buf_release(&buf);
    free(record);
    qd_text_add_str(text, path);
    qd_text_add(text, " is blocked by the policy");
}

/* Meters that are used and have no price where others have one; 0: there are no prices at all. */
static uint32_t unpriced_meters(const struct qd_check_work *w, const struct qd_verdict *v)
{
    const struct qd_candidate *c = &w->candidates[v->candidate];
    struct qd_price_query query = {.usage = &v->estimate,
                                   .tier = w->check.tier,
                                   .cache_write_ttl = w->check.cache_write_ttl,
                                   .at =
                                       w->check.event_time.ns != 0 ? w->check.event_time : w->now};
    uint32_t cost = 0;
    uint32_t charge = 0;
    qd_int128 pico = 0;

    if (c->cost_model != NULL || c->cost_pool != NULL) {
        (void)qd_price_compute(c->cost_model, c->cost_pool, &query, &pico, &cost);
    }
    if (c->charge_model != NULL || c->charge_pool != NULL) {
        (void)qd_price_compute(c->charge_model, c->charge_pool, &query, &pico, &charge);
    }
    return cost | charge;
}

/* P8: "no price for output_tokens of model "m" (unknown_price: deny); ..." */
static void describe_unpriced(const struct qd_check_work *w, const struct qd_verdict *v,
                              struct qd_text *text)
{
    struct qd_str model = w->subjects[v->candidate].attributes.model;
    uint32_t meters = unpriced_meters(w, v);
    const char *separator = "no price for ";

    if (model.len == 0) {
        qd_text_add(text, "no price without a model (unknown_price: deny); name the "
                          "request's model");
        return;
    }
    for (uint32_t left = meters; left != 0; left &= left - 1) {
        qd_text_addf(text, "%s%s", separator,
                     w->published->policy->meters[__builtin_ctz(left)].name);
        separator = ", ";
    }
    qd_text_addf(text, "%smodel %s (unknown_price: deny); add it under `prices:` in the policy",
                 meters != 0 ? " of " : separator, qd_quote(model).text);
    if (meters & QD_METER_BIT(QD_METER_OUTPUT_TOKENS)) {
        qd_text_add(text, ", or give max_output_tokens: 0 if it produces no output");
    }
}

static void describe(struct qd_check_work *w, struct qd_check_answer *a)
{
    struct qd_text text;
    struct qd_quoted tenant;

    qd_text_init(&text, a->message, sizeof(a->message));
    switch (a->denial) {
    case QD_DENIAL_LIMIT:
    case QD_DENIAL_NEVER_FITS:
        if (a->verdict.binding.limit != NULL) {
            qd_describe_denial(&text, &a->verdict.binding, w->now, a->retry_useful,
                               a->retry_after_ns);
        }
        break;
    case QD_DENIAL_UNKNOWN_TENANT:
        tenant = qd_quote(w->args->tenant);
        qd_text_addf(
            &text,
            "%s: unknown tenant; add it to the policy's `tenants:`, or run: quotactl tenants put ",
            tenant.text);
        qd_text_add_str(&text, w->args->tenant);
        break;
    case QD_DENIAL_BLOCKED:
        describe_block(w, &text);
        break;
    case QD_DENIAL_UNKNOWN_PRICE:
        describe_unpriced(w, &a->verdict, &text);
        break;
    case QD_DENIAL_CAPACITY:
        if (a->verdict.binding.limit != NULL && a->verdict.binding.denies) {
            qd_describe_name(&text, &a->verdict.binding);
            qd_text_add(&text, " fails closed and finds no room: ");
        }
        qd_text_add(&text, "this node's tables are full, or this tenant's share of them; ask "
                           "another node, or raise "
                           "--max-counters or --max-reservations (--root-counters or "
                           "--root-reservations for one tenant)");
        break;
    case QD_DENIAL_DRAINING:
        qd_text_add(&text, "this node drains and makes no new reservations; ask another node");
        break;
    case QD_DENIAL_UNDECIDED:
        qd_text_add(&text, "the state of a limit could not be had in time; ask another node");
        break;
    case QD_DENIAL_NONE:
        break;
    }
    a->message_len = text.used;
}

static void deny(struct qd_check_work *w, enum qd_denial denial, struct qd_check_answer *a)
{
    a->allowed = false;
    a->denial = denial;
    a->verdict.decision = QD_DENY;
    a->verdict.candidate = 0;
    a->verdict.binding.limit = NULL;
    a->verdict.reservation = 0;
    a->verdict.repeated = false;
    a->verdict.estimate.present = 0;
    a->shadow_count = 0;
    a->retry_after_ns = 0;
    a->retry_useful = false;
    a->retry_is_hint = false;
    describe(w, a);
}

static void finish(struct qd_check_work *w, struct qd_check_answer *a)
{
    const struct qd_verdict *v = &a->verdict;

    a->allowed = v->decision == QD_ALLOW;
    a->denial = a->allowed ? QD_DENIAL_NONE : denial_of(v->reason);
    if (a->denial == QD_DENIAL_NEVER_FITS && v->binding.limit->algorithm == QD_PREPAID &&
        v->binding.unbounded == QD_BOUNDED) {
        a->denial = QD_DENIAL_LIMIT; /* a grant makes room, though no retry alone does */
    }
    a->message_len = 0;
    a->retry_useful = !a->allowed && v->retry_useful;
    a->retry_is_hint = !a->allowed && v->retry_is_hint;
    a->retry_after_ns = 0;
    if (a->retry_useful && v->retry_at.ns != QD_WALL_NEVER && v->retry_at.ns > w->now.ns) {
        a->retry_after_ns = v->retry_at.ns - w->now.ns;
    }
    if (!a->allowed) {
        describe(w, a);
    }
    if (!w->args->brief || !a->allowed) {
        qd_policy_derive(w->published->policy, &a->verdict.estimate); /* shown, not held */
    }
}

/* --- deciding --- */

/* Under the lock, after a decision: note the token, count, keep the names. */
static enum qd_error_code conclude(struct qd_check_work *w, size_t state_count,
                                   struct qd_check_answer *a, struct qd_error *ret_error)
{
    struct qd_shards *shards = &w->worker->node->shards;
    enum qd_error_code code = QD_ERROR_NONE;

    copy_states(w, state_count, a);
    a->token_len = 0;
    a->id_len = 0;
    a->number = 0;
    if (a->verdict.decision == QD_ALLOW && a->verdict.reservation != 0) {
        a->number = qd_shards_number(shards, w->home, a->verdict.reservation);
        code = make_token(w, a, ret_error);
        if (code != QD_ERROR_NONE) { /* nothing may stay held that nobody can settle */
            (void)qd_core_cancel(w->home->core, qd_shards_commons(shards), a->verdict.reservation,
                                 w->now);
            return code;
        }
        qd_shard_note(w->home, a->verdict.reservation, (struct qd_str){a->token, a->token_len});
        if (a->verdict.repeated) {
            qd_shard_mark_repeated(w->home, a->verdict.reservation);
        }
    }
    if (!w->check.dry_run) {
        qd_shard_count(w->home, w->root, w->root_hash, a->verdict.decision == QD_ALLOW);
    }
    return code;
}

static enum qd_error_code conflict(const struct qd_check_args *args, struct qd_error *ret_error)
{
    return qd_error_set(
        ret_error, QD_ERROR_REQUEST_CONFLICT,
        "request_id %s, attempt %u was checked before with another model, pool, label or estimate; "
        "give each request its own id, or raise attempt",
        qd_quote(args->request_id).text, args->attempt);
}

/* One look at the core and what follows from it. Returns true when the check is decided, *ret_code
 * says how. */
static bool decide(struct qd_check_work *w, struct qd_check_answer *a, enum qd_error_code *ret_code,
                   struct qd_error *ret_error)
{
    struct qd_shards *shards = &w->worker->node->shards;
    size_t state_count = 0;
    bool all = w->published->has_shadow || w->explanation != NULL ||
               atomic_load_explicit(&w->worker->node->runtime_shadow, memory_order_relaxed);

    qd_core_check(w->home->core, qd_shards_commons(shards), &w->check, w->now, &a->verdict,
                  all ? w->worker->states : NULL, &state_count);
    switch (a->verdict.decision) {
    case QD_ALLOW:
    case QD_DENY:
        *ret_code = conclude(w, all ? state_count : 0, a, ret_error);
        return true;
    case QD_CONFLICT:
        *ret_code = conflict(w->args, ret_error);
        return true;
    case QD_NEEDS_BINDING:
        break;
    }
    return false;
}

/* D12: no room for this candidate's binding: it goes by the limits' failure modes from now on, and
 * the others have their turn (D9). `full`: a limit that fails closed. */
static void leave_unbound(struct qd_check_work *w, size_t index, const struct qd_limit_state *full)
{
    const struct qd_resolution *r = &w->worker->resolution;

    w->unbound[index] = (struct qd_unbound){.blocked = r->blocked, .valid_until = r->valid_until};
    if (full != NULL) {
        w->full[index] = *full;
        w->unbound[index].full = &w->full[index];
        if (w->full_named) { /* all of them may pass at the same time: the first is the verdict's */
            w->full[index].name = (struct qd_str){w->full_name, 0};
        } else {
            copy_name(&w->full[index], w->full_name); /* the next resolution takes its place */
            w->full_named = true;
        }
    }
    w->candidates[index].unbound = &w->unbound[index];
}

/* Bind what the core asked for. The home shard is locked afterwards where the core is to look
 * again: after DONE, NO_ROOM and ALL_OPEN. */
static enum qd_bind_outcome bind_candidate(struct qd_check_work *w, size_t index)
{
    struct qd_limit_state state;

    assert(index < w->check.candidate_count);
    enum qd_bind_outcome outcome =
        qd_bind_locked(w->worker, w->published, &w->subjects[index], w->home, w->now, &state);
    if (outcome == QD_BIND_NO_ROOM || outcome == QD_BIND_ALL_OPEN) {
        leave_unbound(w, index, outcome == QD_BIND_NO_ROOM ? &state : NULL);
    }
    return outcome;
}

static enum qd_error_code run(struct qd_check_work *w, struct qd_check_answer *a,
                              struct qd_error *ret_error)
{
    struct qd_node *node = w->worker->node;
    enum qd_error_code code = QD_ERROR_NONE;

    qd_shards_lock(&node->shards, w->home);
    /* A policy that was swapped in meanwhile decides: its bindings' epoch differs. */
    for (unsigned tries = 0; tries < QD_BIND_TRIES; tries++) {
        if (decide(w, a, &code, ret_error)) {
            qd_shards_unlock(&node->shards, w->home);
            if (code == QD_ERROR_NONE) {
                finish(w, a);
            }
            return code;
        }
        qd_shards_unlock(&node->shards, w->home);
        if (qd_validate_check(w->args, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
        switch (bind_candidate(w, a->verdict.candidate)) {
        case QD_BIND_DONE:
        case QD_BIND_NO_ROOM:
        case QD_BIND_ALL_OPEN:
            break;
        case QD_BIND_STALE:
            w->published = atomic_load_explicit(&node->published, memory_order_acquire);
            if (fill(w, ret_error) != QD_ERROR_NONE) {
                return ret_error->code;
            }
            qd_shards_lock(&node->shards, w->home);
            break;
        case QD_BIND_TOO_MANY:
            return qd_error_set(
                ret_error, QD_ERROR_TOO_MANY_LIMITS,
                "more than %d limits apply to this request; merge limits in the policy",
                QD_LIMITS_PER_CHECK_MAX);
        case QD_BIND_UNKNOWN_TENANT:
            qd_count(&w->worker->figures.unknown_tenant);
            deny(w, QD_DENIAL_UNKNOWN_TENANT, a);
            return QD_ERROR_NONE;
        }
    }
    qd_shards_unlock(&node->shards, w->home);
    deny(w, QD_DENIAL_UNDECIDED, a); /* D13: bindings go faster than they are made */
    return QD_ERROR_NONE;
}

/* A node that drains makes no new hold; a check that is repeated has one (S1). */
static enum qd_error_code run_draining(struct qd_check_work *w, struct qd_check_answer *a,
                                       struct qd_error *ret_error)
{
    struct qd_shards *shards = &w->worker->node->shards;
    enum qd_error_code code = QD_ERROR_NONE;

    qd_shards_lock(shards, w->home);
    bool repeated =
        qd_core_repeat(w->home->core, qd_shards_commons(shards), &w->check, w->now, &a->verdict);
    if (repeated) {
        code = a->verdict.decision == QD_CONFLICT ? conflict(w->args, ret_error)
                                                  : conclude(w, 0, a, ret_error);
    }
    qd_shards_unlock(shards, w->home);
    if (!repeated) {
        qd_count(&w->worker->figures.draining);
        deny(w, QD_DENIAL_DRAINING, a);
    } else if (code == QD_ERROR_NONE) {
        finish(w, a);
    }
    return code;
}

static void clear_answer(const struct qd_check_work *w, struct qd_check_answer *a)
{
    a->now = w->now;
    a->policy = w->published->policy;
    a->policy_revision = a->policy->revision;
    a->token_len = 0;
    a->id_len = 0;
    a->number = 0;
    a->shadow_count = 0;
}

enum qd_error_code qd_check_begin(struct qd_check_work *w, struct qd_worker *worker,
                                  const struct qd_check_args *args, struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;

    w->worker = worker;
    w->args = args;
    w->explanation = NULL;
    w->published = atomic_load_explicit(&node->published, memory_order_acquire);
    w->now = qd_clock_now_and_mono(&node->clock, &w->begun);
    enum qd_error_code code = qd_validate_check_quickly(args, ret_error);
    if (code != QD_ERROR_NONE) {
        return code;
    }
    w->root = qd_path_root(args->tenant);
    w->root_hash = qd_shards_root_hash(&node->shards, w->root);
    w->home = qd_shards_at(&node->shards, w->root_hash);
    code = fill(w, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_core_prefetch(w->home->core, w->candidates[0].binding);
        qd_shard_prefetch_count(w->home, w->root_hash);
    }
    return code;
}

void qd_check_approach(const struct qd_check_work *w)
{
    struct qd_shards *shards = &w->worker->node->shards;

    qd_shards_lock(shards, w->home);
    qd_core_prefetch_counters(w->home->core, qd_shards_commons(shards), w->candidates[0].binding);
    qd_shards_unlock(shards, w->home);
}

enum qd_error_code qd_check_decide(struct qd_check_work *w, struct qd_check_answer *ret_answer,
                                   struct qd_error *ret_error)
{
    struct qd_node *node = w->worker->node;
    enum qd_error_code code = QD_ERROR_NONE;

    clear_answer(w, ret_answer);
    if (atomic_load_explicit(&node->draining, memory_order_relaxed) && !w->check.dry_run &&
        !w->args->no_reservation) {
        code = run_draining(w, ret_answer, ret_error);
    } else {
        code = run(w, ret_answer, ret_error);
        ret_answer->policy = w->published->policy; /* it may have begun anew with another */
        ret_answer->policy_revision = ret_answer->policy->revision;
    }
    return code;
}

void qd_check_count(struct qd_worker *worker, enum qd_error_code code,
                    const struct qd_check_answer *answer)
{
    if (code != QD_ERROR_NONE) {
        qd_count(&worker->figures.checks_failed);
    } else if (answer->allowed) {
        qd_count(&worker->figures.checks_allowed);
    } else {
        qd_count(&worker->figures.checks_denied);
    }
}

enum qd_error_code qd_node_check(struct qd_worker *worker, const struct qd_check_args *args,
                                 struct qd_check_answer *ret_answer, struct qd_error *ret_error)
{
    struct qd_check_work w;

    enum qd_error_code code = qd_check_begin(&w, worker, args, ret_error);
    if (code == QD_ERROR_NONE) {
        code = qd_check_decide(&w, ret_answer, ret_error);
    }
    qd_check_count(worker, code, ret_answer);
    return code;
}

enum qd_error_code qd_node_explain(struct qd_worker *worker, const struct qd_check_args *args,
                                   struct qd_check_answer *ret_answer,
                                   struct qd_explanation *ret_explanation,
                                   struct qd_error *ret_error)
{
    struct qd_check_work w;

    ret_explanation->count = 0;
    enum qd_error_code code = qd_check_begin(&w, worker, args, ret_error);
    if (code == QD_ERROR_NONE) {
        w.explanation = ret_explanation;
        w.check.dry_run = true;
        code = qd_check_decide(&w, ret_answer, ret_error);
    }
    return code;
}

void qd_node_undelivered(struct qd_worker *worker, uint64_t number)
{
    struct qd_shards *shards = &worker->node->shards;
    uint64_t reservation = 0;
    struct qd_shard *home = qd_shards_by_number(shards, number, &reservation);

    qd_shards_lock(shards, home);
    if (!qd_shard_was_repeated(home, reservation)) {
        (void)qd_core_cancel(home->core, qd_shards_commons(shards), reservation,
                             qd_clock_now(&worker->node->clock));
    }
    qd_shards_unlock(shards, home);
    qd_count(&worker->figures.undelivered);
}
