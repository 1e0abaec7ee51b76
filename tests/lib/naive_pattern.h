/* The oracle for wildcards: `*` stands for any bytes, also none. Takes exponential time. */
#ifndef QD_TESTS_NAIVE_PATTERN_H
#define QD_TESTS_NAIVE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

static inline bool naive_pattern_matches(const char *pattern, size_t m, const char *value, size_t n)
{
    if (m == 0) {
        return n == 0;
    }
    if (pattern[0] != '*') {
        return n > 0 && pattern[0] == value[0] &&
               naive_pattern_matches(pattern + 1, m - 1, value + 1, n - 1);
    }
    for (size_t skip = 0; skip <= n; skip++) {
        if (naive_pattern_matches(pattern + 1, m - 1, value + skip, n - skip)) {
            return true;
        }
    }
    return false;
}

#endif /* QD_TESTS_NAIVE_PATTERN_H */
