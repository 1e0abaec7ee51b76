/* Bad policies: the exact text of what is shown. */
#include "helper.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METERS                                                                                   \
    "requests, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, "           \
    "reasoning_tokens, tokens, gpu_seconds, processing_ms, memory_gb_ms, images, cost, charge, " \
    "concurrency"

Test(errors, P1_unknown_meter_has_place_and_suggestion)
{
    expect_limit_refused("tokns: 40k/min",
                         "6:5: plans.p: \"tokns\": unknown meter; accepted: " METERS
                         ", or any name with \"meter\" or \"weights\"; did you mean \"tokens\"?");
    expect_limit_refused("spikes: {limit: 4/min, meter: reqests}",
                         "6:35: plans.p.spikes.meter: \"reqests\": unknown meter; accepted: " METERS
                         "; did you mean \"requests\"?");
    expect_limit_refused("mix: {limit: 4/min, weights: {tokens: 1, banana: 2}}",
                         "6:46: plans.p.mix.weights: \"banana\": unknown meter; accepted: " METERS);
}

/* Places are those that an editor shows, which does not count the mark. */
Test(errors, P1_a_byte_order_mark_at_the_start_says_nothing)
{
    free(problems_of("\xEF\xBB\xBF"
                     "version: 1\nplans:\n  p: {requests: 5/min}\n",
                     false));
    expect_refused("\xEF\xBB\xBF"
                   "version: 2\n",
                   "policy.yaml:1:10: version: \"2\": unknown version; 1 is accepted\n");
    expect_refused("\xEF\xBB\xBF"
                   "version: \xFF\n",
                   "policy.yaml:1:10: byte 0xff is not UTF-8; save the file as UTF-8\n");
}

Test(errors, P1_unknown_keys_have_a_suggestion)
{
    expect_refused(
        "version: 1\nplan: {}\n",
        "policy.yaml:2:1: \"plan\": unknown key; accepted: version, meters, models, pools, prices, "
        "unknown_price, plans, default_plan, tenants, limits, reservation_ttl, report_horizon, "
        "ledger_retention, rollup_labels, rls; did you mean \"plans\"?\n");
    expect_refused(
        "version: 1\nmodels:\n  m: {max_ouput_tokens: 5}\n",
        "policy.yaml:3:7: models.m: \"max_ouput_tokens\": unknown key; accepted: pool, family, "
        "max_output_tokens, max_input_tokens, gpu_time, limits; did you mean "
        "\"max_output_tokens\"?\n");
    expect_limit_refused(
        "requests: {limit: 5/min, brust: 7}",
        "6:30: plans.p.requests: \"brust\": unknown key; accepted: limit, window, meter, weights, "
        "admit, settle, unit, algorithm, burst, slots, weighted, zone, anchor, per, match, hard, "
        "test, action, failure_mode, warn, output, quantile, default_max_output, clamp, refunds, "
        "on_expiry, on_failed; did you mean \"burst\"?");
}

Test(errors, P1_duplicate_keys_name_the_first)
{
    expect_refused("version: 1\nplans:\n  a: {}\n  b: {}\n  a: {requests: 5/min}\n",
                   "policy.yaml:5:3: \"a\": given twice; the first is on line 3\n");
}

Test(errors, P1_amounts_that_cannot_be)
{
    expect_limit_refused("requests: -5/min",
                         "6:15: plans.p.requests: \"-5\": negative; 0 or more is accepted");
    expect_limit_refused(
        "requests: lots/min",
        "6:15: plans.p.requests: \"lots\": not a number; accepted: digits with k, M or G, as 600, "
        "40k, 1_000_000");
    expect_limit_refused("requests: 5T/min",
                         "6:15: plans.p.requests: \"5T\": unknown suffix; accepted: k, M, G");
    expect_limit_refused(
        "requests: 9007199254740993/min",
        "6:15: plans.p.requests: \"9007199254740993\": too large; at most 9,007,199,254,740,992 is "
        "accepted");
    expect_limit_refused(
        "requests: 99999999999999999999999999999999999999999/min",
        "6:15: plans.p.requests: \"9999999999999999999999999999999999999999\": too large; at most "
        "9,007,199,254,740,992 is accepted");
    expect_limit_refused(
        "requests: 0.5/min",
        "6:15: plans.p.requests: \"0.5\": finer than the unit counts; a whole number of units is "
        "accepted");
    expect_limit_refused(
        "cost: 500/month",
        "6:11: plans.p.cost: \"500\": an amount of dollars is accepted, as $500 or $0.50");
    expect_limit_refused("cost: $0.0000000001/month",
                         "6:11: plans.p.cost: \"$0.0000000001\": finer than the unit counts; a "
                         "whole number of units "
                         "is accepted");
    expect_limit_refused(
        "cost: $10000000/month",
        "6:11: plans.p.cost: \"$10000000\": too large; at most $9,007,199.254740992 is accepted");
    expect_limit_refused("requests: $5/min", "6:15: plans.p.requests: \"$5\": dollars; an amount "
                                             "of requests is accepted, as 600 or 40k");
}

