/* Buckets against big-integer arithmetic (D5), against the recomputed path of their level when
 * something is given back (D7), and their waiting times (D3). */
#include "server/core/bucket.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SLOT_NS (INT64_C(1) << QD_BUCKET_SLOT_SHIFT)

static struct qd_wall_ns wall(int64_t ns)
{
    return (struct qd_wall_ns){ns};
}

/* The level in 1/window units. */
static qd_uint128 level_of(const struct qd_bucket *b, const struct qd_bucket_spec *spec)
{
    return (qd_uint128)(uint64_t)b->level * (uint64_t)spec->window_ns + (uint64_t)b->frac;
}

/* --- the oracle: every charge with its time, the path recomputed from the start
 * ------------------- */

#define LOG_MAX 20000

struct charge {
    int64_t at_ns;
    int64_t amount;
};

struct path {
    struct charge log[LOG_MAX];
    size_t count;
};

static qd_uint128 drain(qd_uint128 level, const struct qd_bucket_spec *spec, int64_t passed_ns)
{
    qd_uint128 drained = (qd_uint128)(uint64_t)passed_ns * (uint64_t)spec->amount;
    return level > drained ? level - drained : 0;
}

/* The exact level at `now_ns`, in 1/window units: X <- max(0, X - rate * dt) + u. */
static qd_uint128 path_level(const struct path *p, const struct qd_bucket_spec *spec,
                             int64_t now_ns)
{
    qd_uint128 level = 0;
    int64_t last = 0;
    for (size_t i = 0; i < p->count; i++) {
        level = drain(level, spec, p->log[i].at_ns - last);
        level += (qd_uint128)(uint64_t)p->log[i].amount * (uint64_t)spec->window_ns;
        last = p->log[i].at_ns;
    }
    return drain(level, spec, now_ns - last);
}

/* True if the path is nowhere empty after the charge at index `from`. */
static bool path_never_empty_since(const struct path *p, const struct qd_bucket_spec *spec,
                                   int64_t at_ns, int64_t now_ns)
{
    qd_uint128 level = 0;
    int64_t last = 0;
    bool since = false;
    for (size_t i = 0; i < p->count; i++) {
        level = drain(level, spec, p->log[i].at_ns - last);
        if (since && level < (uint64_t)spec->window_ns) {
            return false;
        }
        level += (qd_uint128)(uint64_t)p->log[i].amount * (uint64_t)spec->window_ns;
        last = p->log[i].at_ns;
        since = since || last >= at_ns;
    }
    return since && drain(level, spec, now_ns - last) >= (uint64_t)spec->window_ns;
}

static void random_spec(struct qd_prng *r, struct qd_bucket_spec *spec)
{
    static const int64_t windows[] = {
        1, 7, 1000, QD_NS_PER_S, 60 * QD_NS_PER_S, 3600 * QD_NS_PER_S, QD_BUCKET_NS_MAX,
    };
    spec->window_ns = windows[qd_prng_number(r, sizeof windows / sizeof windows[0])];
    spec->amount = qd_prng_magnitude(r, qd_prng_number(r, 3) == 0 ? 60 : 24);
    spec->burst = qd_prng_magnitude(r, qd_prng_number(r, 3) == 0 ? 58 : 24) + 1;
    spec->leaky = qd_prng_number(r, 4) == 0;
}

/* Steps of time that matter at this rate: a part of a unit up to several bursts. */
static int64_t random_step(struct qd_prng *r, const struct qd_bucket_spec *spec)
{
    if (qd_prng_number(r, 4) == 0) {
        return qd_prng_number(r, 2);
    }
    if (qd_prng_number(r, 20) == 0) {
        return qd_prng_magnitude(r, 50);
    }
    qd_uint128 per_unit = (uint64_t)spec->window_ns / ((uint64_t)spec->amount + 1) + 2;
    qd_uint128 bound = per_unit * (uint64_t)(qd_prng_magnitude(r, 24) + 1);
    return qd_prng_number(r, bound < (1U << 30) ? (int64_t)bound : 1 << 30);
}

