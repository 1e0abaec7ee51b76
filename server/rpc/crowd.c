/* X3: which connection has too many calls in hand.
 *
 * A connection has at most `streams_max` streams; but a call that was reset stays in hand until
 * gRPC is through with it, and gRPC 1.51 reads on meanwhile, without an end as long as something
 * comes (CVE-2023-44487). So one with more calls than streams resets faster than it is served. And
 * when no call object is left, the connection that has the most of them goes, so that others are
 * served: it may have made calls whose answers it does not take. What waits for the disk is left
 * out: the booking queue has a bound of its own, and a slow disk is no flood. */
#include "server/rpc/accept.h"
#include "server/rpc/server_internal.h"

#include "server/core/hash.h"

#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COST_SHARE 20 /* a look may take this part of the thread's time */

struct owner {
    uint64_t hash; /* of the peer's text */
    uint32_t call; /* index in thread->made */
};

static int by_hash(const void *a, const void *b)
{
    const struct owner *x = a;
    const struct owner *y = b;

    return (x->hash > y->hash) - (x->hash < y->hash);
}

static bool waits(const struct qd_call *call)
{
    return atomic_load_explicit(&call->booked, memory_order_relaxed);
}

static uint32_t gather(const struct qd_rpc_thread *thread, struct owner *owners)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < thread->call_count; i++) {
        if (thread->made[i]->in_hand && !waits(thread->made[i])) {
            char *peer = grpc_call_get_peer(thread->made[i]->call);
            owners[count++] = (struct owner){qd_hash64_bytes(peer, strlen(peer), 0), i};
            gpr_free(peer);
        }
    }
    return count;
}

static void report(struct qd_rpc_thread *thread, const struct owner *owner)
{
    char *peer = grpc_call_get_peer(thread->made[owner->call]->call);

    qd_accept_report(thread->rpc->accept, peer);
    gpr_free(peer);
}

static bool is_exhausted(const struct qd_rpc_thread *thread)
{
    return thread->call_count == QD_CALLS_MAX && thread->pool == NULL;
}

/* Equal hashes are next to each other: a run of them is a connection's calls. */
static void judge(struct qd_rpc_thread *thread, const struct owner *owners, uint32_t count)
{
    uint32_t longest = 0;
    uint32_t most = 0;
    bool reported = false;

    for (uint32_t from = 0, i = 1; i <= count; i++) {
        if (i < count && owners[i].hash == owners[from].hash) {
            continue;
        }
        if (i - from > longest) {
            longest = i - from;
            most = from;
        }
        if (i - from > thread->rpc->config.streams_max) {
            report(thread, &owners[from]);
            reported = true;
        }
        from = i;
    }
    if (!reported && longest > 0 && is_exhausted(thread)) {
        report(thread, &owners[most]);
    }
}

static uint64_t ms_of(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void look(struct qd_rpc_thread *thread)
{
    struct owner *owners = malloc(thread->call_count * sizeof(*owners));

    if (owners == NULL) {
        return; /* the next look may have more luck */
    }
    uint32_t count = gather(thread, owners);
    qsort(owners, count, sizeof(*owners), by_hash);
    judge(thread, owners, count);
    free(owners);
}

void qd_crowd_look(struct qd_rpc_thread *thread)
{
    uint64_t now_ms = ms_of(CLOCK_MONOTONIC);

    if (now_ms < thread->crowd_next_ms) {
        return;
    }
    uint64_t began_ms = ms_of(CLOCK_THREAD_CPUTIME_ID);
    look(thread);
    uint64_t work_ms = ms_of(CLOCK_THREAD_CPUTIME_ID) - began_ms;
    thread->crowd_next_ms = now_ms + QD_CROWD_LOOK_MS + work_ms * COST_SHARE;
}
