/* A child process of a test: quotad, usually, on ports that the system chose.
 *
 * Layer:    tests/lib. Threads: any, one at a time per process.
 * Memory:   the caller's struct; release stops the child, so that none outlives its test. A child
 * is also killed by the system when the test's own process dies.
 */
#ifndef QD_TESTS_PROCESS_H
#define QD_TESTS_PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct qd_process {
    pid_t pid;               /* 0 when none runs. */
    int status;              /* From waitpid, once it has ended. */
    char log_path[PATH_MAX]; /* Its stdout and stderr. */
};

/* Start argv[0] (found in PATH unless it has a slash; argv ends with NULL), both outputs to
 * `log_path`, which is emptied. Aborts with a message when it cannot be started. */
void qd_process_start(struct qd_process *process, const char *const argv[], const char *log_path);

/* Wait until `text` is in the log. Returns false when `timeout_ms` passed or the process ended
 * without it. */
bool qd_process_wait_text(struct qd_process *process, const char *text, unsigned timeout_ms);

/* Wait for `before` followed by a number in the log ("gRPC 127.0.0.1:" finds the port).
 * Returns the number, or 0 as qd_process_wait_text returns false. */
uint16_t qd_process_wait_port(struct qd_process *process, const char *before, unsigned timeout_ms);

/* Wait for the end. Returns the exit code, 128 + the signal that ended it, or -1 after `timeout_ms`
 * (it still runs). */
int qd_process_wait(struct qd_process *process, unsigned timeout_ms);

/* Send `signal` and wait, as qd_process_wait. */
int qd_process_stop(struct qd_process *process, int signal, unsigned timeout_ms);

/* End it if it still runs: SIGTERM, then SIGKILL after 5 s. Prints the log if QD_VERBOSE is set. */
void qd_process_release(struct qd_process *process);

/* The bytes of a whole file and a final NUL, or NULL. The caller frees. */
char *qd_process_read_file(const char *path);

/* A program named by an environment variable ("QUOTAD_BIN"). Aborts with a message without it. */
const char *qd_process_program(const char *variable);

#endif /* QD_TESTS_PROCESS_H */
