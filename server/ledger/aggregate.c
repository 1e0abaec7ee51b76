#include "server/ledger/aggregate.h"

#include <stdalign.h>
#include <stdlib.h>
#include <xxhash.h>

#define ARENA_BLOCK_SIZE ((size_t)64 << 10)
#define FIRST_GROUPS     64
#define SUMS_GROWTH      8

struct qd_aggregate_block {
    struct qd_aggregate_block *next;
    size_t used;
    size_t size;
    alignas(max_align_t) uint8_t data[];
};

void *qd_aggregate_arena_alloc(struct qd_aggregate_arena *arena, size_t size)
{
    size_t aligned =
        (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    struct qd_aggregate_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < aligned) {
        size_t room = aligned > ARENA_BLOCK_SIZE ? aligned : ARENA_BLOCK_SIZE;
        block = malloc(sizeof *block + room);
        if (block == NULL) {
            return NULL;
        }
        block->next = arena->blocks;
        block->used = 0;
        block->size = room;
        arena->blocks = block;
    }
    void *memory = block->data + block->used;
    block->used += aligned;
    return memory;
}

void qd_aggregate_arena_release(struct qd_aggregate_arena *arena)
{
    while (arena->blocks != NULL) {
        struct qd_aggregate_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

struct qd_str qd_aggregate_arena_copy(struct qd_aggregate_arena *arena, struct qd_str text,
                                      bool *failed)
{
    if (text.len == 0) {
        return (struct qd_str){0};
    }
    char *copy = qd_aggregate_arena_alloc(arena, text.len);
    if (copy == NULL) {
        *failed = true;
        return (struct qd_str){0};
    }
    memcpy(copy, text.ptr, text.len);
    return (struct qd_str){copy, text.len};
}

void qd_aggregate_init(struct qd_aggregate *aggregate, struct qd_aggregate_arena *arena,
                       size_t limit)
{
    *aggregate = (struct qd_aggregate){.arena = arena, .limit = limit};
    aggregate->interned = qd_sums_over(aggregate->names, QD_SUMS_MAX);
}

void qd_aggregate_release(struct qd_aggregate *aggregate)
{
    free(aggregate->groups);
    free(aggregate->slots);
    aggregate->groups = NULL;
    aggregate->slots = NULL;
}

/* The slot of `key`: its group's, or the empty one where it belongs. */
static uint32_t *find_slot(struct qd_aggregate *aggregate, struct qd_str key)
{
    size_t mask = aggregate->slot_count - 1;
    size_t at = (size_t)XXH3_64bits(key.ptr, key.len) & mask;
    while (aggregate->slots[at] != 0 &&
           !qd_slice_equal(aggregate->groups[aggregate->slots[at] - 1].key, key)) {
        at = (at + 1) & mask;
    }
    return &aggregate->slots[at];
}

/* Room for one more group, with the table at most half full. */
static bool grow(struct qd_aggregate *aggregate)
{
    if (aggregate->count < aggregate->capacity) {
        return true;
    }
    size_t capacity = aggregate->capacity > 0 ? aggregate->capacity * 2 : FIRST_GROUPS;
    struct qd_aggregate_group *groups = realloc(aggregate->groups, capacity * sizeof *groups);
    if (groups == NULL) {
        return false;
    }
    aggregate->groups = groups;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    free(aggregate->slots);
    aggregate->slots = slots;
    aggregate->slot_count = capacity * 2;
    aggregate->capacity = capacity;
    for (size_t i = 0; i < aggregate->count; i++) {
        *find_slot(aggregate, groups[i].key) = (uint32_t)i + 1;
    }
    return true;
}

static enum qd_store_err find_group(struct qd_aggregate *aggregate, struct qd_str key,
                                    struct qd_aggregate_group **ret_group)
{
    if (!grow(aggregate)) {
        return QD_STORE_NO_MEMORY;
    }
    uint32_t *slot = find_slot(aggregate, key);
    if (*slot == 0) {
        if (aggregate->count == aggregate->limit) {
            return QD_STORE_INVALID;
        }
        bool failed = false;
        struct qd_str copy = qd_aggregate_arena_copy(aggregate->arena, key, &failed);
        if (failed) {
            return QD_STORE_NO_MEMORY;
        }
        aggregate->groups[aggregate->count] = (struct qd_aggregate_group){.key = copy};
        *slot = (uint32_t)++aggregate->count;
    }
    *ret_group = &aggregate->groups[*slot - 1];
    return QD_STORE_OK;
}

/* The same name, in memory that stays. */
static enum qd_store_err intern(struct qd_aggregate *aggregate, struct qd_str name,
                                struct qd_str *ret_name)
{
    const struct qd_sum *known = qd_sums_find(&aggregate->interned, name);
    if (known == NULL) {
        bool failed = false;
        struct qd_str copy = qd_aggregate_arena_copy(aggregate->arena, name, &failed);
        if (failed) {
            return QD_STORE_NO_MEMORY;
        }
        qd_sums_add(&aggregate->interned, copy, 0);
        known = qd_sums_find(&aggregate->interned, name);
        if (known == NULL) {
            return QD_STORE_INVALID;
        }
    }
    *ret_name = known->name;
    return QD_STORE_OK;
}

/* Room for `count` more names. */
static bool grow_sums(struct qd_aggregate *aggregate, struct qd_sums *sums, size_t count)
{
    if (sums->capacity - sums->count >= count) {
        return true;
    }
    size_t capacity = sums->count + count + SUMS_GROWTH;
    struct qd_sum *items = qd_aggregate_arena_alloc(aggregate->arena, capacity * sizeof *items);
    if (items == NULL) {
        return false;
    }
    if (sums->count > 0) {
        memcpy(items, sums->items, sums->count * sizeof *items);
    }
    sums->items = items;
    sums->capacity = capacity;
    return true;
}

enum qd_store_err qd_aggregate_add(struct qd_aggregate *aggregate, struct qd_str key,
                                   const struct qd_sums *sums)
{
    struct qd_aggregate_group *group;
    enum qd_store_err err = find_group(aggregate, key, &group);
    if (err != QD_STORE_OK) {
        return err;
    }
    group->sums.flags |= sums->flags;
    for (size_t i = 0; i < sums->count; i++) {
        const struct qd_sum *sum = &sums->items[i];
        if (qd_sums_find(&group->sums, sum->name) == NULL &&
            !grow_sums(aggregate, &group->sums, 1)) {
            return QD_STORE_NO_MEMORY;
        }
        struct qd_str name;
        err = intern(aggregate, sum->name, &name);
        if (err != QD_STORE_OK) {
            return err;
        }
        qd_sums_add(&group->sums, name, sum->value);
    }
    return QD_STORE_OK;
}

static int compare_groups(const void *a, const void *b)
{
    const struct qd_aggregate_group *left = a;
    const struct qd_aggregate_group *right = b;
    return qd_slice_compare(left->key, right->key);
}

void qd_aggregate_sort(struct qd_aggregate *aggregate)
{
    if (aggregate->count > 1) {
        qsort(aggregate->groups, aggregate->count, sizeof *aggregate->groups, compare_groups);
    }
}
