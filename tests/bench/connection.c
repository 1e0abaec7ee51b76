#include "tests/bench/connection.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW_BYTES   (16 * 1024 * 1024)
#define OUT_BYTES      ((size_t)256 * 1024)
#define READ_BYTES     ((size_t)256 * 1024)
#define PREFIX_BYTES   5U
#define MESSAGE_MAX    ((size_t)4 * 1024 * 1024)
#define CALLS_AT_FIRST 100U

/* ---- what the session asks for --------------------------------------------------------------- */

static ssize_t give_body(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session, (void)stream_id, (void)user;
    struct call *call = source->ptr;
    size_t given = 0;
    while (call->outgoing_count > 0 && given < size) {
        struct body *body = &call->outgoing[call->outgoing_first];
        size_t part = body->size - call->outgoing_offset;
        part = part < size - given ? part : size - given;
        memcpy(buffer + given, body->bytes + call->outgoing_offset, part);
        given += part;
        call->outgoing_offset += part;
        if (call->outgoing_offset == body->size) {
            call->outgoing_offset = 0;
            call->outgoing_first = (call->outgoing_first + 1) % CALL_OUTGOING_MAX;
            call->outgoing_count--;
        }
    }
    if (call->outgoing_count == 0 && call->ends) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (given == 0) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)given;
}

static void take_bytes(struct call *call, const uint8_t *bytes, size_t size)
{
    if (call->incoming_size + size > call->incoming_capacity) {
        call->incoming_capacity = 2 * (call->incoming_size + size);
        assert(call->incoming_capacity <= 2 * MESSAGE_MAX);
        call->incoming = realloc(call->incoming, call->incoming_capacity);
        if (call->incoming == NULL) {
            abort();
        }
    }
    memcpy(call->incoming + call->incoming_size, bytes, size);
    call->incoming_size += size;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *bytes,
                   size_t size, void *user)
{
    (void)flags;
    struct connection *connection = user;
    struct call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL) {
        return 0;
    }
    take_bytes(call, bytes, size);
    size_t done = 0;
    while (call->incoming_size - done >= PREFIX_BYTES) {
        const uint8_t *prefix = call->incoming + done;
        size_t length = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 |
                        (size_t)prefix[4];
        if (call->incoming_size - done < PREFIX_BYTES + length) {
            break;
        }
        connection->events.on_message(connection->events.user, call, prefix + PREFIX_BYTES, length);
        done += PREFIX_BYTES + length;
    }
    call->incoming_size -= done;
    memmove(call->incoming, call->incoming + done, call->incoming_size);
    return 0;
}

static bool header_is(const char *name, const uint8_t *given, size_t size)
{
    return strlen(name) == size && memcmp(name, given, size) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *user)
{
    (void)flags, (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call != NULL && header_is("grpc-status", name, name_size)) {
        call->status = atoi((const char *)value);
    } else if (call != NULL && header_is("grpc-message", name, name_size)) {
        snprintf(call->error, sizeof call->error, "%.*s", (int)value_size, (const char *)value);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user)
{
    struct connection *connection = user;
    struct call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL) {
        return 0;
    }
    if (call->status < 0 && call->error[0] == '\0') {
        snprintf(call->error, sizeof call->error, "the stream ended without a status: %s",
                 nghttp2_http2_strerror(error_code));
    }
    connection->events.on_close(connection->events.user, call);
    call->next_free = connection->free_calls;
    connection->free_calls = call;
    return 0;
}

/* ---- the connection -------------------------------------------------------------------------- */

static int dial(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    if (getaddrinfo(host, port, &hints, &addresses) != 0) {
        errno = EHOSTUNREACH;
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *a = addresses; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(addresses);
    int on = 1;
    if (fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* A session over the connected socket; NULL: no handshake, and errno says something. */
static SSL *secure(int fd, const char *ca)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    static SSL_CTX *context;
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
        if (context == NULL || SSL_CTX_load_verify_locations(context, ca, NULL) != 1) {
            errno = ENOENT;
            return NULL;
        }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_mode(context,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_alpn_protos(context, h2, sizeof h2);
    }
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    if (SSL_connect(tls) != 1) {
        SSL_free(tls);
        errno = EPROTO;
        return NULL;
    }
    return tls;
}

/* As recv and send: -1 with EAGAIN when the socket has, or takes, nothing at this moment. */
static ssize_t tls_result(SSL *tls, int result)
{
    if (result <= 0) {
        int why = SSL_get_error(tls, result);
        errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
        return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    }
    return result;
}

static ssize_t receive(struct connection *connection, uint8_t *bytes, size_t size)
{
    return connection->tls == NULL
               ? recv(connection->fd, bytes, size, 0)
               : tls_result(connection->tls, SSL_read(connection->tls, bytes, (int)size));
}

static ssize_t transmit(struct connection *connection, const uint8_t *bytes, size_t size)
{
    return connection->tls == NULL
               ? send(connection->fd, bytes, size, MSG_NOSIGNAL)
               : tls_result(connection->tls, SSL_write(connection->tls, bytes, (int)size));
}

static void open_session(struct connection *connection)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0) {
        abort();
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_peer_max_concurrent_streams(option, CALLS_AT_FIRST);
    int failed = nghttp2_session_client_new2(&connection->session, callbacks, connection, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
    };
    if (failed != 0 ||
        nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
        nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                              WINDOW_BYTES) != 0) {
        abort();
    }
}

