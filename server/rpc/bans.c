#include "server/rpc/bans.h"

#include <string.h>

static void lengthen(struct qd_ban *ban, uint64_t until_ms)
{
    if (ban->until_ms < until_ms) {
        ban->until_ms = until_ms;
    }
}

void qd_bans_add(struct qd_bans *bans, const uint8_t address[16], uint64_t until_ms)
{
    uint32_t i = 0;

    while (i < QD_BANS_MAX && memcmp(bans->list[i].address, address, 16) != 0) {
        i++;
    }
    if (i == QD_BANS_MAX) {
        i = bans->next++ % QD_BANS_MAX;
        memcpy(bans->list[i].address, address, 16);
        bans->list[i].until_ms = 0;
    }
    lengthen(&bans->list[i], until_ms);
}

bool qd_bans_has(const struct qd_bans *bans, const uint8_t address[16], uint64_t now_ms)
{
    for (uint32_t i = 0; i < QD_BANS_MAX; i++) {
        const struct qd_ban *ban = &bans->list[i];
        if (ban->until_ms > now_ms && memcmp(ban->address, address, 16) == 0) {
            return true;
        }
    }
    return false;
}

void qd_bans_extend(struct qd_bans *bans, uint64_t now_ms, uint64_t until_ms)
{
    for (uint32_t i = 0; i < QD_BANS_MAX; i++) {
        if (bans->list[i].until_ms > now_ms) {
            lengthen(&bans->list[i], until_ms);
        }
    }
}
