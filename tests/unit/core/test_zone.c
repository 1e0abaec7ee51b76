/* Calendars against glibc and the system's tzdata: 20 zones, 1985 to 2037 (D6). */
#include "server/core/zone.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_YEAR      1985
#define LAST_YEAR       2037
#define TRANSITIONS_MAX 400
#define HOUR_S          INT64_C(3600)
#define DAYS_MAX        ((LAST_YEAR - FIRST_YEAR + 1) * 366)

static const char *const names[] = {
    "UTC",
    "Asia/Kathmandu",      /* +5:30 to +5:45 in 1986 */
    "Australia/Lord_Howe", /* half an hour of DST */
    "America/New_York",
    "Pacific/Apia", /* no 30 December 2011 */
    "Europe/Berlin",
    "America/Los_Angeles",
    "America/Sao_Paulo", /* DST changed at midnight */
    "America/Havana",    /* midnight skipped, and shown twice */
    "Asia/Tehran",
    "Asia/Beirut",
    "Africa/Cairo",      /* 24:00 */
    "Africa/Casablanca", /* DST paused for Ramadan */
    "America/St_Johns",  /* changes at 00:01 until 2011 */
    "Asia/Gaza",
    "Asia/Amman",
    "Asia/Pyongyang",
    "Antarctica/Troll", /* two hours of DST */
    "Europe/London",
    "Pacific/Kwajalein", /* no 21 August 1993 */
    "America/Asuncion",
    "Asia/Kolkata",
};
#define ZONE_COUNT (sizeof names / sizeof names[0])

static struct tm local_of(int64_t s)
{
    time_t t = (time_t)s;
    struct tm tm;
    cr_assert_not_null(localtime_r(&t, &tm));
    return tm;
}

static int32_t offset_of(int64_t s)
{
    return (int32_t)local_of(s).tm_gmtoff;
}

static int64_t utc_of(int year, int month, int day)
{
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return (int64_t)timegm(&tm);
}

static void use_zone(const char *name)
{
    cr_assert_eq(setenv("TZ", name, 1), 0);
    tzset();
}

/* The second in (low, high] at which the one change of offset between them happens. */
static int64_t change_between(int64_t low, int64_t high)
{
    int32_t before = offset_of(low);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (offset_of(middle) == before) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

/* The zone's table as glibc answers it, and TZ set so that glibc goes on answering. */
static struct qd_zone probe(const char *name, struct qd_zone_transition *table)
{
    use_zone(name);
    int64_t from = utc_of(FIRST_YEAR - 2, 1, 1);
    int64_t to = utc_of(LAST_YEAR + 3, 1, 1);
    size_t count = 0;
    table[count++] = (struct qd_zone_transition){INT64_MIN, offset_of(from)};
    for (int64_t s = from; s < to && count < TRANSITIONS_MAX; s += 6 * HOUR_S) {
        if (offset_of(s) != offset_of(s + 6 * HOUR_S)) {
            int64_t at = change_between(s, s + 6 * HOUR_S);
            table[count++] = (struct qd_zone_transition){at, offset_of(at)};
        }
    }
    cr_assert_lt(count, TRANSITIONS_MAX);
    return (struct qd_zone){name, table, count};
}

static int64_t local_seconds(int64_t s)
{
    return s + offset_of(s);
}

/* First instant at which glibc's clock shows `local_s` or more, by looking at every second around.
 */
static int64_t first_shown(int64_t local_s)
{
    int64_t guess = local_s - offset_of(local_s);
    int32_t around = offset_of(guess);
    if (offset_of(guess - 30 * HOUR_S) == around && offset_of(guess + 30 * HOUR_S) == around) {
        return local_s - around;
    }
    int64_t s = local_s - 30 * HOUR_S;
    while (local_seconds(s + 60) < local_s) { /* clocks change by whole minutes */
        s += 60;
    }
    while (local_seconds(s) < local_s) {
        s++;
    }
    return s;
}

/* Day by day: where each civil day starts, and its date by glibc. */
static struct {
    int64_t start_s;
    int year;
    int month;
    int day;
    int weekday; /* 1 = Monday */
    int days_in_month;
} day_table[DAYS_MAX];
static size_t day_count;

static void tell_days(void)
{
    day_count = 0;
    int64_t end = utc_of(LAST_YEAR + 1, 1, 1);
    for (int64_t utc = utc_of(FIRST_YEAR, 1, 1); utc < end; utc += 86400) {
        time_t t = (time_t)utc;
        struct tm tm;
        gmtime_r(&t, &tm); /* civil dates are the same in every zone; only their starts differ */
        size_t i = day_count++;
        day_table[i].start_s = first_shown(utc);
        day_table[i].year = tm.tm_year + 1900;
        day_table[i].month = tm.tm_mon + 1;
        day_table[i].day = tm.tm_mday;
        day_table[i].weekday = tm.tm_wday == 0 ? 7 : tm.tm_wday;
        struct tm last = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 0};
        time_t last_day = timegm(&last); /* day 0 of the next month */
        gmtime_r(&last_day, &last);
        day_table[i].days_in_month = last.tm_mday;
    }
}

