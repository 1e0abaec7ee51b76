/* Envoy's descriptors that name tenants (I3): the same counters as by native calls, and what is
 * held while the disk is slow. */
#include "tests/unit/rpc/cast.h"
#include "tests/unit/rpc/served.h"

#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "quota/v1/admin.pb-c.h"
#include "quota/v1/quota.pb-c.h"
#include "server/core/types.h"
#include "tests/lib/prng.h"
#include "tests/lib/store/gate.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

TestSuite(rls_tenant, .timeout = 120);

#define DOMAIN    "tenants"
#define SHOULD    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
#define FACTS_MAX 5
#define LONG_MS   60000

typedef Envoy__Service__Ratelimit__V3__RateLimitResponse rls_answer;

enum {
    OK = ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OK,
    OVER = ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OVER_LIMIT,
};

/* Of a request or a usage: "" is absent. */
struct asked {
    const char *tenant, *model, *user, *team, *meter;
    int64_t hits;
};

static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } t = {.in = text};

    return t.out;
}

/* --- by Envoy's service --- */

struct rls_request {
    Envoy__Service__Ratelimit__V3__RateLimitRequest request;
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor, *descriptors[1];
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry entry[FACTS_MAX];
    Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry *entries[FACTS_MAX];
    Google__Protobuf__UInt64Value hits;
};

static void fill_rls(const struct asked *asked, struct rls_request *r)
{
    const char *facts[FACTS_MAX][2] = {{"tenant", asked->tenant},
                                       {"model", asked->model},
                                       {"user", asked->user},
                                       {"team", asked->team},
                                       {"meter", asked->meter}};

    envoy__service__ratelimit__v3__rate_limit_request__init(&r->request);
    envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__init(&r->descriptor);
    google__protobuf__uint64_value__init(&r->hits);
    r->request.domain = text_of(DOMAIN);
    r->request.descriptors = r->descriptors;
    r->request.n_descriptors = 1;
    r->descriptors[0] = &r->descriptor;
    r->descriptor.entries = r->entries;
    r->descriptor.hits_addend = &r->hits;
    r->hits.value = (uint64_t)asked->hits;
    for (size_t i = 0; i < FACTS_MAX; i++) {
        if (facts[i][1][0] != '\0') {
            size_t n = r->descriptor.n_entries++;
            envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__entry__init(
                &r->entry[n]);
            r->entries[n] = &r->entry[n];
            r->entry[n].key = text_of(facts[i][0]);
            r->entry[n].value = text_of(facts[i][1]);
        }
    }
}

static int ask_rls(struct served *s, const struct asked *asked)
{
    struct rls_request request;
    grpc_status_code status;

    fill_rls(asked, &request);
    rls_answer *answer =
        served_call(s, SHOULD, &request.request.base,
                    &envoy__service__ratelimit__v3__rate_limit_response__descriptor, &status);
    cr_assert_not_null(answer, "status %d", status);
    cr_assert_eq(answer->n_statuses, 1);
    int code = (int)answer->overall_code;
    cr_assert_eq((int)answer->statuses[0]->code, code);
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(answer, NULL);
    return code;
}

/* --- by native calls --- */

/* A message's lists. */
struct lists {
    Quota__V1__Amount amount[3], *amounts[3];
    Quota__V1__Entry label, *labels[1];
};

static size_t fill_lists(const struct asked *asked, const char *meter, struct lists *l)
{
    for (size_t i = 0; i < 3; i++) {
        quota__v1__amount__init(&l->amount[i]);
        l->amounts[i] = &l->amount[i];
    }
    l->amount[0].meter = text_of(meter);
    l->amount[0].amount = asked->hits;
    l->amount[1].meter = text_of("input_tokens");
    l->amount[2].meter = text_of(asked->meter);
    quota__v1__entry__init(&l->label);
    l->label.key = text_of("team");
    l->label.value = text_of(asked->team);
    l->labels[0] = &l->label;
    return asked->team[0] != '\0';
}

