/* How much in how long: amounts, windows and algorithms of a limit (P4). */
#include "server/policy/intern.h"
#include "server/policy/limit_draft.h"
#include "server/policy/limit_text.h"
#include "server/policy/tzif.h"

#include <string.h>

#define WINDOW_MIN_NS QD_NS_PER_S
#define WINDOW_MAX_NS (366 * QD_NS_PER_DAY)
#define SLOTS_DEFAULT 60
#define SLOTS_MAX     60

/* Without the spaces around. */
static struct qd_str trim(const char *ptr, size_t len)
{
    while (len > 0 && *ptr == ' ') {
        ptr++;
        len--;
    }
    while (len > 0 && ptr[len - 1] == ' ') {
        len--;
    }
    return (struct qd_str){ptr, len};
}

/* "600", "$500", "40k" in the unit of the limit. */
static bool read_limit_amount(struct qd_limit_draft *d, enum qd_limit_key key, struct qd_str text,
                              int64_t *ret_amount)
{
    struct qd_str whole = text;
    int quoted = (int)(whole.len > 40 ? 40 : whole.len);
    bool has_dollar = text.len > 0 && text.ptr[0] == '$';
    if (has_dollar && !d->counted.is_money) {
        qd_draft_fail(d, key, "\"%.*s\": dollars; an amount of %s is accepted, as 600 or 40k",
                      quoted, whole.ptr, d->spec.unit);
        return false;
    }
    if (!has_dollar && d->counted.is_money) {
        qd_draft_fail(d, key, "\"%.*s\": an amount of dollars is accepted, as $500 or $0.50",
                      quoted, whole.ptr);
        return false;
    }
    if (has_dollar) {
        text.ptr++;
        text.len--;
    }
    enum qd_amount_problem problem =
        qd_amount_parse(text.ptr, text.len, d->counted.scale, ret_amount);
    static const char *const reasons[] = {
        [QD_AMOUNT_BAD] = "not a number; accepted: digits with k, M or G, as 600, 40k, 1_000_000",
        [QD_AMOUNT_NEGATIVE] = "negative; 0 or more is accepted",
        [QD_AMOUNT_FRACTION] = "finer than the unit counts; a whole number of units is accepted",
        [QD_AMOUNT_SUFFIX] = "unknown suffix; accepted: k, M, G",
    };
    if (problem == QD_AMOUNT_OK) {
        return true;
    }
    if (problem == QD_AMOUNT_TOO_BIG) {
        char most[QD_LIMIT_TEXT_MAX];
        struct qd_limit unit = {.money = d->counted.is_money, .unit_scale = d->counted.scale};
        (void)qd_limit_amount_text(&unit, QD_AMOUNT_MAX, most);
        qd_draft_fail(d, key, "\"%.*s\": too large; at most %s is accepted", quoted, whole.ptr,
                      most);
    } else {
        qd_draft_fail(d, key, "\"%.*s\": %s", quoted, whole.ptr, reasons[problem]);
    }
    return false;
}

static bool read_span(struct qd_limit_draft *d, enum qd_limit_key key, struct qd_str text)
{
    if (!qd_span_parse(text.ptr, text.len, &d->span) || d->span.count == 0) {
        struct qd_suggest s;
        char word[64] = "";
        if (text.len < sizeof word) {
            memcpy(word, text.ptr, text.len);
        }
        qd_suggest_init(&s, word);
        static const char *const units[] = {"s",    "min",   "hour", "day",
                                            "week", "month", "year", "request"};
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            qd_suggest_offer(&s, units[i]);
        }
        qd_draft_fail(d, key,
                      "\"%.*s\": unknown window; accepted: " QD_SPAN_ACCEPTED ", 10s, 10min, 6h%s",
                      (int)(text.len > 40 ? 40 : text.len), text.ptr, qd_did_you_mean(d->c, &s));
        return false;
    }
    d->has_span = true;
    d->span_text = qd_arena_text(d->c->arena, text.ptr, text.len);
    return true;
}

