/* A seeded random generator for tests: the same seed gives the same numbers on every machine.
 *
 * Layer:    tests/lib. Threads: none; one generator per thread.
 * Memory:   caller-allocated, trivially copyable, nothing to release.
 */
#ifndef QD_TESTS_PRNG_H
#define QD_TESTS_PRNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* xoshiro256**. Never all zero. */
struct qd_prng {
    uint64_t s[4];
};

/* The seed of this run: QD_SEED from the environment when it is a number (decimal or 0x...), else
 * `fallback`. Prints "seed <name> <seed>" so that a failure can be replayed: QD_SEED=<seed>. */
uint64_t qd_prng_seed(const char *name, uint64_t fallback);

/* Initialise `g` from `seed` (any value) by splitmix64. */
void qd_prng_init(struct qd_prng *g, uint64_t seed);

/* 64 uniform bits. */
uint64_t qd_prng_next(struct qd_prng *g);

/* Uniform in [0, bound), without bias. `bound` must be > 0. */
uint64_t qd_prng_below(struct qd_prng *g, uint64_t bound);

/* The same for signed numbers: uniform in [0, bound). `bound` must be > 0. */
int64_t qd_prng_number(struct qd_prng *g, int64_t bound);

/* Uniform in [low, high], both included. `low` must be <= `high`. */
int64_t qd_prng_between(struct qd_prng *g, int64_t low, int64_t high);

/* True `numerator` times in `denominator` on average. */
bool qd_prng_chance(struct qd_prng *g, uint64_t numerator, uint64_t denominator);

/* A number whose magnitude is uniform: 0, 1, 2^k and their neighbours come often. At most `max`. */
uint64_t qd_prng_skewed(struct qd_prng *g, uint64_t max);

/* A number of 0 to `bits` bits, each length as likely: 0 to 2^bits - 1. `bits` must be <= 63. */
int64_t qd_prng_magnitude(struct qd_prng *g, unsigned bits);

/* Fill `size` bytes at `ret_bytes`. */
void qd_prng_fill(struct qd_prng *g, void *ret_bytes, size_t size);

#endif /* QD_TESTS_PRNG_H */