Test(bucket, D5_level_equals_big_integer_arithmetic)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D5_level_equals_big_integer_arithmetic", 1));
    for (int round = 0; round < 500; round++) {
        struct qd_bucket_spec spec;
        struct qd_bucket b;
        random_spec(&r, &spec);
        int64_t now = qd_prng_magnitude(&r, 60);
        qd_bucket_init(&b, wall(now));
        qd_uint128 level = 0;
        for (int i = 0; i < 500; i++) {
            int64_t step = random_step(&r, &spec);
            now += step;
            level = drain(level, &spec, step);
            bool fits = qd_bucket_fits(&b, &spec, 0, wall(now));
            cr_assert_eq(level_of(&b, &spec), level);
            qd_uint128 burst = (qd_uint128)(uint64_t)spec.burst * (uint64_t)spec.window_ns;
            cr_assert_eq(fits, level <= burst);
            int64_t cost = qd_prng_number(&r, spec.burst + 1);
            fits = qd_bucket_fits(&b, &spec, cost, wall(now));
            qd_uint128 added = (qd_uint128)(uint64_t)cost * (uint64_t)spec.window_ns;
            cr_assert_eq(fits, spec.leaky ? level <= burst : level + added <= burst);
            if (fits) {
                qd_bucket_charge(&b, &spec, cost, wall(now));
                level += added;
            }
            qd_uint128 up = (level + (uint64_t)spec.window_ns - 1) / (uint64_t)spec.window_ns;
            cr_assert_eq((uint64_t)qd_bucket_level(&b, &spec, wall(now)), (uint64_t)up);
        }
    }
}

Test(bucket, D5_splitting_refill_equals_one)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D5_splitting_refill_equals_one", 2));
    for (int round = 0; round < 2000; round++) {
        struct qd_bucket_spec spec;
        struct qd_bucket once;
        struct qd_bucket split;
        random_spec(&r, &spec);
        int64_t now = qd_prng_magnitude(&r, 60);
        qd_bucket_init(&once, wall(now));
        qd_bucket_charge(&once, &spec, qd_prng_magnitude(&r, 59), wall(now));
        split = once;
        for (int i = 0; i < 50; i++) {
            now += random_step(&r, &spec);
            (void)qd_bucket_fits(&split, &spec, 1, wall(now));
        }
        (void)qd_bucket_fits(&once, &spec, 1, wall(now));
        cr_assert_eq(split.level, once.level);
        cr_assert_eq(split.frac, once.frac);
    }
}

Test(bucket, D5_a_clock_that_goes_back_mints_and_burns_nothing)
{
    /* Ten 100 <-> 99 jitters at rate 10 a second mint 200 tokens in a library that we know. */
    struct qd_bucket_spec spec = {.window_ns = QD_NS_PER_S, .amount = 10, .burst = 1000};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(99 * QD_NS_PER_S));
    qd_bucket_charge(&b, &spec, 500, wall(99 * QD_NS_PER_S));
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(qd_bucket_level(&b, &spec, wall(100 * QD_NS_PER_S)), 490);
        cr_assert_eq(qd_bucket_level(&b, &spec, wall(99 * QD_NS_PER_S)), 490);
    }
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D5_a_clock_that_goes_back_mints_and_burns_nothing", 3));
    for (int round = 0; round < 300; round++) {
        struct qd_bucket steady;
        random_spec(&r, &spec);
        int64_t latest = qd_prng_magnitude(&r, 60);
        qd_bucket_init(&b, wall(latest));
        qd_bucket_charge(&b, &spec, spec.burst, wall(latest));
        steady = b;
        for (int i = 0; i < 100; i++) {
            int64_t now = latest + random_step(&r, &spec) - random_step(&r, &spec);
            latest = now > latest ? now : latest;
            int64_t cost = qd_prng_number(&r, 3);
            qd_bucket_charge(&b, &spec, cost, wall(now));
            qd_bucket_charge(&steady, &spec, cost, wall(latest));
            cr_assert_eq(memcmp(&b, &steady, sizeof b), 0);
        }
    }
}

