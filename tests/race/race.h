/* What race programs share: a requirement that ends the program.
 *
 * Layer:    tests/race. Threads: any.
 */
#ifndef QD_TESTS_RACE_H
#define QD_TESTS_RACE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                        \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                              \
        }                                                                         \
    } while (0)

#endif /* QD_TESTS_RACE_H */
