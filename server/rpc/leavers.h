/* Addresses whose clients dial, call and hang up, again and again (X3). Pure.
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct; zeros are nobody.
 *
 * Of each address: how many calls of its were cancelled of late, and how many connections its
 * clients closed soon after they had made them, though they had much to ask. Neither is a fault by
 * itself: deadlines cancel calls, and a process that ends hangs up.
 */
#ifndef QD_RPC_LEAVERS_H
#define QD_RPC_LEAVERS_H

#include <stdbool.h>
#include <stdint.h>

#define QD_LEAVERS_MAX      64U /* addresses; who has the least makes room for a new one */
#define QD_LEAVERS_CALLS    512U
#define QD_LEAVERS_HANG_UPS 2U
/* Of a connection that counts: it was seen to end so soon, or it shows by itself (suspects.h), and
 * so many bytes had come; a probe's, a call's from a command line, or a handshake that failed, is
 * less. */
#define QD_LEAVERS_SOON_MS 3000U
#define QD_LEAVERS_LEAST   2048U

struct qd_leaver {
    uint8_t address[16]; /* as qd_address_of writes it */
    uint32_t calls;      /* cancelled */
    uint32_t hang_ups;   /* 0, and no call either: nobody */
};

struct qd_leavers {
    struct qd_leaver list[QD_LEAVERS_MAX];
};

void qd_leavers_add_call(struct qd_leavers *leavers, const uint8_t address[16]);
void qd_leavers_add_hang_up(struct qd_leavers *leavers, const uint8_t address[16]);

/* Half of it all is forgotten: it is of late. */
void qd_leavers_halve(struct qd_leavers *leavers);

/* One with QD_LEAVERS_CALLS and QD_LEAVERS_HANG_UPS, or more; it is forgotten. False: there is
 * none. */
bool qd_leavers_take(struct qd_leavers *leavers, uint8_t ret_address[16]);

#endif /* QD_RPC_LEAVERS_H */
