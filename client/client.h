/* The inside of libquota: what its files share.
 *
 * Layer:    client. Not installed. Names begin with lq_.
 * Units:    monotonic ns, unless a name says otherwise.
 * Threads:  `lock` guards all that is said to be guarded. The client's thread drains the completion
 *           queue and fires timers, and is the only one that ends calls: no callback ever runs
 * under the lock, and none runs twice. Memory:   a call is made by its start, owned by the client,
 * and freed by the client's thread when it has ended.
 *
 * The life of a call:
 *   lq_call_new -> lq_call_launch -> try (unary) or item (of a stream)
 *     -> lq_call_ended: waits in the timer heap for the next try, or lq_call_deliver -> freed
 */
#ifndef QD_CLIENT_CLIENT_H
#define QD_CLIENT_CLIENT_H

#include "client/arena.h"
#include "client/quota.h"
#include "client/secure.h"
#include "client/timer.h"

#include <grpc/grpc.h>
#include <pthread.h>

#define LQ_NS_PER_MS       INT64_C(1000000)
#define LQ_TTL_DEFAULT_MS  INT64_C(300000)
#define LQ_REPLY_BYTES_MAX (16 << 20)
#define LQ_RENEW_BUCKETS   1024U
#define LQ_ITEM_BUCKETS    256U
#define LQ_BATCH_MAX       256U
#define LQ_BATCH_DEFAULT   64U
#define LQ_ABANDONED       64U
/* While streams are open, timers that another thread set are looked at this often. */
#define LQ_STREAM_TICK_NS (200 * LQ_NS_PER_MS)

/* What the completion queue carries as a tag. Embedded first in its owner. */
struct lq_event {
    void (*run)(struct lq_event *event, bool ok);
};

enum lq_kind {
    LQ_CHECK,
    LQ_REPORT,
    LQ_EXTEND,
    LQ_CANCEL,
    LQ_INVOKE
};

/* How a try ended. `reply` is borrowed. */
struct lq_result {
    enum quota_status status;
    bool refused;     /* the server itself said no, and why: nothing was done */
    int64_t pause_ns; /* before the next try, as the server asks; -1: it does not say */
    const uint8_t *reply;
    size_t reply_size;
    char reason[48];
    char message[976];
};

/* A thread that waits for a call of the blocking form. On its stack. */
struct lq_waiter {
    pthread_cond_t cond;
    bool done;
    void *answer; /* the caller's struct of the call's kind */
};

struct lq_call {
    struct lq_event event; /* must be first */
    struct lq_timer timer; /* the next try, or an item's timeout */
    struct quota_client *client;
    struct lq_call *next; /* all open calls; guarded */
    struct lq_call **link;

    enum lq_kind kind;
    bool repeatable; /* the server knows a repeat for what it is */
    bool counted;    /* of the callback form: counts towards in_flight_max */
    bool waits;      /* in the timer heap for its next try; guarded */
    bool renew;      /* an allowed check's hold is to be renewed */
    uint32_t tries;
    uint32_t tries_max;
    enum quota_failure_mode failure_mode;
    int64_t deadline;
    int64_t timeout;
    int64_t try_timeout;
    grpc_slice method;
    grpc_slice request;
    char *traceparent;
    char *tenant;      /* of a check: for renewing */
    char *request_id;  /* of a check, as sent */
    char *reservation; /* of a report, extension or cancellation, where it is needed later */
    bool settles;      /* launching it ends the renewal of `reservation` */
    int64_t ttl_ms;
    quota_stop_callback on_stop;
    void *on_stop_context;

    struct lq_waiter *waiter; /* the blocking form; else the callback of the kind */
    union {
        quota_check_callback check;
        quota_report_callback report;
        quota_extend_callback extend;
        quota_cancel_callback cancel;
        quota_invoke_callback invoke;
    } callback;
    void *context;

    /* One try. */
    grpc_call *rpc; /* guarded */
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *reply;
    grpc_status_code code;
    grpc_slice details;
    grpc_metadata metadata[2]; /* token, traceparent */

    /* One item of a stream; guarded. */
    struct quota_stream *stream;
    uint64_t item;
    bool sent;
    struct lq_call *item_next;
};

/* A hold that is being renewed. Guarded. */
struct lq_renewal {
    struct lq_timer timer;
    struct quota_client *client;
    struct lq_renewal *next; /* of its bucket */
    char *token;
    char *id;
    char *tenant;
    int64_t ttl_ms;
    int64_t until; /* give up then */
    quota_stop_callback on_stop;
    void *on_stop_context;
    bool told;    /* on_stop was called */
    bool busy;    /* an extension is on its way */
    bool removed; /* out of the table; freed when the extension is back */
};

struct quota_client {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a call ended, or a stream did */
    pthread_t thread;
    char *address;
    char *source;
    struct quota_config config; /* defaults filled in; its pointers are not kept */
    grpc_channel *channel;
    grpc_completion_queue *queue;
    struct lq_secure secure;

    /* Guarded. */
    bool closing;
    struct lq_timers timers;
    size_t timer_owners; /* calls and renewals: each sets at most one timer */
    struct lq_call *calls;
    size_t open;         /* calls in `calls` */
    size_t open_counted; /* of them, those of the callback form */
    size_t streams;
    uint64_t random;
    uint64_t id_prefix;
    uint64_t id_count;
    struct lq_renewal *renewals[LQ_RENEW_BUCKETS];
    size_t renewal_count;
    struct quota_stats stats;
};

