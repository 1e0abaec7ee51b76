/* ShouldRateLimit. The points that comments name are those of the reference server's behaviour, by
 * which the cases of tests/e2e/test_rls.sh are named. */
#include "server/rpc/rls.h"

#include "server/rls/match.h"
#include "server/rpc/call.h"
#include "server/rpc/rls_headers.h"
#include "server/rpc/rls_metadata.h"
#include "server/rpc/rls_tenant.h"
#include "server/rpc/rls_unknown.h"
#include "server/rpc/server_internal.h"
#include "server/shard/rls_stats.h"

#include <stdlib.h>

/* --- one call --- */

enum aim {
    AIM_NOTHING, /* no limit is for it */
    AIM_RULE,
    AIM_OVERRIDE,
    AIM_REPLACED, /* point 11 */
};

struct decided {
    enum aim aim;
    struct qd_rls_match match; /* RULE, REPLACED */
};

struct qd_rls_work {
    struct qd_rls_request request;
    struct qd_rls_answer answer;
    struct decided decided[QD_RLS_DESCRIPTORS_MAX];
    bool quota[QD_RLS_DESCRIPTORS_MAX];
    bool looks[QD_RLS_DESCRIPTORS_MAX]; /* counts nothing */
    const struct qd_rls_rule *passed[QD_RLS_DESCRIPTORS_MAX];
    struct qd_rls_header_room headers;
    struct qd_rls_denial_room denial_headers;
    struct qd_rls_scratch scratch;
    const struct qd_rls_set *grown_for; /* what the scratch has room for; may be gone */
    bool slides;
    /* Of what is counted: "domain.key_value.key". */
    size_t name_len;
    char name[QD_RLS_TEXT_MAX + 1 + QD_RLS_STATS_RULE_MAX];
};

struct qd_rls_work *qd_rls_work_new(void)
{
    return calloc(1, sizeof(struct qd_rls_work));
}

void qd_rls_work_free(struct qd_rls_work *work)
{
    if (work != NULL) {
        qd_rls_scratch_release(&work->scratch);
        free(work);
    }
}

struct qd_rls_request *qd_rls_work_request(struct qd_rls_work *work)
{
    return &work->request;
}

struct qd_rls_answer *qd_rls_work_answer(struct qd_rls_work *work)
{
    return &work->answer;
}

static const struct qd_rls_rule *rule_of(const struct decided *decided)
{
    return decided->aim == AIM_RULE ? decided->match.rule : NULL;
}

/* What the request's descriptor `index` counts in. */
static enum qd_error_code aim(struct qd_rls_work *w, const struct qd_rls_domain *domain,
                              uint64_t seed, size_t index, struct qd_error *ret_error)
{
    const struct qd_rls_descriptor *d = &w->request.descriptors[index];
    struct decided *decided = &w->decided[index];
    decided->aim = AIM_NOTHING;
    if (domain == NULL) {
        return QD_ERROR_NONE; /* point 2 */
    }
    if (d->has_limit) { /* point 9 */
        if (qd_rls_unit_seconds((int)d->limit_unit) == 0) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                                "descriptors[%zu].limit.unit: %u is no unit of time", index,
                                (unsigned)d->limit_unit);
        }
        decided->aim = AIM_OVERRIDE;
    } else if (qd_rls_match(domain, d->entries, d->entry_count, seed, &w->scratch,
                            &decided->match)) {
        decided->aim = AIM_RULE;
    }
    return QD_ERROR_NONE;
}

/* Point 11: rules that another one replaces, if both are in the request, are not looked at. */
static void replace(struct qd_rls_work *w)
{
    bool gone[QD_RLS_DESCRIPTORS_MAX] = {false};
    size_t count = w->request.descriptor_count;

    for (size_t by = 0; by < count; by++) {
        const struct qd_rls_rule *rule = rule_of(&w->decided[by]);
        for (size_t i = 0; rule != NULL && rule->replace_count > 0 && i < count; i++) {
            const struct qd_rls_rule *other = rule_of(&w->decided[i]);
            gone[i] = gone[i] ||
                      (other != NULL && !other->unlimited && qd_rls_rule_replaces(rule, other));
        }
    }
    for (size_t i = 0; i < count; i++) {
        w->decided[i].aim = gone[i] ? AIM_REPLACED : w->decided[i].aim;
    }
}

