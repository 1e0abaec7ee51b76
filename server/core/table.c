#include "table.h"

#include "mutant.h"
#include "root.h"

#include <string.h>

struct moved {
    struct qd_counter head;
    struct qd_ref to;
};

static struct qd_hash128 cold_id(const struct qd_counter_cold *cold)
{
    return (struct qd_hash128){.lo = cold->id[0] | (uint64_t)cold->id[1] << 32,
                               .hi = cold->id[2] | (uint64_t)cold->id[3] << 32};
}

static uint32_t hash_of(struct qd_hash128 id)
{
    return (uint32_t)id.hi;
}

static struct qd_counter_cold *cold_of(const struct qd_at *at)
{
    return &at->core->cold[at->class][at->index];
}

static struct qd_at place(struct qd_core *core, enum qd_class class, uint32_t index)
{
    struct qd_counter *counter = qd_slab_at(&core->counters[class], index);
    return (struct qd_at){.core = core,
                          .counter = counter,
                          .limit = core->limits[counter->limit],
                          .class = class,
                          .index = index};
}

/* Index values: class in the two bits above the record number. */
static uint32_t value_of(const struct qd_at *at)
{
    return (uint32_t)at->class << QD_REF_INDEX_BITS | at->index;
}

bool qd_table_find(struct qd_core *core, struct qd_hash128 id, struct qd_at *ret_at)
{
    struct qd_index_walk walk = {0};
    uint32_t value;
    while ((value = qd_index_next(&core->counter_index, hash_of(id), &walk)) != QD_INDEX_NONE) {
        enum qd_class class = (enum qd_class)(value >> QD_REF_INDEX_BITS);
        uint32_t index = value & QD_REF_INDEX_MAX;
        if (qd_hash128_equal(cold_id(&core->cold[class][index]), id)) {
            *ret_at = place(core, class, index);
            return true;
        }
    }
    return false;
}

bool qd_table_find_half(struct qd_core *core, uint64_t hi, struct qd_at *ret_at)
{
    struct qd_index_walk walk = {0};
    uint32_t value;
    while ((value = qd_index_next(&core->counter_index, (uint32_t)hi, &walk)) != QD_INDEX_NONE) {
        enum qd_class class = (enum qd_class)(value >> QD_REF_INDEX_BITS);
        uint32_t index = value & QD_REF_INDEX_MAX;
        if (cold_id(&core->cold[class][index]).hi == hi) {
            *ret_at = place(core, class, index);
            return true;
        }
    }
    return false;
}

bool qd_table_follow(struct qd_core *home, struct qd_core *commons,
                     const struct qd_counter *counter, struct qd_at *ret_at)
{
    return qd_table_deref(home, commons, ((const struct moved *)(const void *)counter)->to, ret_at);
}

bool qd_table_at(struct qd_core *core, enum qd_class class, uint32_t index, struct qd_at *ret_at)
{
    const struct qd_counter *counter = qd_slab_at(&core->counters[class], index);
    if ((counter->generation & 1U) == 0 || counter->depth == QD_DEPTH_MOVED) {
        return false;
    }
    *ret_at = place(core, class, index);
    return true;
}

struct qd_ref qd_table_ref(const struct qd_at *at)
{
    return (struct qd_ref){.index = at->index & QD_REF_INDEX_MAX,
                           .class = (unsigned)at->class & 3U,
                           .shared = at->counter->depth == 0,
                           .resets = at->counter->resets,
                           .limit = at->counter->limit,
                           .generation = at->counter->generation};
}

struct qd_hash128 qd_table_id(const struct qd_at *at)
{
    return cold_id(cold_of(at));
}

uint32_t qd_table_name_handle(const struct qd_at *at)
{
    return cold_of(at)->name;
}

struct qd_str qd_table_name(const struct qd_at *at)
{
    return qd_names_text(&at->core->names, cold_of(at)->name);
}

uint64_t qd_table_since(const struct qd_at *at)
{
    const struct qd_counter_cold *cold = cold_of(at);
    return cold->since_low | (uint64_t)cold->since_high << 32;
}

void qd_table_set_since(const struct qd_at *at, uint64_t since)
{
    struct qd_counter_cold *cold = cold_of(at);
    cold->since_low = (uint32_t)since;
    cold->since_high = (uint32_t)(since >> 32) & INT32_MAX;
}

bool qd_table_is_journaled(const struct qd_at *at)
{
    return cold_of(at)->journaled != 0;
}

void qd_table_set_journaled(const struct qd_at *at, bool journaled)
{
    cold_of(at)->journaled = journaled;
}

/* A live record with its generation odd and everything else unset. */
static bool take_record(struct qd_core *core, enum qd_class class, struct qd_at *ret_at)
{
    uint32_t index = qd_slab_take(&core->counters[class]);
    if (index == QD_SLAB_NONE) {
        return false;
    }
    struct qd_counter *counter = qd_slab_at(&core->counters[class], index);
    uint16_t generation = (uint16_t)(counter->generation + 1U);
    QD_CHECK(generation & 1U);
    memset(counter, 0, core->counters[class].stride);
    counter->generation = generation;
    *ret_at = (struct qd_at){.core = core, .counter = counter, .class = class, .index = index};
    return true;
}

static void give_record(const struct qd_at *at)
{
    QD_CHECK(at->counter->generation & 1U);
    at->counter->generation++;
    qd_slab_give(&at->core->counters[at->class], at->index);
}

static void learn_limit(struct qd_core *core, const struct qd_limit *limit)
{
    core->limits[limit->index] = limit;
}

