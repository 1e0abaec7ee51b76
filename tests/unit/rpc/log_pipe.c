#include "tests/unit/rpc/log_pipe.h"

#include "server/log/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

static char text[1 << 16];
static int ends[2];

void log_pipe_open(void)
{
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    qd_log_set_fd(ends[1]);
}

void log_pipe_close(void)
{
    qd_log_set_fd(STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
}

const char *log_pipe_read(void)
{
    ssize_t n = read(ends[0], text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}
