#include "client/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    LQ_BLOCK_BYTES = 2048
};

struct lq_block {
    struct lq_block *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) unsigned char bytes[];
};

static void *wire_alloc(void *context, size_t size)
{
    return lq_arena_take(context, size);
}

static void wire_free(void *context, void *memory)
{
    (void)context; /* It goes with the arena. */
    (void)memory;
}

struct lq_arena *lq_arena_new(void)
{
    struct lq_arena *arena = calloc(1, sizeof *arena);
    if (arena != NULL) {
        arena->wire = (ProtobufCAllocator){wire_alloc, wire_free, arena};
    }
    return arena;
}

void lq_arena_free(struct lq_arena *arena)
{
    if (arena == NULL) {
        return;
    }
    while (arena->blocks != NULL) {
        struct lq_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
    free(arena);
}

void *lq_arena_take(struct lq_arena *arena, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    if (size > SIZE_MAX / 2) {
        arena->failed = true;
        return NULL;
    }
    size = (size + align - 1) / align * align;
    struct lq_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > LQ_BLOCK_BYTES ? size : LQ_BLOCK_BYTES;
        block = malloc(sizeof *block + room);
        if (block == NULL) {
            arena->failed = true;
            return NULL;
        }
        *block = (struct lq_block){.next = arena->blocks, .size = room};
        arena->blocks = block;
    }
    void *memory = block->bytes + block->used;
    block->used += size;
    memset(memory, 0, size);
    return memory;
}

const char *lq_arena_text(struct lq_arena *arena, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = lq_arena_take(arena, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}
