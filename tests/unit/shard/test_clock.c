/* C7: the wall clock follows small differences, never steps back, and doesn't follow a step. */
#include "server/shard/clock.h"

#include <criterion/criterion.h>

#define S    QD_NS_PER_S
#define MS   QD_NS_PER_MS
#define HOUR QD_NS_PER_HOUR

struct fake {
    uint64_t mono;
    int64_t wall;
};

static struct qd_mono_ns mono(void *context)
{
    return (struct qd_mono_ns){((struct fake *)context)->mono};
}

static struct qd_wall_ns wall(void *context)
{
    return (struct qd_wall_ns){((struct fake *)context)->wall};
}

static struct qd_clock clock_of(struct fake *fake)
{
    struct qd_clock clock;

    *fake = (struct fake){5 * S, 1000 * S};
    qd_clock_init(&clock, (struct qd_clock_source){mono, wall, fake});
    return clock;
}

static void pass(struct fake *fake, int64_t ns)
{
    fake->mono += (uint64_t)ns;
    fake->wall += ns;
}

Test(clock, C7_goes_on_with_the_monotonic_clock)
{
    struct fake fake;
    struct qd_clock clock = clock_of(&fake);

    pass(&fake, 7 * S);
    cr_assert_eq(qd_clock_now(&clock).ns, 1007 * S);
    cr_assert_eq(qd_clock_alarm(&clock, NULL), 0);
}

Test(clock, C7_follows_a_small_step_forward_at_once)
{
    struct fake fake;
    struct qd_clock clock = clock_of(&fake);

    fake.wall += 500 * MS;
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_now(&clock).ns, 1000 * S + 500 * MS);
    cr_assert_eq(qd_clock_alarm(&clock, NULL), 0);
}

Test(clock, C7_loses_a_small_step_back_at_half_speed)
{
    struct fake fake;
    struct qd_clock clock = clock_of(&fake);
    int64_t last = qd_clock_now(&clock).ns;

    fake.wall -= 400 * MS;
    qd_clock_discipline(&clock);
    for (int i = 0; i < 100; i++) {
        pass(&fake, 10 * MS);
        if (i % 7 == 0) {
            qd_clock_discipline(&clock);
        }
        int64_t now = qd_clock_now(&clock).ns;
        cr_assert_geq(now - last, 5 * MS - 1, "half speed at least, at %d", i);
        last = now;
    }
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_now(&clock).ns, fake.wall);
}

Test(clock, C7_an_hour_back_is_not_followed)
{
    struct fake fake;
    struct qd_clock clock = clock_of(&fake);
    struct qd_wall_ns since;

    pass(&fake, 2 * S);
    fake.wall -= HOUR;
    qd_clock_discipline(&clock);
    pass(&fake, 3 * S);
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_now(&clock).ns, 1005 * S);
    cr_assert_eq(qd_clock_alarm(&clock, &since), -HOUR);
    cr_assert_eq(since.ns, 1002 * S);
}

Test(clock, C7_a_year_forward_is_not_followed_until_the_system_is_near_again)
{
    struct fake fake;
    struct qd_clock clock = clock_of(&fake);

    fake.wall += 365 * QD_NS_PER_DAY;
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_now(&clock).ns, 1000 * S);
    cr_assert_eq(qd_clock_alarm(&clock, NULL), 365 * QD_NS_PER_DAY);
    fake.wall -= 365 * QD_NS_PER_DAY - 20 * MS;
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_alarm(&clock, NULL), 0);
    cr_assert_eq(qd_clock_now(&clock).ns, 1000 * S + 20 * MS);
}

Test(clock, D5_resumes_where_time_had_stopped_and_loses_it_at_half_speed)
{
    struct fake fake;
    struct qd_clock clock = clock_of(&fake);

    qd_clock_resume(&clock, (struct qd_wall_ns){990 * S});
    cr_assert_eq(qd_clock_now(&clock).ns, 1000 * S, "behind: nothing to do");
    qd_clock_resume(&clock, (struct qd_wall_ns){1010 * S});
    cr_assert_eq(qd_clock_now(&clock).ns, 1010 * S);
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_alarm(&clock, NULL), -10 * S);
    pass(&fake, 10 * S);
    cr_assert_eq(qd_clock_now(&clock).ns, 1015 * S);
    pass(&fake, 10 * S);
    qd_clock_discipline(&clock);
    cr_assert_eq(qd_clock_now(&clock).ns, fake.wall);
    cr_assert_eq(qd_clock_alarm(&clock, NULL), 0);
}