Test(bucket, D5_no_input_overflows)
{
    static const int64_t values[] = {
        0, 1, 2, 1000, INT64_C(1) << 53, INT64_C(1) << 60, INT64_MAX - 1, INT64_MAX};
    static const int64_t times[] = {INT64_MIN,        -1,        0,         1, INT64_C(1) << 40,
                                    INT64_C(1) << 62, INT64_MAX, INT64_MAX, 5};
    static const int64_t windows[] = {1, QD_NS_PER_S, QD_BUCKET_NS_MAX};
    size_t count = sizeof values / sizeof values[0];
    for (size_t i = 0; i < count * count * count * 3; i++) {
        struct qd_bucket_spec spec = {
            .window_ns = windows[i / (count * count * count)],
            .amount = values[i % count],
            .burst = values[i / count % count],
        };
        int64_t cost = values[i / (count * count) % count];
        struct qd_bucket b;
        qd_bucket_init(&b, wall(INT64_MIN));
        for (size_t t = 0; t < sizeof times / sizeof times[0]; t++) {
            bool fits = qd_bucket_fits(&b, &spec, cost, wall(times[t]));
            if (cost > spec.burst && cost > QD_BUCKET_LEVEL_MAX) {
                cr_assert_not(fits);
            }
            qd_bucket_charge(&b, &spec, cost, wall(times[t]));
            qd_bucket_adjust(&b, &spec, wall(times[t]), cost, wall(times[t]));
            qd_bucket_adjust(&b, &spec, wall(times[t]), -cost, wall(times[t]));
            qd_bucket_adjust(&b, &spec, wall(0), -cost, wall(times[t]));
            qd_bucket_adjust(&b, &spec, wall(0), cost, wall(times[t]));
            cr_assert_geq(b.level, 0);
            cr_assert_leq(b.level, QD_BUCKET_LEVEL_MAX);
            cr_assert(b.frac >= 0 && b.frac < spec.window_ns);
            cr_assert_geq(qd_bucket_retry_at(&b, &spec, cost, wall(times[t])).ns, times[t]);
        }
        qd_bucket_adjust(&b, &spec, wall(0), INT64_MIN, wall(INT64_MAX));
    }
}

static bool fits_at(const struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t cost,
                    int64_t at_ns)
{
    struct qd_bucket copy = *b;
    return qd_bucket_fits(&copy, spec, cost, wall(at_ns));
}

/* Admits at retry_at, and not one nanosecond earlier. */
static void assert_retry_exact(const struct qd_bucket *b, const struct qd_bucket_spec *spec,
                               int64_t cost, int64_t now)
{
    struct qd_bucket copy = *b;
    int64_t at = qd_bucket_retry_at(&copy, spec, cost, wall(now)).ns;
    bool never = at == QD_WALL_NEVER; /* too large, or too slow to see the day */
    cr_assert(never || spec->leaky || cost <= spec->burst);
    cr_assert(!never || !fits_at(b, spec, cost, QD_BUCKET_TIME_MAX));
    cr_assert(never || fits_at(b, spec, cost, at), "does not fit at retry_at");
    cr_assert(never || at == now || !fits_at(b, spec, cost, at - 1), "fits 1 ns earlier");
}

Test(bucket, D3_retry_at_is_exact)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D3_retry_at_is_exact", 4));
    for (int round = 0; round < 1000; round++) {
        struct qd_bucket_spec spec;
        struct qd_bucket b;
        random_spec(&r, &spec);
        int64_t now = qd_prng_magnitude(&r, 50);
        qd_bucket_init(&b, wall(now));
        for (int i = 0; i < 100; i++) {
            now += random_step(&r, &spec);
            int64_t cost = qd_prng_number(&r, spec.burst + 1);
            if (qd_bucket_fits(&b, &spec, cost, wall(now)) || qd_prng_number(&r, 20) == 0) {
                qd_bucket_charge(&b, &spec, cost, wall(now));
            }
            assert_retry_exact(&b, &spec, qd_prng_number(&r, spec.burst + 2), now);
            struct qd_bucket copy = b;
            struct qd_wall_ns at = qd_bucket_empty_at(&copy, &spec, wall(now));
            if (at.ns != QD_WALL_NEVER) {
                cr_assert_eq(qd_bucket_level(&copy, &spec, at), 0);
                copy = b;
                cr_assert(at.ns == now || qd_bucket_level(&copy, &spec, wall(at.ns - 1)) > 0);
            }
        }
    }
}

