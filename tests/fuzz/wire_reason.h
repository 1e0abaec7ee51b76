/* Why our readers refuse what protobuf-c accepts. Two reasons, both of the wire format's own
 * making: a field number that protobuf forbids (0, or above 2^29 - 1; protobuf-c skips it as
 * unknown), and a known bool that came with another wire type (which protobuf-c alone of its types
 * doesn't look at).
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
    uint32_t messages; /* which hold neither bools nor messages */
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

/* Calls `within` for each field of `messages`; the first reason found is enough. */
static inline bool wire_has_reason(const uint8_t *at, const uint8_t *end, struct wire_schema schema,
                                   bool (*within)(const uint8_t *at, const uint8_t *end))
{
    while (at < end) {
        uint64_t tag = wire_number(&at);
        uint64_t field = tag >> 3;
        unsigned type = (unsigned)(tag & 7);
        uint64_t size = type == 1 ? 8 : type == 5 ? 4 : 0;
        if (type == 0 || type == 2) {
            size = wire_number(&at);
        }
        if (field == 0 || field > WIRE_FIELD_MAX ||
            (field < 32 && (schema.bools >> field & 1U) != 0 && type != 0)) {
            return true;
        }
        if (type == 2 && field < 32 && (schema.messages >> field & 1U) != 0 &&
            within(at, at + size)) {
            return true;
        }
        at += type == 0 ? 0 : size;
    }
    return false;
}

/* In a message without bools and messages. */
static inline bool wire_plain_has_reason(const uint8_t *at, const uint8_t *end)
{
    return wire_has_reason(at, end, (struct wire_schema){0, 0}, NULL);
}

#endif /* QD_TESTS_WIRE_REASON_H */