Test(errors, P1_unknown_units_and_windows)
{
    expect_limit_refused(
        "requests: 5/mn",
        "6:15: plans.p.requests: \"mn\": unknown window; accepted: s, min, hour, day, week, month, "
        "year, 10s, 10min, 6h; did you mean \"min\"?");
    expect_limit_refused("requests: 5",
                         "6:15: plans.p.requests: no window; write one behind a slash, as 600/min");
    expect_limit_refused("cost: $5",
                         "6:11: plans.p.cost: no window; write one behind a slash, as $500/month");
    expect_limit_refused(
        "requests: {per: model}",
        "6:5: plans.p.requests: no \"limit\"; write one, as {limit: 600/min, ...}");
    expect_limit_refused(
        "requests: [5/min]",
        "6:15: plans.p.requests: a list; a limit is accepted here, as 600/min or {limit: 600/min, "
        "per: model}");
}

Test(errors, P4_absurd_windows)
{
    expect_limit_refused(
        "requests: 5/999ms",
        "6:15: plans.p.requests: \"999ms\": absurd window; 1 s to 1 year are accepted");
    expect_limit_refused(
        "requests: 5/0s",
        "6:15: plans.p.requests: \"0s\": unknown window; accepted: s, min, hour, day, week, month, "
        "year, 10s, 10min, 6h");
    expect_limit_refused(
        "requests: {limit: 5, window: 367d, algorithm: fixed_window}",
        "6:34: plans.p.requests.window: \"367d\": absurd window; 1 s to 1 year are accepted");
    expect_limit_refused(
        "requests: 5/2years",
        "6:15: plans.p.requests: \"2years\": absurd window; 1 s to 1 year are accepted");
    expect_limit_refused(
        "requests: 5/4000000000week",
        "6:15: plans.p.requests: \"4000000000week\": absurd window; 1 s to 1 year are accepted");
    expect_limit_refused(
        "requests: 5/7days",
        "6:15: plans.p.requests: calendars have no window of 7 days; add \"algorithm: "
        "sliding_window\" for a rolling one, or write day, week, month or year");
    expect_limit_refused(
        "requests: {limit: 5/month, algorithm: token_bucket}",
        "6:23: plans.p.requests.limit: a month has no fixed length; write 30d, or \"algorithm: "
        "calendar\"");
    expect_limit_refused(
        "requests: {limit: 5/min, window: 10s}",
        "6:38: plans.p.requests.window: \"limit\" has a window already; give one of them");
    expect_limit_refused(
        "concurrency: 20/min",
        "6:18: plans.p.concurrency: \"concurrency\" counts open reservations and has no window; an "
        "amount alone is accepted, as concurrency: 20");
}

Test(errors, P4_options_of_another_algorithm)
{
    expect_limit_refused(
        "requests: {limit: 5/min, burst: 9}",
        "6:37: plans.p.requests.burst: of no use to sliding_window; accepted with token_bucket and "
        "leaky_bucket");
    expect_limit_refused(
        "requests: {limit: 5/min, zone: Europe/Berlin}",
        "6:36: plans.p.requests.zone: of no use to sliding_window; accepted with calendar");
    expect_limit_refused(
        "requests: {limit: 5/day, slots: 10}",
        "6:37: plans.p.requests.slots: of no use to calendar; accepted with sliding_window");
    expect_limit_refused(
        "requests: {limit: 5/min, slots: 61}",
        "6:37: plans.p.requests.slots: \"61\": a whole number from 1 to 60 is accepted");
    expect_limit_refused(
        "requests: {limit: 5/min, algorithm: gcra}",
        "6:41: plans.p.requests.algorithm: \"gcra\": unknown algorithm; accepted: token_bucket, "
        "leaky_bucket, fixed_window, sliding_window, calendar, concurrency, per_request, prepaid");
    expect_limit_refused(
        "requests: {limit: 5/month, anchor: 32}",
        "6:40: plans.p.requests.anchor: \"32\": the day on which a month starts is accepted, 1 to "
        "31");
    expect_limit_refused("requests: {limit: 5/week, anchor: mon}",
                         "6:39: plans.p.requests.anchor: \"mon\": the day on which a week starts "
                         "is accepted, monday "
                         "to sunday");
    expect_limit_refused(
        "requests: {limit: 5/year, anchor: 02-30}",
        "6:39: plans.p.requests.anchor: \"02-30\": the day on which a year starts is accepted, as "
        "04-06");
    expect_limit_refused(
        "requests: {limit: 5/day, anchor: 2}",
        "6:38: plans.p.requests.anchor: hours and days have no anchor; weeks, months and years do");
}

Test(errors, P1_examples_are_within_their_range)
{
    expect_limit_refused("requests: {limit: 5/min, slots: 61}",
                         "6:37: plans.p.requests.slots: \"61\": a whole number from 1 to 60 is "
                         "accepted");
    expect_limit_refused("tokens: {limit: 5/min, default_max_output: 0}",
                         "6:48: plans.p.tokens.default_max_output: \"0\": a whole number from 1 to "
                         "9007199254740992 is accepted, as 4096 or 4k");
    expect_limit_refused("tokens: {limit: 5/min, quantile: 100%}",
                         "6:38: plans.p.tokens.quantile: \"100%\": 50% to 99.9% is accepted, in "
                         "steps of 0.1%");
    qd_policy_free(load_limit("tokens: {limit: 5/min, quantile: 99.9%}"));
    expect_refused("version: 1\nreport_horizon: 30min\n",
                   "policy.yaml:2:17: report_horizon: \"30min\": a length of time from 1h to 366d "
                   "is accepted, as 6h, 35d\n");
    expect_refused("version: 1\nreservation_ttl: 7h\n",
                   "policy.yaml:2:18: reservation_ttl: \"7h\": a length of time from 1s to 6h is "
                   "accepted, as 300s, 10min, 6h\n");
}

