#include "server/core/names.h"

#include "server/core/check.h"
#include "server/core/hash.h"

#include <string.h>

struct name {
    uint32_t users;
    uint16_t size;
    uint8_t text[];
};
#define NAME_HEADER 6U

/* What lies in a free block. */
struct free_block {
    uint32_t next; /* granule + 1; 0: none */
    uint32_t prev;
};

static void *granule_at(const struct qd_names *names, uint32_t granule)
{
    return names->arena + (size_t)granule * QD_NAME_GRANULE;
}

static unsigned order_for(size_t size)
{
    unsigned order = 0;
    while (((size_t)QD_NAME_GRANULE << order) < size + NAME_HEADER) {
        order++;
    }
    return order;
}

static void push_free(struct qd_names *names, uint32_t granule, unsigned order)
{
    struct free_block *block = granule_at(names, granule);
    *block = (struct free_block){.next = names->free[order]};
    if (block->next != 0) {
        ((struct free_block *)granule_at(names, block->next - 1))->prev = granule + 1;
    }
    names->free[order] = granule + 1;
    names->order[granule] = (uint8_t)(order + 1);
}

static void unlink_free(struct qd_names *names, uint32_t granule, unsigned order)
{
    struct free_block *block = granule_at(names, granule);
    QD_CHECK(names->order[granule] == order + 1);
    if (block->next != 0) {
        ((struct free_block *)granule_at(names, block->next - 1))->prev = block->prev;
    }
    if (block->prev != 0) {
        ((struct free_block *)granule_at(names, block->prev - 1))->next = block->next;
    } else {
        names->free[order] = block->next;
    }
    names->order[granule] = 0;
}

/* Take a block of `order`, splitting a larger one, or a fresh one, if need be. */
static bool take_block(struct qd_names *names, unsigned order, uint32_t *ret_granule)
{
    const unsigned top = QD_NAME_ORDERS - 1;
    unsigned from = order;
    while (from <= top && names->free[from] == 0) {
        from++;
    }
    uint32_t granule;
    if (from <= top) {
        granule = names->free[from] - 1;
        unlink_free(names, granule, from);
    } else {
        if (names->high + (1U << top) > names->granules) {
            return false;
        }
        granule = names->high;
        names->high += 1U << top;
        from = top;
    }
    while (from > order) {
        from--;
        push_free(names, granule + (1U << from), from);
    }
    names->used += 1U << order;
    *ret_granule = granule;
    return true;
}

static void give_block(struct qd_names *names, uint32_t granule, unsigned order)
{
    names->used -= 1U << order;
    while (order < QD_NAME_ORDERS - 1) {
        uint32_t buddy = granule ^ (1U << order);
        if (names->order[buddy] != order + 1) {
            break;
        }
        unlink_free(names, buddy, order);
        granule &= ~(1U << order);
        order++;
    }
    push_free(names, granule, order);
}

void qd_names_init(struct qd_names *names, void *arena, uint8_t *order, uint32_t granules,
                   uint64_t *slots, uint64_t seed)
{
    QD_CHECK(granules % (1U << (QD_NAME_ORDERS - 1)) == 0);
    *names = (struct qd_names){.granules = granules, .seed = seed};
    names->arena = arena;
    names->order = order;
    qd_index_init(&names->index, slots, granules);
}

uint32_t qd_names_intern(struct qd_names *names, struct qd_str text)
{
    size_t size = text.len < QD_NAME_BYTES_MAX ? text.len : QD_NAME_BYTES_MAX;
    if (size == 0) {
        return 0;
    }
    uint32_t hash = (uint32_t)qd_hash64_bytes(text.ptr, size, names->seed);
    struct qd_index_walk walk = {0};
    uint32_t granule;
    while ((granule = qd_index_next(&names->index, hash, &walk)) != QD_INDEX_NONE) {
        struct name *name = granule_at(names, granule);
        if (name->size == size && memcmp(name->text, text.ptr, size) == 0) {
            name->users++;
            return granule + 1;
        }
    }
    if (!take_block(names, order_for(size), &granule)) {
        return 0;
    }
    struct name *name = granule_at(names, granule);
    name->users = 1;
    name->size = (uint16_t)size;
    memcpy(name->text, text.ptr, size);
    bool inserted = qd_index_insert(&names->index, hash, granule);
    QD_CHECK(inserted); /* as many places as granules */
    return granule + 1;
}

void qd_names_hold(struct qd_names *names, uint32_t handle)
{
    if (handle == 0) {
        return;
    }
    struct name *name = granule_at(names, handle - 1);
    QD_CHECK(name->users > 0);
    name->users++;
}

void qd_names_drop(struct qd_names *names, uint32_t handle)
{
    if (handle == 0) {
        return;
    }
    struct name *name = granule_at(names, handle - 1);
    QD_CHECK(name->users > 0);
    if (--name->users > 0) {
        return;
    }
    uint32_t hash = (uint32_t)qd_hash64_bytes(name->text, name->size, names->seed);
    qd_index_remove(&names->index, hash, handle - 1);
    give_block(names, handle - 1, order_for(name->size));
}

struct qd_str qd_names_text(const struct qd_names *names, uint32_t handle)
{
    if (handle == 0) {
        return (struct qd_str){0};
    }
    const struct name *name = granule_at(names, handle - 1);
    return (struct qd_str){.ptr = (const char *)name->text, .len = name->size};
}
