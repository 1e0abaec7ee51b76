/* P2: what a reset forgives the holds, over all shards. */
#include "tests/unit/shard/fixture.h"

#include "server/shard/reconcile.h"
#include "server/shard/reset.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define TENANTS 16U
#define RESETS  4U /* the core has two bits for a counter's resets */

static const char policy[] = "version: 1\n"
                             "models:\n"
                             "  m: {max_output_tokens: 100, pool: p}\n"
                             "pools:\n"
                             "  p: {limits: {input_tokens: 1M/min}}\n"
                             "plans:\n"
                             "  free: {concurrency: 100}\n"
                             "tenants:\n"
                             "  \"*\": {plan: free}\n";

static struct fixture f;

/* The pool's counter: the only one that tenants share. */
static struct qd_hash128 shared_counter(int64_t *ret_used)
{
    struct qd_shards *shards = &f.node->shards;
    struct qd_limit_state state;
    struct qd_hash128 id;
    uint64_t cursor = 0;

    qd_shards_lock(shards, &shards->home[0]);
    cr_assert(qd_core_counter_next(qd_shards_commons(shards), &cursor,
                                   (struct qd_wall_ns){.ns = f.wall}, &id, &state));
    *ret_used = state.used;
    qd_shards_unlock(shards, &shards->home[0]);
    return id;
}

static void reset_shared(void)
{
    struct qd_shards *shards = &f.node->shards;
    int64_t used;
    struct qd_hash128 id = shared_counter(&used);

    qd_shards_reset_begin(shards);
    qd_shards_lock(shards, &shards->home[0]);
    cr_assert(
        qd_core_counter_reset(qd_shards_commons(shards), id, 0, (struct qd_wall_ns){.ns = f.wall}));
    qd_shards_unlock(shards, &shards->home[0]);
    qd_shards_reset_end(shards, NULL);
}

Test(forgive, P2_resets_of_a_shared_limit_forgive_the_holds_of_all_shards)
{
    char tokens[TENANTS][QD_TOKEN_TEXT_MAX + 1];
    int64_t used;

    fixture_open(&f, policy);
    for (unsigned i = 0; i < TENANTS; i++) {
        char tenant[16];
        (void)snprintf(tenant, sizeof(tenant), "t%u", i);
        cr_assert(check(&f, tenant, 1000), "%s", f.answer.message);
        memcpy(tokens[i], f.token, sizeof(tokens[i]));
    }
    for (unsigned i = 0; i < RESETS; i++) {
        reset_shared();
    }
    cr_assert(check(&f, "acme", 300));
    (void)shared_counter(&used);
    cr_assert_eq(used, 300);
    for (unsigned i = 0; i < TENANTS; i++) {
        struct qd_report_args args = report_of(tokens[i], 10);
        cr_assert_eq(report_args(&f, &args), QD_ERROR_NONE, "%s", f.error.text);
        (void)shared_counter(&used);
        cr_expect_eq(used, 300, "after report %u: %ld", i, (long)used);
    }
    fixture_end(&f);
}

static const char two_plans[] = "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
                                "plans:\n"
                                "  small:\n    day: {limit: 5000/day, meter: input_tokens}\n"
                                "  big:\n    day: {limit: 50000/day, meter: input_tokens}\n";

/* P6: the counter is the same, whichever plan it was reset under. */
Test(forgive, X5_a_reset_holds_after_a_move_to_another_plan)
{
    const struct qd_reset_args args = {.tenant = str("mover"), .limit = str("big.day")};
    struct qd_reconciled answer;
    uint32_t count = 0;

    fixture_open(&f, two_plans);
    cr_assert_eq(put_tenant(&f, "mover", "big", NULL, NULL), QD_ERROR_NONE);
    cr_assert(check(&f, "mover", 4000));
    cr_assert_eq(report_tokens(&f, 4000), QD_ERROR_NONE);
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_reset(f.worker, &args, NULL, &count, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_assert_eq(count, 1);
    cr_assert_eq(put_tenant(&f, "mover", "small", NULL, NULL), QD_ERROR_NONE);
    cr_expect_eq(used_of(&f, "mover", "day"), 0);
    (void)qd_worker_enter(f.worker);
    cr_assert_eq(qd_node_reconcile(f.worker, &answer, &f.error), QD_ERROR_NONE);
    qd_worker_leave(f.worker);
    cr_expect(answer.clean, "%s", answer.difference);
    fixture_close(&f);
    fixture_open(&f, two_plans);
    cr_expect_eq(used_of(&f, "mover", "day"), 0);
    fixture_end(&f);
}
