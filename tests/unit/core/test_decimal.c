/* Decimal text against schoolbook arithmetic on digit strings (P7). */
#include "server/core/decimal.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qd_str str(const char *s)
{
    return (struct qd_str){s, strlen(s)};
}

static struct qd_decimal decimal(const char *text)
{
    struct qd_decimal d;
    cr_assert_eq(qd_decimal_parse(str(text), &d), QD_DECIMAL_OK, "%s", text);
    return d;
}

static void assert_parses(const char *text, const char *digits, int exponent, bool negative)
{
    struct qd_decimal d = decimal(text);
    char shown[QD_DECIMAL_TEXT_MAX];
    qd_decimal_format((qd_int128)d.digits, 0, shown);
    cr_assert(strcmp(shown, digits) == 0, "%s: %s", text, shown);
    cr_assert_eq(d.exponent, exponent, "%s: exponent %d", text, d.exponent);
    cr_assert_eq(d.negative, negative, "%s", text);
}

static void assert_refused(const char *text, enum qd_decimal_result wanted)
{
    struct qd_decimal d = {.exponent = 77};
    cr_assert_eq(qd_decimal_parse(str(text), &d), wanted, "%s", text);
    cr_assert_eq(d.exponent, 77, "untouched on failure");
}

Test(decimal, P7_parses_exactly)
{
    assert_parses("0", "0", 0, false);
    assert_parses("-0.000", "0", 0, false);
    assert_parses("0e999999999999", "0", 0, false);
    assert_parses("1", "1", 0, false);
    assert_parses("+1", "1", 0, false);
    assert_parses("-1.50", "15", -1, true);
    assert_parses(".5", "5", -1, false);
    assert_parses("5.", "5", 0, false);
    assert_parses("0.0011", "11", -4, false);
    assert_parses("1.3e-10", "13", -11, false);
    assert_parses("3.625E-9", "3625", -12, false);
    assert_parses("1200", "12", 2, false);
    assert_parses("1e3", "1", 3, false);
    assert_parses("1E+3", "1", 3, false);
    assert_parses("00012000.000", "12", 3, false);
    assert_parses("99999999999999999999999999999999999999",
                  "99999999999999999999999999999999999999", 0, false);
    assert_parses("1000000000000000000000000000000000000000000000000000000000000", "1", 60, false);
    assert_parses("0.0000000000000000000000000000000000000000000000000000000001", "1", -58, false);
    assert_parses("1e1000", "1", 1000, false);
    assert_parses("1e-1000", "1", -1000, false);
}

Test(decimal, P7_refuses_what_is_not_a_number)
{
    static const char *const texts[] = {
        "",      "-",  "+",   ".",   "e5",   "1e",  "1e+",  "1e-",   "--1",   "+-1",
        "1 ",    " 1", "1,5", "1_0", "0x10", "inf", "nan",  "1.2.3", "1e2.5", "$5",
        "1e5e5", "5$", "1\n", "१",   "1e 5", "-.",  "+.e1", "12a4",  "1.5k",  "infinity"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_refused(texts[i], QD_DECIMAL_SYNTAX);
    }
    struct qd_decimal d;
    cr_assert_eq(qd_decimal_parse((struct qd_str){"1\0002", 3}, &d), QD_DECIMAL_SYNTAX);
    cr_assert_eq(qd_decimal_parse((struct qd_str){NULL, 0}, &d), QD_DECIMAL_SYNTAX);
}

Test(decimal, P7_refuses_what_is_out_of_range)
{
    assert_refused("1e1001", QD_DECIMAL_RANGE);
    assert_refused("1e-1001", QD_DECIMAL_RANGE);
    assert_refused("1e99999999999999999999", QD_DECIMAL_RANGE);
    assert_refused("1e-99999999999999999999", QD_DECIMAL_RANGE);
    assert_refused("123456789012345678901234567890123456789", QD_DECIMAL_RANGE);
    assert_refused("1.00000000000000000000000000000000000001", QD_DECIMAL_RANGE);
}

