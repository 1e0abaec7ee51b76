/* Sliding windows against an exact log of what was charged (D4), and their waiting times (D3). */
#include "server/core/window.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MAX 4096

struct event {
    int64_t at_ns;
    int64_t amount;
};

/* The naive window: every charge with its time. */
struct model {
    struct event log[LOG_MAX];
    size_t count;
    int64_t others[QD_WINDOW_RING];
    struct qd_window_spec spec;
    int64_t amount;
    union {
        struct qd_window base;
        struct qd_window_narrow narrow;
        struct qd_window_wide wide;
    } w;
};

static struct qd_wall_ns wall(int64_t ns)
{
    return (struct qd_wall_ns){ns};
}

static int64_t width_of(const struct qd_window_spec *spec)
{
    return (spec->window_ns + spec->slots - 1) / spec->slots;
}

static void record(struct model *m, int64_t at_ns, int64_t amount)
{
    if (m->count == LOG_MAX) { /* the oldest half is far outside of every window by then */
        memmove(m->log, m->log + LOG_MAX / 2, sizeof m->log / 2);
        m->count = LOG_MAX / 2;
    }
    m->log[m->count++] = (struct event){at_ns, amount};
}

/* Exact sum of the log within [from, to]. */
static int64_t exact_sum(const struct model *m, int64_t from_ns, int64_t to_ns)
{
    int64_t sum = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (m->log[i].at_ns >= from_ns && m->log[i].at_ns <= to_ns) {
            sum += m->log[i].amount;
        }
    }
    return sum;
}

/* What slot number `slot` counts by the log. */
static int64_t slot_sum(const struct model *m, int64_t slot)
{
    int64_t width = width_of(&m->spec);
    int64_t sum = exact_sum(m, slot * width, (slot + 1) * width - 1);
    if (m->spec.others != NULL) {
        sum += m->others[(uint64_t)slot % QD_WINDOW_RING];
    }
    return sum > 0 ? sum : 0;
}

/* What the rule says counts at `now`: strict whole slots, or weighted by the exact fraction, up. */
static int64_t model_used(const struct model *m, int64_t now_ns)
{
    int64_t width = width_of(&m->spec);
    int64_t cur = now_ns / width;
    int64_t sum = 0;
    for (int64_t slot = cur - m->spec.slots + 1; slot <= cur; slot++) {
        sum += slot_sum(m, slot);
    }
    int64_t oldest = slot_sum(m, cur - m->spec.slots);
    if (!m->spec.weighted) {
        return sum + oldest;
    }
    /* The part of the oldest slot, [start, start + width), that is later than now - W. */
    int64_t part = (cur - m->spec.slots + 1) * width - (now_ns - m->spec.window_ns);
    part = part < 0 ? 0 : part;
    qd_int128 scaled = (qd_int128)oldest * part;
    return sum + (int64_t)((scaled + width - 1) / width);
}

static void model_init(struct model *m, int64_t window_ns, uint16_t slots, bool weighted,
                       int64_t amount, int64_t now_ns)
{
    memset(m, 0, sizeof *m);
    m->spec = (struct qd_window_spec){
        .window_ns = window_ns,
        .slots = slots,
        .weighted = weighted,
        .wide = !qd_window_is_narrow(amount),
    };
    m->amount = amount;
    qd_window_init(&m->w.base, &m->spec, wall(now_ns));
}

static bool model_try(struct model *m, int64_t cost, int64_t now_ns)
{
    if (!qd_window_fits(&m->w.base, &m->spec, m->amount, cost, wall(now_ns))) {
        return false;
    }
    qd_window_charge(&m->w.base, &m->spec, cost, wall(now_ns));
    record(m, now_ns, cost);
    return true;
}

/* A step of time that likes the places where windows go wrong. */
static int64_t nasty_step(struct qd_prng *r, const struct qd_window_spec *spec, int64_t now_ns)
{
    int64_t width = width_of(spec);
    int64_t to_edge = width - now_ns % width;
    if (now_ns > QD_WINDOW_TIME_MAX - 4 * spec->window_ns) {
        return 0; /* beyond it time stands still */
    }
    switch (qd_prng_number(r, 12)) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return to_edge;
    case 3:
        return to_edge - 1;
    case 4:
        return to_edge + 1;
    case 5:
        return spec->window_ns;
    case 6:
        return spec->window_ns - 1;
    case 7:
        return spec->window_ns + 1;
    case 8:
        return spec->window_ns + width;
    case 9:
        return qd_prng_number(r, 3 * spec->window_ns);
    default:
        return qd_prng_number(r, 2 * width);
    }
}