static void report(struct served *s, const struct asked *asked, Quota__V1__Reservation *reservation,
                   uint32_t *ret_over)
{
    static unsigned number;
    Quota__V1__ReportUsageRequest request;
    struct lists lists;
    grpc_status_code status;
    char id[32];

    quota__v1__report_usage_request__init(&request);
    size_t labels = fill_lists(asked, asked->meter[0] != '\0' ? asked->meter : "requests", &lists);
    request.usage = lists.amounts;
    request.n_usage = 1;
    request.source = text_of("rls");
    if (reservation != NULL) {
        request.reservation = reservation->token;
    } else {
        (void)snprintf(id, sizeof(id), "r%u", number++);
        request.request_id = id;
        request.sequence = 1;
        request.tenant = text_of(asked->tenant);
        request.model = text_of(asked->model);
        request.user = text_of(asked->user);
        request.labels = lists.labels;
        request.n_labels = labels;
    }
    Quota__V1__ReportUsageResponse *answer =
        served_call(s, "/quota.v1.QuotaService/ReportUsage", &request.base,
                    &quota__v1__report_usage_response__descriptor, &status);
    cr_assert_not_null(answer, "status %d", status);
    *ret_over = answer->limits_over;
    quota__v1__report_usage_response__free_unpacked(answer, NULL);
}

static int check(struct served *s, const struct asked *asked)
{
    Quota__V1__CheckQuotaRequest request;
    struct lists lists;
    grpc_status_code status;
    uint32_t over;

    quota__v1__check_quota_request__init(&request);
    request.n_labels = fill_lists(asked, "requests", &lists);
    request.labels = lists.labels;
    request.tenant = text_of(asked->tenant);
    request.model = text_of(asked->model);
    request.user = text_of(asked->user);
    request.estimate = lists.amounts;
    /* A look at a meter names it. */
    request.n_estimate =
        asked->meter[0] != '\0' && strcmp(asked->meter, "input_tokens") != 0 ? 3 : 2;
    request.max_output_tokens_presence_case =
        QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
    Quota__V1__CheckQuotaResponse *answer =
        served_call(s, "/quota.v1.QuotaService/CheckQuota", &request.base,
                    &quota__v1__check_quota_response__descriptor, &status);
    cr_assert_not_null(answer, "status %d", status);
    bool allowed = answer->verdict == QUOTA__V1__VERDICT__VERDICT_ALLOWED;
    if (answer->reservation != NULL) {
        report(s, asked, answer->reservation, &over);
    }
    quota__v1__check_quota_response__free_unpacked(answer, NULL);
    return allowed ? OK : OVER;
}

static int ask_native(struct served *s, const struct asked *asked)
{
    uint32_t over = 0;

    if (asked->meter[0] == '\0' || asked->hits == 0) {
        return check(s, asked);
    }
    report(s, asked, NULL, &over);
    return over > 0 ? OVER : OK;
}

/* --- both alike --- */

static int64_t now_ns = 1795000000 * QD_NS_PER_S;

static struct qd_mono_ns mono(void *context)
{
    (void)context;
    return (struct qd_mono_ns){(uint64_t)(now_ns - 1700000000 * QD_NS_PER_S)};
}

static struct qd_wall_ns wall(void *context)
{
    (void)context;
    return (struct qd_wall_ns){now_ns};
}

static void *list_counters(struct served *s)
{
    Quota__V1__ListCountersRequest request;
    grpc_status_code status;

    quota__v1__list_counters_request__init(&request);
    request.page_size = 1000;
    void *answer = served_call(s, "/quota.v1.AdminService/ListCounters", &request.base,
                               &quota__v1__list_counters_response__descriptor, &status);
    cr_assert_not_null(answer);
    return answer;
}

static void expect_same_counters(struct served *a, struct served *b, size_t at_least)
{
    Quota__V1__ListCountersResponse *of_a = list_counters(a);
    Quota__V1__ListCountersResponse *of_b = list_counters(b);

    cr_assert_geq(of_a->n_counters, at_least);
    cr_assert_eq(of_a->n_counters, of_b->n_counters);
    for (size_t i = 0; i < of_a->n_counters; i++) {
        const Quota__V1__LimitState *x = of_a->counters[i];
        const Quota__V1__LimitState *y = of_b->counters[i];
        cr_assert_str_eq(x->name, y->name);
        cr_assert_str_eq(x->tenant, y->tenant);
        cr_assert_eq(x->used, y->used, "%s of %s: %lld by RLS, %lld by native calls", x->name,
                     x->tenant, (long long)x->used, (long long)y->used);
        cr_assert_eq(x->held, 0);
        cr_assert_eq(y->held, 0);
    }
    quota__v1__list_counters_response__free_unpacked(of_a, NULL);
    quota__v1__list_counters_response__free_unpacked(of_b, NULL);
}

