/* Deciding: all limits are tested, then all are charged, or none (D1, D2). */
#include "binding.h"
#include "estimate.h"
#include "event.h"
#include "expire.h"
#include "mutant.h"
#include "root.h"
#include "state.h"
#include "wheel.h"

#include <string.h>

/* Each check makes at most one hold and ends one that is due, or this many when they wait for
 * longer than a second: the table drains as fast as it fills, or faster. */
#define EXPIRE_LATE 3U
/* What a check that would be refused for want of room may end first. */
#define EXPIRE_AT_BOUND 64U
/* When a full table may have room again: a hint. */
#define CAPACITY_HINT_NS QD_NS_PER_S

/* One candidate under test. */
struct trial {
    const struct qd_binding *binding;
    struct qd_estimate estimate;
    unsigned count; /* limits that concern the request */
    struct qd_at at[QD_LIMITS_PER_CHECK_MAX];
    struct qd_ref ref[QD_LIMITS_PER_CHECK_MAX];
    int64_t cost[QD_LIMITS_PER_CHECK_MAX];
    int64_t total[QD_LIMITS_PER_CHECK_MAX];
    enum qd_unbounded unbounded[QD_LIMITS_PER_CHECK_MAX]; /* H1: it can't be held */
    const struct qd_limit_state *full; /* D12: fails closed, and has no room for a counter */
    struct qd_binding none;            /* stands in for the binding that found no room */
    uint32_t denying;                  /* bit i: limit i is enforced and doesn't fit */
    uint32_t shadow;                   /* bit i: limit i is a shadow and doesn't fit */
};

struct deciding {
    struct qd_core *home;
    struct qd_core *commons;
    const struct qd_check *check;
    struct qd_wall_ns now;
    struct qd_verdict *verdict;
    bool zero; /* the amounts are all 0 */
    bool peek; /* nothing is to change (D8) */
};

static bool enforced(const struct qd_limit *limit)
{
    return limit->action == QD_ENFORCE || QD_MUTANT(D10);
}

/* Ask memory for all that the binding names, before any of it is needed. */
static void prefetch(const struct qd_core *home, const struct qd_core *commons,
                     const struct qd_binding *b, const struct qd_ref *refs, unsigned count)
{
    struct qd_wall_ns now = {.ns = home->latest_ns};
    for (unsigned i = 0; i < count; i++) {
        const struct qd_core *core = refs[i].shared ? commons : home;
        qd_table_prefetch(core, refs[i]);
        if (refs[i].class == QD_CLASS_NARROW) {
            qd_counter_prefetch_slot(qd_slab_at(&core->counters[QD_CLASS_NARROW], refs[i].index),
                                     core->limits[refs[i].limit], now);
        }
    }
    qd_fetch(qd_root_at(home, b->root));
    qd_names_prefetch(&home->names, b->name);
}

static void begin_estimate(const struct deciding *d, const struct qd_candidate *candidate,
                           struct trial *t)
{
    t->estimate.core = d->home;
    t->estimate.check = d->check;
    t->estimate.candidate = candidate;
    t->estimate.now = d->now;
    t->estimate.peek = d->zero;
    qd_estimate_begin(&t->estimate, &d->verdict->estimate);
}

/* D12: the binding found no room: no limit is tested. */
static void begin_unbound(const struct qd_candidate *candidate, struct trial *t)
{
    const struct qd_unbound *unbound = candidate->unbound;
    t->none = (struct qd_binding){.key = candidate->binding,
                                  .valid_until_ns = unbound->valid_until.ns,
                                  .root = QD_SLAB_NONE,
                                  .blocked = unbound->blocked};
    t->binding = &t->none;
    t->estimate.binding = &t->none;
    t->full = unbound->full;
}

