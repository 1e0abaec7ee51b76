/* What settling counts, where, and that a restart counts the same (S2, S5, D7, D12, X4, X5). */
#include "fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(settling, .timeout = 60);

static struct fixture f;

static void boot_again(const char *yaml)
{
    fixture_close(&f);
    fixture_open(&f, yaml);
}

static const char gpu[] = "version: 1\n"
                          "meters: {widgets: {unit: widgets}}\n"
                          "models:\n  m: {max_output_tokens: 100}\n"
                          "unknown_price: unpriced\n"
                          "plans:\n  basic:\n    requests: 100/min\n    gpu: {limit: 1000/day, "
                          "meter: gpu_ms}\n    w: {limit: 1000/day, meter: widgets}\n"
                          "tenants:\n  acme: {plan: basic}\n";
Test(settling, S2_what_nobody_estimated_counts_in_its_limits_too)
{
    fixture_open(&f, gpu);
    cr_assert(check(&f, "acme", 10));
    struct qd_report_args a = report_of(f.token, 10);
    a.usage[1] = (struct qd_amount_arg){str("gpu_ms"), 700};
    a.usage[2] = (struct qd_amount_arg){str("widgets"), 600};
    a.usage_count = 3;
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "gpu"), 700);
    cr_expect_eq(used_of(&f, "acme", "w"), 600);
    boot_again(gpu);
    cr_expect_eq(used_of(&f, "acme", "gpu"), 700);
    cr_expect_eq(used_of(&f, "acme", "w"), 600);
    fixture_end(&f);
}

static const char unp[] = "version: 1\n"
                          "models:\n  m: {max_output_tokens: 100}\n  m2: {max_output_tokens: 100}\n"
                          "prices:\n  m2: {input_token: $1, output_token: $1}\n"
                          "unknown_price: unpriced\n"
                          "plans:\n  two: {requests: 100/min, cost: $100/month}\n"
                          "tenants:\n  \"*\": {plan: two}\n";
Test(settling, S2_money_counts_that_the_check_could_not_price)
{
    fixture_open(&f, unp);
    cr_assert(check(&f, "acme", 10));
    struct qd_report_args a = report_of(f.token, 90);
    a.model = str("m2");
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE);
    cr_expect_eq(f.report.cost_nano, INT64_C(90000000000));
    cr_expect_eq(used_of(&f, "acme", "cost"), INT64_C(90000000000));
    fixture_end(&f);
}

static const char shared[] = "version: 1\n"
                             "models:\n  m: {max_output_tokens: 100}\n"
                             "unknown_price: unpriced\n"
                             "limits:\n  all: {limit: 1000/day, meter: input_tokens}\n"
                             "plans:\n  basic:\n    requests: 100/min\n"
                             "tenants:\n  acme: {plan: basic}\n";
Test(settling, X5_a_deleted_tenant_still_counts_in_what_all_share)
{
    uint32_t del = 0;
    fixture_open(&f, shared);
    cr_assert_eq(put_tenant(&f, "newco", "basic", NULL, NULL), QD_ERROR_NONE);
    cr_assert(check(&f, "newco", 900));
    cr_assert_eq(report_tokens(&f, 900), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "all"), 900);
    cr_assert_eq(qd_tenants_delete(f.node, str("newco"), false, str(""), &del, &f.error),
                 QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "all"), 900);
    boot_again(shared);
    cr_expect_eq(used_of(&f, "acme", "all"), 900);
    cr_expect_not(check(&f, "acme", 900));
    fixture_end(&f);
}

Test(settling, S2_a_hold_of_a_deleted_tenant_is_settled)
{
    uint32_t del = 0;
    fixture_open(&f, shared);
    cr_assert_eq(put_tenant(&f, "newco", "basic", NULL, NULL), QD_ERROR_NONE);
    cr_assert(check(&f, "newco", 900));
    cr_assert_eq(qd_tenants_delete(f.node, str("newco"), false, str(""), &del, &f.error),
                 QD_ERROR_NONE);
    fixture_publish(&f, shared);
    cr_assert_eq(report_tokens(&f, 900), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "all"), 900);
    cr_expect_eq(held_of(&f, "acme", "all"), 0);
    fixture_pass(&f, 301 * S);
    cr_expect_eq(used_of(&f, "acme", "all"), 900);
    cr_expect_eq(held_of(&f, "acme", "all"), 0);
    fixture_end(&f);
}

