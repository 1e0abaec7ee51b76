/* Calls: what the server and the services share. Internal to rpc.
 *
 * Layer:    rpc
 * Threads:  a call belongs to one thread at a time: the completion-queue thread that got it, or the
 * booking thread that it was handed to, until that one starts a batch. Memory:   pooled per
 * completion-queue thread.
 */
#ifndef QD_RPC_CALL_H
#define QD_RPC_CALL_H

#include "server/rpc/caller.h"
#include "server/rpc/server.h"
#include "server/rpc/wire.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <protobuf-c/protobuf-c.h>

struct qd_call;
struct qd_place;
struct qd_report_batch;
struct qd_rls_work;
struct qd_rls_tenants;

enum qd_method_kind {
    QD_METHOD_INLINE,  /* unary, answered on the completion-queue thread */
    QD_METHOD_CHECK,   /* as INLINE; a few that are at hand are decided together, see lanes.c */
    QD_METHOD_BOOKING, /* unary, waits for the disk: on a booking thread */
    QD_METHOD_REPORT,  /* as BOOKING; those that wait are booked together, see booking.c */
    QD_METHOD_STREAM,  /* each message is answered by one message */
    QD_METHOD_WATCH, /* server streaming: messages come when there is something to tell, watch.c */
    QD_METHOD_UNKNOWN, /* whatever nobody serves */
};

/* A handler reads `bytes`, and writes its answer to `place->out` or fails with *ret_error. A
 * watch's sets call->watch up, and writes nothing. An INLINE one that finds something to book sets
 * call->tenants, and writes nothing. */
typedef enum qd_error_code (*qd_handler)(struct qd_place *place, struct qd_call *call,
                                         struct qd_str bytes, struct qd_error *ret_error);

struct qd_method {
    const char *path;
    enum qd_method_kind kind;
    uint32_t posted; /* calls that wait for work, per thread */
    qd_handler handle;
    /* STREAM: does this message wait for the disk? NULL: never. */
    bool (*needs_booking)(struct qd_str bytes);
    /* X1: whom it is for: bits of qd_role, or QD_ROLES_OPEN; and what if it is bound. */
    uint32_t roles;
    enum qd_bound bound;
};

/* All services' methods, in one table for each service; ended by path NULL. */
extern const struct qd_method qd_quota_methods[];
extern const struct qd_method qd_usage_methods[];
extern const struct qd_method qd_admin_methods[];
extern const struct qd_method qd_health_methods[];
extern const struct qd_method qd_reflection_methods[];
extern const struct qd_method qd_rls_methods[];

#define QD_SCRATCH_BYTES ((size_t)6 << 20)
#define QD_OUT_BYTES     ((size_t)4 << 20)

/* Bump memory for one message; protobuf-c's allocator is on top of it. */
struct qd_scratch {
    uint8_t *memory;
    size_t size;
    size_t used;
};
void *qd_scratch_take(struct qd_scratch *arena, size_t size); /* NULL: full; zeroed */
char *qd_scratch_text(struct qd_scratch *arena,
                      struct qd_str text); /* NUL-terminated copy; "" when full */

/* Where a handler works: one for each thread. */
struct qd_place {
    struct qd_rpc *rpc;
    struct qd_node *node;
    struct qd_worker *worker;
    struct qd_scratch arena;
    ProtobufCAllocator allocator;
    struct qd_out out;
    uint8_t *out_memory;
    struct qd_check_args check_args;
    struct qd_check_answer check_answer;
    struct qd_report_batch *reports; /* booking threads only, else NULL */
    struct qd_extend_args extend_args;
    struct qd_extend_answer extend_answer;
    struct qd_rls_work *rls;
};
bool qd_place_init(struct qd_place *place, struct qd_rpc *rpc);
void qd_place_release(struct qd_place *place);
/* What fails is counted by its reason, a stream's item as well as a call; X2: what is refused as
 * invalid once more. */
static inline void qd_place_count_refusal(struct qd_place *place, enum qd_error_code code)
{
    qd_count(&place->worker->figures.errors[code]);
    if (qd_error_status(code) == QD_STATUS_INVALID_ARGUMENT) {
        qd_count(&place->worker->figures.bad_requests);
    }
}
/* Before each message. */
void qd_place_clear(struct qd_place *place);

