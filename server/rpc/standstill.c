#include "server/rpc/standstill.h"

static bool stood_still(uint64_t passed_ms, uint64_t worked_ms, uint32_t processors)
{
    uint64_t before_ms = (uint64_t)processors * QD_STANDSTILL_BEAT_MS;
    uint64_t meanwhile_ms = worked_ms > before_ms ? worked_ms - before_ms : 0;

    return passed_ms >= QD_STANDSTILL_MS && meanwhile_ms * QD_STANDSTILL_WORKED < passed_ms;
}

void qd_standstill_beat(struct qd_standstill *standstill, uint64_t now_ms, uint64_t worked_ms,
                        uint32_t processors)
{
    struct qd_standstill *s = standstill;
    uint64_t passed_ms = now_ms - s->beat_ms;

    if (s->beat_ms != 0 && stood_still(passed_ms, worked_ms - s->worked_ms, processors)) {
        s->until_ms =
            now_ms + (passed_ms < QD_STANDSTILL_SPARED_MS ? passed_ms : QD_STANDSTILL_SPARED_MS);
    }
    s->beat_ms = now_ms;
    s->worked_ms = worked_ms;
}
