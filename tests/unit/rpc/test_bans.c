/* X3: addresses that may not connect for a while. */
#include "server/rpc/bans.h"

#include <criterion/criterion.h>
#include <string.h>

static struct qd_bans bans;

static const uint8_t *address(uint32_t number)
{
    static uint8_t bytes[16];

    memset(bytes, 7, sizeof(bytes));
    memcpy(bytes, &number, sizeof(number));
    return bytes;
}

static bool has(const uint8_t *bytes, uint64_t now_ms)
{
    return qd_bans_find(&bans, bytes, now_ms) != NULL;
}

Test(bans, X3_a_ban_ends)
{
    qd_bans_add(&bans, address(1), 0, 500);
    cr_expect(has(address(1), 0));
    cr_expect(has(address(1), 499));
    cr_expect_not(has(address(1), 500));
    cr_expect_not(has(address(2), 0));
}

Test(bans, X3_a_second_ban_does_not_shorten_the_first)
{
    qd_bans_add(&bans, address(1), 0, 500);
    qd_bans_add(&bans, address(1), 0, 400);
    cr_expect(has(address(1), 450));
    qd_bans_add(&bans, address(1), 0, 600);
    cr_expect(has(address(1), 550));
    cr_expect_eq(bans.next, 1, "an address has one ban");
}

Test(bans, X3_only_what_holds_is_extended)
{
    qd_bans_add(&bans, address(1), 0, 100);
    qd_bans_add(&bans, address(2), 0, 300);
    qd_bans_add(&bans, address(3), 0, 900);
    qd_bans_extend(&bans, 200, 700);
    cr_expect_not(has(address(1), 200));
    cr_expect(has(address(2), 699));
    cr_expect(has(address(3), 899));
}

Test(bans, X3_the_oldest_is_forgotten)
{
    for (uint32_t i = 0; i <= QD_BANS_MAX; i++) {
        qd_bans_add(&bans, address(i), 0, 500);
    }
    cr_expect_not(has(address(0), 0));
    for (uint32_t i = 1; i <= QD_BANS_MAX; i++) {
        cr_assert(has(address(i), 0), "%u", i);
    }
}

/* Somebody else may be behind that address. */
Test(bans, X3_a_banned_address_has_its_turns)
{
    qd_bans_add(&bans, address(1), 1000, 9000);
    struct qd_ban *ban = qd_bans_find(&bans, address(1), 1000);

    cr_assert_not_null(ban);
    cr_expect_not(qd_ban_takes_turn(ban, 1000 + QD_BAN_TURN_MS - 1));
    cr_expect(qd_ban_takes_turn(ban, 1000 + QD_BAN_TURN_MS));
    cr_expect_not(qd_ban_takes_turn(ban, 1000 + QD_BAN_TURN_MS));
    qd_bans_add(&bans, address(1), 1400 + QD_BAN_TURN_MS, 12000); /* cut off again */
    cr_expect_not(qd_ban_takes_turn(ban, 999 + 2 * QD_BAN_TURN_MS));
    cr_expect(qd_ban_takes_turn(ban, 1000 + 2 * QD_BAN_TURN_MS));
}
