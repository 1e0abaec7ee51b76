/* D12: counters that make room go to the store and come back with their state. */
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

/* X4: a store that cannot be read loses the state as well; the check is answered all the same. */
Test(evict, D12_a_state_that_cannot_be_read_is_counted)
{
    fixture_open(&f, policy);
    for (unsigned i = 0; i < TENANTS; i++) {
        cr_assert(check_number(i, false), "%u: %s", i, f.answer.message);
        fixture_pass(&f, S);
    }
    qd_store_memory_faults(f.store)->read = (struct qd_store_fault){.countdown = 0};
    cr_assert(check_number(0, false), "%s", f.answer.message);
    cr_expect_eq(states_lost(), 1);
    cr_expect_eq(f.worker->figures.restores, 0);
    cr_assert(check_number(1, false), "the next one can be");
    cr_expect_eq(f.worker->figures.restores, 1);
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
