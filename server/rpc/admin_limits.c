/* AdminService: GetEffectiveLimits, ExplainCheck, ResetCounter, ListCounters. */
#include "quota/v1/admin.pb-c.h"
#include "server/policy/gpu_time.h"
#include "server/rpc/admin.h"
#include "server/rpc/codec.h"
#include "server/rpc/limits.h"
#include "server/shard/describe.h"
#include "server/shard/directory.h"
#include "server/shard/pricing.h"
#include "server/shard/reset.h"
#include "server/shard/validate.h"

#include <stdio.h>
#include <stdlib.h>

#define BEFORE_MAX 16U  /* states shown by ResetCounter */
#define WALK_CHUNK 128U /* counters looked at under one lock */

/* --- GetEffectiveLimits --- */

static enum qd_error_code read_labels(Quota__V1__Entry *const *entries, size_t count,
                                      struct qd_label labels[QD_LABELS_MAX],
                                      struct qd_error *ret_error)
{
    for (size_t i = 0; i < count && i < QD_LABELS_MAX; i++) {
        labels[i] = (struct qd_label){qd_str_of(entries[i]->key), qd_str_of(entries[i]->value)};
    }
    return qd_validate_labels(labels, count, ret_error);
}

static void put_plan(struct qd_place *place, const struct qd_resolution *r, uint32_t plan_id)
{
    qd_out_text(&place->out, plan_id, r->plan != NULL ? r->plan->name : "");
    qd_out_str(&place->out, plan_id + 1, r->plan_from);
}

/* From the tenant up to its root, then those that all share. */
static void put_limits(struct qd_limits *limits)
{
    const struct qd_resolution *r = &limits->place->worker->resolution;
    struct qd_state_copy state;

    for (int depth = QD_TENANT_SEGMENTS_MAX; depth >= 0; depth--) {
        for (size_t i = 0; i < r->count; i++) {
            if (r->limit[i].depth != depth) {
                continue;
            }
            if (qd_limits_has_counter(limits, &r->limit[i])) {
                qd_limits_state(limits, &r->limit[i], &state);
                qd_limits_put(limits, 1, &r->limit[i], &state.state);
            } else {
                qd_limits_put(limits, 1, &r->limit[i], NULL);
            }
        }
    }
}