/* Form the costs. False: bind first. */
static bool begin(struct deciding *d, const struct qd_candidate *candidate, struct trial *t)
{
    struct qd_ref refs[QD_LIMITS_PER_CHECK_MAX];
    qd_binding_prefetch(d->home, candidate->binding);
    begin_estimate(d, candidate, t); /* while the binding is on its way */
    if (candidate->unbound != NULL) {
        begin_unbound(candidate, t);
        return true;
    }

    struct qd_binding *binding = qd_binding_find(d->home, candidate->binding, d->check->epoch);
    if (binding == NULL || !qd_binding_items(d->home, binding, refs, d->now)) {
        return false;
    }
    prefetch(d->home, d->commons, binding, refs, binding->count);
    t->binding = binding;
    t->estimate.binding = binding; /* while the counters are */
    for (unsigned i = 0; i < t->binding->count; i++) {
        const struct qd_core *core = refs[i].shared ? d->commons : d->home;
        if (qd_estimate_cost(&t->estimate, core->limits[refs[i].limit], &t->cost[t->count],
                             &t->unbounded[t->count])) {
            t->ref[t->count++] = refs[i];
        }
    }
    qd_estimate_end(&t->estimate);
    return qd_binding_use(d->home, binding, d->now);
}

/* One pass of tests: nothing is charged. False: a counter is gone, bind first (D13). */
static bool test(const struct deciding *d, struct trial *t)
{
    t->denying = 0;
    t->shadow = 0;
    for (unsigned i = 0; i < t->count; i++) {
        struct qd_at *at = &t->at[i];
        if (!qd_table_deref(d->home, d->commons, t->ref[i], at)) {
            return false; /* D13 */
        }
        t->cost[i] = qd_estimate_clamp(at->limit, at->counter->amount, t->cost[i]);
        t->total[i] = qd_counter_total(at, d->now);
        if (t->unbounded[i] == QD_BOUNDED && qd_counter_fits(at, t->total[i], t->cost[i])) {
            continue;
        }
        if (enforced(at->limit)) {
            t->denying |= UINT32_C(1) << i;
        } else {
            t->shadow |= UINT32_C(1) << i; /* D10 */
        }
    }
    return true;
}

/* Room left after the request, of limit i, is a smaller part of the whole than limit j's. */
static bool is_tighter(const struct trial *t, unsigned i, unsigned j)
{
    bool cap_i = t->at[i].limit->algorithm == QD_PER_REQUEST;
    bool cap_j = t->at[j].limit->algorithm == QD_PER_REQUEST;
    if (cap_i != cap_j) {
        return cap_j; /* a cap on one request is no budget that runs out */
    }
    int64_t capacity_i = qd_counter_capacity(&t->at[i]);
    int64_t capacity_j = qd_counter_capacity(&t->at[j]);
    int64_t left_i = capacity_i - t->total[i] - t->cost[i]; /* totals and costs are below 2^62 */
    int64_t left_j = capacity_j - t->total[j] - t->cost[j];
    return (qd_int128)left_i * capacity_j < (qd_int128)left_j * capacity_i;
}

/* A counter that no attribute splits is named by its tenant's path, which is at hand already. */
static struct qd_str name_of(const struct deciding *d, const struct trial *t,
                             const struct qd_at *at)
{
    if (at->limit->per != 0 || at->counter->depth == 0) {
        return qd_table_name(at);
    }
    struct qd_str path = qd_names_text(&d->home->names, t->binding->name);
    return qd_tenant_path_prefix(path, (uint8_t)at->counter->depth);
}

static void name_tightest(const struct deciding *d, const struct trial *t)
{
    unsigned tightest = t->count;
    for (unsigned i = 0; i < t->count; i++) {
        if (enforced(t->at[i].limit) && (tightest == t->count || is_tighter(t, i, tightest))) {
            tightest = i;
        }
    }
    if (tightest == t->count) {
        return;
    }
    const struct qd_at *at = &t->at[tightest];
    int64_t held = qd_counter_held(at);
    int64_t capacity = qd_counter_capacity(at);
    struct qd_limit_state *state = &d->verdict->binding;
    state->limit = at->limit;
    state->amount = at->counter->amount;
    state->burst = (int64_t)at->counter->burst;
    state->depth = (uint8_t)at->counter->depth;
    state->name = name_of(d, t, at);
    state->used = t->total[tightest] - held;
    state->held = held;
    state->estimate = t->cost[tightest];
    state->remaining = t->total[tightest] < capacity ? capacity - t->total[tightest] : 0;
    state->resets_at = d->peek ? qd_counter_resets_at(at, d->now) : qd_counter_frees_at(at, d->now);
    state->retry_at = d->now;
}

