/* Numbers as people write them in a policy, read exactly: never through floating point (P7).
 *
 * Layer:    policy. Threads, memory: none of its own.
 */
#ifndef QD_POLICY_AMOUNT_H
#define QD_POLICY_AMOUNT_H

#include "server/core/decimal.h"
#include "server/core/types.h"

/* A number at the start of `text`: digits with single underscores between them, a point, an
 * exponent. Returns its length with the underscores (0: no number), and the value; what comes
 * behind it is not looked at. A leading "-" belongs to it. */
size_t qd_number_scan(const char *text, size_t len, struct qd_decimal *ret_decimal,
                      enum qd_decimal_result *ret_result);

enum qd_amount_problem {
    QD_AMOUNT_OK = 0,
    QD_AMOUNT_BAD, /* not a number */
    QD_AMOUNT_NEGATIVE,
    QD_AMOUNT_FRACTION, /* not a whole number of units */
    QD_AMOUNT_TOO_BIG,  /* above 2^53 units */
    QD_AMOUNT_SUFFIX,   /* an unknown letter behind the number */
};

/* A count: "40k", "1M", "1.5M", "1_000_000", "2G". k, M, G are 10^3, 10^6, 10^9. `scale` (1, 1000,
 * 10^9) is the number of counted units in one written unit. */
enum qd_amount_problem qd_amount_parse(const char *text, size_t len, int64_t scale,
                                       int64_t *ret_amount);

/* Length and unit of a window or a duration: "60s", "10min", "1h", "day", "2 weeks". */
enum qd_span_unit {
    QD_SPAN_MILLISECOND,
    QD_SPAN_SECOND,
    QD_SPAN_MINUTE,
    QD_SPAN_HOUR,
    QD_SPAN_DAY,
    QD_SPAN_WEEK,
    QD_SPAN_MONTH, /* no fixed length */
    QD_SPAN_YEAR,  /* no fixed length */
};

struct qd_span {
    uint32_t count;
    enum qd_span_unit unit;
    bool has_count; /* "min" has none, "1min" has */
};

bool qd_span_parse(const char *text, size_t len, struct qd_span *ret_span);

/* In ns; false for months and years, or above INT64_MAX. */
bool qd_span_ns(const struct qd_span *span, int64_t *ret_ns);

/* "2026-01-01", "2026-01-01T08:30:00Z" or with +02:00, as UTC. */
bool qd_time_parse(const char *text, size_t len, struct qd_wall_ns *ret_time);

#define QD_SPAN_ACCEPTED "s, min, hour, day, week, month, year"

#endif /* QD_POLICY_AMOUNT_H */
