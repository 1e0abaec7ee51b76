/* LD_PRELOAD: moves the system's wall clock for one process by the seconds that the file
 * $QD_CLOCK_FILE holds. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The C library declares it, under names of its own. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    long result = syscall(SYS_clock_gettime, id, ts);

    if (id == CLOCK_REALTIME && result == 0) {
        const char *path = getenv("QD_CLOCK_FILE");
        FILE *file = path != NULL ? fopen(path, "re") : NULL;
        long shift = 0;
        if (file != NULL) {
            if (fscanf(file, "%ld", &shift) == 1) {
                ts->tv_sec += shift;
            }
            (void)fclose(file);
        }
    }
    return (int)result;
}