static void state_for(const struct deciding *d, const struct trial *t, unsigned i,
                      struct qd_limit_state *ret_state)
{
    qd_state_for(&t->at[i], t->cost[i], d->now, ret_state);
    if (t->unbounded[i] != QD_BOUNDED) {
        ret_state->unbounded = t->unbounded[i];
        ret_state->denies = true;
        ret_state->never_fits = true;
        ret_state->retry_at.ns = QD_WALL_NEVER;
        ret_state->retry_is_hint = false;
    }
}

/* D3: the limit that takes longest names the time, one that never fits above all. */
static void name_denying(const struct deciding *d, const struct trial *t, struct qd_verdict *v)
{
    bool first = true;
    v->decision = QD_DENY;
    v->reason = QD_REASON_LIMIT;
    for (unsigned i = 0; i < t->count; i++) {
        if ((t->denying >> i & 1U) == 0) {
            continue;
        }
        struct qd_limit_state state;
        state_for(d, t, i, &state);
        v->retry_is_hint = v->retry_is_hint || state.retry_is_hint;
        if (first || (state.never_fits && !v->binding.never_fits) ||
            (state.never_fits == v->binding.never_fits && state.retry_at.ns > v->retry_at.ns)) {
            v->binding = state;
            v->retry_at = state.retry_at;
        }
        first = false;
    }
    if (v->binding.never_fits) {
        v->reason = QD_REASON_NEVER_FITS;
    }
    v->retry_useful = v->retry_at.ns != QD_WALL_NEVER;
    v->retry_is_hint = v->retry_is_hint && v->retry_useful;
    if (QD_MUTANT(D3) && v->retry_useful) {
        v->retry_at.ns++;
    }
}

static void name_blocked(const struct trial *t, struct qd_verdict *v)
{
    v->decision = QD_DENY;
    v->reason = QD_REASON_BLOCKED;
    v->retry_at.ns = t->binding->valid_until_ns;
    v->retry_useful = v->retry_at.ns != QD_WALL_NEVER;
    v->retry_is_hint = v->retry_useful;
}

static void fill_states(const struct deciding *d, const struct trial *t,
                        struct qd_limit_state *states, size_t *ret_count)
{
    if (states == NULL) {
        return;
    }
    for (unsigned i = 0; i < t->count; i++) {
        state_for(d, t, i, &states[i]);
    }
    if (ret_count != NULL) {
        *ret_count = t->count;
    }
}

static void fill_estimate(const struct trial *t, struct qd_verdict *v)
{
    v->estimate_cost_nano = qd_usage_get(&v->estimate, QD_METER_COST);
    v->estimate_charge_nano = qd_usage_get(&v->estimate, QD_METER_CHARGE);
    v->unpriced = t->estimate.unpriced;
    v->shadow_denials = (uint32_t)__builtin_popcount(t->shadow);
}

/* D12: no room for a hold, or for a limit's counter. */
static void name_capacity(const struct deciding *d)
{
    struct qd_verdict *v = d->verdict;
    v->decision = QD_DENY;
    v->reason = QD_REASON_CAPACITY;
    v->retry_at.ns = d->now.ns + CAPACITY_HINT_NS;
    v->retry_useful = true;
    v->retry_is_hint = true;
    v->reservation = 0;
}

static bool deny_capacity(const struct deciding *d)
{
    name_capacity(d);
    d->home->stats.capacity_denied++;
    return false;
}

static void name_full(const struct deciding *d, const struct qd_limit_state *full)
{
    struct qd_verdict *v = d->verdict;
    name_capacity(d);
    v->binding = *full;
    v->binding.denies = true;
    v->binding.retry_at = v->retry_at;
    v->binding.retry_is_hint = true;
}

