/* The core against the naive model (tests/unit/core/model.h), as tests/unit/core/test_model.c runs
 * it, but with bytes where that draws at random: libFuzzer chooses the limits and their amounts,
 * the checks, reports, extensions, cancellations, evictions and reloads, and how the clock goes.
 * Every answer and, after each operation, every counter must be what the model says. */
#define COMPARE_EVERY 1U
#include "tests/unit/core/test_model.c" /* NOLINT(bugprone-suspicious-include): its world is static */

#include "tests/fuzz/fuzz.h"

#include <assert.h>

#define OPERATIONS_MAX 150U

/* --- bytes in place of the generator ---
 *
 * The library's generator is not linked: these are taken first. When the bytes are used up, 0. */

static struct {
    const uint8_t *at;
    const uint8_t *end;
} bytes;

void qd_prng_init(struct qd_prng *g, uint64_t seed)
{
    *g = (struct qd_prng){{seed, 0, 0, 0}};
}

uint64_t qd_prng_seed(const char *name, uint64_t fallback)
{
    (void)name;
    return fallback;
}

/* As few bytes as the bound needs. */
uint64_t qd_prng_below(struct qd_prng *g, uint64_t bound)
{
    uint64_t value = 0;
    (void)g;
    assert(bound > 0);
    for (uint64_t left = bound - 1; left > 0 && bytes.at < bytes.end; left >>= 8) {
        value = value << 8 | *bytes.at++;
    }
    return value % bound;
}

int64_t qd_prng_between(struct qd_prng *g, int64_t low, int64_t high)
{
    assert(low <= high);
    return low + (int64_t)qd_prng_below(g, (uint64_t)(high - low) + 1);
}

/* --- operations --- */

/* make_world's worlds, with no more reservations than there are operations: an input is soon run.
 */
static void make_small_world(struct world *w)
{
    memset(w, 0, sizeof(*w));
    uint32_t room = chance(w, 2) ? 12 : 64;
    struct qd_core_config config = {.narrow_windows = room,
                                    .wide_windows = room,
                                    .buckets = room,
                                    .gauges = 2 * room,
                                    .bindings = 8,
                                    .reservations = 2 * OPERATIONS_MAX,
                                    .progress = 2 * OPERATIONS_MAX,
                                    .name_bytes = 16384};
    fx_init(&w->f, &config);
    w->m = calloc(1, sizeof(*w->m));
    assert(w->m != NULL);
    w->m->now_ns = w->f.now.ns;
    fx_expire(&w->f); /* the core sees when it begins, too: the clock's first step may go back */
    w->next_request = 1;
    for (unsigned i = 0; i < LIMITS; i++) {
        make_limit(w, i);
    }
}

static void one_operation(struct world *w)
{
    pass_time(w);
    switch (between(w, 0, 7)) {
    case 0:
    case 1:
    case 2:
        check(w);
        break;
    case 3:
    case 4:
        settle(w);
        break;
    case 5:
    case 6:
        extend_or_cancel(w);
        break;
    default:
        operate(w);
        break;
    }
    compare_counters(w);
}

/* Reloads, each of which may double an amount, have left what a policy accepts. */
static bool amount_is_too_large(const struct world *w)
{
    for (unsigned i = 0; i < LIMITS; i++) {
        if (w->amount[i] > QD_AMOUNT_MAX / 4) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = malloc(sizeof(*w));

    assert(w != NULL);
    bytes.at = data;
    bytes.end = data + size;
    make_small_world(w);
    for (unsigned i = 0; i < OPERATIONS_MAX && bytes.at < bytes.end; i++) {
        uint32_t epoch = w->f.epoch;
        one_operation(w);
        if (w->f.epoch != epoch && amount_is_too_large(w)) {
            break;
        }
    }
    free(w->m);
    fx_release(&w->f);
    free(w);
    return 0;
}
