#include "server/policy/utf8.h"

#include <stdint.h>

/* Bytes of the sequence that starts at `p`, or 0 if it is not valid. */
static size_t sequence(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) {
        return 1;
    }
    size_t n = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : 4;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    unsigned second = p[1];
    if ((p[0] == 0xE0 && second < 0xA0) || (p[0] == 0xED && second > 0x9F) ||
        (p[0] == 0xF0 && second < 0x90) || (p[0] == 0xF4 && second > 0x8F)) {
        return 0;
    }
    return n;
}

size_t qd_utf8_valid_prefix(const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    size_t at = 0;
    while (at < size) {
        size_t n = sequence(p + at, size - at);
        if (n == 0) {
            break;
        }
        at += n;
    }
    return at;
}
