#include "server/rpc/leavers.h"

#include <string.h>

static uint64_t weight_of(const struct qd_leaver *leaver)
{
    return (uint64_t)leaver->calls + leaver->hang_ups;
}

/* The address's; or else the one with the least, which becomes the address's. */
static struct qd_leaver *place_of(struct qd_leavers *leavers, const uint8_t address[16])
{
    struct qd_leaver *least = &leavers->list[0];

    for (uint32_t i = 0; i < QD_LEAVERS_MAX; i++) {
        struct qd_leaver *leaver = &leavers->list[i];
        if (weight_of(leaver) > 0 && memcmp(leaver->address, address, 16) == 0) {
            return leaver;
        }
        least = weight_of(leaver) < weight_of(least) ? leaver : least;
    }
    *least = (struct qd_leaver){0};
    memcpy(least->address, address, 16);
    return least;
}

void qd_leavers_add_call(struct qd_leavers *leavers, const uint8_t address[16])
{
    struct qd_leaver *leaver = place_of(leavers, address);

    leaver->calls += leaver->calls < UINT32_MAX;
}

void qd_leavers_add_hang_up(struct qd_leavers *leavers, const uint8_t address[16])
{
    struct qd_leaver *leaver = place_of(leavers, address);

    leaver->hang_ups += leaver->hang_ups < UINT32_MAX;
}

void qd_leavers_halve(struct qd_leavers *leavers)
{
    for (uint32_t i = 0; i < QD_LEAVERS_MAX; i++) {
        leavers->list[i].calls /= 2;
        leavers->list[i].hang_ups /= 2;
    }
}

bool qd_leavers_take(struct qd_leavers *leavers, uint8_t ret_address[16])
{
    for (uint32_t i = 0; i < QD_LEAVERS_MAX; i++) {
        struct qd_leaver *leaver = &leavers->list[i];
        if (leaver->calls >= QD_LEAVERS_CALLS && leaver->hang_ups >= QD_LEAVERS_HANG_UPS) {
            memcpy(ret_address, leaver->address, 16);
            *leaver = (struct qd_leaver){0};
            return true;
        }
    }
    return false;
}
