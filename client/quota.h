/* libquota: ask quotad whether a request may run, and tell it what the request used.
 *
 * Layer:    client. Needs libgrpc and libprotobuf-c when linked; nothing of theirs shows here.
 * Units:    amounts in each meter's own (tokens, ms, pieces; money in nano-USD). Times named
 *           `_unix_ns` are nanoseconds since 1970-01-01T00:00:00Z; durations are `_ms` or `_ns`, as
 *           the name says.
 * Threads:  one client serves any number of threads. It has one thread of its own, on which every
 *           callback runs; a callback must not block: it may start calls, not make blocking ones.
 * Memory:   what you pass in is copied before the function returns. What a blocking call fills in
 *           is yours until you release it; what a callback is given ends with the callback.
 *
 * Every struct that you fill in means "default" where it is zero, so name only what you need:
 *
 *     #include <quota/quota.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         struct quota_client *client;
 *         struct quota_error error;
 *         if (quota_client_new(&(struct quota_config){.address = "127.0.0.1:7070"}, &error,
 *                              &client) != QUOTA_OK) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         struct quota_amount estimate[] = {{"input_tokens", 1200}};
 *         struct quota_check check = {
 *             .tenant = "acme/search", .model = "llama-70b",
 *             .estimate = estimate, .estimate_count = 1,
 *             .max_output_tokens = 400, .max_output_tokens_given = true};
 *         struct quota_check_answer answer;
 *         if (quota_client_check(client, &check, NULL, &answer) == QUOTA_OK &&
 *             answer.verdict == QUOTA_ALLOWED) {
 *             // ... run the request; the hold is renewed meanwhile ...
 *             struct quota_amount used[] = {{"input_tokens", 1200}, {"output_tokens", 233}};
 *             struct quota_report report = {
 *                 .reservation = answer.reservation.token, .usage = used, .usage_count = 2};
 *             struct quota_report_answer booked;
 *             if (quota_client_report(client, &report, NULL, &booked) != QUOTA_OK) {
 *                 fprintf(stderr, "not booked: %s\n", booked.error.message);
 *             }
 *             quota_report_answer_release(&booked);
 *         } else {
 *             fprintf(stderr, "%s%s\n", answer.message, answer.error.message);
 *         }
 *         quota_check_answer_release(&answer);
 *         quota_client_free(client);
 *         return 0;
 *     }
 *
 *     cc example.c -lquota -lgrpc -lgpr -lprotobuf-c
 *
 * How calls fail. The server's "no" is not a failure: the call returns QUOTA_OK and the verdict is
 * QUOTA_DENIED. Everything else has a status below and a sentence in `error.message`. What can
 * safely be sent again is sent again by the library, with the same idempotency key and jittered
 * pauses:
 *   - reports, extensions and cancellations: always (the server knows repeats);
 *   - checks: under the request_id that you give or that the library makes up. A check with
 *     `no_reservation` only when the server itself refused to take it;
 *   - quota_client_invoke: only as often as you say.
 * Tries end with the call's timeout. A check that still has no answer then gives a verdict by its
 * failure mode.
 *
 * Where a gateway cannot know whether a report arrived, it sends it again under the same
 * (tenant, source, request_id or reservation, attempt, sequence); it is booked once.
 */
#ifndef QUOTA_H
#define QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- how calls end ------------------------------------------------------------------------ */

/* X(name, what it says). The order is part of the interface: new ones come last. */
#define QUOTA_STATUS_LIST(X)                                                  \
    X(OK, "ok")                                                               \
    X(INVALID, "the request is wrong: repeating it will not help")            \
    X(NOT_FOUND, "no such reservation, tenant, plan or limit")                \
    X(CONFLICT, "the same key was used with other content: nothing was done") \
    X(PRECONDITION, "not in the present state")                               \
    X(REFUSED, "not permitted")                                               \
    X(UNAVAILABLE, "the server cannot be reached, or takes nothing now")      \
    X(TIMEOUT, "no answer in time")                                           \
    X(BUSY, "too many calls are open: wait, or raise in_flight_max")          \
    X(CANCELLED, "the client was closed")                                     \
    X(NO_MEMORY, "out of memory")                                             \
    X(UNSUPPORTED, "the server does not know this call")                      \
    X(INTERNAL, "something else; see the message")

