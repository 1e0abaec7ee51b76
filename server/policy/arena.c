#include "server/policy/arena.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 65536U
#define ALIGNMENT   16U

struct qd_arena_chunk {
    struct qd_arena_chunk *next;
    size_t size; /* keeps what follows aligned */
};

static _Thread_local int fail_chunk;

void qd_arena_fail_chunk(int n)
{
    fail_chunk = n;
}

void qd_arena_init(struct qd_arena *a, jmp_buf *oom)
{
    *a = (struct qd_arena){.oom = oom, .fail_after = fail_chunk};
}

void qd_arena_release(struct qd_arena *a)
{
    struct qd_arena_chunk *chunk = a->head;
    while (chunk != NULL) {
        struct qd_arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *a = (struct qd_arena){0};
}

_Noreturn void qd_arena_out_of_memory(struct qd_arena *a)
{
    assert(a->oom != NULL);
    longjmp(*a->oom, 1);
}

/* A new head chunk with at least `size` bytes. */
static void add_chunk(struct qd_arena *a, size_t size)
{
    size_t bytes = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    bool fail = a->fail_after > 0 && --a->fail_after == 0;
    struct qd_arena_chunk *chunk = fail ? NULL : calloc(1, sizeof *chunk + bytes);
    if (chunk == NULL) {
        qd_arena_out_of_memory(a);
    }
    chunk->next = a->head;
    chunk->size = bytes;
    a->head = chunk;
    a->next = (char *)(chunk + 1);
    a->left = bytes;
}

void *qd_arena_alloc(struct qd_arena *a, size_t size)
{
    if (size > SIZE_MAX / 4) {
        qd_arena_out_of_memory(a);
    }
    size_t need = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (need == 0) {
        need = ALIGNMENT;
    }
    if (need > a->left) {
        add_chunk(a, need);
    }
    void *ptr = a->next;
    a->next += need;
    a->left -= need;
    assert(ptr != NULL);
    return ptr;
}

void *qd_arena_array(struct qd_arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        qd_arena_out_of_memory(a);
    }
    return qd_arena_alloc(a, bytes);
}

void *qd_arena_grow(struct qd_arena *a, void *array, size_t count, size_t *capacity, size_t size)
{
    if (array != NULL && count < *capacity) {
        return array;
    }
    size_t more = *capacity < 4 ? 8 : *capacity * 2;
    void *grown = qd_arena_array(a, more, size);
    if (array != NULL && count > 0) {
        memcpy(grown, array, count * size);
    }
    *capacity = more;
    return grown;
}

char *qd_arena_text(struct qd_arena *a, const char *ptr, size_t len)
{
    char *copy = qd_arena_alloc(a, len + 1);
    if (len > 0) {
        memcpy(copy, ptr, len);
    }
    copy[len] = '\0';
    return copy;
}

char *qd_arena_printf(struct qd_arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    char *text = qd_arena_alloc(a, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}
