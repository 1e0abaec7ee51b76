#include "server/shard/peek.h"

#include "server/shard/evict.h"

#include <stdlib.h>
#include <string.h>

/* Room for one counter of any kind, and what its binding needs. */
static const struct qd_core_config one = {
    .narrow_windows = 1,
    .wide_windows = 1,
    .buckets = 1,
    .gauges = 1,
    .bindings = 1,
    .roots = 1,
    .name_bytes = 4096,
};

/* Only the core can read a state: a slice of its own takes this one in. */
static bool look(void *memory, size_t size, const struct qd_bind_item *item,
                 const struct qd_saved *stored, struct qd_wall_ns now,
                 struct qd_limit_state *ret_state)
{
    struct qd_bind_item alone = *item;
    struct qd_bind bind = {
        .valid_until = {QD_WALL_NEVER}, .tenant = {"x", 1}, .items = &alone, .item_count = 1};

    alone.depth = 0; /* so that the name need not begin with the tenant */
    alone.name = (struct qd_str){"x", 1};
    struct qd_core *core = qd_core_init(memory, size, &one);
    if (qd_core_bind(core, core, &bind, now, NULL) != QD_BOUND ||
        !qd_core_restore(core, stored, now) ||
        !qd_core_counter(core, item->counter, now, ret_state)) {
        return false;
    }
    ret_state->name = (struct qd_str){NULL, 0}; /* it was in the slice */
    return true;
}

static void *slice_memory(size_t *ret_size)
{
    size_t size = (qd_core_memory(&one) + 63) & ~(size_t)63;
    void *memory = aligned_alloc(64, size);

    if (memory != NULL) {
        memset(memory, 0, size);
    }
    *ret_size = size;
    return memory;
}

bool qd_peek_is_over(const struct qd_limit *limit, const struct qd_saved *saved,
                     struct qd_wall_ns now)
{
    size_t size;
    void *memory = slice_memory(&size);

    if (memory == NULL) {
        return false;
    }
    struct qd_core *core = qd_core_init(memory, size, &one);
    bool over = qd_core_load_counter(core, limit, saved, now) == QD_LOAD_OVER;
    free(memory);
    return over;
}

bool qd_peek_saved(const struct qd_bind_item *item, const struct qd_saved *saved,
                   struct qd_wall_ns now, struct qd_limit_state *ret_state)
{
    size_t size;
    void *memory = slice_memory(&size);

    if (memory == NULL) {
        return false;
    }
    bool found = look(memory, size, item, saved, now, ret_state);
    free(memory);
    return found;
}

bool qd_peek_stored(struct qd_node *node, const struct qd_bind_item *item, struct qd_wall_ns now,
                    struct qd_limit_state *ret_state)
{
    struct qd_saved stored = {.id = item->counter};

    return atomic_load_explicit(&node->evicted, memory_order_relaxed) &&
           qd_evict_read(node, item->counter, &stored) && stored.size > 0 &&
           qd_peek_saved(item, &stored, now, ret_state);
}