/* Expired entries must be missed by nobody: not by a repeated report, nor by a budget. */
Test(errors, L7_entries_are_kept_as_long_as_somebody_needs_them)
{
    static const char budget[] = "version: 1\nledger_retention: %s\n"
                                 "plans:\n  p:\n    tokens: %s\n";
    char yaml[256];
    expect_refused(
        "version: 1\nledger_retention: 36d\n",
        "policy.yaml:2:19: ledger_retention: \"36d\" is less than \"report_horizon\" (35d) "
        "and 2 days for what is late; at least 37d is accepted\n");
    expect_refused(
        "version: 1\nreport_horizon: 90d\nledger_retention: 91d\n",
        "policy.yaml:3:19: ledger_retention: \"91d\" is less than \"report_horizon\" (90d) "
        "and 2 days for what is late; at least 92d is accepted\n");
    expect_refused(
        "version: 1\nledger_retention: soon\n",
        "policy.yaml:2:19: ledger_retention: \"soon\": a length of time from 2d to 36500d "
        "is accepted, as 35d\n");
    snprintf(yaml, sizeof(yaml), budget, "368d", "1M/year");
    expect_refused(yaml, "policy.yaml:5:5: plans.p.tokens: it counts entries of up to 367d, and "
                         "\"ledger_retention\" keeps them for 368d; at least 369d is accepted "
                         "there\n");
    snprintf(yaml, sizeof(yaml), budget, "400d", "{limit: 1M, algorithm: prepaid}");
    expect_refused(yaml, "policy.yaml:5:5: plans.p.tokens: a prepaid balance is the sum of all "
                         "entries, and \"ledger_retention\" lets them expire; leave "
                         "\"ledger_retention\" out\n");
    snprintf(yaml, sizeof(yaml), budget, "369d", "1M/year");
    struct qd_policy *policy = load(yaml);
    cr_assert_not_null(policy);
    cr_expect_eq(policy->ledger_retention_ns, 369 * QD_NS_PER_DAY);
    qd_policy_free(policy);
    policy = load("version: 1\nledger_retention: 37d\nplans: {p: {tokens: 1M/month}}\n");
    cr_assert_not_null(policy, "a month is shorter than the horizon");
    qd_policy_free(policy);
}

Test(errors, P1_unknown_zone_model_pool_plan)
{
    expect_limit_refused(
        "requests: {limit: 5/day, zone: Europe/Berln}",
        "6:36: plans.p.requests.zone: \"Europe/Berln\": unknown zone; an IANA name is accepted, as "
        "Europe/Berlin; did you mean \"Europe/Berlin\"?");
    expect_limit_refused("requests: {limit: 5/day, zone: ../../etc/passwd}",
                         "6:36: plans.p.requests.zone: \"../../etc/passwd\": unknown zone; an IANA "
                         "name is accepted, "
                         "as Europe/Berlin");
    expect_limit_refused(
        "requests: {limit: 5/min, match: {model: [m, n]}}",
        "6:49: plans.p.requests.match.model: \"n\": unknown model; a name under \"models\" is "
        "accepted");
    expect_limit_refused(
        "requests: {limit: 5/min, match: {pool: h10}}",
        "6:44: plans.p.requests.match.pool: \"h10\": unknown pool; a name under \"pools\" is "
        "accepted; did you mean \"h100\"?");
    expect_limit_refused("requests: {limit: 5/min, match: {family: x}}",
                         "6:46: plans.p.requests.match.family: \"x\": no model has this family");
    expect_refused("version: 1\nplans: {pro: {}}\ndefault_plan: por\ntenants:\n  a: {plan: pr}\n",
                   "policy.yaml:3:15: default_plan: \"por\": unknown plan; a name under \"plans\" "
                   "is accepted; did "
                   "you mean \"pro\"?\n"
                   "policy.yaml:5:13: tenants.a.plan: \"pr\": unknown plan; a name under \"plans\" "
                   "is accepted; did "
                   "you mean \"pro\"?\n");
    expect_refused("version: 1\npools: {a100: {}}\nmodels: {m: {pool: h100}}\n",
                   "policy.yaml:3:20: models.m.pool: \"h100\": unknown pool; a name under "
                   "\"pools\" is accepted; did "
                   "you mean \"a100\"?\n");
}

Test(errors, P1_overrides_that_match_nothing)
{
    expect_refused("version: 1\nplans: {pro: {burst: {limit: 5/s, meter: requests}}}\ntenants:\n"
                   "  acme: {plan: pro, brst: 9/s}\n",
                   "policy.yaml:4:21: tenants.acme: \"brst\": unknown meter; accepted: " METERS
                   ", a limit of plan pro, or any name with \"meter\" or \"weights\"; did you mean "
                   "\"burst\"?\n");
    expect_refused("version: 1\nmodels: {m: {}}\nprices: {n: {input_token: $1/1M}}\n",
                   "policy.yaml:3:10: prices: \"n\": matches no model or pool; a name under "
                   "\"models\" or \"pools\" "
                   "is accepted\n");
}

