/* gRPC calls over one HTTP/2 connection, by libnghttp2 and, with TLS, OpenSSL: just enough to load
 * a server.
 *
 * A call sends any number of messages (already with gRPC's prefix) and hands each whole answer to
 * `on_message`; `on_close` is its end. Nothing is written until connection_flush: call it after
 * whatever submits.
 *
 * Memory: calls and their buffers are reused. Bodies are borrowed until they are sent. Threads:
 * one. */
#ifndef QD_BENCH_CONNECTION_H
#define QD_BENCH_CONNECTION_H

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/bodies.h"

#define CALL_OUTGOING_MAX 64U
#define CALL_ERROR_MAX    240U

struct connection;

struct call {
    struct connection *connection;
    struct call *next_free;
    int32_t stream_id;
    struct body outgoing[CALL_OUTGOING_MAX]; /* a ring: unsent messages */
    unsigned outgoing_first;
    unsigned outgoing_count;
    size_t outgoing_offset; /* sent of the first */
    bool ends;              /* nothing follows what is in the ring */
    bool deferred;          /* the session waits for call_send */
    uint8_t *incoming;
    size_t incoming_size;
    size_t incoming_capacity;
    int status; /* gRPC status, -1 until it came */
    char error[CALL_ERROR_MAX];
    uint64_t due_ns;  /* the user's: when the request was to be sent */
    unsigned waiting; /* the user's: unanswered items */
};

struct connection_events {
    void (*on_message)(void *user, struct call *call, const uint8_t *message, size_t size);
    void (*on_close)(void *user, struct call *call); /* the call is reused afterwards */
    void *user;
};

struct connection {
    int fd;
    SSL *tls; /* NULL: plaintext */
    nghttp2_session *session;
    struct connection_events events;
    const char *authority;
    uint8_t *out;
    size_t out_size;
    size_t out_offset;
    size_t out_capacity;
    bool blocked; /* the socket took no more: flush again when it is writable */
    struct call *free_calls;
};

/* Connects (blocking) and then goes on without blocking. `tls_ca` is a PEM file of who may sign the
 * server's certificate; NULL: plaintext. Returns false with errno set. */
bool connection_open(struct connection *connection, const char *host, const char *port,
                     const char *authority, const char *tls_ca,
                     const struct connection_events *events);

/* Starts a call of `path`. With `ends` it is a unary call and `body` is all of it. */
struct call *connection_call(struct connection *connection, const char *path, struct body body,
                             bool ends);

/* Another message for a call that was started without `ends`. The ring must have room. */
void call_send(struct call *call, struct body body);

/* Nothing more will be sent on this call: half-close it once what is in the ring has gone. */
void call_end(struct call *call);

/* Reads what has come and calls back. False: the connection is gone. */
bool connection_read(struct connection *connection);

/* Writes what is submitted, as far as the socket takes it. False: the connection is gone. */
bool connection_flush(struct connection *connection);

#endif /* QD_BENCH_CONNECTION_H */
