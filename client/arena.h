/* Memory of one answer: blocks that grow and go together.
 *
 * Layer:    client. Threads: one at a time.
 * Memory:   new/free; everything taken from it goes with it.
 */
#ifndef QD_CLIENT_ARENA_H
#define QD_CLIENT_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct lq_block;

struct lq_arena {
    struct lq_block *blocks; /* newest first */
    ProtobufCAllocator wire; /* for protobuf-c: takes from here, gives nothing back */
    bool failed;             /* an allocation failed: NULL came from memory, not from content */
};

/* NULL when out of memory. */
struct lq_arena *lq_arena_new(void);
void lq_arena_free(struct lq_arena *arena);

/* `size` bytes, zeroed, aligned for anything; NULL when out of memory. */
void *lq_arena_take(struct lq_arena *arena, size_t size);

/* A copy of `text`; NULL when out of memory. */
const char *lq_arena_text(struct lq_arena *arena, const char *text);

#endif /* QD_CLIENT_ARENA_H */
