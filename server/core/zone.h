/* A time zone as a table of transitions, and the civil calendar in it (D6).
 *
 * Layer:    core (pure). The table is made outside (server/policy/zone.c, from the system's
 * tzdata). Units:    wall ns outside, whole seconds in the table. Threads:  immutable after
 * construction. Memory:   the table belongs to whoever built it and outlives every policy that
 * names it.
 */
#ifndef QD_CORE_ZONE_H
#define QD_CORE_ZONE_H

#include "types.h"

struct qd_zone_transition {
    int64_t from_s;   /* First UTC second at which the offset holds. */
    int32_t offset_s; /* Local time minus UTC. */
};

/* Invariants: count >= 1; transitions[0].from_s == INT64_MIN; from_s strictly ascending. */
struct qd_zone {
    const char *name; /* IANA name, "UTC" for the built-in. */
    const struct qd_zone_transition *transitions;
    size_t count;
};

extern const struct qd_zone qd_zone_utc;

enum qd_calendar_unit {
    QD_CALENDAR_HOUR,
    QD_CALENDAR_DAY,
    QD_CALENDAR_WEEK,
    QD_CALENDAR_MONTH,
    QD_CALENDAR_YEAR,
};

/* Which periods a calendar limit has.
 * anchor: WEEK 1..7 (1 = Monday, the default); MONTH 1..31 (the day on which the period starts; a
 * month that is too short starts on its last day); YEAR: month*100 + day (0101 the default). */
struct qd_calendar {
    enum qd_calendar_unit unit;
    uint16_t anchor;
    const struct qd_zone *zone;
};

/* A half-open period [start, end). */
struct qd_period {
    struct qd_wall_ns start;
    struct qd_wall_ns end;
};

/* UTC offset in force at `at`. */
int32_t qd_zone_offset_s(const struct qd_zone *zone, struct qd_wall_ns at);

/* The period of `calendar` that contains `at`. A local midnight that a DST change skips starts at
 * the first instant after the gap; one that occurs twice starts at the first occurrence. Hours
 * start wherever the zone's clock shows a whole hour, or at the instant that jumps over one: an
 * hour that occurs twice is two periods. Periods tile: each one's end is the next one's start.
 * Times that ns cannot hold are clamped to INT64_MIN and QD_WALL_NEVER. */
struct qd_period qd_calendar_period(const struct qd_calendar *calendar, struct qd_wall_ns at);

#endif /* QD_CORE_ZONE_H */