static void expect_clean(struct served *s)
{
    Quota__V1__VerifyLedgerRequest request;
    grpc_status_code status;

    quota__v1__verify_ledger_request__init(&request);
    Quota__V1__VerifyLedgerResponse *answer =
        served_call(s, "/quota.v1.AdminService/VerifyLedger", &request.base,
                    &quota__v1__verify_ledger_response__descriptor, &status);
    cr_assert_not_null(answer);
    cr_assert(answer->clean, "%s", answer->difference);
    quota__v1__verify_ledger_response__free_unpacked(answer, NULL);
}

static struct asked draw(struct qd_prng *g)
{
    static const char *const paths[] = {"acme", "acme/search", "acme/search/k1", "globex", "new"};
    static const char *const models[] = {"big", "small"};
    static const char *const users[] = {"", "ann", "bob"};
    static const char *const teams[] = {"", "red", "blue"};
    static const char *const meters[] = {
        "", "", "", "input_tokens", "output_tokens", "cached_input_tokens", "images"};
    struct asked asked = {.tenant = paths[qd_prng_below(g, 5)],
                          .model = models[qd_prng_below(g, 2)],
                          .user = users[qd_prng_below(g, 3)],
                          .team = teams[qd_prng_below(g, 3)],
                          .meter = meters[qd_prng_below(g, 7)]};
    bool request = asked.meter[0] == '\0';

    asked.hits = qd_prng_chance(g, 1, 10)  ? 0
                 : request                 ? qd_prng_between(g, 1, 3)
                 : qd_prng_chance(g, 1, 8) ? qd_prng_between(g, 1, 4000)
                                           : qd_prng_between(g, 1, 200);
    return asked;
}

/* One sequence, on one node by RLS, on the other by CheckQuota and ReportUsage. */
Test(rls_tenant, I3_requests_and_usage_count_as_by_native_calls)
{
    static const char policy[] =
        "version: 1\n"
        "models: {big: {max_output_tokens: 900}, small: {}}\n"
        "plans:\n"
        "  pro:\n"
        "    requests: 60/min\n"
        "    rate: {meter: requests, limit: 30/min, algorithm: token_bucket}\n"
        "    fixed: {meter: requests, limit: 400/hour, algorithm: fixed_window}\n"
        "    input: {weights: {input_tokens: 1, cached_input_tokens: 1}, limit: 9000/hour}\n"
        "    tokens: {limit: 90000/month, per: model}\n"
        "    cost: $3/day\n"
        "    each: {meter: requests, limit: 20/min, per: user}\n"
        "    teams: {meter: output_tokens, limit: 900/min, per: 'label:team'}\n"
        "    pictures: {meter: images, limit: 900/day}\n"
        "tenants:\n"
        "  acme: {plan: pro}\n"
        "  acme/search: {requests: 45/min}\n"
        "  globex: {plan: pro}\n"
        "  '*': {plan: pro}\n"
        "prices: {big: {input_token: $10/1M, output_token: $40/1M, request: $0.001}}\n"
        "unknown_price: unpriced\n";
    const struct served_with tenants = {.policy = policy,
                                        .clock = {mono, wall, NULL},
                                        .counters = 1024,
                                        .rpc = {.tenant_domain = DOMAIN}};
    struct served rls, native;
    struct qd_prng g;
    unsigned over = 0;

    qd_prng_init(&g, qd_prng_seed("rls_tenant", 20));
    served_open(&rls, &tenants);
    served_open(&native, &tenants);
    for (unsigned i = 0; i < 1500; i++) {
        struct asked asked = draw(&g);
        int by_rls = ask_rls(&rls, &asked);
        int by_native = ask_native(&native, &asked);
        cr_assert_eq(by_rls, by_native, "%u: %s %s %s %s %s %lld: %d by RLS, %d by native calls", i,
                     asked.tenant, asked.model, asked.user, asked.team, asked.meter,
                     (long long)asked.hits, by_rls, by_native);
        over += by_rls == OVER;
        if (i % 100 == 99) {
            expect_same_counters(&rls, &native, 10);
        }
        now_ns += qd_prng_chance(&g, 1, 60)  ? QD_NS_PER_DAY
                  : qd_prng_chance(&g, 1, 3) ? qd_prng_between(&g, 1, 8 * QD_NS_PER_S)
                                             : 0;
    }
    cr_expect_gt(over, 150, "the limits are reached, too: %u", over);
    cr_expect_lt(over, 1200);
    expect_clean(&rls);
    expect_clean(&native);
    served_close(&rls);
    served_close(&native);
}

