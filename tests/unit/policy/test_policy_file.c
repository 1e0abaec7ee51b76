/* What policies say, compiled. */
#include "helper.h"

#include "server/policy/arena.h"
#include "server/policy/limit_text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct qd_limit_use *only(struct qd_policy *p)
{
    cr_assert_eq(p->plan_count, 1);
    cr_assert_eq(p->plans[0].limit_count, 1);
    return &p->plans[0].limits[0];
}

static void expect_meters(const struct qd_weights *w, uint32_t meters)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < w->count; i++) {
        seen |= QD_METER_BIT(w->item[i].meter);
        cr_expect_eq(w->item[i].num, w->den, "weight 1");
    }
    cr_expect_eq(seen, meters);
}

#define TOKENS                                                                          \
    (QD_METER_BIT(QD_METER_INPUT_TOKENS) | QD_METER_BIT(QD_METER_CACHED_INPUT_TOKENS) | \
     QD_METER_BIT(QD_METER_CACHE_WRITE_TOKENS) | QD_METER_BIT(QD_METER_OUTPUT_TOKENS) | \
     QD_METER_BIT(QD_METER_REASONING_TOKENS))

Test(policy_file, P1_the_first_hours_policy)
{
    char *path = source_path("deploy/examples/first-hour.yaml");
    struct qd_problems *problems = qd_problems_new(5);
    struct qd_policy *p = qd_policy_load_file(path, problems);
    cr_assert_not_null(p);
    cr_expect_eq(qd_problems_count(problems), 0, "no warnings either");
    const struct qd_policy_info *info = qd_policy_info(p);
    cr_expect_str_eq(info->summary, "2 plans, 3 tenant rules, 2 priced models");
    cr_expect_str_eq(info->file, path);
    cr_expect_eq(info->import_count, 1);
    cr_expect_eq(strlen(info->sha256), 64);
    cr_expect_eq(info->yaml_size, strlen(info->yaml));
    cr_expect_eq(p->unknown_price, QD_UNKNOWN_PRICE_DENY);
    cr_expect_eq(p->pool_count, 1);
    cr_expect_str_eq(p->pools[0].name, "h100");

    const struct qd_limit_use *use = limit_of(p, "free", "requests");
    cr_expect_eq(use->amount, 20);
    cr_expect_eq(use->line, 12);
    cr_expect_eq(use->column, 5);
    cr_expect_str_eq(use->origin, "plan free");
    cr_expect_str_eq(use->limit->owner, "free");
    cr_expect_eq(use->limit->algorithm, QD_SLIDING_WINDOW);
    cr_expect_eq(use->limit->window_ns, QD_NS_PER_MINUTE);
    cr_expect_eq(use->limit->slots, 60);
    cr_expect_eq(use->limit->weighted, false);
    expect_meters(&use->limit->admit, QD_METER_BIT(QD_METER_REQUESTS));

    use = limit_of(p, "free", "tokens");
    cr_expect_eq(use->amount, 40000);
    expect_meters(&use->limit->admit, TOKENS);
    expect_meters(&use->limit->settle, TOKENS);

    use = limit_of(p, "free", "cost");
    cr_expect_eq(use->amount, INT64_C(5000000000));
    cr_expect(use->limit->money);
    cr_expect_str_eq(use->limit->unit, "USD");
    cr_expect_eq(use->limit->unit_scale, 1000000000);
    cr_expect_eq(use->limit->algorithm, QD_CALENDAR);
    cr_expect_eq(use->limit->calendar.unit, QD_CALENDAR_MONTH);
    cr_expect_eq(use->limit->calendar.anchor, 1);
    cr_expect_eq(use->limit->calendar.zone, &qd_zone_utc);
    cr_expect_eq(use->limit->threshold_permille[0], 500);
    cr_expect_eq(use->limit->threshold_permille[2], 1000);

    use = limit_of(p, "pro", "tokens");
    cr_expect_eq(use->amount, 1000000);
    cr_expect_eq(use->limit->per, QD_ATTR_MODEL);
    use = limit_of(p, "pro", "concurrency");
    cr_expect_eq(use->limit->algorithm, QD_CONCURRENCY);
    cr_expect_eq(use->amount, 20);
    use = limit_of(p, "pro", "cost");
    cr_expect_eq(use->limit->consistency, QD_HARD);
    cr_expect_eq(use->limit->failure_mode, QD_FAIL_CLOSED);
    cr_expect_eq(use->limit->on_expiry, QD_KEEP_ALL, "S5: hard limits keep what expires");
    cr_expect_str_eq(use->limit->calendar.zone->name, "Europe/Berlin");
    cr_expect_eq(use->limit->threshold_permille[0], 800);
    cr_expect_eq(use->limit->threshold_permille[1], 0);

    cr_assert_eq(p->tenant_count, 3);
    cr_expect_eq(p->tenant_exact_count, 2);
    cr_expect_str_eq(p->tenants[0].pattern, "acme");
    cr_expect_str_eq(p->tenants[1].pattern, "acme/search");
    cr_expect_null(p->tenants[1].plan);
    cr_expect_null(p->tenants[1].limits[0].limit->owner,
                   "a tenant's own limit is named after its path");
    cr_expect_str_eq(p->tenants[2].pattern, "*");
    cr_expect_str_eq(p->tenants[2].plan->name, "free");
    qd_policy_free(p);
    qd_problems_free(problems);
    free(path);
}

