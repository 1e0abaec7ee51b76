#include "tests/bench/histogram.h"

#include <stddef.h>

/* Below 64 each ns has its own place; above, the top seven bits of the number choose it. */
static size_t place_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) {
        return (size_t)ns;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - 6U;
    return (size_t)(shift + 1U) * HISTOGRAM_STEPS + (size_t)((ns >> shift) - HISTOGRAM_STEPS);
}

static uint64_t upper_edge(size_t place)
{
    if (place < HISTOGRAM_STEPS) {
        return place;
    }
    unsigned shift = (unsigned)(place / HISTOGRAM_STEPS) - 1U;
    return (((uint64_t)(place % HISTOGRAM_STEPS) + HISTOGRAM_STEPS + 1U) << shift) - 1U;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[place_of(ns)]++;
    histogram->total++;
}

uint64_t histogram_quantile(const struct histogram *histogram, unsigned permille)
{
    uint64_t wanted = (histogram->total * permille + 999U) / 1000U;
    uint64_t seen = 0;
    for (size_t place = 0; place < HISTOGRAM_SIZE; place++) {
        seen += histogram->counts[place];
        if (seen >= wanted && seen > 0) {
            return upper_edge(place);
        }
    }
    return 0;
}
