/* The core against the naive model: random worlds, random operations, every answer compared.
 *
 * QD_SEED=<n> repeats a run; QD_MODEL_OPERATIONS=<n> sets how many operations (default 1,000,000;
 * 200,000 under AddressSanitizer, which is several times slower), in worlds of 10,000 each. */
#include "fixture.h"
#include "model.h"

#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND           QD_NS_PER_S
#define WORLD_OPERATIONS 10000U
#if defined(__SANITIZE_ADDRESS__)
#define OPERATIONS 200000U
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OPERATIONS 200000U
#endif
#endif
#ifndef OPERATIONS
#define OPERATIONS 1000000U
#endif
#define LIMITS  14U
#define TENANTS 4U
#define MODELS  2U
#ifndef COMPARE_EVERY
#define COMPARE_EVERY 25U /* operations; -DCOMPARE_EVERY=1 to see which one it was */
#endif
#define REMEMBERED 64U
#define STORED     512U

static const char *const tenants[TENANTS] = {"acme/a/1", "acme/a/2", "acme/b/1", "globex/c/1"};
static const char *const models[MODELS] = {"large", "small"};

/* A check that was allowed: what a gateway would know of it. */
struct ticket {
    uint64_t reservation;
    unsigned tenant, model;
    struct qd_usage estimate;
    int64_t made_ns;
    struct qd_hash128 request;
    uint32_t attempt;
};

struct world {
    struct fx f;
    struct model *m;
    struct qd_prng g;
    unsigned depth[LIMITS];
    int model_only[LIMITS]; /* -1: any */
    bool enabled[LIMITS];
    int64_t amount[LIMITS];
    struct ticket tickets[REMEMBERED];
    unsigned ticket_count;
    struct qd_saved stored[STORED];
    unsigned stored_count;
    uint64_t next_request;
    char last[160]; /* the last operation, for the message when something differs */
    uint64_t denied, allowed, settled, expired, evicted, restored, skipped;
};

static int64_t between(struct world *w, int64_t low, int64_t high)
{
    return qd_prng_between(&w->g, low, high);
}

static bool chance(struct world *w, unsigned one_in)
{
    return qd_prng_below(&w->g, one_in) == 0;
}

/* --- making a world --------------------------------------------------------------------------- */

static int64_t seconds_of(const struct qd_limit *l)
{
    static const int64_t calendar[] = {3600, 86400, 604800, 2592000, 31536000};
    if (l->algorithm == QD_CALENDAR) {
        return calendar[l->calendar.unit];
    }
    return l->algorithm == QD_PREPAID ? 1000000 : l->window_ns / SECOND;
}

static void weigh_at_random(struct world *w, struct qd_limit *l, int64_t *ret_unit)
{
    struct qd_weights *a = &l->admit;
    a->count = 1;
    a->den = (int32_t)between(w, 1, 3);
    a->item[0].num = a->den;
    switch (between(w, 0, 4)) {
    case 0:
        a->item[0].meter = QD_METER_REQUESTS;
        *ret_unit = 1;
        break;
    case 1:
        a->item[0].meter = QD_METER_COST;
        *ret_unit = 6000;
        break;
    case 2:
        a->item[0].meter = QD_METER_OUTPUT_TOKENS;
        *ret_unit = 300;
        break;
    default:
        a->count = 3;
        a->item[0] = (struct qd_weight){QD_METER_INPUT_TOKENS, (int32_t)between(w, 1, 3)};
        a->item[1] = (struct qd_weight){QD_METER_OUTPUT_TOKENS, (int32_t)between(w, 1, 5)};
        a->item[2] = (struct qd_weight){QD_METER_CACHED_INPUT_TOKENS, (int32_t)between(w, -1, 1)};
        *ret_unit = 1000;
        break;
    }
    if (l->algorithm == QD_CONCURRENCY) {
        *a = (struct qd_weights){.count = 1, .den = 1, .item = {{QD_METER_CONCURRENCY, 1}}};
        *ret_unit = 1;
    }
    l->settle = *a;
    if (a->count == 3 && chance(w, 2)) {
        l->settle.item[1].num = (int32_t)between(w, 1, 5);
    }
}

