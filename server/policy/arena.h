/* An arena: memory that is taken piece by piece and released at once.
 *
 * Layer:    policy
 * Threads:  one arena belongs to one thread at a time.
 * Memory:   grows by chunks from malloc; nothing is given back before qd_arena_release.
 *
 * Running out of memory leaves by longjmp to the place that the owner named in `oom`, so that the
 * compilers of policies need no path for it at every step; whoever sets `oom` owns everything that
 * is not in the arena.
 */
#ifndef QD_POLICY_ARENA_H
#define QD_POLICY_ARENA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

struct qd_arena_chunk;

struct qd_arena {
    struct qd_arena_chunk *head;
    size_t left;    /* bytes left in the head chunk */
    char *next;     /* its first free byte */
    jmp_buf *oom;   /* where to go without memory; must be set while something is allocated */
    int fail_after; /* for tests: > 0 counts down with each chunk; the one that makes it 0 fails */
};

/* For tests: arenas made from now on in this thread fail at their n-th chunk; 0: never. */
void qd_arena_fail_chunk(int n);

void qd_arena_init(struct qd_arena *a, jmp_buf *oom);
void qd_arena_release(struct qd_arena *a);

/* Leave as a failed allocation does: for whoever fails to get memory elsewhere. */
_Noreturn void qd_arena_out_of_memory(struct qd_arena *a);

/* `size` zeroed bytes, aligned for any type. Does not return when there are none. */
void *qd_arena_alloc(struct qd_arena *a, size_t size) __attribute__((returns_nonnull));

/* Room for `count` objects of `size`; never overflows. */
void *qd_arena_array(struct qd_arena *a, size_t count, size_t size)
    __attribute__((returns_nonnull));

/* An array that grows by doubling: makes room for at least one more behind `count`; returns it at
 * its new place. */
void *qd_arena_grow(struct qd_arena *a, void *array, size_t count, size_t *capacity, size_t size)
    __attribute__((returns_nonnull));

/* A copy with a NUL behind it. */
char *qd_arena_text(struct qd_arena *a, const char *ptr, size_t len)
    __attribute__((returns_nonnull));

char *qd_arena_printf(struct qd_arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));

#endif /* QD_POLICY_ARENA_H */