Test(bucket, D3_retry_at_of_what_never_fits)
{
    struct qd_bucket_spec spec = {.window_ns = QD_NS_PER_S, .amount = 10, .burst = 100};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 101, wall(0)).ns, QD_WALL_NEVER);
    qd_bucket_charge(&b, &spec, 100, wall(0));
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 100, wall(0)).ns, 10 * QD_NS_PER_S);
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 1, wall(0)).ns, 100 * QD_NS_PER_MS);
    spec.amount = 0; /* forbidden: never drains */
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 1, wall(QD_NS_PER_HOUR)).ns, QD_WALL_NEVER);
    cr_assert_eq(qd_bucket_empty_at(&b, &spec, wall(QD_NS_PER_HOUR)).ns, QD_WALL_NEVER);
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(INT64_MAX)), 100);
}

/* --- giving back ---------------------------------------------------------------------------------
 */

/* What one run of charges and settles leaves, beside the exact path. */
struct drift {
    bool below;         /* gave back more than it should, once */
    qd_uint128 largest; /* level above the exact one, in 1/window units */
    unsigned bound;     /* settles that the lowest level cut short */
};

struct story {
    unsigned charges; /* at most this many, then only settles */
    int64_t step_bound_ns;
    int64_t step_unit_ns;
    int64_t cost_bound;
};

static struct drift tell(struct qd_prng *r, const struct qd_bucket_spec *spec,
                         const struct story *story)
{
    static struct path p;
    struct drift drift = {0};
    struct qd_bucket b;
    int64_t now = story->step_unit_ns;
    p.count = 0;
    qd_bucket_init(&b, wall(0));
    for (unsigned i = 0; i < 4 * story->charges; i++) {
        now += story->step_unit_ns *
               (1 + qd_prng_number(r, story->step_bound_ns / story->step_unit_ns));
        if (p.count < story->charges && (p.count == 0 || qd_prng_number(r, 2) == 0)) {
            int64_t cost = 1 + qd_prng_number(r, story->cost_bound);
            qd_bucket_charge(&b, spec, cost, wall(now));
            p.log[p.count++] = (struct charge){now, cost};
        } else {
            size_t recent = p.count < 40 ? p.count : 40;
            struct charge *c = &p.log[p.count - 1 - (size_t)qd_prng_number(r, (int64_t)recent)];
            int64_t less = qd_prng_number(r, c->amount + 1);
            qd_uint128 before = path_level(&p, spec, now);
            c->amount -= less;
            qd_uint128 after = path_level(&p, spec, now);
            drift.bound += before - after < (qd_uint128)(uint64_t)less * (uint64_t)spec->window_ns;
            qd_bucket_adjust(&b, spec, wall(c->at_ns), -less, wall(now));
        }
        (void)qd_bucket_level(&b, spec, wall(now));
        qd_uint128 exact = path_level(&p, spec, now);
        qd_uint128 ours = level_of(&b, spec);
        drift.below = drift.below || ours < exact;
        if (ours > exact && ours - exact > drift.largest) {
            drift.largest = ours - exact;
        }
    }
    return drift;
}

Test(bucket, D7_giving_back_equals_the_recomputed_path_while_steps_are_apart)
{
    struct qd_prng r;
    qd_prng_init(
        &r, qd_prng_seed("D7_giving_back_equals_the_recomputed_path_while_steps_are_apart", 5));
    unsigned bound = 0;
    for (int round = 0; round < 20000; round++) {
        /* Whole units drain per slot, so that nothing is cut off: equal to the digit. */
        int64_t per_slot = qd_prng_between(&r, 1, 3);
        struct qd_bucket_spec spec = {
            .window_ns = 1000 * SLOT_NS, .amount = 1000 * per_slot, .burst = 100000};
        struct story story = {.charges = (unsigned)qd_prng_between(&r, 1, 6),
                              .step_bound_ns = qd_prng_between(&r, 1, 20) * SLOT_NS,
                              .step_unit_ns = SLOT_NS,
                              .cost_bound = qd_prng_between(&r, 1, 60)};
        struct drift drift = tell(&r, &spec, &story);
        cr_assert_not(drift.below, "round %d: gave back too much", round);
        cr_assert_eq(drift.largest, 0, "round %d: gave back too little", round);
        bound += drift.bound;
    }
    cr_assert_gt(bound, 10000); /* settles that meet a level which has drained */
}

