#include "tests/lib/prng.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t qd_prng_seed(const char *name, uint64_t fallback)
{
    uint64_t seed = fallback;
    const char *text = getenv("QD_SEED");
    if (text != NULL && *text != '\0') {
        char *end = NULL;
        errno = 0;
        seed = strtoull(text, &end, 0);
        if (errno != 0 || *end != '\0') {
            fprintf(stderr, "QD_SEED: \"%s\" is not a number\n", text);
            abort();
        }
    }
    printf("seed %s %" PRIu64 "\n", name, seed);
    fflush(stdout);
    return seed;
}

static uint64_t splitmix_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void qd_prng_init(struct qd_prng *g, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        g->s[i] = splitmix_next(&seed);
    }
}

static uint64_t rotate_left(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

uint64_t qd_prng_next(struct qd_prng *g)
{
    uint64_t result = rotate_left(g->s[1] * 5, 7) * 9;
    uint64_t t = g->s[1] << 17;
    g->s[2] ^= g->s[0];
    g->s[3] ^= g->s[1];
    g->s[1] ^= g->s[2];
    g->s[0] ^= g->s[3];
    g->s[2] ^= t;
    g->s[3] = rotate_left(g->s[3], 45);
    return result;
}

uint64_t qd_prng_below(struct qd_prng *g, uint64_t bound)
{
    assert(bound > 0);
    uint64_t skip =
        (0 - bound) % bound; /* 2^64 mod bound: below it, residues would come once more. */
    uint64_t x = qd_prng_next(g);
    while (x < skip) {
        x = qd_prng_next(g);
    }
    return x % bound;
}

int64_t qd_prng_number(struct qd_prng *g, int64_t bound)
{
    assert(bound > 0);
    return (int64_t)qd_prng_below(g, (uint64_t)bound);
}

int64_t qd_prng_between(struct qd_prng *g, int64_t low, int64_t high)
{
    assert(low <= high);
    uint64_t span = (uint64_t)high - (uint64_t)low;
    uint64_t step = span == UINT64_MAX ? qd_prng_next(g) : qd_prng_below(g, span + 1);
    return (int64_t)((uint64_t)low + step);
}

bool qd_prng_chance(struct qd_prng *g, uint64_t numerator, uint64_t denominator)
{
    return qd_prng_below(g, denominator) < numerator;
}

uint64_t qd_prng_skewed(struct qd_prng *g, uint64_t max)
{
    unsigned bits = (unsigned)qd_prng_below(g, 65);
    uint64_t x = bits == 0 ? 0 : UINT64_C(1) << (bits - 1);
    switch (qd_prng_below(g, 4)) {
    case 0: /* The power of two itself. */
        break;
    case 1:
        x = x > 0 ? x - 1 : 0;
        break;
    case 2:
        x += 1;
        break;
    default:
        x = x > 0 ? x + qd_prng_below(g, x) : 0;
        break;
    }
    return x <= max ? x : (max == UINT64_MAX ? x : x % (max + 1));
}

int64_t qd_prng_magnitude(struct qd_prng *g, unsigned bits)
{
    assert(bits <= 63);
    unsigned length = (unsigned)qd_prng_below(g, bits + 1);
    return length == 0 ? 0 : (int64_t)(qd_prng_next(g) >> (64 - length));
}

void qd_prng_fill(struct qd_prng *g, void *ret_bytes, size_t size)
{
    unsigned char *bytes = ret_bytes;
    while (size > 0) {
        uint64_t x = qd_prng_next(g);
        size_t part = size < sizeof x ? size : sizeof x;
        memcpy(bytes, &x, part);
        bytes += part;
        size -= part;
    }
}
