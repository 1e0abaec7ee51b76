/* X3: who dials, calls and hangs up is remembered, and forgotten again. */
#include "server/rpc/leavers.h"

#include <criterion/criterion.h>
#include <string.h>

static struct qd_leavers leavers;

static void address_of(uint32_t number, uint8_t ret_address[16])
{
    memset(ret_address, 0, 16);
    memcpy(ret_address, &number, sizeof(number));
}

static void leave(uint32_t number, uint32_t calls, uint32_t hang_ups)
{
    uint8_t address[16];

    address_of(number, address);
    for (uint32_t i = 0; i < calls; i++) {
        qd_leavers_add_call(&leavers, address);
    }
    for (uint32_t i = 0; i < hang_ups; i++) {
        qd_leavers_add_hang_up(&leavers, address);
    }
}

/* 0: nobody. */
static uint32_t take(void)
{
    uint8_t address[16];
    uint32_t number = 0;

    if (qd_leavers_take(&leavers, address)) {
        memcpy(&number, address, sizeof(number));
    }
    return number;
}

static void setup(void)
{
    leavers = (struct qd_leavers){0};
}

TestSuite(leavers, .init = setup);

/* Deadlines cancel calls; command lines hang up. */
Test(leavers, X3_it_takes_both_to_be_one)
{
    cr_expect_eq(take(), 0);
    leave(7, 100 * QD_LEAVERS_CALLS, QD_LEAVERS_HANG_UPS - 1);
    leave(8, QD_LEAVERS_CALLS - 1, 1000);
    cr_expect_eq(take(), 0);
    leave(8, 1, 0);
    cr_expect_eq(take(), 8);
    cr_expect_eq(take(), 0);
    leave(7, 0, 1);
    cr_expect_eq(take(), 7);
    cr_expect_eq(take(), 0);
}

Test(leavers, X3_all_that_are_some_are_taken)
{
    leave(7, QD_LEAVERS_CALLS, QD_LEAVERS_HANG_UPS);
    leave(8, 1, 1);
    leave(9, QD_LEAVERS_CALLS, QD_LEAVERS_HANG_UPS);
    uint32_t first = take();
    uint32_t second = take();
    cr_expect_eq(first + second, 16);
    cr_expect(first == 7 || first == 9);
    cr_expect_eq(take(), 0);
}

Test(leavers, X3_what_was_done_counts_half_after_a_while)
{
    leave(7, 2 * QD_LEAVERS_CALLS - 1, 2 * QD_LEAVERS_HANG_UPS);
    qd_leavers_halve(&leavers);
    cr_expect_eq(take(), 0);
    leave(7, 1, 0);
    cr_expect_eq(take(), 7);
    leave(8, QD_LEAVERS_CALLS, QD_LEAVERS_HANG_UPS);
    for (int i = 0; i < 32; i++) {
        qd_leavers_halve(&leavers);
    }
    leave(8, QD_LEAVERS_CALLS - 1, QD_LEAVERS_HANG_UPS);
    cr_expect_eq(take(), 0);
}

/* Many addresses that do less cannot make one forgotten. */
Test(leavers, X3_who_has_the_least_makes_room)
{
    leave(7, QD_LEAVERS_CALLS - 1, QD_LEAVERS_HANG_UPS);
    for (uint32_t number = 100; number < 100 + 4 * QD_LEAVERS_MAX; number++) {
        leave(number, QD_LEAVERS_CALLS / 2, 1);
    }
    leave(7, 1, 0);
    cr_expect_eq(take(), 7);
}

/* A newcomer does not take over what the one before it in its place had done. */
Test(leavers, X3_a_newcomer_begins_with_nothing)
{
    for (uint32_t number = 1; number <= QD_LEAVERS_MAX; number++) {
        leave(number, QD_LEAVERS_CALLS - 1, QD_LEAVERS_HANG_UPS);
    }
    leave(5000, 1, 1);
    cr_expect_eq(take(), 0);
    leave(5000, QD_LEAVERS_CALLS - 1, QD_LEAVERS_HANG_UPS - 1);
    cr_expect_eq(take(), 5000);
}
