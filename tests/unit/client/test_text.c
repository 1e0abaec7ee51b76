/* Numbers, money, times and tables for people. */
#include "client/ctl/text.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void counts(int64_t value, const char *text)
{
    cr_assert_str_eq(ctl_count_text(value).text, text);
}

Test(text, thousands)
{
    counts(0, "0");
    counts(999, "999");
    counts(1000, "1,000");
    counts(39200, "39,200");
    counts(-1234567, "-1,234,567");
    counts(INT64_MAX, "9,223,372,036,854,775,807");
    counts(INT64_MIN, "-9,223,372,036,854,775,808");
}

static void pico(const char *value, const char *text)
{
    cr_assert_str_eq(ctl_pico_text(value).text, text, "%s is %s", value, ctl_pico_text(value).text);
}

Test(text, money_is_rounded_for_reading)
{
    pico("0", "$0");
    pico("500000000000000", "$500");
    pico("410000000000", "$0.41");
    pico("1100000000", "$0.0011");
    pico("1234567890123", "$1.23");
    pico("1235000000000", "$1.24");
    pico("1234567000000000000", "$1,234,567");
    pico("-2500000000000", "-$2.50");
    pico("123456", "$0.0000001235");
    pico("1", "$0.000000000001");
    pico("999999999999", "$1");
    pico("", "unpriced");
    pico("nonsense", "nonsense p$");
    cr_assert_str_eq(ctl_money_text(410000000).text, "$0.41");
    cr_assert_str_eq(ctl_money_text(INT64_MAX).text, "$9,223,372,036.85");
}

static void span(int64_t ns, const char *text)
{
    cr_assert_str_eq(ctl_span_text(ns).text, text, "%lld is %s", (long long)ns,
                     ctl_span_text(ns).text);
}

Test(text, spans_never_come_early)
{
    span(0, "0 s");
    span(1, "0.001 s");
    span(12400000000, "12.4 s");
    span(12400000001, "12.5 s");
    span(1500000000, "1.5 s");
    span(1500000001, "1.501 s");
    span(10000000000, "10.0 s");
    span(60 * INT64_C(1000000000), "1 min 0 s");
    span(200 * INT64_C(1000000000), "3 min 20 s");
    span(7500 * INT64_C(1000000000), "2 h 5 min");
    span(3 * INT64_C(86400000000000), "3 d 0 h");
    span(-1, "now");
}

Test(text, amounts_by_unit)
{
    cr_assert_str_eq(ctl_amount_text(1600, "tokens").text, "1,600");
    cr_assert_str_eq(ctl_amount_text(500000000000, "nano_usd").text, "$500");
    cr_assert_str_eq(ctl_amount_text(1800, "ms").text, "1.8 s");
    cr_assert_str_eq(ctl_amount_text(0, "ms").text, "0 s");
    cr_assert_str_eq(ctl_amount_text(73729, "ms").text, "73.729 s");
    cr_assert_str_eq(ctl_amount_text(120000, "ms").text, "120 s");
    cr_assert_str_eq(ctl_amount_text(11482349, "ms").text, "11,482.3 s");
    cr_assert_str_eq(ctl_share_text(1, 3).text, "33.3%");
    cr_assert_str_eq(ctl_share_text(1, 0).text, "-");
}

Test(text, times_in_their_zone)
{
    int64_t at = INT64_C(1793487600000000000); /* 2026-10-31T23:00:00Z */
    cr_assert_str_eq(ctl_time_text(at, NULL).text, "2026-10-31 23:00:00Z");
    cr_assert_str_eq(ctl_time_text(at, "Europe/Berlin").text, "2026-11-01 00:00:00+01:00");
    cr_assert_str_eq(ctl_time_text(at, "UTC").text, "2026-10-31 23:00:00Z");
    /* D6: one hour of the clock, two of the day. */
    int64_t twice = INT64_C(1793509200000000000);
    cr_assert_str_eq(ctl_time_text(twice, "America/New_York").text, "2026-11-01 01:00:00-04:00");
    cr_assert_str_eq(ctl_time_text(twice + INT64_C(3600000000000), "America/New_York").text,
                     "2026-11-01 01:00:00-05:00");
    cr_assert_str_eq(ctl_time_text(0, NULL).text, "-");
    cr_assert_null(getenv("TZ"), "left as it was");
}

Test(text, tables_align)
{
    static const char *const heads[] = {"tenant", ">used", "note"};
    struct ctl_table *table = ctl_table_new(heads, 3);
    const char *cells[] = {"acme", "1,600", "", "zo\xc3\xab", "7", "last"};
    for (int i = 0; i < 6; i++) {
        ctl_table_cell(table, cells[i]);
    }
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ctl_table_print(table, out);
    fclose(out);
    cr_assert_str_eq(text, "tenant   used  note\n"
                           "acme    1,600\n"
                           "zo\xc3\xab         7  last\n");
    free(text);
    ctl_table_free(table);
}
