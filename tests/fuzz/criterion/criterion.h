/* Criterion's assertions for a fuzzer that runs a unit test's world: a failed one aborts. Stands in
 * for Criterion's header in fuzz_core only; has what that world uses.
 *
 * Layer:    tests/fuzz. Threads: none.
 */
#ifndef QD_TESTS_FUZZ_CRITERION_H
#define QD_TESTS_FUZZ_CRITERION_H

#include <stdio.h>
#include <stdlib.h>

/* Two values and how they should compare. An assertion's own message is left out: libFuzzer keeps
 * the input. */
#define REQUIRE(a, relation, b, text)                                                          \
    do {                                                                                       \
        if (!((a)relation(b))) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold: %lld, %lld\n", __FILE__, __LINE__, text, \
                    (long long)(a), (long long)(b));                                           \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

/* (The 0 that comes behind is for `...`, which must not be empty.) */
#define REQUIRE_THAT(a, ...)     REQUIRE(!(a), ==, 0, #a)
#define REQUIRE_EQ(a, b, ...)    REQUIRE(a, ==, b, #a " == " #b)
#define REQUIRE_NEQ(a, b, ...)   REQUIRE(a, !=, b, #a " != " #b)
#define REQUIRE_LT(a, b, ...)    REQUIRE(a, <, b, #a " < " #b)
#define REQUIRE_GT(a, b, ...)    REQUIRE(a, >, b, #a " > " #b)
#define REQUIRE_NOT_NULL(a, ...) REQUIRE(a, !=, NULL, #a " != NULL")
#define cr_assert(...)           REQUIRE_THAT(__VA_ARGS__, 0)
#define cr_assert_eq(...)        REQUIRE_EQ(__VA_ARGS__, 0)
#define cr_assert_neq(...)       REQUIRE_NEQ(__VA_ARGS__, 0)
#define cr_assert_lt(...)        REQUIRE_LT(__VA_ARGS__, 0)
#define cr_assert_not_null(...)  REQUIRE_NOT_NULL(__VA_ARGS__, 0)
#define cr_expect_gt(...)        REQUIRE_GT(__VA_ARGS__, 0)

/* The tests themselves are not run. */
#define Test(suite, ...)                TEST_FUNCTION(suite, __VA_ARGS__, 0)
#define TEST_FUNCTION(suite, name, ...) __attribute__((unused)) static void suite##_##name(void)

#endif /* QD_TESTS_FUZZ_CRITERION_H */