#define NEVER                                                                               \
    ", and the limit sees no other: it would never apply; what such a request can have is " \
    "accepted\n"

Test(errors, P1_a_match_outside_of_the_limits_scope)
{
    expect_refused(
        "version: 1\nmodels: {m: {limits: {requests: {limit: 5/min, match: {model: n}}}}, "
        "n: {}}\n",
        "policy.yaml:2:63: models.m.limits.requests.match.model: matches no request of "
        "model \"m\"" NEVER);
    expect_refused("version: 1\nmodels:\n  m: {family: f, limits: {requests: {limit: 5/min, match: "
                   "{family: g}}}}\n  n: {family: g}\n",
                   "policy.yaml:3:68: models.m.limits.requests.match.family: matches no request of "
                   "model \"m\"" NEVER);
    expect_refused("version: 1\npools: {a: {limits: {requests: {limit: 5/min, match: {pool: b}}}}, "
                   "b: {}}\n",
                   "policy.yaml:2:61: pools.a.limits.requests.match.pool: matches no request of "
                   "pool \"a\"" NEVER);
    expect_refused(
        "version: 1\ntenants: {acme: {y: {meter: requests, limit: 1/day, match: {tenant: "
        "globex}}}, globex: {}}\n",
        "policy.yaml:2:69: tenants.acme.y.match.tenant: matches no request that the "
        "limits of \"acme\" see: it would never apply; that path and those below it are "
        "accepted\n");
    expect_refused("version: 1\ntenants: {'*': {requests: {limit: 1/day, match: {tenant: acme}}}, "
                   "acme: {}}\n",
                   "policy.yaml:2:58: tenants.*.requests.match.tenant: matches no request that the "
                   "limits of \"*\" see: it would never apply; that path and those below it are "
                   "accepted, where no more specific tenant takes its place\n");
}

Test(errors, P1_a_match_that_contradicts_itself)
{
    expect_refused("version: 1\nmodels: {m: {family: f}, n: {family: g}}\n"
                   "limits: {requests: {limit: 5/min, match: {model: m, family: g}}}\n",
                   "policy.yaml:3:50: limits.requests.match.model: no request can have all that "
                   "\"match\" asks for: the limit would never apply\n");
    expect_limit_refused("requests: {limit: 5/min, match: {label: {a: b}, not: {label: {a: '*'}}}}",
                         "6:45: plans.p.requests.match.label: no request can have all that "
                         "\"match\" asks for: the limit would never apply");
    expect_limit_refused("requests: {limit: 5/min, match: {not: {tenant: '*'}}}",
                         "6:37: plans.p.requests.match: no request can have all that \"match\" "
                         "asks for: the limit would never apply");
}

Test(errors, P1_a_match_within_the_limits_scope)
{
    qd_policy_free(
        load("version: 1\nmodels: {m: {family: f, limits: {requests: {limit: 5/min, match: "
             "{model: [n, m], family: f, not: {user: ann}}}}}, n: {}}\n"
             "limits: {requests: {limit: 5/min, match: {not: {model: m}}}}\n"
             "plans: {p: {requests: {limit: 5/min, match: {tenant: x/y, user: '*'}}}}\n"
             "tenants:\n"
             "  '*': {requests: {limit: 1/day, match: {tenant: [acme, globex/eu]}}}\n"
             "  acme: {requests: {limit: 1/day, match: {not: {tenant: acme}}}}\n"
             "  a/b/c/d/e/f/g/h: {requests: {limit: 1/day, match: {not: {tenant: x}}}}\n"));
}

Test(errors, P1_a_match_of_a_pool_that_requests_must_name)
{
    char *text =
        problems_of("version: 1\npools: {a: {}, b: {limits: {requests: {limit: 5/min, match: "
                    "{model: m}}}}}\nmodels: {m: {pool: a}}\n",
                    false);
    cr_expect_str_eq(text,
                     "policy.yaml:2:69: warning: pools.b.limits.requests.match.model: model "
                     "\"m\" is in pool \"a\": the limit sees only requests that name another "
                     "pool themselves\n",
                     "%s", text);
    free(text);
}

Test(errors, P2_tenant_paths)
{
    expect_refused(
        "version: 1\ntenants:\n  a//b: {}\n  a/b*: {}\n  1/2/3/4/5/6/7/8/9: {}\n",
        "policy.yaml:3:3: tenants: \"a//b\": not a tenant; 1 to 8 segments of 1 to 63 of a-z, A-Z, "
        "0-9, "
        "\".\", \"_\", \"-\" are accepted, as acme/search, or \"*\" for a whole segment\n"
        "policy.yaml:4:3: tenants: \"a/b*\": not a tenant; 1 to 8 segments of 1 to 63 of a-z, A-Z, "
        "0-9, "
        "\".\", \"_\", \"-\" are accepted, as acme/search, or \"*\" for a whole segment\n"
        "policy.yaml:5:3: tenants: \"1/2/3/4/5/6/7/8/9\": not a tenant; 1 to 8 segments of 1 to 63 "
        "of "
        "a-z, A-Z, 0-9, \".\", \"_\", \"-\" are accepted, as acme/search, or \"*\" for a whole "
        "segment\n");
}

