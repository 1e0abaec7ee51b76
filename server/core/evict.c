/* Taking idle counters out with their state, and putting them back (D12). */
#include "codec.h"
#include "mutant.h"

/* Of so many idle counters the least recently used one goes. */
#define EVICT_SAMPLE 64U

static enum qd_class class_to_evict(struct qd_core *core)
{
    if (!core->full_names) {
        return core->full_class;
    }
    enum qd_class most = QD_CLASS_NARROW; /* names are held by all kinds alike */
    for (unsigned class = 1; class < QD_CLASS_COUNT; class ++) {
        if (core->counters[class].live > core->counters[most].live) {
            most = (enum qd_class) class;
        }
    }
    return most;
}

/* The root whose quota was met, or NULL for any. */
static const struct qd_hash128 *root_to_evict(const struct qd_core *core)
{
    return core->full_root ? &core->full_root_id : NULL;
}

static bool may_go(const struct qd_at *at, const struct qd_hash128 *root, struct qd_wall_ns now)
{
    return qd_table_is_idle(at, now) && qd_table_is_of_root(at, root);
}

/* The caller has its state already: it can go without a write. */
static bool is_stored(const struct qd_at *at)
{
    return !at->counter->changed && !qd_table_is_journaled(at);
}

/* One that can go without a write rather than another; of these the one that rests the longest. */
static bool is_better(const struct qd_at *at, const struct qd_at *best)
{
    bool stored = is_stored(at);

    return stored != is_stored(best) ? stored
                                     : at->counter->busy_until_s < best->counter->busy_until_s;
}

static bool find_victim(struct qd_core *core, enum qd_class class, struct qd_wall_ns now,
                        struct qd_at *ret_at)
{
    const struct qd_slab *slab = &core->counters[class];
    uint32_t looks = slab->high < QD_SEARCH_MAX ? slab->high : QD_SEARCH_MAX;
    unsigned found = 0;
    for (uint32_t i = 0; i < looks && found < EVICT_SAMPLE; i++) {
        if (core->hand[class] >= slab->high) {
            core->hand[class] = 0;
        }
        struct qd_at at;
        if (!qd_table_at(core, class, core->hand[class]++, &at) ||
            !may_go(&at, root_to_evict(core), now)) {
            continue;
        }
        if (found++ == 0 || is_better(&at, ret_at)) {
            *ret_at = at;
        }
    }
    return found > 0;
}

bool qd_core_evict_begin(struct qd_core *core, struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    struct qd_at at;
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    enum qd_class class = class_to_evict(core);
    bool found = find_victim(core, class, seen, &at);
    for (unsigned i = 1; !found && (core->full_root || core->full_names) && i < QD_CLASS_COUNT;
         i++) {
        found = find_victim(core, (enum qd_class)((class + i) % QD_CLASS_COUNT), seen, &at);
    }
    if (!found) {
        return false;
    }
    qd_codec_write(&at, ret_saved);
    /* One that never charged anything equals a fresh one: there is nothing to store. */
    ret_saved->stored = is_stored(&at);
    return true;
}

void qd_core_evict_end(struct qd_core *core, const struct qd_saved *saved)
{
    struct qd_at at;
    bool found = qd_table_find(core, saved->id, &at);
    QD_CHECK(found);
    qd_table_drop(&at);
    core->stats.evicted++;
}

bool qd_core_evict(struct qd_core *core, struct qd_wall_ns now, struct qd_saved *ret_saved)
{
    if (!qd_core_evict_begin(core, now, ret_saved)) {
        return false;
    }
    qd_core_evict_end(core, ret_saved);
    return true;
}

bool qd_core_restore(struct qd_core *core, const struct qd_saved *saved, struct qd_wall_ns now)
{
    struct qd_at at;
    struct qd_wall_ns seen = qd_slice_now(core, NULL, now);
    if (!qd_table_find(core, saved->id, &at) || !qd_counter_is_fresh(&at, seen)) {
        return false;
    }
    struct qd_codec_head head;
    if (!QD_MUTANT(D12_restore) &&
        (!qd_codec_open(saved, &head) || !qd_codec_read(&at, &head, seen))) {
        core->stats.states_lost++; /* D12: never silent forgetting */
        return false;
    }
    at.counter->stored = 1;
    /* P6: the binding gave it another amount than it was stored with. */
    at.counter->changed = !QD_MUTANT(D12_restore) && head.counter.amount != at.counter->amount;
    return true;
}
