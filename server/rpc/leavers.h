/* Addresses whose clients hung up of late, and on how much (X3). Pure.
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct; zeros are nobody.
 * Units:    bytes that came on connections which their clients closed.
 *
 * Whoever calls from a command line leaves a few hundred bytes each time, a gateway that crashes
 * what it had sent since it began. To leave much is no fault by itself: guard.h has when it is.
 */
#ifndef QD_RPC_LEAVERS_H
#define QD_RPC_LEAVERS_H

#include <stdint.h>

#define QD_LEAVERS_MAX   64U /* addresses; who has left the least makes room for a new one */
#define QD_LEAVERS_LEAST (256U << 10)
/* More than that on one connection counts as no more: it has lasted, and was answered. */
#define QD_LEAVERS_ONE_MAX (64U << 10)

struct qd_leaver {
    uint8_t address[16]; /* as qd_address_of writes it */
    uint64_t bytes;      /* 0: nobody */
};

struct qd_leavers {
    struct qd_leaver list[QD_LEAVERS_MAX];
};

/* A client of this address has hung up; so much had come. */
void qd_leavers_add(struct qd_leavers *leavers, const uint8_t address[16], uint64_t bytes);

/* Half of it is forgotten: it is of late. */
void qd_leavers_halve(struct qd_leavers *leavers);

/* Who has left the most, and `least` or more of it; NULL: nobody has. */
struct qd_leaver *qd_leavers_worst(struct qd_leavers *leavers, uint64_t least);

#endif /* QD_RPC_LEAVERS_H */
