/* The guard over open connections: cuts off those that cost much more than they ask for (X3).
 *
 * Layer:    rpc
 * Threads:  one of its own, which never enters gRPC; the accept loop's asks `admits` and `add`;
 *           report from any.
 * Memory:   the caller's struct, and what the caps need (connections.h).
 *
 * gRPC 1.51 reads whatever comes, and knows no bound for some of what costs it memory and time:
 * header blocks without an end (CVE-2023-33953), calls that are reset at once (CVE-2023-44487),
 * more streams than it allows for a peer that does not acknowledge its settings. It answers nobody
 * while something is there to be read. It tells nobody, either; but each of these shows outside of
 * it, under TLS too:
 *
 * - Unanswered: whatever a client asks is answered by some bytes. A connection that has sent
 *   QD_UNANSWERED_MAX without is cut off. Those with the most are, while all together have sent
 *   QD_UNANSWERED_ALL; never one that has less than QD_UNANSWERED_LEAST. A disk that makes
 *   everybody's reports wait must not look like a flood: the bounds are far above what well-behaved
 *   clients have on their way.
 * - Memory: while the heap is high (heap.h), those go that send much more than is usual for what
 *   they are answered (connections.h: excess): the worst, and who is like it.
 * - Calls: the RPC threads report a connection that has more calls in hand than streams are allowed
 *   (reset calls are in hand until gRPC is through with them), or, when no call object is left,
 *   those whose answers nobody takes, or else the one with the most (suspects.h).
 * - Captive: gRPC reads a new connection on the thread that hands it over, for as long as something
 *   comes. After QD_CAPTIVE_MS that thread is freed; on a machine that is short of time, where
 *   little came, after QD_CAPTIVE_IDLE_MS.
 *
 * - Left: who dials, calls and hangs up again before any of that shows. When a connection goes,
 *   each call that is under way on it costs gRPC several times what an answer does. The RPC threads
 *   count the calls that are cancelled, and while they are QD_GUARD_CANCELLED or more, of late,
 *   note of those that begin from where they come: afterwards gRPC knows it no more. Who has many
 *   of them, and hangs up soon after dialling, is banned (leavers.h); its other connections stay.
 *
 * Nobody is held to account for what the node could not answer because it stood still
 * (standstill.h).
 *
 * A connection that is cut off is closed without a word, and its address has hardly any new ones
 * for QD_GUARD_BAN_MS (bans.h), and none as long as the heap stays high: otherwise a flood is back
 * before what it left is cleared away. Its others stay. Where the only fault was to have the most
 * calls, the address is not held to account: it may be a busy gateway's.
 */
#ifndef QD_RPC_GUARD_H
#define QD_RPC_GUARD_H

#include "server/rpc/bans.h"
#include "server/rpc/connections.h"
#include "server/rpc/heap.h"
#include "server/rpc/standstill.h"

#include <pthread.h>

#define QD_UNANSWERED_MAX   (512U << 10)
#define QD_UNANSWERED_ALL   (8U << 20)
#define QD_UNANSWERED_LEAST (16U << 10)
#define QD_CAPTIVE_MS       1000U
#define QD_CAPTIVE_IDLE_MS  10000U /* of one that has sent less than QD_UNANSWERED_LEAST */
#define QD_PEER_TEXT_MAX    80U
#define QD_GUARD_REPORTS    16U
#define QD_GUARD_BAN_MS     2000U
#define QD_GUARD_CANCELLED  1024U /* calls in a second or two */

/* A connection that has too many calls. */
struct qd_guard_report {
    char peer[QD_PEER_TEXT_MAX];
    enum qd_cutoff why;
};

struct qd_guard {
    struct qd_connection_figures *figures;
    uint32_t processors;
    _Atomic uint64_t cancelled_new; /* since the last look */
    _Atomic bool asks_who;          /* many are cancelled of late: whose are they? */
    pthread_mutex_t lock;           /* of all that follows */
    pthread_cond_t heard;           /* on the monotonic clock */
    struct qd_connections connections;
    struct qd_bans bans;
    struct qd_heap heap;
    struct qd_standstill standstill;
    uint64_t cancelled; /* calls, of late */
    struct qd_guard_report reported[QD_GUARD_REPORTS];
    uint32_t reports;
    int handed; /* the descriptor that is being handed over; -1: none */
    uint64_t handed_ms;
    uint64_t swept_ms;     /* for a cap that refused */
    uint64_t next_ms;      /* when to look again, on the monotonic clock */
    uint64_t next_heap_ms; /* and at the heap */
    uint64_t faded_ms;
    uint64_t next_trim_ms;
    bool quiet; /* little came before the last look */
    bool trims; /* something was cut off: memory goes back to the system when it is quiet */
    bool stopping;
    bool started;
    pthread_t thread;
};

/* False: out of memory. */
bool qd_guard_init(struct qd_guard *guard, uint32_t connections_max, uint32_t per_address_max,
                   struct qd_connection_figures *figures);
void qd_guard_release(struct qd_guard *guard);

/* False: no thread. */
bool qd_guard_start(struct qd_guard *guard);
void qd_guard_stop(struct qd_guard *guard);

/* Accept the listener's next connection and remember it: *ret_fd, or -1 with errno, as accept4.
 * What may not be is accepted, too: it is the caller's to close; QD_REFUSAL_COUNT: it may. */
enum qd_refusal qd_guard_accept(struct qd_guard *guard, int listener, int *ret_fd);

/* Around the call that gives it to gRPC. */
void qd_guard_hands(struct qd_guard *guard, int fd);
void qd_guard_has_handed(struct qd_guard *guard);

/* This peer (grpc_call_get_peer) has too many calls: QD_CUT_CALLS, or QD_CUT_MOST, which bans
 * nobody. */
void qd_guard_report(struct qd_guard *guard, const char *peer, enum qd_cutoff why);

/* From any thread: must it be known of a call that begins from which address it comes? */
bool qd_guard_asks_who(const struct qd_guard *guard);

/* A call was cancelled, or its connection went; it came `from` this address (as qd_address_of
 * writes it; NULL: not known). From any thread. */
void qd_guard_cancelled(struct qd_guard *guard, const uint8_t *from);

#endif /* QD_RPC_GUARD_H */
