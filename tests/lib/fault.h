/* When a fake fails: the one fault description that every fake of the tests takes.
 *
 * Layer:    tests/lib. Threads: none. Memory: caller-allocated, nothing to release.
 */
#ifndef QD_TESTS_FAULT_H
#define QD_TESTS_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* {.countdown = 3}: the fourth call fails, once. {.countdown = 3, .repeat = true}: it and all after
 * it.
 * {.countdown = -1}: none fails, calls are counted. */
struct qd_fault {
    int64_t countdown; /* Calls that still succeed; -1: all. */
    bool repeat;       /* Fail for good once failing. */
    uint64_t calls;    /* Calls seen. */
    uint64_t failures; /* Calls failed. */
};

/* Count one call. Returns true when it is to fail. */
static inline bool qd_fault_hit(struct qd_fault *fault)
{
    fault->calls += 1;
    if (fault->countdown < 0) {
        return false;
    }
    if (fault->countdown > 0) {
        fault->countdown -= 1;
        return false;
    }
    fault->countdown = fault->repeat ? 0 : -1;
    fault->failures += 1;
    return true;
}

#endif /* QD_TESTS_FAULT_H */