Test(bucket, D7_giving_back_cuts_fractions_only_while_steps_are_apart)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D7_giving_back_cuts_fractions_only_while_steps_are_apart", 6));
    for (int round = 0; round < 20000; round++) {
        struct qd_bucket_spec spec = {.window_ns = 60 * QD_NS_PER_S,
                                      .amount = qd_prng_between(&r, 1, 100000),
                                      .burst = 100000};
        struct story story = {.charges = (unsigned)qd_prng_between(&r, 1, 6),
                              .step_bound_ns = 2 * QD_NS_PER_S,
                              .step_unit_ns = SLOT_NS,
                              .cost_bound = qd_prng_between(&r, 1, 5000)};
        struct drift drift = tell(&r, &spec, &story);
        cr_assert_not(drift.below, "round %d: gave back too much", round);
        cr_assert_leq(drift.largest, (qd_uint128)drift.bound * (uint64_t)spec.window_ns);
    }
}

Test(bucket, D7_never_gives_back_more_than_the_recomputed_path)
{
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D7_never_gives_back_more_than_the_recomputed_path", 7));
    for (int round = 0; round < 400; round++) {
        struct qd_bucket_spec spec;
        random_spec(&r, &spec);
        spec.amount = qd_prng_magnitude(&r, 40);
        struct story story = {.charges = 100,
                              .step_bound_ns = INT64_C(1) << qd_prng_number(&r, 40),
                              .step_unit_ns = 1,
                              .cost_bound = qd_prng_magnitude(&r, 32) + 1};
        if (qd_prng_number(&r, 2) == 0) { /* a rate at which levels rise and fall */
            spec.window_ns = QD_NS_PER_S;
            spec.amount = story.cost_bound * QD_NS_PER_S / story.step_bound_ns / 2 + 1;
            spec.amount = spec.amount < (INT64_C(1) << 50) ? spec.amount : INT64_C(1) << 50;
        }
        struct drift drift = tell(&r, &spec, &story);
        cr_assert_not(drift.below, "round %d: gave back too much", round);
    }
}

/* A busy tenant: worst-case estimates of which a third is used, settled after 1-30 s. How much of
 * what should be given back is. */
Test(bucket, D7_a_busy_bucket_gives_back_nearly_all)
{
    static struct path p;
    static size_t open[LOG_MAX];
    for (int load = 1; load <= 4; load *= 2) {
        struct qd_prng r;
        qd_prng_init(&r,
                     qd_prng_seed("D7_a_busy_bucket_gives_back_nearly_all", 100 + (uint64_t)load));
        struct qd_bucket_spec spec = {
            .window_ns = 60 * QD_NS_PER_S, .amount = 100000, .burst = 100000};
        struct qd_bucket b;
        qd_bucket_init(&b, wall(0));
        p.count = 0;
        size_t open_count = 0;
        qd_uint128 due = 0;
        qd_uint128 given = 0;
        int64_t now = 0;
        int64_t admitted = 0;
        while (now < 600 * QD_NS_PER_S) {
            now += qd_prng_number(&r, 2 * QD_NS_PER_S * 4 / load / 10);
            int64_t cost = qd_prng_between(&r, 500, 3000);
            if (qd_bucket_fits(&b, &spec, cost, wall(now))) {
                qd_bucket_charge(&b, &spec, cost, wall(now));
                p.log[p.count] = (struct charge){now, cost};
                open[open_count++] = p.count++;
                admitted++;
            }
            for (size_t i = 0; i < open_count; i++) {
                struct charge *c = &p.log[open[i]];
                if (now - c->at_ns > QD_NS_PER_S && qd_prng_number(&r, 100) < 3) {
                    int64_t less = c->amount * 2 / 3;
                    qd_uint128 before = path_level(&p, &spec, now);
                    c->amount -= less;
                    due += before - path_level(&p, &spec, now);
                    before = level_of(&b, &spec);
                    qd_bucket_adjust(&b, &spec, wall(c->at_ns), -less, wall(now));
                    given += before - level_of(&b, &spec);
                    open[i] = open[--open_count];
                }
            }
        }
        unsigned permille = due == 0 ? 1000 : (unsigned)(given * 1000 / due);
        fprintf(stderr,
                "bucket, load %dx: %" PRId64 " admitted, gave back %u permille of what was due\n",
                load, admitted, permille);
        cr_assert_geq(permille, 950);
    }
}