static bool starts_period(const struct qd_calendar *c, size_t i)
{
    int anchor = c->anchor;
    switch (c->unit) {
    case QD_CALENDAR_WEEK:
        return day_table[i].weekday == anchor;
    case QD_CALENDAR_MONTH:
        return day_table[i].day ==
               (anchor < day_table[i].days_in_month ? anchor : day_table[i].days_in_month);
    case QD_CALENDAR_YEAR: {
        int day = anchor % 100;
        return day_table[i].month == anchor / 100 &&
               day_table[i].day ==
                   (day < day_table[i].days_in_month ? day : day_table[i].days_in_month);
    }
    case QD_CALENDAR_DAY:
    case QD_CALENDAR_HOUR:
    default:
        return true;
    }
}

static void assert_period(const struct qd_calendar *c, int64_t at_ns, int64_t start_s,
                          int64_t end_s)
{
    struct qd_period p = qd_calendar_period(c, (struct qd_wall_ns){at_ns});
    cr_assert(p.start.ns == start_s * QD_NS_PER_S && p.end.ns == end_s * QD_NS_PER_S,
              "%s unit %d anchor %u at %" PRId64 ": [%" PRId64 ", %" PRId64 "), wanted [%" PRId64
              ", %" PRId64 ")",
              c->zone->name, (int)c->unit, c->anchor, at_ns / QD_NS_PER_S, p.start.ns / QD_NS_PER_S,
              p.end.ns / QD_NS_PER_S, start_s, end_s);
}

static void check_calendar(const struct qd_calendar *c, struct qd_prng *r)
{
    int64_t start_s = INT64_MIN;
    unsigned periods = 0;
    for (size_t i = 0; i < day_count; i++) {
        if (!starts_period(c, i)) {
            continue;
        }
        int64_t end_s = day_table[i].start_s;
        if (start_s != INT64_MIN && end_s > start_s) { /* a skipped day is empty */
            assert_period(c, start_s * QD_NS_PER_S, start_s, end_s);
            assert_period(c, end_s * QD_NS_PER_S - 1, start_s, end_s);
            int64_t inside = qd_prng_number(r, (end_s - start_s) * QD_NS_PER_S);
            assert_period(c, start_s * QD_NS_PER_S + inside, start_s, end_s);
            periods++;
        }
        start_s = end_s;
    }
    cr_assert_geq(periods, LAST_YEAR - FIRST_YEAR - 1);
}

Test(zone, D6_days_weeks_months_and_years_follow_tzdata)
{
    static const struct qd_calendar kinds[] = {
        {QD_CALENDAR_DAY, 0, NULL},     {QD_CALENDAR_WEEK, 1, NULL},
        {QD_CALENDAR_WEEK, 3, NULL},    {QD_CALENDAR_WEEK, 7, NULL},
        {QD_CALENDAR_MONTH, 1, NULL},   {QD_CALENDAR_MONTH, 15, NULL},
        {QD_CALENDAR_MONTH, 29, NULL},  {QD_CALENDAR_MONTH, 30, NULL},
        {QD_CALENDAR_MONTH, 31, NULL},  {QD_CALENDAR_YEAR, 101, NULL},
        {QD_CALENDAR_YEAR, 229, NULL},  {QD_CALENDAR_YEAR, 704, NULL},
        {QD_CALENDAR_YEAR, 1231, NULL},
    };
    static struct qd_zone_transition table[TRANSITIONS_MAX];
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D6_days_weeks_months_and_years_follow_tzdata", 1));
    for (size_t z = 0; z < ZONE_COUNT; z++) {
        struct qd_zone zone = probe(names[z], table);
        cr_assert(z == 0 || zone.count > 1 || strcmp(names[z], "Asia/Kolkata") == 0,
                  "%s: is tzdata installed?", names[z]);
        tell_days();
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            struct qd_calendar c = kinds[k];
            c.zone = &zone;
            check_calendar(&c, &r);
        }
    }
}