bool qd_table_make(struct qd_core *core, const struct qd_bind_item *item, struct qd_wall_ns now,
                   struct qd_at *ret_at)
{
    const struct qd_limit *limit = item->limit;
    enum qd_class class = qd_class_for(limit, item->amount);
    struct qd_at at;

    core->full_names = false;
    core->full_class = class;
    if (core->counters[class].live == core->counters[class].capacity) {
        qd_table_sweep(core, class, NULL, 1, now); /* D12 */
    }
    uint32_t name = qd_names_intern(&core->names, item->name);
    if (name == 0 && item->name.len > 0) {
        core->full_names = true;
        return false;
    }
    if (!take_record(core, class, &at)) {
        qd_names_drop(&core->names, name);
        return false;
    }
    learn_limit(core, limit);
    at.limit = limit;
    at.counter->limit = (uint16_t)limit->index;
    at.counter->depth = item->depth & 15U;
    at.counter->amount = item->amount;
    at.counter->burst =
        (uint64_t)(item->burst < QD_BURST_MAX ? item->burst : QD_BURST_MAX) & QD_BURST_MAX;
    *cold_of(&at) = (struct qd_counter_cold){
        .id = {(uint32_t)item->counter.lo, (uint32_t)(item->counter.lo >> 32),
               (uint32_t)item->counter.hi, (uint32_t)(item->counter.hi >> 32)},
        .name = name};
    qd_counter_begin(&at, now);
    bool inserted = qd_index_insert(&core->counter_index, hash_of(item->counter), value_of(&at));
    QD_CHECK(inserted); /* as many places as records */
    if (item->depth > 0) {
        qd_root_count(core, item->name, 1);
    }
    *ret_at = at;
    return true;
}

bool qd_table_widen(struct qd_at *at, struct qd_wall_ns now)
{
    QD_CHECK(at->class == QD_CLASS_NARROW);
    struct qd_core *core = at->core;
    struct qd_at wide;
    if (core->counters[QD_CLASS_WIDE].live == core->counters[QD_CLASS_WIDE].capacity) {
        qd_table_sweep(core, QD_CLASS_WIDE, NULL, 1, now);
    }
    if (!take_record(core, QD_CLASS_WIDE, &wide)) {
        return false;
    }
    uint16_t generation = wide.counter->generation;
    *wide.counter = *at->counter;
    wide.counter->generation = generation;
    wide.limit = at->limit;
    *cold_of(&wide) = *cold_of(at);

    const struct qd_window_narrow *from =
        &((struct qd_counter_narrow *)(void *)at->counter)->window;
    struct qd_window_wide *to = &((struct qd_counter_wide *)(void *)wide.counter)->window;
    to->base = from->base;
    for (unsigned i = 0; i < QD_WINDOW_RING; i++) {
        to->own[i] = from->own[i];
    }

    struct qd_hash128 id = qd_table_id(at);
    qd_index_remove(&core->counter_index, hash_of(id), value_of(at));
    qd_index_insert(&core->counter_index, hash_of(id), value_of(&wide));
    cold_of(at)->name = 0;
    at->counter->depth = QD_DEPTH_MOVED;
    ((struct moved *)(void *)at->counter)->to = qd_table_ref(&wide);
    *at = wide;
    return true;
}

void qd_table_drop(const struct qd_at *at)
{
    struct qd_counter_cold *cold = cold_of(at);
    struct qd_core *core = at->core;
    qd_index_remove(&core->counter_index, hash_of(cold_id(cold)), value_of(at));
    if (at->counter->depth > 0) {
        qd_root_count(core, qd_names_text(&core->names, cold->name), -1);
    }
    qd_names_drop(&core->names, cold->name);
    cold->name = 0;
    give_record(at);
}

bool qd_table_is_idle(const struct qd_at *at, struct qd_wall_ns now)
{
    if (at->counter->busy_until_s > qd_seconds_of(now) && !QD_MUTANT(D12_pin)) {
        return false; /* a reservation may point at it: pinned (D12) */
    }
    qd_counter_total(at, now);
    return qd_counter_held(at) == 0 || QD_MUTANT(D12_pin);
}

bool qd_table_is_of_root(const struct qd_at *at, const struct qd_hash128 *root)
{
    return root == NULL || qd_hash128_equal(qd_root_id(at->core, qd_table_name(at)), *root);
}

uint32_t qd_table_sweep(struct qd_core *core, enum qd_class class, const struct qd_hash128 *root,
                        uint32_t wanted, struct qd_wall_ns now)
{
    const struct qd_slab *slab = &core->counters[class];
    uint32_t dropped = 0;
    uint32_t looks = slab->high < QD_SEARCH_MAX ? slab->high : QD_SEARCH_MAX;
    for (uint32_t i = 0; i < looks && dropped < wanted; i++) {
        if (core->hand[class] >= slab->high) {
            core->hand[class] = 0;
        }
        uint32_t index = core->hand[class]++;
        struct qd_counter *counter = qd_slab_at(slab, index);
        if ((counter->generation & 1U) == 0) {
            continue;
        }
        struct qd_at at = place(core, class, index);
        if (counter->depth == QD_DEPTH_MOVED) { /* its last lease is over: nobody follows it */
            if (counter->busy_until_s <= qd_seconds_of(now)) {
                give_record(&at);
                dropped++;
            }
        } else if (qd_table_is_idle(&at, now) && qd_counter_is_fresh(&at, now) &&
                   qd_table_is_of_root(&at, root)) {
            qd_table_drop(&at);
            dropped++;
        }
    }
    return dropped;
}