Test(errors, H7_hard_is_refused_where_no_budget_can_be_minted)
{
    expect_limit_refused(
        "requests: {limit: 5/min, hard: true}",
        "6:36: plans.p.requests.hard: sliding_window cannot be hard: its window moves all the "
        "time, "
        "so that no budget can be handed out to nodes; accepted with calendar (day, month, ...), "
        "fixed_window of 1 min or more, prepaid, concurrency");
    expect_limit_refused(
        "requests: {limit: 5/min, algorithm: token_bucket, hard: true}",
        "6:61: plans.p.requests.hard: token_bucket cannot be hard: a bucket refills all the time, "
        "so "
        "that no budget can be handed out to nodes; accepted with calendar (day, month, ...), "
        "fixed_window of 1 min or more, prepaid, concurrency");
    expect_limit_refused(
        "requests: {limit: 5/30s, algorithm: fixed_window, hard: true}",
        "6:61: plans.p.requests.hard: fixed_window cannot be hard: its window is shorter than the "
        "1 "
        "min in which rights can be handed out; accepted with calendar (day, month, ...), "
        "fixed_window of 1 min or more, prepaid, concurrency");
    expect_limit_refused(
        "tokens: {limit: 5/request, hard: true}",
        "6:38: plans.p.tokens.hard: per_request cannot be hard: it has no budget; accepted with "
        "calendar (day, month, ...), fixed_window of 1 min or more, prepaid, concurrency");
}

Test(errors, H1_hard_weighs_nothing_negative)
{
    expect_limit_refused(
        "x: {weights: {output_tokens: -1, input_tokens: 2}, limit: 5/day, hard: true}",
        "6:34: plans.p.x.weights.output_tokens: a hard limit must hold the most that a request can "
        "use, and a negative weight is less for more use; a weight from 0 is accepted");
    expect_limit_refused(
        "x: {admit: {input_tokens: 1}, settle: {input_tokens: 1, images: -1}, limit: 5/day, hard: "
        "true}",
        "6:69: plans.p.x.settle.images: a hard limit must hold the most that a request can use, "
        "and a negative weight is less for more use; a weight from 0 is accepted");
    expect_refused("version: 1\nmeters: {net: {sum: {input_tokens: 1, cached_input_tokens: -1}}}\n"
                   "plans:\n  p:\n    net: {limit: 5/day, hard: true}\n",
                   "policy.yaml:5:5: plans.p.net: \"cached_input_tokens\": a hard limit must hold "
                   "the most that a request can use, and a negative weight is less for more use; a "
                   "weight from 0 is accepted\n");
    /* A limit that is not hard may. */
    qd_policy_free(load_limit("x: {weights: {output_tokens: -1, input_tokens: 2}, limit: 5/day}"));
}

Test(errors, H1_hard_books_no_more_than_it_holds)
{
    expect_limit_refused(
        "x: {admit: {input_tokens: 1}, settle: {input_tokens: 1, output_tokens: 5}, limit: 5/day, "
        "hard: true}",
        "6:76: plans.p.x.settle.output_tokens: a hard limit's report books no more than was held, "
        "and \"output_tokens\" is held with a smaller weight; at most its weight in \"admit\" is "
        "accepted");
    expect_limit_refused(/* 0.3 > 0.29 */
                         "x: {admit: {input_tokens: 0.29}, settle: {input_tokens: 0.3}, limit: "
                         "5/day, hard: true}",
                         "6:61: plans.p.x.settle.input_tokens: a hard limit's report books no more "
                         "than was held, "
                         "and \"input_tokens\" is held with a smaller weight; at most its weight "
                         "in \"admit\" is "
                         "accepted");
    expect_limit_refused(/* only output has a bound, and reasoning is a part of it */
                         "x: {weights: {output_tokens: 1, reasoning_tokens: 2}, "
                         "default_max_output: 9, limit: "
                         "5/day, hard: true}",
                         "6:55: plans.p.x.weights.reasoning_tokens: a hard limit's report books no "
                         "more than was "
                         "held, and \"output_tokens\" is held with a smaller weight; at most its "
                         "weight in "
                         "\"admit\" is accepted");
    qd_policy_free(load_limit("x: {admit: {input_tokens: 1, max_output_tokens: 1}, settle: "
                              "{input_tokens: 0.25, reasoning_tokens: 1}, default_max_output: 9, "
                              "limit: 5/day, hard: true}"));
    qd_policy_free(load_limit(
        "x: {admit: {input_tokens: 1}, settle: {input_tokens: 1, output_tokens: 5}, limit: "
        "5/day}"));
}

