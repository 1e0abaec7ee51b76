/* Values as people write them. */
#include "client/ctl/ctl.h"
#include "client/ctl/show.h"
#include "client/ctl/text.h"

#include "server/policy/amount.h"
#include "server/policy/suggest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *amount_problem(enum qd_amount_problem problem)
{
    switch (problem) {
    case QD_AMOUNT_NEGATIVE:
        return "negative";
    case QD_AMOUNT_FRACTION:
        return "not a whole number";
    case QD_AMOUNT_TOO_BIG:
        return "above 2^53";
    case QD_AMOUNT_SUFFIX:
        return "an unknown suffix";
    case QD_AMOUNT_OK:
    case QD_AMOUNT_BAD:
        break;
    }
    return "not a number";
}

bool ctl_read_count(struct ctl *ctl, const char *option, const char *text, int64_t min, int64_t max,
                    int64_t *ret)
{
    int64_t value = 0;
    enum qd_amount_problem problem = qd_amount_parse(text, strlen(text), 1, &value);
    if (problem != QD_AMOUNT_OK) {
        (void)ctl_fail(ctl, "%s \"%s\" is %s; accepted: %" PRId64 " to %" PRId64, option, text,
                       amount_problem(problem), min, max);
        return false;
    }
    if (value < min || value > max) {
        (void)ctl_fail(ctl, "%s is %" PRId64 "; accepted: %" PRId64 " to %" PRId64, option, value,
                       min, max);
        return false;
    }
    *ret = value;
    return true;
}

bool ctl_read_rows(struct ctl *ctl, const struct ctl_args *args, uint32_t *ret_rows)
{
    const char *text = ctl_arg(args, "count");
    int64_t rows = 100;
    if (text != NULL && !ctl_read_count(ctl, "--count", text, 1, 1000, &rows)) {
        return false;
    }
    *ret_rows = (uint32_t)rows;
    return true;
}

static bool read_span(const char *text, int64_t *ret_ns)
{
    struct qd_span span;
    return qd_span_parse(text, strlen(text), &span) && qd_span_ns(&span, ret_ns) && *ret_ns > 0;
}

bool ctl_read_span(struct ctl *ctl, const char *option, const char *text, int64_t *ret_ns)
{
    if (read_span(text, ret_ns)) {
        return true;
    }
    (void)ctl_fail(ctl, "%s \"%s\" is not a length of time; accepted: 500ms, 90s, 5min, 1h, 7day",
                   option, text);
    return false;
}

/* Unix time of a civil time in a zone, by the system's tables. */
static bool in_zone(const char *text, const char *zone, int64_t *ret_unix_ns)
{
    struct tm parts = {.tm_isdst = -1};
    const char *end = strptime(text, "%Y-%m-%d", &parts);
    if (end != NULL && (*end == 'T' || *end == ' ')) {
        const char *clock = end + 1;
        end = strptime(clock, "%H:%M:%S", &parts);
        if (end == NULL) {
            parts.tm_sec = 0;
            end = strptime(clock, "%H:%M", &parts);
        }
    }
    if (end == NULL || *end != '\0') {
        return false;
    }
    const char *old = getenv("TZ");
    char *kept = old != NULL ? strdup(old) : NULL;
    (void)setenv("TZ", zone, 1);
    tzset();
    time_t at = mktime(&parts);
    if (kept != NULL) {
        (void)setenv("TZ", kept, 1);
    } else {
        (void)unsetenv("TZ");
    }
    tzset();
    free(kept);
    *ret_unix_ns = (int64_t)at * 1000000000;
    return true;
}

/* A date, or a date and a time. */
static bool read_date(const char *text, const char *zone, int64_t *ret_unix_ns)
{
    struct qd_wall_ns utc;
    if (in_zone(text, zone != NULL ? zone : "UTC", ret_unix_ns)) {
        return true;
    }
    if (!qd_time_parse(text, strlen(text), &utc)) {
        return false;
    }
    *ret_unix_ns = utc.ns;
    return true;
}

bool ctl_read_time(struct ctl *ctl, const char *option, const char *text, const char *zone,
                   int64_t *ret_unix_ns)
{
    int64_t ago = 0;
    if (read_date(text, zone, ret_unix_ns)) {
        return true;
    }
    if (read_span(text, &ago)) {
        *ret_unix_ns = ctl_now_unix_ns() - ago;
        return true;
    }
    (void)ctl_fail(ctl,
                   "%s \"%s\" is not a time; accepted: 2026-11-01, 2026-11-01T08:30, "
                   "2026-11-01T08:30:00Z, or 24h (ago)",
                   option, text);
    return false;
}