Test(decimal, P7_dollars_may_carry_their_sign)
{
    struct qd_decimal d;
    int64_t nano;
    cr_assert_eq(qd_decimal_parse_usd(str("$500"), &d), QD_DECIMAL_OK);
    cr_assert_eq(qd_decimal_to_int64(&d, QD_NANO_DIGITS, &nano), QD_DECIMAL_OK);
    cr_assert_eq(nano, INT64_C(500000000000));
    cr_assert_eq(qd_decimal_parse_usd(str("-$0.41"), &d), QD_DECIMAL_OK);
    cr_assert_eq(qd_decimal_to_int64(&d, QD_NANO_DIGITS, &nano), QD_DECIMAL_OK);
    cr_assert_eq(nano, -410000000);
    cr_assert_eq(qd_decimal_parse_usd(str("0.0011"), &d), QD_DECIMAL_OK);
    cr_assert_eq(qd_decimal_parse_usd(str("$"), &d), QD_DECIMAL_SYNTAX);
    cr_assert_eq(qd_decimal_parse_usd(str("$$5"), &d), QD_DECIMAL_SYNTAX);
    cr_assert_eq(qd_decimal_parse_usd(str("$-5"), &d), QD_DECIMAL_SYNTAX);
}

Test(decimal, P7_integers_are_exact_or_refused)
{
    static const struct {
        const char *text;
        unsigned scale;
        enum qd_decimal_result result;
        int64_t value;
    } cases[] = {
        {"0", 12, QD_DECIMAL_OK, 0},
        {"0.0011", 12, QD_DECIMAL_OK, 1100000000},
        {"1.3e-10", 12, QD_DECIMAL_OK, 130},
        {"1.3e-12", 12, QD_DECIMAL_INEXACT, 0},
        {"1e-1000", 12, QD_DECIMAL_INEXACT, 0},
        {"9223372036854775807", 0, QD_DECIMAL_OK, INT64_MAX},
        {"9223372036854775808", 0, QD_DECIMAL_OVERFLOW, 0},
        {"-9223372036854775808", 0, QD_DECIMAL_OK, INT64_MIN},
        {"-9223372036854775809", 0, QD_DECIMAL_OVERFLOW, 0},
        {"9223372.036854775807", 12, QD_DECIMAL_OK, INT64_MAX},
        {"1e1000", 0, QD_DECIMAL_OVERFLOW, 0},
        {"30", 9, QD_DECIMAL_OK, INT64_C(30000000000)}, /* not truncated to 32 bits */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qd_decimal d = decimal(cases[i].text);
        int64_t value = -5;
        cr_assert_eq(qd_decimal_to_int64(&d, cases[i].scale, &value), cases[i].result, "%s",
                     cases[i].text);
        cr_assert_eq(value, cases[i].result == QD_DECIMAL_OK ? cases[i].value : -5);
    }
}