enum quota_status {
#define QUOTA_STATUS_ENUM(name, text) QUOTA_##name,
    QUOTA_STATUS_LIST(QUOTA_STATUS_ENUM)
#undef QUOTA_STATUS_ENUM
};

/* "UNAVAILABLE" and the like. Never NULL. */
const char *quota_status_name(enum quota_status status);

struct quota_error {
    enum quota_status status;
    char reason[48];   /* machine-readable, from the server: "UNKNOWN_METER"; "" if it gave none */
    char message[976]; /* a sentence: what, where, what is accepted; "" when OK */
};

#if defined(__GNUC__)
#define QUOTA_MUST_CHECK __attribute__((warn_unused_result))
#else
#define QUOTA_MUST_CHECK
#endif

/* ---- the client --------------------------------------------------------------------------- */

struct quota_client; /* opaque */
struct quota_stream; /* opaque */

/* What a check answers when the server cannot be reached in time (UNAVAILABLE or TIMEOUT). */
enum quota_failure_mode {
    QUOTA_FAIL_DEFAULT = 0, /* in a call: the client's; in the client: QUOTA_FAIL_CLOSED */
    QUOTA_FAIL_CLOSED,      /* QUOTA_OK, DENIED, reason UNREACHABLE */
    QUOTA_FAIL_OPEN,        /* QUOTA_OK, ALLOWED, reason UNREACHABLE, without a reservation: report
                               it afterwards as post-paid usage, by tenant and request_id */
    QUOTA_FAIL_ERROR,       /* the status itself */
};

struct quota_config {
    const char *address;       /* "host:port", or any gRPC name: "dns:///quotad:7070",
                                  "unix:/run/quotad.sock". NULL: "127.0.0.1:7070".
                                  http_proxy of the environment is not followed */
    const char *source;        /* who reports. NULL: the server's default, "gateway" */
    int64_t check_timeout_ms;  /* a check in all, retries included. 0: 1,000 */
    int64_t report_timeout_ms; /* every other call. 0: 10,000 */
    int64_t backoff_ms;        /* pause before the first retry, then doubled; each is drawn between
                                  half and whole of it. 0: 20 */
    int64_t backoff_max_ms;    /* 0: 1,000 */
    uint32_t tries_max;        /* tries of a call that may be repeated, 1: no retries. 0: 4 */
    enum quota_failure_mode failure_mode;
    bool no_renewal;        /* never renew holds by itself */
    int64_t renew_for_ms;   /* renew a hold for at most so long, should its report never come.
                               0: 3,600,000 (1 h) */
    uint32_t in_flight_max; /* open calls of the callback form; beyond it QUOTA_BUSY. 0: 4,096 */
    uint64_t seed;          /* of the jitter and of made-up request ids. 0: from the system */
    const char *user_agent; /* before "libquota/<version>". NULL: nothing */
    /* Files, read by quota_client_new. The two secret ones are refused if others can read them. */
    const char *tls_ca_file;   /* PEM: authorities that the server is known by. NULL: plaintext */
    const char *tls_cert_file; /* PEM: a certificate to be known by, with its key. NULL: none */
    const char *tls_key_file;
    const char *token_file; /* a bearer token, over TLS or to this machine. NULL: none */
};

/* Make a client. It connects at the first call, and again whenever it must. `config` may be NULL.
 * Returns QUOTA_OK; QUOTA_INVALID (a setting out of range, a file that is wrong); QUOTA_NO_MEMORY;
 * QUOTA_INTERNAL (no thread). On failure *ret_client is untouched; `error` may be NULL. */
QUOTA_MUST_CHECK enum quota_status quota_client_new(const struct quota_config *config,
                                                    struct quota_error *error,
                                                    struct quota_client **ret_client);

/* End the client. Open calls end with QUOTA_CANCELLED and their callbacks run before this returns;
 * renewals stop, and holds that were not reported expire. Free its streams first. Not from a
 * callback. NULL is fine. */
void quota_client_free(struct quota_client *client);

/* Wait until at most `open_max` calls of the callback form are open (0: until all have ended).
 * Returns QUOTA_OK or QUOTA_TIMEOUT. `timeout_ms` < 0 waits for ever. Not from a callback. */
enum quota_status quota_client_wait(struct quota_client *client, size_t open_max,
                                    int64_t timeout_ms);

