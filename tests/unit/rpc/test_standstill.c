/* X3: who is spared after a pause of the node, and that no flood is spared for good. */
#include "server/rpc/standstill.h"

#include <criterion/criterion.h>

static bool spares(struct qd_standstill *standstill, uint64_t due_ms, uint64_t now_ms)
{
    qd_standstill_look(standstill, due_ms, now_ms);
    return qd_standstill_holds(standstill, now_ms);
}

Test(standstill, X3_who_looks_in_time_judges)
{
    struct qd_standstill s = {0};

    cr_expect_not(spares(&s, 0, 5000)); /* the first look was due at no time */
    cr_expect_not(spares(&s, 5050, 5049));
    cr_expect_not(spares(&s, 5050, 5050 + QD_STANDSTILL_MS - 1));
}

Test(standstill, X3_a_pause_spares_for_as_long_as_it_was)
{
    struct qd_standstill s = {0};

    cr_expect(spares(&s, 1000, 1350));
    cr_expect(spares(&s, 1400, 1400));
    cr_expect(spares(&s, 1650, 1699));
    cr_expect_not(spares(&s, 1700, 1700));
}

Test(standstill, X3_a_long_pause_spares_for_no_longer_than_the_bound)
{
    struct qd_standstill s = {0};

    cr_expect(spares(&s, 1000, 61000));
    cr_expect(spares(&s, 61050, 61000 + QD_STANDSTILL_SPARED_MS - 1));
    cr_expect_not(spares(&s, 61050, 61000 + QD_STANDSTILL_SPARED_MS));
}

/* A flood that starves the guard: each of its looks is late. Every second one judges. */
Test(standstill, X3_between_two_times_of_grace_is_a_look_that_judges)
{
    struct qd_standstill s = {0};
    uint64_t now_ms = 1000;

    for (int round = 0; round < 10; round++) {
        uint64_t due_ms = now_ms + 50;
        now_ms = due_ms + 2 * QD_STANDSTILL_SPARED_MS;
        bool spared = spares(&s, due_ms, now_ms);
        cr_expect_eq(spared, round % 2 == 0, "round %d", round);
    }
}
