#include "server/log/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Relaxed: a line may be judged by the old level or go to the old place for a moment. */
static _Atomic int log_level = QD_LOG_INFO;
static _Atomic int log_fd = STDERR_FILENO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void qd_log_set_level(enum qd_log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

void qd_log_set_fd(int fd)
{
    atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
}

static size_t add_time(char *line, size_t size)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, size, "ts=%Y-%m-%dT%H:%M:%S", &utc);
    return used + (size_t)snprintf(line + used, size - used, ".%03ldZ", now.tv_nsec / 1000000);
}

/* snprintf's answer as a length within `size`. */
static size_t clipped(int wanted, size_t size)
{
    if (wanted < 0) {
        return 0;
    }
    return (size_t)wanted < size ? (size_t)wanted : size - 1;
}

void qd_log(enum qd_log_level level, const char *msg, const char *fields, ...)
{
    if ((int)level < atomic_load_explicit(&log_level, memory_order_relaxed)) {
        return;
    }
    char line[QD_LOG_LINE_MAX];
    size_t size = sizeof(line) - 1; /* room for the newline */
    size_t used = add_time(line, size);
    struct qd_log_value quoted = qd_log_quote(msg);
    used += clipped(
        snprintf(line + used, size - used, " level=%s msg=%s", level_names[level], quoted.text),
        size - used);
    if (fields && used + 2 < size) {
        line[used++] = ' ';
        va_list args;
        va_start(args, fields);
        used += clipped(vsnprintf(line + used, size - used, fields, args), size - used);
        va_end(args);
    }
    line[used++] = '\n';
    /* A log that cannot be written has nobody to complain to. */
    ssize_t written = write(atomic_load_explicit(&log_fd, memory_order_relaxed), line, used);
    (void)written;
}

static bool needs_quotes(const char *text)
{
    if (*text == '\0') {
        return true;
    }
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) {
            return true;
        }
    }
    return false;
}

static size_t escape(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c == '\n') {
        out[0] = '\\';
        out[1] = 'n';
        return 2;
    }
    if (c < ' ' || c == 0x7f) {
        memcpy(out, "\\x", 2);
        out[2] = hex[c >> 4];
        out[3] = hex[c & 15];
        return 4;
    }
    out[0] = (char)c;
    return 1;
}

struct qd_log_value qd_log_quote(const char *text)
{
    struct qd_log_value value;
    if (!needs_quotes(text)) {
        snprintf(value.text, sizeof(value.text), "%s", text);
        return value;
    }
    size_t used = 0;
    value.text[used++] = '"';
    for (const char *p = text; *p && used + 6 < sizeof(value.text); p++) {
        used += escape(value.text + used, (unsigned char)*p);
    }
    value.text[used++] = '"';
    value.text[used] = '\0';
    return value;
}

bool qd_log_sample(struct qd_log_sampler *sampler, uint64_t *ret_left_out)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    int64_t second = (int64_t)now.tv_sec;
    /* Relaxed throughout: two threads that meet at a second's edge may log one line too many. */
    if (atomic_load_explicit(&sampler->second, memory_order_relaxed) != second) {
        atomic_store_explicit(&sampler->second, second, memory_order_relaxed);
        atomic_store_explicit(&sampler->lines, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&sampler->lines, 1, memory_order_relaxed) >=
        sampler->per_second) {
        atomic_fetch_add_explicit(&sampler->left_out, 1, memory_order_relaxed);
        return false;
    }
    *ret_left_out = atomic_exchange_explicit(&sampler->left_out, 0, memory_order_relaxed);
    return true;
}