static void random_spec(struct qd_prng *r, struct model *m, bool weighted)
{
    static const int64_t windows[] = {
        60,
        61,
        97,
        1000,
        QD_NS_PER_S,
        60 * QD_NS_PER_S,
        60 * QD_NS_PER_S + 7,
        600 * QD_NS_PER_S,
        3600 * QD_NS_PER_S,
        QD_WINDOW_NS_MAX,
    };
    int64_t window = windows[qd_prng_number(r, sizeof windows / sizeof windows[0])];
    uint16_t slots = qd_prng_number(r, 3) == 0 ? 60 : (uint16_t)qd_prng_between(r, 1, 60);
    int64_t amount = qd_prng_between(r, 1, 2000);
    if (qd_prng_number(r, 4) == 0) {
        amount = qd_prng_number(r, 2) == 0 ? qd_prng_magnitude(r, 28) + 1
                                           : qd_prng_between(r, INT64_C(1) << 31, QD_AMOUNT_MAX);
    }
    int64_t start =
        qd_prng_number(r, 2) == 0 ? qd_prng_number(r, 1000) : qd_prng_number(r, INT64_C(1) << 60);
    model_init(m, window, slots, weighted, amount, start);
}

Test(window, D4_strict_no_interval_of_length_w_admits_more)
{
    static struct model m;
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D4_strict_no_interval_of_length_w_admits_more", 1));
    for (int round = 0; round < 300; round++) {
        random_spec(&r, &m, false);
        int64_t now = m.w.base.head_end_ns - 1;
        for (int i = 0; i < 400; i++) {
            now += nasty_step(&r, &m.spec, now);
            int64_t cost =
                qd_prng_number(&r, 3) == 0 ? m.amount : qd_prng_number(&r, m.amount / 3 + 2);
            bool admitted = model_try(&m, cost, now);
            int64_t in_window = exact_sum(&m, now - m.spec.window_ns, now);
            cr_assert_leq(in_window, m.amount, "round %d: [now-W, now] holds %" PRId64, round,
                          in_window);
            if (!admitted) {
                /* What it loses: never more than what lies up to one slot further back. */
                int64_t wider = exact_sum(&m, now - width_of(&m.spec) * (m.spec.slots + 1), now);
                cr_assert_gt(wider + cost, m.amount);
            }
        }
    }
}

Test(window, D4_counts_what_the_exact_log_counts)
{
    static struct model m;
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D4_counts_what_the_exact_log_counts", 2));
    for (int round = 0; round < 400; round++) {
        random_spec(&r, &m, round % 2 == 0);
        int64_t now = m.w.base.head_end_ns - 1;
        for (int i = 0; i < 300; i++) {
            now += nasty_step(&r, &m.spec, now);
            (void)model_try(&m, qd_prng_number(&r, m.amount) + 1, now);
            if (qd_prng_number(&r, 3) == 0 && m.count > 0) { /* settle an earlier one */
                struct event *e =
                    &m.log[m.count - 1 - (size_t)qd_prng_number(&r, (int64_t)m.count)];
                int64_t actual = qd_prng_number(&r, m.amount + 1);
                bool in_ring = e->at_ns / width_of(&m.spec) > m.w.base.head - QD_WINDOW_RING;
                qd_window_adjust(&m.w.base, &m.spec, wall(e->at_ns), actual - e->amount, wall(now));
                e->amount = in_ring ? actual : e->amount;
            }
            cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(now)), model_used(&m, now),
                         "round %d step %d", round, i);
        }
    }
}

static bool fits_at(const struct model *m, int64_t cost, int64_t at_ns)
{
    static struct model copy;
    copy = *m;
    return qd_window_fits(&copy.w.base, &copy.spec, m->amount, cost, wall(at_ns));
}

