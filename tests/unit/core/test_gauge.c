/* Gauges against a naive list of holds and bookings (D7), their periods and waiting times (D3). */
#include "server/core/gauge.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>

#define LOG_MAX 1000

static struct qd_wall_ns wall(int64_t ns)
{
    return (struct qd_wall_ns){ns};
}

static const struct qd_zone_transition berlin_like[] = {
    {INT64_MIN, 3600},
    {INT64_C(1774746000), 7200}, /* 2026-03-29 01:00 UTC */
    {INT64_C(1792890000), 3600}, /* 2026-10-25 01:00 UTC */
};
static const struct qd_zone berlin = {"Europe/Berlin", berlin_like, 3};

static const struct qd_calendar months = {QD_CALENDAR_MONTH, 1, &berlin};
static const struct qd_calendar days = {QD_CALENDAR_DAY, 0, &berlin};

static const struct qd_gauge_spec specs[] = {
    {0},
    {.window_ns = 60 * QD_NS_PER_S},
    {.window_ns = 6 * QD_NS_PER_HOUR},
    {.calendar = &months},
    {.calendar = &days},
};
#define SPEC_COUNT (sizeof specs / sizeof specs[0])

#define YEAR_2026 (INT64_C(1767225600) * QD_NS_PER_S)

static struct qd_period period_of(const struct qd_gauge_spec *spec, int64_t at_ns)
{
    if (spec->window_ns > 0) {
        int64_t start = at_ns - at_ns % spec->window_ns;
        return (struct qd_period){{start}, {start + spec->window_ns}};
    }
    if (spec->calendar != NULL) {
        return qd_calendar_period(spec->calendar, wall(at_ns));
    }
    return (struct qd_period){{INT64_MIN}, {QD_WALL_NEVER}};
}

Test(gauge, D7_used_and_held_equal_a_naive_list)
{
    static struct {
        int64_t at_ns;
        int64_t used;
        int64_t held;
    } log[LOG_MAX];
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D7_used_and_held_equal_a_naive_list", 1));
    for (size_t round = 0; round < 200; round++) {
        const struct qd_gauge_spec *spec = &specs[round % SPEC_COUNT];
        struct qd_gauge g;
        int64_t now = YEAR_2026 + qd_prng_number(&r, 365) * QD_NS_PER_DAY;
        qd_gauge_init(&g, spec, wall(now));
        size_t count = 0;
        for (int i = 0; i < LOG_MAX; i++) {
            int64_t span = spec->window_ns > 0 ? spec->window_ns : QD_NS_PER_DAY;
            now += qd_prng_number(&r, 20) == 0 ? qd_prng_number(&r, 2 * span)
                                               : qd_prng_number(&r, span / 50);
            size_t pick = count == 0 ? 0 : (size_t)qd_prng_number(&r, (int64_t)count);
            switch (qd_prng_number(&r, count == 0 ? 1 : 4)) {
            case 0:
                log[count].at_ns = now;
                log[count].used = 0;
                log[count].held = qd_prng_number(&r, 1000);
                qd_gauge_hold(&g, spec, log[count].held, wall(now));
                count++;
                break;
            case 1: /* settle: release, book */
                qd_gauge_rehold(&g, spec, wall(log[pick].at_ns), -log[pick].held, wall(now));
                log[pick].held = 0;
                log[pick].used += 300;
                qd_gauge_book(&g, spec, wall(log[pick].at_ns), 300, wall(now));
                break;
            case 2: /* extend: the hold grows */
                log[pick].held += 50;
                qd_gauge_rehold(&g, spec, wall(log[pick].at_ns), 50, wall(now));
                break;
            default: /* a correction */
                log[pick].used -= 100;
                qd_gauge_book(&g, spec, wall(log[pick].at_ns), -100, wall(now));
                break;
            }
            struct qd_period period = period_of(spec, now);
            int64_t used = 0;
            int64_t held = 0;
            for (size_t k = 0; k < count; k++) {
                if (log[k].at_ns >= period.start.ns) {
                    used += log[k].used;
                    held += log[k].held;
                }
            }
            int64_t counted = (used > 0 ? used : 0) + held;
            cr_assert_eq(qd_gauge_counted(&g, spec, wall(now)), counted);
            cr_assert_eq(g.used, used);
            cr_assert_eq(g.held, held);
            cr_assert_eq(g.start_ns, period.start.ns);
            cr_assert_eq(g.end_ns, period.end.ns);
            int64_t amount = qd_prng_number(&r, 2 * counted + 10);
            int64_t cost = qd_prng_number(&r, 1000);
            cr_assert_eq(qd_gauge_fits(&g, spec, amount, cost, wall(now)),
                         counted + cost <= amount);
        }
    }
}

