/* Protobuf's wire format, as much of it as the hot calls need: a reader over bytes and a writer
 * into a buffer.
 *
 * Layer:    rpc
 * Threads:  none; the owner's.
 * Memory:   a reader's strings point into its bytes; a writer fills the caller's buffer and never
 * past it.
 *
 * protobuf-c allocates each string; the calls of QuotaService are read and written without.
 * tests/fuzz/fuzz_quota.c compares both.
 */
#ifndef QD_RPC_WIRE_H
#define QD_RPC_WIRE_H

#include "server/core/types.h"

#include <string.h>

enum qd_wire_type {
    QD_WIRE_VARINT = 0,
    QD_WIRE_FIXED64 = 1,
    QD_WIRE_BYTES = 2,
    QD_WIRE_FIXED32 = 5
};

/* --- reading --- */

struct qd_wire {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

/* One field: its value is in `number` or in `bytes`, as its type says. */
struct qd_wire_field {
    uint32_t id;
    uint32_t type;
    uint64_t number;
    struct qd_str bytes;
};

static inline uint64_t qd_wire_varint(struct qd_wire *w)
{
    uint64_t value = 0;

    if (w->at < w->end && *w->at < 0x80) {
        return *w->at++;
    }

    for (unsigned shift = 0; shift < 70 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;
        if (shift < 64) {
            value |= (uint64_t)(byte & 0x7f) << shift;
        }
        if (byte < 0x80) {
            return value;
        }
    }
    w->failed = true;
    return 0;
}

/* A tag's or a length's number, which has 32 bits: no more than 5 bytes, as everyone reads them. */
static inline uint64_t qd_wire_varint32(struct qd_wire *w)
{
    const uint8_t *begin = w->at;
    uint64_t value = qd_wire_varint(w);

    w->failed = w->failed || w->at - begin > 5;
    return value;
}

/* The next field; false at the end, and when the bytes are malformed (`failed` then). */
static inline bool qd_wire_next(struct qd_wire *w, struct qd_wire_field *ret_field)
{
    size_t left = (size_t)(w->end - w->at);
    if (left == 0) {
        return false;
    }
    size_t skip = 0;
    /* Nearly every field: one byte of tag, one of length, all of it there. */
    if (left >= 2 && (w->at[0] & 0x87U) == QD_WIRE_BYTES && w->at[0] >= 8 && w->at[1] < 0x80 &&
        w->at[1] <= left - 2) {
        ret_field->id = w->at[0] >> 3;
        ret_field->type = QD_WIRE_BYTES;
        ret_field->number = 0;
        ret_field->bytes = (struct qd_str){(const char *)w->at + 2, w->at[1]};
        w->at += 2 + w->at[1];
        return true;
    }
    /* Most others: one byte of tag, and a number. */
    if ((w->at[0] & 0x87U) == QD_WIRE_VARINT && w->at[0] >= 8) {
        ret_field->id = *w->at++ >> 3;
        ret_field->type = QD_WIRE_VARINT;
        ret_field->bytes = (struct qd_str){NULL, 0};
        ret_field->number = qd_wire_varint(w);
        return !w->failed;
    }
    uint64_t tag = qd_wire_varint32(w);
    ret_field->id = (uint32_t)(tag >> 3);
    ret_field->type = (uint32_t)(tag & 7);
    ret_field->number = 0;
    ret_field->bytes = (struct qd_str){NULL, 0};
    switch (ret_field->type) {
    case QD_WIRE_VARINT:
        ret_field->number = qd_wire_varint(w);
        break;
    case QD_WIRE_BYTES:
        skip = (size_t)qd_wire_varint32(w);
        if (skip <= (size_t)(w->end - w->at)) {
            ret_field->bytes = (struct qd_str){(const char *)w->at, skip};
        }
        break;
    case QD_WIRE_FIXED64:
        skip = 8;
        break;
    case QD_WIRE_FIXED32:
        skip = 4;
        break;
    default: /* groups are long gone */
        w->failed = true;
        break;
    }
    if (w->failed || ret_field->id == 0 || tag >> 32 != 0 || skip > (size_t)(w->end - w->at)) {
        w->failed = true;
        return false;
    }
    w->at += skip;
    return true;
}

static inline struct qd_wire qd_wire_of(struct qd_str bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.ptr;

    return (struct qd_wire){at, at + bytes.len, false};
}

/* --- writing --- */

struct qd_out {
    uint8_t *at;
    uint8_t *end;
    uint8_t *begin;
    bool full; /* something didn't fit: the bytes are not a message */
};

static inline void qd_out_init(struct qd_out *out, void *buffer, size_t size)
{
    out->begin = buffer;
    out->at = buffer;
    out->end = out->begin + size;
    out->full = false;
}

static inline size_t qd_out_used(const struct qd_out *out)
{
    return (size_t)(out->at - out->begin);
}

static inline void qd_out_varint(struct qd_out *out, uint64_t value)
{
    if (out->end - out->at < 10) {
        out->full = true;
        return;
    }
    while (value > 0x7f) {
        *out->at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out->at++ = (uint8_t)value;
}

/* A number; 0 is left out, as proto3 has it. Ids are below 16: one byte of tag. */
static inline void qd_out_number(struct qd_out *out, uint32_t id, uint64_t value)
{
    if (value != 0) {
        qd_out_varint(out, (uint64_t)id << 3 | QD_WIRE_VARINT);
        qd_out_varint(out, value);
    }
}

/* A string or a whole message, also when empty. */
static inline void qd_out_bytes(struct qd_out *out, uint32_t id, const void *bytes, size_t len)
{
    qd_out_varint(out, (uint64_t)id << 3 | QD_WIRE_BYTES);
    qd_out_varint(out, len);
    if (out->full || (size_t)(out->end - out->at) < len) {
        out->full = true;
        return;
    }
    if (len > 0) {
        memcpy(out->at, bytes, len);
    }
    out->at += len;
}

/* Fields that are encoded already. */
static inline void qd_out_append(struct qd_out *out, struct qd_str fields)
{
    if (out->full || (size_t)(out->end - out->at) < fields.len) {
        out->full = true;
        return;
    }
    if (fields.len > 0) {
        memcpy(out->at, fields.ptr, fields.len);
    }
    out->at += fields.len;
}

static inline void qd_out_str(struct qd_out *out, uint32_t id, struct qd_str text)
{
    if (text.len > 0) {
        qd_out_bytes(out, id, text.ptr, text.len);
    }
}

static inline void qd_out_text(struct qd_out *out, uint32_t id, const char *text)
{
    qd_out_str(out, id, (struct qd_str){text, strlen(text)});
}

/* A message within: begin, write its fields, end. One byte is kept for its length; a longer one
 * moves the message. */
static inline uint8_t *qd_out_begin(struct qd_out *out, uint32_t id)
{
    qd_out_varint(out, (uint64_t)id << 3 | QD_WIRE_BYTES);
    if (out->end - out->at < 1) {
        out->full = true;
        return out->at;
    }
    return out->at++;
}

static inline void qd_out_end(struct qd_out *out, uint8_t *length_at)
{
    size_t len = (size_t)(out->at - length_at) - 1;
    size_t more = len < 0x80 ? 0 : len < 0x4000 ? 1 : len < 0x200000 ? 2 : 3;

    if (out->full || (size_t)(out->end - out->at) < more) {
        out->full = true;
        return;
    }
    if (more > 0) {
        memmove(length_at + 1 + more, length_at + 1, len);
        out->at += more;
    }
    for (size_t i = 0; i < more; i++) {
        *length_at++ = (uint8_t)(len | 0x80);
        len >>= 7;
    }
    *length_at = (uint8_t)len;
}

#endif /* QD_RPC_WIRE_H */