/* Admits at retry_at, and not one nanosecond earlier. */
static void assert_retry_exact(const struct model *m, int64_t cost, int64_t now)
{
    static struct model copy;
    copy = *m;
    int64_t at = qd_window_retry_at(&copy.w.base, &copy.spec, m->amount, cost, wall(now)).ns;
    bool never = cost > m->amount;
    cr_assert_eq(at == QD_WALL_NEVER, never);
    cr_assert_geq(at, now);
    cr_assert(never || fits_at(m, cost, at), "does not fit at retry_at");
    cr_assert(at == now || !fits_at(m, cost, at - 1), "fits 1 ns earlier");
}

Test(window, D3_retry_at_is_exact)
{
    static struct model m;
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D3_retry_at_is_exact", 3));
    for (int round = 0; round < 400; round++) {
        random_spec(&r, &m, round % 2 == 0);
        int64_t now = m.w.base.head_end_ns - 1;
        for (int i = 0; i < 100; i++) {
            now += nasty_step(&r, &m.spec, now);
            int64_t cost = qd_prng_number(&r, m.amount / 4 + 2);
            (void)model_try(&m, cost, now);
            if (qd_prng_number(&r, 10) == 0) { /* debt: post-paid, beyond the amount */
                qd_window_charge(&m.w.base, &m.spec, m.amount, wall(now));
                record(&m, now, m.amount);
            }
            assert_retry_exact(&m, qd_prng_number(&r, m.amount + 2), now);
            assert_retry_exact(&m, m.amount, now);
        }
    }
}

Test(window, D3_a_cost_above_the_amount_never_fits)
{
    static struct model m;
    model_init(&m, 60 * QD_NS_PER_S, 60, false, 100, 0);
    cr_assert_eq(qd_window_retry_at(&m.w.base, &m.spec, 100, 101, wall(0)).ns, QD_WALL_NEVER);
    cr_assert_eq(qd_window_retry_at(&m.w.base, &m.spec, 100, INT64_MAX, wall(0)).ns, QD_WALL_NEVER);
    cr_assert_eq(qd_window_retry_at(&m.w.base, &m.spec, 100, 100, wall(5)).ns, 5);
}

Test(window, D3_an_amount_of_zero_asks_when_it_is_empty)
{
    static struct model m;
    model_init(&m, 60 * QD_NS_PER_S, 60, false, 100, 0);
    cr_assert(model_try(&m, 1, 500 * QD_NS_PER_MS));
    struct qd_wall_ns at = qd_window_retry_at(&m.w.base, &m.spec, 0, 0, wall(QD_NS_PER_S));
    cr_assert_eq(at.ns, 61 * QD_NS_PER_S); /* slot 0 counts until slot 60 is over */
}

/* Bursts as late in a slot as can be, then again as early as the window lets them. */
static int64_t worst_weighted(uint16_t slots, int64_t amount, int64_t cost, int64_t lead_ns)
{
    static struct model m;
    int64_t window = 60 * QD_NS_PER_S;
    model_init(&m, window, slots, true, amount, 0);
    int64_t width = width_of(&m.spec);
    int64_t worst = 0;
    int64_t now = 1000 * width - lead_ns;
    for (int burst = 0; burst < 3; burst++) {
        while (model_try(&m, cost, now)) {
        }
        int64_t end = now + window;
        while (now < end) { /* as early as it fits again */
            int64_t at = qd_window_retry_at(&m.w.base, &m.spec, amount, cost, wall(now)).ns;
            if (at > end) {
                break;
            }
            now = at;
            (void)model_try(&m, cost, now);
            int64_t seen = exact_sum(&m, now - window, now);
            worst = seen > worst ? seen : worst;
        }
        now = end;
    }
    return worst;
}

