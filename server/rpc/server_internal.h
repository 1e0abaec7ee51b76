/* The server's insides, shared by its files. Internal to rpc.
 *
 *   server.c   start, stop, figures
 *   events.c   what a completion-queue thread does with its events
 *   reply.c    batches that answer
 *   lanes.c    unary checks that are at hand together
 *   measure.c  how long calls take
 *   crowd.c    which connections have too many calls in hand
 *   booking.c  the threads that wait for the disk
 *   watch.c    streams that tell what happens: health, events
 */
#ifndef QD_RPC_SERVER_INTERNAL_H
#define QD_RPC_SERVER_INTERNAL_H

#include "server/rpc/call.h"
#include "server/shard/check.h"

#include <pthread.h>

#define QD_METHODS_MAX       64U   /* of all listeners together */
#define QD_LISTENERS_MAX     2U    /* everybody's, and the administrators' */
#define QD_CALLS_MAX         8192U /* call objects of one thread (X2) */
#define QD_STREAMS_MAX       4096U /* of them, for calls that last: they leave room for others */
#define QD_STRANGERS_MAX     1024U /* of these, for watches of Health */
#define QD_RETRY_MS          100
#define QD_DIGITS_OF(number) #number
#define QD_TEXT_OF(number)   QD_DIGITS_OF(number)
#define QD_RETRY_PUSHBACK_MS QD_TEXT_OF(QD_RETRY_MS)

#define QD_LANES 4U

/* One unary check between its beginning and its decision. */
struct qd_lane {
    struct qd_call *call;
    grpc_slice slice; /* the message; the arguments point into it */
    enum qd_error_code code;
    struct qd_error error;
    struct qd_check_args args;
    struct qd_check_work work;
};

struct qd_rpc_thread {
    _Alignas(64) struct qd_rpc *rpc;
    grpc_completion_queue *cq;
    pthread_t thread;
    bool started;
    struct qd_place place;
    struct qd_call *pool; /* free call objects; under pool_lock: booking threads don't touch it */
    uint32_t call_count;  /* made so far */
    struct qd_call *made[QD_CALLS_MAX];
    uint32_t in_hand;       /* calls begun and not ended */
    uint32_t streams;       /* of them, those that last */
    uint32_t strangers;     /* of these, Health's, which ask for no credentials */
    uint64_t crowd_next_ms; /* crowd.c */
    uint64_t crowd_full_ms; /* since when no call object is left; 0: there is one */
    uint64_t reached_ns;    /* batches that ended before, as good as all, have been seen to */
    uint32_t posted[QD_METHODS_MAX];
    unsigned lane_count;
    struct qd_lane lanes[QD_LANES];
    _Atomic uint64_t calls, stream_messages;
};

/* Calls that wait for one of some threads. */
struct qd_booking_queue {
    pthread_cond_t ready;
    struct qd_call *first;
    struct qd_call **last;
    uint32_t waiting;
};

struct qd_booking_thread {
    struct qd_rpc *rpc;
    struct qd_booking_queue *queue; /* that it takes calls from */
    pthread_t thread;
    bool started;
    struct qd_place place;
};

/* An address, and what is served there. All share the completion queues: a call comes with the
 * index of its method, and that is of one listener. */
struct qd_listener {
    grpc_server *server;
    int port; /* 0: not bound */
};

struct qd_rpc {
    struct qd_node *node;
    struct qd_rpc_config config;
    struct qd_listener listeners[QD_LISTENERS_MAX];
    uint32_t listener_count;
    struct qd_accept *accept;
    struct qd_tls *tls; /* NULL: plaintext */
    grpc_completion_queue *shutdown_cq;
    struct qd_rpc_thread *threads;
    const struct qd_method *methods[QD_METHODS_MAX];
    grpc_server *servers[QD_METHODS_MAX]; /* that serves it */
    void *registered[QD_METHODS_MAX];
    enum qd_measured measured[QD_METHODS_MAX];
    uint32_t method_count;
    _Atomic(struct qd_rls_set *) rls; /* NULL: no rate limits are configured */
    struct qd_str tenant_domain;      /* of descriptors that name a tenant; empty: there is none */
    _Atomic uint64_t usages;          /* that these have told of, since the start */
    _Atomic(struct qd_credentials *) credentials; /* NULL: nobody is asked */
    _Atomic bool stopping;
    _Atomic bool serving;

    pthread_mutex_t booking_lock;
    struct qd_booking_queue bookings;
    struct qd_booking_queue queries;
    bool booking_stop;
    struct qd_booking_thread *booking; /* those of bookings, and behind them those of queries */
    uint32_t booking_count;
    _Atomic uint64_t booking_refused;

    pthread_mutex_t watch_lock;
    struct qd_call *watchers;
    pthread_cond_t watch_left; /* one has; on the monotonic clock */
    bool watch_ending;
};

