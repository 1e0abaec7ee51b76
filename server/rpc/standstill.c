#include "server/rpc/standstill.h"

static uint64_t lateness(uint64_t due_ms, uint64_t now_ms)
{
    return due_ms != 0 && now_ms > due_ms ? now_ms - due_ms : 0;
}

void qd_standstill_look(struct qd_standstill *standstill, uint64_t due_ms, uint64_t now_ms)
{
    uint64_t late_ms = lateness(due_ms, now_ms);

    if (qd_standstill_holds(standstill, now_ms)) {
        return;
    }
    if (late_ms < QD_STANDSTILL_MS || (standstill->until_ms != 0 && !standstill->judged)) {
        standstill->judged = true;
        return;
    }
    standstill->judged = false;
    standstill->until_ms =
        now_ms + (late_ms < QD_STANDSTILL_SPARED_MS ? late_ms : QD_STANDSTILL_SPARED_MS);
}