static bool wants_input_price(const struct trial *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        const struct qd_limit *limit = t->at[i].limit;
        if ((limit->on_expiry == QD_KEEP_INPUT || limit->on_failed == QD_KEEP_INPUT) &&
            (qd_weights_meters(&limit->admit) & QD_METERS_MONEY) != 0) {
            return true;
        }
    }
    return false;
}

static struct qd_reservation *take_reservation(const struct deciding *d, const struct qd_root *root)
{
    uint32_t quota = root != NULL ? d->home->config.reservations_per_root : 0;
    for (unsigned try = 0; try < 2; try++) {
        if (quota == 0 || root->reservations < quota) {
            struct qd_reservation *r = qd_reservation_take(d->home);
            if (r != NULL) {
                return r;
            }
        }
        if (QD_MUTANT(D12_due) ||
            qd_expire_some(d->home, d->commons, d->now, EXPIRE_AT_BOUND) == 0) {
            break;
        }
    }
    bool in_quota = quota == 0 || root->reservations < quota;
    if (in_quota && qd_reservation_forget_kept(d->home)) { /* D12: a new hold before an old one */
        return qd_reservation_take(d->home);
    }
    return NULL;
}

/* Make the hold's record; what it charges comes after. False: CAPACITY, nothing changed. */
static bool reserve(const struct deciding *d, const struct trial *t)
{
    const struct qd_check *check = d->check;
    struct qd_root *root =
        t->binding->root != QD_SLAB_NONE ? qd_root_at(d->home, t->binding->root) : NULL;
    struct qd_reservation *r = take_reservation(d, root);
    if (r == NULL) {
        return deny_capacity(d);
    }

    struct qd_charge charges[QD_LIMITS_PER_CHECK_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < t->count; i++) {
        if (t->at[i].limit->algorithm == QD_PER_REQUEST) {
            continue;
        }
        charges[count] = (struct qd_charge){.ref = t->ref[i], .amount = t->cost[i]};
        charges[count++].ref.resets = t->at[i].counter->resets;
    }
    r->made_at_ns = d->now.ns;
    r->expires_ns = d->now.ns + check->ttl_ns;
    r->linked_s = UINT32_MAX;
    r->request = (struct qd_hash128){0};
    r->root = QD_SLAB_NONE;
    r->name = 0;
    if (!qd_reservation_fill(d->home, r, charges, count, t->estimate.worst)) {
        qd_reservation_free(d->home, r);
        return deny_capacity(d);
    }
    r->request = check->request;
    r->attempt = check->attempt;
    r->root = t->binding->root;
    r->name = t->binding->name;
    r->binding = t->binding->key;
    r->content = check->content;
    r->epoch = check->epoch;
    r->weight = QD_MUTANT(D11) ? 1 : check->weight; /* D11 */
    r->priority = check->priority;
    r->candidate = (uint8_t)d->verdict->candidate;
    r->input_nano = wants_input_price(t) ? qd_estimate_input_nano(&t->estimate) : 0;

    if (root != NULL) {
        root->reservations++;
    }
    qd_names_hold(&d->home->names, r->name);
    if (qd_request_given(r->request)) {
        uint32_t place = (uint32_t)(r - d->home->reservations);
        bool inserted = qd_index_insert(&d->home->request_index, (uint32_t)r->request.hi, place);
        QD_CHECK(inserted);
    }
    qd_wheel_link(d->home, r, qd_due_second(r->expires_ns), d->now);
    d->verdict->reservation = r->number;
    d->verdict->made_at = d->now;
    d->verdict->expires.ns = r->expires_ns;
    return true;
}

/* One pass of charges: all of them (D1). */
static void charge(const struct deciding *d, const struct trial *t)
{
    uint32_t until_s = qd_seconds_of(d->now);
    if (d->check->reserve) {
        until_s = (uint32_t)qd_due_second(d->now.ns + d->check->ttl_ns);
    }
    unsigned count = t->count;
    if (QD_MUTANT(D1) && count > 1) {
        count--;
    }
    for (unsigned i = 0; i < count; i++) {
        qd_event_look(&t->at[i], d->now);
        qd_counter_take(&t->at[i], t->cost[i], d->check->reserve, d->now);
        qd_table_pin(&t->at[i], until_s);
        qd_event_watch(&t->at[i], d->now);
    }
}