struct quota_stats {
    uint64_t calls;           /* started */
    uint64_t tries;           /* sent, retries included */
    uint64_t failed;          /* ended with something else than QUOTA_OK */
    uint64_t by_failure_mode; /* checks answered without the server */
    uint64_t renewals;        /* extensions sent by itself */
    uint64_t late_cancels;    /* holds given back because their check had timed out */
    uint64_t open;            /* calls open now */
    uint64_t renewing;        /* holds being renewed now */
};
void quota_client_stats(struct quota_client *client, struct quota_stats *ret_stats);

/* How one call differs from the client's settings. NULL or zeros: not at all. */
struct quota_call {
    int64_t timeout_ms;
    int64_t try_timeout_ms; /* of one try. 0: half of the timeout (all of it with tries_max 1) */
    uint32_t tries_max;
    enum quota_failure_mode failure_mode; /* checks only */
    struct quota_stream *stream;          /* send it over this stream. NULL: a unary call */
    const char *traceparent;              /* W3C trace context to carry; unary calls only */
};

/* ---- shared shapes ------------------------------------------------------------------------ */

struct quota_amount {
    const char *meter; /* "input_tokens", "gpu_ms", ... (proto/quota/v1/types.proto) */
    int64_t amount;    /* 0 to 2^53 in requests. Missing is "not known", 0 is "none" */
};

struct quota_entry {
    const char *key;
    const char *value;
};

enum quota_tier {
    QUOTA_TIER_STANDARD = 0,
    QUOTA_TIER_BATCH,
    QUOTA_TIER_PRIORITY,
    QUOTA_TIER_FLEX
};
enum quota_cache_write {
    QUOTA_CACHE_WRITE_DEFAULT = 0,
    QUOTA_CACHE_WRITE_5M,
    QUOTA_CACHE_WRITE_1H
};

enum quota_algorithm {
    QUOTA_ALGORITHM_UNKNOWN = 0,
    QUOTA_TOKEN_BUCKET,
    QUOTA_LEAKY_BUCKET,
    QUOTA_FIXED_WINDOW,
    QUOTA_SLIDING_WINDOW,
    QUOTA_CALENDAR,
    QUOTA_CONCURRENCY,
    QUOTA_PER_REQUEST,
    QUOTA_PREPAID,
};

/* One limit's counter, as of the answer. Strings are never NULL. */
struct quota_limit {
    const char *name;               /* "free.tokens", "acme/search.cost" */
    const char *tenant;             /* whose counter; "" when all tenants share it */
    const struct quota_entry *keys; /* values of the limit's `per` attributes */
    size_t key_count;
    enum quota_algorithm algorithm;
    const char *meter; /* what is counted */
    const char *unit;  /* of the amounts: "tokens", "nano_usd", "ms", "requests", ... */
    int64_t used;
    int64_t held;     /* by open reservations; 0 for rates, whose `used` has them */
    int64_t estimate; /* what this request asked */
    int64_t limit;
    int64_t resets_at_unix_ns; /* 0: no such time */
    int64_t window_ns;         /* 0: none */
    bool shadow;               /* counts, never denies */
    bool hard;                 /* never overspends */
};

/* ---- checking ----------------------------------------------------------------------------- */

struct quota_candidate {
    const char *model;    /* NULL: the check's */
    const char *pool;     /* NULL: the policy's for the model */
    const char *provider; /* NULL: the label as given */
};

struct quota_reservation {
    const char *token; /* NULL: there is none. Opaque, at most 1024 bytes; any node settles it */
    const char *id;    /* short form for people, "r_7Q" */
    int64_t expires_at_unix_ns;
};

/* Told when a renewal by the library answers "stop": end the output and report. At most once a
 * hold, on the client's thread. `reservation` is its token. */
typedef void (*quota_stop_callback)(void *context, const char *reservation, const char *message);

/* Absent (NULL, 0, false) means what types.proto and quota.proto say of the field of that name. */
struct quota_check {
    const char *tenant; /* required: "acme/search" */
    const char *model;
    const char *pool;
    const char *user;
    const struct quota_entry *labels; /* at most 16 */
    size_t label_count;
    const struct quota_amount *estimate; /* at most 32 meters */
    size_t estimate_count;
    int64_t max_output_tokens; /* counts only with the next field */
    bool max_output_tokens_given;
    const struct quota_candidate *candidates; /* at most 16, in order of preference */
    size_t candidate_count;
    const char *request_id; /* NULL: the library makes one up; see the answer's */
    uint32_t attempt;
    int64_t ttl_ms; /* of the hold: 1,000 to 21,600,000. 0: 300,000 */
    bool dry_run;
    bool no_reservation;
    bool brief;
    bool no_renewal; /* do not renew this hold: the report comes from elsewhere */
    uint32_t priority;
    uint32_t weight;
    enum quota_tier tier;
    enum quota_cache_write cache_write;
    int64_t event_time_unix_ns;  /* 0: the server's clock */
    quota_stop_callback on_stop; /* may be NULL */
    void *on_stop_context;
};

