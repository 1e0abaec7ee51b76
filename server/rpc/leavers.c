#include "server/rpc/leavers.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool is_of(const struct qd_leaver *leaver, const uint8_t address[16])
{
    return leaver->bytes > 0 && memcmp(leaver->address, address, 16) == 0;
}

/* The address's place, or else that of the one that has left the least. */
static struct qd_leaver *place_of(struct qd_leavers *leavers, const uint8_t address[16])
{
    struct qd_leaver *least = &leavers->list[0];

    for (uint32_t i = 0; i < QD_LEAVERS_MAX; i++) {
        struct qd_leaver *leaver = &leavers->list[i];
        if (is_of(leaver, address)) {
            return leaver;
        }
        least = leaver->bytes < least->bytes ? leaver : least;
    }
    return least;
}

void qd_leavers_add(struct qd_leavers *leavers, const uint8_t address[16], uint64_t bytes)
{
    struct qd_leaver *leaver = place_of(leavers, address);

    if (!is_of(leaver, address)) {
        memcpy(leaver->address, address, 16);
        leaver->bytes = 0;
    }
    leaver->bytes += bytes < QD_LEAVERS_ONE_MAX ? bytes : QD_LEAVERS_ONE_MAX;
}

void qd_leavers_halve(struct qd_leavers *leavers)
{
    for (uint32_t i = 0; i < QD_LEAVERS_MAX; i++) {
        leavers->list[i].bytes /= 2;
    }
}

struct qd_leaver *qd_leavers_worst(struct qd_leavers *leavers, uint64_t least)
{
    struct qd_leaver *worst = NULL;

    for (uint32_t i = 0; i < QD_LEAVERS_MAX; i++) {
        if (leavers->list[i].bytes >= least) {
            worst = &leavers->list[i];
            least = worst->bytes + 1;
        }
    }
    return worst;
}
