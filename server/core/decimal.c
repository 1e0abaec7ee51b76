#include "server/core/decimal.h"

#include "server/core/check.h"

#define DIGITS_MAX   38 /* 10^38 < 2^127 */
#define EXPONENT_MAX 1000

__extension__ static const qd_int128 int128_max =
    (qd_int128)(((qd_uint128)INT64_MAX << 64) | UINT64_MAX);

/* What is left to read. */
struct cursor {
    const char *at;
    const char *end;
};

static bool take(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted) {
        return false;
    }
    c->at++;
    return true;
}

static bool take_sign(struct cursor *c)
{
    if (take(c, '-')) {
        return true;
    }
    (void)take(c, '+');
    return false;
}

/* The next digit, or -1 with nothing taken. */
static int take_digit(struct cursor *c)
{
    if (c->at == c->end || *c->at < '0' || *c->at > '9') {
        return -1;
    }
    return *c->at++ - '0';
}

/* Digits with an optional point, without leading and trailing zeros, times 10^exponent. */
struct mantissa {
    qd_uint128 digits;
    unsigned count;   /* significant digits in `digits` */
    int64_t zeros;    /* zeros seen after the last significant digit */
    int64_t exponent; /* of the last significant digit, were the point at the end */
    bool seen;        /* any digit at all */
    bool too_long;
};

static void mantissa_add(struct mantissa *m, int digit, bool after_point)
{
    m->seen = true;
    m->exponent -= after_point ? 1 : 0;
    if (digit == 0) {
        m->zeros += m->count > 0 ? 1 : 0;
        return;
    }
    if (m->count + m->zeros + 1 > DIGITS_MAX) {
        m->too_long = true;
        return;
    }
    for (int64_t i = 0; i < m->zeros; i++) {
        m->digits *= 10;
    }
    m->digits = m->digits * 10 + (unsigned)digit;
    m->count += (unsigned)m->zeros + 1;
    m->zeros = 0;
}

static struct mantissa take_mantissa(struct cursor *c)
{
    struct mantissa m = {0};
    int digit;
    while ((digit = take_digit(c)) >= 0) {
        mantissa_add(&m, digit, false);
    }
    if (take(c, '.')) {
        while ((digit = take_digit(c)) >= 0) {
            mantissa_add(&m, digit, true);
        }
    }
    return m;
}

/* An optional exponent; false if it is malformed. Saturates well beyond EXPONENT_MAX. */
static bool take_exponent(struct cursor *c, int64_t *ret_exponent)
{
    if (!take(c, 'e') && !take(c, 'E')) {
        *ret_exponent = 0;
        return true;
    }
    bool negative = take_sign(c);
    int64_t value = 0;
    int digit = take_digit(c);
    if (digit < 0) {
        return false;
    }
    for (; digit >= 0; digit = take_digit(c)) {
        value = value > INT32_MAX ? value : value * 10 + digit;
    }
    *ret_exponent = negative ? -value : value;
    return true;
}

static enum qd_decimal_result parse(struct cursor c, bool dollar, struct qd_decimal *ret_value)
{
    bool negative = take_sign(&c);
    if (dollar) {
        (void)take(&c, '$');
    }
    struct mantissa m = take_mantissa(&c);
    int64_t exponent;
    if (!m.seen || !take_exponent(&c, &exponent) || c.at != c.end) {
        return QD_DECIMAL_SYNTAX;
    }
    exponent += m.exponent + m.zeros;
    if (m.count == 0) {
        *ret_value = (struct qd_decimal){0};
        return QD_DECIMAL_OK;
    }
    if (m.too_long || exponent < -EXPONENT_MAX || exponent > EXPONENT_MAX) {
        return QD_DECIMAL_RANGE;
    }
    *ret_value = (struct qd_decimal){
        .digits = m.digits,
        .exponent = (int32_t)exponent,
        .negative = negative,
    };
    return QD_DECIMAL_OK;
}

static struct cursor cursor_of(struct qd_str text)
{
    if (text.len == 0) {
        return (struct cursor){NULL, NULL};
    }
    return (struct cursor){text.ptr, text.ptr + text.len};
}

enum qd_decimal_result qd_decimal_parse(struct qd_str text, struct qd_decimal *ret_value)
{
    return parse(cursor_of(text), false, ret_value);
}

enum qd_decimal_result qd_decimal_parse_usd(struct qd_str text, struct qd_decimal *ret_value)
{
    return parse(cursor_of(text), true, ret_value);
}

/* digits * 10^by, or false if it is beyond int128. */
static bool scale_up(qd_uint128 digits, int64_t by, qd_uint128 *ret_product)
{
    qd_uint128 product = digits;
    for (int64_t i = 0; i < by; i++) {
        if (product > (qd_uint128)int128_max / 10) {
            return false;
        }
        product *= 10;
    }
    *ret_product = product;
    return true;
}

enum qd_decimal_result qd_decimal_to_int128(const struct qd_decimal *value, unsigned scale,
                                            qd_int128 *ret_integer)
{
    if (value->digits == 0) {
        *ret_integer = 0;
        return QD_DECIMAL_OK;
    }
    int64_t shift = value->exponent + (int64_t)scale;
    if (shift < 0) {
        return QD_DECIMAL_INEXACT; /* digits has no trailing zero to give */
    }
    qd_uint128 magnitude;
    if (!scale_up(value->digits, shift, &magnitude)) {
        return QD_DECIMAL_OVERFLOW;
    }
    *ret_integer = value->negative ? -(qd_int128)magnitude : (qd_int128)magnitude;
    return QD_DECIMAL_OK;
}

