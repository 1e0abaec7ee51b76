/* Seeded random numbers for property tests: SplitMix64.
 *
 * Layer:    tests. Threads: none; each test has its own.
 * A failing test prints what it needs to be repeated: everything follows from the seed. */
#ifndef QD_TESTS_CORE_RNG_H
#define QD_TESTS_CORE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 .. bound - 1; bound >= 1. */
static inline int64_t rng_below(struct rng *r, int64_t bound)
{
    return (int64_t)(rng_next(r) % (uint64_t)bound);
}

/* low .. high */
static inline int64_t rng_between(struct rng *r, int64_t low, int64_t high)
{
    return low + rng_below(r, high - low + 1);
}

/* A magnitude drawn evenly by its number of bits: 0 .. 2^bits - 1. */
static inline int64_t rng_magnitude(struct rng *r, unsigned bits)
{
    unsigned b = (unsigned)rng_below(r, bits + 1);
    return b == 0 ? 0 : (int64_t)(rng_next(r) >> (64 - b));
}

#endif /* QD_TESTS_CORE_RNG_H */