static const char evictp[] = "version: 1\n"
                             "models:\n  m: {max_output_tokens: 100}\n"
                             "unknown_price: unpriced\n"
                             "plans:\n  two: {input: {limit: 1000/month, meter: input_tokens}}\n"
                             "tenants:\n  \"*\": {plan: two}\n";
Test(settling, X4_a_store_that_fails_takes_no_counter_out_of_memory)
{
    fixture_open(&f, evictp);
    cr_assert(check(&f, "victim", 1000));
    cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
    cr_assert_not(check(&f, "victim", 1));
    fixture_pass(&f, 400 * S);
    struct qd_store_faults *x = qd_store_memory_faults(f.store);
    x->write.countdown = 0;
    x->write.repeat = true;

    for (unsigned i = 0; i < 600; i++) {
        char t[32];
        snprintf(t, sizeof t, "t%u", i);
        struct qd_check_args a = args_of(t, 1);
        a.no_reservation = false;
        cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE);
        if (f.answer.allowed) {
            qd_node_undelivered(f.worker, f.answer.number);
        }
        fixture_pass(&f, S);
    }
    x->write.countdown = -1;
    x->write.repeat = false;
    fixture_pass(&f, 400 * S);
    cr_expect_eq(f.worker->figures.evictions, 0);
    cr_expect_eq(used_of(&f, "victim", "input"), 1000);
    cr_expect_not(check(&f, "victim", 1000));
    fixture_end(&f);
}

static const char month[] = "version: 1\n"
                            "models:\n  m: {max_output_tokens: 100}\n"
                            "unknown_price: unpriced\n"
                            "plans:\n  two: {input: {limit: 1000/day, meter: input_tokens}}\n"
                            "tenants:\n  \"*\": {plan: two}\n";
Test(settling, X5_a_restart_counts_by_the_check_not_by_its_event_time)
{
    fixture_open(&f, month);
    struct qd_check_args a = args_of("acme", 1000);
    a.event_time_given = true;
    a.event_time_ns = f.wall - QD_NS_PER_DAY;
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE);
    cr_assert(f.answer.allowed);
    cr_assert_eq(report_tokens(&f, 1000), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "input"), 1000);
    boot_again(month);
    cr_expect_eq(used_of(&f, "acme", "input"), 1000);
    fixture_end(&f);
}

Test(settling, X5_a_restart_counts_by_the_check_not_by_the_reports_time)
{
    fixture_open(&f, month);
    cr_assert(check(&f, "acme", 1000));
    struct qd_report_args a = report_of(f.token, 1000);
    a.event_time_given = true;
    a.event_time_ns = f.wall - QD_NS_PER_DAY;
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "acme", "input"), 1000);
    boot_again(month);
    cr_expect_eq(used_of(&f, "acme", "input"), 1000);
    fixture_end(&f);
}

static const char split[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100, pool: p1}\n  m2: {max_output_tokens: 100, pool: p2}\n"
    "pools: {p1: {}, p2: {}}\n"
    "unknown_price: unpriced\n"
    "plans:\n  two:\n"
    "    of_m: {limit: 1000/day, meter: input_tokens, match: {model: m}}\n"
    "    of_p1: {limit: 1000/day, meter: input_tokens, match: {pool: p1}}\n"
    "    of_ann: {limit: 1000/day, meter: input_tokens, match: {user: ann}}\n"
    "    of_red: {limit: 1000/day, meter: input_tokens, match: {label: {team: red}}}\n"
    "tenants:\n  \"*\": {plan: two}\n";

/* By name, as a check of ann's from team red for model m in pool p1 finds it. */
static int64_t used_by_ann(const char *name)
{
    struct qd_label red = {str("team"), str("red")};
    struct qd_attributes a = {.tenant = str("acme"),
                              .model = str("m"),
                              .family = str("m"),
                              .pool = str("p1"),
                              .user = str("ann"),
                              .labels = &red,
                              .label_count = 1};

    return used_by(&f, &a, name);
}

