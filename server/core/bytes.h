/* Bytes of saved states: little-endian numbers, variable-length ones, and a reader that any bytes
 * do. Internal.
 *
 * Layer:    core (pure)
 * Threads:  values only.
 * Memory:   the caller's; a writer's room is the caller's to know (struct qd_saved has room for the
 *           largest state of each kind).
 *
 * A reader that fails stays failed and yields zeros; who reads asks once, at the end.
 */
#ifndef QD_CORE_BYTES_H
#define QD_CORE_BYTES_H

#include "types.h"

#include <string.h>

struct qd_writer {
    uint8_t *at;
};

struct qd_bytes {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline void qd_write(struct qd_writer *w, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        *w->at++ = (uint8_t)(value >> (8 * i));
    }
}

static inline void qd_write_varint(struct qd_writer *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        *w->at++ = (uint8_t)(value | 0x80);
    }
    *w->at++ = (uint8_t)value;
}

/* Small magnitudes are short. */
static inline void qd_write_signed(struct qd_writer *w, int64_t value)
{
    qd_write_varint(w, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}

static inline void qd_write_hash(struct qd_writer *w, struct qd_hash128 hash)
{
    qd_write(w, hash.lo, 8);
    qd_write(w, hash.hi, 8);
}

static inline void qd_write_str(struct qd_writer *w, struct qd_str text)
{
    qd_write_varint(w, text.len);
    if (text.len > 0) {
        memcpy(w->at, text.ptr, text.len);
        w->at += text.len;
    }
}

static inline uint64_t qd_read(struct qd_bytes *r, unsigned bytes)
{
    uint64_t value = 0;
    if (r->failed || (size_t)(r->end - r->at) < bytes) {
        r->failed = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)*r->at++ << (8 * i);
    }
    return value;
}

/* Above `max`: failed. */
static inline uint64_t qd_read_varint(struct qd_bytes *r, uint64_t max)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint64_t byte = qd_read(r, 1);
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            r->failed = r->failed || value > max;
            return r->failed ? 0 : value;
        }
    }
    r->failed = true;
    return 0;
}

static inline int64_t qd_read_signed(struct qd_bytes *r)
{
    uint64_t value = qd_read_varint(r, UINT64_MAX);
    return (int64_t)(value >> 1 ^ -(value & 1));
}

static inline struct qd_hash128 qd_read_hash(struct qd_bytes *r)
{
    struct qd_hash128 hash = {.lo = qd_read(r, 8)};
    hash.hi = qd_read(r, 8);
    return hash;
}

/* Points into the bytes. */
static inline struct qd_str qd_read_str(struct qd_bytes *r, size_t max)
{
    size_t len = (size_t)qd_read_varint(r, max);
    if (r->failed || (size_t)(r->end - r->at) < len) {
        r->failed = true;
        return (struct qd_str){NULL, 0};
    }
    struct qd_str text = {len > 0 ? (const char *)r->at : NULL, len};
    r->at += len;
    return text;
}

static inline bool qd_read_all(const struct qd_bytes *r)
{
    return !r->failed && r->at == r->end;
}

#endif /* QD_CORE_BYTES_H */