/* Unpack from bytes; NULL with *ret_error: malformed, or too many items. */
void *qd_place_unpack(struct qd_place *place, const ProtobufCMessageDescriptor *descriptor,
                      struct qd_str bytes, struct qd_error *ret_error);

/* Who the call's caller is in audit records (X6); in the place's arena. */
struct qd_str qd_place_actor(struct qd_place *place, const struct qd_call *call);

/* An event's tag: which call, and which of its batches. */
enum qd_event_tag {
    QD_TAG_REQUEST,
    QD_TAG_REPLY,
    QD_TAG_READ,
    QD_TAG_CLOSE,
    QD_TAG_STATUS,
    QD_TAG_COUNT
};
struct qd_tag {
    struct qd_call *call;
    enum qd_event_tag kind;
};

struct qd_rpc_thread;
struct qd_watch;

/* A watch: what it tells, and what its telling needs. `next` writes the next message to `out`;
 * false: there is none now. Under the watch lock. */
struct qd_watching {
    bool (*next)(struct qd_rpc *rpc, struct qd_call *call, struct qd_out *out);
    struct qd_call *link; /* in the list of watchers */
    bool listed;          /* from its start to its close */
    bool begun;           /* its initial metadata is sent */
    bool readmit; /* credentials have changed while a batch was under way: ask again behind it */
    /* Health. */
    bool dirty;   /* there is news */
    bool unknown; /* asks after a service that is not served */
    /* WatchEvents. */
    struct qd_watch *events;
};

struct qd_call {
    struct qd_rpc_thread *thread;
    const struct qd_method *method;
    struct qd_caller caller; /* of the message under way */
    uint32_t method_index;
    struct qd_mono_ns begun; /* its event, or a stream's last message; what is measured begins */
    struct qd_call *next;    /* in a pool, or in the booking queue */
    struct qd_tag tags[QD_TAG_COUNT];
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details asked; /* UNKNOWN only */
    grpc_byte_buffer *received;
    grpc_byte_buffer *sent;
    grpc_slice details; /* of the status; owned */
    bool has_details;
    grpc_metadata trailing[2];
    int cancelled;
    bool in_hand;        /* begun, and not ended */
    bool has_from;       /* the guard asked: */
    uint8_t from[16];    /* the address that it came from, as qd_address_of writes it */
    _Atomic bool booked; /* it waits for the disk: the booking threads have it */
    /* Since when nothing but the way of what we say is left of the batch under way; 0: there is
     * more to it, or none. Written by whoever starts the batch, read by crowd.c. */
    _Atomic uint64_t sending_ns;
    /* Holds made by the answer under way: given back if it cannot be delivered (S1). */
    uint64_t number;   /* unary */
    uint64_t *numbers; /* stream: QD_BATCH_MAX, in the call's arena */
    size_t number_count;
    struct qd_rls_tenants *tenants; /* rls_tenant.c: it was decided, and is to be booked; or NULL */
    /* Streams. */
    bool reading, closed, finished;
    bool half_closed; /* the other side's; a watch: our side's, its status is under way */
    struct qd_watching watch;
};

/* Start a booking thread's or completion queue's reply. */
void qd_call_reply(struct qd_place *place, struct qd_call *call, enum qd_error_code code,
                   const struct qd_error *error);

/* UsageService/WatchEvents, in watch_events.c. */
enum qd_error_code qd_usage_watch_events(struct qd_place *place, struct qd_call *call,
                                         struct qd_str bytes, struct qd_error *ret_error);

/* From any thread: there may be something for this watch to tell. */
void qd_call_wake(struct qd_rpc *rpc, struct qd_call *call);
/* When its call has closed, outside of the watch lock. NULL is fine. */
void qd_event_watch_end(struct qd_rpc *rpc, struct qd_watch *events);
bool qd_rpc_serving(const struct qd_rpc *rpc);
bool qd_rpc_has_rls(const struct qd_rpc *rpc); /* rate limits are configured */
struct qd_node *qd_rpc_node(const struct qd_rpc *rpc);
const struct qd_rpc_hooks *qd_rpc_hooks_of(const struct qd_rpc *rpc);
uint32_t qd_rpc_methods(const struct qd_method *const **ret_methods);

/* "quota.v1.QuotaService" of "/quota.v1.QuotaService/CheckQuota" for the services that exist. */
bool qd_rpc_has_service(struct qd_str name);

#endif /* QD_RPC_CALL_H */
