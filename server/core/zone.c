#include "server/core/zone.h"

#include "server/core/check.h"
#include "server/core/mutant.h"

#define S_PER_HOUR INT64_C(3600)
#define S_PER_DAY  INT64_C(86400)

static const struct qd_zone_transition utc_transitions[] = {{INT64_MIN, 0}};

const struct qd_zone qd_zone_utc = {"UTC", utc_transitions, 1};

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b < 0 ? q - 1 : q;
}

/* Seconds to ns; beyond what 64 bits of ns hold, the nearest time that they do. */
static struct qd_wall_ns wall_of(int64_t s)
{
    struct qd_wall_ns wall;
    if (__builtin_mul_overflow(s, QD_NS_PER_S, &wall.ns)) {
        wall.ns = s < 0 ? INT64_MIN : QD_WALL_NEVER;
    }
    return wall;
}

/* Index of the transition in force at `s`. */
static size_t regime_at(const struct qd_zone *zone, int64_t s)
{
    QD_CHECK(zone->count >= 1);
    QD_CHECK(zone->transitions[0].from_s == INT64_MIN);
    size_t low = 0;
    size_t high = zone->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (zone->transitions[middle].from_s <= s) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

int32_t qd_zone_offset_s(const struct qd_zone *zone, struct qd_wall_ns at)
{
    return zone->transitions[regime_at(zone, floor_div(at.ns, QD_NS_PER_S))].offset_s;
}

/* First UTC second at which the zone's clock shows `local_s` or more: in a gap the instant after
 * it, of two occurrences the first. */
static int64_t first_instant(const struct qd_zone *zone, int64_t local_s)
{
    const struct qd_zone_transition *t = zone->transitions;
    /* No offset is beyond 26 hours: whatever ends before this shows no such time. */
    size_t i = regime_at(zone, local_s - 2 * S_PER_DAY);
    while (i + 1 < zone->count && t[i + 1].from_s + t[i].offset_s <= local_s) {
        i++;
    }
    int64_t s = local_s - t[i].offset_s;
    return s > t[i].from_s ? s : t[i].from_s;
}

/* --- civil days, by Howard Hinnant's algorithms ------------------------------------------------
 */

struct civil {
    int64_t year;
    unsigned month; /* 1..12 */
    unsigned day;   /* 1..31 */
};

static int64_t day_number(int64_t year, unsigned month, unsigned day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static struct civil civil_of(int64_t day)
{
    int64_t z = day + 719468;
    int64_t era = floor_div(z, 146097);
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    struct civil c;
    c.day = (unsigned)(day_of_year - (153 * shifted + 2) / 5 + 1);
    c.month = (unsigned)(shifted < 10 ? shifted + 3 : shifted - 9);
    c.year = year_of_era + era * 400 + (c.month <= 2 ? 1 : 0);
    return c;
}

static unsigned month_days(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Day number of (year, month, day), or of the month's last day if it is too short. */
static int64_t clamped_day(int64_t year, unsigned month, unsigned day)
{
    unsigned last = month_days(year, month);
    return day_number(year, month, day > last && !QD_MUTANT(D6_anchor) ? last : day);
}

/* --- periods -----------------------------------------------------------------------------------
 */

/* Periods of a unit are numbered: days, weeks, months of year 0 on, years. */

static unsigned anchor_of(const struct qd_calendar *c)
{
    if (c->anchor != 0) {
        return c->anchor;
    }
    return c->unit == QD_CALENDAR_YEAR ? 101 : 1;
}

/* Day on which period `number` starts. */
static int64_t period_day(const struct qd_calendar *c, int64_t number)
{
    unsigned anchor = anchor_of(c);
    switch (c->unit) {
    case QD_CALENDAR_WEEK:
        return number * 7 - 3 + (anchor - 1); /* day -3 was a Monday */
    case QD_CALENDAR_MONTH: {
        int64_t year = floor_div(number, 12);
        return clamped_day(year, (unsigned)(number - year * 12) + 1, anchor);
    }
    case QD_CALENDAR_YEAR:
        return clamped_day(number, anchor / 100, anchor % 100);
    case QD_CALENDAR_HOUR:
    case QD_CALENDAR_DAY:
    default:
        return number;
    }
}

/* Number of the period in which `day` lies. */
static int64_t period_number(const struct qd_calendar *c, int64_t day)
{
    struct civil civil = civil_of(day);
    int64_t number = day;
    if (c->unit == QD_CALENDAR_WEEK) {
        return floor_div(day + 3 - (anchor_of(c) - 1), 7);
    }
    if (c->unit == QD_CALENDAR_MONTH) {
        number = civil.year * 12 + civil.month - 1;
    } else if (c->unit == QD_CALENDAR_YEAR) {
        number = civil.year;
    }
    return day < period_day(c, number) ? number - 1 : number;
}

static int64_t period_start_s(const struct qd_calendar *c, int64_t number)
{
    return first_instant(c->zone, period_day(c, number) * S_PER_DAY);
}

static struct qd_period day_period(const struct qd_calendar *c, int64_t at_s)
{
    int64_t offset_s = c->zone->transitions[regime_at(c->zone, at_s)].offset_s;
    int64_t number = period_number(c, floor_div(at_s + offset_s, S_PER_DAY));
    int64_t start_s = period_start_s(c, number);
    int64_t end_s = period_start_s(c, number + 1);
    /* Where a clock goes back over midnight, it shows the day before again in the new period; where
     * a day is skipped its period is empty. */
    while (at_s >= end_s) {
        number++;
        start_s = end_s;
        end_s = period_start_s(c, number + 1);
    }
    if (QD_MUTANT(D6)) { /* D6: the offset may differ between now and the period's ends */
        start_s = period_day(c, number) * S_PER_DAY - offset_s;
        end_s = period_day(c, number + 1) * S_PER_DAY - offset_s;
    }
    return (struct qd_period){wall_of(start_s), wall_of(end_s)};
}

/* True if an hour starts at transition `i`: the clock shows a whole hour there, or skips one. */
static bool hour_starts_at(const struct qd_zone *zone, size_t i)
{
    int64_t from_s = zone->transitions[i].from_s;
    int64_t before = from_s + zone->transitions[i - 1].offset_s;
    int64_t after = from_s + zone->transitions[i].offset_s;
    int64_t mark = floor_div(after, S_PER_HOUR) * S_PER_HOUR;
    return mark == after || mark >= before;
}

/* Hours start wherever the zone's clock shows a whole hour: an hour that occurs twice is two
 * periods. */
static struct qd_period hour_period(const struct qd_zone *zone, int64_t at_s)
{
    const struct qd_zone_transition *t = zone->transitions;
    size_t i = regime_at(zone, at_s);
    int64_t start_s;
    size_t r = i;
    int64_t seen_s = at_s; /* the last second of regime r that may have started the hour */
    for (;;) {
        start_s = floor_div(seen_s + t[r].offset_s, S_PER_HOUR) * S_PER_HOUR - t[r].offset_s;
        if (start_s >= t[r].from_s) {
            break;
        }
        if (hour_starts_at(zone, r)) {
            start_s = t[r].from_s;
            break;
        }
        seen_s = t[r].from_s - 1;
        r--;
    }
    int64_t end_s;
    seen_s = at_s;
    for (r = i;; r++) {
        end_s = (floor_div(seen_s + t[r].offset_s, S_PER_HOUR) + 1) * S_PER_HOUR - t[r].offset_s;
        if (r + 1 == zone->count || end_s < t[r + 1].from_s) {
            break;
        }
        if (hour_starts_at(zone, r + 1)) {
            end_s = t[r + 1].from_s;
            break;
        }
        seen_s = t[r + 1].from_s;
    }
    return (struct qd_period){wall_of(start_s), wall_of(end_s)};
}

struct qd_period qd_calendar_period(const struct qd_calendar *calendar, struct qd_wall_ns at)
{
    int64_t at_s = floor_div(at.ns, QD_NS_PER_S);
    if (calendar->unit == QD_CALENDAR_HOUR) {
        return hour_period(calendar->zone, at_s);
    }
    return day_period(calendar, at_s);
}
