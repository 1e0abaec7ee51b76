/* D12: counters that make room go to the store and come back with their state. */
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define TENANTS 600 /* more than the four slices' 64 places each */

static const char policy[] = "version: 1\n"
                             "models:\n"
                             "  m: {max_output_tokens: 100}\n"
                             "plans:\n"
                             "  two: {requests: {limit: 2/hour, algorithm: sliding_window}}\n"
                             "tenants:\n"
                             "  \"*\": {plan: two}\n";

static const char closed[] = "version: 1\n"
                             "plans:\n"
                             "  held: {concurrency: 1}\n"
                             "tenants:\n"
                             "  \"*\": {plan: held}\n";

static struct fixture f;

static bool check_number(unsigned i, bool reserve)
{
    char tenant[32];
    (void)snprintf(tenant, sizeof(tenant), "t%u", i);
    struct qd_check_args args = args_of(tenant, 1);
    args.no_reservation = !reserve;
    cr_assert_eq(check_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
    return f.answer.allowed;
}

Test(evict, D12_idle_counters_come_back_with_their_state)
{
    fixture_open(&f, policy);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        fixture_pass(&f, S);
    }
    cr_assert_gt(f.worker->figures.evictions, 0);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        cr_assert_not(check_number(i, false), "%u had two already", i);
        fixture_pass(&f, S);
    }
    cr_assert_gt(f.worker->figures.restores, 0);
    fixture_end(&f);
}

Test(evict, D12_when_all_is_live_the_verdict_is_capacity)
{
    unsigned full = 0;

    fixture_open(&f, closed);
    for (unsigned i = 0; i < TENANTS; i++) {
        if (!check_number(i, true)) {
            full++;
            cr_assert_eq(f.answer.denial, QD_DENIAL_CAPACITY, "%s", f.answer.message);
        }
    }
    cr_assert_gt(full, 0);
    cr_assert_leq(TENANTS - full, 256);
    fixture_end(&f);
}