Test(errors, H1_hard_needs_a_bounded_estimate_and_fails_closed)
{
    expect_limit_refused(
        "requests: {limit: 5/day, hard: true, test: below}",
        "6:48: plans.p.requests.test: a hard limit tests that the estimate fits; \"test: fits\" is "
        "accepted");
    expect_limit_refused("requests: {limit: 5/day, hard: true, failure_mode: open}",
                         "6:56: plans.p.requests.failure_mode: a hard limit fails closed; "
                         "\"failure_mode: closed\" is "
                         "accepted");
    expect_limit_refused(
        "requests: {limit: 5/day, hard: true, action: shadow}",
        "6:50: plans.p.requests.action: a hard limit must be enforced; try it out without \"hard\" "
        "first");
    expect_limit_refused(
        "tokens: {limit: 5k/day, hard: true, output: quantile}",
        "6:49: plans.p.tokens.output: a hard limit needs an upper bound of the output; \"output: "
        "worst_case\" is accepted");
    expect_limit_refused("cost: {limit: $5/day, hard: true, clamp: 50%}",
                         "6:46: plans.p.cost.clamp: a hard limit holds the whole estimate; "
                         "\"clamp\" is not accepted");
    expect_limit_refused(
        "cost: {limit: $5/day, hard: true, admit: none}",
        "6:46: plans.p.cost.admit: a hard limit must hold an estimate; \"admit: none\" is not "
        "accepted");
    expect_refused(
        "version: 1\nmodels: {m: {}, n: {max_output_tokens: 9}}\nplans:\n"
        "  p:\n    tokens: {limit: 5M/day, hard: true}\n",
        "policy.yaml:5:5: plans.p.tokens: a hard limit needs an upper bound of the output, and "
        "model "
        "\"m\" has no \"max_output_tokens\"; give it there, or \"default_max_output\" here\n");
    expect_refused(
        "version: 1\nmodels: {m: {max_output_tokens: 9}}\nprices: {m: {input_token: $1/1M}}\n"
        "unknown_price: unpriced\nplans:\n  p:\n    cost: {limit: $5/day, hard: true}\n",
        "policy.yaml:7:5: plans.p.cost: a hard limit of money cannot hold what has no price; "
        "\"unknown_price: deny\" or a cap is accepted\n");
}

Test(errors, H1_hard_money_needs_an_estimate_of_the_time_that_it_pays)
{
    expect_refused(
        "version: 1\nmodels: {m: {pool: g, max_output_tokens: 9, gpu_time: {input_token: 0us, "
        "output_token: 0us}}}\npools: {g: {}}\nprices: {g: {gpu_second: $1}}\nplans:\n  p:\n"
        "    cost: {limit: $5/day, hard: true}\n",
        "policy.yaml:7:5: plans.p.cost: a hard limit of money needs an estimate of what costs "
        "money, and model \"m\" has a price by \"gpu_second\" and no estimate of that time; a "
        "\"gpu_time\" above 0 there is accepted\n");
}

Test(errors, H1_hard_gpu_time_needs_an_estimate)
{
    expect_refused("version: 1\nmodels: {m: {max_output_tokens: 9}}\nplans:\n  p:\n"
                   "    gpu_seconds: {limit: 5/day, hard: true}\n",
                   "policy.yaml:5:5: plans.p.gpu_seconds: a hard limit of GPU-time needs an "
                   "estimate of it, and model \"m\" has none; a \"gpu_time\" above 0 there is "
                   "accepted\n");
    expect_refused("version: 1\nmodels: {m: {gpu_time: {output_token: 2ms}}}\nplans:\n  p:\n"
                   "    gpu_seconds: {limit: 5/day, hard: true}\n",
                   "policy.yaml:5:5: plans.p.gpu_seconds: a hard limit needs an upper bound of the "
                   "output, and model \"m\" has no \"max_output_tokens\"; give it there, or "
                   "\"default_max_output\" here\n");
    expect_limit_refused("gpu_seconds: {limit: 5/day, hard: true, output: quantile}",
                         "6:53: plans.p.gpu_seconds.output: a hard limit needs an upper bound of "
                         "the output; \"output: worst_case\" is accepted");
    expect_refused("version: 1\nmodels: {m: {max_output_tokens: 9}}\nplans:\n  p:\n"
                   "    processing_seconds: {limit: 5/day, hard: true}\n",
                   "policy.yaml:5:5: plans.p.processing_seconds: a hard limit must hold an "
                   "estimate, and nothing estimates processing or memory time; GPU-time "
                   "(\"gpu_seconds\") is accepted, it is estimated from the tokens\n");
    free(problems_of("version: 1\nmodels: {m: {max_output_tokens: 9, gpu_time: {output_token: "
                     "2ms}}}\nplans:\n  p:\n    gpu_seconds: {limit: 5/day, hard: true}\n",
                     false));
}

Test(errors, H1_hard_needs_models_or_a_default_bound)
{
    expect_refused(
        "version: 1\nplans:\n  p:\n    tokens: {limit: 5M/day, hard: true}\n",
        "policy.yaml:4:5: plans.p.tokens: a hard limit needs an upper bound of the output, and "
        "the policy declares no models; declare them with \"max_output_tokens\", or give "
        "\"default_max_output\" here\n");
}

Test(errors, P8_money_needs_prices)
{
    expect_refused(
        "version: 1\nplans:\n  p:\n    cost: $5/day\n",
        "policy.yaml:4:5: plans.p.cost: a limit of money needs prices; add a \"prices\" section\n");
    expect_refused("version: 1\nunknown_price: free\n",
                   "policy.yaml:2:16: unknown_price: \"free\": unknown rule for unknown prices; "
                   "accepted: deny, "
                   "unpriced, {cap: PRICES}\n");
}

