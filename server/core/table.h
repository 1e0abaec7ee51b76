/* The table of counters: finding one by identity or reference, making room, making, dropping (D12).
 * Internal.
 *
 * Layer:    core (pure)
 * Threads:  none; the slice's lock.
 * Memory:   the slice's slabs, index and names.
 */
#ifndef QD_CORE_TABLE_H
#define QD_CORE_TABLE_H

#include "counter.h"

/* How many counters a search for idle ones looks at in one call: the bound on what one bind or
 * eviction costs. Larger tables are gone through over several calls. */
#define QD_SEARCH_MAX 4096U

/* The counter of this identity; false if there is none. */
bool qd_table_find(struct qd_core *core, struct qd_hash128 id, struct qd_at *ret_at);

/* The depth of a record whose counter moved to a wider class: no counter has it. */
#define QD_DEPTH_MOVED 15U

/* Where the counter of such a record is now; false if it is gone. */
bool qd_table_follow(struct qd_core *home, struct qd_core *commons,
                     const struct qd_counter *counter, struct qd_at *ret_at);

/* The counter that a reference means, wherever it has moved to; false if it is gone (D13). */
static inline bool qd_table_deref(struct qd_core *home, struct qd_core *commons, struct qd_ref ref,
                                  struct qd_at *ret_at)
{
    struct qd_core *core = ref.shared ? commons : home;
    if (core == NULL) {
        return false;
    }
    struct qd_counter *counter = qd_slab_at(&core->counters[ref.class], (uint32_t)ref.index);
    if (counter->generation != ref.generation) {
        return false; /* D13 */
    }
    if (QD_UNLIKELY(counter->depth == QD_DEPTH_MOVED)) {
        return qd_table_follow(home, commons, counter, ret_at);
    }
    *ret_at = (struct qd_at){.core = core,
                             .counter = counter,
                             .limit = core->limits[counter->limit],
                             .class = (enum qd_class)ref.class,
                             .index = (uint32_t)ref.index};
    return true;
}

/* The place of record `index`; false if it isn't live, or only tells where its counter moved to. */
bool qd_table_at(struct qd_core *core, enum qd_class class, uint32_t index, struct qd_at *ret_at);

struct qd_ref qd_table_ref(const struct qd_at *at);
struct qd_hash128 qd_table_id(const struct qd_at *at);
struct qd_str qd_table_name(const struct qd_at *at);
/* What it counts was booked after this entry of the ledger. */
uint64_t qd_table_since(const struct qd_at *at);
void qd_table_set_since(const struct qd_at *at, uint64_t since);
/* A walk has given a state of it since the last fold (QD_WALK_FOLD). */
bool qd_table_is_journaled(const struct qd_at *at);
void qd_table_set_journaled(const struct qd_at *at, bool journaled);
/* The counter whose identity has this upper half: one in a slice, but for a chance of 2^-64. */
bool qd_table_find_half(struct qd_core *core, uint64_t hi, struct qd_at *ret_at);
uint32_t qd_table_name_handle(const struct qd_at *at);

/* Make the counter that `item` asks for. False if its class is full of counters that must stay, or
 * the names are; `core->full_*` tell which. */
bool qd_table_make(struct qd_core *core, const struct qd_bind_item *item, struct qd_wall_ns now,
                   struct qd_at *ret_at);

/* Move a narrow window that was given an amount of 2^31 or more to the wide class (P6). False if
 * that is full: the window stays as it is. References to the old record keep working until their
 * leases end. */
bool qd_table_widen(struct qd_at *at, struct qd_wall_ns now);

/* Take a counter out. Nothing may point at it that must find it again. */
void qd_table_drop(const struct qd_at *at);

/* True if no reservation and no use in this second needs it. */
bool qd_table_is_idle(const struct qd_at *at, struct qd_wall_ns now);

/* True if the counter's name begins with this root's (NULL: any). Ask of a home slice only: shared
 * counters are nobody's. */
bool qd_table_is_of_root(const struct qd_at *at, const struct qd_hash128 *root);

/* Drop idle counters that equal fresh ones: at most `wanted` of this class, of one root or (root
 * NULL) of any. Returns how many. */
uint32_t qd_table_sweep(struct qd_core *core, enum qd_class class, const struct qd_hash128 *root,
                        uint32_t wanted, struct qd_wall_ns now);

/* Keep it until `until_s` at least. */
static inline void qd_table_pin(const struct qd_at *at, uint32_t until_s)
{
    if (at->counter->busy_until_s < until_s) {
        at->counter->busy_until_s = until_s;
    }
}

static inline void qd_table_prefetch(const struct qd_core *core, struct qd_ref ref)
{
    const struct qd_slab *slab = &core->counters[ref.class];
    const char *record = qd_slab_at(slab, (uint32_t)ref.index);
    qd_fetch(record);
    if (ref.class == QD_CLASS_BUCKET) {
        qd_fetch(record + 64);
    }
}

#endif /* QD_CORE_TABLE_H */
