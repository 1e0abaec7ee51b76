#include "tests/lib/process.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct qd_tempdir dir;
static struct qd_process process;

static void setup(void)
{
    qd_tempdir_init(&dir);
}

static void teardown(void)
{
    qd_process_release(&process);
    qd_tempdir_release(&dir);
}

TestSuite(process, .init = setup, .fini = teardown);

static void start(const char *script)
{
    char log[PATH_MAX];
    const char *const argv[] = {"sh", "-c", script, NULL};
    qd_process_start(&process, argv, qd_tempdir_path(&dir, "log", log));
}

Test(process, finds_the_port_and_stops_by_signal)
{
    start("echo 'x  gRPC 127.0.0.1:4321  admin http://127.0.0.1:99'; exec sleep 60");
    cr_assert_eq(qd_process_wait_port(&process, "gRPC 127.0.0.1:", 5000), 4321);
    cr_assert_eq(qd_process_wait_port(&process, "admin http://127.0.0.1:", 5000), 99);
    cr_assert_eq(qd_process_wait(&process, 20), -1);
    cr_assert_eq(qd_process_stop(&process, SIGTERM, 5000), 128 + SIGTERM);
}

Test(process, sees_an_early_end)
{
    start("echo no; exit 3");
    cr_assert_not(qd_process_wait_text(&process, "ready", 5000));
    cr_assert_eq(qd_process_wait(&process, 5000), 3);
}

Test(process, release_ends_one_that_ignores_sigterm)
{
    start("trap '' TERM; echo ready; while :; do sleep 1; done");
    cr_assert(qd_process_wait_text(&process, "ready", 5000));
    pid_t pid = process.pid;
    qd_process_release(&process);
    cr_assert_neq(kill(pid, 0), 0);
}

Test(process, tempdir_goes_with_its_files)
{
    char path[PATH_MAX];
    char name[PATH_MAX];
    struct qd_tempdir own;
    qd_tempdir_init(&own);
    qd_tempdir_write(&own, "file", "abc", 3);
    char *text = qd_process_read_file(qd_tempdir_path(&own, "file", path));
    cr_assert_str_eq(text, "abc");
    free(text);
    memcpy(name, own.path, sizeof name);
    qd_tempdir_release(&own);
    cr_assert_neq(access(name, F_OK), 0);
}