enum quota_verdict {
    QUOTA_VERDICT_NONE = 0,
    QUOTA_ALLOWED,
    QUOTA_DENIED
};

enum quota_reason {
    QUOTA_REASON_NONE = 0,
    QUOTA_REASON_LIMIT,
    QUOTA_REASON_NEVER_FITS,
    QUOTA_REASON_UNKNOWN_TENANT,
    QUOTA_REASON_BLOCKED,
    QUOTA_REASON_UNKNOWN_PRICE,
    QUOTA_REASON_CAPACITY, /* this and the next two are the server's: answer 503, not 429 */
    QUOTA_REASON_DRAINING,
    QUOTA_REASON_UNDECIDED,
    QUOTA_REASON_UNREACHABLE = 1000, /* no server: the failure mode's verdict */
};

/* Strings are never NULL unless said so. Zero, but for `error`, when the call failed. */
struct quota_check_answer {
    struct quota_error error;
    enum quota_verdict verdict;
    enum quota_reason reason;
    const struct quota_limit *limit; /* the binding one. NULL: none applied */
    int64_t retry_after_ns;          /* when denied and retry_useful */
    bool retry_useful;
    /* It depends on others when that becomes true: concurrency, open holds, which may give
     * something back before, other nodes. */
    bool retry_is_hint;
    bool repeated; /* this (request_id, attempt) was checked before: the same reservation */
    const char *message;
    uint32_t candidate; /* index of the one reserved or described */
    struct quota_reservation reservation;
    const struct quota_limit *would_deny; /* shadow limits */
    size_t would_deny_count;
    const struct quota_entry *headers; /* for your own answer: key is the name, in lower case */
    size_t header_count;
    const struct quota_amount *held; /* what is held, by meter */
    size_t held_count;
    uint64_t policy_revision;
    const char *request_id; /* as sent. Use it for post-paid reports after QUOTA_FAIL_OPEN */
    void *memory;           /* the library's */
};

/* Ask, and wait for the answer. `call` may be NULL. `*ret_answer` is filled in whatever comes back
 * and must be released. Returns its error.status. */
QUOTA_MUST_CHECK enum quota_status quota_client_check(struct quota_client *client,
                                                      const struct quota_check *check,
                                                      const struct quota_call *call,
                                                      struct quota_check_answer *ret_answer);
void quota_check_answer_release(struct quota_check_answer *answer);

/* Called once, on the client's thread. `answer->error.status` says how it ended. */
typedef void (*quota_check_callback)(void *context, const struct quota_check_answer *answer);

/* The same without waiting. Returns QUOTA_OK: `callback` will be called. QUOTA_INVALID, QUOTA_BUSY,
 * QUOTA_NO_MEMORY, QUOTA_CANCELLED: nothing was sent and it will not be. */
QUOTA_MUST_CHECK enum quota_status quota_client_check_start(struct quota_client *client,
                                                            const struct quota_check *check,
                                                            const struct quota_call *call,
                                                            quota_check_callback callback,
                                                            void *context);

/* Stop renewing a hold without reporting: somebody else settles it. Unknown tokens are fine. */
void quota_client_forget(struct quota_client *client, const char *reservation);

/* ---- reporting ---------------------------------------------------------------------------- */

enum quota_outcome {
    QUOTA_OUTCOME_DEFAULT = 0, /* QUOTA_OUTCOME_OK */
    QUOTA_OUTCOME_OK,
    QUOTA_OUTCOME_NOT_DISPATCHED, /* gives everything back; no usage then */
    QUOTA_OUTCOME_FAILED,
    QUOTA_OUTCOME_DISCONNECTED,
};

