/* D12: when all counters are live, a limit that finds no room answers by its failure mode, and that
 * is counted. */
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define GAUGES       4   /* of each of the four slices: what `requests` below finds room in */
#define TENANTS      60  /* of which at most 16 find room */
#define MANY_TENANTS 180 /* more names than four arenas of the smallest size hold */

/* `requests` counts in the small table of gauges, `input_tokens` in that of windows. */
static const char form[] =
    "version: 1\n"
    "models:\n"
    "  m: {max_output_tokens: 100}\n"
    "plans:\n"
    "  two:\n"
    "    requests: {limit: 100/day, algorithm: fixed_window%s}\n"
    "    input_tokens: {limit: 50/min, algorithm: sliding_window, meter: input_tokens}\n"
    "tenants:\n"
    "  \"*\": {plan: two}\n";

static struct fixture f;

static void begin(void)
{
    memset(&f, 0, sizeof(f));
    f.wall = T0;
    f.mono = 1000;
    f.store = qd_store_memory_new();
}

static void open_as_begun(const char *failure_mode)
{
    static char yaml[1024];

    (void)snprintf(yaml, sizeof(yaml), form, failure_mode);
    fixture_open(&f, yaml);
}

static void open_with(const char *failure_mode)
{
    begin();
    f.gauges = GAUGES;
    open_as_begun(failure_mode);
}

static bool check_number(unsigned i, int64_t tokens)
{
    char tenant[32];
    (void)snprintf(tenant, sizeof(tenant), "t%u", i);
    return check(&f, tenant, tokens);
}

static uint64_t failed_open(void)
{
    return f.worker->figures.failed_open;
}

/* Every tenant's first check holds: its counters stay. Returns how many were allowed. */
static unsigned fill(void)
{
    unsigned allowed = 0;

    for (unsigned i = 0; i < TENANTS; i++) {
        allowed += check_number(i, 10);
    }
    return allowed;
}

static const char *binding_limit(void)
{
    const struct qd_limit *limit = f.answer.verdict.binding.limit;
    return limit != NULL ? limit->name : "none";
}

/* The denial says which limit of tenant `i` found no room, and when to look again. */
static void expect_named(const char *limit, unsigned i)
{
    const struct qd_limit_state *state = &f.answer.verdict.binding;
    char tenant[32];

    (void)snprintf(tenant, sizeof(tenant), "t%u", i);
    cr_assert_str_eq(binding_limit(), limit, "%s", f.answer.message);
    cr_expect(qd_slice_equal(state->name, str(tenant)), "%.*s", (int)state->name.len,
              state->name.ptr);
    cr_expect_eq(state->amount, 100);
    cr_expect(f.answer.retry_useful && f.answer.retry_is_hint);
    cr_expect_eq(f.answer.retry_after_ns, S);
    cr_expect_not_null(strstr(f.answer.message, limit), "%s", f.answer.message);
}

static uint64_t capacity_denied(void)
{
    uint64_t denied = 0;

    for (uint32_t i = 0; i < f.node->shards.count; i++) {
        struct qd_core_stats stats;
        qd_core_stats(f.node->shards.home[i].core, &stats);
        denied += stats.capacity_denied;
    }
    return denied;
}

static void expect_closed(const char *failure_mode)
{
    unsigned denied = 0;

    open_with(failure_mode);
    for (unsigned i = 0; i < TENANTS; i++) {
        if (check_number(i, 10)) {
            continue;
        }
        denied++;
        cr_assert_eq(f.answer.denial, QD_DENIAL_CAPACITY, "%s", f.answer.message);
        cr_expect_eq(f.answer.token_len, 0);
        expect_named("requests", i);
    }
    cr_expect_geq(denied, TENANTS - 4 * GAUGES);
    cr_expect_eq(capacity_denied(), denied);
    cr_expect_eq(failed_open(), 0, "it failed closed");
    cr_expect_geq(f.worker->figures.bind_full, denied);
    fixture_pass(&f, 400 * S); /* their holds are over */
    cr_expect(check_number(TENANTS - 1, 10), "%s", f.answer.message);
    fixture_end(&f);
}

Test(bind, D12_a_limit_that_fails_closed_denies_when_all_is_live)
{
    expect_closed(", failure_mode: closed");
}

