/* The rule that closes a zone's file, against timegm and gmtime: what is accepted names, in every
 * year, the day that a walk over the days finds. */
#include "server/policy/posix_tz.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <time.h>

#define FIRST_YEAR 1970
#define LAST_YEAR  2200
#define STEP_YEARS 7 /* prime to the calendar's cycles of 4, 28, 100 and 400 years but for 28 */

static time_t day_start(int year, int month, int day)
{
    struct tm parts = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};

    return timegm(&parts);
}

static struct tm parts_of(time_t at)
{
    struct tm parts;

    assert(gmtime_r(&at, &parts) != NULL);
    return parts;
}

/* Midnight of the rule's day, as if UTC were local. */
static time_t walk(const struct qd_posix_rule *r, int year)
{
    if (r->kind == QD_POSIX_ZERO_BASED) {
        return day_start(year, 1, 1 + r->day);
    }
    if (r->kind == QD_POSIX_JULIAN) { /* February 29 is never counted */
        struct tm parts = parts_of(day_start(1971, 1, r->day));
        return day_start(year, parts.tm_mon + 1, parts.tm_mday);
    }
    time_t found = -1;
    int matches = 0;
    for (int day = 1; day <= 31; day++) {
        time_t at = day_start(year, r->month, day);
        struct tm parts = parts_of(at);
        if (parts.tm_mon == r->month - 1 && parts.tm_wday == r->day && matches < r->week) {
            found = at; /* week 5: the last one that there is */
            matches++;
        }
    }
    assert(matches > 0);
    return found;
}

static void check_year(const struct qd_posix_tz *tz, int year)
{
    assert(qd_posix_tz_start_s(tz, year) ==
           walk(&tz->start, year) + tz->start.time_s - tz->std_offset_s);
    assert(qd_posix_tz_end_s(tz, year) == walk(&tz->end, year) + tz->end.time_s - tz->dst_offset_s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_posix_tz tz;

    if (!qd_posix_tz_parse((const char *)data, size, &tz)) {
        return 0;
    }
    assert(tz.std_offset_s > -25 * 3600 && tz.std_offset_s < 25 * 3600);
    assert(!tz.has_dst || (tz.dst_offset_s > -26 * 3600 && tz.dst_offset_s < 26 * 3600));
    for (int year = FIRST_YEAR; tz.has_dst && year <= LAST_YEAR; year += STEP_YEARS) {
        check_year(&tz, year);
    }
    return 0;
}