Test(bucket, D7_what_has_drained_is_not_given_back)
{
    struct qd_bucket_spec spec = {.window_ns = QD_NS_PER_S, .amount = 10, .burst = 100};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    qd_bucket_charge(&b, &spec, 100, wall(0));
    qd_bucket_adjust(&b, &spec, wall(0), -80, wall(5 * QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(5 * QD_NS_PER_S)), 0); /* of 50, min(80, 50) */
    qd_bucket_charge(&b, &spec, 60, wall(6 * QD_NS_PER_S));
    qd_bucket_adjust(&b, &spec, wall(0), -20, wall(6 * QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(6 * QD_NS_PER_S)), 60); /* not the second one's */
    qd_bucket_adjust(&b, &spec, wall(6 * QD_NS_PER_S), -20, wall(6 * QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(6 * QD_NS_PER_S)), 40);
}

Test(bucket, D7_charges_of_one_instant_are_all_given_back)
{
    struct qd_bucket_spec spec = {.window_ns = QD_NS_PER_S, .amount = 10, .burst = 1000};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    for (int i = 0; i < 64; i++) { /* a batch: all with one time */
        qd_bucket_charge(&b, &spec, 10, wall(QD_NS_PER_S));
    }
    for (int i = 0; i < 64; i++) {
        qd_bucket_adjust(&b, &spec, wall(QD_NS_PER_S), -8, wall(2 * QD_NS_PER_S));
    }
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(2 * QD_NS_PER_S)), 640 - 10 - 64 * 8);
}

Test(bucket, D7_a_charge_after_running_empty_in_one_slot_gives_nothing_back)
{
    /* Within one slot of 16 us: charge, drain, charge. Which of the two is given back is not known.
     */
    struct qd_bucket_spec spec = {.window_ns = 1000, .amount = 1000, .burst = 1000};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    qd_bucket_charge(&b, &spec, 10, wall(0));
    qd_bucket_charge(&b, &spec, 10, wall(100));
    qd_bucket_adjust(&b, &spec, wall(0), -10, wall(100));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(100)), 10);
    qd_bucket_adjust(&b, &spec, wall(0), 50, wall(101)); /* may have drained since */
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(101)), 9);
    /* In the next slot it is known again. */
    qd_bucket_charge(&b, &spec, 900000, wall(SLOT_NS));
    qd_bucket_adjust(&b, &spec, wall(SLOT_NS), -10, wall(SLOT_NS));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(SLOT_NS)), 899990);
    qd_bucket_adjust(&b, &spec, wall(200), SLOT_NS, wall(SLOT_NS)); /* at 200: 200 until then */
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(SLOT_NS)), 899990 + 200);
}

Test(bucket, S2_a_late_add_counts_in_full_unless_it_could_have_drained)
{
    static struct path p;
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("S2_a_late_add_counts_in_full_unless_it_could_have_drained", 8));
    unsigned full = 0;
    unsigned less = 0;
    for (int round = 0; round < 20000; round++) {
        struct qd_bucket_spec spec = {.window_ns = 1000 * SLOT_NS,
                                      .amount = 1000 * qd_prng_between(&r, 1, 3),
                                      .burst = 100000};
        struct qd_bucket b;
        int64_t now = SLOT_NS;
        p.count = 0;
        qd_bucket_init(&b, wall(0));
        for (int64_t i = qd_prng_between(&r, 1, 6); i > 0; i--) {
            now += SLOT_NS * qd_prng_between(&r, 1, 12);
            int64_t cost = qd_prng_between(&r, 1, 50);
            qd_bucket_charge(&b, &spec, cost, wall(now));
            p.log[p.count++] = (struct charge){now, cost};
        }
        now += SLOT_NS * qd_prng_between(&r, 1, 12);
        (void)qd_bucket_level(&b, &spec, wall(now));
        qd_uint128 before = level_of(&b, &spec);
        cr_assert_eq(before, path_level(&p, &spec, now));
        /* One of them used more than it had reserved. */
        struct charge *c = &p.log[qd_prng_number(&r, (int64_t)p.count)];
        int64_t more = qd_prng_between(&r, 1, 50);
        bool never_empty = path_never_empty_since(&p, &spec, c->at_ns, now);
        c->amount += more;
        qd_bucket_adjust(&b, &spec, wall(c->at_ns), more, wall(now));
        qd_uint128 ours = level_of(&b, &spec);
        qd_uint128 exact = path_level(&p, &spec, now);
        qd_uint128 unit = (uint64_t)spec.window_ns;
        cr_assert_leq(ours - before, (qd_uint128)(uint64_t)more * unit);
        cr_assert_leq(ours, exact + unit); /* never more than the exact path, but for fractions */
        qd_uint128 aged = (qd_uint128)(uint64_t)(now - c->at_ns) * (uint64_t)spec.amount;
        qd_uint128 added = (qd_uint128)(uint64_t)more * unit;
        cr_assert_geq(ours - before, added > aged ? added - aged : 0);
        if (never_empty) {
            cr_assert_eq(ours, exact);
            full++;
            /* And it can be given back again, as part of the same charge. */
            c->amount -= more;
            qd_bucket_adjust(&b, &spec, wall(c->at_ns), -more, wall(now));
            cr_assert_geq(level_of(&b, &spec), path_level(&p, &spec, now));
        } else {
            less++;
        }
    }
    cr_assert_gt(full, 1000);
    cr_assert_gt(less, 1000);
}

