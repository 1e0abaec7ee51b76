/* I8: errors have a status, a reason and a sentence; what came from outside is quoted safely. */
#include "server/shard/error.h"

#include <criterion/criterion.h>
#include <string.h>

static struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

Test(error, I8_every_reason_has_a_status)
{
    for (int i = 1; i < QD_ERROR_COUNT; i++) {
        cr_assert_neq(qd_error_status((enum qd_error_code)i), QD_STATUS_OK, "%s",
                      qd_error_reason((enum qd_error_code)i));
        /* Gateways make a tenant's 429 of it; of a report, whose request was served, nobody does.
         */
        cr_assert_eq(qd_error_status((enum qd_error_code)i) == QD_STATUS_RESOURCE_EXHAUSTED,
                     i == QD_ERROR_REPORTS_QUEUE_FULL, "%s",
                     qd_error_reason((enum qd_error_code)i));
    }
}

Test(error, I8_overload_is_unavailable)
{
    cr_assert_eq(qd_error_status(QD_ERROR_OVERLOADED), QD_STATUS_UNAVAILABLE);
    cr_assert_str_eq(qd_error_reason(QD_ERROR_UNKNOWN_METER), "UNKNOWN_METER");
}

Test(error, X2_quoting_escapes_and_cuts)
{
    char big[500];

    cr_assert_str_eq(qd_quote(str("acme")).text, "\"acme\"");
    cr_assert_str_eq(qd_quote(str("a\x01\xff"
                                  "b"))
                         .text,
                     "\"a\\x01\\xffb\"");
    memset(big, 'x', sizeof(big));
    struct qd_quoted q = qd_quote((struct qd_str){big, sizeof(big)});
    cr_assert_leq(strlen(q.text), QD_QUOTED_MAX - 1);
    cr_assert_str_eq(q.text + strlen(q.text) - 4, "...\"");
}

Test(error, X2_utf8_is_checked)
{
    cr_assert(qd_utf8_valid(str("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80")));
    cr_assert_not(qd_utf8_valid(str("\xc0\xaf")), "overlong");
    cr_assert_not(qd_utf8_valid(str("\xed\xa0\x80")), "surrogate");
    cr_assert_not(qd_utf8_valid(str("\xf4\x90\x80\x80")), "above U+10FFFF");
    cr_assert_not(qd_utf8_valid(str("\xe2\x82")), "cut off");
    cr_assert_not(qd_utf8_valid(str("a\nb")), "control");
    cr_assert_not(qd_utf8_valid(str("\xc2\x85")), "C1 control");
}
