/* X3: who hangs up is remembered, and forgotten again. */
#include "server/rpc/leavers.h"

#include <criterion/criterion.h>
#include <string.h>

static struct qd_leavers leavers;

static void leave(uint32_t number, uint64_t bytes)
{
    uint8_t address[16] = {0};

    memcpy(address, &number, sizeof(number));
    qd_leavers_add(&leavers, address, bytes);
}

/* 0: nobody. */
static uint32_t worst(uint64_t least)
{
    struct qd_leaver *leaver = qd_leavers_worst(&leavers, least);
    uint32_t number = 0;

    if (leaver != NULL) {
        memcpy(&number, leaver->address, sizeof(number));
    }
    return number;
}

static void setup(void)
{
    leavers = (struct qd_leavers){0};
}

TestSuite(leavers, .init = setup);

Test(leavers, X3_the_worst_has_left_the_most)
{
    cr_expect_eq(worst(1), 0);
    leave(7, 100);
    leave(8, 50);
    leave(8, 51);
    leave(9, 0);
    cr_expect_eq(worst(1), 8);
    cr_expect_eq(worst(101), 8);
    cr_expect_eq(worst(102), 0);
}

/* What an upload of an hour had sent is no measure of what was under way on it. */
Test(leavers, X3_one_connection_is_not_much)
{
    leave(7, UINT64_MAX);
    cr_expect_eq(worst(QD_LEAVERS_ONE_MAX), 7);
    cr_expect_eq(worst(QD_LEAVERS_ONE_MAX + 1), 0);
    leave(7, UINT64_MAX);
    cr_expect_eq(worst(2 * QD_LEAVERS_ONE_MAX), 7);
}

Test(leavers, X3_what_was_left_counts_half_after_a_while)
{
    leave(7, 1000);
    leave(8, 300);
    qd_leavers_halve(&leavers);
    cr_expect_eq(worst(500), 7);
    cr_expect_eq(worst(501), 0);
    leave(8, 351);
    cr_expect_eq(worst(501), 8);
    for (int i = 0; i < 10; i++) {
        qd_leavers_halve(&leavers);
    }
    cr_expect_eq(worst(1), 0);
}

/* Somebody who has many addresses cannot make others forgotten. */
Test(leavers, X3_who_left_the_least_makes_room)
{
    leave(7, 1000);
    for (uint32_t number = 100; number < 100 + 4 * QD_LEAVERS_MAX; number++) {
        leave(number, 300);
    }
    cr_expect_eq(worst(1000), 7);
}

/* A newcomer does not take over what the one before it in its place had left. */
Test(leavers, X3_a_newcomer_begins_with_nothing)
{
    for (uint32_t number = 1; number <= QD_LEAVERS_MAX; number++) {
        leave(number, 1000);
    }
    leave(5000, 1001);
    cr_expect_eq(worst(1), 5000);
    cr_expect_eq(worst(1002), 0);
}
