/* Addresses that may hardly connect for a while (X3).
 *
 * An address may be many: all behind one NAT, or beside one sidecar. So a banned one has a turn
 * every QD_BAN_TURN_MS: who asks honestly gets in among a few attempts, and keeps the connection.
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct; zeros are an empty one.
 * Units:    milliseconds of any clock that does not go back.
 */
#ifndef QD_RPC_BANS_H
#define QD_RPC_BANS_H

#include <stdbool.h>
#include <stdint.h>

#define QD_BANS_MAX 256U /* the oldest is forgotten for a new one */

#define QD_BAN_TURN_MS 500U

struct qd_ban {
    uint8_t address[16]; /* as qd_address_of writes it */
    uint64_t until_ms;   /* 0: none */
    uint64_t turn_ms;    /* when it may connect once */
};

struct qd_bans {
    struct qd_ban list[QD_BANS_MAX];
    uint32_t next;
};

/* Ban an address until then; a ban that it has lasts no shorter, and its turns stay. */
void qd_bans_add(struct qd_bans *bans, const uint8_t address[16], uint64_t now_ms,
                 uint64_t until_ms);

/* The address's ban that holds now; NULL: it has none. */
struct qd_ban *qd_bans_find(struct qd_bans *bans, const uint8_t address[16], uint64_t now_ms);

/* Is it its turn? Then that is taken. */
bool qd_ban_takes_turn(struct qd_ban *ban, uint64_t now_ms);

/* Those that hold now last until then, at least. */
void qd_bans_extend(struct qd_bans *bans, uint64_t now_ms, uint64_t until_ms);

#endif /* QD_RPC_BANS_H */