/* --- a slow disk --- */

static const char budget[] = "version: 1\nplans: {free: {requests: 100/month, concurrency: 3}}\n"
                             "tenants: {'*': {plan: free}}\n";

/* Point 7: what a status has no room for is its most, not its lowest bits. */
Test(rls_tenant, I3_point_7_an_amount_above_32_bits_is_told_as_the_most)
{
    static const char large[] = "version: 1\nplans: {free: {requests: 4294967297/month}}\n"
                                "tenants: {'*': {plan: free}}\n";
    const struct served_with with = {.policy = large, .rpc = {.tenant_domain = DOMAIN}};
    const struct asked asked = {"acme", "", "", "", "", 0};
    struct rls_request request;
    struct served s;
    grpc_status_code status;

    served_open(&s, &with);
    fill_rls(&asked, &request);
    rls_answer *answer =
        served_call(&s, SHOULD, &request.request.base,
                    &envoy__service__ratelimit__v3__rate_limit_response__descriptor, &status);
    cr_assert_not_null(answer, "status %d", status);
    cr_assert_not_null(answer->statuses[0]->current_limit);
    cr_expect_eq(answer->statuses[0]->current_limit->requests_per_unit, UINT32_MAX);
    cr_expect_eq(answer->statuses[0]->limit_remaining, UINT32_MAX);
    envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(answer, NULL);
    served_close(&s);
}

static const struct served_with slow = {.policy = budget, .rpc = {.tenant_domain = DOMAIN}};

static void begin(struct served *s, const struct asked *asked, int64_t deadline_ms,
                  struct served_pending *ret_pending)
{
    struct rls_request request;

    fill_rls(asked, &request);
    served_begin(s, SHOULD, &request.request.base, deadline_ms, ret_pending);
}

/* The call's status, or 100 + the answer's code. */
static int end(struct served *s, struct served_pending *pending)
{
    grpc_status_code status;
    rls_answer *answer = served_end(
        s, pending, &envoy__service__ratelimit__v3__rate_limit_response__descriptor, &status);
    int code = answer != NULL ? 100 + (int)answer->overall_code : (int)status;

    if (answer != NULL) {
        envoy__service__ratelimit__v3__rate_limit_response__free_unpacked(answer, NULL);
    }
    return code;
}

static int64_t used_of_requests(struct served *s, int64_t *ret_held)
{
    Quota__V1__ListCountersResponse *counters = list_counters(s);
    int64_t used = -1;

    for (size_t i = 0; i < counters->n_counters; i++) {
        if (strcmp(counters->counters[i]->name, "free.requests") == 0) {
            used = counters->counters[i]->used;
            *ret_held = counters->counters[i]->held;
        }
    }
    quota__v1__list_counters_response__free_unpacked(counters, NULL);
    return used;
}

/* X2: the queue has room for 16, and one call is at work. Their requests are many more than may run
 * at once: RLS tells no end, so they take no places. */
Test(rls_tenant, X2_what_finds_the_queue_full_holds_nothing)
{
    enum {
        CALLS = 24,
        TAKEN = 17
    };
    const struct asked asked = {"acme", "", "", "", "", 1};
    struct served_pending pending[CALLS];
    struct served s;
    int64_t held = 0;
    unsigned ok = 0;

    served_open(&s, &slow);
    cr_assert_eq(ask_rls(&s, &asked), OK);
    gate_shut(s.store);
    begin(&s, &asked, LONG_MS, &pending[0]);
    gate_await_writer(s.store);
    for (unsigned i = 1; i < CALLS; i++) {
        begin(&s, &asked, LONG_MS, &pending[i]);
    }
    for (unsigned i = TAKEN; i < CALLS; i++) { /* the rest: in the order in which they came */
        cr_expect_eq(end(&s, &pending[i]), GRPC_STATUS_UNAVAILABLE);
    }
    gate_open(s.store);
    for (unsigned i = 0; i < TAKEN; i++) {
        ok += end(&s, &pending[i]) == 100 + OK;
    }
    cr_expect_eq(ok, TAKEN);
    cr_expect_eq(used_of_requests(&s, &held), 1 + TAKEN);
    cr_expect_eq(held, 0);
    served_close(&s);
}

