/* D12: counters that make room go to the store and come back with their state. */
#include "server/shard/bind.h"
#include "server/shard/evicted.h"
#include "server/shard/peek.h"
#include "server/shard/stored.h"
#include "tests/unit/shard/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

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
    cr_expect_eq(f.worker->figures.bind_full, 0, "what made room found it");
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        cr_assert_not(check_number(i, false), "%u had two already", i);
        fixture_pass(&f, S);
    }
    cr_assert_gt(f.worker->figures.restores, 0);
    fixture_end(&f);
}

static uint64_t states_lost(void)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < f.node->shards.count; i++) {
        struct qd_core_stats stats;
        qd_core_stats(f.node->shards.home[i].core, &stats);
        lost += stats.states_lost;
    }
    return lost;
}

enum damage {
    FLIP_A_BIT,
    CUT_OFF,
    EMPTY,
    ANOTHER_TYPE,
    TOO_LONG,
    DAMAGES
};

/* Each stored state is changed; returns how many there are. */
static unsigned damage_states(enum damage how)
{
    struct qd_store_range range = {
        .space = QD_STORE_SNAPSHOT, .lower = {"c", 1}, .upper = {"d", 1}};
    struct qd_store_iter *iter = qd_store_iter_open(f.store, &range);
    struct qd_str key;
    struct qd_str value;
    struct qd_batch batch;
    unsigned count = 0;

    cr_assert_not_null(iter);
    qd_batch_init(&batch);
    while (qd_store_iter_next(iter, &key, &value, NULL) == QD_STORE_OK) {
        uint8_t bytes[2000] = {0};
        cr_assert_leq(value.len, 700);
        memcpy(bytes, value.ptr, value.len);
        size_t len = value.len;
        switch (how) {
        case FLIP_A_BIT:
            bytes[len / 2 + count % 8] ^= (uint8_t)(1U << count % 8);
            break;
        case CUT_OFF:
            len -= 1 + count % 8;
            break;
        case EMPTY:
            len = 0;
            break;
        case ANOTHER_TYPE:
            bytes[0]++;
            break;
        case TOO_LONG:
            len = sizeof(bytes);
            break;
        case DAMAGES:
            break;
        }
        qd_batch_put(&batch, QD_STORE_SNAPSHOT, key, (struct qd_str){(const char *)bytes, len});
        count++;
    }
    qd_store_iter_close(iter);
    cr_assert_eq(qd_store_write(f.store, &batch, false, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    return count;
}

/* D12: a state whose record is damaged is noticed: its counter starts empty, and that is counted.
 */
Test(evict, D12_a_damaged_state_is_noticed_and_counted)
{
    for (unsigned how = 0; how < DAMAGES; how++) {
        fixture_open(&f, policy);
        for (unsigned i = 0; i < TENANTS; i++) {
            cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
            fixture_pass(&f, S);
        }
        cr_assert_eq(states_lost(), 0);
        unsigned stored = damage_states((enum damage)how);
        cr_assert_gt(stored, 0);
        cr_assert(check_number(0, false), "%s", f.answer.message);
        cr_expect_eq(states_lost(), 1, "damage %u", how);
        cr_expect(check_number(0, false), "it starts empty");
        cr_expect_not(check_number(0, false));
        cr_expect_eq(f.worker->figures.restores, 0);
        fixture_end(&f);
    }
}

/* X4: a store that cannot be read keeps the state; the check is answered by the failure mode. */
Test(evict, D12_a_state_that_cannot_be_read_is_not_forgotten)
{
    fixture_open(&f, policy);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        fixture_pass(&f, S);
    }
    qd_store_memory_faults(f.store)->read = (struct qd_store_fault){.countdown = 0};
    (void)check_number(0, false);
    cr_expect_eq(f.worker->figures.unreadable, 1);
    cr_expect_eq(f.worker->figures.restores, 0);
    cr_expect_eq(states_lost(), 0);
    fixture_pass(&f, 2 * S);
    cr_assert(check_number(0, false), "%s", f.answer.message);
    cr_expect_eq(f.worker->figures.restores, 1, "what it had is there");
    cr_expect_eq(states_lost(), 0);
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

/* What a binding of `tenant` would bring back for its only limit. -1: nothing. */
static int64_t stored_use(const char *tenant)
{
    struct qd_attributes a = {.tenant = str(tenant), .model = str("m"), .family = str("m")};
    struct qd_wall_ns now = qd_clock_now(&f.node->clock);
    const struct qd_published *p = qd_worker_enter(f.worker);
    struct qd_limit_state state;

    qd_directory_lock_shared(f.node->directory);
    qd_bind_resolve(f.worker, p, &a, false, now);
    const struct qd_resolved_limit *l = &f.worker->resolution.limit[0];
    struct qd_bind_item item = {
        .limit = l->use->limit, .amount = l->amount, .burst = l->burst, .counter = l->counter};
    bool found = qd_peek_stored(f.node, &item, now, &state);
    qd_directory_unlock_shared(f.node->directory);
    qd_worker_leave(f.worker);
    return found ? state.used : -1;
}

/* Operators see what a counter in the store has counted, and looking changes nothing. */
Test(evict, D12_a_counter_in_the_store_can_be_looked_at)
{
    static const char *const limits[] = {
        "{limit: 2/hour, algorithm: sliding_window}", "{limit: 3G/hour, algorithm: sliding_window}",
        "{limit: 2/year, algorithm: token_bucket}", "{limit: 2/30min, algorithm: fixed_window}"};
    for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
        char yaml[256];
        (void)snprintf(yaml, sizeof(yaml),
                       "version: 1\nmodels: {m: {max_output_tokens: 100}}\n"
                       "plans: {two: {requests: %s}}\ntenants: {\"*\": {plan: two}}\n",
                       limits[k]);
        fixture_open(&f, yaml);
        cr_assert_eq(stored_use("t0"), -1, "nothing is out");
        for (unsigned i = 0; i < TENANTS; i++) {
            cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
            fixture_pass(&f, S);
        }
        uint64_t evictions = f.worker->figures.evictions;
        cr_assert_gt(evictions, 0, "%s", limits[k]);
        cr_expect_eq(used_of(&f, "t0", "requests"), 0, "it is not in memory");
        cr_expect_eq(stored_use("t0"), 1, "%s: %lld", limits[k], (long long)stored_use("t0"));
        cr_expect_eq(stored_use("t9999"), -1);
        cr_expect_eq(f.worker->figures.evictions, evictions);
        cr_expect_eq(states_lost(), 0);
        fixture_end(&f);
    }
}

/* --- more budgets than there is room for, counted from the ledger alone --- */

static const char budgets[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 100,\n"
    "      limits: {day: {limit: 1000/day, meter: input_tokens, per: user}}}\n"
    "unknown_price: unpriced\n"
    "plans:\n  two: {budget: {limit: 1000/day, meter: input_tokens, per: user}}\n"
    "tenants:\n  acme: {plan: two}\n";

/* What the user has used after so many tokens more. */
static int64_t use_budget(unsigned user, int64_t tokens)
{
    struct qd_check_args a = args_of("acme", 1);
    char name[16];

    (void)snprintf(name, sizeof(name), "u%u", user);
    a.user = str(name);
    a.ttl_ms = 1000;
    cr_assert_eq(check_args(&f, &a), QD_ERROR_NONE, "%s", f.error.text);
    cr_assert(f.answer.allowed, "%s", f.answer.message);
    cr_assert_eq(report_tokens(&f, tokens), QD_ERROR_NONE, "%s", f.error.text);
    struct qd_attributes by = {
        .tenant = str("acme"), .model = str("m"), .family = str("m"), .user = str(name)};
    int64_t used = used_by(&f, &by, "budget");
    cr_expect_eq(used_by(&f, &by, "day"), used, "that of all tenants");
    fixture_pass(&f, 4 * S);
    return used;
}

static void damage_a_cut(void)
{
    struct qd_batch batch;
    struct qd_buf key = {0};

    qd_batch_init(&batch);
    qd_cut_key((struct qd_stored_place){f.node->shards.count, 0}, &key);
    qd_batch_put(&batch, QD_STORE_SNAPSHOT, qd_buf_str(&key), str("damaged"));
    cr_assert_eq(qd_store_write(f.store, &batch, true, NULL), QD_STORE_OK);
    qd_batch_release(&batch);
    qd_buf_release(&key);
}

static void use_budgets(int64_t tokens, int64_t used)
{
    for (unsigned i = 0; i < 100; i++) {
        int64_t now = use_budget(i, tokens);
        cr_expect_eq(now, used, "u%u: %lld", i, (long long)now);
    }
}

/* A boot that takes long enough for counters to become idle and make room: what the damaged
 * snapshot had of them counts no more, and what is stored meanwhile stays. */
Test(evict, D7_budgets_that_make_room_while_they_are_counted_anew_are_exact)
{
    fixture_open(&f, budgets);
    use_budgets(10, 10);
    use_budgets(10, 20);
    fixture_snapshot(&f);
    damage_a_cut();
    fixture_close(&f);
    f.step_ns = 200 * QD_NS_PER_MS;
    fixture_open(&f, budgets);
    f.step_ns = 0;
    cr_assert(f.recovery.from_ledger);
    cr_assert_eq(f.node->rebuild_left_out, 0);
    cr_assert_gt(f.worker->figures.evictions, 0);
    use_budgets(0, 20);
    fixture_end(&f);
}

/* The process dies in the middle of it, with whatever was stored by then. */
Test(evict, D7_a_boot_that_counts_anew_and_dies_is_done_again)
{
    unsigned died = 0;

    fixture_open(&f, budgets);
    fixture_close(&f);
    f.shards = 1;
    fixture_open(&f, budgets);
    use_budgets(10, 10);
    for (int64_t writes = 0; writes < 12; writes++) {
        fixture_snapshot(&f);
        damage_a_cut();
        fixture_close(&f);
        qd_store_memory_faults(f.store)->write =
            (struct qd_store_fault){.countdown = writes, .repeat = true};
        f.step_ns = 200 * QD_NS_PER_MS;
        died += !fixture_try_open(&f, budgets);
        qd_store_memory_faults(f.store)->write = (struct qd_store_fault){.countdown = -1};
        fixture_close(&f);
        fixture_open(&f, budgets);
        f.step_ns = 0;
        cr_assert_eq(f.node->rebuild_left_out, 0);
        use_budgets(0, 10);
    }
    cr_expect_gt(died, 3);
    fixture_end(&f);
}

static unsigned stored_counters(void)
{
    return damage_states(DAMAGES); /* which changes nothing */
}

/* D12: who never comes again leaves nothing behind once the window has passed. */
Test(evict, D12_records_of_counters_that_are_over_are_deleted)
{
    struct qd_evicted_sweep sweep = {.next_len = 0};
    size_t deleted = 0;

    fixture_open(&f, policy);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        fixture_pass(&f, S);
    }
    unsigned stored = stored_counters();
    cr_assert_geq(stored, f.worker->figures.evictions);
    cr_assert_gt(f.worker->figures.evictions, TENANTS / 4);
    for (unsigned i = 0; i < 20; i++) {
        cr_expect_eq(qd_evicted_sweep(f.node, &sweep, 50), 0, "their hour has not passed");
    }
    cr_expect_eq(stored_counters(), stored);
    fixture_pass(&f, QD_NS_PER_HOUR - 100 * S); /* the last hundred or so still count */
    for (unsigned i = 0; i < 20; i++) {
        deleted += qd_evicted_sweep(f.node, &sweep, 50);
    }
    cr_expect_gt(deleted, TENANTS / 8);
    cr_expect_eq(stored_counters(), stored - deleted);
    for (unsigned i = TENANTS - 1; i >= TENANTS - 90; i--) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        cr_expect_not(check_number(i, false), "%u had one of two", i);
    }
    fixture_pass(&f, 2 * QD_NS_PER_HOUR);
    for (unsigned i = 0; i < 40; i++) {
        (void)qd_evicted_sweep(f.node, &sweep, 50);
    }
    for (unsigned i = 0; i < TENANTS; i += 7) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        cr_expect(check_number(i, false), "%u begins anew", i);
        fixture_pass(&f, S);
    }
    cr_expect_eq(states_lost(), 0);
    fixture_end(&f);
}