static enum qd_decimal_result narrow(qd_int128 wide, int64_t *ret_integer)
{
    if (wide > INT64_MAX || wide < INT64_MIN) {
        return QD_DECIMAL_OVERFLOW;
    }
    *ret_integer = (int64_t)wide;
    return QD_DECIMAL_OK;
}

enum qd_decimal_result qd_decimal_to_int64(const struct qd_decimal *value, unsigned scale,
                                           int64_t *ret_integer)
{
    qd_int128 wide;
    enum qd_decimal_result result = qd_decimal_to_int128(value, scale, &wide);
    return result == QD_DECIMAL_OK ? narrow(wide, ret_integer) : result;
}

enum qd_decimal_result qd_decimal_to_int64_up(const struct qd_decimal *value, unsigned scale,
                                              int64_t *ret_integer)
{
    int64_t shift = value->exponent + (int64_t)scale;
    if (shift >= 0) { /* always so for 0, whose exponent is 0 */
        return qd_decimal_to_int64(value, scale, ret_integer);
    }
    qd_uint128 whole = value->digits;
    for (; shift < 0 && whole != 0; shift++) {
        whole /= 10; /* never exact: the last digit is not 0 */
    }
    qd_int128 rounded = value->negative ? -(qd_int128)whole : (qd_int128)whole + 1;
    return narrow(rounded, ret_integer);
}

static qd_uint128 gcd(qd_uint128 a, qd_uint128 b)
{
    while (b != 0) {
        qd_uint128 rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* amount / 10^by in lowest terms over `quantity`; false if quantity gets beyond int64. `amount` is
 * no multiple of ten. */
static bool scale_down(qd_uint128 *amount, qd_uint128 *quantity, int64_t by)
{
    for (int64_t i = 0; i < by; i++) {
        if (*amount % 2 == 0) {
            *amount /= 2;
            *quantity *= 5;
        } else if (*amount % 5 == 0) {
            *amount /= 5;
            *quantity *= 2;
        } else {
            *quantity *= 10;
        }
        if (*quantity > INT64_MAX) {
            return false;
        }
    }
    return true;
}

enum qd_decimal_result qd_decimal_to_price(const struct qd_decimal *value, int64_t per,
                                           int64_t *ret_amount_pico, int64_t *ret_quantity)
{
    QD_CHECK(per >= 1);
    if (value->negative) {
        return QD_DECIMAL_SYNTAX;
    }
    qd_uint128 amount = value->digits;
    qd_uint128 quantity = (qd_uint128)(uint64_t)per;
    if (amount == 0) {
        *ret_amount_pico = 0;
        *ret_quantity = 1;
        return QD_DECIMAL_OK;
    }
    int64_t shift = value->exponent + (int64_t)QD_PICO_DIGITS;
    if (shift >= 0) {
        if (!scale_up(amount, shift, &amount)) {
            return QD_DECIMAL_OVERFLOW;
        }
    } else if (!scale_down(&amount, &quantity, -shift)) {
        return QD_DECIMAL_INEXACT;
    }
    qd_uint128 common = gcd(amount, quantity);
    amount /= common;
    quantity /= common;
    if (amount > INT64_MAX) {
        return QD_DECIMAL_OVERFLOW;
    }
    *ret_amount_pico = (int64_t)amount;
    *ret_quantity = (int64_t)quantity;
    return QD_DECIMAL_OK;
}

/* Writes `magnitude` / 10^scale with at least `least` digits after the point, if any. */
static char *put_scaled(char *to, qd_uint128 magnitude, unsigned scale, unsigned least)
{
    char digits[DIGITS_MAX + 3]; /* the lowest first */
    unsigned count = 0;
    while (magnitude > UINT64_MAX) { /* 128 bits divide 20 times slower */
        digits[count++] = (char)('0' + (int)(magnitude % 10));
        magnitude /= 10;
    }
    uint64_t rest = (uint64_t)magnitude;
    do {
        digits[count++] = (char)('0' + (int)(rest % 10));
        rest /= 10;
    } while (rest != 0);
    while (count <= scale) {
        digits[count++] = '0';
    }
    unsigned first = 0; /* digits below it are trailing zeros after the point */
    while (first < scale && digits[first] == '0') {
        first++;
    }
    if (first < scale && scale - first < least) {
        first = scale - least;
    }
    for (unsigned i = count; i > first; i--) {
        if (i == scale) {
            *to++ = '.';
        }
        *to++ = digits[i - 1];
    }
    *to = '\0';
    return to;
}

static char *put_sign(char *to, qd_int128 value, qd_uint128 *ret_magnitude)
{
    *ret_magnitude = (qd_uint128)value;
    if (value < 0) {
        *to++ = '-';
        *ret_magnitude = -(qd_uint128)value;
    }
    return to;
}

size_t qd_decimal_format(qd_int128 value, unsigned scale, char ret_text[QD_DECIMAL_TEXT_MAX])
{
    QD_CHECK(scale <= DIGITS_MAX);
    qd_uint128 magnitude;
    char *to = put_sign(ret_text, value, &magnitude);
    return (size_t)(put_scaled(to, magnitude, scale, 1) - ret_text);
}

static size_t format_usd(qd_int128 value, unsigned scale, char *ret_text)
{
    qd_uint128 magnitude;
    char *to = put_sign(ret_text, value, &magnitude);
    *to++ = '$';
    return (size_t)(put_scaled(to, magnitude, scale, 2) - ret_text);
}

size_t qd_money_format_pico(qd_int128 pico_usd, char ret_text[QD_DECIMAL_TEXT_MAX])
{
    return format_usd(pico_usd, QD_PICO_DIGITS, ret_text);
}

size_t qd_money_format_nano(int64_t nano_usd, char ret_text[QD_DECIMAL_TEXT_MAX])
{
    return format_usd(nano_usd, QD_NANO_DIGITS, ret_text);
}
