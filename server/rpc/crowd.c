/* X3: which connections have too many calls in hand.
 *
 * A connection has at most `streams_max` streams; but a call that was reset stays in hand until
 * gRPC is through with it, and gRPC 1.51 reads on meanwhile, without an end as long as something
 * comes (CVE-2023-44487). So one with more calls than streams resets faster than it is served. And
 * when no call object is left, somebody goes, so that others are served: suspects.h has whom. An
 * answer that has been on its way for QD_CROWD_STALLED_MS finds nobody who takes it: a batch ends
 * when the kernel has its bytes, so neither a long way nor a lost packet does that to those who
 * read. What waits for the disk is left out: the booking queue has a bound of its own, and a slow
 * disk is no flood. So is, among what may stall, a stream's answer: its batch waits for the next
 * message as well, which an honest gateway may send much later. */
#include "server/rpc/accept.h"
#include "server/rpc/connections.h"
#include "server/rpc/server_internal.h"
#include "server/rpc/suspects.h"

#include "server/core/hash.h"

#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COST_SHARE 20 /* a look may take this part of the thread's time */
#define NS_PER_MS  1000000U

static bool waits(const struct qd_call *call)
{
    return atomic_load_explicit(&call->booked, memory_order_relaxed);
}

/* By how far this thread has got, not by the clock: when it is behind, everybody's answers seem to
 * take long. */
static bool is_stalled(const struct qd_rpc_thread *thread, const struct qd_call *call)
{
    uint64_t since_ns = atomic_load_explicit(&call->sending_ns, memory_order_relaxed);

    return since_ns != 0 &&
           since_ns + (uint64_t)QD_CROWD_STALLED_MS * NS_PER_MS <= thread->reached_ns;
}

static struct qd_suspect suspect_of(const struct qd_rpc_thread *thread, uint32_t index)
{
    const struct qd_call *call = thread->made[index];
    char *peer = grpc_call_get_peer(call->call);
    uint64_t connection = qd_hash64_bytes(peer, strlen(peer), 0);
    uint64_t address = connection;
    uint8_t bytes[16];

    if (qd_connections_address(peer, bytes)) {
        address = qd_hash64_bytes(bytes, sizeof(bytes), 0);
    }
    gpr_free(peer);
    return qd_suspect_of(address, connection, index, is_stalled(thread, call));
}

static uint32_t gather(const struct qd_rpc_thread *thread, struct qd_suspect *suspects)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < thread->call_count; i++) {
        if (thread->made[i]->in_hand && !waits(thread->made[i])) {
            suspects[count++] = suspect_of(thread, i);
        }
    }
    return count;
}

static void report(struct qd_rpc_thread *thread, uint32_t call, enum qd_cutoff why)
{
    char *peer = grpc_call_get_peer(thread->made[call]->call);

    qd_accept_report(thread->rpc->accept, peer, why);
    gpr_free(peer);
}

/* Whether any call object is left, and for how long none has been. */
static struct qd_suspects_state state_of(struct qd_rpc_thread *thread, uint64_t now_ms)
{
    bool exhausted = thread->call_count == QD_CALLS_MAX && thread->pool == NULL;

    if (!exhausted) {
        thread->crowd_full_ms = 0;
    } else if (thread->crowd_full_ms == 0) {
        thread->crowd_full_ms = now_ms;
    }
    return (struct qd_suspects_state){.streams_max = thread->rpc->config.streams_max,
                                      .exhausted = exhausted,
                                      .lasting = exhausted && now_ms - thread->crowd_full_ms >=
                                                                  QD_CROWD_LASTING_MS};
}

static uint64_t ms_of(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static void look(struct qd_rpc_thread *thread, uint64_t now_ms)
{
    struct qd_suspect *suspects = malloc(thread->call_count * sizeof(*suspects));
    const struct qd_suspects_state state = state_of(thread, now_ms);
    enum qd_cutoff why;

    if (suspects == NULL) {
        return; /* the next look may have more luck */
    }
    uint32_t found = qd_suspects_judge(suspects, gather(thread, suspects), &state, &why);
    for (uint32_t i = 0; i < found; i++) {
        report(thread, suspects[i].call, why);
    }
    free(suspects);
}

void qd_crowd_look(struct qd_rpc_thread *thread)
{
    uint64_t now_ms = ms_of(CLOCK_MONOTONIC);

    if (now_ms < thread->crowd_next_ms) {
        return;
    }
    uint64_t began_ms = ms_of(CLOCK_THREAD_CPUTIME_ID);
    look(thread, now_ms);
    uint64_t work_ms = ms_of(CLOCK_THREAD_CPUTIME_ID) - began_ms;
    thread->crowd_next_ms = now_ms + QD_CROWD_LOOK_MS + work_ms * COST_SHARE;
}