/* "600/min", "$500/month", "20", "4096/request", "prepaid". */
static void read_limit(struct qd_limit_draft *d)
{
    const struct qd_node *node = d->given[QD_KEY_LIMIT];
    if (node == NULL) {
        return;
    }
    if (node->kind != QD_NODE_SCALAR || node->len == 0) {
        qd_draft_fail(d, QD_KEY_LIMIT,
                      "an amount and a window, not %s, is accepted here, as 600/min",
                      qd_node_kind_text(node));
        return;
    }
    if (strcmp(node->text, "prepaid") == 0) {
        d->is_prepaid = true;
        d->has_amount = true;
        return;
    }
    const char *slash = memchr(node->text, '/', node->len);
    size_t len = slash != NULL ? (size_t)(slash - node->text) : node->len;
    if (!read_limit_amount(d, QD_KEY_LIMIT, trim(node->text, len), &d->amount)) {
        return;
    }
    d->has_amount = true;
    if (slash != NULL) {
        struct qd_str window = trim(slash + 1, node->len - len - 1);
        if (window.len == 7 && memcmp(window.ptr, "request", 7) == 0) {
            d->is_per_request = true;
        } else {
            (void)read_span(d, QD_KEY_LIMIT, window);
        }
    }
}

static void read_window(struct qd_limit_draft *d)
{
    const struct qd_node *node = d->given[QD_KEY_WINDOW];
    if (node == NULL) {
        return;
    }
    if (d->has_span || d->is_per_request) {
        qd_draft_fail(d, QD_KEY_WINDOW, "\"limit\" has a window already; give one of them");
    } else if (node->kind != QD_NODE_SCALAR) {
        qd_draft_fail(d, QD_KEY_WINDOW, "a window, not %s, is accepted here, as 10min",
                      qd_node_kind_text(node));
    } else {
        (void)read_span(d, QD_KEY_WINDOW, trim(node->text, node->len));
    }
}

static enum qd_limit_key span_key(const struct qd_limit_draft *d)
{
    return d->given[QD_KEY_WINDOW] != NULL ? QD_KEY_WINDOW : QD_KEY_LIMIT;
}

/* Shorter than 1 s or longer than 1 year (P4). */
static bool is_absurd(const struct qd_span *span)
{
    int64_t ns = INT64_MAX;
    if (span->unit == QD_SPAN_MONTH || span->unit == QD_SPAN_YEAR) {
        return span->count > (span->unit == QD_SPAN_MONTH ? 12 : 1);
    }
    return !qd_span_ns(span, &ns) || ns < WINDOW_MIN_NS || ns > WINDOW_MAX_NS;
}

