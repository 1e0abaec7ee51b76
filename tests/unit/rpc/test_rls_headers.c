/* Point 12: which descriptor the headers tell of, and how; the reference server's switches. */
#include "server/rpc/rls_headers.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct qd_rls_answer answer;
static bool quota[QD_RLS_DESCRIPTORS_MAX];
static struct qd_rls_header_room room;
static struct qd_rls_options options;

static bool same(struct qd_str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

static void add_status(enum qd_rls_code code, uint32_t limit, uint32_t remaining, int64_t reset_s)
{
    quota[answer.status_count] = false;
    answer.statuses[answer.status_count++] = (struct qd_rls_status){.code = code,
                                                                    .has_limit = true,
                                                                    .requests_per_unit = limit,
                                                                    .limit_remaining = remaining,
                                                                    .has_reset = true,
                                                                    .reset_s = reset_s};
}

/* The headers as one text: "LIMIT/REMAINING/RESET", "-" for none. */
static const char *headers(void)
{
    static char text[128];

    answer.header_count = 0;
    cr_assert(qd_rls_options_header_names(&options, "L,R,S"));
    qd_rls_headers_add(&options, quota, &room, &answer);
    if (answer.header_count == 0) {
        return "-";
    }
    cr_assert_eq(answer.header_count, 3);
    cr_assert(same(answer.headers[0].key, "L") && same(answer.headers[1].key, "R") &&
              same(answer.headers[2].key, "S"));
    (void)snprintf(text, sizeof(text), "%.*s/%.*s/%.*s", (int)answer.headers[0].value.len,
                   answer.headers[0].value.ptr, (int)answer.headers[1].value.len,
                   answer.headers[1].value.ptr, (int)answer.headers[2].value.len,
                   answer.headers[2].value.ptr);
    return text;
}

static void clear(void)
{
    memset(&answer, 0, sizeof(answer));
}

TestSuite(rls_headers, .init = clear);

Test(rls_headers, I3_point_12_the_least_remaining_is_told)
{
    cr_expect_str_eq(headers(), "-");
    answer.status_count = 1; /* nothing limits it */
    answer.statuses[0] = (struct qd_rls_status){.code = QD_RLS_OK};
    cr_expect_str_eq(headers(), "-");
    add_status(QD_RLS_OK, 10, 7, 60);
    cr_expect_str_eq(headers(), "10/7/60");
    add_status(QD_RLS_OK, 4294967295U, 3, 31536000);
    cr_expect_str_eq(headers(), "4294967295/3/31536000");
    add_status(QD_RLS_OK, 5, 3, 1);
    cr_expect_str_eq(headers(), "4294967295/3/31536000", "the first of equals");
}

Test(rls_headers, I3_point_12_the_last_that_is_over_is_told)
{
    add_status(QD_RLS_OVER_LIMIT, 5, 0, 5);
    add_status(QD_RLS_OK, 6, 0, 6);
    cr_expect_str_eq(headers(), "5/0/5");
    add_status(QD_RLS_OVER_LIMIT, 7, 0, 7);
    cr_expect_str_eq(headers(), "7/0/7");
    add_status(QD_RLS_OVER_LIMIT, 8, 0, 8);
    quota[3] = true;
    cr_expect_str_eq(headers(), "7/0/7", "a quota is not told of before the others");
}

Test(rls_headers, I3_point_12_a_quota_counts_by_what_remains)
{
    add_status(QD_RLS_OK, 5, 2, 5);
    add_status(QD_RLS_OVER_LIMIT, 8, 0, 8);
    quota[1] = true;
    cr_expect_str_eq(headers(), "8/0/8");
}

Test(rls_headers, I3_point_12_names_are_three_tokens)
{
    static const char *const bad[] = {"",     "a",    "a,b",     "a,b,c,d", "a,,c",
                                      "a,b,", ",b,c", "a b,c,d", "a,b,c:",  "a,b,\xc3\xbc"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_not(qd_rls_options_header_names(&options, bad[i]), "%s", bad[i]);
    }
    cr_assert(qd_rls_options_header_names(&options, "X-Limit,x_remaining,RateLimit-Reset"));
    cr_expect(same(options.header_names[QD_RLS_HEADER_REMAINING], "x_remaining"));
}

Test(rls_headers, I3_domains_that_slide_are_named)
{
    cr_assert(qd_rls_options_sliding(&options, ""));
    cr_expect_not(qd_rls_options_slides(&options, (struct qd_str){"shop", 4}));
    cr_assert(qd_rls_options_sliding(&options, "edge,shop"));
    cr_expect(qd_rls_options_slides(&options, (struct qd_str){"shop", 4}));
    cr_expect_not(qd_rls_options_slides(&options, (struct qd_str){"shops", 5}));
    cr_expect_not(qd_rls_options_slides(&options, (struct qd_str){"", 0}));
    cr_assert(qd_rls_options_sliding(&options, "*"));
    cr_expect(qd_rls_options_slides(&options, (struct qd_str){"any", 3}));
    cr_expect_not(qd_rls_options_sliding(&options, "a,"));
    cr_expect_not(qd_rls_options_sliding(
        &options, "1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,"
                  "1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5"));
}