/* Point 3. */
static int64_t hits_of(const struct qd_rls_request *request, const struct qd_rls_descriptor *d)
{
    uint64_t hits = d->has_hits ? d->hits : request->hits_addend > 0 ? request->hits_addend : 1;
    int64_t bounded = hits < (uint64_t)QD_AMOUNT_MAX ? (int64_t)hits : QD_AMOUNT_MAX;

    return d->negative ? -bounded : bounded;
}

static uint32_t at_most_uint32(int64_t value)
{
    return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* Of a rule or an override: for people. */
static void set_name(struct qd_rls_work *w, const struct qd_rls_domain *domain, size_t i)
{
    const struct qd_rls_descriptor *d = &w->request.descriptors[i];
    size_t len =
        w->decided[i].aim == AIM_OVERRIDE
            ? qd_rls_override_name(domain, d->entries, d->entry_count, w->name, sizeof(w->name))
            : qd_rls_match_name(&w->decided[i].match, d->entries, w->name, sizeof(w->name));

    w->name_len = len < sizeof(w->name) ? len : sizeof(w->name) - 1;
}

/* What a descriptor did, for its rule's series; refunds are in none. */
static void tell_stats(struct qd_rls_work *w, const struct qd_rls_set *set,
                       const struct qd_rls_domain *domain, size_t i, int64_t before, int64_t amount)
{
    const struct qd_rls_descriptor *d = &w->request.descriptors[i];
    const struct qd_rls_rule *rule = rule_of(&w->decided[i]);
    size_t skip = domain->name.len + 1; /* "domain." */

    if (set->series == NULL || d->negative) {
        return;
    }
    qd_rls_stats_add(
        set->series,
        &(struct qd_rls_seen){.domain = domain->name,
                              .rule = {w->name + skip, w->name_len > skip ? w->name_len - skip : 0},
                              .before = before,
                              .hits = hits_of(&w->request, d),
                              .amount = amount,
                              .shadow = rule != NULL && rule->shadow_mode});
}

/* What a descriptor counts in: the same keys under windows of another length are another counter.
 */
static void fill_hits(const struct qd_rls_set *set, const struct qd_rls_domain *domain,
                      struct qd_rls_work *w, size_t i, uint64_t seed, struct qd_rls_hits *ret_hits)
{
    const struct qd_rls_descriptor *d = &w->request.descriptors[i];
    const struct qd_rls_rule *rule = rule_of(&w->decided[i]);
    unsigned unit = rule != NULL ? rule->unit : d->limit_unit;

    set_name(w, domain, i);
    ret_hits->counter = rule != NULL
                            ? w->decided[i].match.counter
                            : qd_rls_override_counter(domain, d->entries, d->entry_count, seed);
    ret_hits->limit = set->limits[w->slides][unit];
    ret_hits->counter.lo ^= ret_hits->limit->identity.lo;
    ret_hits->counter.hi ^= ret_hits->limit->identity.hi;
    ret_hits->name = (struct qd_str){w->name, w->name_len};
    ret_hits->amount = rule != NULL ? rule->requests_per_unit : d->limit_requests;
    ret_hits->hits = hits_of(&w->request, d);
    /* Else a caller that asks again and again would find its sliding window full for ever. */
    ret_hits->if_it_fits = w->slides;
}

/* --rls-when-full: a full table denies, instead of an error that Envoy may let pass. Nothing is
 * counted; there may be room in a second. What is given back is lost. False: `code` stands. */
static bool is_denied(const struct qd_place *place, enum qd_error_code code,
                      const struct qd_rls_hits *hits, struct qd_rls_counted *ret_counted)
{
    if (code != QD_ERROR_OVERLOADED || !place->rpc->config.rls_options.deny_when_full) {
        return false;
    }
    struct qd_wall_ns now = qd_clock_now(&place->node->clock);
    *ret_counted = (struct qd_rls_counted){.before = hits->amount,
                                           .used = hits->amount,
                                           .over = hits->hits >= 0,
                                           .now = now,
                                           .resets_at = {now.ns + QD_NS_PER_S}};
    return true;
}

static enum qd_error_code count(struct qd_place *place, const struct qd_rls_set *set,
                                const struct qd_rls_domain *domain, size_t i,
                                struct qd_error *ret_error)
{
    struct qd_rls_work *w = place->rls;
    struct qd_rls_status *status = &w->answer.statuses[i];
    const struct qd_rls_rule *rule = rule_of(&w->decided[i]);
    struct qd_rls_hits hits = {0};
    struct qd_rls_counted counted;

    fill_hits(set, domain, w, i, place->node->shards.seed, &hits);
    hits.hits = w->looks[i] ? 0 : hits.hits;
    struct qd_worker_figures *figures = &place->worker->figures;
    enum qd_error_code code = qd_rls_count(place->worker, &hits, &counted, ret_error);
    if (is_denied(place, code, &hits, &counted)) {
        qd_count(&figures->rls_full);
    } else if (code != QD_ERROR_NONE) {
        return code;
    }
    bool over = counted.over; /* points 4 and 14 */
    qd_count(over ? &figures->rls_over : &figures->rls_ok);
    tell_stats(w, set, domain, i, counted.before, hits.amount);
    status->has_limit = true;
    status->requests_per_unit = at_most_uint32(hits.amount);
    status->unit = rule != NULL ? (uint32_t)rule->unit : w->request.descriptors[i].limit_unit;
    status->name = rule != NULL && rule->name != NULL
                       ? (struct qd_str){rule->name, strlen(rule->name)}
                       : (struct qd_str){NULL, 0};
    status->limit_remaining = over ? 0 : at_most_uint32(hits.amount - counted.used);
    status->has_reset = true;
    status->reset_s = (counted.resets_at.ns - counted.now.ns + QD_NS_PER_S - 1) / QD_NS_PER_S;
    status->code = over ? QD_RLS_OVER_LIMIT : QD_RLS_OK;
    if (over && rule != NULL && rule->shadow_mode) { /* point 6 */
        status->code = QD_RLS_OK;
    }
    return QD_ERROR_NONE;
}

/* Whether there is a counter for it: else it is answered with OK as it is (points 2, 8, 11). */
static bool is_counted(const struct decided *decided)
{
    const struct qd_rls_rule *rule = rule_of(decided);

    return decided->aim == AIM_OVERRIDE || (rule != NULL && !rule->unlimited);
}

/* STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT: where some would be over, the others only look. What
 * is given back is given back all the same. */
static enum qd_error_code stop_when_over(struct qd_place *place, const struct qd_rls_set *set,
                                         const struct qd_rls_domain *domain,
                                         struct qd_error *ret_error)
{
    struct qd_rls_work *w = place->rls;
    size_t count = w->request.descriptor_count;
    bool some_over = false;

    for (size_t i = 0; i < count; i++) {
        struct qd_rls_hits hits = {0};
        struct qd_rls_counted counted;
        w->looks[i] = false;
        if (!is_counted(&w->decided[i]) || w->request.descriptors[i].negative) {
            continue;
        }
        fill_hits(set, domain, w, i, place->node->shards.seed, &hits);
        int64_t asked = hits.hits;
        hits.hits = 0;
        enum qd_error_code code = qd_rls_count(place->worker, &hits, &counted, ret_error);
        if (code != QD_ERROR_NONE && !is_denied(place, code, &hits, &counted)) {
            return code;
        }
        w->looks[i] = counted.before + asked <= hits.amount;
        some_over = some_over || !w->looks[i];
    }
    for (size_t i = 0; i < count; i++) {
        w->looks[i] = w->looks[i] && some_over;
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code decide(struct qd_place *place, const struct qd_rls_set *set,
                                 const struct qd_rls_domain *domain, size_t i,
                                 struct qd_error *ret_error)
{
    struct qd_rls_work *w = place->rls;
    const struct qd_rls_rule *rule = rule_of(&w->decided[i]);

    w->answer.statuses[i] = (struct qd_rls_status){.code = QD_RLS_OK};
    if (!is_counted(&w->decided[i])) {
        bool unlimited = rule != NULL && rule->unlimited;
        w->answer.statuses[i].limit_remaining = unlimited ? UINT32_MAX : 0; /* point 8 */
        if (unlimited) {
            set_name(w, domain, i);
            tell_stats(w, set, domain, i, 0, INT64_MAX);
        }
        struct qd_worker_figures *figures = &place->worker->figures;
        qd_count(domain == NULL ? &figures->rls_unknown : &figures->rls_unlimited);
        return QD_ERROR_NONE;
    }
    return count(place, set, domain, i, ret_error);
}

/* Point 5. */
static enum qd_rls_code overall(const struct qd_rls_work *w)
{
    bool over = false;
    size_t quota = 0;
    size_t quota_over = 0;

    for (size_t i = 0; i < w->request.descriptor_count; i++) {
        bool this_over = w->answer.statuses[i].code == QD_RLS_OVER_LIMIT;
        quota += w->quota[i];
        quota_over += w->quota[i] && this_over;
        over = over || (this_over && !w->quota[i]);
    }
    return over || (quota > 0 && quota == quota_over) ? QD_RLS_OVER_LIMIT : QD_RLS_OK;
}

/* Point 13: an unlimited rule is not one that was passed. */
static void put_metadata(struct qd_rls_work *w, struct qd_out *out)
{
    for (size_t i = 0; i < w->request.descriptor_count; i++) {
        const struct qd_rls_rule *rule = rule_of(&w->decided[i]);
        bool passed = rule != NULL && !rule->unlimited && w->answer.statuses[i].code == QD_RLS_OK;
        w->passed[i] = passed ? rule : NULL;
    }
    qd_rls_metadata_put(&w->request, w->passed, w->request.descriptor_count, out);
}

static void answer(struct qd_place *place, const struct qd_rls_options *options)
{
    struct qd_rls_work *w = place->rls;
    size_t count = w->request.descriptor_count;

    for (size_t i = 0; i < count; i++) {
        const struct qd_rls_rule *rule = rule_of(&w->decided[i]);
        w->quota[i] = rule != NULL && rule->quota_mode && !rule->unlimited;
    }
    w->answer.status_count = count;
    w->answer.header_count = 0;
    w->answer.overall_code = overall(w);
    if (options->headers) { /* point 12 */
        qd_rls_headers_add(options, w->quota, &w->headers, &w->answer);
    }
    if (options->shadow && w->answer.overall_code == QD_RLS_OVER_LIMIT) { /* point 6 */
        w->answer.overall_code = QD_RLS_OK;
        qd_count(&place->worker->figures.rls_shadowed);
    }
    if (options->denial_headers && w->answer.overall_code == QD_RLS_OVER_LIMIT) {
        qd_rls_headers_deny(w->quota, &w->denial_headers, &w->answer);
    }
    qd_rls_encode(&w->answer, &place->out);
    if (options->metadata) {
        put_metadata(w, &place->out);
    }
}

static enum qd_error_code refuse(const struct qd_rls_set *set, const struct qd_rls_request *request,
                                 struct qd_error *ret_error)
{
    if (set == NULL) {
        return qd_error_set(
            ret_error, QD_ERROR_NO_RLS_CONFIG,
            "no rate limits are configured here; start quotad with --rls-config DIR");
    }
    if (request->domain.len == 0) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "domain: must not be empty");
    }
    if (request->descriptor_count == 0) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "descriptors: must not be empty");
    }
    return QD_ERROR_NONE;
}

