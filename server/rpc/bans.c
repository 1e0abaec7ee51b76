#include "server/rpc/bans.h"

#include <string.h>

static void lengthen(struct qd_ban *ban, uint64_t until_ms)
{
    if (ban->until_ms < until_ms) {
        ban->until_ms = until_ms;
    }
}

struct qd_ban *qd_bans_find(struct qd_bans *bans, const uint8_t address[16], uint64_t now_ms)
{
    for (uint32_t i = 0; i < QD_BANS_MAX; i++) {
        struct qd_ban *ban = &bans->list[i];
        if (ban->until_ms > now_ms && memcmp(ban->address, address, 16) == 0) {
            return ban;
        }
    }
    return NULL;
}

void qd_bans_add(struct qd_bans *bans, const uint8_t address[16], uint64_t now_ms,
                 uint64_t until_ms)
{
    struct qd_ban *ban = qd_bans_find(bans, address, now_ms);

    if (ban == NULL) {
        ban = &bans->list[bans->next++ % QD_BANS_MAX];
        memcpy(ban->address, address, 16);
        ban->until_ms = until_ms;
        ban->turn_ms = now_ms + QD_BAN_TURN_MS;
    }
    lengthen(ban, until_ms);
}

bool qd_ban_takes_turn(struct qd_ban *ban, uint64_t now_ms)
{
    bool may = now_ms >= ban->turn_ms;

    if (may) {
        ban->turn_ms = now_ms + QD_BAN_TURN_MS;
    }
    return may;
}

void qd_bans_extend(struct qd_bans *bans, uint64_t now_ms, uint64_t until_ms)
{
    for (uint32_t i = 0; i < QD_BANS_MAX; i++) {
        if (bans->list[i].until_ms > now_ms) {
            lengthen(&bans->list[i], until_ms);
        }
    }
}
