/* Decimal text: whatever parses comes back the same, and its conversions agree with each other. */
#include "server/core/decimal.h"
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* digits * 10^exponent is what the text of digits / 10^scale says, where the exponent allows. */
static void check_format(const struct qd_decimal *d)
{
    if (d->exponent > 0 || d->exponent < -38) {
        return;
    }
    char text[QD_DECIMAL_TEXT_MAX];
    qd_int128 value = d->negative ? -(qd_int128)d->digits : (qd_int128)d->digits;
    size_t length = qd_decimal_format(value, (unsigned)-d->exponent, text);
    struct qd_decimal again;
    require(length < QD_DECIMAL_TEXT_MAX && strlen(text) == length);
    require(qd_decimal_parse((struct qd_str){text, length}, &again) == QD_DECIMAL_OK);
    require(again.digits == d->digits && again.exponent == d->exponent &&
            again.negative == d->negative);
}

static void check_integers(const struct qd_decimal *d, unsigned scale)
{
    int64_t exact = 0;
    int64_t up = 0;
    qd_int128 wide = 0;
    enum qd_decimal_result result = qd_decimal_to_int64(d, scale, &exact);
    enum qd_decimal_result wide_result = qd_decimal_to_int128(d, scale, &wide);
    enum qd_decimal_result up_result = qd_decimal_to_int64_up(d, scale, &up);
    if (result == QD_DECIMAL_OK) {
        require(wide_result == QD_DECIMAL_OK && wide == exact);
        require(up_result == QD_DECIMAL_OK && up == exact);
        char text[QD_DECIMAL_TEXT_MAX];
        require(qd_money_format_nano(exact, text) < sizeof text);
        require(qd_money_format_pico(wide, text) < sizeof text);
    }
    require((wide_result == QD_DECIMAL_INEXACT) == (result == QD_DECIMAL_INEXACT));
}

/* amount / quantity is value * 10^12 / per, cross-multiplied where that fits. */
static void check_price(const struct qd_decimal *d, int64_t per)
{
    int64_t amount = -1;
    int64_t quantity = -1;
    if (qd_decimal_to_price(d, per, &amount, &quantity) != QD_DECIMAL_OK) {
        require(amount == -1 && quantity == -1);
        return;
    }
    require(amount >= 0 && quantity >= 1 && !d->negative);
    qd_int128 pico;
    if (qd_decimal_to_int128(d, QD_PICO_DIGITS, &pico) == QD_DECIMAL_OK &&
        pico < ((qd_int128)1 << 63)) {
        require((qd_int128)amount * per == pico * quantity);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_str text = {(const char *)data, size};
    struct qd_decimal d;
    struct qd_decimal usd;
    enum qd_decimal_result result = qd_decimal_parse(text, &d);
    enum qd_decimal_result usd_result = qd_decimal_parse_usd(text, &usd);
    if (result != QD_DECIMAL_OK) {
        return 0;
    }
    require(usd_result == QD_DECIMAL_OK && usd.digits == d.digits && usd.exponent == d.exponent);
    require(d.exponent >= -1000 && d.exponent <= 1000);
    require(d.digits != 0 ? d.digits % 10 != 0 : d.exponent == 0 && !d.negative);
    check_format(&d);
    for (unsigned scale = 0; scale <= 18; scale += 3) {
        check_integers(&d, scale);
    }
    static const int64_t pers[] = {1, 2, 1000, 3600000, 1000000, INT64_MAX};
    for (size_t i = 0; i < sizeof pers / sizeof pers[0]; i++) {
        check_price(&d, pers[i]);
    }
    return 0;
}