/* The default algorithm for what was written (decided by the form alone). */
static void choose_algorithm(struct qd_limit_draft *d)
{
    static const struct qd_word words[] = {
        {"token_bucket", QD_TOKEN_BUCKET}, {"leaky_bucket", QD_LEAKY_BUCKET},
        {"fixed_window", QD_FIXED_WINDOW}, {"sliding_window", QD_SLIDING_WINDOW},
        {"calendar", QD_CALENDAR},         {"concurrency", QD_CONCURRENCY},
        {"per_request", QD_PER_REQUEST},   {"prepaid", QD_PREPAID},
    };
    if (d->has_span && is_absurd(&d->span)) {
        qd_draft_fail(d, span_key(d), "\"%s\": absurd window; 1 s to 1 year are accepted",
                      d->span_text);
        return;
    }
    if (d->given[QD_KEY_ALGORITHM] != NULL) {
        struct qd_at at = qd_draft_at(d, QD_KEY_ALGORITHM);
        int value;
        if (!qd_read_word(d->c, &at, d->given[QD_KEY_ALGORITHM], "algorithm", words,
                          sizeof words / sizeof words[0], &value)) {
            d->is_bad = true;
            return;
        }
        d->spec.algorithm = (enum qd_algorithm)value;
    } else if (d->is_per_request) {
        d->spec.algorithm = QD_PER_REQUEST;
    } else if (d->is_prepaid) {
        d->spec.algorithm = QD_PREPAID;
    } else if (!d->has_span && d->counted.meter == QD_METER_CONCURRENCY) {
        d->spec.algorithm = QD_CONCURRENCY;
    } else if (!d->has_span) {
        qd_draft_fail(d, QD_KEY_LIMIT, "no window; write one behind a slash, as %s",
                      d->counted.is_money ? "$500/month" : "600/min");
    } else if (d->span.unit <= QD_SPAN_HOUR) {
        d->spec.algorithm = QD_SLIDING_WINDOW;
    } else if (d->span.count == 1) {
        d->spec.algorithm = QD_CALENDAR;
    } else {
        qd_draft_fail(d, span_key(d),
                      "calendars have no window of %u %s; add \"algorithm: sliding_window\" for a "
                      "rolling one, or write day, week, month or year",
                      d->span.count,
                      d->span.unit == QD_SPAN_DAY     ? "days"
                      : d->span.unit == QD_SPAN_WEEK  ? "weeks"
                      : d->span.unit == QD_SPAN_MONTH ? "months"
                                                      : "years");
    }
}

/* Windows of a length; absurd ones are refused already (P4). */
static void set_fixed_length(struct qd_limit_draft *d)
{
    if (!d->has_span) {
        qd_draft_fail(d, QD_KEY_LIMIT, "no window; write one behind a slash, as 600/min");
    } else if (d->span.unit == QD_SPAN_YEAR) {
        d->spec.window_ns = 365 * QD_NS_PER_DAY;
    } else if (!qd_span_ns(&d->span, &d->spec.window_ns)) {
        qd_draft_fail(d, span_key(d),
                      "a month has no fixed length; write 30d, or \"algorithm: calendar\"");
    }
}

static bool read_anchor_number(const struct qd_node *node, int64_t min, int64_t max,
                               int64_t *ret_value)
{
    return qd_amount_parse(node->text, node->len, 1, ret_value) == QD_AMOUNT_OK &&
           *ret_value >= min && *ret_value <= max;
}

/* "04-06" as 406; the day must exist in some year. */
static bool read_month_day(const char *text, uint16_t *ret_anchor)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (size_t i = 0; i < 5; i++) {
        bool is_dash = i == 2;
        if (text[i] == '\0' || (is_dash ? text[i] != '-' : text[i] < '0' || text[i] > '9')) {
            return false;
        }
    }
    int month = (text[0] - '0') * 10 + text[1] - '0';
    int day = (text[3] - '0') * 10 + text[4] - '0';
    if (text[5] != '\0' || month < 1 || month > 12 || day < 1 || day > days[month - 1]) {
        return false;
    }
    *ret_anchor = (uint16_t)(month * 100 + day);
    return true;
}

static void set_anchor(struct qd_limit_draft *d)
{
    static const char *const weekdays[] = {"monday", "tuesday",  "wednesday", "thursday",
                                           "friday", "saturday", "sunday"};
    const struct qd_node *node = d->given[QD_KEY_ANCHOR];
    struct qd_calendar *cal = &d->spec.calendar;
    cal->anchor = cal->unit == QD_CALENDAR_WEEK || cal->unit == QD_CALENDAR_MONTH ? 1
                  : cal->unit == QD_CALENDAR_YEAR                                 ? 101
                                                                                  : 0;
    if (node == NULL) {
        return;
    }
    int64_t number;
    if (node->kind != QD_NODE_SCALAR || cal->unit < QD_CALENDAR_WEEK) {
        qd_draft_fail(d, QD_KEY_ANCHOR,
                      "hours and days have no anchor; weeks, months and years do");
    } else if (cal->unit == QD_CALENDAR_WEEK) {
        for (uint16_t i = 0; i < 7; i++) {
            if (strcmp(node->text, weekdays[i]) == 0) {
                cal->anchor = (uint16_t)(i + 1);
                return;
            }
        }
        qd_draft_fail(d, QD_KEY_ANCHOR,
                      "\"%s\": the day on which a week starts is accepted, monday to sunday",
                      node->text);
    } else if (cal->unit == QD_CALENDAR_MONTH) {
        if (!read_anchor_number(node, 1, 31, &number)) {
            qd_draft_fail(d, QD_KEY_ANCHOR,
                          "\"%s\": the day on which a month starts is accepted, 1 to 31",
                          node->text);
            return;
        }
        cal->anchor = (uint16_t)number;
    } else if (!read_month_day(node->text, &cal->anchor)) {
        qd_draft_fail(d, QD_KEY_ANCHOR,
                      "\"%s\": the day on which a year starts is accepted, as 04-06", node->text);
    }
}