/* What each of them counts in. */
static enum qd_error_code aim_all(struct qd_rls_work *w, const struct qd_rls_domain *domain,
                                  uint64_t seed, struct qd_error *ret_error)
{
    for (size_t i = 0; i < w->request.descriptor_count; i++) {
        enum qd_error_code code = aim(w, domain, seed, i, ret_error);
        if (code != QD_ERROR_NONE) {
            return code; /* those behind it are still the last request's */
        }
    }
    replace(w);
    return QD_ERROR_NONE;
}

static enum qd_error_code decide_all(struct qd_place *place, const struct qd_rls_set *set,
                                     const struct qd_rls_domain *domain, struct qd_error *ret_error)
{
    struct qd_rls_work *w = place->rls;
    enum qd_error_code code = QD_ERROR_NONE;

    memset(w->looks, 0, sizeof(w->looks));
    if (place->rpc->config.rls_options.stop_when_over) {
        code = stop_when_over(place, set, domain, ret_error);
    }
    for (size_t i = 0; i < w->request.descriptor_count && code == QD_ERROR_NONE; i++) {
        code = decide(place, set, domain, i, ret_error);
    }
    return code;
}

/* Point 2 answers a typing error with OK: only a warning and a figure tell of it. */
static const struct qd_rls_domain *find_domain(struct qd_place *place, const struct qd_rls_set *set)
{
    struct qd_str name = place->rls->request.domain;
    const struct qd_rls_domain *domain = qd_rls_rules_domain(set->rules, name);

    if (domain == NULL) {
        struct qd_node *node = place->node;
        uint64_t domains = atomic_load_explicit(&node->rls.domains, memory_order_relaxed);
        qd_rls_unknown_tell(name, domains, qd_clock_now(&node->clock));
    }
    return domain;
}

