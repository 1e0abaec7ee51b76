/* Which limits apply to a request, from where, and to which counter (P2, P6). */
#include "helper.h"

#include "server/policy/resolve.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STR(text) ((struct qd_str){(text), strlen(text)})
#define SEED      42
#define NOW_NS    (INT64_C(1790000000) * QD_NS_PER_S)

static const char yaml[] =
    "version: 1\n"
    "models:\n"
    "  m: {pool: h100, family: fam, limits: {requests: 1k/min}}\n"
    "  n: {}\n"
    "pools: {h100: {limits: {concurrency: 50, fair: {meter: requests, limit: 9/min, per: "
    "tenant}}}}\n"
    "limits: {tokens: 9M/min}\n"
    "plans:\n"
    "  free: {requests: 20/min, tokens: {limit: 40k/min, per: model}}\n"
    "  pro: {requests: 600/min, tokens: 1M/min, b: {limit: 60/min, meter: requests, algorithm: "
    "token_bucket, burst: 120}}\n"
    "tenants:\n"
    "  acme: {plan: pro, tokens: 5M/min}\n"
    "  acme/search: {requests: 100/min}\n"
    "  acme/*: {plan: free}\n"
    "  bad: {blocked: true}\n"
    "  '*': {plan: free}\n";

static struct qd_resolution r;

/* Resolves and returns "name amount @depth counter-name" a line. */
static char *resolve(const struct qd_policy *p, const char *tenant, const char *model,
                     const struct qd_override *const *overrides)
{
    struct qd_attributes a = {.tenant = STR(tenant)};
    if (model != NULL) {
        a.model = STR(model);
    }
    qd_attributes_complete(p, &a);
    struct qd_resolve_input in = {
        .policy = p, .attributes = &a, .overrides = overrides, .now = {NOW_NS}, .seed = SEED};
    qd_resolve(&in, &r);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (size_t i = 0; i < r.count; i++) {
        fprintf(out, "%s %lld @%u %.*s\n", r.limit[i].use->limit->name,
                (long long)r.limit[i].amount, r.limit[i].depth, (int)r.limit[i].name.len,
                r.limit[i].name.ptr);
    }
    fclose(out);
    return text;
}

static void expect(const struct qd_policy *p, const char *tenant, const char *model,
                   const struct qd_override *const *overrides, const char *want)
{
    char *text = resolve(p, tenant, model, overrides);
    cr_expect_eq(r.status, QD_RESOLVED);
    cr_expect_str_eq(text, want, "%s %s\ngot\n%swant\n%s", tenant, model, text, want);
    free(text);
}

#define SHARED                                                                    \
    "requests 1000 @0 model m\nconcurrency 50 @0 pool h100\nfair 9 @0 pool h100 " \
    "tenant=%s\ntokens 9000000 @0 global\n"

Test(resolve, P2_limits_of_every_ancestor_and_own_ones_in_place_of_the_plans)
{
    struct qd_policy *p = load(yaml);
    cr_assert_not_null(p);
    expect(
        p, "acme", "n", NULL,
        "requests 600 @1 acme\nb 60 @1 acme\ntokens 5000000 @1 acme\ntokens 9000000 @0 global\n");
    expect(
        p, "acme/search", "m", NULL,
        "requests 600 @1 acme\nb 60 @1 acme\ntokens 5000000 @1 acme\nrequests 100 @2 acme/search\n"
        "requests 1000 @0 model m\nconcurrency 50 @0 pool h100\nfair 9 @0 pool h100 "
        "tenant=acme/search\n"
        "tokens 9000000 @0 global\n");
    cr_expect_str_eq(r.plan->name, "pro");
    cr_expect_eq(strncmp(r.plan_from.ptr, "acme", 4), 0);
    expect(p, "acme/ads/key", NULL, NULL,
           "requests 600 @1 acme\nb 60 @1 acme\ntokens 5000000 @1 acme\nrequests 20 @2 acme/ads\n"
           "tokens 40000 @2 acme/ads model=\ntokens 9000000 @0 global\n");
    cr_expect_str_eq(r.plan->name, "free");
    cr_expect_eq(strncmp(r.plan_from.ptr, "acme/*", 6), 0);
    expect(p, "hobby", "n", NULL,
           "requests 20 @1 hobby\ntokens 40000 @1 hobby model=n\ntokens 9000000 @0 global\n");
    qd_policy_free(p);
}