enum qd_error_code qd_admin_get_effective_limits(struct qd_place *place, struct qd_call *call,
                                                 struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__GetEffectiveLimitsRequest *q = qd_place_unpack(
        place, &quota__v1__get_effective_limits_request__descriptor, bytes, ret_error);
    struct qd_label labels[QD_LABELS_MAX];
    struct qd_limits limits;

    if (q == NULL || qd_validate_tenant(qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE ||
        qd_validate_name("model", qd_str_of(q->model), ret_error) != QD_ERROR_NONE ||
        qd_validate_name("pool", qd_str_of(q->pool), ret_error) != QD_ERROR_NONE ||
        qd_validate_name("user", qd_str_of(q->user), ret_error) != QD_ERROR_NONE ||
        read_labels(q->labels, q->n_labels, labels, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    struct qd_subject_args args = {.tenant = qd_str_of(q->tenant),
                                   .model = qd_str_of(q->model),
                                   .pool = qd_str_of(q->pool),
                                   .user = qd_str_of(q->user),
                                   .labels = labels,
                                   .label_count = q->n_labels};
    qd_limits_open(place, &args, args.model.len == 0, &limits);
    const struct qd_resolution *r = &place->worker->resolution;
    enum qd_error_code code = QD_ERROR_NONE;
    if (r->status == QD_RESOLVE_UNKNOWN_TENANT) {
        code = qd_error_set(
            ret_error, QD_ERROR_UNKNOWN_TENANT,
            "tenant: %s is unknown: nothing in the policy matches it, and it has no record; run: "
            "quotactl tenants put %.*s",
            qd_quote(args.tenant).text, (int)args.tenant.len, args.tenant.ptr);
    } else {
        put_limits(&limits);
        put_plan(place, r, 2);
    }
    qd_limits_close(&limits);
    if (code == QD_ERROR_NONE) {
        qd_limits_put_block(place, 4, args.tenant, limits.now);
        qd_out_number(&place->out, 5, limits.published->policy->revision);
    }
    return code;
}

/* --- ExplainCheck --- */

static bool inner_check(struct qd_str bytes, struct qd_str *ret_check)
{
    struct qd_wire w = qd_wire_of(bytes);
    struct qd_wire_field f;
    bool found = false;

    while (qd_wire_next(&w, &f)) {
        if (f.id == 1 && f.type == QD_WIRE_BYTES) {
            *ret_check = f.bytes;
            found = true;
        }
    }
    return found && !w.failed;
}

static bool gives_gpu_time(const struct qd_check_args *args)
{
    for (size_t i = 0; i < args->estimate_count; i++) {
        if (qd_slice_equal(args->estimate[i].meter, qd_str_of("gpu_ms"))) {
            return true;
        }
    }
    return false;
}

static bool admits_by_gpu_time(const struct qd_limits *limits, const struct qd_limit *limit)
{
    const struct qd_subject *s = &limits->subject;
    bool priced = limits->published->policy->cap_by_gpu_time ||
                  (s->model != NULL && s->model->priced_by_gpu_time) ||
                  (s->pool != NULL && s->pool->priced_by_gpu_time);

    for (size_t i = 0; i < limit->admit.count; i++) {
        uint8_t meter = limit->admit.item[i].meter;
        if (meter == QD_METER_GPU_MS ||
            (priced && (meter == QD_METER_COST || meter == QD_METER_CHARGE))) {
            return true;
        }
    }
    return false;
}

/* H1, P8: what stands for GPU-time that the check does not give, which is the node's guess where
 * the model says nothing of it. */
static void add_gpu_time(struct qd_text *text, const struct qd_limits *limits,
                         const struct qd_limit *limit)
{
    const struct qd_model *model = limits->subject.model;
    struct qd_gpu_time time =
        qd_gpu_time_of(limits->published->policy, model, limits->subject.pool);
    bool by_model = model != NULL && model->gpu_us_per_input_token != QD_GPU_TIME_DEFAULT &&
                    model->gpu_us_per_output_token != QD_GPU_TIME_DEFAULT;

    if ((time.us_per_input_token == 0 && time.us_per_output_token == 0) ||
        gives_gpu_time(&limits->place->check_args) || !admits_by_gpu_time(limits, limit)) {
        return;
    }
    qd_text_addf(text, ", GPU-time %s %lldus an input token, %lldus an output token",
                 by_model ? "by the model's gpu_time:" : "assumed:",
                 (long long)time.us_per_input_token, (long long)time.us_per_output_token);
}

/* "1,200 input_tokens + 5*400 output_tokens", from the completed estimate. */
static void put_estimate_text(const struct qd_limits *limits, uint32_t id,
                              const struct qd_limit *limit, const struct qd_usage *estimate)
{
    const struct qd_policy *policy = limits->published->policy;
    char buffer[QD_MESSAGE_MAX];
    struct qd_text text;
    bool first = true;

    qd_text_init(&text, buffer, sizeof(buffer));
    for (size_t i = 0; i < limit->admit.count; i++) {
        const struct qd_weight *w = &limit->admit.item[i];
        if (!qd_usage_has(estimate, w->meter) || w->meter >= policy->meter_count) {
            continue;
        }
        qd_text_add(&text, first ? "" : " + ");
        first = false;
        if (w->num != limit->admit.den) {
            qd_text_addf(&text, "%d", w->num);
            if (limit->admit.den != 1) {
                qd_text_addf(&text, "/%d", limit->admit.den);
            }
            qd_text_add(&text, "*");
        }
        struct qd_limit plain = {.money = w->meter == QD_METER_COST || w->meter == QD_METER_CHARGE};
        qd_describe_amount(&text, &plain, estimate->amount[w->meter]);
        qd_text_addf(&text, " %s", policy->meters[w->meter].name);
    }
    add_gpu_time(&text, limits, limit);
    qd_out_str(&limits->place->out, id, (struct qd_str){buffer, text.used});
}

static const struct qd_limit_state *state_of(const struct qd_explanation *e,
                                             const struct qd_resolved_limit *limit)
{
    for (size_t i = 0; i < e->count; i++) {
        const struct qd_limit_state *state = &e->states[i].state;
        if (state->limit == limit->use->limit && state->depth == limit->depth &&
            qd_slice_equal(state->name, limit->name)) {
            return state;
        }
    }
    return NULL;
}

static void put_explanation(struct qd_limits *limits, const struct qd_resolved_limit *limit,
                            const struct qd_explanation *e, const struct qd_check_answer *answer)
{
    struct qd_out *out = &limits->place->out;
    const struct qd_limit_state *state = state_of(e, limit);
    struct qd_state_copy copy;

    if (state == NULL) {
        qd_limits_state(limits, limit, &copy);
        state = &copy.state;
    }
    uint8_t *message = qd_out_begin(out, 2);
    qd_limits_put(limits, 1, limit, state);
    qd_out_number(out, 2, answer->verdict.candidate);
    qd_out_number(out, 3, !state->denies);
    bool later = state->denies && !state->never_fits && state->retry_at.ns != QD_WALL_NEVER &&
                 state->retry_at.ns > limits->now.ns;
    qd_out_number(out, 4, later ? (uint64_t)(state->retry_at.ns - limits->now.ns) : 0);
    qd_out_number(out, 5, later);
    put_estimate_text(limits, 6, limit->use->limit, &answer->verdict.estimate);
    qd_out_end(out, message);
}

static void put_price(struct qd_place *place, const struct qd_limits *limits,
                      const struct qd_usage *estimate)
{
    struct qd_priced priced;
    struct qd_pricing pricing = {.policy = limits->published->policy,
                                 .model = limits->subject.model,
                                 .pool = limits->subject.pool,
                                 .usage = estimate,
                                 .at = limits->now};

    qd_pricing_compute(&pricing, &priced);
    if (priced.version_count > 0) {
        qd_out_text(&place->out, 5, priced.versions[0]);
    }
}

enum qd_error_code qd_admin_explain_check(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    const struct qd_check_args *args = &place->check_args;
    const struct qd_check_answer *answer = &place->check_answer;
    struct qd_explanation *e = qd_scratch_take(&place->arena, sizeof(*e));
    struct qd_str check;
    struct qd_limits limits;

    if (e == NULL || !inner_check(bytes, &check) || !qd_codec_check(check, &place->check_args)) {
        return qd_error_set(ret_error, QD_ERROR_MALFORMED, "check: required; a CheckQuotaRequest");
    }
    if (qd_caller_reaches(&call->caller, args->tenant, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (qd_node_explain(place->worker, args, &place->check_answer, e, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    const struct qd_candidate_arg *c =
        args->candidate_count > 0 ? &args->candidates[answer->verdict.candidate] : NULL;
    struct qd_subject_args subject = {
        .tenant = args->tenant,
        .model = c != NULL && c->model.len > 0 ? c->model : args->model,
        .pool = c != NULL && c->pool.len > 0 ? c->pool : args->pool,
        .user = args->user,
        .provider = c != NULL ? c->provider : (struct qd_str){NULL, 0},
        .labels = args->labels,
        .label_count = args->label_count};
    qd_limits_open(place, &subject, false, &limits);
    uint8_t *result = qd_out_begin(&place->out, 1);
    qd_codec_put_check(&place->out, answer, false, limits.now);
    qd_out_end(&place->out, result);
    const struct qd_resolution *r = &place->worker->resolution;
    for (int depth = QD_TENANT_SEGMENTS_MAX; depth >= 0; depth--) {
        for (size_t i = 0; i < r->count; i++) {
            if (r->limit[i].depth == depth) {
                put_explanation(&limits, &r->limit[i], e, answer);
            }
        }
    }
    put_plan(place, r, 3);
    put_price(place, &limits, &answer->verdict.estimate);
    qd_limits_close(&limits);
    return QD_ERROR_NONE;
}

/* --- ResetCounter --- */

static void show_before(void *context, const struct qd_policy *policy,
                        const struct qd_limit_state *before, struct qd_wall_ns now)
{
    struct qd_place *place = context;

    qd_codec_put_state(&place->out, 2, policy, before, now);
}

/* The limit by its full or last name, as it applies to what the keys say. X1: what applies to a
 * tenant may be counted above it, and for others too. */
static enum qd_error_code find_full_name(struct qd_place *place, const struct qd_caller *caller,
                                         const struct qd_reset_args *args, struct qd_str name,
                                         char full[QD_STATE_NAME_MAX], struct qd_error *ret_error)
{
    const struct qd_resolved_limit *found = NULL;
    struct qd_label labels[QD_LABELS_MAX];
    struct qd_subject_args subject;
    struct qd_limits limits;

    if (qd_reset_subject(args, labels, &subject, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    qd_limits_open(place, &subject, true, &limits);
    enum qd_error_code code = qd_limits_find(&limits, name, &found, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_limits_full_name(found, full, QD_STATE_NAME_MAX);
        if (qd_caller_is_bound(caller) &&
            found->depth < qd_tenant_path_depth(qd_caller_tenant(caller))) {
            code = qd_error_set(ret_error, QD_ERROR_TENANT_FORBIDDEN,
                                "limit: %s counts for others too; %s is bound to %s", full,
                                caller->name, qd_quote(qd_caller_tenant(caller)).text);
        }
    }
    qd_limits_close(&limits);
    return code;
}

/* Limits that all tenants share are named without a tenant: any path resolves them. */
enum qd_error_code qd_admin_reset_counter(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__ResetCounterRequest *q =
        qd_place_unpack(place, &quota__v1__reset_counter_request__descriptor, bytes, ret_error);
    char full[QD_STATE_NAME_MAX];
    uint32_t count = 0;

    if (q == NULL ||
        qd_caller_reaches(&call->caller, qd_str_of(q->tenant), ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    struct qd_reset_args args = {.tenant = qd_str_of(q->tenant),
                                 .limit = qd_str_of(q->limit),
                                 .key_count = q->n_keys,
                                 .actor = qd_place_actor(place, call)};
    if (args.tenant.len == 0 && q->limit[0] != '\0') {
        args.tenant = qd_str_of(QD_RESET_SHARED);
    }
    if (qd_validate_tenant(args.tenant, ret_error) != QD_ERROR_NONE ||
        read_labels(q->keys, q->n_keys, args.keys, ret_error) != QD_ERROR_NONE ||
        find_full_name(place, &call->caller, &args, qd_str_of(q->limit), full, ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    args.limit = qd_str_of(full);
    struct qd_reset_listener listener = {show_before, place, BEFORE_MAX};
    enum qd_error_code code = qd_reset(place->worker, &args, &listener, &count, ret_error);
    if (code == QD_ERROR_NONE) {
        qd_out_number(&place->out, 1, count);
    }
    return code;
}

/* --- ListCounters --- */

/* A page that is being filled: a heap of the first `room` counters in the wanted order. */
struct counter_row {
    struct qd_limit_state state;
    char name[QD_STATE_NAME_MAX];
};

struct counter_page {
    struct qd_place *place;
    const Quota__V1__ListCountersRequest *request;
    struct qd_str tenant;     /* and all below it; empty: all, and what is shared */
    struct qd_str after;      /* "tenant keys\x1flimit" of the last row of the page before */
    struct counter_row *rows; /* sorted */
    size_t count;
    size_t room;
    bool more;
};

static int64_t percent_used(const struct qd_limit_state *state)
{
    qd_int128 used = ((qd_int128)state->used + state->held) * 100;

    return state->amount > 0               ? (int64_t)(used / state->amount)
           : state->used + state->held > 0 ? INT64_MAX
                                           : 0;
}

static int compare_rows(const struct counter_page *page, const struct qd_limit_state *a,
                        const struct qd_limit_state *b)
{
    if (page->request->order == QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_FULLEST) {
        int64_t pa = percent_used(a);
        int64_t pb = percent_used(b);
        if (pa != pb) {
            return pa > pb ? -1 : 1;
        }
    }
    int order = qd_slice_compare(a->name, b->name);
    return order != 0 ? order : strcmp(a->limit->name, b->limit->name);
}

static int compare_after(const struct counter_page *page, const struct qd_limit_state *state)
{
    const char *separator =
        page->after.len > 0 ? memchr(page->after.ptr, '\x1f', page->after.len) : NULL;

    if (separator == NULL) {
        return 1;
    }
    struct qd_str name = {page->after.ptr, (size_t)(separator - page->after.ptr)};
    struct qd_str limit = {separator + 1, page->after.len - name.len - 1};
    int order = qd_slice_compare(state->name, name);
    return order != 0 ? order : qd_slice_compare(qd_str_of(state->limit->name), limit);
}

static bool counter_wanted(const struct counter_page *page, const struct qd_limit_state *state)
{
    const Quota__V1__ListCountersRequest *q = page->request;
    struct qd_str keys;
    struct qd_str tenant = qd_name_tenant(state->name, &keys);

    if (state->limit->unbooked) {
        return false; /* Envoy's: no tenant's, and their names may hold any bytes (I3) */
    }
    if (page->tenant.len > 0 && !(state->depth > 0 && qd_path_within(tenant, page->tenant))) {
        return false;
    }
    if (q->limit[0] != '\0' && strcmp(q->limit, state->limit->name) != 0) {
        char full[QD_STATE_NAME_MAX];
        struct qd_text text;
        qd_text_init(&text, full, sizeof(full));
        qd_describe_name(&text, state);
        if (strcmp(full, q->limit) != 0) {
            return false;
        }
    }
    return percent_used(state) >= (int64_t)q->min_used_percent && compare_after(page, state) > 0;
}

/* Insert in order; what falls off the end means that there are more. */
static void add_row(struct counter_page *page, const struct qd_limit_state *state)
{
    size_t at = page->count;

    while (at > 0 && compare_rows(page, state, &page->rows[at - 1].state) < 0) {
        at--;
    }
    if (at == page->room) {
        page->more = true;
        return;
    }
    size_t last = page->count;
    if (page->count < page->room) {
        page->count++;
    } else { /* the last row makes room */
        last = page->room - 1;
        page->more = true;
    }
    for (size_t i = last; i > at; i--) {
        page->rows[i] = page->rows[i - 1];
        page->rows[i].state.name.ptr = page->rows[i].name;
    }
    struct counter_row *row = &page->rows[at];
    row->state = *state;
    size_t len = state->name.len < sizeof(row->name) ? state->name.len : sizeof(row->name);
    memcpy(row->name, state->name.ptr, len);
    row->state.name = (struct qd_str){row->name, len};
}

static void walk_counters(struct counter_page *page, struct qd_shard *shard, struct qd_wall_ns now)
{
    struct qd_limit_state state;
    struct qd_hash128 id;
    uint64_t cursor = 0;
    bool more = true;

    while (more) {
        (void)pthread_mutex_lock(&shard->lock);
        for (unsigned i = 0; i < WALK_CHUNK && more; i++) {
            more = qd_core_counter_next(shard->core, &cursor, now, &id, &state);
            if (more && counter_wanted(page, &state)) {
                add_row(page, &state);
            }
        }
        (void)pthread_mutex_unlock(&shard->lock);
    }
}

static void put_page(struct counter_page *page, struct qd_wall_ns now)
{
    struct qd_out *out = &page->place->out;
    const struct qd_policy *policy = atomic_load(&page->place->node->published)->policy;

    for (size_t i = 0; i < page->count; i++) {
        qd_codec_put_state(out, 1, policy, &page->rows[i].state, now);
    }
    if (page->more && page->request->order != QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_FULLEST) {
        const struct qd_limit_state *last = &page->rows[page->count - 1].state;
        char token[QD_STATE_NAME_MAX + QD_NAME_MAX + 2];
        int len = snprintf(token, sizeof(token), "%.*s\x1f%s", (int)last->name.len, last->name.ptr,
                           last->limit->name);
        qd_out_hex(out, 2, (struct qd_str){token, (size_t)len});
    }
}

enum qd_error_code qd_admin_list_counters(struct qd_place *place, struct qd_call *call,
                                          struct qd_str bytes, struct qd_error *ret_error)
{
    struct counter_page page = {.place = place};
    struct qd_wall_ns now = qd_clock_now(&place->node->clock);
    uint32_t size = 0;

    page.request =
        qd_place_unpack(place, &quota__v1__list_counters_request__descriptor, bytes, ret_error);
    if (page.request == NULL) {
        return ret_error->code;
    }
    page.tenant = qd_str_of(page.request->tenant);
    if (qd_page_size(page.request->page_size, &size, ret_error) != QD_ERROR_NONE ||
        qd_optional_tenant(page.tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &page.tenant, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    page.room = size;
    page.rows = qd_scratch_take(&place->arena, size * sizeof(struct counter_row));
    if (page.rows == NULL || !qd_unhex(place, page.request->page_token, &page.after)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_PAGE_TOKEN,
                            "page_token: not as this server gave it; begin with the first page");
    }
    for (uint32_t i = 0; i < place->node->shards.count; i++) {
        walk_counters(&page, &place->node->shards.home[i], now);
    }
    walk_counters(&page, &place->node->shards.commons, now);
    put_page(&page, now);
    return QD_ERROR_NONE;
}
