/* ResetCounter: starting a counter anew, and forgiving what was charged before (P2).
 *
 * A charge remembers the number of its counter's last reset: as soon as the counter has another
 * one, the charge is forgiven, in whichever slice its hold lies. There is room for two bits of that
 * number. So after a reset the holds are gone through and what is forgiven is marked for good,
 * before the number comes round. */
#include "expire.h"
#include "mutant.h"

bool qd_core_counter_reset(struct qd_core *core, struct qd_hash128 counter, uint64_t since,
                           struct qd_wall_ns now)
{
    struct qd_at at;
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    if (!qd_table_find(core, counter, &at)) {
        return false;
    }
    qd_counter_clear(&at, seen);
    qd_table_set_since(&at, since);
    return true;
}

static void forgive(struct qd_core *home, struct qd_core *commons, struct qd_reservation *r)
{
    struct qd_charge *charges = qd_reservation_charges(home, r);
    for (unsigned i = 0; i < r->charge_count; i++) {
        struct qd_at at;
        if (qd_table_deref(home, commons, charges[i].ref, &at) &&
            !qd_charge_stands(&charges[i], &at)) {
            charges[i].ref.forgiven = 1;
            qd_reservation_changed(home, r);
        }
    }
}

bool qd_core_forgive(struct qd_core *home, struct qd_core *commons, uint64_t *cursor,
                     uint32_t places)
{
    uint64_t end = qd_core_hold_places(home);
    for (; places > 0 && *cursor < end; places--) {
        uint64_t place = (*cursor)++;
        if (home->reservation_bits[place / 64] >> (place % 64) & 1U && !QD_MUTANT(P2_forgive)) {
            forgive(home, commons, &home->reservations[place]);
        }
    }
    return *cursor < end;
}
