#include "client/ctl/text.h"

#include "server/core/decimal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

struct ctl_text ctl_count_text(int64_t value)
{
    char digits[24];
    struct ctl_text ret = {""};
    uint64_t magnitude = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
    int length = snprintf(digits, sizeof digits, "%" PRIu64, magnitude);
    size_t at = 0;
    if (value < 0) {
        ret.text[at++] = '-';
    }
    for (int i = 0; i < length; i++) {
        ret.text[at++] = digits[i];
        if ((length - 1 - i) % 3 == 0 && i != length - 1) {
            ret.text[at++] = ',';
        }
    }
    ret.text[at] = '\0';
    return ret;
}

/* Round to `step`, half up. */
static qd_int128 round_to(qd_int128 value, qd_int128 step)
{
    return (value + step / 2) / step * step;
}

static struct ctl_text money(qd_int128 pico)
{
    const qd_int128 dollar = INT64_C(1000000000000);
    struct ctl_text ret = {""};
    bool negative = pico < 0;
    qd_int128 rest = negative ? -pico : pico;
    qd_int128 step = dollar / 100;
    if (rest < dollar) {
        qd_int128 top = 1; /* the power of ten at or below `rest` */
        while (top * 10 <= rest) {
            top *= 10;
        }
        step = top >= 1000 ? top / 1000 : 1;
    }
    rest = round_to(rest, step);
    qd_int128 whole = rest / dollar;
    char exact[QD_DECIMAL_TEXT_MAX];
    (void)qd_money_format_pico(rest, exact);
    const char *point = strchr(exact, '.');
    struct ctl_text dollars = ctl_count_text((int64_t)whole);
    (void)snprintf(ret.text, sizeof ret.text, "%s$%.40s%.30s", negative ? "-" : "", dollars.text,
                   point != NULL ? point : "");
    return ret;
}

struct ctl_text ctl_money_text(int64_t nano_usd)
{
    return money((qd_int128)nano_usd * 1000);
}

struct ctl_text ctl_pico_text(const char *pico_usd)
{
    struct ctl_text ret = {"unpriced"};
    struct qd_decimal value;
    qd_int128 pico = 0;
    if (pico_usd[0] == '\0') {
        return ret;
    }
    struct qd_str text = {pico_usd, strlen(pico_usd)};
    if (qd_decimal_parse(text, &value) != QD_DECIMAL_OK ||
        qd_decimal_to_int128(&value, 0, &pico) != QD_DECIMAL_OK) {
        (void)snprintf(ret.text, sizeof ret.text, "%.60s p$", pico_usd);
        return ret;
    }
    return money(pico);
}

struct ctl_text ctl_seconds_text(int64_t ms)
{
    struct ctl_text ret = {""};
    uint64_t rest = ms < 0 ? (uint64_t)0 - (uint64_t)ms : (uint64_t)ms;
    char part[8];
    (void)snprintf(part, sizeof part, ".%03u", (unsigned)(rest % 1000));
    size_t end = 4;
    while (end > 1 && part[end - 1] == '0') {
        end--;
    }
    part[end > 1 ? end : 0] = '\0'; /* nor a point behind which nothing is */
    (void)snprintf(ret.text, sizeof ret.text, "%s%.40s%s", ms < 0 ? "-" : "",
                   ctl_count_text((int64_t)(rest / 1000)).text, part);
    return ret;
}

/* Machine time: always in seconds, so that it compares with the policy's; "1.8 s", "11,482.3 s". */
static struct ctl_text seconds(int64_t ms)
{
    struct ctl_text ret = {""};
    int64_t rest = ms < 0 ? -ms : ms;
    rest = rest >= 100000 ? (rest + 50) / 100 * 100 : rest;
    (void)snprintf(ret.text, sizeof ret.text, "%.90s s",
                   ctl_seconds_text(ms < 0 ? -rest : rest).text);
    return ret;
}

struct ctl_text ctl_amount_text(int64_t amount, const char *unit)
{
    if (strcmp(unit, "nano_usd") == 0) {
        return ctl_money_text(amount);
    }
    if (strcmp(unit, "ms") == 0) {
        return seconds(amount);
    }
    return ctl_count_text(amount);
}

