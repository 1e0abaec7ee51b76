#include "server/shard/describe.h"

#include "server/core/decimal.h"
#include "server/shard/bind.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void qd_text_init(struct qd_text *text, char *buffer, size_t size)
{
    text->at = buffer;
    text->used = 0;
    text->room = size - 1;
    buffer[0] = '\0';
}

void qd_text_add_str(struct qd_text *text, struct qd_str more)
{
    size_t fits = text->room - text->used;

    if (more.len < fits) {
        fits = more.len;
    }
    if (fits > 0) {
        memcpy(text->at + text->used, more.ptr, fits);
        text->used += fits;
    }
    text->at[text->used] = '\0';
}

void qd_text_add(struct qd_text *text, const char *more)
{
    qd_text_add_str(text, (struct qd_str){more, strlen(more)});
}

void qd_text_addf(struct qd_text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(text->at + text->used, text->room - text->used + 1, format, args);
    va_end(args);
    if (len > 0) {
        size_t fits = text->room - text->used;
        text->used += (size_t)len < fits ? (size_t)len : fits;
    }
}

/* Digits, in groups of three if `comma`. No printf: a denial is a common answer. */
static void add_digits(struct qd_text *text, int64_t value, bool comma)
{
    char digits[32];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t out = sizeof(digits);

    for (size_t i = 0; i == 0 || magnitude != 0; i++) {
        if (comma && i > 0 && i % 3 == 0) {
            digits[--out] = ',';
        }
        digits[--out] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    }
    if (value < 0) {
        digits[--out] = '-';
    }
    qd_text_add_str(text, (struct qd_str){digits + out, sizeof(digits) - out});
}

static void add_grouped(struct qd_text *text, int64_t value)
{
    add_digits(text, value, true);
}

void qd_text_add_int(struct qd_text *text, int64_t value)
{
    add_digits(text, value, false);
}

/* GPU time is counted in ms and shown in seconds. */
static bool in_gpu_seconds(const struct qd_limit *limit)
{
    return !limit->money && limit->unit != NULL && strcmp(limit->unit, "GPU-s") == 0;
}

void qd_describe_amount(struct qd_text *text, const struct qd_limit *limit, int64_t amount)
{
    char money[QD_DECIMAL_TEXT_MAX];

    if (limit->money) {
        (void)qd_money_format_nano(amount, money);
        qd_text_add(text, money);
    } else if (in_gpu_seconds(limit)) {
        (void)qd_decimal_format(amount, 3, money);
        qd_text_addf(text, "%s GPU-s", money);
    } else {
        add_grouped(text, amount);
    }
}

struct span {
    int64_t ns;
    const char *name;
};

static void add_window(struct qd_text *text, int64_t window_ns)
{
    static const struct span spans[] = {{365 * QD_NS_PER_DAY, "year"}, {7 * QD_NS_PER_DAY, "week"},
                                        {QD_NS_PER_DAY, "day"},        {QD_NS_PER_HOUR, "hour"},
                                        {QD_NS_PER_MINUTE, "min"},     {QD_NS_PER_S, "s"}};

    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
        if (window_ns % spans[i].ns == 0) {
            int64_t n = window_ns / spans[i].ns;
            if (n == 1) {
                qd_text_add(text, "/");
                qd_text_add(text, spans[i].name);
            } else {
                qd_text_addf(text, "/%" PRId64 " %s", n, spans[i].name);
            }
            return;
        }
    }
    qd_text_addf(text, "/%" PRId64 " ms", window_ns / QD_NS_PER_MS);
}

static void add_calendar(struct qd_text *text, const struct qd_calendar *calendar)
{
    static const char *const names[] = {"hour", "day", "week", "month", "year"};

    qd_text_add(text, "/");
    qd_text_add(text, names[calendar->unit]);
    if (calendar->zone != NULL && strcmp(calendar->zone->name, "UTC") != 0) {
        qd_text_addf(text, " (%s)", calendar->zone->name);
    }
}

