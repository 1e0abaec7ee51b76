/* An input as a row of numbers, for targets that are driven by bytes.
 *
 * Layer:    tests/fuzz. Threads: none. Memory: points into the input.
 */
#ifndef QD_TESTS_FUZZ_INPUT_H
#define QD_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
    const uint8_t *at;
    size_t left;
};

/* The next number of so many bytes; the missing ones are 0. */
static inline uint64_t take(struct input *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && in->left > 0; i++) {
        value = value << 8 | *in->at++;
        in->left--;
    }
    return value;
}

#endif /* QD_TESTS_FUZZ_INPUT_H */