static void make_limit(struct world *w, unsigned i)
{
    struct qd_limit *l = fx_limit(&w->f, (enum qd_algorithm)between(w, 0, 7), QD_METER_REQUESTS);
    int64_t unit;
    weigh_at_random(w, l, &unit);
    l->window_ns = between(w, 1, 300) * SECOND;
    if (l->algorithm == QD_FIXED_WINDOW && chance(w, 2)) {
        l->window_ns = between(w, 3600, 7200) * SECOND;
    }
    l->slots = (uint16_t)between(w, 1, 60);
    l->weighted = chance(w, 3);
    l->calendar.unit = (enum qd_calendar_unit)between(w, 0, 4);
    l->admit_test = chance(w, 6) ? QD_ADMIT_USED_BELOW : QD_ADMIT_USED_PLUS_ESTIMATE;
    l->action = chance(w, 5) ? QD_SHADOW : QD_ENFORCE;
    l->consistency = chance(w, 6) ? QD_HARD : QD_GOSSIP;
    l->output_estimate = (enum qd_output_estimate)between(w, 0, 3);
    if (l->output_estimate == QD_OUTPUT_QUANTILE) {
        l->output_estimate = QD_OUTPUT_WORST_CASE; /* quantiles are another file's */
    }
    l->default_max_output = chance(w, 3) ? between(w, 50, 600) : 0;
    l->clamp_permille_of_amount = chance(w, 5) ? (uint16_t)between(w, 10, 500) : 0;
    l->refunds = !chance(w, 6);
    l->on_expiry = (enum qd_keep)between(w, 0, 2);
    l->on_failed = (enum qd_keep)between(w, 0, 2);
    if (l->algorithm == QD_TOKEN_BUCKET || l->algorithm == QD_LEAKY_BUCKET) {
        /* What several holds give a bucket back in the same second depends on their order. */
        l->on_expiry = QD_KEEP_ALL;
    }
    w->depth[i] = (unsigned)between(w, 0, 3);
    w->model_only[i] = chance(w, 4) ? (int)between(w, 0, 1) : -1;
    w->enabled[i] = !chance(w, 6);
    w->amount[i] = unit * between(w, 1, 4) * (1 + seconds_of(l) / (1 + between(w, 0, 3)));
    if (l->algorithm == QD_PER_REQUEST || l->algorithm == QD_CONCURRENCY) {
        w->amount[i] = unit * between(w, 1, 40);
    }
}

static void make_world(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    qd_prng_init(&w->g, seed);
    bool narrow = seed % 2 == 0; /* every other world has hardly any room for counters */
    uint32_t room = narrow ? 12 : 64;
    struct qd_core_config config = {.narrow_windows = room,
                                    .wide_windows = room,
                                    .buckets = room,
                                    .gauges = 2 * room,
                                    .bindings = 8,
                                    .reservations = 4000,
                                    .progress = 4000};
    fx_init(&w->f, &config);
    w->m = calloc(1, sizeof(*w->m));
    cr_assert_not_null(w->m);
    w->m->now_ns = w->f.now.ns;
    fx_expire(&w->f); /* the core has seen this time too: the first step may go back (D5) */
    w->next_request = 1;
    for (unsigned i = 0; i < LIMITS; i++) {
        make_limit(w, i);
    }
}

/* --- what a shell does ------------------------------------------------------------------------ */

static const char *path_of(const struct world *w, unsigned tenant, unsigned limit, char buffer[32])
{
    unsigned left = w->depth[limit];
    size_t size = 0;
    for (const char *p = tenants[tenant]; left > 0 && *p != '\0'; p++) {
        if (*p == '/' && --left == 0) {
            break;
        }
        buffer[size++] = *p;
    }
    buffer[size] = '\0';
    return buffer;
}

/* Fill the fixture's items with what applies to a request now. */
static unsigned apply(struct world *w, unsigned tenant, unsigned model, char buffers[LIMITS][32])
{
    struct fx *f = &w->f;
    f->tenant = tenants[tenant];
    f->model = models[model];
    f->item_count = 0;
    for (unsigned i = 0; i < LIMITS; i++) {
        if (w->enabled[i] && (w->model_only[i] < 0 || w->model_only[i] == (int)model)) {
            fx_apply(f, &f->limits[i], w->amount[i], path_of(w, tenant, i, buffers[i]));
            f->items[f->item_count - 1].burst = 1 + w->amount[i] / 2;
        }
    }
    return f->item_count;
}

