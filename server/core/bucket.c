#include "server/core/bucket.h"

#include "server/core/check.h"
#include "server/core/mutant.h"

#include <string.h>

_Static_assert(sizeof(struct qd_bucket) == 72, "a bucket and its counter's header share 112 bytes");

/* A coded low: 0 unused; 1 + e * 2^26 + (level >> e) otherwise, with the least e for which level >>
 * e is below 2^26; LOW_NONE: nothing has drained since the step's first charge. Codes rise with the
 * level and are exact below 2^26. */
#define LOW_BITS 26
#define LOW_ZERO UINT32_C(1)
#define LOW_NONE UINT32_MAX

static uint32_t low_encode(int64_t level)
{
    uint64_t value = (uint64_t)level;
    uint32_t e = 0;
    if (value >> LOW_BITS != 0) {
        e = 64 - LOW_BITS - (uint32_t)__builtin_clzll(value);
    }
    return 1 + (e << LOW_BITS | (uint32_t)(value >> e));
}

static int64_t low_decode(uint32_t code)
{
    if (code == LOW_NONE) {
        return INT64_MAX;
    }
    uint32_t e = (code - 1) >> LOW_BITS;
    return (int64_t)((uint64_t)((code - 1) & ((UINT32_C(1) << LOW_BITS) - 1)) << e);
}

static int64_t clamp_time(struct qd_wall_ns at)
{
    if (at.ns < 0) {
        return 0;
    }
    return at.ns < QD_BUCKET_TIME_MAX ? at.ns : QD_BUCKET_TIME_MAX;
}

static int64_t clamp_level(int64_t value)
{
    return value < QD_BUCKET_LEVEL_MAX ? value : QD_BUCKET_LEVEL_MAX;
}

static unsigned steps_in_use(const struct qd_bucket *b)
{
    unsigned n = 0;
    while (n < QD_BUCKET_STEPS && b->low[n] != 0) {
        n++;
    }
    return n;
}

/* Close the gap after step `keep`: steps from `next` on move down to keep + 1. */
static void steps_remove(struct qd_bucket *b, unsigned keep, unsigned next)
{
    unsigned to = keep;
    for (unsigned from = next; from < QD_BUCKET_STEPS; from++) {
        b->slot[to] = b->slot[from];
        b->low[to] = b->low[from];
        to++;
    }
    for (; to < QD_BUCKET_STEPS; to++) {
        b->slot[to] = 0;
        b->low[to] = 0;
    }
}

static uint32_t slot_number(int64_t ns)
{
    return (uint32_t)((uint64_t)ns >> QD_BUCKET_SLOT_SHIFT);
}

/* Step `i` has become lower: steps before it that are not below it are the same step now. The slot
 * that is still going on keeps a step of its own, so that its next charge shares that with its
 * earlier ones. */
static void steps_fold(struct qd_bucket *b, unsigned i)
{
    unsigned first = i;
    while (first > 0 && b->low[first - 1] >= b->low[i]) {
        first--;
    }
    if (first < i) {
        bool going_on = b->slot[i] == slot_number(b->updated_ns);
        b->low[first] = b->low[i];
        steps_remove(b, first + 1, going_on ? i : i + 1);
    }
}

/* The level has drained: it is the lowest since every charge whose step is not below it. */
static void note_low(struct qd_bucket *b)
{
    unsigned n = steps_in_use(b);
    if (n == 0) {
        return;
    }
    uint32_t code = low_encode(b->level);
    if (code < b->low[n - 1]) {
        b->low[n - 1] = code;
        steps_fold(b, n - 1);
    }
}

/* All six are in use: merge the two neighbours whose lows are nearest in proportion. The step
 * before the last one becomes the lower of both, so that only refunds of its charges can be cut. */
static void steps_merge(struct qd_bucket *b)
{
    unsigned best = 1;
    for (unsigned i = 2; i < QD_BUCKET_STEPS; i++) {
        /* low[i] / low[i-1] < low[best] / low[best-1] */
        qd_int128 left = (qd_int128)low_decode(b->low[i]) * low_decode(b->low[best - 1]);
        qd_int128 right = (qd_int128)low_decode(b->low[best]) * low_decode(b->low[i - 1]);
        if (left < right) {
            best = i;
        }
    }
    steps_remove(b, best, best + 1);
}

/* A charge happens now: what drains from here on is a low of its own. */
static void begin_step(struct qd_bucket *b)
{
    unsigned n = steps_in_use(b);
    uint32_t slot = slot_number(b->updated_ns);
    if (n > 0 && b->slot[n - 1] == slot) {
        return;
    }
    while (n > 0 && b->low[0] == LOW_ZERO) {
        steps_remove(b, 0, 1); /* what was charged before the bucket ran empty is gone */
        n--;
    }
    if (n == QD_BUCKET_STEPS) {
        steps_merge(b);
        n--;
    }
    b->slot[n] = slot;
    b->low[n] = LOW_NONE;
}

/* Slot numbers are kept to 32 bits: before time moves on by so much that a step's would be
 * ambiguous, the step is taken as beginning 2^32 - 1 slots ago. */