Test(errors, P8_warns_of_models_that_would_be_denied)
{
    char *text = problems_of(
        "version: 1\nmodels: {m: {}, n: {}}\nprices: {m: {input_token: $1/1M, output_token: "
        "$1/1M}}\nplans: {p: {cost: $5/day}}\n",
        false);
    cr_expect_str_eq(
        text,
        "policy.yaml:2:17: warning: models: \"n\" has no price: with \"unknown_price: deny\" its "
        "requests are denied\n");
    free(text);
}

Test(errors, P7_prices_that_are_none)
{
    expect_refused("version: 1\nmodels: {m: {}}\nprices:\n  m: {input_token: 0.1}\n",
                   "policy.yaml:4:20: prices.m.input_token: a price is accepted here, as $0.0011 "
                   "or $2.50/1M\n");
    expect_refused("version: 1\nmodels: {m: {}}\nprices:\n  m: {input_token: $-1}\n",
                   "policy.yaml:4:20: prices.m.input_token: \"$-1\": negative; a price is accepted "
                   "here, as $0.0011 "
                   "or $2.50/1M\n");
    expect_refused("version: 1\nmodels: {m: {}}\nprices:\n  m: {input_token: $NaN}\n",
                   "policy.yaml:4:20: prices.m.input_token: \"$NaN\": not a price; a price is "
                   "accepted here, as "
                   "$0.0011 or $2.50/1M\n");
    expect_refused("version: 1\nmodels: {m: {}}\nprices:\n  m: {input_token: $1e-40}\n",
                   "policy.yaml:4:20: prices.m.input_token: \"$1e-40\": cannot be kept exactly; a "
                   "price is accepted "
                   "here, as $0.0011 or $2.50/1M\n");
    expect_refused("version: 1\nmodels: {m: {}}\nprices:\n  m: []\n",
                   "policy.yaml:4:6: prices.m: 1 to 64 price sheets are accepted\n");
}

Test(errors, P1_not_utf8)
{
    expect_refused("version: 1\nplans:\n  fr\xff"
                   "ee: {}\n",
                   "policy.yaml:3:5: byte 0xff is not UTF-8; save the file as UTF-8\n");
    /* Overlong, surrogate, above U+10FFFF, cut off. */
    expect_refused("v: \"\xc0\x80\"",
                   "policy.yaml:1:5: byte 0xc0 is not UTF-8; save the file as UTF-8\n");
    expect_refused("v: \"\xed\xa0\x80\"",
                   "policy.yaml:1:5: byte 0xed is not UTF-8; save the file as UTF-8\n");
    expect_refused("v: \"\xf4\x90\x80\x80\"",
                   "policy.yaml:1:5: byte 0xf4 is not UTF-8; save the file as UTF-8\n");
    expect_refused("v: \xc3\xa4\xe2\x82",
                   "policy.yaml:1:5: byte 0xe2 is not UTF-8; save the file as UTF-8\n");
}

Test(errors, P1_names_without_control_characters)
{
    expect_refused("version: 1\nmodels: {\"a\\x01b\": {}}\n",
                   "policy.yaml:2:10: models: \"a?b\": not a name; 1 to 127 bytes of UTF-8 without "
                   "control characters "
                   "are accepted\n");
    expect_refused("version: 1\nmodels: {\"a\\0b\": {}}\n",
                   "policy.yaml:2:10: a value with a NUL character is not accepted\n");
}

Test(errors, P1_broken_yaml)
{
    expect_refused("",
                   "policy.yaml:1:1: empty; a policy is a map that begins with \"version: 1\"\n");
    expect_refused(
        "- a\n",
        "policy.yaml:1:1: not a policy; a policy is a map that begins with \"version: 1\"\n");
    expect_refused("plans: {}\n", "policy.yaml:1:1: no \"version\"; begin with \"version: 1\"\n");
    expect_refused("version: 2\n",
                   "policy.yaml:1:10: version: \"2\": unknown version; 1 is accepted\n");
    expect_refused("version: 1\nplans: [a\n", "policy.yaml:3:1: not YAML: did not find expected "
                                              "',' or ']', while parsing a flow sequence\n");
    expect_refused("version: 1\n\tplans: {}\n", "policy.yaml:2:1: not YAML: found a tab character "
                                                "that violates indentation, while scanning a "
                                                "plain scalar\n");
    expect_refused("version: 1\n---\nversion: 1\n",
                   "policy.yaml:2:1: a second document; only one is accepted\n");
    expect_refused("version: !!int 1\n",
                   "policy.yaml:1:10: YAML tags are not accepted; write the value without one\n");
    expect_refused(
        "version: 1\n[a]: b\n",
        "policy.yaml:2:1: a key must be a single word; put it in quotes if it has brackets\n");
    expect_refused("version: 1\nrls: {}\n",
                   "policy.yaml:2:6: rls: not supported by this version; remove it\n");
}

Test(errors, P1_aliases_are_bounded)
{
    expect_refused("a: &a [*a]\n", "policy.yaml:1:8: an alias inside of what it stands for\n");
    expect_refused("a: *b\n", "policy.yaml:1:4: \"*b\": no anchor \"&b\" comes before it\n");
    expect_refused("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                   "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                   "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
                   "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]\n",
                   "policy.yaml:7:37: too many values once aliases are written out\n");
}