Test(window, D4_weighted_stays_below_twice_the_amount_and_bursts_come_near)
{
    static const uint16_t slots[] = {1, 2, 10, 30, 60};
    static struct model m;
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        int64_t worst = 0;
        static const int64_t leads[] = {1, 1000, QD_NS_PER_MS, 10 * QD_NS_PER_MS};
        for (size_t k = 0; k < sizeof leads / sizeof leads[0]; k++) {
            int64_t seen = worst_weighted(slots[i], 600, 1, leads[k]);
            worst = seen > worst ? seen : worst;
        }
        fprintf(stderr,
                "weighted, S=%u, 600/60 s: worst %" PRId64 " in 60 s (+%" PRId64 ".%02u%%)\n",
                slots[i], worst, (worst - 600) * 100 / 600,
                (unsigned)((worst - 600) * 10000 / 600 % 100));
        cr_assert_leq(worst, 1200);
        cr_assert_geq(worst, 1190); /* the stated worst case is not an exaggeration */
    }
    struct qd_prng r;
    qd_prng_init(&r,
                 qd_prng_seed("D4_weighted_stays_below_twice_the_amount_and_bursts_come_near", 4));
    for (int round = 0; round < 200; round++) {
        random_spec(&r, &m, true);
        int64_t now = m.w.base.head_end_ns - 1;
        for (int i = 0; i < 300; i++) {
            now += nasty_step(&r, &m.spec, now);
            (void)model_try(&m, qd_prng_number(&r, m.amount) + 1, now);
            cr_assert_leq(exact_sum(&m, now - m.spec.window_ns, now), 2 * m.amount);
        }
    }
}

/* Even and random on-off traffic: far below the worst case. */
Test(window, D4_weighted_error_on_even_and_on_off_traffic_is_small)
{
    static struct model m;
    for (int kind = 0; kind < 2; kind++) {
        struct qd_prng r;
        qd_prng_init(&r, qd_prng_seed("D4_weighted_error_on_even_and_on_off_traffic_is_small",
                                      50 + (uint64_t)kind));
        int64_t worst = 0;
        model_init(&m, 60 * QD_NS_PER_S, 60, true, 600, 0);
        int64_t now = 0;
        int64_t off_at = 0;
        while (now < 3600 * QD_NS_PER_S) {
            now += qd_prng_number(&r, kind == 0 ? 100 * QD_NS_PER_MS : 10 * QD_NS_PER_MS);
            if (kind == 1 && now > off_at) { /* 20 times the limit while on */
                now += qd_prng_number(&r, 60 * QD_NS_PER_S);
                off_at = now + qd_prng_number(&r, 10 * QD_NS_PER_S);
            }
            (void)model_try(&m, 1, now);
            int64_t seen = exact_sum(&m, now - 60 * QD_NS_PER_S, now);
            worst = seen > worst ? seen : worst;
        }
        fprintf(stderr, "weighted, S=60, 600/60 s, %s: worst %" PRId64 " in 60 s\n",
                kind == 0 ? "even 2x" : "on-off 20x", worst);
        cr_assert_leq(worst, kind == 0 ? 612 : 660);
    }
}

Test(window, D7_a_settle_changes_the_slot_of_the_reservation)
{
    static struct model m;
    model_init(&m, 60 * QD_NS_PER_S, 60, false, 100, 0);
    cr_assert(model_try(&m, 60, 0));
    cr_assert(model_try(&m, 40, 30 * QD_NS_PER_S));
    /* 60 becomes 10, in slot 0, at second 45. */
    qd_window_adjust(&m.w.base, &m.spec, wall(0), -50, wall(45 * QD_NS_PER_S));
    cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(45 * QD_NS_PER_S)), 50);
    /* 40 becomes 90 (debt), in slot 30. */
    qd_window_adjust(&m.w.base, &m.spec, wall(30 * QD_NS_PER_S), 50, wall(46 * QD_NS_PER_S));
    cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(60 * QD_NS_PER_S)), 100);
    cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(61 * QD_NS_PER_S)), 90);
    cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(91 * QD_NS_PER_S)), 0);
    /* Left the window, and left the ring: nothing counts it any more. */
    qd_window_adjust(&m.w.base, &m.spec, wall(30 * QD_NS_PER_S), 7, wall(92 * QD_NS_PER_S));
    qd_window_adjust(&m.w.base, &m.spec, wall(0), 7, wall(92 * QD_NS_PER_S));
    cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(92 * QD_NS_PER_S)), 0);
    /* A time ahead is the newest slot. */
    qd_window_adjust(&m.w.base, &m.spec, wall(500 * QD_NS_PER_S), 7, wall(92 * QD_NS_PER_S));
    cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(92 * QD_NS_PER_S)), 7);
}

