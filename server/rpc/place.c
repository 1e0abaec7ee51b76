#include "server/rpc/call.h"
#include "server/rpc/report_batch.h"
#include "server/rpc/rls.h"

#include <stdlib.h>

void *qd_scratch_take(struct qd_scratch *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;

    if (rounded < size || rounded > arena->size - arena->used) {
        return NULL;
    }
    void *at = arena->memory + arena->used;
    arena->used += rounded;
    memset(at, 0, size);
    return at;
}

char *qd_scratch_text(struct qd_scratch *arena, struct qd_str text)
{
    static char none[1] = "";
    char *copy = qd_scratch_take(arena, text.len + 1);

    if (copy == NULL) {
        return none;
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

static void *allocate(void *data, size_t size)
{
    return qd_scratch_take(data, size);
}

/* All goes at once when the arena is cleared. */
static void release(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

bool qd_place_init(struct qd_place *place, struct qd_rpc *rpc)
{
    place->rpc = rpc;
    place->arena.size = QD_SCRATCH_BYTES;
    place->arena.memory = aligned_alloc(64, QD_SCRATCH_BYTES); /* untouched pages cost nothing */
    place->out_memory = malloc(QD_OUT_BYTES);
    place->allocator = (ProtobufCAllocator){allocate, release, &place->arena};
    place->worker = qd_worker_new(place->node);
    place->rls = qd_rls_work_new();
    if (place->arena.memory == NULL || place->out_memory == NULL || place->worker == NULL ||
        place->rls == NULL) {
        qd_place_release(place);
        return false;
    }
    qd_place_clear(place);
    return true;
}

void qd_place_release(struct qd_place *place)
{
    qd_report_batch_free(place->reports);
    place->reports = NULL;
    qd_worker_free(place->worker);
    free(place->out_memory);
    free(place->arena.memory);
    place->worker = NULL;
    qd_rls_work_free(place->rls);
    place->rls = NULL;
    place->out_memory = NULL;
    place->arena.memory = NULL;
}

void qd_place_clear(struct qd_place *place)
{
    place->arena.used = 0;
    qd_out_init(&place->out, place->out_memory, QD_OUT_BYTES);
}

void *qd_place_unpack(struct qd_place *place, const ProtobufCMessageDescriptor *descriptor,
                      struct qd_str bytes, struct qd_error *ret_error)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &place->allocator, bytes.len,
                                                          (const uint8_t *)bytes.ptr);
    if (message == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_MALFORMED, "not a %s message", descriptor->name);
    }
    return message;
}

struct qd_str qd_place_actor(struct qd_place *place, const struct qd_call *call)
{
    char text[QD_ACTOR_MAX];
    struct qd_str actor = qd_caller_actor(&call->caller, text);

    return qd_slice_of(qd_scratch_text(&place->arena, actor));
}
