/* X3: who is spared after a pause of the node, and that a flood is not. */
#include "server/rpc/standstill.h"

#include <criterion/criterion.h>

#define PROCESSORS 2U

static struct qd_standstill s;

static void setup(void)
{
    s = (struct qd_standstill){0};
    qd_standstill_beat(&s, 5000, 1000, PROCESSORS);
}

TestSuite(standstill, .init = setup);

/* So long after the last beat, with so much work: is it that somebody is spared? */
static bool beat(uint64_t after_ms, uint64_t worked_ms)
{
    qd_standstill_beat(&s, s.beat_ms + after_ms, s.worked_ms + worked_ms, PROCESSORS);
    return qd_standstill_holds(&s, s.beat_ms);
}

Test(standstill, X3_nobody_is_spared_while_the_heart_beats)
{
    cr_expect_not(qd_standstill_holds(&s, 5000)); /* nor by the first beat */
    for (int i = 0; i < 100; i++) {
        cr_expect_not(beat(QD_STANDSTILL_BEAT_MS, i % 3 == 0 ? 0 : 90));
    }
    cr_expect_not(beat(QD_STANDSTILL_MS - 1, 0));
}

Test(standstill, X3_a_pause_spares_for_as_long_as_it_was)
{
    cr_expect(beat(350, 20));
    cr_expect(qd_standstill_holds(&s, 5350 + 349));
    cr_expect_not(qd_standstill_holds(&s, 5350 + 350));
}

Test(standstill, X3_a_long_pause_spares_for_no_longer_than_the_bound)
{
    cr_expect(beat(60000, 20));
    cr_expect(qd_standstill_holds(&s, 65000 + QD_STANDSTILL_SPARED_MS - 1));
    cr_expect_not(qd_standstill_holds(&s, 65000 + QD_STANDSTILL_SPARED_MS));
}

/* They come in bursts, where a machine is taken from one host to another. */
Test(standstill, X3_a_second_pause_soon_after_spares_as_well)
{
    cr_expect(beat(300, 20));
    cr_expect(beat(50, 60));
    cr_expect(beat(400, 20));
    cr_expect(qd_standstill_holds(&s, s.beat_ms + 399));
}

/* All processors may have worked until the pause began, a whole beat's time at most. */
Test(standstill, X3_what_was_done_before_the_pause_is_no_work_in_it)
{
    cr_expect(beat(200, PROCESSORS * QD_STANDSTILL_BEAT_MS));
    setup();
    cr_expect(beat(200, PROCESSORS * QD_STANDSTILL_BEAT_MS + 49));
    setup();
    cr_expect_not(beat(200, PROCESSORS * QD_STANDSTILL_BEAT_MS + 50));
}

/* A container's limit: the process works in spurts, and each of its beats seems to be a pause. */
Test(standstill, X3_nobody_is_spared_for_good)
{
    uint64_t spared_ms = 0;

    for (int i = 0; i < 300; i++) { /* 30 s */
        spared_ms += beat(100, 100) ? 100 : 0;
    }
    cr_expect_geq(spared_ms, QD_STANDSTILL_ALL_MS);
    cr_expect_leq(spared_ms, 4 * (QD_STANDSTILL_ALL_MS + 100));
    cr_expect_not(beat(100, 100));
}

/* A flood keeps the node at work, on few processors: each of the beats is late. */
Test(standstill, X3_a_node_that_works_does_not_stand_still)
{
    for (int i = 0; i < 10; i++) {
        cr_expect_not(beat(1000, 1000));
    }
}
