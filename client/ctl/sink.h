/* Text on its way to a FILE: numbers, names and lines, put together without a call for each.
 *
 * Layer:    client/ctl. Threads: one at a time.
 * Memory:   the caller's struct. What was put is in the FILE after ctl_sink_flush; whether it could
 * be written, ferror() of the FILE says.
 */
#ifndef QD_CLIENT_CTL_SINK_H
#define QD_CLIENT_CTL_SINK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct ctl_sink {
    FILE *out;
    size_t used;
    char bytes[64 << 10];
};

/* Hand what is there to the FILE. */
void ctl_sink_flush(struct ctl_sink *sink);

/* Bytes that do not fit in: flushes. */
void ctl_sink_put_long(struct ctl_sink *sink, const char *bytes, size_t size);

static inline void ctl_sink_put(struct ctl_sink *sink, const char *bytes, size_t size)
{
    if (size > sizeof sink->bytes - sink->used) {
        ctl_sink_put_long(sink, bytes, size);
        return;
    }
    if (size > 0) {
        memcpy(sink->bytes + sink->used, bytes, size);
        sink->used += size;
    }
}

static inline void ctl_sink_put_char(struct ctl_sink *sink, char c)
{
    ctl_sink_put(sink, &c, 1);
}

static inline void ctl_sink_put_text(struct ctl_sink *sink, const char *text)
{
    ctl_sink_put(sink, text, strlen(text));
}

/* In decimal. */
void ctl_sink_put_unsigned(struct ctl_sink *sink, uint64_t number);
void ctl_sink_put_signed(struct ctl_sink *sink, int64_t number);

#endif /* QD_CLIENT_CTL_SINK_H */