Test(resolve, P2_unknown_tenants_and_the_default_plan)
{
    struct qd_policy *p =
        load("version: 1\nplans: {free: {requests: 5/min}}\ntenants: {acme: {}}\n");
    free(resolve(p, "hobby/x", NULL, NULL));
    cr_expect_eq(r.status, QD_RESOLVE_UNKNOWN_TENANT);
    free(resolve(p, "acme/x", NULL, NULL));
    cr_expect_eq(r.status, QD_RESOLVED, "its ancestor is known");
    cr_expect_eq(r.count, 0);
    struct qd_override listed = {.listed = true, .blocked_until = {QD_WALL_NEVER}};
    const struct qd_override *records[2] = {NULL, &listed};
    free(resolve(p, "hobby/x", NULL, records));
    cr_expect_eq(r.status, QD_RESOLVED, "a run-time record makes it known");
    qd_policy_free(p);
    p = load("version: 1\nplans: {free: {requests: 5/min}}\ndefault_plan: free\n");
    expect(p, "hobby/x", NULL, NULL, "requests 5 @1 hobby\n");
    cr_expect_eq(strncmp(r.plan_from.ptr, "default_plan", 12), 0);
    const struct qd_override *labelled[2] = {&listed, NULL};
    expect(p, "hobby/x", NULL, labelled, "requests 5 @1 hobby\n");
    qd_policy_free(p);
}

Test(resolve, P2_blocks_hold_for_all_below)
{
    struct qd_policy *p = load(yaml);
    free(resolve(p, "bad/team/key", NULL, NULL));
    cr_expect(r.blocked);
    cr_expect_eq(r.blocked_depth, 1);
    struct qd_override o = {.blocked = true, .blocked_until = {NOW_NS + 5}};
    const struct qd_override *records[2] = {NULL, &o};
    free(resolve(p, "acme/search", NULL, records));
    cr_expect(r.blocked);
    cr_expect_eq(r.blocked_depth, 2);
    cr_expect_eq(r.valid_until.ns, NOW_NS + 5);
    o.blocked_until.ns = NOW_NS;
    free(resolve(p, "acme/search", NULL, records));
    cr_expect_not(r.blocked, "it has ended");
    cr_expect_eq(r.valid_until.ns, QD_WALL_NEVER);
    qd_policy_free(p);
}

Test(resolve, P2_run_time_records_set_plans_and_limits)
{
    struct qd_policy *p = load(yaml);
    struct qd_problems *problems = qd_problems_new(5);
    struct qd_limit_entry entry = {"requests", "7/min"};
    struct qd_limit_set *set = qd_policy_compile_limits(p, &p->plans[1], &entry, 1, problems);
    struct qd_override o = {.listed = true,
                            .has_plan = true,
                            .plan = qd_policy_plan(p, STR("pro")),
                            .limits = set->uses,
                            .limit_count = set->count};
    const struct qd_override *records[1] = {&o};
    expect(
        p, "hobby", "n", records,
        "tokens 1000000 @1 hobby\nb 60 @1 hobby\nrequests 7 @1 hobby\ntokens 9000000 @0 global\n");
    cr_expect(r.limit[2].runtime);
    cr_expect_eq(strncmp(r.plan_from.ptr, "hobby", 5), 0);
    /* A record without a plan adds to what the pattern gives, or the policy's own line. */
    o.has_plan = false;
    expect(p, "hobby", "n", records,
           "tokens 40000 @1 hobby model=n\nrequests 7 @1 hobby\ntokens 9000000 @0 global\n");
    cr_expect_str_eq(r.plan->name, "free");
    expect(p, "acme", "n", records,
           "b 60 @1 acme\ntokens 5000000 @1 acme\nrequests 7 @1 acme\ntokens 9000000 @0 global\n");
    o.has_plan = true;
    o.plan = NULL;
    expect(p, "acme", "n", records,
           "tokens 5000000 @1 acme\nrequests 7 @1 acme\ntokens 9000000 @0 global\n");
    qd_limit_set_free(set);
    qd_problems_free(problems);
    qd_policy_free(p);
}

Test(resolve, P2_boosts_and_grants_change_amounts_until_they_end)
{
    struct qd_policy *p = load(yaml);
    struct qd_adjust adjusts[] = {
        {.limit = "b", .kind = QD_ADJUST_PERCENT, .value = 150, .until = {NOW_NS + 9}},
        {.limit = "tokens", .kind = QD_ADJUST_ADD, .value = -6000000, .until = {QD_WALL_NEVER}},
        {.limit = "requests", .kind = QD_ADJUST_ABSOLUTE, .value = 1, .until = {NOW_NS}},
    };
    struct qd_override o = {.adjusts = adjusts, .adjust_count = 3};
    const struct qd_override *records[1] = {&o};
    expect(p, "acme", "n", records,
           "requests 600 @1 acme\nb 90 @1 acme\ntokens 0 @1 acme\ntokens 9000000 @0 global\n");
    cr_expect_eq(r.limit[1].burst, 180);
    cr_expect_eq(r.limit[1].boosted_until.ns, NOW_NS + 9);
    cr_expect_eq(r.valid_until.ns, NOW_NS + 9);
    adjusts[0] = (struct qd_adjust){
        .limit = "b", .kind = QD_ADJUST_ABSOLUTE, .value = 30, .until = {NOW_NS + 9}};
    adjusts[1] = (struct qd_adjust){.limit = "tokens",
                                    .kind = QD_ADJUST_ADD,
                                    .value = 5,
                                    .until = {QD_WALL_NEVER},
                                    .one_counter = true};
    expect(
        p, "acme", "n", records,
        "requests 600 @1 acme\nb 30 @1 acme\ntokens 5000000 @1 acme\ntokens 9000000 @0 global\n");
    cr_expect_eq(r.limit[1].burst, 60, "in proportion");
    adjusts[1].counter = r.limit[2].counter;
    expect(
        p, "acme", "n", records,
        "requests 600 @1 acme\nb 30 @1 acme\ntokens 5000005 @1 acme\ntokens 9000000 @0 global\n");
    qd_policy_free(p);
}