/* A counter that finds no room has no share to answer from: closed. */
Test(bind, D12_a_limit_that_shares_denies_when_all_is_live)
{
    expect_closed(", failure_mode: share");
}

static void expect_open(const char *failure_mode)
{
    open_with(failure_mode);
    cr_assert_eq(fill(), TENANTS, "%s", f.answer.message);
    uint64_t left_out = failed_open();
    cr_expect_geq(left_out, TENANTS - 4 * GAUGES, "each is counted");
    cr_expect_leq(left_out, TENANTS);

    /* Only that limit is left out: the others hold. */
    unsigned last = TENANTS - 1;
    cr_expect_not(check_number(last, 45));
    cr_expect_eq(f.answer.denial, QD_DENIAL_LIMIT, "%s", f.answer.message);
    cr_expect_str_eq(binding_limit(), "input_tokens");
    cr_expect_eq(used_of(&f, "t59", "requests"), 0);
    cr_expect_eq(failed_open(), left_out, "its binding stays for a second");

    /* And only for a while: where there is room again it counts. */
    fixture_pass(&f, 400 * S);
    cr_expect(check_number(last, 10), "%s", f.answer.message);
    cr_expect_eq(held_of(&f, "t59", "requests"), 1);
    cr_expect_eq(failed_open(), left_out);
    fixture_end(&f);
}

Test(bind, D12_a_limit_that_fails_open_is_left_out_and_counted_when_all_is_live)
{
    expect_open(", failure_mode: open");
}

Test(bind, D12_a_limit_that_counts_no_money_fails_open_by_default)
{
    expect_open("");
}

/* It is tried again each second, not once for all and not with each check. */
Test(bind, D12_what_is_left_out_is_tried_again_after_a_second)
{
    open_with("");
    cr_assert_eq(fill(), TENANTS);
    uint64_t left_out = failed_open();
    fixture_pass(&f, S / 2);
    (void)check_number(TENANTS - 1, 0);
    cr_expect_eq(failed_open(), left_out);
    fixture_pass(&f, S);
    (void)check_number(TENANTS - 1, 1);
    cr_expect_eq(failed_open(), left_out + 1);
    fixture_end(&f);
}

/* D10: a shadow limit never denies, whatever its failure mode. */
Test(bind, D10_a_shadow_limit_without_room_denies_nobody)
{
    expect_open(", action: shadow, failure_mode: closed");
}

/* No room for the binding itself: as if none of its limits had any. */
static void expect_all_open(uint32_t roots, size_t name_bytes)
{
    begin();
    f.roots = roots;
    f.name_bytes = name_bytes;
    open_as_begun("");
    for (unsigned i = 0; i < MANY_TENANTS; i++) {
        cr_assert(check_number(i, 10), "%s", f.answer.message);
    }
    cr_expect_geq(failed_open(), 1);
    cr_expect_eq(capacity_denied(), 0);

    /* The last one's limits are all left out: 10 + 10,000 tokens of 50. Its hold is like others. */
    struct qd_check_args args = args_of("t179", 10000);
    args.request_id = str("again");
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    cr_expect_str_eq(binding_limit(), "none");
    cr_expect_gt(f.answer.token_len, 0);
    uint64_t number = f.answer.number;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE);
    cr_expect_eq(f.answer.number, number, "the same request has the same hold (S1)");
    args.estimate[0].amount = 5;
    cr_expect_eq(check_args(&f, &args), QD_ERROR_REQUEST_CONFLICT);

    uint64_t unsettled = f.worker->figures.unsettled;
    cr_assert_eq(report_tokens(&f, 7), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.report.settlement, QD_SETTLEMENT_CLOSED);
    cr_expect_eq(f.worker->figures.unsettled, unsettled + 1);
    fixture_end(&f);
}

Test(bind, D12_without_room_for_roots_limits_that_fail_open_are_left_out)
{
    expect_all_open(1, 0);
}

Test(bind, D12_without_room_for_names_limits_that_fail_open_are_left_out)
{
    expect_all_open(0, 1);
}

