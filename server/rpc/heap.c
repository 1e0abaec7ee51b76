#include "server/rpc/heap.h"

void qd_heap_init(struct qd_heap *heap, size_t used, uint64_t now_ms)
{
    *heap = (struct qd_heap){.needed = used, .used = used, .looked_ms = now_ms};
}

void qd_heap_cut(struct qd_heap *heap, uint64_t now_ms)
{
    heap->cut_ms = now_ms;
}

bool qd_heap_was_cut(const struct qd_heap *heap, uint64_t now_ms)
{
    return heap->cut_ms != 0 && now_ms - heap->cut_ms < QD_HEAP_CALM_MS;
}

/* What the need may be now, at most. */
static size_t ceiling(const struct qd_heap *heap, bool calm, uint64_t now_ms)
{
    size_t rise = (size_t)(now_ms - heap->looked_ms) * (QD_HEAP_RISE_PER_S / 1000);

    return !calm || qd_heap_was_cut(heap, now_ms) ? heap->needed + rise : SIZE_MAX;
}

void qd_heap_look(struct qd_heap *heap, size_t used, bool calm, uint64_t now_ms)
{
    size_t most = ceiling(heap, calm, now_ms);

    heap->needed = used < most ? used : most;
    heap->used = used;
    heap->looked_ms = now_ms;
}

bool qd_heap_is_high(const struct qd_heap *heap)
{
    return heap->used >= heap->needed && heap->used - heap->needed >= QD_HEAP_OVER_MAX;
}
