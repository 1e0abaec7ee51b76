/* Walking what is to be stored (X5). */
#include "codec.h"
#include "estimator.h"
#include "reservation.h"
#include "saved_hold.h"

enum part {
    PART_HOLDS = QD_CLASS_COUNT, /* the classes of counters come first */
    PART_ESTIMATORS,
    PART_END
};

#define PART_SHIFT 32U

static bool give_counter(const struct qd_at *at, bool journaled, struct qd_saved *ret_saved)
{
    qd_codec_write(at, ret_saved);
    at->counter->changed = 0;
    at->counter->stored = 1;
    qd_table_set_journaled(at, journaled);
    return true;
}

/* Its record counts nothing any more: the caller may forget it. */
static bool is_over(const struct qd_at *at, struct qd_wall_ns now)
{
    if (!at->counter->stored || !qd_table_is_idle(at, now)) {
        return false;
    }
    at->counter->stored = 0;
    bool fresh = qd_counter_is_fresh(at, now);
    at->counter->stored = !fresh;
    return fresh;
}

static bool write_counter(struct qd_core *core, enum qd_class class, uint32_t index,
                          enum qd_walk walk, struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    struct qd_at at;
    if (!qd_table_at(core, class, index, &at)) {
        return false;
    }
    if (walk == QD_WALK_CHANGED) {
        return at.counter->changed && give_counter(&at, true, ret_saved);
    }
    if (walk == QD_WALK_ALL || at.counter->changed || qd_table_is_journaled(&at)) {
        return give_counter(&at, false, ret_saved);
    }
    if (!is_over(&at, now)) {
        return false;
    }
    ret_saved->kind = QD_SAVED_COUNTER;
    ret_saved->id = qd_table_id(&at);
    ret_saved->size = 0;
    return true;
}

/* The next place from *place on whose journaled state is another, or of a hold that is gone; in a
 * fold, of any hold. */
static bool next_hold(struct qd_core *home, struct qd_core *commons, enum qd_walk walk,
                      uint64_t *place, struct qd_saved *ret_saved)
{
    uint64_t end = (uint64_t)home->config.reservations / 64 + 1;
    for (uint64_t word = *place / 64; word < end; word++) {
        uint64_t live = home->reservation_bits[word];
        if (walk != QD_WALK_CHANGED) {
            home->hold_journaled[word] &= live; /* the old journal is void, and all in it */
        }
        uint64_t gone = home->hold_journaled[word] & ~live;
        uint64_t given = walk == QD_WALK_CHANGED ? live & home->hold_changed[word] : live;
        uint64_t wanted = (given | gone) & ~UINT64_C(0) << (*place % 64);
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
            home->hold_journaled[word] |= mask;
        } else {
            qd_saved_hold_gone(at, ret_saved);
            home->hold_journaled[word] &= ~mask;
        }
        return true;
    }
    return false;
}

static bool write_estimator(struct qd_core *core, uint32_t index, enum qd_walk walk,
                            struct qd_saved *ret_saved)
{
    struct qd_estimator *e = qd_slab_at(&core->estimators, index);
    bool behind = e->changed || (e->journaled && walk == QD_WALK_FOLD);
    if ((e->generation & 1U) == 0 || (!behind && walk != QD_WALK_ALL)) {
        return false;
    }
    e->changed = 0;
    e->journaled = walk == QD_WALK_CHANGED;
    qd_estimator_write(e, ret_saved);
    return true;
}

bool qd_core_walk(struct qd_core *core, struct qd_core *commons, enum qd_walk walk,
                  uint64_t *cursor, struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    unsigned part = (unsigned)(*cursor >> PART_SHIFT);
    uint64_t at = *cursor & UINT32_MAX;
    bool found = false;
    for (; part < PART_END && !found; part += !found, at = found ? at : 0) {
        if (part < QD_CLASS_COUNT) {
            enum qd_class class = (enum qd_class)part;
            while (!found && at < core->counters[class].high) {
                found = write_counter(core, class, (uint32_t)at++, walk, seen, ret_saved);
            }
        } else if (part == PART_HOLDS) {
            found = next_hold(core, commons, walk, &at, ret_saved);
        } else {
            while (!found && at < core->estimators.high) {
                found = write_estimator(core, (uint32_t)at++, walk, ret_saved);
            }
        }
    }
    *cursor = (uint64_t)part << PART_SHIFT | at;
    return found;
}
