/* Numbers, money, times and tables for people. All from integers.
 *
 * Layer:    client/ctl. Threads: any. Memory: the caller's buffers; a table owns its cells.
 */
#ifndef QD_CLIENT_CTL_TEXT_H
#define QD_CLIENT_CTL_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CTL_TEXT_MAX 96

struct ctl_text {
    char text[CTL_TEXT_MAX];
};

/* "39,200" */
struct ctl_text ctl_count_text(int64_t value);
/* Dollars rounded for reading: cents from $1 on, four digits that count below; "$500", "$0.41",
 * "$0.0011", "<$0.000000001". */
struct ctl_text ctl_money_text(int64_t nano_usd);
/* The same of a decimal string of pico-USD, as the ledger has it. "unpriced" for "". */
struct ctl_text ctl_pico_text(const char *pico_usd);
/* By the unit of a limit: money for nano_usd, seconds for ms, else a count. */
struct ctl_text ctl_amount_text(int64_t amount, const char *unit);
/* Milliseconds in seconds, exactly: "1.245", "1,066.5", "2". */
struct ctl_text ctl_seconds_text(int64_t ms);
/* "12.4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
struct ctl_text ctl_span_text(int64_t ns);
/* "2026-11-22 17:30:05+01:00" in `zone`, "2026-11-22 16:30:05Z" in UTC (or NULL). "-" for 0. */
struct ctl_text ctl_time_text(int64_t unix_ns, const char *zone);
/* "41%" of part in whole; "-" when whole is 0. */
struct ctl_text ctl_share_text(int64_t part, int64_t whole);

/* A table: columns are as wide as their widest cell. */
struct ctl_table;

/* `heads`: one for each column, a leading ">" aligns it right. NULL: out of memory. */
struct ctl_table *ctl_table_new(const char *const heads[], size_t columns);
/* The next cell, row by row. Copied. NULL counts as "". */
void ctl_table_cell(struct ctl_table *table, const char *text);
void ctl_table_print(const struct ctl_table *table, FILE *out);
void ctl_table_free(struct ctl_table *table);

#endif /* QD_CLIENT_CTL_TEXT_H */
