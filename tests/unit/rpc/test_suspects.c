/* X3: who is at fault when too many calls are in hand, by the judgement alone. */
#include "server/rpc/suspects.h"
#include "tests/lib/prng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS_MAX 1000U
#define CALLS_MAX   8192U

#define HONEST   7U
#define ATTACKER 3U

static struct qd_suspect suspects[CALLS_MAX];
static uint32_t count;
static enum qd_cutoff why;

static const struct qd_suspects_state roomy = {.streams_max = STREAMS_MAX};
static const struct qd_suspects_state exhausted = {.streams_max = STREAMS_MAX, .exhausted = true};
static const struct qd_suspects_state lasting = {
    .streams_max = STREAMS_MAX, .exhausted = true, .lasting = true};

static void setup(void)
{
    count = 0;
    why = QD_CUT_COUNT;
}

TestSuite(suspects, .init = setup);

/* So many calls of a connection, of which these are stalled. Its number is in all its hashes. */
static void hold(uint64_t address, uint64_t port, uint32_t calls, uint32_t stalled)
{
    for (uint32_t i = 0; i < calls; i++) {
        cr_assert_lt(count, CALLS_MAX);
        suspects[count] = qd_suspect_of(address, address << 32 | port, count, i < stalled);
        count++;
    }
}

/* As the call objects lie: anyhow. */
static void shuffle(void)
{
    struct qd_prng prng;

    qd_prng_init(&prng, 11);
    for (uint32_t i = count; i > 1; i--) {
        uint32_t k = (uint32_t)qd_prng_below(&prng, i);
        struct qd_suspect swapped = suspects[i - 1];
        suspects[i - 1] = suspects[k];
        suspects[k] = swapped;
    }
}

static uint32_t judge(const struct qd_suspects_state *state)
{
    shuffle();
    return qd_suspects_judge(suspects, count, state, &why);
}

static void expect_only(uint32_t found, uint64_t address)
{
    for (uint32_t i = 0; i < found; i++) {
        cr_expect_eq(suspects[i].address, address, "[%u] is of %llu", i,
                     (unsigned long long)suspects[i].address);
    }
}

static bool has(uint32_t found, uint64_t port)
{
    for (uint32_t i = 0; i < found; i++) {
        if ((uint32_t)suspects[i].connection == port) {
            return true;
        }
    }
    return false;
}

/* The connection with the most calls is the honest one's. */
Test(suspects, X3_many_small_ones_that_stall_go_before_a_busy_one)
{
    hold(HONEST, 1, 90, 0);
    for (uint64_t port = 0; port < 40; port++) {
        hold(ATTACKER, port, 60, 60);
    }
    uint32_t found = judge(&exhausted);
    cr_expect_eq(found, QD_SUSPECTS_AT_ONCE);
    cr_expect_eq(why, QD_CUT_CALLS);
    expect_only(found, ATTACKER);
}

/* Behind one NAT: its neighbour reads, though it has the most calls of all. */
Test(suspects, X3_a_neighbour_at_their_address_stays)
{
    hold(ATTACKER, 100, 900, 3);
    hold(ATTACKER, 101, 20, 0);
    for (uint64_t port = 0; port < 12; port++) {
        hold(ATTACKER, port, 60, 58);
    }
    uint32_t found = judge(&exhausted);
    cr_expect_eq(found, 12);
    cr_expect_eq(why, QD_CUT_CALLS);
    cr_expect_not(has(found, 100));
    cr_expect_not(has(found, 101));
}

/* By connection each of the honest gateway's that was frozen for a moment is the worse one. */
Test(suspects, X3_what_an_address_has_together_counts)
{
    hold(HONEST, 1, 200, 100);
    for (uint64_t port = 0; port < 100; port++) {
        hold(ATTACKER, port, 40, 40);
    }
    uint32_t found = judge(&exhausted);
    cr_expect_eq(found, QD_SUSPECTS_AT_ONCE);
    expect_only(found, ATTACKER);
}

Test(suspects, X3_many_addresses_that_stall_go_together)
{
    hold(HONEST, 1, 900, 0);
    for (uint64_t address = 100; address < 110; address++) {
        hold(address, 1, 70, 70);
    }
    hold(HONEST + 1, 1, 17, 17); /* not quite like them */
    uint32_t found = judge(&exhausted);
    cr_expect_eq(found, 10);
    cr_expect_eq(why, QD_CUT_CALLS);
    for (uint32_t i = 0; i < found; i++) {
        cr_expect_geq(suspects[i].address, 100);
    }
}

Test(suspects, X3_the_worst_comes_first)
{
    hold(ATTACKER, 1, 200, 190);
    hold(ATTACKER, 2, 200, 200);
    hold(ATTACKER + 1, 3, 300, 300);
    cr_expect_eq(judge(&exhausted), 3);
    cr_expect_eq((uint32_t)suspects[0].connection, 2);
    cr_expect_eq((uint32_t)suspects[1].connection, 1);
    cr_expect_eq((uint32_t)suspects[2].connection, 3);
    cr_expect_eq(suspects[0].address_calls, 400);
    cr_expect_eq(suspects[0].address_stalled, 390);
}

