/* Why our readers refuse what protobuf-c accepts. Three reasons, all of the wire format's own
 * making: a field number that protobuf forbids (0, or above 2^29 - 1; protobuf-c skips it as
 * unknown), a known bool that came with another wire type (which protobuf-c alone of its types
 * doesn't look at), and a string that isn't UTF-8, for the readers that look at it.
 *
 * Layer:    tests/fuzz. Threads: none.
 *
 * Written without server/rpc/wire.h, which is what is tested. Only for bytes that protobuf-c
 * accepted.
 */
#ifndef QD_TESTS_WIRE_REASON_H
#define QD_TESTS_WIRE_REASON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_FIELD_MAX ((UINT32_C(1) << 29) - 1)

/* Bit n of each: field n. */
struct wire_schema {
    uint32_t bools;
    uint32_t messages; /* looked into by wire_has_reason's `within` */
    uint32_t texts;    /* which must be UTF-8 */
};

/* A field as it stands in the bytes: what its type says it holds, for a number none. */
struct wire_part {
    uint64_t field;
    unsigned type;
    const uint8_t *begin;
    size_t size;
};

static inline uint64_t wire_number(const uint8_t **at)
{
    uint64_t value = 0;
    unsigned shift = 0;
    for (; **at >= 0x80; shift += 7) {
        value |= (uint64_t)(*(*at)++ & 0x7f) << shift;
    }
    return value | (uint64_t) * (*at)++ << (shift < 63 ? shift : 63);
}

static inline struct wire_part wire_part(const uint8_t **at)
{
    uint64_t tag = wire_number(at);
    struct wire_part part = {tag >> 3, (unsigned)(tag & 7), NULL, 0};
    if (part.type == 0) {
        (void)wire_number(at);
    } else {
        part.size = part.type == 1 ? 8 : part.type == 5 ? 4 : (size_t)wire_number(at);
    }
    part.begin = *at;
    *at += part.size;
    return part;
}

/* By the definition: the bits of a sequence, and how many bytes they would have needed. */
static inline bool wire_is_utf8(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        size_t ones = 0;
        while (ones < 8 && (*at >> (7 - ones) & 1) != 0) {
            ones++;
        }
        uint32_t point = *at++ & (0xffU >> ones);
        if (ones == 0) {
            continue;
        }
        for (size_t i = 1; i < ones; i++, at++) {
            if (at == end || *at >> 6 != 2) {
                return false;
            }
            point = point << 6 | (*at & 0x3fU);
        }
        size_t needed = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        if (ones == 1 || ones != needed || point > 0x10ffff ||
            (point >= 0xd800 && point < 0xe000)) {
            return false;
        }
    }
    return true;
}

/* Calls `within` for each field of `messages`; the first reason found is enough. */
static inline bool wire_has_reason(const uint8_t *at, const uint8_t *end, struct wire_schema schema,
                                   bool (*within)(const uint8_t *at, const uint8_t *end))
{
    while (at < end) {
        struct wire_part part = wire_part(&at);
        uint32_t bit = part.field < 32 ? UINT32_C(1) << part.field : 0;
        if (part.field == 0 || part.field > WIRE_FIELD_MAX ||
            ((schema.bools & bit) != 0 && part.type != 0)) {
            return true;
        }
        if (part.type == 2 && (schema.texts & bit) != 0 && !wire_is_utf8(part.begin, at)) {
            return true;
        }
        if (part.type == 2 && (schema.messages & bit) != 0 && within(part.begin, at)) {
            return true;
        }
    }
    return false;
}

/* In a message without bools and messages. */
static inline bool wire_plain_has_reason(const uint8_t *at, const uint8_t *end)
{
    return wire_has_reason(at, end, (struct wire_schema){.bools = 0}, NULL);
}

#endif /* QD_TESTS_WIRE_REASON_H */
