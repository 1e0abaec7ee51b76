/* What changes between two policies (P6). */
#include "helper.h"

#include "server/policy/policy_diff.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(const struct qd_policy_changes *changes, FILE *out)
{
    size_t restarts = 0;
    for (size_t i = 0; i < changes->count; i++) {
        const struct qd_policy_change *c = &changes->changes[i];
        const char *empty = c->restarts_counters ? "  (counters start empty)" : "";
        restarts += c->restarts_counters;
        switch (c->kind) {
        case QD_CHANGE_ADDED:
            fprintf(out, "+ %s: %s%s\n", c->path, c->after, empty);
            break;
        case QD_CHANGE_REMOVED:
            fprintf(out, "- %s: %s%s\n", c->path, c->before, empty);
            break;
        case QD_CHANGE_CHANGED:
            fprintf(out, "~ %s: %s -> %s%s\n", c->path, c->before, c->after, empty);
            break;
        }
    }
    if (changes->dropped > 0) {
        fprintf(out, "and %zu more\n", changes->dropped);
    }
    size_t count = changes->count + changes->dropped;
    if (count == 0) {
        fputs("no changes\n", out);
    } else {
        fprintf(out, "%zu change%s; %zu limit%s start%s with empty counters\n", count,
                count == 1 ? "" : "s", restarts, restarts == 1 ? "" : "s",
                restarts == 1 ? "s" : "");
    }
}

static char *diff(const char *old, const char *new)
{
    struct qd_policy *a = load(old);
    struct qd_policy *b = load(new);
    cr_assert(a != NULL && b != NULL);
    struct qd_policy_changes *changes = qd_policy_diff(a, b);
    cr_assert_not_null(changes);
    qd_policy_free(a);
    qd_policy_free(b);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    print(changes, out);
    fclose(out);
    qd_policy_changes_free(changes);
    return text;
}

static void expect_diff(const char *old, const char *new, const char *want)
{
    char *text = diff(old, new);
    cr_expect_str_eq(text, want, "got\n%swant\n%s", text, want);
    free(text);
}

Test(policy_diff, P6_the_same_policy_written_otherwise_is_no_change)
{
    expect_diff("version: 1\nplans: {b: {requests: 60/min}, a: {tokens: 1M/min}}\n",
                "# comment\nversion: 1\nplans:\n  a: {tokens: {limit: 1_000_000/min}}\n  b:\n    "
                "requests: {limit: 60, "
                "window: min}\n",
                "no changes\n");
}

Test(policy_diff, P6_says_which_counters_start_empty)
{
    expect_diff("version: 1\nplans:\n  pro: {tokens: {limit: 1M/min, per: model}, requests: "
                "600/min, images: 5/min}\n",
                "version: 1\nplans:\n  pro: {tokens: {limit: 2M/min, per: [model, user]}, "
                "requests: 900/min, gpu_seconds: 5/min}\n"
                "  free: {requests: 5/min}\n",
                "+ plans.free: a plan\n"
                "+ plans.free.requests: 5/min\n"
                "- plans.pro.images: 5/min\n"
                "~ plans.pro.tokens: 1,000,000/min, per model -> 2,000,000/min, per model, per "
                "user  (counters start "
                "empty)\n"
                "~ plans.pro.requests: 600/min -> 900/min\n"
                "+ plans.pro.gpu_seconds: 5/min, counts gpu_ms\n"
                "6 changes; 1 limit starts with empty counters\n");
}

Test(policy_diff, P6_derived_meters_are_sums_of_names)
{
    expect_diff("version: 1\nmeters: {work: {sum: {input_tokens: 1.0, output_tokens: 2.5}}}\n",
                "version: 1\nmeters: {work: {sum: {input_tokens: 0.25, output_tokens: 4}}}\n",
                "~ meters.work: input_tokens + 2.5*output_tokens, in work -> 0.25*input_tokens + "
                "4*output_tokens, in work\n"
                "1 change; 0 limits start with empty counters\n");
}