static void evict_one(struct world *w, struct qd_core *core)
{
    struct qd_saved state;
    if (!qd_core_evict(core, w->f.now, &state)) {
        return;
    }
    w->evicted++;
    for (unsigned i = 0; i < w->stored_count; i++) {
        if (qd_hash128_equal(w->stored[i].id, state.id)) {
            w->stored[i] = state;
            return;
        }
    }
    cr_assert_lt(w->stored_count, STORED);
    w->stored[w->stored_count++] = state;
}

static void restore_new(struct world *w)
{
    uint32_t made = qd_core_bound_new(w->f.home);
    for (unsigned i = 0; i < w->f.item_count; i++) {
        for (unsigned s = 0; (made >> i & 1U) && s < w->stored_count; s++) {
            if (!qd_hash128_equal(w->stored[s].id, w->f.items[i].counter)) {
                continue;
            }
            struct qd_core *core = w->f.items[i].depth == 0 ? w->f.commons : w->f.home;
            cr_assert(qd_core_restore(core, &w->stored[s], w->f.now));
            w->stored[s] = w->stored[--w->stored_count];
            w->restored++;
            break;
        }
    }
}

/* Bind, with eviction where there is no room; false if all is live. The model hears of it. */
static bool bind(struct world *w, unsigned tenant, unsigned model)
{
    char buffers[LIMITS][32];
    apply(w, tenant, model, buffers);
    for (unsigned tries = 0; fx_try_bind(&w->f) != QD_BOUND; tries++) {
        if (tries == 40) {
            w->skipped++;
            return false;
        }
        evict_one(w, tries % 2 == 0 ? w->f.home : w->f.commons);
    }
    restore_new(w);
    for (unsigned i = 0; i < w->f.item_count; i++) {
        m_bind(w->m, &w->f.items[i]);
    }
    return true;
}

static unsigned model_items(struct world *w, unsigned tenant, unsigned model,
                            struct m_item items[LIMITS])
{
    char buffers[LIMITS][32];
    unsigned count = apply(w, tenant, model, buffers);
    for (unsigned i = 0; i < count; i++) {
        items[i].limit = w->f.items[i].limit;
        items[i].counter = m_counter(w->m, w->f.items[i].counter);
    }
    return count;
}

/* --- operations ------------------------------------------------------------------------------- */

static void pass_time(struct world *w)
{
    int64_t step = between(w, 0, SECOND / 2);
    if (chance(w, 3)) {
        step = 0;
    }
    if (chance(w, 50)) {
        step = between(w, 0, 100 * SECOND);
    }
    if (chance(w, 1000)) {
        step = between(w, 0, 5 * QD_NS_PER_HOUR);
    }
    if (chance(w, 5000)) {
        step = between(w, 0, 20 * QD_NS_PER_DAY);
    }
    if (chance(w, 60)) {
        step = -between(w, 0, 100 * SECOND); /* the clock steps back, and later forward again */
    }
    fx_advance(&w->f, step);
    m_time(w->m, w->f.now.ns);
    uint64_t before = fx_stats(&w->f).expired;
    fx_expire(&w->f);
    m_expire(w->m);
    w->expired += fx_stats(&w->f).expired - before;
    for (unsigned i = 0; step > 20 * SECOND && i < 4; i++) { /* leases are over: some may go */
        evict_one(w, chance(w, 2) ? w->f.home : w->f.commons);
    }
}

static void remember(struct world *w, unsigned tenant, unsigned model)
{
    const struct qd_verdict *v = &w->f.verdict;
    unsigned i = w->ticket_count < REMEMBERED ? w->ticket_count++
                                              : (unsigned)qd_prng_below(&w->g, REMEMBERED);
    w->tickets[i] = (struct ticket){.reservation = v->reservation,
                                    .tenant = tenant,
                                    .model = model,
                                    .estimate = v->estimate,
                                    .made_ns = v->made_at.ns,
                                    .request = w->f.check.request,
                                    .attempt = w->f.check.attempt};
}