Test(policy_file, P4_short_forms_choose_the_algorithm)
{
    static const struct {
        const char *text;
        enum qd_algorithm algorithm;
        int64_t amount;
        int64_t window_ns;
        enum qd_calendar_unit unit;
    } rows[] = {
        {"requests: 10/s", QD_SLIDING_WINDOW, 10, QD_NS_PER_S, 0},
        {"requests: 10 / min", QD_SLIDING_WINDOW, 10, QD_NS_PER_MINUTE, 0},
        {"requests: 1_000_000/hour", QD_SLIDING_WINDOW, 1000000, QD_NS_PER_HOUR, 0},
        {"tokens: 1.5M/10min", QD_SLIDING_WINDOW, 1500000, 10 * QD_NS_PER_MINUTE, 0},
        {"tokens: 2G/6h", QD_SLIDING_WINDOW, 2000000000, 6 * QD_NS_PER_HOUR, 0},
        {"requests: 20/day", QD_CALENDAR, 20, 0, QD_CALENDAR_DAY},
        {"requests: 20/week", QD_CALENDAR, 20, 0, QD_CALENDAR_WEEK},
        {"cost: $0.50/month", QD_CALENDAR, 500000000, 0, QD_CALENDAR_MONTH},
        {"charge: $9007199.254740992/year", QD_CALENDAR, QD_AMOUNT_MAX, 0, QD_CALENDAR_YEAR},
        {"gpu_seconds: 600/hour", QD_SLIDING_WINDOW, 600000, QD_NS_PER_HOUR, 0},
        {"gpu_seconds: 0.5/min", QD_SLIDING_WINDOW, 500, QD_NS_PER_MINUTE, 0},
        {"gpu_ms: 600/hour", QD_SLIDING_WINDOW, 600, QD_NS_PER_HOUR, 0},
        {"concurrency: 20", QD_CONCURRENCY, 20, 0, 0},
        {"tokens: 4096/request", QD_PER_REQUEST, 4096, 0, 0},
        {"cost: prepaid", QD_PREPAID, 0, 0, 0},
        {"requests: 0/day", QD_CALENDAR, 0, 0, QD_CALENDAR_DAY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qd_policy *p = load_limit(rows[i].text);
        const struct qd_limit_use *use = only(p);
        cr_expect_eq(use->limit->algorithm, rows[i].algorithm, "%s", rows[i].text);
        cr_expect_eq(use->amount, rows[i].amount, "%s: %lld", rows[i].text, (long long)use->amount);
        cr_expect_eq(use->limit->window_ns, rows[i].window_ns, "%s", rows[i].text);
        cr_expect_eq(use->limit->calendar.unit, rows[i].unit, "%s", rows[i].text);
        qd_policy_free(p);
    }
}

Test(policy_file, P4_long_forms_choose_anything)
{
    static const struct {
        const char *text;
        enum qd_algorithm algorithm;
        int64_t amount, burst, window_ns;
    } rows[] = {
        {"requests: {limit: 60/min, algorithm: token_bucket}", QD_TOKEN_BUCKET, 60, 60,
         QD_NS_PER_MINUTE},
        {"requests: {limit: 60/min, algorithm: token_bucket, burst: 1k}", QD_TOKEN_BUCKET, 60, 1000,
         QD_NS_PER_MINUTE},
        {"cost: {limit: $6/hour, algorithm: leaky_bucket, burst: $0.25}", QD_LEAKY_BUCKET,
         6000000000, 250000000, QD_NS_PER_HOUR},
        {"requests: {limit: 5, window: 90s, algorithm: fixed_window}", QD_FIXED_WINDOW, 5, 0,
         90 * QD_NS_PER_S},
        {"requests: {limit: 5/7days, algorithm: sliding_window}", QD_SLIDING_WINDOW, 5, 0,
         7 * QD_NS_PER_DAY},
        {"requests: {limit: 5/year, algorithm: sliding_window}", QD_SLIDING_WINDOW, 5, 0,
         365 * QD_NS_PER_DAY},
        {"requests: {limit: 5/366d, algorithm: fixed_window}", QD_FIXED_WINDOW, 5, 0,
         366 * QD_NS_PER_DAY},
        {"requests: {limit: 5/hour, algorithm: calendar}", QD_CALENDAR, 5, 0, 0},
        {"big: {limit: 5, algorithm: per_request, meter: input_tokens}", QD_PER_REQUEST, 5, 0, 0},
        {"cost: {algorithm: prepaid}", QD_PREPAID, 0, 0, 0},
        {"cost: {limit: $7, algorithm: prepaid}", QD_PREPAID, 7000000000, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qd_policy *p = load_limit(rows[i].text);
        const struct qd_limit_use *use = only(p);
        cr_expect_eq(use->limit->algorithm, rows[i].algorithm, "%s", rows[i].text);
        cr_expect_eq(use->amount, rows[i].amount, "%s", rows[i].text);
        cr_expect_eq(use->burst, rows[i].burst, "%s", rows[i].text);
        cr_expect_eq(use->limit->window_ns, rows[i].window_ns, "%s", rows[i].text);
        qd_policy_free(p);
    }
}

Test(policy_file, P4_calendars_have_zones_and_anchors)
{
    struct qd_policy *p = load_limit("cost: {limit: $5/month, zone: Asia/Tokyo, anchor: 31}");
    cr_expect_eq(only(p)->limit->calendar.anchor, 31);
    cr_expect_str_eq(only(p)->limit->calendar.zone->name, "Asia/Tokyo");
    qd_policy_free(p);
    p = load_limit("cost: {limit: $5/week, anchor: sunday}");
    cr_expect_eq(only(p)->limit->calendar.anchor, 7);
    qd_policy_free(p);
    p = load_limit("cost: {limit: $5/year, anchor: 04-06}");
    cr_expect_eq(only(p)->limit->calendar.anchor, 406);
    qd_policy_free(p);
    p = load_limit("cost: {limit: $5/year}");
    cr_expect_eq(only(p)->limit->calendar.anchor, 101);
    qd_policy_free(p);
}

Test(policy_file, P3_everything_that_a_limit_has)
{
    struct qd_policy *p = load_limit(
        "x: {limit: 5k/min, admit: {input_tokens: 1, max_output_tokens: 1}, "
        "settle: {input_tokens: 1, cache_write_tokens: 1.25, output_tokens: 5}, unit: credits, "
        "slots: 12, "
        "weighted: true, per: [model, user, label:team], match: {model: m, user: '*', label: {env: "
        "[prod, dev]}, "
        "not: {pool: h100}}, test: below, action: shadow, failure_mode: share, warn: [99.5%, 50%], "
        "quantile: 90%, default_max_output: 2k, clamp: 25%, refunds: false, on_expiry: keep_input, "
        "on_failed: keep_all}");
    const struct qd_limit *l = only(p)->limit;
    cr_expect_str_eq(l->name, "x");
    cr_expect_str_eq(l->unit, "credits");
    cr_expect_eq(l->admit.count, 2);
    cr_expect_eq(l->admit.item[1].meter, QD_METER_OUTPUT_TOKENS);
    cr_expect_eq(l->settle.count, 3);
    cr_expect_eq(l->settle.den, 4);
    cr_expect_eq(l->settle.item[0].num, 4);
    cr_expect_eq(l->settle.item[1].num, 5);
    cr_expect_eq(l->settle.item[2].num, 20);
    cr_expect_eq(l->slots, 12);
    cr_expect(l->weighted);
    cr_expect_eq(l->per, QD_ATTR_MODEL | QD_ATTR_USER | QD_ATTR_LABEL);
    cr_expect_str_eq(l->per_label, "team");
    cr_assert_eq(l->selector_count, 4);
    cr_expect_eq(l->selector[0].attribute, QD_ATTR_MODEL);
    cr_expect_str_eq(l->selector[0].any[0], "m");
    cr_expect_null(l->selector[1].any);
    cr_expect_str_eq(l->selector[2].label, "env");
    cr_expect_eq(l->selector[2].any_count, 2);
    cr_expect_str_eq(l->selector[2].any[1], "dev");
    cr_expect(l->selector[3].negate);
    cr_expect_eq(l->admit_test, QD_ADMIT_USED_BELOW);
    cr_expect_eq(l->action, QD_SHADOW);
    cr_expect_eq(l->failure_mode, QD_FAIL_SHARE);
    cr_expect_eq(l->threshold_permille[0], 500);
    cr_expect_eq(l->threshold_permille[1], 995);
    cr_expect_eq(l->threshold_permille[2], 0);
    cr_expect_eq(l->output_estimate, QD_OUTPUT_QUANTILE);
    cr_expect_eq(l->quantile_permille, 900);
    cr_expect_eq(l->default_max_output, 2000);
    cr_expect_eq(l->clamp_permille_of_amount, 250);
    cr_expect_not(l->refunds);
    cr_expect_eq(l->on_expiry, QD_KEEP_INPUT);
    cr_expect_eq(l->on_failed, QD_KEEP_ALL);
    cr_expect(p->uses_user);
    cr_expect(p->uses_quantile);
    cr_assert_eq(p->attribute_label_count, 2);
    cr_expect_str_eq(p->attribute_labels[0], "team");
    cr_expect_str_eq(p->attribute_labels[1], "env");
    qd_policy_free(p);
}

Test(policy_file, P3_defaults)
{
    struct qd_policy *p = load_limit("tokens: 5k/min");
    const struct qd_limit *l = only(p)->limit;
    cr_expect_eq(l->admit_test, QD_ADMIT_USED_PLUS_ESTIMATE);
    cr_expect_eq(l->action, QD_ENFORCE);
    cr_expect_eq(l->consistency, QD_GOSSIP);
    cr_expect_eq(l->failure_mode, QD_FAIL_OPEN);
    cr_expect_eq(l->output_estimate, QD_OUTPUT_WORST_CASE);
    cr_expect_eq(l->threshold_permille[0], 0);
    cr_expect(l->refunds);
    cr_expect_eq(l->on_expiry, QD_KEEP_NOTHING);
    cr_expect_eq(l->on_failed, QD_KEEP_NOTHING);
    cr_expect_not(p->uses_user);
    cr_expect_not(p->uses_quantile);
    cr_expect_not(p->uses_money);
    cr_expect_eq(p->reservation_ttl_ns, 300 * QD_NS_PER_S);
    cr_expect_eq(p->report_horizon_ns, 35 * QD_NS_PER_DAY);
    qd_policy_free(p);
    p = load_limit("cost: $5/min");
    cr_expect_eq(only(p)->limit->failure_mode, QD_FAIL_CLOSED, "money fails closed");
    cr_expect(p->uses_money);
    qd_policy_free(p);
}

Test(policy_file, P1_own_meters_and_sums)
{
    struct qd_policy *p =
        load("version: 1\n"
             "meters:\n"
             "  tool_calls: {unit: calls}\n"
             "  credits: {sum: {tokens: 1, tool_calls: 100, cached_input_tokens: -0.9}}\n"
             "plans:\n  p: {credits: 5k/day, tool_calls: 7/min}\n");
    cr_assert_not_null(p);
    int credits = qd_policy_meter(p, (struct qd_str){"credits", 7});
    cr_assert_eq(credits, QD_METER_FIRST_CUSTOM + 1);
    cr_expect(p->meters[credits].derived);
    struct qd_usage u = {0};
    qd_usage_set(&u, QD_METER_INPUT_TOKENS, 10);
    qd_usage_set(&u, QD_METER_CACHED_INPUT_TOKENS, 100);
    qd_usage_set(&u, QD_METER_FIRST_CUSTOM, 2);
    cr_expect_eq(qd_weights_apply(&limit_of(p, "p", "credits")->limit->settle, &u), 10 + 10 + 200);
    cr_expect_str_eq(limit_of(p, "p", "tool_calls")->limit->unit, "calls");
    qd_policy_free(p);
    expect_refused(
        "version: 1\nmeters: {tokens: {}, Big: {}}\n",
        "policy.yaml:2:10: meters.tokens: \"tokens\": a built-in meter; choose another name\n"
        "policy.yaml:2:22: meters.Big: \"Big\": not a meter's name; a-z, 0-9 and \"_\", up to 63, "
        "are "
        "accepted\n");
}

Test(policy_file, P2_patterns_come_last_and_most_specific_first)
{
    struct qd_policy *p =
        load("version: 1\nplans: {a: {}}\ntenants:\n  '*': {}\n  '*/x': {}\n  b/*: {}\n  b: {}\n"
             "  '*/*': {}\n  b/x: {}\n  a: {}\n");
    static const char *const order[] = {"a", "b", "b/x", "b/*", "*/x", "*", "*/*"};
    cr_assert_eq(p->tenant_count, 7);
    cr_expect_eq(p->tenant_exact_count, 3);
    for (size_t i = 0; i < 7; i++) {
        cr_expect_str_eq(p->tenants[i].pattern, order[i]);
    }
    const struct qd_tenant_rule *rule = qd_policy_tenant_rule(p, (struct qd_str){"b/y", 3});
    cr_expect_str_eq(rule->pattern, "b/*");
    rule = qd_policy_tenant_rule(p, (struct qd_str){"c/x", 3});
    cr_expect_str_eq(rule->pattern, "*/x");
    qd_policy_free(p);
}

Test(policy_file, P6_identity_is_scope_name_algorithm_window_slots_per_unit)
{
    struct qd_policy *p = load_limit("requests: 600/min");
    struct qd_hash128 base = only(p)->limit->identity;
    static const struct {
        const char *text;
        bool same;
    } rows[] = {
        {"requests: 900/min", true},
        {"requests: {limit: 600/min, warn: 80%, action: shadow, failure_mode: closed, on_failed: "
         "keep_all}",
         true},
        {"requests: {limit: 600/min, weighted: true}", true},
        {"requests: {limit: 600/min, match: {model: m}}", true},
        {"requests: 600/10s", false},
        {"requests: {limit: 600/min, slots: 30}", false},
        {"requests: {limit: 600/min, per: model}", false},
        {"requests: {limit: 600/min, algorithm: token_bucket}", false},
        {"reqs: {limit: 600/min, meter: requests}", false},
        {"requests: {limit: 600/min, unit: calls}", false},
        {"requests: 600/day", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qd_policy *q = load_limit(rows[i].text);
        cr_expect_eq(qd_hash128_equal(base, only(q)->limit->identity), rows[i].same, "%s",
                     rows[i].text);
        qd_policy_free(q);
    }
    qd_policy_free(p);
}

Test(policy_file, P6_a_month_in_another_zone_or_from_another_day_starts_empty)
{
    struct qd_policy *a = load_limit("cost: $5/month");
    struct qd_policy *b = load_limit("cost: {limit: $5/month, zone: Europe/Berlin}");
    struct qd_policy *c = load_limit("cost: {limit: $5/month, anchor: 2}");
    struct qd_policy *d = load_limit("cost: {limit: $9/month, hard: true}");
    cr_expect_not(qd_hash128_equal(only(a)->limit->identity, only(b)->limit->identity));
    cr_expect_not(qd_hash128_equal(only(a)->limit->identity, only(c)->limit->identity));
    cr_expect(qd_hash128_equal(only(a)->limit->identity, only(d)->limit->identity));
    qd_policy_free(a);
    qd_policy_free(b);
    qd_policy_free(c);
    qd_policy_free(d);
}

Test(policy_file, P6_epochs_differ_and_content_hashes_agree)
{
    struct qd_policy *a = load("version: 1\nplans: {a: {}}\n");
    struct qd_policy *b = load("version: 1\nplans: {a: {}}\n");
    struct qd_policy *c = load("version: 1\nplans: {b: {}}\n");
    cr_expect_neq(a->epoch, b->epoch);
    cr_expect_eq(a->revision, 0);
    cr_expect(qd_hash128_equal(a->content, b->content));
    cr_expect_not(qd_hash128_equal(a->content, c->content));
    cr_expect_str_eq(qd_policy_info(a)->sha256, qd_policy_info(b)->sha256);
    cr_expect_str_eq(qd_policy_info(a)->sha256,
                     "e66d7c00f4e88242f6ab12b078117609a019a5e5f72b368ead9024f5d0131861");
    qd_policy_free(a);
    qd_policy_free(b);
    qd_policy_free(c);
}

Test(policy_file, P1_aliases_share_what_they_name)
{
    struct qd_policy *p = load("version: 1\nplans:\n  a: &a {requests: 5/min}\n  b: *a\n");
    cr_assert_not_null(p);
    cr_expect_eq(limit_of(p, "b", "requests")->amount, 5);
    cr_expect_str_eq(limit_of(p, "b", "requests")->limit->owner, "b");
    qd_policy_free(p);
}

Test(policy_file, P2_run_time_limits_take_the_same_forms)
{
    char *path = source_path("deploy/examples/first-hour.yaml");
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_policy *p = qd_policy_load_file(path, problems);
    const struct qd_plan *pro = qd_policy_plan(p, (struct qd_str){"pro", 3});
    struct qd_limit_entry good[] = {
        {"tokens", "2M/min"}, {"cost", "{limit: $9/month, warn: 90%}"}, {"concurrency", "5"}};
    struct qd_limit_set *set = qd_policy_compile_limits(p, pro, good, 3, problems);
    cr_assert_not_null(set);
    cr_expect_eq(set->count, 3);
    cr_expect_eq(set->uses[0].amount, 2000000);
    cr_expect_str_eq(set->uses[0].origin, "PutTenant");
    cr_expect_null(set->uses[0].file);
    cr_expect_null(set->uses[0].limit->owner);
    cr_expect_eq(set->uses[1].limit->threshold_permille[0], 900);
    cr_expect(qd_hash128_equal(set->uses[0].limit->identity,
                               limit_of(p, "free", "tokens")->limit->identity),
              "P6: what is replaced goes on with what was used");
    qd_limit_set_free(set);

    struct qd_limit_entry bad[] = {{"tokns", "2M/min"},
                                   {"requests", "5/mn"},
                                   {"tokens", "{limit: 5/min, per: user}"},
                                   {"images", "[1"},
                                   {"requests", "5/min"}};
    cr_expect_null(qd_policy_compile_limits(p, NULL, bad, 5, problems));
    char *text = qd_problems_text(problems);
    cr_expect_str_eq(
        text,
        "limits: \"tokns\": unknown meter; accepted: requests, input_tokens, cached_input_tokens, "
        "cache_write_tokens, output_tokens, reasoning_tokens, tokens, gpu_seconds, processing_ms, "
        "memory_gb_ms, "
        "images, cost, charge, concurrency, or any name with \"meter\" or \"weights\"; did you "
        "mean \"tokens\"?\n"
        "limits.requests: \"mn\": unknown window; accepted: s, min, hour, day, week, month, year, "
        "10s, 10min, 6h; did "
        "you mean \"min\"?\n"
        "limits.tokens: \"user\" is not used by the policy; run-time limits can only use it if "
        "some limit there does\n"
        "limits.images:2:1: not YAML: did not find expected ',' or ']', while parsing a flow "
        "sequence\n"
        "limits: \"requests\": given twice\n",
        "got\n%s", text);
    free(text);
    qd_problems_free(problems);
    qd_policy_free(p);
    free(path);
}

Test(policy_file, P1_the_development_policy)
{
    struct qd_policy *p = qd_policy_dev();
    cr_assert_not_null(p);
    cr_expect(p->dev);
    cr_assert_not_null(p->default_plan);
    cr_expect_str_eq(qd_policy_info(p)->file, "--dev");
    cr_expect_eq(p->unknown_price, QD_UNKNOWN_PRICE_UNPRICED);
    qd_policy_free(p);
}

Test(policy_file, P1_the_example_has_warnings_only)
{
    char *path = source_path("deploy/examples/policy.yaml");
    struct qd_problems *problems = qd_problems_new(20);
    struct qd_policy *p = qd_policy_load_file(path, problems);
    cr_assert_not_null(p);
    cr_expect_eq(qd_problems_errors(problems), 0);
    cr_expect_str_eq(qd_policy_info(p)->summary, "5 plans, 9 tenant rules, 6 priced models");
    qd_policy_free(p);
    qd_problems_free(problems);
    free(path);
}

/* Every allocation of the compiler fails once. */
Test(policy_file, P1_without_memory_nothing_is_taken)
{
    char *path = source_path("deploy/examples/policy.yaml");
    bool loaded = false;
    for (int n = 1; n < 100 && !loaded; n++) {
        struct qd_problems *problems = qd_problems_new(20);
        qd_arena_fail_chunk(n);
        struct qd_policy *p = qd_policy_load_file(path, problems);
        qd_arena_fail_chunk(0);
        loaded = p != NULL;
        cr_expect(loaded || qd_problems_errors(problems) > 0);
        qd_policy_free(p);
        qd_problems_free(problems);
    }
    cr_expect(loaded);
    free(path);
}

/* The word that is being read when memory ends goes, too (LeakSanitizer looks). */
Test(policy_file, P1_without_memory_a_half_read_file_leaves_nothing)
{
    static char yaml[20000];
    for (size_t i = 0; i < sizeof yaml; i += 2) {
        yaml[i] = i == 0 ? '[' : 'a';
        yaml[i + 1] = i == 0 ? ' ' : ',';
    }
    yaml[sizeof yaml - 1] = ']';
    bool was_read = false;
    for (int n = 1; n < 100 && !was_read; n++) {
        struct qd_problems *problems = qd_problems_new(20);
        qd_arena_fail_chunk(n);
        cr_expect_null(qd_policy_load_bytes("policy.yaml", NULL, yaml, sizeof yaml, problems));
        qd_arena_fail_chunk(0);
        was_read = strcmp(qd_problems_at(problems, 0)->message, "out of memory") != 0;
        qd_problems_free(problems);
    }
    cr_expect(was_read);
}

Test(policy_file, P1_limit_texts)
{
    static const struct {
        const char *limit;
        const char *text;
    } rows[] = {
        {"tokens: 40k/min", "40,000/min"},
        {"tokens: 40k/10min", "40,000/10min"},
        {"tokens: 123/90s", "123/90s"},
        {"tokens: 1234567/2h", "1,234,567/2hours"},
        {"cost: {limit: $500.50/month, zone: Europe/Berlin}", "$500.50/month (Europe/Berlin)"},
        {"gpu_seconds: 12345.678/hour", "12,345.678/hour"},
        {"concurrency: 20", "20 at once"},
        {"tokens: 4k/request", "4,000 a request"},
        {"cost: prepaid", "$0 prepaid"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qd_policy *p = load_limit(rows[i].limit);
        char text[QD_LIMIT_TEXT_MAX];
        (void)qd_limit_text(only(p)->limit, only(p)->amount, text);
        cr_expect_str_eq(text, rows[i].text);
        qd_policy_free(p);
    }
}
