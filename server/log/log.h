/* Log lines in logfmt on standard error (X8).
 *
 * Layer:    edges (rpc, admin, main); the inner folders return errors instead
 * Threads:  any; one line is one write(2).
 * Memory:   none kept; a line is cut off at QD_LOG_LINE_MAX.
 */
#ifndef QD_LOG_LOG_H
#define QD_LOG_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define QD_LOG_LINE_MAX 2048

enum qd_log_level {
    QD_LOG_DEBUG,
    QD_LOG_INFO,
    QD_LOG_WARN,
    QD_LOG_ERROR,
};

/* Lines below `level` are dropped; INFO at start. */
void qd_log_set_level(enum qd_log_level level);

/* Where lines go: a file descriptor that the caller keeps open; 2 at start. Tests use it. */
void qd_log_set_fd(int fd);

/* One line: ts, level, msg, then fields. `fields` is logfmt made by the caller's format ("path=%s
 * code=%d"); a value that may hold blanks or quotes goes through qd_log_quote first. NULL: no
 * fields. */
__attribute__((format(printf, 3, 4))) void qd_log(enum qd_log_level level, const char *msg,
                                                  const char *fields, ...);

/* A text as a logfmt value: quoted and escaped when it has to be. */
#define QD_LOG_VALUE_MAX 640
struct qd_log_value {
    char text[QD_LOG_VALUE_MAX];
};
struct qd_log_value qd_log_quote(const char *text);

/* A place on a hot path: at most `per_second` lines a second. All zero but the rate at start. */
struct qd_log_sampler {
    uint32_t per_second;
    _Atomic int64_t second;
    _Atomic uint32_t lines;
    _Atomic uint64_t left_out;
};

/* True if this place may log now; *ret_left_out says how many were left out since it last did. */
bool qd_log_sample(struct qd_log_sampler *sampler, uint64_t *ret_left_out);

#endif /* QD_LOG_LOG_H */