static void compare_states(const struct world *w, const struct m_answer *a)
{
    cr_assert_eq(w->f.state_count, a->count);
    for (unsigned i = 0; i < a->count; i++) {
        const struct qd_limit_state *s = &w->f.states[i];
        cr_assert_eq(s->limit, a->limit[i]);
        if (w->f.verdict.decision !=
            QD_ALLOW) { /* else they're of before, and the totals are after */
            cr_assert_eq(s->used, a->used[i], "limit %u (algorithm %d): used %ld, not %ld", i,
                         (int)s->limit->algorithm, (long)s->used, (long)a->used[i]);
            cr_assert_eq(s->held, a->held[i], "limit %u: held %ld, not %ld", i, (long)s->held,
                         (long)a->held[i]);
        }
        cr_assert_eq(s->estimate, a->estimate[i], "limit %u: estimate %ld, not %ld", i,
                     (long)s->estimate, (long)a->estimate[i]);
        cr_assert_eq(s->denies, a->denies[i], "limit %u", i);
    }
}

static void set_request(struct world *w)
{
    struct qd_check *c = &w->f.check;
    c->request = (struct qd_hash128){0};
    c->attempt = (uint32_t)between(w, 1, 2);
    c->content = chance(w, 20);
    if (chance(w, 2)) {
        bool again = chance(w, 4);
        uint64_t number =
            again ? (uint64_t)between(w, 1, (int64_t)w->next_request) : w->next_request++;
        if (again && w->next_request > 5) {
            number = w->next_request - (uint64_t)between(w, 1, 5);
        }
        c->request = fx_request(number);
    }
}

static void set_estimate(struct world *w, struct m_candidate candidates[2])
{
    struct qd_check *c = &w->f.check;
    static const int64_t ttl_s[] = {1, 3, 10, 30, 300};
    c->ttl_ns = ttl_s[between(w, 0, 4)] * SECOND + between(w, 0, 1) * between(w, 0, SECOND - 1);
    c->reserve = !chance(w, 8);
    c->dry_run = chance(w, 12);
    c->unknown_price = QD_UNKNOWN_PRICE_DENY;
    c->estimate.present = 0;
    if (chance(w, 20)) {
        qd_usage_set(&c->estimate, QD_METER_REQUESTS, 0);
    } else {
        qd_usage_set(&c->estimate, QD_METER_REQUESTS, 1);
        qd_usage_set(&c->estimate, QD_METER_INPUT_TOKENS, between(w, 0, 2000));
        if (chance(w, 3)) {
            qd_usage_set(&c->estimate, QD_METER_CACHED_INPUT_TOKENS, between(w, 0, 500));
        }
        if (chance(w, 6)) { /* a guess, which the maximum may exceed */
            qd_usage_set(&c->estimate, QD_METER_OUTPUT_TOKENS, between(w, 0, 900));
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        bool given = !chance(w, 3);
        candidates[i].max_output = given ? between(w, 1, 800) : -1;
        candidates[i].model_max_output = chance(w, 8) ? 0 : 400 + 400 * (int64_t)i;
    }
}

static const struct qd_price_list *price_list(void)
{
    static const struct qd_price_line lines[] = {
        {.meter = QD_METER_INPUT_TOKENS, .amount_pico = M_INPUT_PICO, .quantity = 1},
        {.meter = QD_METER_OUTPUT_TOKENS, .amount_pico = M_OUTPUT_PICO, .quantity = 1},
        {.meter = QD_METER_CACHED_INPUT_TOKENS, .amount_pico = 0, .quantity = 1},
        {.meter = QD_METER_REQUESTS, .amount_pico = 0, .quantity = 1},
    };
    static const struct qd_price_sheet sheet = {.version = 1, .lines = lines, .line_count = 4};
    static const struct qd_price_list list = {.name = "m", .sheets = &sheet, .count = 1};
    return &list;
}

/* Ask the core, binding what it asks for; false if there is no room. */
static bool ask(struct world *w, unsigned tenant, const unsigned model[2])
{
    struct qd_hash128 keys[2];
    for (unsigned i = 0; i < 2; i++) {
        keys[i] = fx_key(&w->f, tenants[tenant], models[model[i]]);
    }
    for (unsigned tries = 0; tries < 10; tries++) {
        w->f.candidates[0].binding = keys[0];
        w->f.candidates[1].binding = keys[1];
        if (fx_check_as_is(&w->f) != QD_NEEDS_BINDING) {
            return true;
        }
        if (!bind(w, tenant, model[w->f.verdict.candidate])) {
            return false;
        }
    }
    w->skipped++; /* two candidates push each other out of tiny tables */
    return false;
}

static void check(struct world *w)
{
    struct m_candidate candidates[2];
    struct m_item items[2][LIMITS];
    unsigned tenant = (unsigned)qd_prng_below(&w->g, TENANTS);
    unsigned first = (unsigned)qd_prng_below(&w->g, MODELS);
    unsigned model[2] = {first, 1 - first};
    struct qd_check *c = &w->f.check;
    set_request(w);
    set_estimate(w, candidates);
    c->candidate_count = chance(w, 4) ? 2 : 1;
    for (unsigned i = 0; i < 2; i++) {
        w->f.candidates[i] = (struct qd_candidate){
            .cost_model = price_list(),
            .max_output_given = candidates[i].max_output >= 0,
            .max_output_tokens = candidates[i].max_output >= 0 ? candidates[i].max_output
                                                               : candidates[i].model_max_output};
    }
    if (!ask(w, tenant, model)) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        candidates[i].items = items[i];
        candidates[i].count = model_items(w, tenant, model[i], items[i]);
    }
    struct m_answer a;
    snprintf(w->last, sizeof(w->last), "check, %zu candidates", c->candidate_count);
    const struct qd_verdict *v = &w->f.verdict;
    m_check(w->m, c, candidates, (unsigned)v->candidate, &a);
    cr_assert_neq(v->reason, QD_REASON_CAPACITY);
    cr_assert_eq(v->decision, a.decision, "the core says %d, the model %d", (int)v->decision,
                 (int)a.decision);
    cr_assert_eq(v->repeated, a.repeated);
    if (a.repeated || a.decision == QD_CONFLICT) {
        cr_assert_eq(v->reservation, a.reservation);
        return;
    }
    m_name_reservation(w->m, v->reservation);
    compare_states(w, &a);
    cr_assert_eq(v->reason, a.reason);
    cr_assert_eq(v->shadow_denials, a.shadow_denials);
    w->allowed += a.decision == QD_ALLOW;
    w->denied += a.decision == QD_DENY;
    if (a.decision == QD_ALLOW) {
        cr_assert_eq(v->candidate, a.candidate);
        if (v->reservation != 0) {
            remember(w, tenant, model[a.candidate]);
        }
    }
}

