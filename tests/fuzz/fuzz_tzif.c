/* A zone's file: what is accepted keeps the invariants of server/core/zone.h, with offsets of at
 * most 26 hours, and its calendar's periods hold the time that they were asked for. */
#include "server/policy/tzif.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>

#define OFFSET_MAX_S (26 * 3600)

static void check_periods(const struct qd_zone *zone, struct qd_wall_ns at)
{
    for (int unit = QD_CALENDAR_HOUR; unit <= QD_CALENDAR_YEAR; unit++) {
        struct qd_calendar calendar = {.unit = (enum qd_calendar_unit)unit, .zone = zone};
        calendar.anchor = unit == QD_CALENDAR_WEEK    ? 1
                          : unit == QD_CALENDAR_MONTH ? 31
                          : unit == QD_CALENDAR_YEAR  ? 101
                                                      : 0;
        struct qd_period period = qd_calendar_period(&calendar, at);
        assert(period.start.ns <= at.ns && at.ns < period.end.ns);
    }
}

static void check_zone(const struct qd_zone *zone)
{
    static const int64_t times_s[] = {0, INT64_C(1764000000), INT64_C(4102444800)};

    assert(zone->count >= 1 && zone->transitions[0].from_s == INT64_MIN);
    for (size_t i = 0; i < zone->count; i++) {
        const struct qd_zone_transition *t = &zone->transitions[i];
        assert(t->offset_s >= -OFFSET_MAX_S && t->offset_s <= OFFSET_MAX_S);
        assert(i == 0 || (t->from_s >= 0 && t->from_s > t[-1].from_s));
        assert(i == 0 || t->offset_s != t[-1].offset_s);
    }
    for (size_t i = 0; i < sizeof(times_s) / sizeof(times_s[0]); i++) {
        check_periods(zone, (struct qd_wall_ns){times_s[i] * QD_NS_PER_S});
    }
    if (zone->count > 1 && zone->transitions[1].from_s < times_s[2]) {
        struct qd_wall_ns at = {zone->transitions[1].from_s * QD_NS_PER_S};
        check_periods(zone, at);
        check_periods(zone, (struct qd_wall_ns){at.ns - 1});
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_zone *zone = qd_tzif_parse("Fuzz/Zone", data, size);

    if (zone != NULL) {
        check_zone(zone);
    }
    free(zone);
    return 0;
}
