/* What the system says of this process: the process_* series that every Prometheus client has (I6).
 *
 * Layer:    admin
 * Units:    bytes, ns, as the field says.
 * Threads:  any; reads /proc/self, which costs some 50 us and more with many descriptors.
 */
#ifndef QD_ADMIN_PROCESS_H
#define QD_ADMIN_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Of /proc/self/stat. */
struct qd_process_stat {
    uint64_t threads;
    uint64_t start_ticks; /* since the machine's boot */
    uint64_t virtual_bytes;
    uint64_t resident_pages;
};

struct qd_process {
    struct qd_process_stat stat;
    uint64_t resident_bytes;
    uint64_t open_fds; /* this look's own is not counted */
    uint64_t max_fds;
    int64_t cpu_ns;     /* user and system */
    int64_t started_ns; /* Unix time */
};

/* A line of /proc/PID/stat. False: it isn't one. The name in it may have blanks and brackets. */
bool qd_process_parse(const char *line, struct qd_process_stat *ret_stat);

/* What cannot be read is 0. */
void qd_process_read(struct qd_process *ret_process);

#endif /* QD_ADMIN_PROCESS_H */
