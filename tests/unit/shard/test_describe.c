/* The words of a denial. */
#include "server/shard/describe.h"

#include <criterion/criterion.h>

static void waits(int64_t wait_ns, const char *expected)
{
    char buffer[64];
    struct qd_text text;

    qd_text_init(&text, buffer, sizeof(buffer));
    qd_describe_wait(&text, wait_ns);
    cr_expect_str_eq(buffer, expected);
}

Test(describe, I5_waits_in_words_never_come_early)
{
    waits(1, "1 ms");
    waits(999 * QD_NS_PER_MS, "999 ms");
    waits(QD_NS_PER_S - 1, "1.0 s");
    waits(8417911509, "8.5 s");
    waits(12400 * QD_NS_PER_MS, "12.4 s");
    waits(59950 * QD_NS_PER_MS, "1 min 0 s");
    waits(60660 * QD_NS_PER_MS, "1 min 1 s");
    waits(3599 * QD_NS_PER_S + 1, "1 h 0 min");
    waits(3600 * QD_NS_PER_S + 1, "1 h 1 min");
    waits(172800 * QD_NS_PER_S - 1, "2 days");
    waits(172800 * QD_NS_PER_S + 1, "3 days");
    waits(INT64_MAX, "106752 days");
}