Test(settling, X5_a_restart_counts_what_was_reserved_not_what_was_reported)
{
    static const char *const limits[] = {"of_m", "of_p1", "of_ann", "of_red"};
    fixture_open(&f, split);
    struct qd_check_args a = args_of("acme", 500);
    a.user = str("ann");
    a.labels[0] = (struct qd_label){str("team"), str("red")};
    a.labels[1] = (struct qd_label){str("app"), str("x")};
    a.label_count = 2;
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed);
    struct qd_report_args r = report_of(f.token, 700);
    r.model = str("m2");
    r.pool = str("p2");
    r.user = str("bob");
    r.labels[0] = (struct qd_label){str("team"), str("blue")};
    r.label_count = 1;
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE, "%s", f.error.text);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(used_by_ann(limits[i]), 700, "%s before: %lld", limits[i],
                     (long long)used_by_ann(limits[i]));
    }
    boot_again(split);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(used_by_ann(limits[i]), 700, "%s after: %lld", limits[i],
                     (long long)used_by_ann(limits[i]));
    }
    fixture_end(&f);
}

static const char widgets[] = "version: 1\n"
                              "meters: {widgets: {unit: widgets}, gadgets: {unit: gadgets}}\n"
                              "models:\n  m: {max_output_tokens: 100}\n"
                              "unknown_price: unpriced\n"
                              "plans: {two: {w: {limit: 1000/day, meter: widgets}}}\n"
                              "tenants:\n  \"*\": {plan: two}\n";
static const char gadgets[] = "version: 1\n"
                              "meters: {gadgets: {unit: gadgets}, widgets: {unit: widgets}}\n"
                              "models:\n  m: {max_output_tokens: 100}\n"
                              "unknown_price: unpriced\n"
                              "plans: {two: {w: {limit: 1000/day, meter: widgets}}}\n"
                              "tenants:\n  \"*\": {plan: two}\n";

/* What is encoded after a reload, before the worker leaves, speaks of the policy that decided. */
Test(settling, P6_an_answer_names_the_meters_of_the_policy_that_decided)
{
    fixture_open(&f, widgets);
    struct qd_check_args a = args_of("acme", 0);
    a.estimate[0] = (struct qd_amount_arg){str("widgets"), 7};
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_check(f.worker, &a, &f.answer, &f.error), QD_ERROR_NONE);
    struct qd_report_args r = report_of(NULL, 0);
    r.reservation = (struct qd_str){f.answer.token, f.answer.token_len};
    r.usage[0] = (struct qd_amount_arg){str("widgets"), 2};
    cr_assert_eq(qd_node_report(f.worker, &r, &f.report, &f.error), QD_ERROR_NONE);
    fixture_publish(&f, gadgets);
    const struct qd_policy *now = atomic_load(&f.node->published)->policy;
    unsigned meter = (unsigned)__builtin_ctz(f.report.released.present);
    cr_expect_eq(qd_usage_get(&f.report.released, meter), 5);
    cr_expect_str_eq(now->meters[meter].name, "gadgets");
    cr_expect_str_eq(f.report.policy->meters[meter].name, "widgets");
    cr_expect_str_eq(f.answer.policy->meters[meter].name, "widgets");
    qd_worker_leave(f.worker);
    fixture_end(&f);
}

static const char moved[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100, pool: p2}\n  m2: {max_output_tokens: 100, pool: p2}\n"
    "pools: {p1: {}, p2: {}}\n"
    "unknown_price: unpriced\n"
    "plans: {two: {of_all: {limit: 1000/day, meter: input_tokens}}}\n"
    "tenants:\n  \"*\": {plan: two}\n";

