/* Fetch: asking memory for a line before it is needed.
 *
 * Layer:    core (pure). Also used by the other server folders.
 * Threads:  none; reads nothing. Memory: any address will do, also one that isn't there.
 *
 * A function that does nothing but prefetch has no effect that a compiler must keep: gcc takes it
 * for a pure one, and drops its calls. The empty asm is an effect, and no instruction. */
#ifndef QD_CORE_FETCH_H
#define QD_CORE_FETCH_H

static inline void qd_fetch(const void *address)
{
    __builtin_prefetch(address, 1);
    __asm__ volatile("" : : "r"(address));
}

#endif /* QD_CORE_FETCH_H */