static void report_usage(struct world *w, struct qd_settle *s)
{
    if (chance(w, 4)) {
        s->outcome = (enum qd_outcome)between(w, 1, 3);
    }
    s->final = !chance(w, 3);
    if (s->outcome == QD_OUTCOME_NOT_DISPATCHED) {
        return;
    }
    if (!chance(w, 4)) {
        qd_usage_set(&s->used, QD_METER_INPUT_TOKENS, between(w, 0, 2200));
    }
    if (!chance(w, 4)) {
        qd_usage_set(&s->used, QD_METER_OUTPUT_TOKENS, between(w, 0, 900));
    }
    if (chance(w, 5)) {
        qd_usage_set(&s->used, QD_METER_CACHED_INPUT_TOKENS, between(w, 0, 700));
    }
    if (chance(w, 10)) {
        qd_usage_set(&s->used, QD_METER_REQUESTS, 1);
    }
    if (s->used.present != 0) {
        qd_usage_set(&s->used, QD_METER_COST, m_price(&s->used));
        qd_usage_set(&s->used, QD_METER_CHARGE, m_price(&s->used));
    }
}

static void settle(struct world *w)
{
    unsigned tenant = (unsigned)qd_prng_below(&w->g, TENANTS);
    unsigned model = (unsigned)qd_prng_below(&w->g, MODELS);
    struct qd_settle s = {.outcome = QD_OUTCOME_OK, .epoch = w->f.epoch};
    s.charged_at.ns = w->f.now.ns - between(w, 0, 1) * between(w, 0, 200 * SECOND);
    if (w->ticket_count > 0 && !chance(w, 10)) { /* else post-paid (S7) */
        const struct ticket *t = &w->tickets[qd_prng_below(&w->g, w->ticket_count)];
        tenant = t->tenant;
        model = t->model;
        s.reservation = t->reservation;
        s.estimate = t->estimate;
        s.charged_at.ns = t->made_ns;
        s.request = t->request;
        s.attempt = t->attempt;
        if (chance(w, 10)) {
            s.reservation = 0; /* another node's, or the token was lost */
        }
    } else {
        s.budgets_only = chance(w, 3);
        s.takes_back = s.budgets_only && chance(w, 3); /* L3 */
    }
    s.binding = fx_key(&w->f, tenants[tenant], models[model]);
    report_usage(w, &s);
    struct qd_settled got;
    enum qd_result result;
    unsigned tries = 0;
    while ((result = qd_core_settle(w->f.home, w->f.commons, &s, w->f.now, &got)) ==
           QD_RESULT_NEEDS_BINDING) {
        if (++tries > 5 || !bind(w, tenant, model)) {
            return;
        }
    }
    cr_assert_eq(result, QD_OK);
    struct m_item items[LIMITS];
    struct qd_settled want;
    snprintf(w->last, sizeof(w->last), "settle %lu outcome %d final %d of meters %x had %d of %d",
             (unsigned long)s.reservation, (int)s.outcome, s.final, (unsigned)s.used.present,
             got.had_reservation, s.estimate.present != 0);
    unsigned count = model_items(w, tenant, model, items);
    m_settle(w->m, &s, items, count, &want);
    cr_assert_eq(got.had_reservation, want.had_reservation);
    cr_assert_eq(got.closed, want.closed);
    cr_assert_eq(got.released_attempts, want.released_attempts);
    w->settled++;
}