/* events.c */
void *qd_events_main(void *argument);
/* Ask for one more call of a method, if there is a call object for it. */
void qd_events_post(struct qd_rpc_thread *thread, uint32_t index);
static inline bool qd_method_has_payload(const struct qd_method *method)
{
    return method->kind != QD_METHOD_STREAM && method->kind != QD_METHOD_UNKNOWN;
}
/* X2: room for one more call that lasts, or *ret_error says that there is none. */
enum qd_error_code qd_events_stream_room(const struct qd_call *call, struct qd_error *ret_error);
/* The message's bytes in one piece; *ret_slice must be unreferenced after use. */
struct qd_str qd_message_bytes(grpc_byte_buffer *buffer, grpc_slice *ret_slice);
/* X2: the message is whole and not too large, or *ret_error says so. */
enum qd_error_code qd_message_check(const struct qd_call *call, struct qd_str bytes,
                                    struct qd_error *ret_error);
/* X1: who calls, and may that one? Names the caller, or *ret_error says why not. On the call's
 * completion-queue thread. */
enum qd_error_code qd_call_admit(struct qd_call *call, struct qd_error *ret_error);
/* The same by this set, which must stay for the duration; on any thread, while the call lives. */
enum qd_error_code qd_call_admit_by(const struct qd_credentials *credentials,
                                    const struct qd_call *call, struct qd_caller *ret_caller,
                                    struct qd_error *ret_error);
/* Run the call's handler on its message and start the reply. */
void qd_call_handle(struct qd_place *place, struct qd_call *call);

/* lanes.c */
/* Begin a CHECK call's check; it is decided by the next flush. A lane must be free. */
void qd_lanes_take(struct qd_rpc_thread *thread, struct qd_call *call);
/* Decide and answer what is in the lanes, in the order in which it came. */
void qd_lanes_flush(struct qd_rpc_thread *thread);

/* crowd.c */
#define QD_CROWD_LOOK_MS    25
#define QD_CROWD_STALLED_MS 1000 /* an answer on its way: nobody takes it */
#define QD_CROWD_LASTING_MS 2000 /* without a call object: what is stalled shows by then */
/* X3: calls are taken faster than they end, or not at all: see who has them, if it is time. */
void qd_crowd_look(struct qd_rpc_thread *thread);
static inline bool qd_crowd_is(const struct qd_rpc_thread *thread)
{
    return thread->in_hand > thread->rpc->config.streams_max;
}
/* The end of a batch that was started then has come out of the completion queue. Events come in
 * their order: an answer that is not heard of though it went out long before has not ended, however
 * far behind this thread may be. */
static inline void qd_crowd_reach(struct qd_rpc_thread *thread, uint64_t ns)
{
    if (thread->reached_ns < ns) {
        thread->reached_ns = ns;
    }
}
/* Nothing but this call's way out is left of the batch that is about to start. */
static inline void qd_call_sends(struct qd_call *call, uint64_t now_ns)
{
    /* Relaxed: crowd.c judges by many calls; one that it sees too late counts at its next look. */
    atomic_store_explicit(&call->sending_ns, now_ns, memory_order_relaxed);
}
static inline uint64_t qd_call_now_ns(const struct qd_call *call)
{
    return qd_clock_mono(&call->thread->place.node->clock).ns;
}

/* reply.c */
void qd_call_start(struct qd_call *call, const grpc_op *ops, size_t count, enum qd_event_tag tag);
void qd_call_stream_status(struct qd_call *call, enum qd_error_code code,
                           const struct qd_error *error);
/* The status of a stream that has sent nothing yet. */
void qd_call_stream_refuse(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                           const struct qd_error *error);
void qd_call_clear_message(struct qd_call *call);

/* measure.c */
/* Which latency the calls of this path count in. */
enum qd_measured qd_measured_of(const char *path);
/* A call, or a stream's message, is answered: what has passed since call->begun. Returns the time
 * that it is, on the monotonic clock. */
uint64_t qd_measure_reply(struct qd_place *place, const struct qd_call *call,
                          enum qd_error_code code);

/* booking.c */
void qd_booking_queue_init(struct qd_booking_queue *queue);
void qd_booking_hand_over(struct qd_rpc_thread *thread, struct qd_call *call);
void *qd_booking_main(void *argument);
/* Ends when the queue is empty; joins the threads. */
void qd_booking_stop(struct qd_rpc *rpc);

/* watch.c */
/* Begin a call's stream, or refuse it. */
void qd_watch_begin(struct qd_place *place, struct qd_call *call);
/* A batch of its messages has ended. */
void qd_watch_sent(struct qd_rpc *rpc, struct qd_call *call);
/* The call has closed: nothing is begun for it any more. */
void qd_watch_close(struct qd_rpc *rpc, struct qd_call *call);
/* X1: credentials have been replaced by these, which must stay for the duration: watches that would
 * not be let in any more end, one whose message is under way behind it. */
void qd_watch_admit_all(struct qd_rpc *rpc, const struct qd_credentials *credentials);
/* Tell all watchers what they have not heard yet and end them; what is left after `wait_ms`, at
 * most a second, is cancelled. */
void qd_watch_end_all(struct qd_rpc *rpc, uint32_t wait_ms);

/* I8: does an error say when to come back? */
static inline bool qd_retry_hinted(enum qd_error_code code)
{
    return code == QD_ERROR_OVERLOADED || code == QD_ERROR_REPORTS_QUEUE_FULL ||
           code == QD_ERROR_STORE_ERROR;
}

/* Reports that find their queue full. */
enum qd_error_code qd_reports_queue_full(const struct qd_rpc *rpc, struct qd_error *ret_error);

#endif /* QD_RPC_SERVER_INTERNAL_H */
