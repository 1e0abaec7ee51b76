/* A growing byte buffer, and comparisons of byte strings.
 *
 * Layer:    storage
 * Threads:  none; the owner's.
 * Memory:   {0} is an empty one, qd_buf_release frees it; clearing keeps the
 * memory.
 *
 * A buffer that could not grow stays `failed`: later appends do nothing, so that an encoder checks
 * once at its end. qd_buf_clear makes it usable again.
 */
#ifndef QD_STORAGE_BUF_H
#define QD_STORAGE_BUF_H

#include "server/core/types.h"

#include <string.h>

struct qd_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed; /* memory ran out: the contents are not complete */
};

void qd_buf_release(struct qd_buf *buf);
void qd_buf_clear(struct qd_buf *buf);

/* Room for `size` more bytes. */
void qd_buf_reserve(struct qd_buf *buf, size_t size);
void qd_buf_append(struct qd_buf *buf, const void *data, size_t size);
void qd_buf_append_str(struct qd_buf *buf, struct qd_str text);
void qd_buf_append_u8(struct qd_buf *buf, uint8_t value);

/* What is in the buffer. Valid until the buffer changes. */
static inline struct qd_str qd_buf_str(const struct qd_buf *buf)
{
    return (struct qd_str){(const char *)buf->data, buf->size};
}

static inline struct qd_str qd_slice_of(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

/* As memcmp; a prefix comes first. */
static inline int qd_slice_compare(struct qd_str a, struct qd_str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;
    if (order != 0) {
        return order;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

static inline bool qd_slice_equal(struct qd_str a, struct qd_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool qd_slice_starts(struct qd_str text, struct qd_str prefix)
{
    return text.len >= prefix.len &&
           (prefix.len == 0 || memcmp(text.ptr, prefix.ptr, prefix.len) == 0);
}

#endif /* QD_STORAGE_BUF_H */