void qd_describe_size(struct qd_text *text, const struct qd_limit *limit, int64_t amount)
{
    qd_describe_amount(text, limit, amount);
    switch (limit->algorithm) {
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET:
    case QD_FIXED_WINDOW:
    case QD_SLIDING_WINDOW:
        add_window(text, limit->window_ns);
        break;
    case QD_CALENDAR:
        add_calendar(text, &limit->calendar);
        break;
    case QD_PER_REQUEST:
        qd_text_add(text, "/request");
        break;
    case QD_PREPAID:
        qd_text_add(text, " granted");
        break;
    case QD_CONCURRENCY:
        break;
    }
}

void qd_describe_name(struct qd_text *text, const struct qd_limit_state *state)
{
    struct qd_str keys;

    if (state->limit->owner != NULL) {
        qd_text_add(text, state->limit->owner);
    } else {
        qd_text_add_str(text, qd_name_tenant(state->name, &keys));
    }
    qd_text_add(text, ".");
    qd_text_add(text, state->limit->name);
}

static void add_two(struct qd_text *text, int64_t first, const char *unit, int64_t second,
                    const char *unit2)
{
    qd_text_add_int(text, first);
    qd_text_add(text, unit);
    qd_text_add_int(text, second);
    qd_text_add(text, unit2);
}

static int64_t units_up(int64_t ns, int64_t unit)
{
    return ns / unit + (ns % unit > 0);
}

/* I5: rounded up, and only then put in words: who waits as long as it says does not come early. */
void qd_describe_wait(struct qd_text *text, int64_t wait_ns)
{
    int64_t ms = units_up(wait_ns, QD_NS_PER_MS);
    int64_t tenths = units_up(wait_ns, QD_NS_PER_S / 10);
    int64_t s = units_up(wait_ns, QD_NS_PER_S);
    int64_t min = units_up(wait_ns, 60 * QD_NS_PER_S);

    if (ms < 1000) {
        qd_text_add_int(text, ms);
        qd_text_add(text, " ms");
    } else if (tenths < 600) {
        add_two(text, tenths / 10, ".", tenths % 10, " s");
    } else if (s < 3600) {
        add_two(text, s / 60, " min ", s % 60, " s");
    } else if (min < INT64_C(48) * 60) {
        add_two(text, min / 60, " h ", min % 60, " min");
    } else {
        qd_text_add_int(text, units_up(wait_ns, 86400 * QD_NS_PER_S));
        qd_text_add(text, " days");
    }
}

void qd_describe_time(struct qd_text *text, struct qd_wall_ns at)
{
    time_t seconds = (time_t)(at.ns / QD_NS_PER_S);
    struct tm tm;
    char buffer[40];

    if (gmtime_r(&seconds, &tm) != NULL &&
        strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0) {
        qd_text_add(text, buffer);
    }
}

static void add_state(struct qd_text *text, const struct qd_limit_state *state)
{
    const struct qd_limit *limit = state->limit;

    qd_text_add(text, " ");
    if (limit->algorithm == QD_CONCURRENCY) {
        qd_text_addf(text, "%" PRId64 " open + %" PRId64 " > ", state->held, state->estimate);
        qd_describe_size(text, limit, state->amount);
        return;
    }
    qd_describe_amount(text, limit, state->used);
    qd_text_add(text, " used");
    if (state->held > 0) {
        qd_text_add(text, " + ");
        qd_describe_amount(text, limit, state->held);
        qd_text_add(text, " held");
    }
    if (limit->admit_test == QD_ADMIT_USED_BELOW) {
        qd_text_add(text, " >= ");
    } else {
        qd_text_add(text, " + ");
        qd_describe_amount(text, limit, state->estimate);
        qd_text_add(text, " estimated > ");
    }
    qd_describe_size(text, limit, state->amount);
    if (limit->algorithm == QD_TOKEN_BUCKET && state->burst != state->amount) {
        qd_text_add(text, ", burst ");
        qd_describe_amount(text, limit, state->burst);
    }
}

/* "lower max_output_tokens" helps a limit that counts output. */
static const char *smaller_hint(const struct qd_limit *limit)
{
    for (size_t i = 0; i < limit->admit.count; i++) {
        unsigned meter = limit->admit.item[i].meter;
        if (meter == QD_METER_TOKENS || meter == QD_METER_OUTPUT_TOKENS || meter == QD_METER_COST ||
            meter == QD_METER_CHARGE || meter == QD_METER_GPU_MS) {
            return "lower max_output_tokens";
        }
    }
    return "make the request smaller";
}

