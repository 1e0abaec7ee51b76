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

/* Those of a denial as one text, a line each. */
static const char *denial(void)
{
    static char text[1024];
    static struct qd_rls_denial_room denial_room;
    int len = 0;

    answer.header_count = 0;
    qd_rls_headers_deny(quota, &denial_room, &answer);
    text[0] = '\0';
    for (size_t i = 0; i < answer.header_count; i++) {
        const struct qd_rls_header *h = &answer.headers[i];
        len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%.*s: %.*s", i > 0 ? "\n" : "",
                        (int)h->key.len, h->key.ptr, (int)h->value.len, h->value.ptr);
    }
    return text;
}

static void name_last(const char *name, uint32_t unit)
{
    answer.statuses[answer.status_count - 1].name = (struct qd_str){name, strlen(name)};
    answer.statuses[answer.status_count - 1].unit = unit;
}

Test(rls_headers, I5_a_denial_says_when_to_come_back)
{
    add_status(QD_RLS_OK, 100, 7, 3600);
    add_status(QD_RLS_OVER_LIMIT, 20, 0, 50);
    name_last("edge per minute", 2);
    cr_expect_str_eq(denial(), "retry-after: 50\n"
                               "ratelimit-policy: \"edge per minute\";q=20;w=60\n"
                               "ratelimit: \"edge per minute\";r=0;t=50");
}

/* Not before the last of those that deny. A quota denies nobody. */
Test(rls_headers, I5_retry_after_is_when_all_are_whole_again)
{
    add_status(QD_RLS_OVER_LIMIT, 5, 0, 80000);
    add_status(QD_RLS_OVER_LIMIT, 20, 0, 50);
    add_status(QD_RLS_OVER_LIMIT, 1, 0, 90000);
    quota[2] = true;
    cr_expect_str_eq(denial(), "retry-after: 80000\n"
                               "ratelimit-policy: \"limit\";q=20\n"
                               "ratelimit: \"limit\";r=0;t=50");
}

Test(rls_headers, I5_a_name_that_would_break_out_does_not_stand_there)
{
    static const char *const names[] = {"a\"; r=9", "a\\", "a\r\nset-cookie: x", "\xc3\xbc", ""};
    char long_name[QD_RLS_DENIAL_NAME_MAX + 2];

    add_status(QD_RLS_OVER_LIMIT, 20, 0, 50);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        name_last(names[i], 1);
        cr_expect_str_eq(denial(),
                         "retry-after: 50\nratelimit-policy: \"limit\";q=20;w=1\n"
                         "ratelimit: \"limit\";r=0;t=50",
                         "%s", names[i]);
    }
    memset(long_name, 'n', sizeof(long_name));
    long_name[QD_RLS_DENIAL_NAME_MAX + 1] = '\0';
    name_last(long_name, 1);
    cr_expect_not_null(strstr(denial(), "\"limit\";q=20"));
    long_name[QD_RLS_DENIAL_NAME_MAX] = '\0';
    name_last(long_name, 1);
    cr_expect_not_null(strstr(denial(), "nnn\";r=0;t=50"));
}

/* No room for its counter (--rls-when-full deny). */
Test(rls_headers, I5_where_no_limit_is_known_only_the_time_is_told)
{
    add_status(QD_RLS_OVER_LIMIT, 0, 0, 1);
    answer.statuses[0].has_limit = false;
    cr_expect_str_eq(denial(), "retry-after: 1");
    answer.statuses[0].has_reset = false;
    cr_expect_str_eq(denial(), "");
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