Test(window, D4_a_time_before_the_newest_slot_is_the_newest_slot)
{
    static struct model m;
    for (int weighted = 0; weighted < 2; weighted++) {
        model_init(&m, 60 * QD_NS_PER_S, 60, weighted, 10, 1000 * QD_NS_PER_S);
        cr_assert(model_try(&m, 4, 1000 * QD_NS_PER_S));
        qd_window_charge(&m.w.base, &m.spec, 6, wall(990 * QD_NS_PER_S));
        cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(990 * QD_NS_PER_S)), 10);
        cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(1059 * QD_NS_PER_S)), 10);
        cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(1061 * QD_NS_PER_S)), 0);
    }
}

Test(window, D4_slots_count_own_and_others_and_never_below_zero)
{
    static struct model m;
    struct qd_prng r;
    qd_prng_init(&r, qd_prng_seed("D4_slots_count_own_and_others_and_never_below_zero", 6));
    for (int round = 0; round < 200; round++) {
        random_spec(&r, &m, round % 2 == 0);
        m.amount = 1000;
        int64_t now = m.w.base.head_end_ns - 1;
        m.spec.others = m.others;
        for (int i = 0; i < 200; i++) {
            int64_t step = nasty_step(&r, &m.spec, now);
            int64_t width = width_of(&m.spec);
            int64_t old_head = now / width;
            int64_t head = (now + step) / width;
            /* Whoever keeps `others` moves it on first, and may know slots that are ahead of us. */
            for (int64_t s = old_head + 1; s <= head && s <= old_head + QD_WINDOW_RING; s++) {
                m.others[(uint64_t)s % QD_WINDOW_RING] = 0;
            }
            if (head - old_head > QD_WINDOW_RING) {
                memset(m.others, 0, sizeof m.others);
            }
            now += step;
            (void)qd_window_used(&m.w.base, &m.spec, wall(now));
            if (qd_prng_number(&r, 2) == 0) {
                int64_t slot = head - qd_prng_number(&r, m.spec.slots + 1);
                m.others[(uint64_t)slot % QD_WINDOW_RING] += qd_prng_between(&r, -50, 80);
                qd_window_refold(&m.w.base, &m.spec, wall(now));
            }
            /* This node settles what another one reserved: its own part goes below 0. */
            int64_t at = now - qd_prng_number(&r, m.spec.window_ns);
            if (at >= 0) {
                int64_t delta = qd_prng_between(&r, -60, 60);
                qd_window_adjust(&m.w.base, &m.spec, wall(at), delta, wall(now));
                record(&m, at, delta);
            }
            cr_assert_eq(qd_window_used(&m.w.base, &m.spec, wall(now)), model_used(&m, now));
        }
    }
}

Test(window, D4_others_count_from_the_first_call)
{
    static int64_t others[QD_WINDOW_RING];
    others[0] = 5;
    others[1] = 3; /* a slot ahead: counts when it comes */
    struct qd_window_narrow w;
    struct qd_window_spec spec = {.window_ns = 60 * QD_NS_PER_S, .slots = 60, .others = others};
    qd_window_init(&w.base, &spec, wall(0));
    cr_assert_eq(qd_window_used(&w.base, &spec, wall(0)), 5);
    cr_assert_eq(qd_window_used(&w.base, &spec, wall(QD_NS_PER_S)), 8);
    cr_assert_eq(qd_window_used(&w.base, &spec, wall(61 * QD_NS_PER_S)), 3);
    others[1] = INT64_MAX; /* taken as the largest a slot can hold */
    qd_window_refold(&w.base, &spec, wall(61 * QD_NS_PER_S));
    cr_assert_eq(qd_window_used(&w.base, &spec, wall(61 * QD_NS_PER_S)), QD_WINDOW_WIDE_MAX);
    memset(others, 0, sizeof others);
    cr_assert_eq(qd_window_used(&w.base, &spec, wall(161 * QD_NS_PER_S)), 0);
}

