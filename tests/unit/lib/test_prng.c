#include "tests/lib/prng.h"

#include <criterion/criterion.h>

Test(prng, same_seed_same_numbers)
{
    struct qd_prng a;
    struct qd_prng b;
    qd_prng_init(&a, 7);
    qd_prng_init(&b, 7);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(qd_prng_next(&a), qd_prng_next(&b));
    }
}

/* The reference sequence of xoshiro256** from the state {1, 2, 3, 4}. */
Test(prng, matches_the_reference_sequence)
{
    struct qd_prng g = {{1, 2, 3, 4}};
    const uint64_t expected[] = {UINT64_C(11520), UINT64_C(0), UINT64_C(1509978240),
                                 UINT64_C(1215971899390074240)};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        cr_assert_eq(qd_prng_next(&g), expected[i]);
    }
}

Test(prng, stays_in_its_bounds)
{
    struct qd_prng g;
    qd_prng_init(&g, qd_prng_seed("prng", 1));
    for (int i = 0; i < 100000; i++) {
        cr_assert_lt(qd_prng_below(&g, 3), 3);
        int64_t x = qd_prng_between(&g, INT64_MIN, INT64_MIN + 1);
        cr_assert(x == INT64_MIN || x == INT64_MIN + 1);
        cr_assert_leq(qd_prng_skewed(&g, 1000), 1000);
        cr_assert(qd_prng_number(&g, 3) >= 0 && qd_prng_number(&g, 3) < 3);
        cr_assert(qd_prng_magnitude(&g, 5) >= 0 && qd_prng_magnitude(&g, 5) < 32);
        cr_assert_geq(qd_prng_magnitude(&g, 63), 0);
    }
    cr_assert_eq(qd_prng_below(&g, 1), 0);
    cr_assert_eq(qd_prng_number(&g, 1), 0);
    cr_assert_eq(qd_prng_magnitude(&g, 0), 0);
    cr_assert_eq(qd_prng_between(&g, -5, -5), -5);
    (void)qd_prng_between(&g, INT64_MIN, INT64_MAX);
}
