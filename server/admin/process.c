#include "server/admin/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

bool qd_process_parse(const char *line, struct qd_process_stat *ret_stat)
{
    struct qd_process_stat stat;
    const char *rest = strrchr(line, ')'); /* what follows the name is numbers, but for a state */

    /* 3 state, 4-19, 20 threads, 21, 22 start, 23 virtual bytes, 24 resident pages: proc(5). */
    if (rest == NULL ||
        sscanf(rest,
               ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64
               " %*s %" SCNu64 " %" SCNu64 " %" SCNu64,
               &stat.threads, &stat.start_ticks, &stat.virtual_bytes, &stat.resident_pages) != 4) {
        return false;
    }
    *ret_stat = stat;
    return true;
}

static void read_stat(struct qd_process_stat *ret_stat)
{
    char line[1024];
    FILE *file = fopen("/proc/self/stat", "re");

    if (file == NULL) {
        return;
    }
    if (fgets(line, sizeof(line), file) != NULL) {
        (void)qd_process_parse(line, ret_stat);
    }
    (void)fclose(file);
}

static uint64_t count_fds(void)
{
    uint64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");

    if (dir == NULL) {
        return 0;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(dir);
    return count > 0 ? count - 1 : 0;
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Ticks since boot as Unix time, worked out once: anew it would wander with the clock's
 * corrections, and whoever counts restarts counts its changes. */
static int64_t started_ns(uint64_t start_ticks)
{
    static _Atomic int64_t known;
    int64_t before = 0;
    int64_t ticks_per_s = sysconf(_SC_CLK_TCK);

    if (start_ticks == 0 || ticks_per_s <= 0) {
        return 0;
    }
    int64_t booted = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_BOOTTIME);
    int64_t started = booted + (int64_t)start_ticks * (NS_PER_S / ticks_per_s);
    /* The first one stays, whoever else comes at the same time. */
    return atomic_compare_exchange_strong(&known, &before, started) ? started : before;
}

void qd_process_read(struct qd_process *ret_process)
{
    struct qd_process process = {0};
    struct rlimit limit;
    long page = sysconf(_SC_PAGESIZE);

    read_stat(&process.stat);
    process.resident_bytes = process.stat.resident_pages * (page > 0 ? (uint64_t)page : 0);
    process.open_fds = count_fds();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        process.max_fds = limit.rlim_cur;
    }
    process.cpu_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    process.started_ns = started_ns(process.stat.start_ticks);
    *ret_process = process;
}