static void extend_or_cancel(struct world *w)
{
    snprintf(w->last, sizeof(w->last), "extend or cancel");
    if (w->ticket_count == 0) {
        return;
    }
    const struct ticket *t = &w->tickets[qd_prng_below(&w->g, w->ticket_count)];
    if (chance(w, 4)) {
        cr_assert_eq(qd_core_cancel(w->f.home, w->f.commons, t->reservation, w->f.now),
                     m_cancel(w->m, t->reservation));
        return;
    }
    struct qd_usage used = {0};
    struct qd_wall_ns expires;
    if (!chance(w, 3)) {
        qd_usage_set(&used, QD_METER_OUTPUT_TOKENS, between(w, 0, 1200));
        if (chance(w, 3)) {
            qd_usage_set(&used, QD_METER_INPUT_TOKENS, between(w, 0, 2500));
        }
        if (chance(w, 3)) {
            qd_usage_set(&used, QD_METER_COST, m_price(&used));
        }
    }
    int64_t ttl_ns = between(w, 1, 60) * SECOND;
    cr_assert_eq(qd_core_extend(w->f.home, w->f.commons, t->reservation, &used, ttl_ns, w->f.now,
                                &expires, NULL),
                 m_extend(w->m, t->reservation, &used, ttl_ns));
}

static void operate(struct world *w)
{
    unsigned i = (unsigned)qd_prng_below(&w->g, LIMITS);
    char buffer[32];
    int64_t what = between(w, 0, 4);
    snprintf(w->last, sizeof(w->last), "operation %ld", (long)what);
    switch (what) {
    case 0: /* a reload: other amounts, a limit comes or goes */
        w->f.epoch++;
        w->amount[i] = w->amount[i] * between(w, 50, 200) / 100 + 1;
        i = (unsigned)qd_prng_below(&w->g, LIMITS);
        w->enabled[i] = !w->enabled[i];
        break;
    case 1:
        qd_core_forget_root(w->f.home, fx_str(chance(w, 2) ? "acme" : "globex"));
        break;
    case 2: {
        unsigned tenant = (unsigned)qd_prng_below(&w->g, TENANTS);
        struct qd_hash128 id = fx_counter_id(&w->f.limits[i], path_of(w, tenant, i, buffer));
        struct qd_core *core = w->depth[i] == 0 ? w->f.commons : w->f.home;
        if (fx_reset(&w->f, core, id)) {
            m_reset(w->m, m_counter(w->m, id));
        }
        break;
    }
    default:
        evict_one(w, chance(w, 2) ? w->f.home : w->f.commons);
        break;
    }
}