Test(resolve, P6_counters_are_told_apart_by_scope_limit_and_split)
{
    struct qd_policy *p = load(yaml);
    free(resolve(p, "hobby", "n", NULL));
    struct qd_hash128 requests = r.limit[0].counter;
    struct qd_hash128 tokens = r.limit[1].counter;
    free(resolve(p, "hobby", "m", NULL));
    cr_expect(qd_hash128_equal(requests, r.limit[0].counter));
    cr_expect_not(qd_hash128_equal(tokens, r.limit[1].counter), "per: model");
    free(resolve(p, "other", "n", NULL));
    cr_expect_not(qd_hash128_equal(requests, r.limit[0].counter));
    /* Limits of pools are common to all, but those per tenant. */
    free(resolve(p, "a", "m", NULL));
    struct qd_hash128 gauge = r.limit[3].counter;
    struct qd_hash128 fair = r.limit[4].counter;
    free(resolve(p, "b", "m", NULL));
    cr_expect(qd_hash128_equal(gauge, r.limit[3].counter));
    cr_expect_not(qd_hash128_equal(fair, r.limit[4].counter));
    qd_policy_free(p);
}

Test(resolve, P6_a_tenant_that_changes_its_plan_keeps_what_it_used)
{
    struct qd_policy *p =
        load("version: 1\nplans:\n  free: {requests: 5/min}\n  pro: {requests: 50/min}\ntenants:\n"
             "  a: {plan: free}\n");
    struct qd_policy *q =
        load("version: 1\nplans:\n  free: {requests: 5/min}\n  pro: {requests: 50/min}\ntenants:\n"
             "  a: {plan: pro}\n");
    free(resolve(p, "a", NULL, NULL));
    struct qd_hash128 before = r.limit[0].counter;
    free(resolve(q, "a", NULL, NULL));
    cr_expect(qd_hash128_equal(before, r.limit[0].counter));
    cr_expect_eq(r.limit[0].amount, 50);
    qd_policy_free(p);
    qd_policy_free(q);
}

Test(resolve, P3_selectors_families_and_labels)
{
    struct qd_policy *p =
        load("version: 1\nmodels: {m: {pool: h, family: f}, n: {family: f}, o: {}}\nplans:\n  p:\n"
             "    a: {limit: 1/min, meter: requests, match: {model: [m, o]}}\n"
             "    b: {limit: 2/min, meter: requests, match: {family: f}, per: family}\n"
             "    c: {limit: 3/min, meter: requests, match: {not: {pool: h}}}\n"
             "    d: {limit: 4/min, meter: requests, match: {label: {tier: [gold, silver]}}, per: "
             "label:tier}\n"
             "    e: {limit: 5/min, meter: requests, match: {user: '*'}, per: user}\n"
             "default_plan: p\n");
    cr_assert_not_null(p);
    expect(p, "t", "m", NULL, "a 1 @1 t\nb 2 @1 t family=f\n");
    expect(p, "t", "n", NULL, "b 2 @1 t family=f\nc 3 @1 t\n");
    expect(p, "t", "o", NULL, "a 1 @1 t\nc 3 @1 t\n");
    struct qd_label label = {STR("tier"), STR("gold")};
    struct qd_attributes a = {
        .tenant = STR("t"), .user = STR("ann"), .labels = &label, .label_count = 1};
    struct qd_resolve_input in = {.policy = p, .attributes = &a};
    qd_resolve(&in, &r);
    cr_assert_eq(r.count, 3);
    cr_expect_eq(strncmp(r.limit[1].name.ptr, "t tier=gold", r.limit[1].name.len), 0);
    cr_expect_eq(strncmp(r.limit[2].name.ptr, "t user=ann", r.limit[2].name.len), 0);
    a.user = (struct qd_str){0};
    a.label_count = 0;
    in.all = true;
    qd_resolve(&in, &r);
    cr_expect_eq(r.count, 5, "for listing, what is not given is not tested");
    qd_policy_free(p);
}

Test(resolve, P1_more_limits_than_a_check_can_hold_are_refused)
{
    char text[4096] = "version: 1\nplans:\n  p:\n";
    for (int i = 0; i < 16; i++) {
        char line[64];
        snprintf(line, sizeof line, "    l%d: {meter: requests, limit: 5/min}\n", i);
        (void)strncat(text, line, sizeof text - strlen(text) - 1);
    }
    (void)strncat(text, "tenants:\n  a: {plan: p}\n  a/b: {plan: p}\n  a/b/c: {requests: 5/min}\n",
                  sizeof text - strlen(text) - 1);
    expect_refused(text,
                   "policy.yaml:23:3: tenants: more than 32 limits would apply to \"a/b/c\"\n");
}