struct ctl_text ctl_span_text(int64_t ns)
{
    struct ctl_text ret = {""};
    int64_t s = ns / NS_PER_S;
    if (ns < 0) {
        (void)snprintf(ret.text, sizeof ret.text, "now");
    } else if (ns < 1000000 && ns > 0) {
        (void)snprintf(ret.text, sizeof ret.text, "0.001 s");
    } else if (s < 10) {
        int64_t ms = (ns + 999999) / 1000000; /* up: "retry in" must not come early */
        char digits[24];
        (void)snprintf(digits, sizeof digits, "%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000);
        size_t end = strlen(digits);
        while (digits[end - 1] == '0') {
            end--;
        }
        end -= digits[end - 1] == '.' ? 1 : 0;
        (void)snprintf(ret.text, sizeof ret.text, "%.*s s", (int)end, digits);
    } else if (s < 60) {
        int64_t tenths = (ns + 99999999) / 100000000;
        (void)snprintf(ret.text, sizeof ret.text, "%" PRId64 ".%" PRId64 " s", tenths / 10,
                       tenths % 10);
    } else if (s < 7200) {
        (void)snprintf(ret.text, sizeof ret.text, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    } else if (s < 172800) {
        (void)snprintf(ret.text, sizeof ret.text, "%" PRId64 " h %" PRId64 " min", s / 3600,
                       s / 60 % 60);
    } else {
        (void)snprintf(ret.text, sizeof ret.text, "%" PRId64 " d %" PRId64 " h", s / 86400,
                       s / 3600 % 24);
    }
    return ret;
}

/* The process's TZ for a moment: quotactl formats on one thread. */
static void with_zone(const char *zone, time_t at, struct tm *ret_tm)
{
    if (zone == NULL || strcmp(zone, "UTC") == 0) {
        (void)gmtime_r(&at, ret_tm);
        return;
    }
    const char *old = getenv("TZ");
    char *kept = old != NULL ? strdup(old) : NULL;
    (void)setenv("TZ", zone, 1);
    tzset();
    (void)localtime_r(&at, ret_tm);
    if (kept != NULL) {
        (void)setenv("TZ", kept, 1);
    } else {
        (void)unsetenv("TZ");
    }
    tzset();
    free(kept);
}

struct ctl_text ctl_time_text(int64_t unix_ns, const char *zone)
{
    struct ctl_text ret = {"-"};
    if (unix_ns == 0) {
        return ret;
    }
    int64_t s = unix_ns / NS_PER_S - (unix_ns % NS_PER_S < 0 ? 1 : 0);
    struct tm parts;
    with_zone(zone, (time_t)s, &parts);
    size_t length = strftime(ret.text, sizeof ret.text, "%Y-%m-%d %H:%M:%S", &parts);
    if (zone == NULL || strcmp(zone, "UTC") == 0) {
        (void)snprintf(ret.text + length, sizeof ret.text - length, "Z");
    } else { /* D6: the hour that a zone repeats in autumn is two hours */
        long minutes = parts.tm_gmtoff / 60;
        (void)snprintf(ret.text + length, sizeof ret.text - length, "%c%02ld:%02ld",
                       minutes < 0 ? '-' : '+', labs(minutes) / 60, labs(minutes) % 60);
    }
    return ret;
}

struct ctl_text ctl_share_text(int64_t part, int64_t whole)
{
    struct ctl_text ret = {"-"};
    if (whole > 0) {
        qd_int128 permille = ((qd_int128)part * 1000 + whole / 2) / whole;
        (void)snprintf(ret.text, sizeof ret.text, "%d.%d%%", (int)(permille / 10),
                       (int)(permille % 10));
    }
    return ret;
}

/* ---- tables */

struct ctl_table {
    size_t columns;
    size_t cells;
    size_t room;
    char **cell; /* heads first */
    bool *right;
};

static void add(struct ctl_table *table, const char *text)
{
    if (table->cells == table->room) {
        size_t room = table->room > 0 ? table->room * 2 : 64;
        char **cell = realloc(table->cell, room * sizeof(char *));
        if (cell == NULL) {
            return; /* What fits is printed. */
        }
        table->cell = cell;
        table->room = room;
    }
    char *copy = strdup(text);
    if (copy != NULL) {
        table->cell[table->cells++] = copy;
    }
}

struct ctl_table *ctl_table_new(const char *const heads[], size_t columns)
{
    struct ctl_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        return NULL;
    }
    table->right = calloc(columns, sizeof *table->right);
    table->columns = columns;
    for (size_t i = 0; i < columns && table->right != NULL; i++) {
        table->right[i] = heads[i][0] == '>';
        add(table, heads[i] + (table->right[i] ? 1 : 0));
    }
    if (table->right == NULL || table->cells != columns) {
        ctl_table_free(table);
        return NULL;
    }
    return table;
}

void ctl_table_cell(struct ctl_table *table, const char *text)
{
    if (table != NULL) {
        add(table, text != NULL ? text : "");
    }
}

/* Characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

void ctl_table_print(const struct ctl_table *table, FILE *out)
{
    if (table == NULL) {
        return;
    }
    size_t *width = calloc(table->columns, sizeof *width);
    if (width == NULL) {
        return;
    }
    for (size_t i = 0; i < table->cells; i++) {
        size_t own = width_of(table->cell[i]);
        size_t *column = &width[i % table->columns];
        *column = own > *column ? own : *column;
    }
    int gap = 0; /* spaces owed: written only if something follows */
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns;
        const char *text = table->cell[i];
        int pad = (int)(width[column] - width_of(text));
        gap += table->right[column] ? pad : 0;
        if (text[0] != '\0') {
            (void)fprintf(out, "%*s%s", gap, "", text);
            gap = 0;
        }
        gap += (table->right[column] ? 0 : pad) + 2;
        if (column == table->columns - 1) {
            (void)fputc('\n', out);
            gap = 0;
        }
    }
    free(width);
}

void ctl_table_free(struct ctl_table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->cells; i++) {
        free(table->cell[i]);
    }
    free(table->cell);
    free(table->right);
    free(table);
}
