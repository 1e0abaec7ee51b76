#include "server/rpc/standstill.h"

static bool stood_still(uint64_t passed_ms, uint64_t worked_ms, uint32_t processors)
{
    uint64_t before_ms = (uint64_t)processors * QD_STANDSTILL_BEAT_MS;
    uint64_t meanwhile_ms = worked_ms > before_ms ? worked_ms - before_ms : 0;

    return passed_ms >= QD_STANDSTILL_MS && meanwhile_ms * QD_STANDSTILL_WORKED < passed_ms;
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void spare(struct qd_standstill *s, uint64_t now_ms, uint64_t passed_ms)
{
    uint64_t from_ms = s->until_ms > now_ms ? s->until_ms : now_ms;
    uint64_t to_ms = now_ms + least_of(passed_ms, QD_STANDSTILL_SPARED_MS);

    if (now_ms - s->window_ms >= QD_STANDSTILL_WINDOW_MS) {
        s->window_ms = now_ms;
        s->spared_ms = 0;
    }
    if (to_ms > from_ms) {
        uint64_t more_ms = least_of(to_ms - from_ms, QD_STANDSTILL_ALL_MS - s->spared_ms);
        s->until_ms = from_ms + more_ms;
        s->spared_ms += more_ms;
    }
}

void qd_standstill_beat(struct qd_standstill *standstill, uint64_t now_ms, uint64_t worked_ms,
                        uint32_t processors)
{
    struct qd_standstill *s = standstill;
    uint64_t passed_ms = now_ms - s->beat_ms;

    if (s->beat_ms != 0 && stood_still(passed_ms, worked_ms - s->worked_ms, processors)) {
        spare(s, now_ms, passed_ms);
    }
    s->beat_ms = now_ms;
    s->worked_ms = worked_ms;
}
