/* Runs quotactl in this process and keeps what it printed.
 *
 * Layer: tests. Threads: one at a time. Memory: release frees the texts.
 */
#ifndef QD_TESTS_UNIT_CLIENT_RUN_CTL_H
#define QD_TESTS_UNIT_CLIENT_RUN_CTL_H

struct ctl_run {
    int code;
    char *out;
    char *err;
};

/* `line` is split at spaces; '...' keeps spaces. `address` (may be NULL) becomes --address. */
struct ctl_run run_ctl(const char *address, const char *line);
void ctl_run_release(struct ctl_run *run);

#endif /* QD_TESTS_UNIT_CLIENT_RUN_CTL_H */