Test(gauge, D7_a_closed_period_changes_nothing_now)
{
    const struct qd_gauge_spec *spec = &specs[4];
    struct qd_gauge g;
    int64_t noon = YEAR_2026 + 11 * QD_NS_PER_HOUR;
    qd_gauge_init(&g, spec, wall(noon));
    qd_gauge_hold(&g, spec, 100, wall(noon));
    qd_gauge_book(&g, spec, wall(noon), 30, wall(noon));
    int64_t next = noon + QD_NS_PER_DAY;
    qd_gauge_hold(&g, spec, 7, wall(next));
    qd_gauge_rehold(&g, spec, wall(noon), -100, wall(next));
    qd_gauge_book(&g, spec, wall(noon), 80, wall(next));
    cr_assert_eq(g.held, 7);
    cr_assert_eq(g.used, 0);
    cr_assert_eq(qd_gauge_counted(&g, spec, wall(next)), 7);
}

Test(gauge, D7_concurrency_is_a_gauge_of_holds)
{
    const struct qd_gauge_spec *spec = &specs[0];
    struct qd_gauge g;
    qd_gauge_init(&g, spec, wall(5));
    for (int64_t i = 0; i < 20; i++) {
        cr_assert(qd_gauge_fits(&g, spec, 20, 1, wall(i * QD_NS_PER_DAY)));
        qd_gauge_hold(&g, spec, 1, wall(i * QD_NS_PER_DAY));
    }
    cr_assert_not(qd_gauge_fits(&g, spec, 20, 1, wall(20 * QD_NS_PER_DAY)));
    cr_assert_eq(qd_gauge_retry_at(&g, spec, 20, 1, wall(0)).ns, QD_WALL_NEVER);
    qd_gauge_rehold(&g, spec, wall(0), -1, wall(21 * QD_NS_PER_DAY));
    cr_assert(qd_gauge_fits(&g, spec, 20, 1, wall(21 * QD_NS_PER_DAY)));
    qd_gauge_rehold(&g, spec, wall(0), -1000, wall(21 * QD_NS_PER_DAY)); /* never below nothing */
    cr_assert_eq(g.held, 0);
}

Test(gauge, D3_retry_at_is_the_end_of_the_period_and_exact)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D3_retry_at_is_the_end_of_the_period_and_exact", 2));
    for (size_t round = 0; round < 3000; round++) {
        const struct qd_gauge_spec *spec = &specs[1 + round % (SPEC_COUNT - 1)];
        struct qd_gauge g;
        int64_t now = YEAR_2026 + qd_prng_number(&r, 365 * QD_NS_PER_DAY);
        qd_gauge_init(&g, spec, wall(now));
        qd_gauge_book(&g, spec, wall(now), qd_prng_number(&r, 200), wall(now));
        qd_gauge_hold(&g, spec, qd_prng_number(&r, 100), wall(now));
        int64_t cost = qd_prng_number(&r, 120);
        struct qd_gauge copy = g;
        struct qd_wall_ns at = qd_gauge_retry_at(&copy, spec, 100, cost, wall(now));
        if (cost > 100) {
            cr_assert_eq(at.ns, QD_WALL_NEVER);
            continue;
        }
        copy = g;
        cr_assert(qd_gauge_fits(&copy, spec, 100, cost, at));
        copy = g;
        if (at.ns > now) {
            cr_assert_not(qd_gauge_fits(&copy, spec, 100, cost, wall(at.ns - 1)));
            cr_assert_eq(at.ns, period_of(spec, now).end.ns);
        }
    }
}

Test(gauge, D3_a_prepaid_balance_waits_for_a_grant)
{
    const struct qd_gauge_spec *spec = &specs[0];
    struct qd_gauge g;
    qd_gauge_init(&g, spec, wall(0));
    qd_gauge_book(&g, spec, wall(0), 90, wall(0));
    cr_assert_not(qd_gauge_fits(&g, spec, 100, 11, wall(INT64_MAX)));
    cr_assert_eq(qd_gauge_retry_at(&g, spec, 100, 11, wall(0)).ns, QD_WALL_NEVER);
    cr_assert(qd_gauge_fits(&g, spec, 150, 11, wall(0))); /* granted 50 */
    cr_assert_eq(qd_gauge_retry_at(&g, spec, 150, 11, wall(7)).ns, 7);
}

Test(gauge, P2_reset_forgets_what_was_used_and_keeps_holds)
{
    const struct qd_gauge_spec *spec = &specs[3];
    struct qd_gauge g;
    qd_gauge_init(&g, spec, wall(YEAR_2026));
    qd_gauge_book(&g, spec, wall(YEAR_2026), 90, wall(YEAR_2026));
    qd_gauge_hold(&g, spec, 5, wall(YEAR_2026));
    qd_gauge_reset(&g, spec, wall(YEAR_2026 + 1));
    cr_assert_eq(qd_gauge_counted(&g, spec, wall(YEAR_2026 + 1)), 5);
}

