/* Zones from tzdata against the C library (D6). */
#include "server/policy/intern.h"
#include "server/policy/posix_tz.h"
#include "server/policy/tzif.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAST_S INT64_C(4102444800) /* 2100-01-01 */

static int32_t libc_offset(int64_t at_s)
{
    time_t t = (time_t)at_s;
    struct tm tm;
    cr_assert_not_null(localtime_r(&t, &tm));
    return (int32_t)tm.tm_gmtoff;
}

static int32_t offset_at(const struct qd_zone *zone, int64_t at_s)
{
    size_t i = zone->count - 1;
    while (i > 0 && zone->transitions[i].from_s > at_s) {
        i--;
    }
    return zone->transitions[i].offset_s;
}

struct tally {
    size_t zones;
    size_t points;
};

/* Each second before, at and after every transition, and every five days. */
static void check_zone(void *context, const char *name)
{
    struct tally *tally = context;
    const struct qd_zone *zone = qd_intern_zone(name);
    cr_assert_not_null(zone, "%s", name);
    cr_assert_eq(zone->transitions[0].from_s, INT64_MIN);
    setenv("TZ", name, 1);
    tzset();
    for (size_t i = 1; i < zone->count; i++) {
        int64_t from_s = zone->transitions[i].from_s;
        cr_assert_gt(from_s, zone->transitions[i - 1].from_s, "%s", name);
        if (from_s >= LAST_S) {
            break;
        }
        for (int64_t d = -1; d <= 1; d++) {
            int32_t want = libc_offset(from_s + d);
            cr_assert_eq(offset_at(zone, from_s + d), want, "%s at %lld", name,
                         (long long)(from_s + d));
        }
        tally->points += 3;
    }
    for (int64_t at_s = 0; at_s < LAST_S; at_s += 5 * 86400 + 3607) {
        cr_assert_eq(offset_at(zone, at_s), libc_offset(at_s), "%s at %lld", name, (long long)at_s);
        tally->points++;
    }
    tally->zones++;
}

Test(zone, D6_every_zone_agrees_with_the_C_library_from_1970_to_2100, .timeout = 120)
{
    struct tally tally = {0};
    qd_tzif_names(check_zone, &tally);
    cr_expect_gt(tally.zones, 300, "%zu zones", tally.zones);
    printf("%zu zones, %zu points\n", tally.zones, tally.points);
}

/* Summer time below the standard time: what GLib 2.74 gets wrong. */
Test(zone, D6_summer_time_below_standard_time)
{
    const struct qd_zone *zone = qd_intern_zone("Europe/Dublin");
    cr_assert_not_null(zone);
    cr_expect_eq(offset_at(zone, 2172108496), 0);    /* November 2038 */
    cr_expect_eq(offset_at(zone, 2160000000), 3600); /* June 2038 */
}

Test(zone, D6_names_that_are_none)
{
    cr_expect_null(qd_intern_zone(""));
    cr_expect_null(qd_intern_zone("Europe/Nowhere"));
    cr_expect_null(qd_intern_zone("../Europe/Berlin"));
    cr_expect_null(qd_intern_zone("/usr/share/zoneinfo/Europe/Berlin"));
    cr_expect_null(qd_intern_zone("right/Europe/Berlin"));
    cr_expect_null(qd_intern_zone("Europe"));
    cr_expect_null(qd_intern_zone("Europe/Berlin\n"));
    cr_expect_eq(qd_intern_zone("UTC"), &qd_zone_utc);
    cr_expect_eq(qd_intern_zone("Europe/Berlin"), qd_intern_zone("Europe/Berlin"));
}

Test(zone, D6_files_that_are_none)
{
    char bytes[200] = "TZif2";
    cr_expect_null(qd_tzif_parse("X", "", 0));
    cr_expect_null(qd_tzif_parse("X", "TZif1", 5));
    cr_expect_null(qd_tzif_parse("X", bytes, 44));
    cr_expect_null(qd_tzif_parse("X", bytes, sizeof bytes));
    memset(bytes + 5, 0xff, sizeof bytes - 5);
    cr_expect_null(qd_tzif_parse("X", bytes, sizeof bytes));
}

Test(zone, D6_a_file_cut_off_anywhere_is_refused)
{
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    cr_assert_not_null(file);
    static char bytes[8192];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t cut = 0; cut < size; cut++) {
        struct qd_zone *zone = qd_tzif_parse("X", bytes, cut);
        /* Only right behind a newline could it be whole. */
        cr_expect(zone == NULL || bytes[cut - 1] == '\n', "%zu", cut);
        free(zone);
    }
    struct qd_zone *zone = qd_tzif_parse("X", bytes, size);
    cr_expect_not_null(zone);
    free(zone);
}

/* The offset before the first transition counts, too. */
Test(zone, D6_an_offset_of_more_than_26_hours_is_refused)
{
    static const char header[44] = "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                   "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4";
    char bytes[128];
    size_t at = 0;
    for (int version = 1; version <= 2; version++) {
        memcpy(bytes + at, header, sizeof header);
        memcpy(bytes + at + sizeof header, "\0\1\x6d\xa0\0\0XXX", 10); /* +26:00 */
        at += sizeof header + 10;
    }
    memcpy(bytes + at, "\n\n", 2);
    struct qd_zone *zone = qd_tzif_parse("X", bytes, at + 2);
    cr_assert_not_null(zone);
    cr_expect_eq(zone->transitions[0].offset_s, 93600);
    free(zone);
    bytes[at - 10 + 3]++;
    cr_expect_null(qd_tzif_parse("X", bytes, at + 2));
}

Test(zone, D6_closing_rules)
{
    static const char *const good[] = {"UTC0",
                                       "<+05>-5",
                                       "CET-1CEST,M3.5.0,M10.5.0/3",
                                       "IST-1GMT0,M10.5.0,M3.5.0/1",
                                       "EST5EDT,J60,J300/-26:30:10",
                                       "<A-B>5"};
    static const char *const bad[] = {"",
                                      "A-B5",
                                      "CET",
                                      "CE-1",
                                      "<+05-5",
                                      "CET-1CEST",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.0.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CET-1CEST,M3.5.0,M10.5.0/168",
                                      "CET-1CEST,J0,J5",
                                      "CET-1CEST,366,5",
                                      "CET-25",
                                      "CET-1CEST,M3.5.0,M10.5.0x"};
    struct qd_posix_tz tz;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_expect(qd_posix_tz_parse(good[i], strlen(good[i]), &tz), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect_not(qd_posix_tz_parse(bad[i], strlen(bad[i]), &tz), "%s", bad[i]);
    }
}
