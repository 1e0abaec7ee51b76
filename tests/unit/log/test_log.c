/* X8: one logfmt line a call, levelled, escaped, sampled on hot paths. */
#include "server/log/log.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static char line[QD_LOG_LINE_MAX * 2];
static int ends[2];

static void listen_in(void)
{
    cr_assert_eq(pipe(ends), 0);
    qd_log_set_fd(ends[1]);
}

static void end(void)
{
    qd_log_set_fd(STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
}

/* What was logged since the last call, without the time stamp of its first line. */
static const char *heard(void)
{
    ssize_t n = read(ends[0], line, sizeof(line) - 1);
    cr_assert(n > 0);
    line[n] = '\0';
    const char *level = strstr(line, " level=");
    cr_assert_not_null(level);
    cr_assert_eq(strncmp(line, "ts=20", 5), 0);
    return level + 1;
}

TestSuite(log, .init = listen_in, .fini = end);

Test(log, X8_lines_are_logfmt)
{
    qd_log(QD_LOG_INFO, "policy loaded", "revision=%d file=%s", 3,
           qd_log_quote("my policy.yaml").text);
    cr_expect_str_eq(heard(),
                     "level=info msg=\"policy loaded\" revision=3 file=\"my policy.yaml\"\n");
    qd_log(QD_LOG_ERROR, "done", NULL);
    cr_expect_str_eq(heard(), "level=error msg=done\n");
}

Test(log, X8_a_line_cannot_forge_another)
{
    qd_log(QD_LOG_WARN, "x", "name=%s", qd_log_quote("a\nlevel=error msg=\"y\"\x01").text);
    cr_expect_str_eq(heard(), "level=warn msg=x name=\"a\\nlevel=error msg=\\\"y\\\"\\x01\"\n");
    cr_expect_str_eq(qd_log_quote("").text, "\"\"");
    cr_expect_str_eq(qd_log_quote("plain").text, "plain");
}

Test(log, X8_a_long_value_is_cut_off_within_its_quotes)
{
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[0] = ' ';
    text[sizeof(text) - 1] = '\0';
    struct qd_log_value value = qd_log_quote(text);
    size_t length = strlen(value.text);
    cr_expect_lt(length, sizeof(value.text));
    cr_expect_eq(value.text[length - 1], '"');
    qd_log(QD_LOG_INFO, "long", "a=%s b=%s c=%s d=%s", value.text, value.text, value.text,
           value.text);
    const char *got = heard();
    cr_expect_eq(got[strlen(got) - 1], '\n');
    cr_expect_leq(strlen(line), (size_t)QD_LOG_LINE_MAX);
}

Test(log, X8_levels_below_the_chosen_are_dropped)
{
    qd_log_set_level(QD_LOG_WARN);
    qd_log(QD_LOG_INFO, "unheard", NULL);
    qd_log(QD_LOG_WARN, "heard", NULL);
    cr_expect_str_eq(heard(), "level=warn msg=heard\n");
    qd_log_set_level(QD_LOG_INFO);
}

Test(log, X8_sampling_counts_what_it_leaves_out)
{
    struct qd_log_sampler sampler = {.per_second = 3};
    uint64_t allowed = 0;
    uint64_t reported = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t left_out = 0;
        if (qd_log_sample(&sampler, &left_out)) {
            allowed++;
            reported += left_out;
        }
    }
    /* However many seconds that took: every line was either allowed or counted. */
    cr_expect_geq(allowed, 3U);
    cr_expect_lt(allowed, 1000U);
    cr_expect_eq(allowed + reported + atomic_load(&sampler.left_out), 1000U);
}
