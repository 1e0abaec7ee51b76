/* Walking what has changed since it was stored (X5). */
#include "codec.h"
#include "estimator.h"
#include "reservation.h"
#include "saved_hold.h"

/* Of the counters that have not changed so many are looked at in one walk, whether they still count
 * anything. */
#define OVER_MASK 63U

enum part {
    PART_HOLDS = QD_CLASS_COUNT, /* the classes of counters come first */
    PART_ESTIMATORS,
    PART_END
};

#define PART_SHIFT 32U

static bool write_counter(struct qd_core *core, enum qd_class class, uint32_t index, bool all,
                          struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    struct qd_at at;
    if (!qd_table_at(core, class, index, &at)) {
        return false;
    }
    struct qd_counter *counter = at.counter;
    if (counter->changed || all) {
        qd_codec_write(&at, ret_saved);
        counter->changed = 0;
        counter->stored = 1;
        return true;
    }
    if (!counter->stored || ((index ^ qd_seconds_of(now)) & OVER_MASK) != 0 ||
        !qd_table_is_idle(&at, now)) {
        return false;
    }
    counter->stored = 0;
    if (!qd_counter_is_fresh(&at, now)) {
        counter->stored = 1;
        return false;
    }
    ret_saved->kind = QD_SAVED_COUNTER;
    ret_saved->id = qd_table_id(&at);
    ret_saved->size = 0;
    return true;
}

/* The next place from *place on whose stored state is another, or of a hold that is gone. */
static bool next_hold(struct qd_core *home, struct qd_core *commons, bool all, uint64_t *place,
                      struct qd_saved *ret_saved)
{
    uint64_t end = (uint64_t)home->config.reservations / 64 + 1;
    for (uint64_t word = *place / 64; word < end; word++) {
        uint64_t live = home->reservation_bits[word];
        uint64_t stored = home->hold_stored[word];
        uint64_t changed = all ? live : live & home->hold_changed[word];
        uint64_t wanted = (changed | (stored & ~live)) & ~UINT64_C(0) << (*place % 64);
        if (wanted == 0) {
            *place = (word + 1) * 64;
            continue;
        }
        unsigned bit = (unsigned)__builtin_ctzll(wanted);
        uint64_t mask = UINT64_C(1) << bit;
        uint32_t at = (uint32_t)(word * 64 + bit);
        *place = (uint64_t)at + 1;
        home->hold_changed[word] &= ~mask;
        if (live & mask) {
            qd_saved_hold_write(home, commons, &home->reservations[at], ret_saved);
            home->hold_stored[word] |= mask;
        } else {
            qd_saved_hold_gone(at, ret_saved);
            home->hold_stored[word] &= ~mask;
        }
        return true;
    }
    return false;
}

static bool write_estimator(struct qd_core *core, uint32_t index, bool all,
                            struct qd_saved *ret_saved)
{
    struct qd_estimator *e = qd_slab_at(&core->estimators, index);
    if ((e->generation & 1U) == 0 || (!e->changed && !all)) {
        return false;
    }
    e->changed = 0;
    qd_estimator_write(e, ret_saved);
    return true;
}

bool qd_core_changed_next(struct qd_core *core, struct qd_core *commons, bool all, uint64_t *cursor,
                          struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    unsigned part = (unsigned)(*cursor >> PART_SHIFT);
    uint64_t at = *cursor & UINT32_MAX;
    bool found = false;
    for (; part < PART_END && !found; part += !found, at = found ? at : 0) {
        if (part < QD_CLASS_COUNT) {
            enum qd_class class = (enum qd_class)part;
            while (!found && at < core->counters[class].high) {
                found = write_counter(core, class, (uint32_t)at++, all, seen, ret_saved);
            }
        } else if (part == PART_HOLDS) {
            found = next_hold(core, commons, all, &at, ret_saved);
        } else {
            while (!found && at < core->estimators.high) {
                found = write_estimator(core, (uint32_t)at++, all, ret_saved);
            }
        }
    }
    *cursor = (uint64_t)part << PART_SHIFT | at;
    return found;
}