static void allow(const struct deciding *d, const struct trial *t)
{
    struct qd_verdict *v = d->verdict;
    v->decision = QD_ALLOW;
    v->reason = QD_REASON_NONE;
    v->retry_at = d->now;
    name_tightest(d, t);
    if (d->peek && !QD_MUTANT(D8)) {
        return; /* D8 */
    }
    if (d->check->reserve && !reserve(d, t)) {
        return;
    }
    charge(d, t);
    d->home->stats.allowed++;
    d->home->stats.shadow_denied += v->shadow_denials;
}

/* S1: the same (request, attempt) again gets the same hold, or is told that it isn't the same. */
static bool answer_repeated(const struct deciding *d)
{
    const struct qd_check *check = d->check;
    if (!qd_request_given(check->request) || !check->reserve || d->peek || QD_MUTANT(S1_repeat)) {
        return false;
    }
    struct qd_reservation *r = qd_reservation_of_request(d->home, check->request, check->attempt);
    if (r != NULL && r->state == QD_RESERVATION_OPEN && qd_is_due(r, d->now)) {
        qd_expire_hold(d->home, d->commons, r, d->now);
        return false;
    }
    if (r == NULL || r->state != QD_RESERVATION_OPEN) {
        return false;
    }
    struct qd_verdict *v = d->verdict;
    if (r->content != check->content && !QD_MUTANT(S1_conflict)) {
        v->decision = QD_CONFLICT;
        return true;
    }
    v->decision = QD_ALLOW;
    v->repeated = true;
    v->candidate = r->candidate;
    v->reservation = r->number;
    v->made_at.ns = r->made_at_ns;
    v->expires.ns = r->expires_ns;
    v->retry_at = d->now;
    qd_reservation_expected(d->home, r, &v->estimate);
    v->estimate_cost_nano = qd_usage_get(&v->estimate, QD_METER_COST);
    v->estimate_charge_nano = qd_usage_get(&v->estimate, QD_METER_CHARGE);
    d->home->stats.repeated++;
    return true;
}

/* Test one candidate into `t`. False: it needs a binding. */
static bool try_candidate(struct deciding *d, size_t i, struct trial *t)
{
    t->count = 0;
    t->full = NULL;
    if (!begin(d, &d->check->candidates[i], t) || !test(d, t)) {
        return false;
    }
    /* Holds that are over may be what is in the way. */
    if (t->denying != 0 && qd_expire_some(d->home, d->commons, d->now, EXPIRE_AT_BOUND) > 0) {
        return test(d, t);
    }
    return true;
}

static bool passes(const struct trial *t)
{
    return !t->binding->blocked && t->full == NULL && t->denying == 0 && !t->estimate.refused;
}

static void deny(const struct deciding *d, const struct trial *t, struct qd_verdict *v)
{
    if (t->binding->blocked) {
        name_blocked(t, v);
    } else if (t->full != NULL) {
        name_full(d, t->full);
    } else if (t->estimate.refused) { /* P8 */
        v->decision = QD_DENY;
        v->reason = QD_REASON_UNKNOWN_PRICE;
        v->retry_at.ns = QD_WALL_NEVER;
    } else {
        name_denying(d, t, v);
    }
}

/* D9: of candidates that all fail, the one that passes first is the one that is named. */
static bool is_sooner(const struct qd_verdict *a, const struct qd_verdict *b)
{
    return a->retry_at.ns < b->retry_at.ns;
}

/* All but the estimate's amounts, field by field: this is on the way of every decision. */
static void clear_verdict(struct qd_verdict *v)
{
    v->decision = QD_ALLOW;
    v->reason = QD_REASON_NONE;
    v->candidate = 0;
    v->binding = (struct qd_limit_state){0};
    v->retry_at.ns = 0;
    v->retry_useful = false;
    v->retry_is_hint = false;
    v->reservation = 0;
    v->made_at.ns = 0;
    v->expires.ns = 0;
    v->repeated = false;
    v->estimate_cost_nano = 0;
    v->estimate_charge_nano = 0;
    v->unpriced = false;
    v->shadow_denials = 0;
    v->estimate.present = 0;
}

