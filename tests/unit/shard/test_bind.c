/* D12: when all counters are live, a limit that finds no room answers by its failure mode, and that
 * is counted. */
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define GAUGES  4  /* of each of the four slices: what `requests` below finds room in */
#define TENANTS 60 /* of which at most 16 find room */

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

static void open_with(const char *failure_mode)
{
    static char yaml[1024];

    (void)snprintf(yaml, sizeof(yaml), form, failure_mode);
    memset(&f, 0, sizeof(f));
    f.wall = T0;
    f.mono = 1000;
    f.store = qd_store_memory_new();
    f.gauges = GAUGES;
    fixture_open(&f, yaml);
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
    }
    cr_expect_geq(denied, TENANTS - 4 * GAUGES);
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