Test(zone, D6_offsets_equal_localtime)
{
    static struct qd_zone_transition table[TRANSITIONS_MAX];
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D6_offsets_equal_localtime", 2));
    for (size_t z = 0; z < ZONE_COUNT; z++) {
        struct qd_zone zone = probe(names[z], table);
        for (size_t i = 1; i < zone.count; i++) {
            for (int64_t d = -1; d <= 1; d++) {
                int64_t s = zone.transitions[i].from_s + d;
                cr_assert_eq(qd_zone_offset_s(&zone, (struct qd_wall_ns){s * QD_NS_PER_S}),
                             offset_of(s));
            }
        }
        for (int i = 0; i < 2000; i++) {
            int64_t s = qd_prng_between(&r, utc_of(FIRST_YEAR, 1, 1), utc_of(LAST_YEAR, 1, 1));
            int64_t ns = s * QD_NS_PER_S + qd_prng_number(&r, QD_NS_PER_S);
            cr_assert_eq(qd_zone_offset_s(&zone, (struct qd_wall_ns){ns}), offset_of(s));
        }
    }
}

/* True if an hour starts at `s`: glibc's clock shows a whole hour there, or jumps over one. */
static bool hour_starts(int64_t s)
{
    int64_t shown = local_seconds(s);
    return shown % 3600 == 0 || shown / 3600 * HOUR_S > local_seconds(s - 1);
}

Test(zone, D6_hours_follow_the_zones_clock)
{
    static struct qd_zone_transition table[TRANSITIONS_MAX];
    for (size_t z = 0; z < ZONE_COUNT; z++) {
        struct qd_zone zone = probe(names[z], table);
        struct qd_calendar c = {QD_CALENDAR_HOUR, 0, &zone};
        for (size_t i = 1; i < zone.count; i++) {
            int64_t around = zone.transitions[i].from_s;
            if (local_of(around).tm_year + 1900 < FIRST_YEAR) {
                continue;
            }
            int64_t base = around - around % 60;
            int64_t start_s = INT64_MIN;
            for (int64_t s = base - 4 * HOUR_S; s < base + 4 * HOUR_S; s += 60) {
                if (!hour_starts(s)) {
                    continue;
                }
                if (start_s != INT64_MIN) {
                    assert_period(&c, start_s * QD_NS_PER_S, start_s, s);
                    assert_period(&c, s * QD_NS_PER_S - 1, start_s, s);
                    assert_period(&c, (start_s + (s - start_s) / 2) * QD_NS_PER_S, start_s, s);
                }
                start_s = s;
            }
        }
    }
}

Test(zone, D6_an_hour_may_need_the_change_before_the_last)
{
    /* Two changes within one hour, as no real zone has them: tiles all the same. */
    static const struct qd_zone_transition wild[] = {
        {INT64_MIN, 0},    {7200, -1800}, {7800, -2400}, {8400, 600},
        {14400, 600 + 60}, {14460, 600},  {20000, -900}, {20001, 7200},
    };
    const struct qd_zone zone = {"Test/Wild", wild, sizeof wild / sizeof wild[0]};
    const struct qd_calendar c = {QD_CALENDAR_HOUR, 0, &zone};
    struct qd_period p = qd_calendar_period(&c, (struct qd_wall_ns){0});
    for (int i = 0; i < 20; i++) {
        for (int64_t at = p.start.ns; at < p.end.ns; at += 60 * QD_NS_PER_S) {
            struct qd_period again = qd_calendar_period(&c, (struct qd_wall_ns){at});
            cr_assert_eq(again.start.ns, p.start.ns);
            cr_assert_eq(again.end.ns, p.end.ns);
        }
        struct qd_period next = qd_calendar_period(&c, p.end);
        cr_assert_eq(next.start.ns, p.end.ns);
        p = next;
    }
}