Test(bucket, S7_a_post_paid_report_before_any_charge)
{
    struct qd_bucket_spec spec = {.window_ns = QD_NS_PER_S, .amount = 10, .burst = 100};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    /* An idle bucket: what was used 3 s ago has drained by 30. */
    qd_bucket_adjust(&b, &spec, wall(7 * QD_NS_PER_S), 50, wall(10 * QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(10 * QD_NS_PER_S)), 20);
    qd_bucket_adjust(&b, &spec, wall(7 * QD_NS_PER_S), 20, wall(10 * QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(10 * QD_NS_PER_S)), 20);
    /* Used ahead of our clock: now. */
    qd_bucket_adjust(&b, &spec, wall(99 * QD_NS_PER_S), 5, wall(10 * QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(10 * QD_NS_PER_S)), 25);
    /* Busy since a charge at 20 s: what was used at 19 s has drained for 1 s at most. */
    qd_bucket_charge(&b, &spec, 100, wall(20 * QD_NS_PER_S));
    qd_bucket_adjust(&b, &spec, wall(19 * QD_NS_PER_S), 50, wall(25 * QD_NS_PER_S));
    int64_t level = qd_bucket_level(&b, &spec, wall(25 * QD_NS_PER_S));
    cr_assert_geq(level, 90);
    cr_assert_leq(level, 91); /* 100 - 50 + 50 - 10, and the slot's 16 us */
    spec.amount = 0;
    qd_bucket_init(&b, wall(0));
    qd_bucket_adjust(&b, &spec, wall(0), 50, wall(QD_NS_PER_HOUR));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(QD_NS_PER_HOUR)), 50);
}

Test(bucket, D7_the_horizon_is_19_hours)
{
    int64_t horizon_ns = (INT64_C(1) << 32) * SLOT_NS;
    cr_assert_eq(horizon_ns / QD_NS_PER_HOUR, 19);
    struct qd_bucket_spec spec = {.window_ns = QD_NS_PER_DAY, .amount = 1000, .burst = 1000000};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    for (int64_t i = 1; i <= 6; i++) {
        qd_bucket_charge(&b, &spec, 10000, wall(i * QD_NS_PER_HOUR));
    }
    struct qd_bucket at_horizon = b;
    qd_bucket_adjust(&at_horizon, &spec, wall(QD_NS_PER_HOUR), -100,
                     wall(QD_NS_PER_HOUR + horizon_ns - SLOT_NS));
    int64_t kept = qd_bucket_level(&b, &spec, wall(QD_NS_PER_HOUR + horizon_ns - SLOT_NS));
    cr_assert_eq(at_horizon.level, b.level - 100);
    cr_assert_gt(kept, 0);
    /* Beyond it nothing is known of the first three; the rest is still there. */
    int64_t now = 3 * QD_NS_PER_HOUR + horizon_ns + SLOT_NS;
    kept = qd_bucket_level(&b, &spec, wall(now));
    qd_bucket_adjust(&b, &spec, wall(2 * QD_NS_PER_HOUR), -100, wall(now));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(now)), kept);
    qd_bucket_adjust(&b, &spec, wall(4 * QD_NS_PER_HOUR), -100, wall(now));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(now)), kept - 100);
    /* A month later, busy all the time: recent ones are still known. */
    now += 30 * QD_NS_PER_DAY;
    kept = qd_bucket_level(&b, &spec, wall(now));
    qd_bucket_charge(&b, &spec, 500, wall(now));
    qd_bucket_adjust(&b, &spec, wall(now), -500, wall(now));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(now)), kept);
    qd_bucket_adjust(&b, &spec, wall(now - 18 * QD_NS_PER_HOUR), -100, wall(now));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(now)), kept - 100);
}