struct zone_offer {
    struct qd_suggest suggest;
    struct qd_arena *arena;
};

static void offer_zone(void *context, const char *name)
{
    struct zone_offer *offer = context;
    const char *before = offer->suggest.best;
    qd_suggest_offer(&offer->suggest, name);
    if (offer->suggest.best != before) { /* `name` is the reader's buffer */
        offer->suggest.best = qd_arena_text(offer->arena, name, strlen(name));
    }
}

static void set_zone(struct qd_limit_draft *d)
{
    const struct qd_node *node = d->given[QD_KEY_ZONE];
    d->spec.calendar.zone = &qd_zone_utc;
    if (node == NULL) {
        return;
    }
    const struct qd_zone *zone = node->kind == QD_NODE_SCALAR ? qd_intern_zone(node->text) : NULL;
    if (zone != NULL) {
        d->spec.calendar.zone = zone;
        return;
    }
    struct zone_offer offer = {.arena = d->c->arena};
    qd_suggest_init(&offer.suggest, node->kind == QD_NODE_SCALAR ? node->text : "");
    if (qd_problems_dropped(d->c->problems) == 0) {
        qd_tzif_names(offer_zone, &offer);
    }
    qd_draft_fail(
        d, QD_KEY_ZONE, "\"%s\": unknown zone; an IANA name is accepted, as Europe/Berlin%s",
        node->kind == QD_NODE_SCALAR ? node->text : "", qd_did_you_mean(d->c, &offer.suggest));
}

static void set_calendar(struct qd_limit_draft *d)
{
    static const enum qd_calendar_unit units[] = {
        [QD_SPAN_HOUR] = QD_CALENDAR_HOUR, [QD_SPAN_DAY] = QD_CALENDAR_DAY,
        [QD_SPAN_WEEK] = QD_CALENDAR_WEEK, [QD_SPAN_MONTH] = QD_CALENDAR_MONTH,
        [QD_SPAN_YEAR] = QD_CALENDAR_YEAR,
    };
    if (!d->has_span || d->span.unit < QD_SPAN_HOUR || d->span.count != 1) {
        qd_draft_fail(d, span_key(d), "a calendar's window is hour, day, week, month or year");
        return;
    }
    d->spec.calendar.unit = units[d->span.unit];
    set_zone(d);
    set_anchor(d);
}