Test(errors, P1_depth_is_bounded)
{
    char yaml[200] = "a: ";
    for (int i = 0; i < 40; i++) {
        yaml[3 + i] = '[';
    }
    expect_refused(yaml, "policy.yaml:1:34: nested too deeply; at most 32 levels are accepted\n");
    /* The same through aliases. */
    expect_refused("a: &a [[[[[[[[[[x]]]]]]]]]]\nb: &b [[[[[[[[[[*a]]]]]]]]]]\nc: &c "
                   "[[[[[[[[[[[[*b]]]]]]]]]]]]\n",
                   "policy.yaml:3:21: nested too deeply; at most 32 levels are accepted\n");
}

Test(errors, P1_size_is_bounded)
{
    size_t size = QD_POLICY_BYTES_MAX + 1;
    char *yaml = malloc(size + 1);
    memset(yaml, ' ', size);
    yaml[size] = '\0';
    expect_refused(yaml, "policy.yaml: too large; at most 16 MiB are accepted\n");
    free(yaml);
}

Test(errors, P1_missing_file_and_folder)
{
    struct qd_problems *problems = qd_problems_new(5);
    cr_expect_null(qd_policy_load_file("/nonexistent/policy.yaml", problems));
    cr_expect_null(qd_policy_load_file("/", problems));
    char *text = qd_problems_text(problems);
    cr_expect_str_eq(text, "/nonexistent/policy.yaml: No such file or directory\n"
                           "/: not a file; the path of a regular file is accepted\n");
    free(text);
    qd_problems_free(problems);
}

Test(errors, P1_many_errors_are_counted)
{
    char yaml[8192] = "version: 1\nplans:\n  p:\n";
    for (int i = 0; i < 30; i++) {
        char line[64];
        snprintf(line, sizeof line, "    x%d: 5/min\n", i);
        (void)strncat(yaml, line, sizeof yaml - strlen(yaml) - 1);
    }
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    cr_expect_null(qd_policy_load_bytes("policy.yaml", NULL, yaml, strlen(yaml), problems));
    cr_expect_eq(qd_problems_count(problems), 20);
    cr_expect_eq(qd_problems_errors(problems), 30);
    char *text = qd_problems_text(problems);
    cr_expect_not_null(strstr(text, "\nand 10 more\n"));
    free(text);
    qd_problems_free(problems);
}

Test(errors, P3_selectors_and_splits)
{
    expect_limit_refused(
        "requests: {limit: 5/min, per: modl}",
        "6:35: plans.p.requests.per: \"modl\": unknown attribute; accepted: model, family, pool, "
        "user, tenant, label:NAME; did you mean \"model\"?");
    expect_limit_refused(
        "requests: {limit: 5/min, per: tenant}",
        "6:35: plans.p.requests.per: limits of plans and tenants are always per tenant; \"per: "
        "tenant\" is accepted for limits of models, pools, and at the top");
    expect_limit_refused("requests: {limit: 5/min, per: [label:a, label:b]}",
                         "6:45: plans.p.requests.per: a limit can be split by one label only");
    expect_limit_refused("requests: {limit: 5/min, match: {modle: m}}",
                         "6:38: plans.p.requests.match: \"modle\": unknown key; accepted: model, "
                         "family, pool, user, "
                         "tenant, label, not; did you mean \"model\"?");
    expect_limit_refused(
        "mix: {limit: 5/min, meter: tokens, weights: {tokens: 1}}",
        "6:32: plans.p.mix.meter: either \"meter\" or \"weights\" is accepted, not both");
    expect_limit_refused(
        "mix: {limit: $5/min, weights: {cost: 1, tokens: 1}}",
        "6:35: plans.p.mix.weights: money and other meters cannot be added; use two limits");
    expect_limit_refused(
        "mix: {limit: 5/min, weights: {tokens: 0}}",
        "6:34: plans.p.mix.weights: all weights are 0; a limit must count something");
    expect_limit_refused(
        "mix: {limit: 5/min, settle: {max_output_tokens: 1}}",
        "6:34: plans.p.mix.settle: \"max_output_tokens\" is known before a request only; it is "
        "accepted in \"admit\"; did you mean \"output_tokens\"?");
    expect_limit_refused(
        "tokens: {limit: 5/min, quantile: 100%}",
        "6:38: plans.p.tokens.quantile: \"100%\": 50% to 99.9% is accepted, in steps of 0.1%");
    expect_limit_refused(
        "tokens: {limit: 5/min, quantile: 49.9%}",
        "6:38: plans.p.tokens.quantile: \"49.9%\": 50% to 99.9% is accepted, in steps of 0.1%");
    expect_limit_refused("tokens: {limit: 5/min, warn: 0%}",
                         "6:34: plans.p.tokens.warn: \"0%\": 0.1% to 100% is accepted, in steps of "
                         "0.1%");
    expect_limit_refused("tokens: {limit: 5/min, per: [model, model]}",
                         "6:41: plans.p.tokens.per: \"model\": given twice");
    expect_limit_refused("tokens: {limit: 5/min, per: [label:team, label:team]}",
                         "6:46: plans.p.tokens.per: \"label:team\": given twice");
    expect_limit_refused("tokens: {limit: 5/min, warn: [80%, 80%]}",
                         "6:40: plans.p.tokens.warn: \"80%\": given twice");
}