/* After a reload a thread gives back the room that only the old files needed. */
static void fit(struct qd_rls_work *w, const struct qd_rls_set *set)
{
    if (w->grown_for != set) {
        qd_rls_scratch_release(&w->scratch);
        w->grown_for = set;
    }
}

enum qd_error_code qd_rls_decide(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                 struct qd_error *ret_error)
{
    struct qd_rls_work *w = place->rls;
    const struct qd_rls_options *options = &place->rpc->config.rls_options;
    const struct qd_rls_set *set = atomic_load_explicit(&place->rpc->rls, memory_order_seq_cst);
    enum qd_error_code code = qd_rls_decode(bytes, &w->request, ret_error);

    if (code == QD_ERROR_NONE && call != NULL && qd_caller_is_bound(&call->caller) &&
        !qd_rls_tenant_is(place->rpc, w->request.domain)) {
        return qd_error_set(
            ret_error, QD_ERROR_TENANT_FORBIDDEN,
            "domain: its limits are not of tenants, and this credential is bound to "
            "\"%s\": ask in the domain \"%.*s\"",
            call->caller.tenant, (int)place->rpc->tenant_domain.len, place->rpc->tenant_domain.ptr);
    }
    if (code == QD_ERROR_NONE && qd_rls_tenant_is(place->rpc, w->request.domain)) {
        return call != NULL
                   ? qd_rls_tenant_ask(place, call, bytes, ret_error)
                   : qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                                  "domain: its descriptors name tenants, who are asked for over "
                                  "gRPC only");
    }
    if (code == QD_ERROR_NONE) {
        code = refuse(set, &w->request, ret_error); /* point 1 */
    }
    if (code != QD_ERROR_NONE) {
        return code;
    }
    const struct qd_rls_domain *domain = find_domain(place, set);
    w->slides = qd_rls_options_slides(options, w->request.domain);
    fit(w, set);
    code = aim_all(w, domain, place->node->shards.seed, ret_error);
    if (code == QD_ERROR_NONE) {
        code = decide_all(place, set, domain, ret_error);
    }
    if (code == QD_ERROR_NONE) {
        answer(place, options);
    }
    return code;
}

const struct qd_method qd_rls_methods[] = {
    {"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", QD_METHOD_INLINE, 64,
     qd_rls_decide, NULL, QD_ROLE_GATEWAY | QD_ROLE_ADMIN, QD_BOUND_CONFINED},
    {NULL, QD_METHOD_INLINE, 0, NULL, NULL, 0, QD_BOUND_REFUSED}};