struct quota_report {
    const char *reservation; /* token (or short id, "r_7Q", on its node). NULL: post-paid */
    const char *tenant;      /* required for post-paid */
    const char *model;       /* NULL, here and below: as reserved */
    const char *pool;
    const char *user;
    const struct quota_entry *labels;
    size_t label_count;
    const char *source;     /* NULL: the client's */
    const char *request_id; /* required for post-paid */
    uint32_t attempt;
    uint32_t sequence; /* another number for each part of one source */
    bool partial;      /* more parts follow; the hold stays and is renewed */
    enum quota_outcome outcome;
    const struct quota_amount *usage; /* what this part adds; at most 32 meters */
    size_t usage_count;
    enum quota_tier tier;
    enum quota_cache_write cache_write;
    int64_t event_time_unix_ns; /* 0: the check's, else the server's clock */
};

enum quota_settlement {
    QUOTA_SETTLEMENT_UNKNOWN = 0,
    QUOTA_SETTLEMENT_NONE,    /* post-paid */
    QUOTA_SETTLEMENT_PARTIAL, /* still open */
    QUOTA_SETTLEMENT_CLOSED,
    QUOTA_SETTLEMENT_LATE, /* it had been closed or had expired; booked all the same */
};

struct quota_report_answer {
    struct quota_error error;
    bool duplicate; /* booked before: this is the first answer again */
    bool unpriced;  /* booked, but not priced yet. Never means $0 */
    enum quota_settlement settlement;
    uint64_t entry_sequence; /* of the ledger entry on `node` */
    const char *node;
    int64_t cost_nano_usd; /* rounded up; 0 when unpriced */
    int64_t charge_nano_usd;
    const char *cost_pico_usd; /* exact integer, in decimal; "" when unpriced */
    const char *charge_pico_usd;
    const char *const *unpriced_meters;
    size_t unpriced_meter_count;
    const struct quota_amount *released; /* held and not used */
    size_t released_count;
    const struct quota_amount *overrun; /* used beyond what was held */
    size_t overrun_count;
    uint32_t limits_over; /* limits that are above their amount now */
    uint64_t policy_revision;
    void *memory;
};

/* Book what was used; QUOTA_OK means it is on the server's disk. A final report ends the renewal of
 * its hold. After QUOTA_UNAVAILABLE or QUOTA_TIMEOUT it may be booked or not: send it again. */
QUOTA_MUST_CHECK enum quota_status quota_client_report(struct quota_client *client,
                                                       const struct quota_report *report,
                                                       const struct quota_call *call,
                                                       struct quota_report_answer *ret_answer);
void quota_report_answer_release(struct quota_report_answer *answer);

typedef void (*quota_report_callback)(void *context, const struct quota_report_answer *answer);
QUOTA_MUST_CHECK enum quota_status quota_client_report_start(struct quota_client *client,
                                                             const struct quota_report *report,
                                                             const struct quota_call *call,
                                                             quota_report_callback callback,
                                                             void *context);

/* ---- extending, cancelling ---------------------------------------------------------------- */

struct quota_extend {
    const char *reservation;                /* required */
    const char *tenant;                     /* NULL, or the reservation's */
    const struct quota_amount *used_so_far; /* totals since the check, not differences */
    size_t used_so_far_count;
    int64_t ttl_ms; /* 0: the check's */
};

struct quota_extend_answer {
    struct quota_error error;
    bool stop; /* end the output now, and report */
    enum quota_reason reason;
    const struct quota_limit *limit; /* that says stop; else NULL */
    const char *message;
    int64_t expires_at_unix_ns;
    void *memory;
};

/* Renew a hold and tell what was used so far. */
QUOTA_MUST_CHECK enum quota_status quota_client_extend(struct quota_client *client,
                                                       const struct quota_extend *extend,
                                                       const struct quota_call *call,
                                                       struct quota_extend_answer *ret_answer);
void quota_extend_answer_release(struct quota_extend_answer *answer);

typedef void (*quota_extend_callback)(void *context, const struct quota_extend_answer *answer);
QUOTA_MUST_CHECK enum quota_status quota_client_extend_start(struct quota_client *client,
                                                             const struct quota_extend *extend,
                                                             const struct quota_call *call,
                                                             quota_extend_callback callback,
                                                             void *context);

struct quota_cancel {
    const char *reservation; /* required */
    const char *tenant;      /* NULL, or the reservation's */
};

struct quota_cancel_answer {
    struct quota_error error;
    bool cancelled; /* this call gave it back; false: it was settled or gone before, or never known
                     */
};