/* The policy fills in the pool of a model. What it says now is not what the report says. */
Test(settling, S6_a_retry_after_a_reload_that_moves_the_model_is_a_duplicate)
{
    fixture_open(&f, split);
    struct qd_report_args r = report_of(NULL, 70);
    r.tenant = str("acme");
    r.model = str("m");
    r.request_id = str("req-1");
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(check(&f, "acme", 100));
    cr_assert_eq(report_tokens(&f, 90), QD_ERROR_NONE, "%s", f.error.text);
    fixture_publish(&f, moved);
    cr_assert_eq(report_tokens(&f, 90), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(f.report.duplicate);
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(f.report.duplicate);
    r.pool = str("p2");
    cr_assert_eq(report_args(&f, &r), QD_ERROR_REPORT_CONFLICT);
    cr_expect_not_null(strstr(f.error.text, "pool \"p1\", now \"p2\""), "%s", f.error.text);
    fixture_end(&f);
}

static const char kept[] = "version: 1\n"
                           "models:\n  m: {max_output_tokens: 100}\n"
                           "unknown_price: unpriced\n"
                           "plans:\n  two:\n    requests: 100/day\n    input: {limit: 100000/day, "
                           "meter: output_tokens, on_expiry: charge}\n"
                           "tenants:\n  \"*\": {plan: two}\n";
Test(settling, S5_a_second_final_report_counts_no_request_again)
{
    fixture_open(&f, kept);
    struct qd_check_args c = args_of("acme", 10);
    c.max_output_given = true;
    c.max_output_tokens = 50;
    cr_assert_eq(check_args(&f, &c), QD_ERROR_NONE);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    cr_assert_eq(report_tokens(&f, 10), QD_ERROR_NONE); /* final, no output reported: kept */
    cr_expect_eq(used_of(&f, "acme", "requests"), 1);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    struct qd_report_args a = report_of(f.token, 0);
    a.source = str("pool");
    a.usage[0] = (struct qd_amount_arg){str("gpu_ms"), 700};
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(used_of(&f, "acme", "requests"), 1);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    fixture_end(&f);
}

/* quota.v1.Settlement: LATE is what comes after the expiry, whatever the expiry left of the hold.
 */
Test(settling, S5_a_report_after_the_expiry_is_late_though_the_hold_is_kept)
{
    fixture_open(&f, kept);
    struct qd_check_args c = args_of("acme", 10);
    c.max_output_given = true;
    c.max_output_tokens = 50;
    cr_assert_eq(check_args(&f, &c), QD_ERROR_NONE);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    fixture_pass(&f, 302 * S);
    cr_assert_eq(held_of(&f, "acme", "input"), 50, "kept");
    struct qd_report_args a = report_of(f.token, 0);
    a.partial = true;
    a.usage[0] = (struct qd_amount_arg){str("output_tokens"), 20};
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    a.partial = false;
    a.sequence = 1;
    a.usage[0].amount = 7;
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    cr_expect_eq(used_of(&f, "acme", "input"), 27, "the truth");
    cr_expect_eq(held_of(&f, "acme", "input"), 0);
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(f.report.duplicate);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_LATE);
    fixture_end(&f);
}

static const char bucket[] = "version: 1\n"
                             "models:\n  m: {max_output_tokens: 100}\n"
                             "unknown_price: unpriced\n"
                             "plans:\n  two:\n    input: {limit: 60000/min, algorithm: "
                             "token_bucket, burst: 60000, meter: input_tokens, on_expiry: charge}\n"
                             "tenants:\n  \"*\": {plan: two}\n";
Test(settling, S5_what_a_bucket_keeps_ends_when_it_has_drained)
{
    fixture_open(&f, bucket);
    cr_assert(check(&f, "acme", 50000));
    cr_assert_eq(report_tokens(&f, 50000), QD_ERROR_NONE);
    unsigned ok = 0;
    for (unsigned i = 0; i < 200;
         i++) { /* 1000 tokens/s drain, offered 1000/s; 1% would be lost, here each */
        struct qd_check_args c = args_of("acme", 1000);
        c.ttl_ms = 1000;
        cr_assert_eq(check_args(&f, &c), QD_ERROR_NONE);
        ok += f.answer.allowed;
        fixture_pass(&f, 1 * S);
    }
    struct qd_core_stats st;
    qd_core_stats(qd_shards_of(&f.node->shards, str("acme"))->core, &st);
    cr_expect_eq(ok, 200);
    cr_expect_leq(st.reservations_kept, 61);
    fixture_end(&f);
}