Test(decimal, P7_rounding_up_goes_towards_more)
{
    static const struct {
        const char *text;
        unsigned scale;
        int64_t value;
    } cases[] = {
        {"0", 0, 0},       {"0.1", 0, 1},         {"-0.1", 0, 0},
        {"-1.9", 0, -1},   {"1.000001", 3, 1001}, {"2.5", 1, 25},
        {"1e-1000", 9, 1}, {"-1e-1000", 9, 0},    {"12e3", 0, 12000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qd_decimal d = decimal(cases[i].text);
        int64_t value;
        cr_assert_eq(qd_decimal_to_int64_up(&d, cases[i].scale, &value), QD_DECIMAL_OK);
        cr_assert_eq(value, cases[i].value, "%s: %" PRId64, cases[i].text, value);
    }
    struct qd_decimal d = decimal("9223372036854775807.1");
    int64_t value;
    cr_assert_eq(qd_decimal_to_int64_up(&d, 0, &value), QD_DECIMAL_OVERFLOW);
    d = decimal("9223372036854775806.1");
    cr_assert_eq(qd_decimal_to_int64_up(&d, 0, &value), QD_DECIMAL_OK);
    cr_assert_eq(value, INT64_MAX);
}

Test(decimal, P7_prices_are_rationals_in_lowest_terms)
{
    static const struct {
        const char *text;
        int64_t per;
        enum qd_decimal_result result;
        int64_t amount;
        int64_t quantity;
    } cases[] = {
        {"2.50", 1000000, QD_DECIMAL_OK, 2500000, 1}, /* $2.50 a million tokens */
        {"1.3e-10", 1, QD_DECIMAL_OK, 130, 1},
        {"3.625e-9", 1, QD_DECIMAL_OK, 3625, 1},
        {"1.5e-13", 1, QD_DECIMAL_OK, 3, 20},
        {"1e-13", 1, QD_DECIMAL_OK, 1, 10},
        {"0.0011", 1000, QD_DECIMAL_OK, 1100000, 1}, /* a GPU-second, by ms */
        {"1", 3600000, QD_DECIMAL_OK, 2500000, 9},   /* an hour, by ms */
        {"0", 1000, QD_DECIMAL_OK, 0, 1},
        {"-1", 1, QD_DECIMAL_SYNTAX, 0, 0},
        {"9223372.036854775807", 1, QD_DECIMAL_OK, INT64_MAX, 1},
        {"9223372.036854775808", 1, QD_DECIMAL_OVERFLOW, 0, 0},
        {"9223372.036854775808", 2, QD_DECIMAL_OK, INT64_C(4611686018427387904), 1},
        {"1e1000", 1, QD_DECIMAL_OVERFLOW, 0, 0},
        {"1e-30", 1, QD_DECIMAL_OK, 1, INT64_C(1000000000000000000)},
        {"1e-31", 1, QD_DECIMAL_INEXACT, 0, 0},
        /* 2^40 / 10^25 = 2^15 / 5^25: the quantity only fits in lowest terms */
        {"1.099511627776e-25", 1, QD_DECIMAL_OK, 32768, INT64_C(298023223876953125)},
        {"9.5367431640625e-25", 1, QD_DECIMAL_OK, 1, INT64_C(1048576000000)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qd_decimal d = decimal(cases[i].text);
        int64_t amount = -1;
        int64_t quantity = -1;
        enum qd_decimal_result got = qd_decimal_to_price(&d, cases[i].per, &amount, &quantity);
        cr_assert_eq(got, cases[i].result, "%s per %" PRId64, cases[i].text, cases[i].per);
        if (got == QD_DECIMAL_OK) {
            cr_assert_eq(amount, cases[i].amount, "%s: %" PRId64, cases[i].text, amount);
            cr_assert_eq(quantity, cases[i].quantity, "%s: %" PRId64, cases[i].text, quantity);
        } else {
            cr_assert(amount == -1 && quantity == -1);
        }
    }
}

Test(decimal, P7_text_comes_back_as_it_went)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("P7_text_comes_back_as_it_went", 1));
    for (int i = 0; i < 200000; i++) {
        unsigned scale = (unsigned)qd_prng_number(&r, 39);
        qd_int128 value = ((qd_int128)qd_prng_magnitude(&r, 60) << 60) + qd_prng_magnitude(&r, 60);
        if (qd_prng_number(&r, 2) == 0) {
            value = -value;
        }
        char text[QD_DECIMAL_TEXT_MAX];
        size_t length = qd_decimal_format(value, scale, text);
        cr_assert_eq(length, strlen(text));
        struct qd_decimal d = decimal(text);
        qd_int128 back;
        cr_assert_eq(qd_decimal_to_int128(&d, scale, &back), QD_DECIMAL_OK);
        cr_assert(back == value, "%s", text);
        /* And against sprintf for what it can hold. */
        if (scale > 0 && scale <= 18 && value > -INT64_MAX && value < INT64_MAX) {
            int64_t unit = 1;
            for (unsigned k = 0; k < scale; k++) {
                unit *= 10;
            }
            int64_t magnitude = (int64_t)(value < 0 ? -value : value);
            char wanted[100];
            int at = snprintf(wanted, sizeof wanted, "%s%" PRId64 ".%0*" PRId64,
                              value < 0 ? "-" : "", magnitude / unit, (int)scale, magnitude % unit);
            while (wanted[at - 1] == '0') {
                wanted[--at] = '\0';
            }
            if (wanted[at - 1] == '.') {
                wanted[--at] = '\0';
            }
            cr_assert_str_eq(text, wanted);
        }
    }
    char text[QD_DECIMAL_TEXT_MAX];
    qd_int128 least = (qd_int128)1 << 126;
    least = -least - least;
    cr_assert_eq(qd_decimal_format(least, 38, text), strlen(text));
    cr_assert_str_eq(text, "-1.70141183460469231731687303715884105728");
}

Test(decimal, P7_money_for_people)
{
    static const struct {
        int64_t nano;
        const char *text;
    } cases[] = {
        {0, "$0"},
        {INT64_C(500000000000), "$500"},
        {410000000, "$0.41"},
        {1100000, "$0.0011"},
        {INT64_C(-2500000000), "-$2.50"},
        {INT64_C(1234567000000000), "$1234567"},
        {100000000, "$0.10"},
        {1, "$0.000000001"},
        {INT64_MIN, "-$9223372036.854775808"},
    };
    char text[QD_DECIMAL_TEXT_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(qd_money_format_nano(cases[i].nano, text), strlen(cases[i].text));
        cr_assert_str_eq(text, cases[i].text);
    }
    qd_money_format_pico(130, text);
    cr_assert_str_eq(text, "$0.00000000013");
}
