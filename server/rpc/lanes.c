/* Unary checks that are at hand together.
 *
 * A check waits for memory twice: for its binding, then for the counters that this names. Where the
 * completion queue has several, each is begun as it comes and all are decided a moment later, when
 * what they need has arrived. A single one is decided at once. */
#include "server/rpc/quota.h"
#include "server/rpc/server_internal.h"

#include "server/rpc/codec.h"

#include <assert.h>

void qd_lanes_take(struct qd_rpc_thread *thread, struct qd_call *call)
{
    assert(thread->lane_count < QD_LANES);
    struct qd_place *place = &thread->place;
    struct qd_lane *lane = &thread->lanes[thread->lane_count];
    struct qd_str bytes = qd_message_bytes(call->received, &lane->slice);

    if (call->received == NULL || bytes.len > QD_MESSAGE_BYTES_MAX) { /* refused there */
        grpc_slice_unref(lane->slice);
        qd_lanes_flush(thread);
        call->begun = qd_clock_mono(&place->node->clock);
        qd_call_handle(place, call);
        return;
    }
    if (thread->lane_count++ == 0) {
        (void)qd_worker_enter(place->worker);
    }
    lane->call = call;
    lane->code = qd_quota_read_check(&call->caller, bytes, &lane->args, &lane->error);
    if (lane->code != QD_ERROR_NONE) {
        call->begun = qd_clock_mono(&place->node->clock);
    } else {
        lane->code = qd_check_begin(&lane->work, place->worker, &lane->args, &lane->error);
        call->begun = lane->work.begun; /* the check's own look at the clock */
    }
}

static void answer(struct qd_place *place, struct qd_lane *lane)
{
    struct qd_check_answer *a = &place->check_answer;

    qd_place_clear(place);
    if (lane->code == QD_ERROR_NONE) {
        lane->code = qd_check_decide(&lane->work, a, &lane->error);
    }
    qd_check_count(place->worker, lane->code, a);
    if (lane->code == QD_ERROR_NONE) {
        qd_quota_put_check(place, &lane->args);
        lane->call->number = a->number;
        if (a->number != 0 && place->out.full) {
            qd_node_undelivered(place->worker, a->number); /* S1: no answer tells of the hold */
            lane->call->number = 0;
        }
    }
    grpc_slice_unref(lane->slice);
    qd_call_reply(place, lane->call, lane->code, &lane->error);
}

void qd_lanes_flush(struct qd_rpc_thread *thread)
{
    unsigned count = thread->lane_count;

    if (count == 0) {
        return;
    }
    for (unsigned i = 0; i < count && count > 1; i++) {
        if (thread->lanes[i].code == QD_ERROR_NONE) {
            qd_check_approach(&thread->lanes[i].work);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        answer(&thread->place, &thread->lanes[i]);
    }
    thread->lane_count = 0;
    qd_worker_leave(thread->place.worker);
}
