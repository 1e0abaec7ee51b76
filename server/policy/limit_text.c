#include "server/policy/limit_text.h"

#include "server/core/decimal.h"
#include "server/core/policy.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *qd_algorithm_text(enum qd_algorithm algorithm)
{
    switch (algorithm) {
    case QD_TOKEN_BUCKET:
        return "token_bucket";
    case QD_LEAKY_BUCKET:
        return "leaky_bucket";
    case QD_FIXED_WINDOW:
        return "fixed_window";
    case QD_SLIDING_WINDOW:
        return "sliding_window";
    case QD_CALENDAR:
        return "calendar";
    case QD_CONCURRENCY:
        return "concurrency";
    case QD_PER_REQUEST:
        return "per_request";
    case QD_PREPAID:
        return "prepaid";
    }
    return "?";
}

/* Puts commas between the thousands of the whole part. */
static size_t group_thousands(const char *plain, char *out, size_t size)
{
    size_t start = 0;
    while (plain[start] == '-' || plain[start] == '$') {
        start++;
    }
    size_t whole = strspn(plain + start, "0123456789");
    size_t used = 0;
    for (size_t i = 0; plain[i] != '\0' && used + 2 < size; i++) {
        bool in_whole = i > start && i < start + whole;
        if (in_whole && (whole - (i - start)) % 3 == 0) {
            out[used++] = ',';
        }
        out[used++] = plain[i];
    }
    out[used] = '\0';
    return used;
}

size_t qd_limit_amount_text(const struct qd_limit *limit, int64_t amount,
                            char ret_text[QD_LIMIT_TEXT_MAX])
{
    char plain[QD_DECIMAL_TEXT_MAX];
    if (limit->money) {
        (void)qd_money_format_nano(amount, plain);
    } else {
        unsigned digits = limit->unit_scale == 1000 ? 3 : 0;
        (void)qd_decimal_format(amount, digits, plain);
    }
    return group_thousands(plain, ret_text, QD_LIMIT_TEXT_MAX);
}

static void window_text(int64_t window_ns, char *out, size_t size)
{
    static const struct {
        int64_t ns;
        const char *name;
    } units[] = {{7 * QD_NS_PER_DAY, "week"},
                 {QD_NS_PER_DAY, "day"},
                 {QD_NS_PER_HOUR, "hour"},
                 {QD_NS_PER_MINUTE, "min"},
                 {QD_NS_PER_S, "s"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (window_ns % units[i].ns == 0) {
            long long count = (long long)(window_ns / units[i].ns);
            if (count == 1) {
                (void)snprintf(out, size, "%s", units[i].name);
            } else {
                (void)snprintf(out, size, "%lld%s%s", count, units[i].name, i < 3 ? "s" : "");
            }
            return;
        }
    }
    (void)snprintf(out, size, "%lldms", (long long)(window_ns / QD_NS_PER_MS));
}

static const char *calendar_text(enum qd_calendar_unit unit)
{
    static const char *const names[] = {"hour", "day", "week", "month", "year"};
    return names[unit];
}

size_t qd_limit_text(const struct qd_limit *limit, int64_t amount, char ret_text[QD_LIMIT_TEXT_MAX])
{
    char number[QD_LIMIT_TEXT_MAX];
    char window[64] = "";
    (void)qd_limit_amount_text(limit, amount, number);
    int len = 0;
    switch (limit->algorithm) {
    case QD_CALENDAR:
        if (limit->calendar.zone == &qd_zone_utc) {
            len = snprintf(ret_text, QD_LIMIT_TEXT_MAX, "%.120s/%s", number,
                           calendar_text(limit->calendar.unit));
        } else {
            len = snprintf(ret_text, QD_LIMIT_TEXT_MAX, "%.120s/%s (%.64s)", number,
                           calendar_text(limit->calendar.unit), limit->calendar.zone->name);
        }
        break;
    case QD_CONCURRENCY:
        len = snprintf(ret_text, QD_LIMIT_TEXT_MAX, "%.120s at once", number);
        break;
    case QD_PER_REQUEST:
        len = snprintf(ret_text, QD_LIMIT_TEXT_MAX, "%.120s a request", number);
        break;
    case QD_PREPAID:
        len = snprintf(ret_text, QD_LIMIT_TEXT_MAX, "%.120s prepaid", number);
        break;
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET:
    case QD_FIXED_WINDOW:
    case QD_SLIDING_WINDOW:
        window_text(limit->window_ns, window, sizeof window);
        len = snprintf(ret_text, QD_LIMIT_TEXT_MAX, "%.120s/%s", number, window);
        break;
    }
    assert(len > 0 && len < QD_LIMIT_TEXT_MAX);
    return (size_t)len;
}

size_t qd_limit_full_name(const struct qd_limit *limit, struct qd_str tenant, char *buffer,
                          size_t size)
{
    int len;
    if (limit->owner != NULL) {
        len = snprintf(buffer, size, "%s.%s", limit->owner, limit->name);
    } else {
        len = snprintf(buffer, size, "%.*s.%s", (int)tenant.len, tenant.len > 0 ? tenant.ptr : "",
                       limit->name);
    }
    assert(len >= 0);
    return (size_t)len < size ? (size_t)len : size - 1;
}

/* True for the expansion of `tokens`. */
static bool is_tokens(const struct qd_weights *w)
{
    bool all = w->count == 5 && w->den == 1;
    for (size_t i = 0; all && i < w->count; i++) {
        all = w->item[i].num == 1 && w->item[i].meter == QD_METER_INPUT_TOKENS + i;
    }
    return all;
}

/* size/den and a "*": "0.5*"; a fraction where no decimal is exact. */
static void factor_text(int32_t size, int32_t den, char ret_text[QD_DECIMAL_TEXT_MAX + 8])
{
    static const int32_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    for (unsigned digits = 0; digits < sizeof tens / sizeof tens[0]; digits++) {
        if ((int64_t)size * tens[digits] % den == 0) {
            size_t len = qd_decimal_format((int64_t)size * tens[digits] / den, digits, ret_text);
            memcpy(ret_text + len, "*", sizeof "*");
            return;
        }
    }
    (void)snprintf(ret_text, QD_DECIMAL_TEXT_MAX + 8, "%d/%d*", size, den);
}

size_t qd_weights_text(const struct qd_policy *policy, const struct qd_weights *weights,
                       char ret_text[QD_LIMIT_TEXT_MAX])
{
    size_t used = 0;
    ret_text[0] = '\0';
    if (is_tokens(weights)) {
        return (size_t)snprintf(ret_text, QD_LIMIT_TEXT_MAX, "tokens");
    }
    for (size_t i = 0; i < weights->count && used < QD_LIMIT_TEXT_MAX - 1; i++) {
        char factor[QD_DECIMAL_TEXT_MAX + 8] = "";
        int32_t num = weights->item[i].num;
        int32_t size = num < 0 ? -num : num;
        if (size != weights->den) {
            factor_text(size, weights->den, factor);
        }
        const char *sign = num < 0 ? (i > 0 ? " - " : "-") : (i > 0 ? " + " : "");
        int len = snprintf(ret_text + used, QD_LIMIT_TEXT_MAX - used, "%s%s%s", sign, factor,
                           policy->meters[weights->item[i].meter].name);
        used += len > 0 ? (size_t)len : 0;
    }
    return used < QD_LIMIT_TEXT_MAX ? used : QD_LIMIT_TEXT_MAX - 1;
}