/* Nobody is at fault: not yet, for what stalls does not show at once. */
Test(suspects, X3_who_only_has_the_most_goes_when_it_lasts_and_is_not_to_blame)
{
    hold(HONEST, 1, 90, 0);
    for (uint64_t port = 0; port < 40; port++) {
        hold(ATTACKER, port, 60 + (port == 17), 0);
    }
    cr_expect_eq(judge(&exhausted), 0);
    setup();
    hold(HONEST, 1, 90, 0);
    for (uint64_t port = 0; port < 40; port++) {
        hold(ATTACKER, port, 60 + (port == 17), 0);
    }
    cr_expect_eq(judge(&lasting), 1);
    cr_expect_eq(why, QD_CUT_MOST);
    cr_expect_eq(suspects[0].address, ATTACKER);
    cr_expect_eq((uint32_t)suspects[0].connection, 17);
}

/* A stalled call here and there exhausts nothing: 1 in 8 does. */
Test(suspects, X3_a_few_that_stall_are_no_flood)
{
    hold(HONEST, 1, 700, 0);
    hold(ATTACKER, 1, 101, 99);
    cr_expect_eq(judge(&lasting), 1);
    cr_expect_eq(why, QD_CUT_MOST);
    cr_expect_eq(suspects[0].address, HONEST);
    setup();
    hold(HONEST, 1, 700, 0);
    hold(ATTACKER, 1, 100, 100);
    cr_expect_eq(judge(&lasting), 1);
    cr_expect_eq(why, QD_CUT_CALLS);
    cr_expect_eq(suspects[0].address, ATTACKER);
}

Test(suspects, X3_more_calls_than_streams_is_a_fault_by_itself)
{
    const struct qd_suspects_state *states[] = {&roomy, &exhausted, &lasting};

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        setup();
        hold(HONEST, 1, STREAMS_MAX, 0);
        hold(ATTACKER, 1, STREAMS_MAX + 1, 0);
        hold(ATTACKER, 2, STREAMS_MAX + 2, 0);
        hold(ATTACKER, 3, 500, 500);
        cr_expect_eq(judge(states[i]), 2);
        cr_expect_eq(why, QD_CUT_CALLS);
        cr_expect_eq((uint32_t)suspects[0].connection, 2);
        cr_expect_eq((uint32_t)suspects[1].connection, 1);
    }
}

Test(suspects, X3_nobody_goes_while_there_is_room)
{
    hold(HONEST, 1, STREAMS_MAX, 0);
    hold(ATTACKER, 1, STREAMS_MAX, STREAMS_MAX);
    cr_expect_eq(judge(&roomy), 0);
    setup();
    cr_expect_eq(judge(&roomy), 0);
    cr_expect_eq(judge(&lasting), 0); /* all wait for the disk */
}

/* --- against a plain count --- */

#define ADDRESSES 5U
#define PORTS     6U

struct plain {
    uint32_t calls[ADDRESSES][PORTS], stalled[ADDRESSES][PORTS];
};

static uint32_t sum(const uint32_t *of)
{
    uint32_t total = 0;

    for (uint32_t i = 0; i < PORTS; i++) {
        total += of[i];
    }
    return total;
}

static void hold_any(struct qd_prng *prng, struct plain *plain)
{
    setup();
    memset(plain, 0, sizeof(*plain));
    for (uint32_t a = 0; a < ADDRESSES; a++) {
        for (uint32_t p = 0; p < PORTS; p++) {
            uint32_t calls = (uint32_t)qd_prng_below(prng, 40);
            uint32_t stalled =
                qd_prng_below(prng, 2) == 0 ? (uint32_t)qd_prng_below(prng, calls + 1) : 0;
            hold(a, p, calls, stalled);
            plain->calls[a][p] = calls;
            plain->stalled[a][p] = stalled;
        }
    }
}

/* Whoever goes for what it stalls has the counts that it has, stalls, and nobody at another address
 * that stays has more of it than the address of the first. */
Test(suspects, X3_the_counts_are_those_of_a_plain_count)
{
    struct qd_prng prng;
    struct plain plain;

    qd_prng_init(&prng, qd_prng_seed("suspects", 23));
    for (int round = 0; round < 500; round++) {
        hold_any(&prng, &plain);
        uint32_t found = judge(&lasting);
        cr_assert_geq(found, 1);
        for (uint32_t i = 0; i < found; i++) {
            const struct qd_suspect *s = &suspects[i];
            uint32_t a = (uint32_t)s->address;
            uint32_t p = (uint32_t)s->connection;
            cr_assert_eq(s->calls, plain.calls[a][p]);
            cr_assert_eq(s->stalled, plain.stalled[a][p]);
            cr_assert_eq(s->address_calls, sum(plain.calls[a]));
            cr_assert_eq(s->address_stalled, sum(plain.stalled[a]));
            cr_assert(why == QD_CUT_MOST || s->stalled > 0);
        }
        for (uint32_t a = 0; a < ADDRESSES; a++) {
            cr_assert(why == QD_CUT_MOST ? sum(plain.calls[a]) <= suspects[0].address_calls
                                         : sum(plain.stalled[a]) <= suspects[0].address_stalled);
        }
    }
}
