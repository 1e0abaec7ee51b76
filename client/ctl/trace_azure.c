/* Azure LLM inference traces: CSV. */
#include "client/ctl/trace.h"

#include <stdio.h>
#include <string.h>

static const char head[] = "TIMESTAMP,ContextTokens,GeneratedTokens";

bool ctl_trace_azure_head(const char *line, size_t length)
{
    return length == sizeof head - 1 && memcmp(line, head, length) == 0;
}

/* A cursor over one line. */
struct cursor {
    const char *at;
    const char *end;
};

/* `count` digits exactly. */
static bool digits(struct cursor *c, int count, int64_t *ret)
{
    int64_t value = 0;
    for (int i = 0; i < count; i++) {
        if (c->at == c->end || *c->at < '0' || *c->at > '9') {
            return false;
        }
        value = value * 10 + (*c->at++ - '0');
    }
    *ret = value;
    return true;
}

static bool literal(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted) {
        return false;
    }
    c->at++;
    return true;
}

/* 1 to 9 digits behind the point, as ns. */
static bool fraction(struct cursor *c, int64_t *ret_ns)
{
    int64_t value = 0;
    int count = 0;
    for (; c->at != c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (count++ == 9) {
            return false;
        }
        value = value * 10 + (*c->at - '0');
    }
    for (int i = count; i < 9; i++) {
        value *= 10;
    }
    *ret_ns = value;
    return count > 0;
}

/* Days since 1970-01-01 in the Gregorian calendar. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2 ? 1 : 0;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static bool date_exists(int64_t year, int64_t month, int64_t day)
{
    static const int64_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1970 || year > 2199 || month < 1 || month > 12 || day < 1) {
        return false;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && leap ? 1 : 0);
}

static bool timestamp(struct cursor *c, int64_t *ret_ns)
{
    int64_t year, month, day, hour, minute, second, ns = 0;
    if (!digits(c, 4, &year) || !literal(c, '-') || !digits(c, 2, &month) || !literal(c, '-') ||
        !digits(c, 2, &day) || !date_exists(year, month, day)) {
        return false;
    }
    if (!literal(c, ' ') && !literal(c, 'T')) {
        return false;
    }
    if (!digits(c, 2, &hour) || !literal(c, ':') || !digits(c, 2, &minute) || !literal(c, ':') ||
        !digits(c, 2, &second) || hour > 23 || minute > 59 || second > 59) {
        return false;
    }
    if (literal(c, '.') && !fraction(c, &ns)) {
        return false;
    }
    if (c->end - c->at >= 6 && memcmp(c->at, "+00:00", 6) == 0) {
        c->at += 6;
    } else if (c->at != c->end && *c->at == 'Z') {
        c->at++;
    }
    int64_t s = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *ret_ns = s * 1000000000 + ns;
    return true;
}

static bool tokens(struct cursor *c, int64_t *ret)
{
    int64_t value = 0;
    const char *begin = c->at;
    for (; c->at != c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        value = value * 10 + (*c->at - '0');
        if (value > CTL_TRACE_TOKENS_MAX) {
            return false;
        }
    }
    *ret = value;
    return c->at != begin;
}

bool ctl_trace_azure_line(const char *line, size_t length, struct ctl_trace_row *ret, char *ret_why,
                          size_t why_size)
{
    struct cursor c = {line, line + length};
    struct ctl_trace_row row = {.at_ns = 0};
    if (!timestamp(&c, &row.at_ns) || !literal(&c, ',')) {
        (void)snprintf(ret_why, why_size,
                       "TIMESTAMP is not a time; accepted: 2023-11-16 18:15:46.6805900");
        return false;
    }
    if (!tokens(&c, &row.input) || !literal(&c, ',')) {
        (void)snprintf(ret_why, why_size,
                       "ContextTokens is not a number of tokens; accepted: 0 to 2^40");
        return false;
    }
    if (!tokens(&c, &row.output)) {
        (void)snprintf(ret_why, why_size,
                       "GeneratedTokens is not a number of tokens; accepted: 0 to 2^40");
        return false;
    }
    if (c.at != c.end) {
        (void)snprintf(ret_why, why_size, "more than three columns; accepted: %s", head);
        return false;
    }
    *ret = row;
    return true;
}
