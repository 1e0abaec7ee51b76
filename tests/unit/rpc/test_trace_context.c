/* X8: traceparent, to the letter of W3C Trace Context. */
#include "server/rpc/trace_context.h"

#include <criterion/criterion.h>
#include <string.h>

static bool parse(const char *text, struct qd_trace_context *ret_context)
{
    return qd_trace_context_parse((struct qd_str){text, strlen(text)}, ret_context);
}

Test(trace_context, X8_the_recommendations_examples)
{
    struct qd_trace_context c;
    cr_assert(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &c));
    cr_expect_str_eq(c.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    cr_expect_str_eq(c.parent_id, "00f067aa0ba902b7");
    cr_expect(c.sampled);
    cr_assert(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", &c));
    cr_expect_not(c.sampled);
    cr_assert(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", &c));
    cr_expect(c.sampled, "other flags are to come");
}

Test(trace_context, X8_a_later_version_may_say_more)
{
    struct qd_trace_context c;
    cr_assert(parse("cc-12345678901234567890123456789012-1234567890123456-01", &c));
    cr_assert(parse("cc-12345678901234567890123456789012-1234567890123456-01-what-comes", &c));
    cr_expect_str_eq(c.trace_id, "12345678901234567890123456789012");
    cr_expect_not(parse("cc-12345678901234567890123456789012-1234567890123456-01.what", &c));
}

Test(trace_context, X8_what_is_wrong_is_ignored)
{
    static const char *const wrong[] = {
        "",
        "00",
        "garbage",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0z",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
    };
    struct qd_trace_context c = {.trace_id = "untouched"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_expect_not(parse(wrong[i], &c), "%s", wrong[i]);
    }
    cr_expect_str_eq(c.trace_id, "untouched");
}