Test(settling, S1_a_short_id_names_nobody_elses_reservation_after_a_restart)
{
    fixture_open(&f, "version: 1\nmodels:\n  m: {max_output_tokens: 100}\nunknown_price: "
                     "unpriced\nplans:\n  b: {requests: 100/min, input: {limit: 10000/day, meter: "
                     "input_tokens}}\ntenants:\n  \"*\": {plan: b}\n");
    cr_assert(check(&f, "acme", 500));
    char id[64];
    snprintf(id, sizeof id, "%.*s", (int)f.answer.id_len, f.answer.id);
    fixture_close(&f);
    fixture_open(&f, "version: 1\nmodels:\n  m: {max_output_tokens: 100}\nunknown_price: "
                     "unpriced\nplans:\n  b: {requests: 100/min, input: {limit: 10000/day, meter: "
                     "input_tokens}}\ntenants:\n  \"*\": {plan: b}\n");
    const char *names[] = {"globex", "hooli", "t1", "t2", "t3", "t4", "t5", "t6"};
    for (int i = 0; i < 8; i++) {
        cr_assert(check(&f, names[i], 500));
        if ((int)f.answer.id_len == (int)strlen(id) && memcmp(f.answer.id, id, strlen(id)) == 0) {
            cr_expect_fail("%s is %s's now", id, names[i]);
        }
    }
    fixture_end(&f);
}

static const char perusr[] = "version: 1\n"
                             "models:\n  m: {max_output_tokens: 100}\n"
                             "unknown_price: unpriced\n"
                             "plans:\n  two: {input: {limit: 1000/day, meter: input_tokens, per: "
                             "[user], failure_mode: closed}}\n"
                             "tenants:\n  \"*\": {plan: two}\n";
Test(settling, D12_a_root_at_its_quota_evicts_its_own)
{
    f.root_counters = 8;
    fixture_open(&f, perusr);
    unsigned ok = 0;
    for (unsigned i = 0; i < 40; i++) {
        char u[32];
        snprintf(u, sizeof u, "u%u", i);
        struct qd_check_args a = args_of("acme", 10);
        a.user = str(u);
        cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE);
        if (f.answer.allowed) {
            ok++;
            cr_assert_eq(report_tokens(&f, 10), QD_ERROR_NONE);
        }
        fixture_pass(&f, 100 * S);
    }
    cr_expect_eq(ok, 40);
    cr_expect_gt(f.worker->figures.evictions, 0);
    /* S7/S2: post-paid report of a ninth user */
    struct qd_report_args r = report_of("", 500);
    r.reservation = str(NULL);
    r.tenant = str("acme");
    r.user = str("new");
    r.model = str("m");
    r.request_id = str("x1");
    cr_assert_eq(report_args(&f, &r), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.worker->figures.unsettled, 0);
    f.root_counters = 0;
    fixture_end(&f);
}

static const char hard[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100}\n"
    "unknown_price: unpriced\n"
    "plans:\n  two: {input: {limit: 1M/month, meter: input_tokens, hard: true}}\n"
    "tenants:\n  \"*\": {plan: two}\n";
Test(settling, D12_what_is_kept_denies_no_new_hold)
{
    fixture_open(&f, hard);
    unsigned ok = 0;
    unsigned other = 0;
    for (unsigned n = 0; n < 100; n++) {
        ok += check(&f, "acme", 1);
        fixture_pass(&f, 301 * S);
    }
    cr_expect_eq(ok, 100);
    cr_expect_eq(held_of(&f, "acme", "input"), 100);
    /* another tenant of the same slice */
    for (int i = 0; i < 40; i++) {
        char t[16];
        snprintf(t, sizeof t, "n%d", i);
        if (qd_shards_of(&f.node->shards, str(t)) == qd_shards_of(&f.node->shards, str("acme")) &&
            !check(&f, t, 1)) {
            other++;
        }
    }
    cr_expect_eq(other, 0);
    fixture_end(&f);
}