Test(gauge, D4_a_time_before_the_period_is_the_period)
{
    const struct qd_gauge_spec *spec = &specs[1];
    struct qd_gauge g;
    qd_gauge_init(&g, spec, wall(600 * QD_NS_PER_S));
    qd_gauge_hold(&g, spec, 5, wall(590 * QD_NS_PER_S)); /* the clock stepped back */
    cr_assert_eq(qd_gauge_counted(&g, spec, wall(500 * QD_NS_PER_S)), 5);
    cr_assert_eq(qd_gauge_counted(&g, spec, wall(659 * QD_NS_PER_S)), 5);
    cr_assert_eq(qd_gauge_counted(&g, spec, wall(660 * QD_NS_PER_S)), 0);
}

Test(gauge, D7_sums_saturate_and_then_deny)
{
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        struct qd_gauge g;
        qd_gauge_init(&g, &specs[i], wall(YEAR_2026));
        for (int k = 0; k < 5; k++) {
            qd_gauge_hold(&g, &specs[i], INT64_MAX, wall(YEAR_2026));
            qd_gauge_book(&g, &specs[i], wall(YEAR_2026), INT64_MAX, wall(YEAR_2026));
        }
        cr_assert_eq(g.held, QD_GAUGE_MAX);
        cr_assert_eq(g.used, QD_GAUGE_MAX);
        cr_assert_not(qd_gauge_fits(&g, &specs[i], INT64_MAX, 0, wall(YEAR_2026)));
        cr_assert_eq(qd_gauge_retry_at(&g, &specs[i], INT64_MAX, INT64_MAX, wall(YEAR_2026)).ns,
                     QD_WALL_NEVER);
        for (int k = 0; k < 9; k++) {
            qd_gauge_rehold(&g, &specs[i], wall(YEAR_2026), INT64_MAX, wall(YEAR_2026));
            qd_gauge_book(&g, &specs[i], wall(YEAR_2026), INT64_MIN, wall(YEAR_2026));
        }
        cr_assert_eq(g.used, -QD_GAUGE_MAX);
        cr_assert_eq(g.held, QD_GAUGE_MAX);
        qd_gauge_rehold(&g, &specs[i], wall(YEAR_2026), INT64_MIN, wall(YEAR_2026));
        cr_assert_eq(qd_gauge_counted(&g, &specs[i], wall(YEAR_2026)), 0);
    }
}

Test(gauge, P4_fixed_windows_are_aligned_to_the_epoch)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P4_fixed_windows_are_aligned_to_the_epoch", 3));
    for (int i = 0; i < 100000; i++) {
        int64_t window = qd_prng_magnitude(&r, 55) + 1;
        int64_t at = (int64_t)qd_prng_next(&r);
        struct qd_period p = qd_fixed_period(window, wall(at));
        cr_assert(p.start.ns <= at && (at < p.end.ns || p.end.ns == QD_WALL_NEVER));
        if (p.start.ns != INT64_MIN && p.end.ns != QD_WALL_NEVER) {
            cr_assert_eq(p.start.ns % window, 0);
            cr_assert_eq(p.end.ns - p.start.ns, window);
        }
    }
    cr_assert_eq(qd_fixed_period(7, wall(INT64_MIN)).start.ns, INT64_MIN);
    cr_assert_eq(qd_fixed_period(1000, wall(INT64_MAX)).end.ns, QD_WALL_NEVER);
    cr_assert_eq(qd_fixed_period(1000, wall(-1)).start.ns, -1000);
}

/* --- what providers do (P5)
 * ------------------------------------------------------------------------ */

Test(gauge, P5_azure_payg_tokens_come_back_when_the_minute_turns)
{
    /* The estimate is charged up front; nothing is given back before the reset (refunds: false). */
    const struct qd_gauge_spec *spec = &specs[1];
    struct qd_gauge g;
    int64_t at = YEAR_2026 + 13 * QD_NS_PER_S;
    qd_gauge_init(&g, spec, wall(at));
    qd_gauge_book(&g, spec, wall(at), 90000, wall(at));
    cr_assert_not(qd_gauge_fits(&g, spec, 100000, 20000, wall(at + 46 * QD_NS_PER_S)));
    cr_assert_eq(qd_gauge_retry_at(&g, spec, 100000, 20000, wall(at)).ns,
                 YEAR_2026 + 60 * QD_NS_PER_S);
    cr_assert(qd_gauge_fits(&g, spec, 100000, 100000, wall(YEAR_2026 + 60 * QD_NS_PER_S)));
}

Test(gauge, P5_bedrock_tokens_per_day_are_1440_minutes)
{
    struct qd_gauge_spec spec = {.window_ns = QD_NS_PER_DAY};
    struct qd_gauge g;
    int64_t tpd = INT64_C(1440) * 300000;
    qd_gauge_init(&g, &spec, wall(YEAR_2026));
    qd_gauge_hold(&g, &spec, tpd, wall(YEAR_2026 + 1));
    cr_assert_not(qd_gauge_fits(&g, &spec, tpd, 1, wall(YEAR_2026 + QD_NS_PER_DAY - 1)));
    cr_assert(qd_gauge_fits(&g, &spec, tpd, 1, wall(YEAR_2026 + QD_NS_PER_DAY)));
}