Test(rls_tenant, I9_what_comes_too_late_to_the_disk_is_not_booked)
{
    const struct asked asked = {"acme", "", "", "", "", 10};
    const struct asked used = {"acme", "", "", "", "input_tokens", 10};
    struct served_pending first, late, late_usage;
    struct served s;
    int64_t held = 0;

    served_open(&s, &slow);
    gate_shut(s.store);
    begin(&s, &asked, LONG_MS, &first);
    gate_await_writer(s.store);
    begin(&s, &asked, 200, &late);
    begin(&s, &used, 200, &late_usage);
    cr_expect_eq(end(&s, &late), GRPC_STATUS_DEADLINE_EXCEEDED);
    cr_expect_eq(end(&s, &late_usage), GRPC_STATUS_DEADLINE_EXCEEDED);
    (void)nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL); /* for the server as well */
    gate_open(s.store);
    cr_expect_eq(end(&s, &first), 100 + OK);
    /* The one behind them: they have been looked at then. */
    cr_expect_eq(ask_rls(&s, &asked), OK);
    cr_expect_eq(used_of_requests(&s, &held), 20);
    cr_expect_eq(held, 0);
    expect_clean(&s);
    served_close(&s);
}

Test(rls_tenant, L2_nothing_is_allowed_before_it_is_on_disk)
{
    const struct asked asked = {"acme", "", "", "", "", 100};
    const struct asked look = {"acme", "", "", "", "", 0};
    const struct asked more = {"acme", "", "", "", "", 1};
    struct served_pending first;
    struct served s;

    served_open(&s, &slow);
    gate_shut(s.store);
    begin(&s, &asked, LONG_MS, &first);
    gate_await_writer(s.store);
    cr_expect_eq(ask_rls(&s, &more), OVER, "it is held, and a denial does not wait");
    cr_expect_eq(ask_rls(&s, &look), OK, "nor does a look");
    cr_expect_null(
        grpc_completion_queue_pluck(s.queue, &first, gpr_inf_past(GPR_CLOCK_REALTIME), NULL).tag,
        "not answered yet");
    gate_open(s.store);
    cr_expect_eq(end(&s, &first), 100 + OK);
    served_close(&s);
}

/* Envoy copies a client's header into `tenant`, and lets a request pass whose call is an error: so
 * a bound caller's stranger is over its limit, and unknown to it, be it there or not. */
Test(rls_tenant, X1_a_stranger_is_over_its_limit_for_a_bound_caller)
{
    static const char *const strangers[] = {"globex", "acme-2", "acm", "nobody", "a//b"};
    struct served_with with = cast_with();
    struct served s;
    int64_t held = 0;

    with.policy = budget;
    with.rpc.tenant_domain = DOMAIN;
    served_open(&s, &with);
    s.token = "acme-gateway";
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        const struct asked asked = {strangers[i], "", "", "", "", 1};
        const struct asked look = {strangers[i], "", "", "", "", 0};
        const struct asked used = {strangers[i], "", "", "", "requests", 1};
        struct served_pending pending;
        cr_expect_eq(ask_rls(&s, &asked), OVER, "%s", strangers[i]);
        cr_expect_eq(ask_rls(&s, &look), OVER, "%s", strangers[i]);
        begin(&s, &used, LONG_MS, &pending);
        cr_expect_lt(end(&s, &pending), 100, "a usage of %s is an error", strangers[i]);
    }
    s.token = "admin";
    cr_expect_eq(used_of_requests(&s, &held), -1, "nothing was counted");
    const struct asked own = {"acme/x", "", "", "", "", 1};
    s.token = "acme-gateway";
    cr_expect_eq(ask_rls(&s, &own), OK);
    s.token = "admin";
    cr_expect_eq(used_of_requests(&s, &held), 1);
    served_close(&s);
}