static void age_steps(struct qd_bucket *b, int64_t now_ns)
{
    if (b->low[0] == 0) {
        return;
    }
    uint64_t moved = ((uint64_t)now_ns >> QD_BUCKET_SLOT_SHIFT) -
                     ((uint64_t)b->updated_ns >> QD_BUCKET_SLOT_SHIFT);
    uint32_t was = slot_number(b->updated_ns);
    if (moved + (uint32_t)(was - b->slot[0]) <= UINT32_MAX) {
        return;
    }
    uint32_t oldest = slot_number(now_ns) - UINT32_MAX;
    unsigned n = steps_in_use(b);
    unsigned aged = 0;
    while (aged < n && moved + (uint32_t)(was - b->slot[aged]) > UINT32_MAX) {
        aged++;
    }
    b->slot[0] = oldest;
    steps_remove(b, 1, aged);
}

static inline void advance(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                           struct qd_wall_ns now)
{
    int64_t now_ns = clamp_time(now);
    if (now_ns <= b->updated_ns) {
        if (QD_MUTANT(D5_clock)) {
            b->updated_ns = now_ns;
        }
        return; /* D5: a clock that goes back mints and burns nothing */
    }
    uint64_t passed_ns = (uint64_t)(now_ns - b->updated_ns);
    age_steps(b, now_ns);
    b->updated_ns = now_ns;
    if (spec->amount <= 0) {
        return;
    }
    if ((b->level | b->frac) == 0) {
        note_low(b);
        return;
    }
    uint64_t window = (uint64_t)spec->window_ns;
    qd_uint128 drained = (qd_uint128)passed_ns * (uint64_t)clamp_level(spec->amount);
    qd_uint128 full = (qd_uint128)(uint64_t)b->level * window + (uint64_t)b->frac;
    qd_uint128 rest = full > drained ? full - drained : 0;
    if (rest >> 64 == 0) {
        b->level = (int64_t)((uint64_t)rest / window);
        b->frac = (int64_t)((uint64_t)rest % window);
    } else {
        b->level = (int64_t)(rest / window);
        b->frac = (int64_t)(rest % window);
    }
    if (QD_MUTANT(D5)) {
        b->frac = 0; /* D5: the fraction is carried, so that many refills equal one */
    }
    QD_CHECK(b->frac < spec->window_ns);
    note_low(b);
}

static int64_t level_up(const struct qd_bucket *b)
{
    return b->level + (b->frac > 0 ? 1 : 0);
}

void qd_bucket_init(struct qd_bucket *b, struct qd_wall_ns now)
{
    memset(b, 0, sizeof *b);
    b->updated_ns = clamp_time(now);
}

static bool low_is_valid(uint32_t code)
{
    return code == LOW_NONE || code <= low_encode(QD_BUCKET_LEVEL_MAX);
}

bool qd_bucket_is_valid(const struct qd_bucket *b, int64_t window_ns)
{
    if (b->level < 0 || b->level > QD_BUCKET_LEVEL_MAX || b->frac < 0 || b->frac >= window_ns ||
        b->updated_ns < 0 || b->updated_ns > QD_BUCKET_TIME_MAX) {
        return false;
    }
    unsigned n = steps_in_use(b);
    uint32_t now_slot = slot_number(b->updated_ns);
    for (unsigned i = 0; i < n; i++) {
        bool in_order = i == 0 || (b->low[i] >= b->low[i - 1] &&
                                   now_slot - b->slot[i] <= now_slot - b->slot[i - 1]);
        if (!low_is_valid(b->low[i]) || !in_order) {
            return false;
        }
    }
    for (unsigned i = n; i < QD_BUCKET_STEPS; i++) {
        if (b->low[i] != 0) {
            return false;
        }
    }
    return true;
}

int64_t qd_bucket_level(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                        struct qd_wall_ns now)
{
    advance(b, spec, now);
    return level_up(b);
}

bool qd_bucket_fits(struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t cost,
                    struct qd_wall_ns now)
{
    advance(b, spec, now);
    int64_t tested = spec->leaky ? 0 : cost;
    return tested <= clamp_level(spec->burst) - level_up(b);
}

void qd_bucket_charge(struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t cost,
                      struct qd_wall_ns now)
{
    QD_CHECK(cost >= 0);
    advance(b, spec, now);
    if (cost == 0) {
        return;
    }
    begin_step(b);
    b->level = clamp_level(b->level + clamp_level(cost));
}

/* Index of the step that `at_ns` falls in, or -1: before the first one, or beyond the horizon. */
static int step_of(const struct qd_bucket *b, int64_t at_ns)
{
    uint64_t now_slot = (uint64_t)b->updated_ns >> QD_BUCKET_SLOT_SHIFT;
    uint64_t age = now_slot - ((uint64_t)at_ns >> QD_BUCKET_SLOT_SHIFT);
    if (age > UINT32_MAX) {
        return -1;
    }
    int found = -1;
    unsigned n = steps_in_use(b);
    for (unsigned i = 0; i < n && (uint32_t)((uint32_t)now_slot - b->slot[i]) >= age; i++) {
        found = (int)i;
    }
    return found;
}

