/* The rule that closes a zone's file: "CET-1CEST,M3.5.0,M10.5.0/3" (POSIX TZ with RFC 8536's wider
 * hours).
 *
 * Layer:    policy. Threads, memory: values only.
 */
#ifndef QD_POLICY_POSIX_TZ_H
#define QD_POLICY_POSIX_TZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qd_posix_day {
    QD_POSIX_JULIAN,
    QD_POSIX_ZERO_BASED,
    QD_POSIX_MONTH_WEEK_DAY
};

struct qd_posix_rule {
    enum qd_posix_day kind;
    int month;  /* 1..12 */
    int week;   /* 1..5, 5 = the last */
    int day;    /* 0..6 from Sunday, or 1..365, or 0..365 */
    int time_s; /* local, may lie outside of the day */
};

struct qd_posix_tz {
    int32_t std_offset_s; /* east of UTC */
    bool has_dst;
    int32_t dst_offset_s;
    struct qd_posix_rule start; /* of summer time */
    struct qd_posix_rule end;
};

bool qd_posix_tz_parse(const char *text, size_t len, struct qd_posix_tz *ret_tz);

/* UTC second at which summer time starts, or ends, in `year` (1970..2200). */
int64_t qd_posix_tz_start_s(const struct qd_posix_tz *tz, int year);
int64_t qd_posix_tz_end_s(const struct qd_posix_tz *tz, int year);

#endif /* QD_POLICY_POSIX_TZ_H */