bool ctl_read_end(struct ctl *ctl, const char *option, const char *text, int64_t *ret_unix_ns)
{
    int64_t now = ctl_now_unix_ns();
    int64_t length = 0;
    int64_t end = 0;
    if (!read_date(text, NULL, &end) &&
        (!read_span(text, &length) || __builtin_add_overflow(now, length, &end))) {
        (void)ctl_fail(ctl,
                       "%s \"%s\" is not a time; accepted: 2026-11-01, 2026-11-01T08:30, "
                       "2026-11-01T08:30:00Z, or 24h (from now)",
                       option, text);
        return false;
    }
    if (end <= now) {
        (void)ctl_fail(
            ctl,
            "%s \"%s\" is in the past: it is %s; accepted is a time to come, or a length "
            "from now, such as 24h",
            option, text, ctl_time_text(now, NULL).text);
        return false;
    }
    *ret_unix_ns = end;
    return true;
}

bool ctl_check_range(struct ctl *ctl, int64_t from_unix_ns, int64_t to_unix_ns, const char *zone)
{
    if (from_unix_ns == 0 || to_unix_ns == 0 || from_unix_ns < to_unix_ns) {
        return true;
    }
    (void)ctl_fail(ctl, "--since %s is not before --until %s; --until is exclusive",
                   ctl_time_text(from_unix_ns, zone).text, ctl_time_text(to_unix_ns, zone).text);
    return false;
}

bool ctl_read_use(struct ctl *ctl, const char *option, const char *text,
                  char ret_meter[CTL_METER_MAX], int64_t *ret_amount)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || equals - text >= CTL_METER_MAX) {
        (void)ctl_fail(ctl, "%s \"%s\": accepted is METER=AMOUNT, e.g. %s input_tokens=1200",
                       option, text, option);
        return false;
    }
    (void)snprintf(ret_meter, CTL_METER_MAX, "%.*s", (int)(equals - text), text);
    int64_t scale = 1;
    /* GPU time is written in seconds; the wire has milliseconds. */
    if (strcmp(ret_meter, "gpu_seconds") == 0 || strcmp(ret_meter, "gpu_s") == 0) {
        (void)snprintf(ret_meter, CTL_METER_MAX, "gpu_ms");
        scale = 1000;
    }
    const char *amount = equals + 1;
    enum qd_amount_problem problem = qd_amount_parse(amount, strlen(amount), scale, ret_amount);
    if (problem != QD_AMOUNT_OK) {
        bool thousandths = scale == 1000 && problem == QD_AMOUNT_FRACTION;
        (void)ctl_fail(ctl, "%s %s: \"%s\" is %s; accepted: %s", option, text, amount,
                       thousandths ? "finer than 0.001 s" : amount_problem(problem),
                       scale == 1000 ? "seconds from 0 to 2^53 ms, to the thousandth, as 1.5"
                                     : "a whole number from 0 to 2^53, also as 40k or 1.5M");
        return false;
    }
    return true;
}

bool ctl_read_pair(struct ctl *ctl, const char *option, const char *text, struct ctl_pair *ret)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof ret->key ||
        strlen(equals + 1) >= sizeof ret->value) {
        (void)ctl_fail(ctl, "%s \"%s\": accepted is KEY=VALUE", option, text);
        return false;
    }
    (void)snprintf(ret->key, sizeof ret->key, "%.*s", (int)(equals - text), text);
    (void)snprintf(ret->value, sizeof ret->value, "%s", equals + 1);
    return true;
}

int ctl_read_word(struct ctl *ctl, const char *option, const char *text, const char *const words[])
{
    struct qd_suggest suggest;
    char list[512] = "";
    qd_suggest_init(&suggest, text);
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            return i;
        }
        qd_suggest_offer(&suggest, words[i]);
        size_t length = strlen(list);
        (void)snprintf(list + length, sizeof list - length, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    if (suggest.best != NULL) {
        (void)ctl_fail(ctl, "%s \"%s\": did you mean \"%s\"? accepted: %s", option, text,
                       suggest.best, list);
    } else {
        (void)ctl_fail(ctl, "%s \"%s\": accepted: %s", option, text, list);
    }
    return -1;
}
