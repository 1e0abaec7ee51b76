#include "server/policy/posix_tz.h"

struct cursor {
    const char *at;
    const char *end;
};

static bool is_digit(const struct cursor *c)
{
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

static bool accept(struct cursor *c, char wanted)
{
    if (c->at < c->end && *c->at == wanted) {
        c->at++;
        return true;
    }
    return false;
}

static bool read_int(struct cursor *c, int max, int *ret_value)
{
    int value = 0;
    if (!is_digit(c)) {
        return false;
    }
    for (; is_digit(c); c->at++) {
        value = value * 10 + (*c->at - '0');
        if (value > max) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

/* "CET" or "<+03>". */
static bool skip_name(struct cursor *c)
{
    const char *start = c->at;
    if (accept(c, '<')) {
        while (c->at < c->end && *c->at != '>') {
            c->at++;
        }
        return accept(c, '>');
    }
    while (c->at < c->end &&
           ((*c->at >= 'A' && *c->at <= 'Z') || (*c->at >= 'a' && *c->at <= 'z'))) {
        c->at++;
    }
    return c->at - start >= 3;
}

/* "[+-]hh[:mm[:ss]]" in seconds. */
static bool read_time(struct cursor *c, int hours_max, int *ret_s)
{
    int sign = accept(c, '-') ? -1 : 1;
    if (sign > 0) {
        (void)accept(c, '+');
    }
    int h;
    int m = 0;
    int s = 0;
    if (!read_int(c, hours_max, &h)) {
        return false;
    }
    if (accept(c, ':')) {
        if (!read_int(c, 59, &m) || (accept(c, ':') && !read_int(c, 59, &s))) {
            return false;
        }
    }
    *ret_s = sign * (h * 3600 + m * 60 + s);
    return true;
}

static bool read_rule(struct cursor *c, struct qd_posix_rule *r)
{
    if (!accept(c, ',')) {
        return false;
    }
    r->time_s = 2 * 3600;
    if (accept(c, 'M')) {
        r->kind = QD_POSIX_MONTH_WEEK_DAY;
        if (!read_int(c, 12, &r->month) || !accept(c, '.') || !read_int(c, 5, &r->week) ||
            !accept(c, '.') || !read_int(c, 6, &r->day) || r->month < 1 || r->week < 1) {
            return false;
        }
    } else {
        r->kind = accept(c, 'J') ? QD_POSIX_JULIAN : QD_POSIX_ZERO_BASED;
        if (!read_int(c, 365, &r->day) || (r->kind == QD_POSIX_JULIAN && r->day < 1)) {
            return false;
        }
    }
    return !accept(c, '/') || read_time(c, 167, &r->time_s);
}

bool qd_posix_tz_parse(const char *text, size_t len, struct qd_posix_tz *ret_tz)
{
    struct cursor c = {text, text + len};
    struct qd_posix_tz tz = {0};
    int west_s;
    if (!skip_name(&c) || !read_time(&c, 24, &west_s)) {
        return false;
    }
    tz.std_offset_s = -west_s;
    if (c.at < c.end) {
        tz.has_dst = true;
        tz.dst_offset_s = tz.std_offset_s + 3600;
        if (!skip_name(&c)) {
            return false;
        }
        if (c.at < c.end && *c.at != ',') {
            if (!read_time(&c, 24, &west_s)) {
                return false;
            }
            tz.dst_offset_s = -west_s;
        }
        if (!read_rule(&c, &tz.start) || !read_rule(&c, &tz.end) || c.at != c.end) {
            return false;
        }
    }
    *ret_tz = tz;
    return true;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 to January 1st of `year` >= 1970. */
static int64_t days_to_year(int year)
{
    int y = year - 1;
    return (int64_t)365 * (year - 1970) + (y / 4 - 1969 / 4) - (y / 100 - 1969 / 100) +
           (y / 400 - 1969 / 400);
}

static int month_start(int year, int month)
{
    static const int starts[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    return starts[month - 1] + (month > 2 && is_leap(year));
}

/* Day of the year, from 0, that the rule names. */
static int day_of_year(const struct qd_posix_rule *r, int year, int64_t year_days)
{
    if (r->kind == QD_POSIX_ZERO_BASED) {
        return r->day;
    }
    if (r->kind == QD_POSIX_JULIAN) {
        return r->day - 1 + (r->day >= 60 && is_leap(year));
    }
    int first = month_start(year, r->month);
    int length = r->month == 12 ? 31 : month_start(year, r->month + 1) - first;
    int weekday = (int)((year_days + first + 4) % 7); /* 1970-01-01 was a Thursday; 0 = Sunday */
    int day = (r->day - weekday + 7) % 7 + 7 * (r->week - 1);
    while (day >= length) {
        day -= 7;
    }
    return first + day;
}

static int64_t at_s(const struct qd_posix_rule *r, int year, int32_t offset_s)
{
    int64_t year_days = days_to_year(year);
    return (year_days + day_of_year(r, year, year_days)) * 86400 + r->time_s - offset_s;
}

int64_t qd_posix_tz_start_s(const struct qd_posix_tz *tz, int year)
{
    return at_s(&tz->start, year, tz->std_offset_s);
}

int64_t qd_posix_tz_end_s(const struct qd_posix_tz *tz, int year)
{
    return at_s(&tz->end, year, tz->dst_offset_s);
}