static void count_denied(const struct deciding *d)
{
    struct qd_core_stats *stats = &d->home->stats;
    if (d->peek) {
        return;
    }
    if (d->verdict->reason == QD_REASON_CAPACITY) {
        stats->capacity_denied++;
    } else {
        stats->denied++;
    }
}

static void decide(struct deciding *d, struct qd_limit_state *states, size_t *ret_state_count)
{
    struct trial t;
    struct qd_verdict best;
    struct qd_verdict *v = d->verdict;
    size_t count = d->check->candidate_count;
    for (size_t i = 0; i < count; i++) {
        clear_verdict(v);
        v->candidate = i;
        if (!try_candidate(d, i, &t)) {
            v->decision = QD_NEEDS_BINDING; /* D13 */
            return;
        }
        fill_estimate(&t, v);
        if (passes(&t)) {
            fill_states(d, &t, states, ret_state_count);
            allow(d, &t);
            return;
        }
        deny(d, &t, v);
        if (QD_MUTANT(D2)) {
            charge(d, &t);
        }
        if (i > 0 && !is_sooner(v, &best)) {
            continue;
        }
        fill_states(d, &t, states, ret_state_count); /* what the verdict is about */
        if (QD_MUTANT(D9)) {
            break;
        }
        if (count > 1) {
            best = *v;
        }
    }
    if (count > 1 && !QD_MUTANT(D9)) {
        *v = best;
    }
    count_denied(d);
}

static struct deciding begin_deciding(struct qd_core *home, struct qd_core *commons,
                                      const struct qd_check *check, struct qd_wall_ns now,
                                      struct qd_verdict *ret_verdict)
{
    QD_CHECK(check->candidate_count >= 1 && check->candidate_count <= QD_CANDIDATES_MAX);
    struct deciding d = {.home = home, .commons = commons, .check = check, .verdict = ret_verdict};
    d.now = qd_slice_now(home, commons, now);
    d.zero = qd_check_is_peek(check);
    d.peek = check->dry_run || d.zero;
    clear_verdict(ret_verdict);
    return d;
}

void qd_core_check(struct qd_core *home, struct qd_core *commons, const struct qd_check *check,
                   struct qd_wall_ns now, struct qd_verdict *ret_verdict,
                   struct qd_limit_state *states, size_t *ret_state_count)
{
    struct deciding d = begin_deciding(home, commons, check, now, ret_verdict);
    if (ret_state_count != NULL) {
        *ret_state_count = 0;
    }
    qd_binding_prefetch(home, check->candidates[0].binding);
    if (qd_request_given(check->request)) {
        qd_index_prefetch(&home->request_index, (uint32_t)check->request.hi);
    }
    qd_expire_some(home, commons, d.now, qd_core_expire_is_late(home, d.now) ? EXPIRE_LATE : 1);
    if (!answer_repeated(&d)) {
        decide(&d, states, ret_state_count);
    }
}

bool qd_core_repeat(struct qd_core *home, struct qd_core *commons, const struct qd_check *check,
                    struct qd_wall_ns now, struct qd_verdict *ret_verdict)
{
    struct deciding d = begin_deciding(home, commons, check, now, ret_verdict);
    return answer_repeated(&d);
}

void qd_core_prefetch(const struct qd_core *home, struct qd_hash128 binding)
{
    qd_binding_prefetch(home, binding);
}

void qd_core_prefetch_counters(const struct qd_core *home, const struct qd_core *commons,
                               struct qd_hash128 binding)
{
    const struct qd_binding *b = qd_binding_any(home, binding);
    if (b != NULL) {
        prefetch(home, commons, b, b->items,
                 b->count < QD_BINDING_ITEMS ? b->count : QD_BINDING_ITEMS);
    }
}