Test(window, D4_a_full_slot_denies_until_it_has_left)
{
    for (int wide = 0; wide < 2; wide++) {
        struct qd_window_wide w;
        struct qd_window_spec spec = {
            .window_ns = 60 * QD_NS_PER_S, .slots = 60, .wide = wide == 1};
        int64_t max = wide == 1 ? QD_WINDOW_WIDE_MAX : QD_WINDOW_NARROW_MAX;
        qd_window_init(&w.base, &spec, wall(0));
        qd_window_charge(&w.base, &spec, 1, wall(0));
        qd_window_charge(&w.base, &spec, INT64_MAX, wall(0));
        qd_window_charge(&w.base, &spec, INT64_MAX, wall(0));
        qd_window_adjust(&w.base, &spec, wall(0), INT64_MIN, wall(0)); /* cannot be given back */
        cr_assert_eq(qd_window_used(&w.base, &spec, wall(0)), max);
        cr_assert_not(qd_window_fits(&w.base, &spec, INT64_MAX, 0, wall(60 * QD_NS_PER_S)));
        cr_assert_eq(qd_window_retry_at(&w.base, &spec, INT64_MAX, 1, wall(0)).ns,
                     61 * QD_NS_PER_S);
        cr_assert(qd_window_fits(&w.base, &spec, 1, 1, wall(61 * QD_NS_PER_S)));
        for (int k = 0; k < 2; k++) {
            qd_window_adjust(&w.base, &spec, wall(61 * QD_NS_PER_S), INT64_MIN,
                             wall(61 * QD_NS_PER_S));
        }
        cr_assert_eq(qd_window_used(&w.base, &spec, wall(61 * QD_NS_PER_S)), 0);
        qd_window_charge(&w.base, &spec, 5, wall(61 * QD_NS_PER_S));
        qd_window_adjust(&w.base, &spec, wall(61 * QD_NS_PER_S), -5, wall(61 * QD_NS_PER_S));
        /* Every slot full: the total still has room. */
        for (int64_t s = 62; s < 122; s++) {
            qd_window_charge(&w.base, &spec, INT64_MAX, wall(s * QD_NS_PER_S));
        }
        cr_assert_eq(qd_window_used(&w.base, &spec, wall(121 * QD_NS_PER_S)), 60 * max);
        cr_assert_eq(qd_window_used(&w.base, &spec, wall(1000 * QD_NS_PER_S)), 0);
    }
}

Test(window, D4_absurd_times_neither_overflow_nor_mint)
{
    static const int64_t windows[] = {60, QD_NS_PER_S, QD_WINDOW_NS_MAX};
    for (size_t i = 0; i < 3; i++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            struct qd_window_narrow w;
            struct qd_window_spec spec = {
                .window_ns = windows[i], .slots = 60, .weighted = weighted == 1};
            qd_window_init(&w.base, &spec, wall(INT64_MIN));
            qd_window_charge(&w.base, &spec, 7, wall(-5));
            cr_assert_eq(qd_window_used(&w.base, &spec, wall(0)), 7);
            cr_assert_eq(qd_window_used(&w.base, &spec, wall(INT64_MAX)), 0);
            qd_window_charge(&w.base, &spec, 9, wall(INT64_MAX));
            cr_assert_eq(qd_window_used(&w.base, &spec, wall(0)), 9);
            cr_assert_gt(qd_window_retry_at(&w.base, &spec, 9, 1, wall(INT64_MAX)).ns,
                         QD_WINDOW_TIME_MAX);
        }
    }
}

Test(window, D4_weighted_large_amounts_use_wide_products)
{
    struct qd_window_wide w;
    struct qd_window_spec spec = {
        .window_ns = QD_WINDOW_NS_MAX, .slots = 1, .weighted = true, .wide = true};
    int64_t amount = INT64_C(1) << 53;
    qd_window_init(&w.base, &spec, wall(0));
    qd_window_charge(&w.base, &spec, amount, wall(0));
    int64_t half = QD_WINDOW_NS_MAX + QD_WINDOW_NS_MAX / 2;
    cr_assert_eq(qd_window_used(&w.base, &spec, wall(half)), amount / 2);
    cr_assert_eq(qd_window_retry_at(&w.base, &spec, amount, amount / 2, wall(0)).ns, half);
    /* Where the sum of product and divisor just passes 64 bits. */
    struct qd_window_spec odd = {
        .window_ns = (INT64_C(1) << 54) + 1, .slots = 1, .weighted = true, .wide = true};
    qd_window_init(&w.base, &odd, wall(0));
    qd_window_charge(&w.base, &odd, 1023, wall(0));
    cr_assert_eq(qd_window_used(&w.base, &odd, wall(odd.window_ns)), 1023);
}

