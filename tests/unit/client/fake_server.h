/* A small quotad for the client's tests: one thread, in this process, on a port of its own.
 *
 * It knows repeats as quotad does (a check by request_id and attempt, a report by its key), so that
 * a test can count what was booked, and it fails on demand: each fault is counted over all calls,
 * or over all batches for streams.
 *
 * Layer:    tests. Threads: any may call; `lock` guards the fields that say so.
 * Memory:   new/free; free stops the thread.
 */
#ifndef QD_TESTS_UNIT_CLIENT_FAKE_SERVER_H
#define QD_TESTS_UNIT_CLIENT_FAKE_SERVER_H

#include "tests/lib/fault.h"

#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_faults {
    struct qd_fault refuse;     /* UNAVAILABLE with a quotad-reason: nothing was done */
    struct qd_fault full;       /* RESOURCE_EXHAUSTED, REPORTS_QUEUE_FULL: nothing was done */
    struct qd_fault lose;       /* done, but the answer is lost: UNAVAILABLE without a reason */
    struct qd_fault silent;     /* done, and never answered */
    struct qd_fault end_stream; /* the stream ends instead of answering a batch */
    struct qd_fault garbage;    /* the answer's bytes are not a message */
    struct qd_fault late;       /* answered late_ms later; all others wait meanwhile */
    unsigned late_ms;
};

struct fake_counts {
    uint64_t with_token; /* unary calls with `authorization` */
    uint64_t with_trace; /* and with `traceparent` */
    uint64_t checks;     /* calls that arrived, repeats included */
    uint64_t holds;      /* reservations made */
    uint64_t reports;
    uint64_t booked; /* reports with a new key */
    uint64_t extends;
    uint64_t cancels;
    uint64_t released; /* holds that a cancel gave back */
    uint64_t batches;
    uint64_t items;
    uint64_t largest_batch;
    uint64_t booked_tokens; /* sum of the booked reports' input_tokens and output_tokens */
};

struct fake_server;

struct fake_server *fake_server_new(void);
void fake_server_free(struct fake_server *server);

/* "127.0.0.1:port". */
const char *fake_server_address(const struct fake_server *server);

/* No fault at all. */
#define FAKE_NO_FAULTS                                                               \
    {                                                                                \
        .refuse.countdown = -1, .full.countdown = -1, .lose.countdown = -1,          \
        .silent.countdown = -1, .end_stream.countdown = -1, .garbage.countdown = -1, \
        .late.countdown = -1                                                         \
    }

/* Set all faults; none before. */
void fake_server_fail(struct fake_server *server, const struct fake_faults *faults);

/* Answer every extension with "stop" from now on. */
void fake_server_stop_output(struct fake_server *server, bool stop);

/* Answer `method` ("/quota.v1.AdminService/GetStatus") with this message; its bytes are copied. */
void fake_server_reply(struct fake_server *server, const char *method,
                       const ProtobufCMessage *message);

/* Or with this gRPC status. `reason` may be NULL. */
void fake_server_refuse(struct fake_server *server, const char *method, int code,
                        const char *reason, const char *text);

/* The bytes of the last request to `method` that was given a reply; NULL: none. Caller frees. */
uint8_t *fake_server_request(struct fake_server *server, const char *method, size_t *ret_size);

struct fake_counts fake_server_counts(struct fake_server *server);

#endif /* QD_TESTS_UNIT_CLIENT_FAKE_SERVER_H */
