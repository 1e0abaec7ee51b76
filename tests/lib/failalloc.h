/* The failing allocator: makes chosen allocations of the code under test return NULL.
 *
 * The linker sends malloc, calloc, realloc, strdup and strndup of every test program's own objects
 * and of our static libraries here (--wrap, in tests/lib/CMakeLists.txt); shared libraries keep
 * theirs. Nothing fails while no fault is armed.
 *
 * Layer:    tests/lib.
 * Threads:  a fault is armed for the calling thread only.
 * Memory:   none of its own.
 */
#ifndef QD_TESTS_FAILALLOC_H
#define QD_TESTS_FAILALLOC_H

#include "tests/lib/fault.h"

#include <stdint.h>

/* From here on `fault` decides on this thread's allocations. It must live until
 * qd_failalloc_disarm. */
void qd_failalloc_arm(struct qd_fault *fault);
void qd_failalloc_disarm(void);

/* Runs `body(context)` once counting its allocations, then once for each of them with that one
 * failing, then once for each with that one and all later ones failing.
 *
 * `body` returns 0 when it succeeded and non-zero when it failed cleanly, and releases all it took
 * either way (LeakSanitizer looks). It must succeed unfailed. A run may succeed despite a failed
 * allocation only if `may_survive`. Returns the number of allocations; aborts with a message
 * otherwise. */
uint64_t qd_failalloc_each(int (*body)(void *context), void *context, bool may_survive);

#endif /* QD_TESTS_FAILALLOC_H */