Test(window, P6_a_window_that_outgrows_its_kind_keeps_what_was_used)
{
    struct qd_window_narrow narrow;
    struct qd_window_wide wide;
    struct qd_window_spec spec = {.window_ns = 60 * QD_NS_PER_S, .slots = 60};
    qd_window_init(&narrow.base, &spec, wall(0));
    for (int64_t s = 0; s < 100; s++) {
        qd_window_charge(&narrow.base, &spec, s, wall(s * QD_NS_PER_S));
    }
    int64_t used = qd_window_used(&narrow.base, &spec, wall(99 * QD_NS_PER_S));
    qd_window_widen(&narrow, &wide);
    spec.wide = true;
    cr_assert_eq(qd_window_used(&wide.base, &spec, wall(99 * QD_NS_PER_S)), used);
    cr_assert_eq(qd_window_used(&wide.base, &spec, wall(120 * QD_NS_PER_S)),
                 used - (39 + 59) * 21 / 2);
    cr_assert(qd_window_fits(&wide.base, &spec, INT64_C(1) << 40, INT64_C(1) << 39,
                             wall(99 * QD_NS_PER_S)));
}

Test(window, P6_an_amount_beyond_the_narrow_kind_is_taken_as_its_largest)
{
    struct qd_window_narrow w;
    struct qd_window_spec spec = {.window_ns = 60 * QD_NS_PER_S, .slots = 60};
    qd_window_init(&w.base, &spec, wall(0));
    cr_assert(qd_window_fits(&w.base, &spec, INT64_MAX, QD_WINDOW_NARROW_MAX - 1, wall(0)));
    cr_assert_not(qd_window_fits(&w.base, &spec, INT64_MAX, QD_WINDOW_NARROW_MAX, wall(0)));
    cr_assert(qd_window_is_narrow(QD_WINDOW_NARROW_MAX - 1));
    cr_assert_not(qd_window_is_narrow(QD_WINDOW_NARROW_MAX));
}

Test(window, P5_openai_requests_and_tokens_per_minute)
{
    static struct model rpm;
    static struct model tpm;
    model_init(&rpm, 60 * QD_NS_PER_S, 60, false, 500, 0);
    model_init(&tpm, 60 * QD_NS_PER_S, 60, false, 30000, 0);
    int64_t now = 0;
    int admitted = 0;
    for (; now < 60 * QD_NS_PER_S; now += 100 * QD_NS_PER_MS) { /* 600 requests of 100 tokens */
        if (qd_window_fits(&rpm.w.base, &rpm.spec, 500, 1, wall(now)) &&
            qd_window_fits(&tpm.w.base, &tpm.spec, 30000, 100, wall(now))) {
            qd_window_charge(&rpm.w.base, &rpm.spec, 1, wall(now));
            qd_window_charge(&tpm.w.base, &tpm.spec, 100, wall(now));
            admitted++;
        }
    }
    cr_assert_eq(admitted, 300); /* tokens bind first */
}

Test(window, P5_gemini_dollars_per_rolling_ten_minutes)
{
    static struct model m;
    int64_t usd = INT64_C(1000000000); /* in nano-USD */
    model_init(&m, 600 * QD_NS_PER_S, 60, false, 10 * usd, 0);
    cr_assert(m.spec.wide);
    for (int64_t s = 0; s < 500; s += 50) {
        cr_assert(model_try(&m, usd, s * QD_NS_PER_S));
    }
    cr_assert_not(model_try(&m, 1, 500 * QD_NS_PER_S));
    /* The first dollar's slot of 10 s leaves at 610 s: 600 s after its slot's end. */
    cr_assert_eq(qd_window_retry_at(&m.w.base, &m.spec, 10 * usd, usd, wall(500 * QD_NS_PER_S)).ns,
                 610 * QD_NS_PER_S);
}
