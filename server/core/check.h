/* Assertions that stay on in every build.
 *
 * Layer:    core (pure). Also used by the other server folders.
 * Threads:  none. Memory: none.
 *
 * A failed check is a bug of ours, never a user's input: the process stops at once, because a wrong
 * counter that goes on counting costs more than a restart. Checks come in pairs where that helps: a
 * precondition where a value enters, an invariant where the state leaves. */
#ifndef QD_CORE_CHECK_H
#define QD_CORE_CHECK_H

#include <stdbool.h>

static inline void qd_check(bool ok)
{
    if (__builtin_expect(!ok, 0)) {
        __builtin_trap();
    }
}

#define QD_CHECK(condition) qd_check(condition)

#endif /* QD_CORE_CHECK_H */
