#include "server/rpc/suspects.h"

#include <stdlib.h>

/* -1, 0, 1 */
static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_peer(const void *a, const void *b)
{
    const struct qd_suspect *x = a;
    const struct qd_suspect *y = b;
    int address = order(x->address, y->address);

    return address != 0 ? address : order(x->connection, y->connection);
}

static int by_calls(const void *a, const void *b)
{
    const struct qd_suspect *x = a;
    const struct qd_suspect *y = b;

    return order(y->calls, x->calls);
}

/* An address's are next to each other, the worst of them first. */
static int by_stalled(const void *a, const void *b)
{
    const struct qd_suspect *x = a;
    const struct qd_suspect *y = b;
    int worse = order(y->address_stalled, x->address_stalled);
    int address = order(x->address, y->address);

    return worse != 0 ? worse : address != 0 ? address : order(y->stalled, x->stalled);
}

/* Calls, sorted by peer, become connections: how many. */
static uint32_t merge(struct qd_suspect *suspects, uint32_t count)
{
    uint32_t last = 0;

    for (uint32_t i = 1; i < count; i++) {
        if (by_peer(&suspects[last], &suspects[i]) == 0) {
            suspects[last].calls += suspects[i].calls;
            suspects[last].stalled += suspects[i].stalled;
        } else {
            suspects[++last] = suspects[i];
        }
    }
    return count == 0 ? 0 : last + 1;
}

/* The connections [from, to) are all of one address. */
static void sum_address(struct qd_suspect *suspects, uint32_t from, uint32_t to)
{
    uint32_t calls = 0;
    uint32_t stalled = 0;

    for (uint32_t i = from; i < to; i++) {
        calls += suspects[i].calls;
        stalled += suspects[i].stalled;
    }
    for (uint32_t i = from; i < to; i++) {
        suspects[i].address_calls = calls;
        suspects[i].address_stalled = stalled;
    }
}

static void sum_addresses(struct qd_suspect *suspects, uint32_t count)
{
    for (uint32_t from = 0, i = 1; i <= count; i++) {
        if (i == count || suspects[i].address != suspects[from].address) {
            sum_address(suspects, from, i);
            from = i;
        }
    }
}

static uint32_t find_over(struct qd_suspect *suspects, uint32_t count, uint32_t streams_max)
{
    uint32_t over = 0;

    qsort(suspects, count, sizeof(*suspects), by_calls);
    while (over < count && suspects[over].calls > streams_max) {
        over++;
    }
    return over;
}

static bool is_stall(const struct qd_suspect *suspects, uint32_t count)
{
    uint64_t calls = 0;
    uint64_t stalled = 0;

    for (uint32_t i = 0; i < count; i++) {
        calls += suspects[i].calls;
        stalled += suspects[i].stalled;
    }
    return stalled > 0 && stalled * QD_SUSPECTS_STALLED >= calls;
}

static bool is_like(uint32_t stalled, uint32_t worst)
{
    return (uint64_t)stalled * QD_SUSPECTS_ALIKE >= worst;
}

/* Of each address that is like the worst one, those that are like its worst. */
static uint32_t find_stalled(struct qd_suspect *suspects, uint32_t count)
{
    uint32_t found = 0;
    uint32_t worst = 0; /* of the address */

    qsort(suspects, count, sizeof(*suspects), by_stalled);
    uint64_t address = suspects[0].address;
    uint32_t most = suspects[0].address_stalled;
    for (uint32_t i = 0; i < count && found < QD_SUSPECTS_AT_ONCE; i++) {
        const struct qd_suspect s = suspects[i];
        if (!is_like(s.address_stalled, most)) {
            break;
        }
        if (i == 0 || s.address != address) {
            address = s.address;
            worst = s.stalled;
        }
        if (is_like(s.stalled, worst)) {
            suspects[found++] = s;
        }
    }
    return found;
}

/* It becomes the first. */
static uint32_t find_most(struct qd_suspect *suspects, uint32_t count)
{
    uint32_t most = 0;

    for (uint32_t i = 1; i < count; i++) {
        int address = order(suspects[i].address_calls, suspects[most].address_calls);
        if (address > 0 || (address == 0 && suspects[i].calls > suspects[most].calls)) {
            most = i;
        }
    }
    suspects[0] = suspects[most];
    return 1;
}

uint32_t qd_suspects_judge(struct qd_suspect *suspects, uint32_t count,
                           const struct qd_suspects_state *state, enum qd_cutoff *ret_why)
{
    qsort(suspects, count, sizeof(*suspects), by_peer);
    count = merge(suspects, count);
    sum_addresses(suspects, count);
    uint32_t over = find_over(suspects, count, state->streams_max);
    if (over > 0 || !state->exhausted || count == 0) {
        *ret_why = QD_CUT_CALLS;
        return over;
    }
    if (is_stall(suspects, count)) {
        *ret_why = QD_CUT_CALLS;
        return find_stalled(suspects, count);
    }
    *ret_why = QD_CUT_MOST;
    return state->lasting ? find_most(suspects, count) : 0;
}
