/* Of those who have calls in hand, whose connections are to be cut off (X3). Pure.
 *
 * Layer:    rpc
 * Threads:  any.
 * Memory:   the caller's array.
 *
 * At fault is, in this order:
 *
 * - who has more calls on a connection than streams are allowed;
 * - when no call object is left, who does not take its answers: the address with the most calls of
 *   which nothing but the answer's way is left, and that for a while (stalled), and who is like it.
 *   An address, for a flood is easily spread over connections each of which is modest. But only
 *   those of its connections go that do not read: what else is behind a NAT stays;
 * - nobody, when no call object is left and hardly any call is stalled. If that lasts, the
 *   connection with the most calls, of the address with the most, gives way to the others; there is
 *   nothing else to hold against it.
 */
#ifndef QD_RPC_SUSPECTS_H
#define QD_RPC_SUSPECTS_H

#include "server/shard/node.h"

#include <stdbool.h>
#include <stdint.h>

/* Connections without a rest, of those that stall: the worst ones. The next look finds others. */
#define QD_SUSPECTS_AT_ONCE 16U
/* Who has this part of what the worst has, or more, is like it. */
#define QD_SUSPECTS_ALIKE 4U
/* When this part of all calls in hand, or more, is stalled, that is what exhausts them. */
#define QD_SUSPECTS_STALLED 8U

/* Before the judgement one call, after it a connection. */
struct qd_suspect {
    uint64_t address;    /* hashes; equal ones are the same */
    uint64_t connection; /* of one address only */
    uint32_t call;       /* the caller's number for one of its calls */
    uint32_t calls;
    uint32_t stalled; /* of them */
    /* Of all connections of its address. */
    uint32_t address_calls;
    uint32_t address_stalled;
};

struct qd_suspects_state {
    uint32_t streams_max;
    bool exhausted; /* no call object is left */
    bool lasting;   /* for so long that what is stalled would show */
};

/* A call in hand, to be judged. */
static inline struct qd_suspect qd_suspect_of(uint64_t address, uint64_t connection, uint32_t call,
                                              bool stalled)
{
    return (struct qd_suspect){.address = address,
                               .connection = connection,
                               .call = call,
                               .calls = 1,
                               .stalled = stalled ? 1 : 0};
}

/* Judge `count` calls, in any order. Those connections that are to be cut off are the array's first
 * afterwards, the worst of all at [0]: returns their number, which may be 0, and why; the rest of
 * the array is scratch. */
uint32_t qd_suspects_judge(struct qd_suspect *suspects, uint32_t count,
                           const struct qd_suspects_state *state, enum qd_cutoff *ret_why);

#endif /* QD_RPC_SUSPECTS_H */
