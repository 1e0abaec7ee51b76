/* X8: a domain that no file has is told, seldom, and whatever its bytes are. */
#include "server/rpc/rls_unknown.h"
#include "tests/unit/rpc/log_pipe.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *text; /* as of the last look */

/* Each test is a process of its own: none is kept from its line by another's. */
TestSuite(rls_unknown, .init = log_pipe_open, .fini = log_pipe_close, .timeout = 60);

/* The fields of what was logged since the last time; "": nothing. */
static const char *fields(void)
{
    static const char last[] = "domains that there are\" ";

    text = log_pipe_read();
    const char *found = strstr(text, last);
    return found != NULL ? found + strlen(last) : text;
}

static void tell(const char *domain, size_t len, int64_t ms)
{
    qd_rls_unknown_tell((struct qd_str){domain, len}, 2,
                        (struct qd_wall_ns){ms * (QD_NS_PER_S / 1000)});
}

Test(rls_unknown, X8_a_flood_is_one_line_in_ten_seconds)
{
    tell("egde", 4, 5000);
    cr_expect_not_null(strstr(fields(), "domain=egde domains=2 left_out=0\n"));
    cr_expect_not_null(strstr(text, " level=warn msg=\"no file of --rls-config has this domain: "));
    for (int64_t ms = 5000; ms < 15000; ms++) {
        tell("egde", 4, ms);
    }
    cr_expect_str_eq(fields(), "");
    tell("edgy", 4, 15000);
    tell("edgy", 4, 15000);
    cr_expect_str_eq(fields(), "domain=edgy domains=2 left_out=10000\n");
    tell("edgy", 4, 40000);
    cr_expect_str_eq(fields(), "domain=edgy domains=2 left_out=1\n");
}

Test(rls_unknown, X8_a_domain_cannot_forge_a_line)
{
    static const char domain[] = "a\" level=error\nb\0c\xff";

    tell(domain, sizeof(domain) - 1, 0);
    cr_expect_str_eq(fields(), "domain=\"a\\\" level=error\\\\x0ab\\\\x00c\\\\xff\" domains=2 "
                               "left_out=0\n");
}

Test(rls_unknown, X8_a_long_domain_is_cut_off)
{
    static char domain[1 << 16];

    memset(domain, '"', sizeof(domain));
    tell(domain, sizeof(domain), 0);
    const char *told = fields();
    cr_expect_lt(strlen(told), (size_t)2 * QD_QUOTED_MAX + 64);
    cr_expect_not_null(strstr(told, "\\\"...\" domains=2 left_out=0\n"));
}
