#include "binding.h"

#include "mutant.h"
#include "root.h"

#include <string.h>

#define TRIM_LOOKS  1024U
#define TRIM_IDLE_S 60U

static struct qd_binding *home_of(const struct qd_core *core, struct qd_hash128 key)
{
    uint64_t homes = core->binding_slots - QD_BINDING_WINDOW + 1;
    return &core->bindings[(uint64_t)(((qd_uint128)key.lo * homes) >> 64)];
}

/* The key under which the items from part * QD_BINDING_ITEMS on lie. */
static struct qd_hash128 part_key(struct qd_hash128 key, unsigned part)
{
    key.lo ^= part * UINT64_C(0x9e3779b97f4a7c15);
    return key;
}

static struct qd_binding *find(const struct qd_core *core, struct qd_hash128 key,
                               enum qd_binding_state state)
{
    if (core->binding_slots == 0) {
        return NULL;
    }
    struct qd_binding *b = home_of(core, key);
    for (unsigned i = 0; i < QD_BINDING_WINDOW; i++, b++) {
        if (b->key.lo == key.lo && b->key.hi == key.hi && b->state == state) {
            return b;
        }
    }
    return NULL;
}

static bool is_stale(const struct qd_core *core, const struct qd_binding *b, struct qd_wall_ns now)
{
    return b->valid_until_ns <= now.ns || b->used_s + QD_BINDING_IDLE_S < qd_seconds_of(now) ||
           (b->state == QD_BINDING_FIRST &&
            qd_root_at(core, b->root)->generation != b->root_generation);
}

struct qd_binding *qd_binding_find(struct qd_core *core, struct qd_hash128 key, uint32_t epoch)
{
    struct qd_binding *b = find(core, key, QD_BINDING_FIRST);
    return b != NULL && b->epoch == epoch ? b : NULL; /* D13 */
}

bool qd_binding_use(struct qd_core *core, struct qd_binding *binding, struct qd_wall_ns now)
{
    if (is_stale(core, binding, now) && !QD_MUTANT(D13_binding)) {
        return false; /* D13 */
    }
    binding->used_s = qd_seconds_of(now);
    return true;
}

const struct qd_binding *qd_binding_any(const struct qd_core *core, struct qd_hash128 key)
{
    return find(core, key, QD_BINDING_FIRST);
}

bool qd_binding_items(struct qd_core *core, const struct qd_binding *binding,
                      struct qd_ref ret_items[QD_LIMITS_PER_CHECK_MAX], struct qd_wall_ns now)
{
    unsigned first = binding->count < QD_BINDING_ITEMS ? binding->count : QD_BINDING_ITEMS;
    memcpy(ret_items, binding->items, sizeof(binding->items)); /* of a size that is known: faster */
    for (unsigned done = first, part = 1; done < binding->count; part++) {
        struct qd_binding *more = find(core, part_key(binding->key, part), QD_BINDING_MORE);
        if (more == NULL || more->epoch != binding->epoch) {
            return false;
        }
        more->used_s = qd_seconds_of(now);
        unsigned n = binding->count - done;
        if (n > QD_BINDING_ITEMS) {
            n = QD_BINDING_ITEMS;
        }
        memcpy(ret_items + done, more->items, sizeof(ret_items[0]) * n);
        done += n;
    }
    for (unsigned i = 0; QD_MUTANT(D13) && i < binding->count; i++) {
        const struct qd_counter *counter =
            qd_slab_at(&core->counters[ret_items[i].class], (uint32_t)ret_items[i].index);
        ret_items[i].generation = counter->generation;
    }
    return true;
}

static void clear(struct qd_core *core, struct qd_binding *b)
{
    if (b->state == QD_BINDING_EMPTY) {
        return;
    }
    qd_names_drop(&core->names, b->name);
    memset(b, 0, sizeof(*b));
    core->bindings_live--;
}

/* The place for a key: its own, an empty one, a stale one, the least recently used one. */
static struct qd_binding *make_place(struct qd_core *core, struct qd_hash128 key,
                                     enum qd_binding_state state, struct qd_wall_ns now)
{
    struct qd_binding *own = find(core, key, state);
    struct qd_binding *b = home_of(core, key);
    struct qd_binding *victim = b;
    for (unsigned i = 0; own == NULL && i < QD_BINDING_WINDOW; i++, b++) {
        if (b->state == QD_BINDING_EMPTY) {
            victim = b;
            break;
        }
        if (!is_stale(core, victim, now) &&
            (is_stale(core, b, now) || b->used_s < victim->used_s)) {
            victim = b;
        }
    }
    if (own != NULL) {
        victim = own;
    }
    clear(core, victim);
    core->bindings_live++;
    return victim;
}

void qd_binding_put(struct qd_core *core, const struct qd_binding *first,
                    const struct qd_ref *items, unsigned count, struct qd_wall_ns now)
{
    if (core->binding_slots == 0) {
        qd_names_drop(&core->names, first->name);
        return;
    }
    /* The further entries go in before the first, which is what makes them be found. */
    unsigned parts = count == 0 ? 1 : (count + QD_BINDING_ITEMS - 1) / QD_BINDING_ITEMS;
    for (unsigned part = parts; part-- > 0;) {
        unsigned from = part * QD_BINDING_ITEMS;
        unsigned n = count - from < QD_BINDING_ITEMS ? count - from : QD_BINDING_ITEMS;
        enum qd_binding_state state = part == 0 ? QD_BINDING_FIRST : QD_BINDING_MORE;
        struct qd_hash128 key = part_key(first->key, part);
        struct qd_binding *b = make_place(core, key, state, now);
        *b = *first;
        b->key = key;
        b->state = (uint8_t)state;
        b->count = (uint8_t)count;
        b->used_s = qd_seconds_of(now);
        if (part > 0) {
            b->name = 0;
        }
        memcpy(b->items, items + from, sizeof(items[0]) * n);
    }
}

void qd_binding_trim(struct qd_core *core, struct qd_wall_ns now)
{
    uint32_t looks = core->binding_slots < TRIM_LOOKS ? core->binding_slots : TRIM_LOOKS;
    for (uint32_t i = 0; i < looks; i++) {
        if (core->binding_hand >= core->binding_slots) {
            core->binding_hand = 0;
        }
        struct qd_binding *b = &core->bindings[core->binding_hand++];
        if (b->state != QD_BINDING_EMPTY &&
            (is_stale(core, b, now) || b->used_s + TRIM_IDLE_S < qd_seconds_of(now))) {
            clear(core, b);
        }
    }
}

void qd_binding_prefetch(const struct qd_core *core, struct qd_hash128 key)
{
    if (core->binding_slots == 0) {
        return;
    }
    const char *b = (const char *)home_of(core, key);
    qd_fetch(b);
    qd_fetch(b + 64);
    qd_fetch(b + 128); /* one in three lies further on, most of them here */
    qd_fetch(b + 192);
}
