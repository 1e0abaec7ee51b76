/* Whether the heap has much more in use than the node needs (X3).
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   the caller's struct.
 * Units:    bytes; milliseconds of any clock that does not go back.
 *
 * What the node needs is what is in use while no connection costs much. But what a flood left is in
 * use, too, for as long as gRPC needs to clear it away, after its connections have gone: while one
 * costs much, and for QD_HEAP_CALM_MS after a cut, the need is believed to rise by
 * QD_HEAP_RISE_PER_S at most. Otherwise each wave of a flood would be let in on top of what the one
 * before has left. And it does rise: nobody can keep the heap high for good by costing a little.
 */
#ifndef QD_RPC_HEAP_H
#define QD_RPC_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_HEAP_OVER_MAX   ((size_t)320 << 20)
#define QD_HEAP_CALM_MS    30000U
#define QD_HEAP_RISE_PER_S ((size_t)1 << 20)

struct qd_heap {
    size_t needed;
    size_t used;        /* as of the last look */
    uint64_t looked_ms; /* when that was */
    uint64_t cut_ms;    /* the last cut; 0: none */
};

void qd_heap_init(struct qd_heap *heap, size_t used, uint64_t now_ms);

/* A connection was cut off for what it costs. */
void qd_heap_cut(struct qd_heap *heap, uint64_t now_ms);

/* In the last QD_HEAP_CALM_MS? */
bool qd_heap_was_cut(const struct qd_heap *heap, uint64_t now_ms);

/* So much is in use now; `calm`: no connection costs much. */
void qd_heap_look(struct qd_heap *heap, size_t used, bool calm, uint64_t now_ms);

/* As of the last look. */
bool qd_heap_is_high(const struct qd_heap *heap);

#endif /* QD_RPC_HEAP_H */
