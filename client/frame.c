#include "client/frame.h"

#include <string.h>

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5
};

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7) {
        size += 1;
    }
    return size;
}

static uint8_t *varint_write(uint8_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        *out++ = (uint8_t)(value | 0x80);
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Of a StreamRequest, without its own tag and length. */
static size_t body_size(uint64_t id, size_t message_size)
{
    return 1 + varint_size(id) + 1 + varint_size(message_size) + message_size;
}

size_t lq_frame_item_size(uint64_t id, unsigned field, size_t message_size)
{
    (void)field; /* fields below 16 take one byte */
    size_t body = body_size(id, message_size);
    return 1 + varint_size(body) + body;
}

uint8_t *lq_frame_item_write(uint8_t *out, uint64_t id, unsigned field, const uint8_t *message,
                             size_t message_size)
{
    *out++ = (1 << 3) | WIRE_BYTES;
    out = varint_write(out, body_size(id, message_size));
    *out++ = (1 << 3) | WIRE_VARINT;
    out = varint_write(out, id);
    *out++ = (uint8_t)((field << 3) | WIRE_BYTES);
    out = varint_write(out, message_size);
    if (message_size > 0) {
        memcpy(out, message, message_size);
    }
    return out + message_size;
}

static bool varint_read(struct lq_frame_reader *reader, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end) {
            return false;
        }
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

struct field {
    uint64_t number;
    uint64_t value;       /* of a varint */
    const uint8_t *bytes; /* of bytes */
    size_t size;
    bool is_bytes;
};

static bool skip(struct lq_frame_reader *reader, uint64_t size)
{
    if (size > (uint64_t)(reader->end - reader->at)) {
        return false;
    }
    reader->at += size;
    return true;
}

static bool field_read(struct lq_frame_reader *reader, struct field *ret)
{
    uint64_t tag = 0;
    if (!varint_read(reader, &tag) || tag >> 3 == 0) {
        return false;
    }
    *ret = (struct field){.number = tag >> 3};
    switch (tag & 7) {
    case WIRE_VARINT:
        return varint_read(reader, &ret->value);
    case WIRE_FIXED64:
        return skip(reader, 8);
    case WIRE_FIXED32:
        return skip(reader, 4);
    case WIRE_BYTES: {
        uint64_t size = 0;
        if (!varint_read(reader, &size)) {
            return false;
        }
        ret->bytes = reader->at;
        ret->size = (size_t)size;
        ret->is_bytes = true;
        return skip(reader, size);
    }
    default:
        return false;
    }
}

int lq_frame_next(struct lq_frame_reader *reader, struct lq_frame_item *ret_item)
{
    struct field outer;
    do {
        if (reader->at == reader->end) {
            return 0;
        }
        if (!field_read(reader, &outer)) {
            return -1;
        }
    } while (outer.number != 1);
    if (!outer.is_bytes) {
        return -1;
    }
    struct lq_frame_item item = {0};
    struct lq_frame_reader inner = {outer.bytes, outer.bytes + outer.size};
    while (inner.at != inner.end) {
        struct field field;
        if (!field_read(&inner, &field)) {
            return -1;
        }
        if (field.number == 1 && !field.is_bytes) {
            item.id = field.value;
        } else if (field.number >= 2 && field.number <= LQ_FRAME_ERROR && field.is_bytes) {
            item.field = (unsigned)field.number;
            item.message = field.bytes;
            item.message_size = field.size;
        }
    }
    *ret_item = item;
    return 1;
}