/* Take `u` out of what was charged at `at_ns`: by Lindley's recursion the level falls by the lesser
 * of `u` and the lowest level since, and so does every low since. */
static void give_back(struct qd_bucket *b, int64_t at_ns, int64_t u)
{
    int found = step_of(b, at_ns);
    if (QD_MUTANT(D7_bucket)) {
        b->level -= u < b->level ? u : b->level;
        return;
    }
    if (found < 0) {
        return; /* drained since, or too long ago to know */
    }
    unsigned first = (unsigned)found;
    int64_t cut = u < b->level ? u : b->level;
    if (low_decode(b->low[first]) < cut) {
        cut = low_decode(b->low[first]);
    }
    b->level -= cut;
    unsigned n = steps_in_use(b);
    for (unsigned i = first; i < n; i++) {
        if (b->low[i] != LOW_NONE) {
            b->low[i] = low_encode(low_decode(b->low[i]) - cut);
        }
    }
    steps_fold(b, first);
}

/* Charge `u` more at `at_ns`: all of it is still there if the bucket has not run empty since. */
static void add_late(struct qd_bucket *b, const struct qd_bucket_spec *spec, int64_t at_ns,
                     int64_t u)
{
    int found = step_of(b, at_ns);
    unsigned n = steps_in_use(b);
    if (found >= 0 && b->low[found] != LOW_ZERO) {
        for (unsigned i = (unsigned)found + 1; i < n; i++) {
            if (b->low[i] != LOW_NONE) {
                b->low[i] = low_encode(clamp_level(low_decode(b->low[i]) + u));
            }
        }
        b->level = clamp_level(b->level + u);
        return;
    }
    /* It may have been empty until the first charge that is remembered, or until now. */
    int64_t until_ns = b->updated_ns;
    unsigned first = 0;
    while (first < n && b->low[first] == LOW_ZERO) {
        first++;
    }
    if (first < n) {
        uint32_t age = slot_number(b->updated_ns) - b->slot[first];
        until_ns = (int64_t)((((uint64_t)b->updated_ns >> QD_BUCKET_SLOT_SHIFT) - age)
                             << QD_BUCKET_SLOT_SHIFT);
    }
    int64_t amount = spec->amount > 0 ? clamp_level(spec->amount) : 0;
    qd_uint128 drained =
        (qd_uint128)(uint64_t)(until_ns - at_ns) * (uint64_t)amount / (uint64_t)spec->window_ns;
    if (drained < (qd_uint128)(uint64_t)u) {
        b->level = clamp_level(b->level + u - (int64_t)drained);
    }
}

void qd_bucket_adjust(struct qd_bucket *b, const struct qd_bucket_spec *spec, struct qd_wall_ns at,
                      int64_t delta, struct qd_wall_ns now)
{
    advance(b, spec, now);
    int64_t at_ns = clamp_time(at);
    if (at_ns > b->updated_ns) {
        at_ns = b->updated_ns;
    }
    if (delta < 0) {
        give_back(b, at_ns, delta < -QD_BUCKET_LEVEL_MAX ? QD_BUCKET_LEVEL_MAX : -delta);
    } else {
        add_late(b, spec, at_ns, clamp_level(delta));
    }
}

/* First instant >= now at which the level is at most `bound` >= 0. */
static struct qd_wall_ns falls_to(const struct qd_bucket *b, const struct qd_bucket_spec *spec,
                                  int64_t bound, struct qd_wall_ns now)
{
    if (level_up(b) <= bound) {
        return now;
    }
    if (spec->amount <= 0) {
        return (struct qd_wall_ns){QD_WALL_NEVER};
    }
    uint64_t amount = (uint64_t)clamp_level(spec->amount);
    qd_uint128 over =
        (qd_uint128)(uint64_t)(b->level - bound) * (uint64_t)spec->window_ns + (uint64_t)b->frac;
    qd_uint128 wait_ns = (over + amount - 1) / amount;
    if (wait_ns > (qd_uint128)(uint64_t)(QD_BUCKET_TIME_MAX - b->updated_ns)) {
        return (struct qd_wall_ns){QD_WALL_NEVER};
    }
    int64_t late = QD_MUTANT(D3_bucket) ? 1 : 0;
    return (struct qd_wall_ns){b->updated_ns + (int64_t)wait_ns + late};
}

struct qd_wall_ns qd_bucket_retry_at(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                                     int64_t cost, struct qd_wall_ns now)
{
    advance(b, spec, now);
    int64_t tested = spec->leaky ? 0 : cost;
    int64_t bound = clamp_level(spec->burst);
    if (tested > bound) {
        return (struct qd_wall_ns){QD_WALL_NEVER};
    }
    return falls_to(b, spec, bound - tested, now);
}

struct qd_wall_ns qd_bucket_empty_at(struct qd_bucket *b, const struct qd_bucket_spec *spec,
                                     struct qd_wall_ns now)
{
    advance(b, spec, now);
    return falls_to(b, spec, 0, now);
}