/* Every counter that the core has in memory says what the model says. */
static void compare_counters(struct world *w)
{
    for (unsigned i = 0; i < M_COUNTERS && w->m->counters[i].limit != NULL; i++) {
        struct m_counter *c = &w->m->counters[i];
        struct qd_limit_state s;
        if (!qd_core_counter(w->f.home, c->id, w->f.now, &s) &&
            !qd_core_counter(w->f.commons, c->id, w->f.now, &s)) {
            continue;
        }
        cr_assert_eq(s.used, m_used(w->m, c), "algorithm %d: used %ld, not %ld, after %s",
                     (int)c->limit->algorithm, (long)s.used, (long)m_used(w->m, c), w->last);
        cr_assert_eq(s.held, m_held(w->m, c), "algorithm %d: held %ld, not %ld, after %s",
                     (int)c->limit->algorithm, (long)s.held, (long)m_held(w->m, c), w->last);
        cr_assert_eq(s.amount, c->amount);
    }
    struct qd_core_stats stats = fx_stats(&w->f);
    unsigned open = 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < w->m->hold_high; i++) {
        open += w->m->holds[i].state == M_OPEN;
        kept += w->m->holds[i].state == M_KEPT;
    }
    cr_assert_eq(stats.reservations_open, open);
    cr_assert_eq(stats.reservations_kept, kept);
    while (open + kept > 600) { /* an operator releases what is kept for ever */
        unsigned i = (unsigned)qd_prng_below(&w->g, w->m->hold_high);
        if (w->m->holds[i].state != M_GONE) {
            uint64_t number = w->m->holds[i].number;
            cr_assert_eq(fx_cancel(&w->f, number), m_cancel(w->m, number));
            open--;
        }
    }
}

static void run_world(struct world *w, unsigned operations)
{
    for (unsigned i = 0; i < operations; i++) {
        pass_time(w);
        int64_t dice = between(w, 0, 99);
        if (dice < 50) {
            check(w);
        } else if (dice < 80) {
            settle(w);
        } else if (dice < 98) {
            extend_or_cancel(w);
        } else {
            operate(w);
        }
        if (i % COMPARE_EVERY == 0) {
            compare_counters(w);
        }
    }
    compare_counters(w);
}

/* D1, D2, D5, D7, D8, D9, D10, D12, D13, S1, S2, S3, S4, S5, S7, P6 together. */
Test(model, D1_a_naive_model_agrees_over_random_operations, .timeout = 1200)
{
    const char *asked = getenv("QD_MODEL_OPERATIONS");
    unsigned long operations = asked != NULL ? strtoul(asked, NULL, 10) : OPERATIONS;
    uint64_t seed = qd_prng_seed("model", 2026);
    struct world *w = malloc(sizeof(*w));
    cr_assert_not_null(w);
    uint64_t sums[7] = {0};
    for (unsigned long done = 0; done < operations; done += WORLD_OPERATIONS) {
        make_world(w, seed);
        printf("world %lu\n", (unsigned long)seed);
        fflush(stdout);
        run_world(w, WORLD_OPERATIONS);
        const uint64_t of[7] = {w->allowed, w->denied,   w->settled, w->expired,
                                w->evicted, w->restored, w->skipped};
        for (unsigned i = 0; i < 7; i++) {
            sums[i] += of[i];
        }
        free(w->m);
        fx_release(&w->f);
        seed++;
    }
    printf("model: %lu operations, %lu allowed, %lu denied, %lu settled, %lu expired, %lu evicted, "
           "%lu restored, %lu without room\n",
           operations, (unsigned long)sums[0], (unsigned long)sums[1], (unsigned long)sums[2],
           (unsigned long)sums[3], (unsigned long)sums[4], (unsigned long)sums[5],
           (unsigned long)sums[6]);
    /* A kind of event that never came is a test that tested nothing. */
    for (unsigned i = 0; i < 6; i++) {
        cr_expect_gt(sums[i], operations / 1000, "sum %u is %lu", i, (unsigned long)sums[i]);
    }
    free(w);
}
