/* The one function that a fuzz target defines.
 *
 * Layer:    tests/fuzz. Threads: none.
 * Memory:   `data` belongs to the caller and ends with the call; the target releases all it takes.
 */
#ifndef QD_TESTS_FUZZ_H
#define QD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Run one input. Returns 0. A finding aborts (an assertion or a sanitizer). The name is
 * libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* QD_TESTS_FUZZ_H */