/* Keys that say nothing for this algorithm are errors: they would not do what they seem to. */
static void refuse_useless(struct qd_limit_draft *d)
{
    enum qd_algorithm a = d->spec.algorithm;
    const char *name = qd_algorithm_text(a);
    const struct {
        enum qd_limit_key key;
        bool is_useful;
        const char *where;
    } rules[] = {
        {QD_KEY_BURST, a == QD_TOKEN_BUCKET || a == QD_LEAKY_BUCKET,
         "token_bucket and leaky_bucket"},
        {QD_KEY_SLOTS, a == QD_SLIDING_WINDOW, "sliding_window"},
        {QD_KEY_WEIGHTED, a == QD_SLIDING_WINDOW, "sliding_window"},
        {QD_KEY_ZONE, a == QD_CALENDAR, "calendar"},
        {QD_KEY_ANCHOR, a == QD_CALENDAR, "calendar"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (d->given[rules[i].key] != NULL && !rules[i].is_useful) {
            qd_draft_fail(d, rules[i].key, "of no use to %s; accepted with %s", name,
                          rules[i].where);
        }
    }
    bool has_no_window = a == QD_CONCURRENCY || a == QD_PER_REQUEST || a == QD_PREPAID;
    if (has_no_window && d->has_span) {
        qd_draft_fail(d, span_key(d), "%s has no window; an amount alone is accepted", name);
    }
}

static void set_window(struct qd_limit_draft *d)
{
    switch (d->spec.algorithm) {
    case QD_TOKEN_BUCKET:
    case QD_LEAKY_BUCKET:
    case QD_FIXED_WINDOW:
    case QD_SLIDING_WINDOW:
        set_fixed_length(d);
        break;
    case QD_CALENDAR:
        set_calendar(d);
        break;
    case QD_CONCURRENCY:
    case QD_PER_REQUEST:
    case QD_PREPAID:
        break;
    }
}

static void set_shape(struct qd_limit_draft *d)
{
    struct qd_compiler *c = d->c;
    if (d->spec.algorithm == QD_SLIDING_WINDOW) {
        int64_t slots = SLOTS_DEFAULT;
        struct qd_at at = qd_draft_at(d, QD_KEY_SLOTS);
        if (d->given[QD_KEY_SLOTS] != NULL &&
            !qd_read_amount(c, &at, d->given[QD_KEY_SLOTS], 1, SLOTS_MAX, &slots)) {
            d->is_bad = true;
        }
        d->spec.slots = (uint16_t)slots;
        at = qd_draft_at(d, QD_KEY_WEIGHTED);
        if (d->given[QD_KEY_WEIGHTED] != NULL &&
            !qd_read_bool(c, &at, d->given[QD_KEY_WEIGHTED], &d->spec.weighted)) {
            d->is_bad = true;
        }
    }
    if (d->spec.algorithm == QD_TOKEN_BUCKET || d->spec.algorithm == QD_LEAKY_BUCKET) {
        d->burst = d->amount;
        const struct qd_node *node = d->given[QD_KEY_BURST];
        if (node != NULL && node->kind == QD_NODE_SCALAR) {
            if (read_limit_amount(d, QD_KEY_BURST, trim(node->text, node->len), &d->burst) &&
                d->burst == 0) {
                qd_draft_fail(d, QD_KEY_BURST, "0; a capacity of at least 1 is accepted");
            }
        } else if (node != NULL) {
            qd_draft_fail(d, QD_KEY_BURST, "an amount, not %s, is accepted here",
                          qd_node_kind_text(node));
        }
    }
}

void qd_draft_window(struct qd_limit_draft *d)
{
    read_limit(d);
    read_window(d);
    if (d->given[QD_KEY_LIMIT] == NULL && !d->is_bad) {
        bool is_prepaid = d->given[QD_KEY_ALGORITHM] != NULL &&
                          d->given[QD_KEY_ALGORITHM]->kind == QD_NODE_SCALAR &&
                          strcmp(d->given[QD_KEY_ALGORITHM]->text, "prepaid") == 0;
        d->has_amount = is_prepaid; /* a balance may start at 0 */
        if (!is_prepaid) {
            qd_draft_fail(d, QD_KEY_LIMIT, "no \"limit\"; write one, as {limit: %s, ...}",
                          d->counted.is_money ? "$500/month" : "600/min");
        }
    }
    if (d->is_bad) {
        return;
    }
    choose_algorithm(d);
    if (d->is_bad) {
        return;
    }
    refuse_useless(d);
    set_window(d);
    set_shape(d);
}
