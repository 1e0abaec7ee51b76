/* I6: the process_* series. */
#include "server/admin/process.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

Test(process, I6_a_name_with_blanks_and_brackets)
{
    struct qd_process_stat stat;
    cr_expect(
        qd_process_parse("42 (a) 1 b) S 1 42 42 0 -1 4194560 7 0 0 0 3 4 0 0 20 0 25 0 918273 "
                         "123456789 4321 18446744073709551615 1 1 0\n",
                         &stat));
    cr_expect_eq(stat.threads, 25);
    cr_expect_eq(stat.start_ticks, 918273);
    cr_expect_eq(stat.virtual_bytes, 123456789);
    cr_expect_eq(stat.resident_pages, 4321);
}

Test(process, I6_what_is_cut_short_is_nothing)
{
    struct qd_process_stat stat = {.threads = 77};
    cr_expect_not(qd_process_parse("", &stat));
    cr_expect_not(qd_process_parse("42 (a", &stat));
    cr_expect_not(
        qd_process_parse("42 (a) S 1 42 42 0 -1 4194560 7 0 0 0 3 4 0 0 20 0 25 0 9", &stat));
    cr_expect_eq(stat.threads, 77);
}

Test(process, I6_this_process)
{
    struct qd_process one;
    struct qd_process two;
    qd_process_read(&one);
    int fd = open("/dev/null", O_RDONLY);
    cr_assert_geq(fd, 0);
    qd_process_read(&two);
    close(fd);
    cr_expect_eq(two.open_fds, one.open_fds + 1);
    cr_expect_gt(one.open_fds, 2);
    cr_expect_geq(one.max_fds, one.open_fds);
    cr_expect_gt(one.resident_bytes, 0);
    cr_expect_gt(one.stat.virtual_bytes, one.resident_bytes);
    cr_expect_geq(two.cpu_ns, one.cpu_ns);
    cr_expect_gt(one.cpu_ns, 0);
    cr_expect_eq(two.started_ns, one.started_ns);
    /* It started before now, and after the machine did. */
    struct timespec up;
    cr_assert_eq(clock_gettime(CLOCK_BOOTTIME, &up), 0);
    cr_expect_leq(one.started_ns, ((int64_t)time(NULL) + 1) * 1000000000);
    cr_expect_geq(one.started_ns, ((int64_t)time(NULL) - up.tv_sec - 2) * 1000000000);
}