/* Give a hold back in full: the request was never sent. Nothing to release. */
QUOTA_MUST_CHECK enum quota_status quota_client_cancel(struct quota_client *client,
                                                       const struct quota_cancel *cancel,
                                                       const struct quota_call *call,
                                                       struct quota_cancel_answer *ret_answer);

typedef void (*quota_cancel_callback)(void *context, const struct quota_cancel_answer *answer);
QUOTA_MUST_CHECK enum quota_status quota_client_cancel_start(struct quota_client *client,
                                                             const struct quota_cancel *cancel,
                                                             const struct quota_call *call,
                                                             quota_cancel_callback callback,
                                                             void *context);

/* ---- streaming ---------------------------------------------------------------------------- */

/* Many calls over one stream, in batches: what is started while a batch is on its way goes out
 * together in the next. For gateways at high rates; name it in `struct quota_call`. When the stream
 * breaks, calls without an answer go on as unary ones by the rules of retries, and the next call
 * opens the stream anew. A timeout on a stream is kept to within 200 ms.
 * `batch_max`: items of one batch, 1 to 256; 0: 64. */
QUOTA_MUST_CHECK enum quota_status quota_stream_new(struct quota_client *client, uint32_t batch_max,
                                                    struct quota_stream **ret_stream);

/* Keep calls back until quota_stream_flush, so that they leave in full batches. */
void quota_stream_hold(struct quota_stream *stream);
void quota_stream_flush(struct quota_stream *stream);

/* Send what is held back, say that no more comes, wait for the answers (each at most its timeout),
 * end. Not from a callback. NULL is fine. */
void quota_stream_free(struct quota_stream *stream);

/* ---- any other call ----------------------------------------------------------------------- */

/* A unary call of a service that this header does not wrap, e.g.
 * "/quota.v1.AdminService/GetStatus", with encoded protobuf messages on both sides. It is repeated
 * only if call->tries_max says so (0 means 1 here): say so when it changes nothing. */
struct quota_bytes {
    struct quota_error error;
    const uint8_t *data; /* NULL when empty */
    size_t size;
    void *memory;
};
QUOTA_MUST_CHECK enum quota_status quota_client_invoke(struct quota_client *client,
                                                       const char *method, const void *request,
                                                       size_t request_size,
                                                       const struct quota_call *call,
                                                       struct quota_bytes *ret_reply);
void quota_bytes_release(struct quota_bytes *bytes);

/* The reply is the callback's, to release when it is done with it. */
typedef void (*quota_invoke_callback)(void *context, struct quota_bytes reply);
QUOTA_MUST_CHECK enum quota_status quota_client_invoke_start(
    struct quota_client *client, const char *method, const void *request, size_t request_size,
    const struct quota_call *call, quota_invoke_callback callback, void *context);

/* ---- a stream of messages ----------------------------------------------------------------- */

/* A call of a service that answers with many messages, e.g. "/quota.v1.UsageService/WatchEvents".
 * Use it from one thread at a time; free it before its client. Nothing is repeated by itself: a
 * server ends a connection after some time, then follow again. */
struct quota_follow; /* opaque */

/* Returns when the server has taken the call: what happens from then on is heard. `timeout_ms` is
 * for that alone; 0: the client's report_timeout_ms. On failure `error` says why and *ret_follow is
 * untouched. What the server refuses may also be told by the first quota_follow_next. */
QUOTA_MUST_CHECK enum quota_status quota_follow_new(struct quota_client *client, const char *method,
                                                    const void *request, size_t request_size,
                                                    int64_t timeout_ms, struct quota_error *error,
                                                    struct quota_follow **ret_follow);

/* The next message. QUOTA_OK: *ret_message has it, release it. QUOTA_TIMEOUT with an empty message:
 * none has come within `timeout_ms`, and the stream goes on. Anything else: it has ended, and
 * ret_message->error says why (QUOTA_UNAVAILABLE with a reason of "" where the connection did). */
QUOTA_MUST_CHECK enum quota_status quota_follow_next(struct quota_follow *follow,
                                                     int64_t timeout_ms,
                                                     struct quota_bytes *ret_message);

/* NULL is fine. */
void quota_follow_free(struct quota_follow *follow);

#ifdef __cplusplus
}
#endif

#endif /* QUOTA_H */
