#include "storage/buf.h"

#include <stdlib.h>

#define BUF_FIRST_CAPACITY 256

void qd_buf_release(struct qd_buf *buf)
{
    free(buf->data);
    *buf = (struct qd_buf){0};
}

void qd_buf_clear(struct qd_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

void qd_buf_reserve(struct qd_buf *buf, size_t size)
{
    if (buf->failed || buf->capacity - buf->size >= size) {
        return;
    }
    if (size > SIZE_MAX / 4 || buf->size > SIZE_MAX / 4) {
        buf->failed = true;
        return;
    }
    size_t capacity = buf->capacity > 0 ? buf->capacity : BUF_FIRST_CAPACITY;
    while (capacity - buf->size < size) {
        capacity *= 2;
    }
    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return;
    }
    buf->data = data;
    buf->capacity = capacity;
}

void qd_buf_append(struct qd_buf *buf, const void *data, size_t size)
{
    qd_buf_reserve(buf, size);
    if (buf->failed || size == 0) {
        return;
    }
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
}

void qd_buf_append_str(struct qd_buf *buf, struct qd_str text)
{
    qd_buf_append(buf, text.ptr, text.len);
}

void qd_buf_append_u8(struct qd_buf *buf, uint8_t value)
{
    qd_buf_append(buf, &value, 1);
}