/* A balance is raised by grants alone: the command, with what is missing at least. */
static void add_grant(struct qd_text *text, const struct qd_limit_state *state)
{
    const struct qd_limit *limit = state->limit;
    int64_t cost = limit->admit_test == QD_ADMIT_USED_BELOW ? 1 : state->estimate;
    int64_t missing = state->used + state->held + cost - state->amount;
    struct qd_str keys;
    struct qd_str tenant = qd_name_tenant(state->name, &keys);

    qd_text_add(text, "; only a grant helps: quotactl tenants grant ");
    qd_text_add_str(text, tenant);
    qd_text_add(text, " ");
    qd_text_add(text, limit->name);
    if (limit->money) {
        qd_text_add(text, " '");
        qd_describe_amount(text, limit, missing);
        qd_text_add(text, "'");
    } else {
        qd_text_add(text, " ");
        qd_text_add_int(text, missing);
    }
    if (keys.len > 0) {
        qd_text_add(text, " with a key for each of: ");
        qd_text_add_str(text, keys);
    }
}

/* H1: what to do about a request whose most nobody knows. */
static const char *bound_hint(enum qd_unbounded unbounded)
{
    if (unbounded == QD_UNBOUNDED_GPU_TIME) {
        return " is hard and cannot hold GPU-time that nobody estimates; give gpu_ms in the "
               "estimate, or declare the model's gpu_time in the policy";
    }
    return " is hard and cannot hold an output without an upper bound; give max_output_tokens, or "
           "declare the model's max_output_tokens in the policy";
}

void qd_describe_denial(struct qd_text *text, const struct qd_limit_state *state,
                        struct qd_wall_ns now, bool retry_useful, int64_t retry_after_ns)
{
    qd_describe_name(text, state);
    if (state->unbounded != QD_BOUNDED) {
        qd_text_add(text, bound_hint(state->unbounded));
        return;
    }
    if (state->limit->algorithm == QD_PREPAID && !(retry_useful && retry_after_ns > 0)) {
        add_state(text, state);
        add_grant(text, state);
        return;
    }
    if (state->never_fits) {
        qd_text_add(text, ": estimate ");
        qd_describe_amount(text, state->limit, state->estimate);
        qd_text_add(text, " > ");
        int64_t capacity = state->burst > 0 ? state->burst : state->amount;
        qd_describe_amount(text, state->limit, capacity);
        qd_text_addf(text, "; never fits, %s", smaller_hint(state->limit));
        return;
    }
    add_state(text, state);
    if (retry_useful && retry_after_ns > 0) {
        qd_text_add(text, state->retry_is_hint ? "; retry in about " : "; retry in ");
        qd_describe_wait(text, retry_after_ns);
    } else if (state->resets_at.ns > now.ns && state->resets_at.ns != QD_WALL_NEVER) {
        qd_text_add(text, "; resets ");
        qd_describe_time(text, state->resets_at);
    } else if (state->limit->algorithm == QD_CONCURRENCY) {
        qd_text_add(text, "; retry when one ends");
    }
}

void qd_describe_meters(struct qd_text *text, const struct qd_policy *policy,
                        const struct qd_weights *weights)
{
    for (size_t i = 0; i < weights->count; i++) {
        const struct qd_weight *w = &weights->item[i];
        const char *name = w->meter < policy->meter_count ? policy->meters[w->meter].name : "?";
        int32_t num = w->num < 0 ? -w->num : w->num;
        if (i > 0) {
            qd_text_add(text, w->num < 0 ? " - " : " + ");
        } else if (w->num < 0) {
            qd_text_add(text, "-");
        }
        if (num != weights->den) {
            if (num % weights->den == 0) {
                qd_text_addf(text, "%d*", num / weights->den);
            } else {
                qd_text_addf(text, "%d/%d*", num, weights->den);
            }
        }
        qd_text_add(text, name);
    }
}

const char *qd_describe_unit(const struct qd_limit *limit)
{
    if (limit->money) {
        return "nano_usd";
    }
    if (limit->algorithm == QD_CONCURRENCY) {
        return "reservations";
    }
    if (in_gpu_seconds(limit)) {
        return "ms";
    }
    return limit->unit != NULL ? limit->unit : "";
}