Test(bind, D12_without_room_for_roots_a_limit_that_fails_closed_denies)
{
    unsigned denied = 0;

    begin();
    f.roots = 1;
    open_as_begun(", failure_mode: closed");
    for (unsigned i = 0; i < TENANTS; i++) {
        if (!check_number(i, 10)) {
            denied++;
            cr_assert_eq(f.answer.denial, QD_DENIAL_CAPACITY, "%s", f.answer.message);
            expect_named("requests", i);
        }
    }
    cr_expect_eq(denied, TENANTS - 4);
    cr_expect_eq(capacity_denied(), denied);
    cr_expect_eq(failed_open(), 0);
    fixture_end(&f);
}

/* A report counts in a limit that its check had to do without, if there is room by then; else the
 * figures say that it didn't. */
Test(bind, D12_a_report_counts_in_what_its_check_left_out)
{
    open_with("");
    cr_assert_eq(fill(), TENANTS, "%s", f.answer.message);
    cr_expect_eq(held_of(&f, "t59", "requests"), 0, "it was left out");
    uint64_t unsettled = f.worker->figures.unsettled;
    cr_assert_eq(report_tokens(&f, 20), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.worker->figures.unsettled, unsettled + 1, "there is no room still");
    cr_expect_eq(used_of(&f, "t59", "requests"), 0);
    cr_expect_eq(used_of(&f, "t59", "input_tokens"), 20);

    /* The next check has to do without, too; soon after, all others' holds are over. */
    uint64_t left_out = failed_open();
    fixture_pass(&f, 300 * S - S / 4);
    cr_assert(check_number(TENANTS - 1, 10));
    cr_expect_eq(failed_open(), left_out + 1);
    for (unsigned tick = 0; tick < 4; tick++) {
        fixture_pass(&f, S / 8);
    }
    cr_assert_eq(report_tokens(&f, 30), QD_ERROR_NONE, "%s", f.error.text);
    cr_expect_eq(f.worker->figures.unsettled, unsettled + 1);
    cr_expect_eq(used_of(&f, "t59", "requests"), 1);
    cr_expect_eq(used_of(&f, "t59", "input_tokens"), 30);

    cr_assert(check_number(TENANTS - 1, 10)); /* which goes by the whole binding as well */
    cr_expect_eq(held_of(&f, "t59", "requests"), 1);
    cr_expect_eq(failed_open(), left_out + 1);
    fixture_end(&f);
}

static const char by_model[] =
    "version: 1\n"
    "models: {m: {max_output_tokens: 100}, n: {max_output_tokens: 100}}\n"
    "plans:\n"
    "  two:\n"
    "    requests: {limit: 100/day, algorithm: fixed_window, failure_mode: closed, match: {model: "
    "m}}\n"
    "    input_tokens: {limit: 50/min, algorithm: sliding_window, meter: input_tokens}\n"
    "tenants:\n"
    "  \"*\": {plan: two}\n";

/* D9: no room for one candidate's counter is no reason to leave the others out. */
Test(bind, D9_a_candidate_that_fails_closed_leaves_the_others_their_turn)
{
    unsigned denied = 0;

    begin();
    f.gauges = GAUGES;
    fixture_open(&f, by_model);
    (void)fill();
    for (unsigned i = 0; i < TENANTS; i++) {
        char tenant[32];
        (void)snprintf(tenant, sizeof(tenant), "t%u", i);
        if (check_number(i, 10)) {
            continue;
        }
        denied++;
        expect_named("requests", i);
        uint64_t counted = capacity_denied();
        struct qd_check_args args = args_of(tenant, 10);
        args.candidate_count = 2;
        args.candidates[0].model = str("m");
        args.candidates[1].model = str("n");
        cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
        cr_expect(f.answer.allowed, "%s", f.answer.message);
        cr_expect_eq(f.answer.verdict.candidate, 1);
        cr_expect_eq(held_of(&f, tenant, "requests"), 0);
        cr_expect_eq(used_of(&f, tenant, "input_tokens"), 10);
        cr_expect_eq(capacity_denied(), counted);
        args.estimate[0].amount = 100; /* which the other has no room for, ever */
        cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
        cr_expect_eq(f.answer.denial, QD_DENIAL_CAPACITY);
        cr_expect_eq(f.answer.verdict.candidate, 0);
        expect_named("requests", i);
        cr_expect_eq(capacity_denied(), counted + 1);
    }
    cr_expect_geq(denied, TENANTS - 4 * GAUGES);
    fixture_end(&f);
}
