/* Decimal text to exact numbers and back: prices and money, never through floating point (P7).
 *
 * Layer:    core (pure)
 * Units:    a decimal is sign x digits x 10^exponent; money in pico-USD (10^-12 $) or nano-USD.
 * Threads:  values only.
 * Memory:   the caller's.
 */
#ifndef QD_CORE_DECIMAL_H
#define QD_CORE_DECIMAL_H

#include "types.h"

#define QD_PICO_DIGITS 12 /* pico-USD: scale of money in the ledger */
#define QD_NANO_DIGITS 9  /* nano-USD: scale of money in limits */

/* Exact. Normalised: digits has no trailing zero unless it is 0, and then exponent is 0 and
 * negative is false. */
struct qd_decimal {
    qd_uint128 digits; /* < 10^38 */
    int32_t exponent;  /* -1000 .. 1000 */
    bool negative;
};

enum qd_decimal_result {
    QD_DECIMAL_OK = 0,
    QD_DECIMAL_SYNTAX,   /* not a number of the accepted form */
    QD_DECIMAL_RANGE,    /* more than 38 significant digits, or the exponent is out of range */
    QD_DECIMAL_INEXACT,  /* the target cannot hold it exactly */
    QD_DECIMAL_OVERFLOW, /* too large for the target */
};

/* Parse all of `text`: an optional sign, digits with an optional point (a digit on at least one
 * side), an optional exponent ("1.3e-10", "5", ".5", "-0.25E+3"). No spaces, no separators, no
 * "inf". */
enum qd_decimal_result qd_decimal_parse(struct qd_str text, struct qd_decimal *ret_value);

/* The same with an optional `$` after the sign: "$500", "-$0.41", "0.0011". */
enum qd_decimal_result qd_decimal_parse_usd(struct qd_str text, struct qd_decimal *ret_value);

/* value * 10^scale as an integer, exactly: OK, INEXACT or OVERFLOW (beyond int64 or int128). */
enum qd_decimal_result qd_decimal_to_int64(const struct qd_decimal *value, unsigned scale,
                                           int64_t *ret_integer);
enum qd_decimal_result qd_decimal_to_int128(const struct qd_decimal *value, unsigned scale,
                                            qd_int128 *ret_integer);

/* The same rounded up, towards +infinity: OK or OVERFLOW. */
enum qd_decimal_result qd_decimal_to_int64_up(const struct qd_decimal *value, unsigned scale,
                                              int64_t *ret_integer);

/* A price of `value` dollars for each `per` units (>= 1) as a price line's rational: amount_pico
 * for each `quantity` units, in lowest powers of ten. INEXACT if no such pair of int64 exists (more
 * than 18 digits below a pico-USD); OVERFLOW if the amount is beyond int64; SYNTAX if `value` is
 * negative. */
enum qd_decimal_result qd_decimal_to_price(const struct qd_decimal *value, int64_t per,
                                           int64_t *ret_amount_pico, int64_t *ret_quantity);

/* --- and back ----------------------------------------------------------------------------------
 */

#define QD_DECIMAL_TEXT_MAX 64 /* bytes that any of these writes, the NUL included */

/* value / 10^scale (scale <= 38) as plain decimal text, exact, without trailing zeros:
 * "0.00000000013",
 * "-2.5", "0". Returns the length. */
size_t qd_decimal_format(qd_int128 value, unsigned scale, char ret_text[QD_DECIMAL_TEXT_MAX]);

/* Money for people, exact: "$500", "$0.41", "$0.0011", "-$2.50". Whole dollars have no point, the
 * rest at least two digits after it. */
size_t qd_money_format_pico(qd_int128 pico_usd, char ret_text[QD_DECIMAL_TEXT_MAX]);
size_t qd_money_format_nano(int64_t nano_usd, char ret_text[QD_DECIMAL_TEXT_MAX]);

#endif /* QD_CORE_DECIMAL_H */
