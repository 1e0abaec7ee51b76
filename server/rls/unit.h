/* The units of a rate limit, as envoy.service.ratelimit.v3 numbers them.
 *
 * Layer:    rls
 * Units:    whole seconds; windows are aligned to the Unix epoch (point 7).
 * Threads:  values only. Memory: none.
 */
#ifndef QD_RLS_UNIT_H
#define QD_RLS_UNIT_H

#include "server/core/types.h"

/* RateLimitResponse.RateLimit.Unit: note the order. */
enum qd_rls_unit {
    QD_RLS_UNIT_UNKNOWN = 0,
    QD_RLS_UNIT_SECOND = 1,
    QD_RLS_UNIT_MINUTE = 2,
    QD_RLS_UNIT_HOUR = 3,
    QD_RLS_UNIT_DAY = 4,
    QD_RLS_UNIT_MONTH = 5,
    QD_RLS_UNIT_YEAR = 6,
    QD_RLS_UNIT_WEEK = 7,
};

#define QD_RLS_UNIT_MAX 7

/* The unit of a name in any letter case ("minute", "MINUTE"); UNKNOWN if there is none. */
enum qd_rls_unit qd_rls_unit_parse(struct qd_str name);

/* "second" ... "week"; "unknown" for anything else: numbers come off the wire. */
const char *qd_rls_unit_name(int unit);

/* The length in seconds: a month has 30 days, a year 365. 0 for anything that is no unit. */
int64_t qd_rls_unit_seconds(int unit);

#endif /* QD_RLS_UNIT_H */