/* One of a stream's operations on the completion queue. */
struct lq_op {
    struct lq_event event; /* must be first */
    struct quota_stream *stream;
};

struct quota_stream {
    struct quota_client *client;
    uint32_t batch_max;

    /* All guarded. */
    grpc_call *rpc;       /* NULL: not open */
    bool over;            /* the status is in: only operations are to come back */
    unsigned outstanding; /* operations that are not back */
    struct lq_op opened, sent_batch, received, finished, half_closing;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *reply;
    grpc_status_code code;
    grpc_slice details;

    struct lq_call *pending; /* not sent yet, oldest first */
    struct lq_call **pending_end;
    size_t pending_count;
    struct lq_call *sent[LQ_ITEM_BUCKETS];
    size_t sent_count;
    size_t ending_items; /* taken out, their calls not ended yet */
    uint64_t last_item;
    bool sending;
    bool held;
    bool ending; /* quota_stream_free */
    bool half_closed;
    uint64_t abandoned[LQ_ABANDONED]; /* checks that timed out for good: a late hold goes back */
    size_t abandoned_next;
};

/* ---- client.c */

int64_t lq_now(void);
gpr_timespec lq_deadline(int64_t at_ns);
/* 64 random bits. Lock held. */
uint64_t lq_random(struct quota_client *client);
/* True on the client's own thread, where waiting would wait for ever. */
bool lq_on_own_thread(struct quota_client *client);

/* ---- status.c */

void lq_error_set(struct quota_error *error, enum quota_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum quota_status lq_status_from_grpc(int code);
/* Why the server itself refused (its quotad-reason; "": it did not say). */
void lq_result_reason(struct lq_result *result, int code, const char *reason);

/* ---- call.c */

/* A call that carries `request` (taken over, also on failure). NULL: out of memory. */
struct lq_call *lq_call_new(struct quota_client *client, enum lq_kind kind, const char *method,
                            grpc_slice request, const struct quota_call *options);
void lq_call_free(struct lq_call *call);
/* Send it. On failure (BUSY, CANCELLED, NO_MEMORY) nothing was sent and the caller frees it. */
enum quota_status lq_call_launch(struct lq_call *call, struct quota_stream *stream);
/* A try or an item ended. On the client's thread, without the lock; the call may be gone after. */
void lq_call_ended(struct lq_call *call, const struct lq_result *result);
/* The timer says: try again. Lock held on entry, released. */
void lq_call_retry(struct lq_timer *timer);
/* May another try follow one that ended so? Lock held. */
bool lq_call_may_repeat(const struct lq_call *call, const struct lq_result *result);
/* "no answer from ... within ... ms" */
void lq_call_timed_out(const struct lq_call *call, struct lq_result *ret_result);
/* What a failed call's trailing metadata says: reason, whether refused, when to come back. */
void lq_read_trailing(const grpc_metadata_array *trailing, int code, struct lq_result *result);
/* The sentence of a failure that is no timeout, from the status's details. */
void lq_describe(const struct quota_client *client, const char *details, struct lq_result *result);
/* Fill `ret_text` (of `size` bytes) with a slice. */
void lq_slice_text(grpc_slice slice, char *ret_text, size_t size);
/* Give a hold back, not waiting for the answer. */
void lq_cancel_late(struct quota_client *client, const char *reservation);

/* ---- deliver.c */

/* Hand the result to whoever waits for it. Takes no lock while doing so. */
void lq_call_deliver(struct lq_call *call, const struct lq_result *result);

/* ---- encode.c: from the public structs to bytes */

/* False: out of memory. */
bool lq_encode_check(const struct quota_check *check, const char *request_id, grpc_slice *ret);
bool lq_encode_report(const struct quota_report *report, const char *source, grpc_slice *ret);
bool lq_encode_extend(const struct quota_extend *extend, grpc_slice *ret);
bool lq_encode_cancel(const struct quota_cancel *cancel, grpc_slice *ret);

/* ---- decode.c: from bytes to the public structs. Errors go to answer->error. */

void lq_decode_check(const uint8_t *bytes, size_t size, struct quota_check_answer *answer);
void lq_decode_report(const uint8_t *bytes, size_t size, struct quota_report_answer *answer);
void lq_decode_extend(const uint8_t *bytes, size_t size, struct quota_extend_answer *answer);
void lq_decode_cancel(const uint8_t *bytes, size_t size, struct quota_cancel_answer *answer);
/* An ItemError: fills status, refused, reason and message of `result`. */
void lq_decode_item_error(const uint8_t *bytes, size_t size, struct lq_result *result);

/* ---- renew.c */

/* Renew the hold of an allowed check until it is reported, cancelled or forgotten. */
void lq_renew_add(const struct lq_call *call, const struct quota_check_answer *answer);
/* An extension by the caller succeeded: the next renewal is half a TTL away. */
void lq_renew_touch(struct quota_client *client, const char *reservation);
/* quota_client_forget. Lock held. */
void lq_renew_forget(struct quota_client *client, const char *reservation);
/* Free what is left. No thread runs any more. */
void lq_renew_release(struct quota_client *client);

/* ---- stream.c */

/* Queue an item. Lock held. */
void lq_stream_add(struct quota_stream *stream, struct lq_call *call);

#endif /* QD_CLIENT_CLIENT_H */