static const char cap[] = "version: 1\n"
                          "models:\n  m: {max_output_tokens: 100, pool: p}\n"
                          "pools:\n  p: {}\n"
                          "prices:\n  m: {output_token: $1/1M}\n  p: {gpu_second: $1}\n"
                          "unknown_price: {cap: {input_token: $1/1M, output_token: $1/1M}}\n"
                          "plans:\n  two: {cost: $100/month}\n"
                          "tenants:\n  \"*\": {plan: two}\n";
Test(settling, P8_an_assumed_price_is_added_to_the_pools)
{
    fixture_open(&f, cap);
    struct qd_check_args c = args_of("acme", 1000);
    c.estimate[1] = (struct qd_amount_arg){str("gpu_ms"), 5000};
    c.estimate_count = 2;
    cr_assert_eq(check_args(&f, &c), QD_ERROR_NONE);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    struct qd_report_args a = report_of(f.token, 1000);
    a.usage[1] = (struct qd_amount_arg){str("gpu_ms"), 5000};
    a.usage_count = 2;
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE);
    cr_expect_geq(f.answer.verdict.estimate_cost_nano, f.report.cost_nano);
    cr_expect_eq(f.report.cost_nano, INT64_C(5001000000));
    fixture_end(&f);
}

/* P8: an unknown model is not free because nothing but its requests was reported. */
Test(settling, P8_requests_alone_of_an_unknown_model_are_unpriced)
{
    fixture_open(&f, unp);
    struct qd_report_args a = report_of("", 0);
    a.reservation = str(NULL);
    a.tenant = str("acme");
    a.model = str("nobody-knows-it");
    a.request_id = str("r1");
    a.usage[0] = (struct qd_amount_arg){str("requests"), 1};
    cr_assert_eq(report_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect(f.report.unpriced);
    fixture_end(&f);
}

static const char added[] = "version: 1\n"
                            "models:\n  m: {max_output_tokens: 100}\n"
                            "plans:\n  two: {requests: 100/min, window: {limit: 1000/min, meter: "
                            "input_tokens}}\n"
                            "tenants:\n  \"*\": {plan: two}\n";

/* A limit that came while the request was under way holds nothing of it: what it really used counts
 * there whole, and a request that is checked afterwards as ever. */
Test(settling, P2_a_limit_that_is_put_while_a_request_runs_counts_its_report)
{
    static const char *const sizes[] = {
        "{limit: 500/min, meter: input_tokens}",
        "{limit: 500/day, meter: input_tokens}",
        "{limit: 500/min, meter: input_tokens, algorithm: fixed_window}",
        "{limit: 500/day, meter: input_tokens, algorithm: token_bucket}",
        "{limit: 500, meter: input_tokens, algorithm: prepaid}",
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fixture_open(&f, added);
        cr_assert(check(&f, "newco", 10));
        char token[QD_TOKEN_TEXT_MAX + 1];
        (void)snprintf(token, sizeof(token), "%s", f.token);
        cr_assert_eq(put_tenant(&f, "newco", NULL, "later", sizes[i]), QD_ERROR_NONE, "%s",
                     f.error.text);
        cr_expect_eq(used_of(&f, "newco", "later"), 0);
        cr_assert(check(&f, "newco", 20), "%s", f.answer.message);
        int64_t held = used_of(&f, "newco", "later") + held_of(&f, "newco", "later");
        cr_expect_eq(held, 20, "%s", sizes[i]);
        struct qd_report_args report = report_of(token, 7);
        cr_assert_eq(report_args(&f, &report), QD_ERROR_NONE, "%s", f.error.text);
        held = used_of(&f, "newco", "later") + held_of(&f, "newco", "later");
        cr_expect_eq(held, 27, "%s: %lld", sizes[i], (long long)held);
        cr_assert_eq(report_tokens(&f, 15), QD_ERROR_NONE, "%s", f.error.text);
        cr_expect_eq(used_of(&f, "newco", "later"), 22, "%s: %lld", sizes[i],
                     (long long)used_of(&f, "newco", "later"));
        cr_expect_eq(held_of(&f, "newco", "later"), 0);
        fixture_end(&f);
    }
}
