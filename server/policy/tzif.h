/* A time zone's transitions from the system's tzdata (D6).
 *
 * Layer:    policy (reads files)
 * Threads:  any; no state.
 * Memory:   the zone is one block from malloc.
 *
 * Reads the compiled file (RFC 8536) and writes out its closing rule up to the year 2100, so that
 * the core needs neither files nor rules. (Checked against the C library for every zone. Not GLib's
 * GTimeZone: 2.74 applies no closing rule whose summer time lies below the standard time, as
 * Dublin's does.)
 */
#ifndef QD_POLICY_TZIF_H
#define QD_POLICY_TZIF_H

#include "server/core/zone.h"

/* Transitions from 1970 on; local times after 2100 keep the last offset. */
#define QD_ZONE_LAST_YEAR 2100

/* The zone of an IANA name, looked up in $TZDIR or /usr/share/zoneinfo. NULL: not a zone's name, no
 * such file, not such a file, or no memory. Free it with free(). */
struct qd_zone *qd_tzif_load(const char *name);

/* Calls `each` with every name in the system's zone.tab, and UTC. */
void qd_tzif_names(void (*each)(void *context, const char *name), void *context);

/* The same from the bytes of a file, for tests and fuzzing. */
struct qd_zone *qd_tzif_parse(const char *name, const void *bytes, size_t size);

#endif /* QD_POLICY_TZIF_H */
