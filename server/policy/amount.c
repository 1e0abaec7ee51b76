#include "server/policy/amount.h"

#include <assert.h>
#include <string.h>

struct cursor {
    const char *at;
    const char *end;
};

static bool is_digit(const struct cursor *c)
{
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

#define NUMBER_MAX 96

struct scan {
    struct cursor c;
    char clean[NUMBER_MAX]; /* without underscores */
    size_t len;
    bool too_long;
};

static void keep(struct scan *s)
{
    if (s->len == NUMBER_MAX) {
        s->too_long = true;
    } else {
        s->clean[s->len++] = *s->c.at;
    }
    s->c.at++;
}

static void keep_digits(struct scan *s)
{
    while (is_digit(&s->c)) {
        keep(s);
        if (s->c.end - s->c.at >= 2 && s->c.at[0] == '_' && s->c.at[1] >= '0' &&
            s->c.at[1] <= '9') {
            s->c.at++;
        }
    }
}

/* An exponent counts only with digits behind it: "1e9", but "1 else" is 1. */
static bool has_exponent(const struct cursor *c)
{
    if (c->end - c->at < 2 || (*c->at != 'e' && *c->at != 'E')) {
        return false;
    }
    struct cursor next = {c->at + 1, c->end};
    if (*next.at == '-' || *next.at == '+') {
        next.at++;
    }
    return is_digit(&next);
}

size_t qd_number_scan(const char *text, size_t len, struct qd_decimal *ret_decimal,
                      enum qd_decimal_result *ret_result)
{
    struct scan s = {.c = {text, text + len}};
    if (len > 0 && *text == '-') {
        keep(&s);
    }
    keep_digits(&s);
    if (s.c.at < s.c.end && *s.c.at == '.') {
        keep(&s);
        keep_digits(&s);
    }
    if (has_exponent(&s.c)) {
        keep(&s);
        if (!is_digit(&s.c)) {
            keep(&s);
        }
        keep_digits(&s);
    }
    *ret_result = s.too_long ? QD_DECIMAL_RANGE
                             : qd_decimal_parse((struct qd_str){s.clean, s.len}, ret_decimal);
    return (size_t)(s.c.at - text);
}

static int exponent_of_suffix(char letter)
{
    switch (letter) {
    case 'k':
    case 'K':
        return 3;
    case 'M':
        return 6;
    case 'G':
        return 9;
    default:
        return -1;
    }
}

enum qd_amount_problem qd_amount_parse(const char *text, size_t len, int64_t scale,
                                       int64_t *ret_amount)
{
    struct qd_decimal d;
    enum qd_decimal_result rc;
    size_t used = qd_number_scan(text, len, &d, &rc);
    if (rc != QD_DECIMAL_OK) {
        return rc == QD_DECIMAL_SYNTAX ? QD_AMOUNT_BAD : QD_AMOUNT_TOO_BIG;
    }
    if (d.negative) {
        return QD_AMOUNT_NEGATIVE;
    }
    int shift = scale == 1000 ? 3 : scale == INT64_C(1000000000) ? 9 : 0;
    assert(shift != 0 || scale == 1);
    if (used < len) {
        int suffix = exponent_of_suffix(text[used]);
        if (suffix < 0 || used + 1 != len) {
            return QD_AMOUNT_SUFFIX;
        }
        shift += suffix;
    }
    int64_t amount;
    rc = qd_decimal_to_int64(&d, (unsigned)shift, &amount);
    if (rc != QD_DECIMAL_OK) {
        return rc == QD_DECIMAL_INEXACT ? QD_AMOUNT_FRACTION : QD_AMOUNT_TOO_BIG;
    }
    if (amount > QD_AMOUNT_MAX) {
        return QD_AMOUNT_TOO_BIG;
    }
    *ret_amount = amount;
    return QD_AMOUNT_OK;
}

static const struct {
    const char *name;
    enum qd_span_unit unit;
} span_units[] = {
    {"ms", QD_SPAN_MILLISECOND}, {"s", QD_SPAN_SECOND},       {"sec", QD_SPAN_SECOND},
    {"second", QD_SPAN_SECOND},  {"seconds", QD_SPAN_SECOND}, {"min", QD_SPAN_MINUTE},
    {"minute", QD_SPAN_MINUTE},  {"minutes", QD_SPAN_MINUTE}, {"h", QD_SPAN_HOUR},
    {"hour", QD_SPAN_HOUR},      {"hours", QD_SPAN_HOUR},     {"d", QD_SPAN_DAY},
    {"day", QD_SPAN_DAY},        {"days", QD_SPAN_DAY},       {"week", QD_SPAN_WEEK},
    {"weeks", QD_SPAN_WEEK},     {"month", QD_SPAN_MONTH},    {"months", QD_SPAN_MONTH},
    {"year", QD_SPAN_YEAR},      {"years", QD_SPAN_YEAR},
};

bool qd_span_parse(const char *text, size_t len, struct qd_span *ret_span)
{
    struct cursor c = {text, text + len};
    uint64_t count = 0;
    bool has_count = is_digit(&c);
    for (; is_digit(&c); c.at++) {
        count = count * 10 + (unsigned)(*c.at - '0');
        if (count > UINT32_MAX) {
            return false;
        }
    }
    if (has_count && c.at < c.end && *c.at == ' ') {
        c.at++;
    }
    size_t left = (size_t)(c.end - c.at);
    for (size_t i = 0; i < sizeof span_units / sizeof span_units[0]; i++) {
        if (strlen(span_units[i].name) == left && memcmp(span_units[i].name, c.at, left) == 0) {
            *ret_span = (struct qd_span){
                .count = has_count ? (uint32_t)count : 1,
                .unit = span_units[i].unit,
                .has_count = has_count,
            };
            return true;
        }
    }
    return false;
}

bool qd_span_ns(const struct qd_span *span, int64_t *ret_ns)
{
    int64_t unit_ns = 0;
    switch (span->unit) {
    case QD_SPAN_MILLISECOND:
        unit_ns = QD_NS_PER_MS;
        break;
    case QD_SPAN_SECOND:
        unit_ns = QD_NS_PER_S;
        break;
    case QD_SPAN_MINUTE:
        unit_ns = QD_NS_PER_MINUTE;
        break;
    case QD_SPAN_HOUR:
        unit_ns = QD_NS_PER_HOUR;
        break;
    case QD_SPAN_DAY:
        unit_ns = QD_NS_PER_DAY;
        break;
    case QD_SPAN_WEEK:
        unit_ns = 7 * QD_NS_PER_DAY;
        break;
    case QD_SPAN_MONTH:
    case QD_SPAN_YEAR:
        return false;
    }
    return !__builtin_mul_overflow(unit_ns, (int64_t)span->count, ret_ns);
}

/* Days from 1970-01-01 to a civil date of the Gregorian calendar. */
static int64_t days_from_civil(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = y / 400; /* y >= 0 here */
    int of_era = y - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int of_era_days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    return (int64_t)era * 146097 + of_era_days - 719468;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Reads exactly `count` digits. */
static bool read_fixed(struct cursor *c, int count, int *ret_value)
{
    int value = 0;
    for (int i = 0; i < count; i++, c->at++) {
        if (!is_digit(c)) {
            return false;
        }
        value = value * 10 + (*c->at - '0');
    }
    *ret_value = value;
    return true;
}

static bool read_char(struct cursor *c, char wanted)
{
    if (c->at < c->end && *c->at == wanted) {
        c->at++;
        return true;
    }
    return false;
}

/* "Z", "+02:00" or "-05:30" as seconds east of UTC. */
static bool read_zone(struct cursor *c, int *ret_offset_s)
{
    if (read_char(c, 'Z')) {
        *ret_offset_s = 0;
        return true;
    }
    int sign = read_char(c, '+') ? 1 : read_char(c, '-') ? -1 : 0;
    int hours;
    int minutes;
    if (sign == 0 || !read_fixed(c, 2, &hours) || !read_char(c, ':') ||
        !read_fixed(c, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *ret_offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool qd_time_parse(const char *text, size_t len, struct qd_wall_ns *ret_time)
{
    struct cursor c = {text, text + len};
    int year;
    int month;
    int day;
    int hour = 0;
    int minute = 0;
    int second = 0;
    int offset_s = 0;
    if (!read_fixed(&c, 4, &year) || !read_char(&c, '-') || !read_fixed(&c, 2, &month) ||
        !read_char(&c, '-') || !read_fixed(&c, 2, &day) || year < 1970 || year > 2200 ||
        month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) {
        return false;
    }
    if (c.at < c.end) {
        if ((!read_char(&c, 'T') && !read_char(&c, ' ')) || !read_fixed(&c, 2, &hour) ||
            !read_char(&c, ':') || !read_fixed(&c, 2, &minute) || !read_char(&c, ':') ||
            !read_fixed(&c, 2, &second) || !read_zone(&c, &offset_s) || c.at != c.end ||
            hour > 23 || minute > 59 || second > 59) {
            return false;
        }
    }
    int64_t s = days_from_civil(year, month, day) * 86400 + INT64_C(3600) * hour +
                INT64_C(60) * minute + second;
    ret_time->ns = (s - offset_s) * QD_NS_PER_S;
    return true;
}