bool connection_open(struct connection *connection, const char *host, const char *port,
                     const char *authority, const char *tls_ca,
                     const struct connection_events *events)
{
    memset(connection, 0, sizeof *connection);
    connection->fd = dial(host, port);
    if (connection->fd < 0) {
        return false;
    }
    if (tls_ca != NULL) {
        connection->tls = secure(connection->fd, tls_ca);
        if (connection->tls == NULL) {
            return false;
        }
    }
    if (fcntl(connection->fd, F_SETFL, O_NONBLOCK) != 0) {
        return false;
    }
    connection->events = *events;
    connection->authority = authority;
    connection->out_capacity = OUT_BYTES;
    connection->out = malloc(OUT_BYTES);
    if (connection->out == NULL) {
        abort();
    }
    open_session(connection);
    return true;
}

static struct call *take_call(struct connection *connection)
{
    struct call *call = connection->free_calls;
    if (call == NULL) {
        call = calloc(1, sizeof *call);
        if (call == NULL) {
            abort();
        }
    } else {
        connection->free_calls = call->next_free;
    }
    call->connection = connection;
    call->outgoing_first = 0;
    call->outgoing_count = 0;
    call->outgoing_offset = 0;
    call->deferred = false;
    call->incoming_size = 0;
    call->status = -1;
    call->error[0] = '\0';
    call->waiting = 0;
    return call;
}

static nghttp2_nv header(const char *name, const char *value)
{
    union {
        const char *text;
        uint8_t *bytes;
    } n = {name}, v = {value}; /* nghttp2 reads them only, whatever its types say */
    nghttp2_nv nv = {n.bytes, v.bytes, strlen(name), strlen(value),
                     NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    return nv;
}

struct call *connection_call(struct connection *connection, const char *path, struct body body,
                             bool ends)
{
    struct call *call = take_call(connection);
    call->ends = ends;
    call->outgoing[0] = body;
    call->outgoing_count = 1;
    nghttp2_nv headers[] = {
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", path),
        header(":authority", connection->authority),
        header("te", "trailers"),
        header("content-type", "application/grpc"),
        header("user-agent", "quotad-bench"),
    };
    nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = give_body};
    call->stream_id = nghttp2_submit_request(connection->session, NULL, headers,
                                             sizeof headers / sizeof headers[0], &provider, call);
    assert(call->stream_id > 0);
    return call;
}

void call_send(struct call *call, struct body body)
{
    assert(call->outgoing_count < CALL_OUTGOING_MAX && !call->ends);
    unsigned place = (call->outgoing_first + call->outgoing_count) % CALL_OUTGOING_MAX;
    call->outgoing[place] = body;
    call->outgoing_count++;
    if (call->deferred) {
        call->deferred = false;
        nghttp2_session_resume_data(call->connection->session, call->stream_id);
    }
}

void call_end(struct call *call)
{
    call->ends = true;
    if (call->deferred) {
        call->deferred = false;
        nghttp2_session_resume_data(call->connection->session, call->stream_id);
    }
}

bool connection_read(struct connection *connection)
{
    static uint8_t buffer[READ_BYTES]; /* one thread, no recursion */
    for (;;) {
        ssize_t size = receive(connection, buffer, sizeof buffer);
        if (size <= 0) {
            return size < 0 && (errno == EAGAIN || errno == EINTR);
        }
        if (nghttp2_session_mem_recv(connection->session, buffer, (size_t)size) != size) {
            return false;
        }
        if ((size_t)size < sizeof buffer && connection->tls == NULL) {
            return true; /* TLS gives a record at a time */
        }
    }
}

/* Moves what the session wants to send to `out`; false if nothing came. */
static bool gather(struct connection *connection)
{
    while (connection->out_size < connection->out_capacity / 2) {
        const uint8_t *bytes = NULL;
        ssize_t size = nghttp2_session_mem_send(connection->session, &bytes);
        if (size <= 0) {
            break;
        }
        assert((size_t)size <= connection->out_capacity - connection->out_size);
        memcpy(connection->out + connection->out_size, bytes, (size_t)size);
        connection->out_size += (size_t)size;
    }
    return connection->out_size > 0;
}

bool connection_flush(struct connection *connection)
{
    connection->blocked = false;
    for (;;) {
        if (connection->out_offset == connection->out_size) {
            connection->out_offset = 0;
            connection->out_size = 0;
            if (!gather(connection)) {
                return true;
            }
        }
        ssize_t size = transmit(connection, connection->out + connection->out_offset,
                                connection->out_size - connection->out_offset);
        if (size < 0) {
            connection->blocked = errno == EAGAIN;
            return connection->blocked || errno == EINTR;
        }
        connection->out_offset += (size_t)size;
    }
}