Test(bucket, D7_large_levels_give_back_to_26_bits)
{
    struct qd_bucket_spec spec = {
        .window_ns = 60 * QD_NS_PER_S, .amount = INT64_C(1) << 50, .burst = INT64_C(1) << 55};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    int64_t big = (INT64_C(1) << 52) + 12345;
    qd_bucket_charge(&b, &spec, big, wall(0));
    qd_bucket_charge(&b, &spec, 1, wall(QD_NS_PER_S));
    qd_bucket_adjust(&b, &spec, wall(0), -big, wall(QD_NS_PER_S));
    int64_t left = qd_bucket_level(&b, &spec, wall(QD_NS_PER_S));
    cr_assert_geq(left, 1);
    cr_assert_leq(left, (big >> 25) + 2);
}

/* --- what providers do (P5)
 * ------------------------------------------------------------------------ */

Test(bucket, P5_azure_ptu_leaky_admits_while_level_is_within_and_overshoots_by_one)
{
    /* 6,000 a minute: admits while use is at most 100%, whatever the next request costs; the true
     * cost replaces the estimate. */
    struct qd_bucket_spec spec = {
        .window_ns = 60 * QD_NS_PER_S, .amount = 6000, .burst = 6000, .leaky = true};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    cr_assert(qd_bucket_fits(&b, &spec, 5999, wall(0)));
    qd_bucket_charge(&b, &spec, 5999, wall(0));
    cr_assert(qd_bucket_fits(&b, &spec, 100000, wall(0)));
    qd_bucket_charge(&b, &spec, 100001, wall(0));
    cr_assert_not(qd_bucket_fits(&b, &spec, 0, wall(0)));
    /* retry-after-ms: until 106,000 has drained to 6,000 at 100 a second. */
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 50000, wall(0)).ns, 1000 * QD_NS_PER_S);
    qd_bucket_adjust(&b, &spec, wall(0), 1000 - 100001, wall(QD_NS_PER_S));
    cr_assert_eq(qd_bucket_level(&b, &spec, wall(QD_NS_PER_S)), 6999 - 100);
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 50000, wall(QD_NS_PER_S)).ns, 9990 * QD_NS_PER_MS);
    cr_assert_not(qd_bucket_fits(&b, &spec, 1, wall(9990 * QD_NS_PER_MS - 1)));
    cr_assert(qd_bucket_fits(&b, &spec, 1, wall(9990 * QD_NS_PER_MS)));
}

Test(bucket, P5_anthropic_token_buckets_refill_all_the_time)
{
    /* 50 requests a minute: after the burst one every 1.2 s, not 50 at the minute's turn. */
    struct qd_bucket_spec spec = {.window_ns = 60 * QD_NS_PER_S, .amount = 50, .burst = 50};
    struct qd_bucket b;
    qd_bucket_init(&b, wall(0));
    for (int i = 0; i < 50; i++) {
        cr_assert(qd_bucket_fits(&b, &spec, 1, wall(0)));
        qd_bucket_charge(&b, &spec, 1, wall(0));
    }
    for (int64_t i = 1; i <= 100; i++) {
        int64_t due = i * 1200 * QD_NS_PER_MS;
        cr_assert_eq(qd_bucket_retry_at(&b, &spec, 1, wall(due - 5)).ns, due);
        cr_assert(qd_bucket_fits(&b, &spec, 1, wall(due)));
        qd_bucket_charge(&b, &spec, 1, wall(due));
    }
    /* Output counts as it is produced: no estimate, settled parts only; debt is paid off in time.
     */
    qd_bucket_init(&b, wall(0));
    spec.amount = spec.burst = 8000;
    for (int i = 1; i <= 10; i++) {
        qd_bucket_adjust(&b, &spec, wall(0), 1000, wall(0));
    }
    cr_assert_not(qd_bucket_fits(&b, &spec, 1, wall(0)));
    cr_assert_eq(qd_bucket_retry_at(&b, &spec, 400, wall(0)).ns, 18 * QD_NS_PER_S);
}