Test(zone, D6_months_are_not_thirty_days)
{
    struct qd_calendar c = {QD_CALENDAR_MONTH, 31, &qd_zone_utc};
    static const int starts[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t at = utc_of(2026, 1, 31);
    for (int m = 0; m < 11; m++) {
        int64_t next = utc_of(2026, m + 2, starts[m + 1]);
        assert_period(&c, at * QD_NS_PER_S, at, next);
        at = next;
    }
    assert_period(&c, utc_of(2028, 2, 29) * QD_NS_PER_S, utc_of(2028, 2, 29), utc_of(2028, 3, 31));
    c.anchor = 0; /* the default: the first */
    assert_period(&c, utc_of(2026, 2, 14) * QD_NS_PER_S, utc_of(2026, 2, 1), utc_of(2026, 3, 1));
    c.unit = QD_CALENDAR_YEAR;
    assert_period(&c, utc_of(2026, 2, 14) * QD_NS_PER_S, utc_of(2026, 1, 1), utc_of(2027, 1, 1));
    c.unit = QD_CALENDAR_WEEK; /* from Monday */
    assert_period(&c, utc_of(2026, 11, 22) * QD_NS_PER_S, utc_of(2026, 11, 16),
                  utc_of(2026, 11, 23));
}

Test(zone, D6_samoa_has_no_30_december_2011)
{
    static struct qd_zone_transition table[TRANSITIONS_MAX];
    struct qd_zone zone = probe("Pacific/Apia", table);
    struct qd_calendar c = {QD_CALENDAR_DAY, 0, &zone};
    int64_t change = utc_of(2011, 12, 30) + 10 * HOUR_S; /* -10 to +14 */
    assert_period(&c, change * QD_NS_PER_S - 1, change - 86400, change);
    assert_period(&c, change * QD_NS_PER_S, change, change + 86400);
}

Test(zone, D6_the_ends_of_time_are_clamped)
{
    static const enum qd_calendar_unit units[] = {
        QD_CALENDAR_HOUR, QD_CALENDAR_DAY, QD_CALENDAR_WEEK, QD_CALENDAR_MONTH, QD_CALENDAR_YEAR};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        struct qd_calendar c = {units[i], 0, &qd_zone_utc};
        struct qd_period p = qd_calendar_period(&c, (struct qd_wall_ns){INT64_MIN});
        cr_assert_eq(p.start.ns, INT64_MIN);
        p = qd_calendar_period(&c, (struct qd_wall_ns){INT64_MAX});
        cr_assert_eq(p.end.ns, QD_WALL_NEVER);
        cr_assert_lt(p.start.ns, p.end.ns);
        p = qd_calendar_period(&c, (struct qd_wall_ns){-1});
        cr_assert_lt(p.start.ns, 0);
        cr_assert(p.end.ns == 0 || units[i] == QD_CALENDAR_WEEK);
    }
}

Test(zone, P5_gemini_requests_per_day_reset_at_pacific_midnight)
{
    static struct qd_zone_transition table[TRANSITIONS_MAX];
    struct qd_zone zone = probe("America/Los_Angeles", table);
    struct qd_calendar c = {QD_CALENDAR_DAY, 0, &zone};
    /* 8 March 2026 has 23 hours there: from 08:00 UTC to 07:00 UTC. */
    assert_period(&c, utc_of(2026, 3, 8) * QD_NS_PER_S, utc_of(2026, 3, 7) + 8 * HOUR_S,
                  utc_of(2026, 3, 8) + 8 * HOUR_S);
    assert_period(&c, (utc_of(2026, 3, 8) + 9 * HOUR_S) * QD_NS_PER_S,
                  utc_of(2026, 3, 8) + 8 * HOUR_S, utc_of(2026, 3, 9) + 7 * HOUR_S);
}

/* A clock that goes back over midnight shows the day before again: it belongs to the new day, which
 * has begun. */
Test(zone, D6_a_day_that_has_begun_does_not_end_when_the_clock_goes_back)
{
    const int64_t midnight = utc_of(2026, 11, 1); /* 00:30 at +1 becomes 23:30 at +0 */
    const struct qd_zone_transition table[] = {{INT64_MIN, 3600}, {midnight - 1800, 0}};
    const struct qd_zone zone = {"Back/Over_Midnight", table, 2};
    struct qd_calendar c = {QD_CALENDAR_DAY, 0, &zone};
    assert_period(&c, (midnight - 3601) * QD_NS_PER_S, midnight - 86400 - 3600, midnight - 3600);
    assert_period(&c, (midnight - 3600) * QD_NS_PER_S, midnight - 3600, midnight + 86400);
    assert_period(&c, (midnight - 1800) * QD_NS_PER_S, midnight - 3600, midnight + 86400);
    assert_period(&c, (midnight - 1) * QD_NS_PER_S, midnight - 3600, midnight + 86400);
    assert_period(&c, midnight * QD_NS_PER_S, midnight - 3600, midnight + 86400);
    c.unit = QD_CALENDAR_MONTH;
    assert_period(&c, (midnight - 600) * QD_NS_PER_S, midnight - 3600, utc_of(2026, 12, 1));
}