Test(policy_diff, P6_every_option_of_a_limit_shows)
{
    static const char *const options[] = {"burst: 9, algorithm: token_bucket",
                                          "slots: 30",
                                          "weighted: true",
                                          "per: user",
                                          "match: {model: m}",
                                          "match: {not: {model: m}}",
                                          "action: shadow",
                                          "failure_mode: closed",
                                          "test: below",
                                          "warn: 80%",
                                          "output: none",
                                          "quantile: 90%",
                                          "default_max_output: 5",
                                          "clamp: 10%",
                                          "refunds: false",
                                          "on_expiry: charge",
                                          "on_failed: keep_input",
                                          "weights: {tokens: 2}",
                                          "admit: none",
                                          "unit: x",
                                          "algorithm: fixed_window",
                                          "per: label:x",
                                          "match: {label: {a: b}}",
                                          "match: {user: '*'}",
                                          "settle: {output_tokens: 3}"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char yaml[400];
        snprintf(yaml, sizeof yaml,
                 "version: 1\nmodels: {m: {}}\nplans: {p: {tokens: {limit: 5/min, %s}}}\n",
                 options[i]);
        char *text = diff("version: 1\nmodels: {m: {}}\nplans: {p: {tokens: 5/min}}\n", yaml);
        cr_expect_eq(strncmp(text, "~ plans.p.tokens: 5/min -> 5/min", 32), 0, "%s: %s", options[i],
                     text);
        free(text);
    }
    expect_diff("version: 1\nmodels: {m: {}}\n",
                "version: 1\nmodels: {m: {max_output_tokens: 0}}\n",
                "+ models.m.max_output_tokens: 0\n1 change; 0 limits start with empty counters\n");
    expect_diff("version: 1\nmodels: {m: {max_output_tokens: 5}}\nprices: {m: {input_token: "
                "$1/1M}}\nplans: {p: {cost: $5/month}}\n",
                "version: 1\nmodels: {m: {max_output_tokens: 5}}\nprices: {m: {input_token: "
                "$1/1M}}\nplans: {p: {cost: "
                "{limit: $5/month, hard: true, zone: Asia/Tokyo, anchor: 3}}}\n",
                "~ plans.p.cost: $5/month -> $5/month (Asia/Tokyo), anchor 3, hard  (counters "
                "start empty)\n"
                "1 change; 1 limit starts with empty counters\n");
}

Test(policy_diff, P6_tenants_models_prices_and_settings)
{
    char *text =
        diff("version: 1\nmodels: {m: {pool: h, max_output_tokens: 5}}\nprices: {m: {input_token: "
             "$1/1M}}\n"
             "plans: {p: {}}\ntenants: {a: {plan: p}, b: {}}\n",
             "version: 1\nmodels: {m: {max_output_tokens: 6, family: f, limits: {requests: 5/s}}}\n"
             "prices: {m: {input_token: $2/1M}}\nplans: {p: {}}\ntenants: {a: {blocked: true, "
             "tokens: 5/min}, "
             "'*': {plan: p}}\nreservation_ttl: 60s\nunknown_price: unpriced\ndefault_plan: p\n");
    char *v = strstr(text, "~ prices.m: v");
    cr_assert_not_null(v, "%s", text);
    cr_expect_not_null(strstr(v, ": input_tokens $0.000001"), "%s", text);
    static const char *const lines[] = {"- models.m.pool: h\n",
                                        "+ models.m.family: f  (counters start empty)\n",
                                        "~ models.m.max_output_tokens: 5 -> 6\n",
                                        "+ models.m.limits.requests: 5/s\n",
                                        "- pools.h: a pool\n",
                                        "- tenants.a.plan: p\n",
                                        "+ tenants.a.blocked: true\n",
                                        "+ tenants.a.tokens: 5/min\n",
                                        "- tenants.b: a tenant\n",
                                        "+ tenants.*: a tenant\n",
                                        "+ tenants.*.plan: p\n",
                                        "~ unknown_price: deny -> unpriced\n",
                                        "+ default_plan: p\n",
                                        "~ reservation_ttl: 300s -> 60s\n",
                                        "\n15 changes; 1 limit starts with empty counters\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        cr_expect_not_null(strstr(text, lines[i]), "no %s in\n%s", lines[i], text);
    }
    free(text);
}
