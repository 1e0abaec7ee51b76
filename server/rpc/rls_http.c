#include "server/rpc/rls_http.h"

#include "server/ledger/ticker.h"
#include "server/net/gate.h"
#include "server/rpc/call.h"
#include "server/rpc/call_log.h"
#include "server/rpc/rls.h"
#include "server/rpc/rls_json.h"
#include "server/rpc/server_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define SWEEP_MS 1000U

struct qd_rls_http {
    struct qd_rpc *rpc;
    struct qd_place place; /* the HTTP thread's */
    struct qd_gate *gate;
    struct qd_ticker *sweeper;
    struct MHD_Daemon *daemon;
    uint8_t request[QD_MESSAGE_BYTES_MAX]; /* as gRPC would have sent it */
};

/* A request while its body comes in. */
struct body {
    size_t used;
    bool too_large; /* what came after is thrown away: MHD takes an answer at its end only */
    char bytes[QD_MESSAGE_BYTES_MAX]; /* untouched pages cost nothing */
};

/* --- answers --- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
                              const char *content_type, const char *text, size_t len)
{
    union {
        const char *in;
        void *out;
    } copied = {.in = text}; /* MHD only reads it */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, copied.out, MHD_RESPMEM_MUST_COPY);

    if (response == NULL) {
        return MHD_NO;
    }
    enum MHD_Result queued =
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    if (queued == MHD_YES && status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        queued = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
                                         text[0] == 'P' ? "POST" : "GET, HEAD");
    }
    if (queued == MHD_YES) {
        queued = MHD_queue_response(connection, status, response);
    }
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8", text, strlen(text));
}

static unsigned status_of(enum qd_error_code code)
{
    enum qd_status status = qd_error_status(code);

    return status == QD_STATUS_UNAUTHENTICATED     ? MHD_HTTP_UNAUTHORIZED
           : status == QD_STATUS_PERMISSION_DENIED ? MHD_HTTP_FORBIDDEN
                                                   : MHD_HTTP_BAD_REQUEST;
}

/* Any error is a 400, as in the reference server, but for those of callers: 401 and 403.
 */
static enum MHD_Result answer_error(struct qd_rls_http *http, struct MHD_Connection *connection,
                                    const struct qd_error *error)
{
    char text[sizeof(error->text) + 64];

    qd_place_count_refusal(&http->place, error->code);
    (void)snprintf(text, sizeof(text), "%s %s\n", qd_error_reason(error->code), error->text);
    return answer_text(connection, status_of(error->code), text);
}

/* --- deciding --- */

static bool is_loopback(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct sockaddr_in four;
    struct sockaddr_in6 six;

    if (info == NULL || info->client_addr == NULL) {
        return false;
    }
    if (info->client_addr->sa_family == AF_INET) {
        memcpy(&four, info->client_addr, sizeof(four));
        return ntohl(four.sin_addr.s_addr) >> 24 == 127;
    }
    if (info->client_addr->sa_family == AF_INET6) {
        memcpy(&six, info->client_addr, sizeof(six));
        bool mapped = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr);
        return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) || (mapped && six.sin6_addr.s6_addr[12] == 127);
    }
    return false;
}

struct authorization {
    const char *value; /* the last one's */
    size_t count;
};

static enum MHD_Result find_authorization(void *context, enum MHD_ValueKind kind, const char *key,
                                          const char *value)
{
    struct authorization *found = context;

    (void)kind;
    if (value != NULL && strcasecmp(key, MHD_HTTP_HEADER_AUTHORIZATION) == 0) {
        found->value = value;
        found->count++;
    }
    return MHD_YES;
}

/* X1: where there are credentials, whoever asks brings a gateway's token. With the worker entered.
 */
static enum qd_error_code admit(struct qd_rls_http *http, struct MHD_Connection *connection,
                                struct qd_error *ret_error)
{
    const struct qd_credentials *credentials =
        atomic_load_explicit(&http->rpc->credentials, memory_order_seq_cst);
    struct qd_caller caller;

    if (credentials == NULL) {
        return QD_ERROR_NONE;
    }
    struct authorization given = {0};
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, find_authorization, &given);
    if (given.count > 1) { /* who is meant? */
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_CREDENTIALS,
                            "Authorization: given %zu times; once is accepted", given.count);
    }
    if (given.value == NULL) {
        return qd_error_set(
            ret_error, QD_ERROR_NO_CREDENTIALS,
            "this node asks who calls: bring a token (Authorization: Bearer TOKEN)");
    }
    enum qd_error_code code =
        qd_caller_by_token(credentials, is_loopback(connection),
                           (struct qd_str){given.value, strlen(given.value)}, &caller, ret_error);
    return code != QD_ERROR_NONE
               ? code
               : qd_caller_may_call(&caller, "/json", QD_ROLE_GATEWAY | QD_ROLE_ADMIN,
                                    QD_BOUND_REFUSED, ret_error);
}

/* The request's bytes, decided by the very same code as gRPC's: the answer's bytes are in the
 * place's `out`. */
static enum qd_error_code decide(struct qd_rls_http *http, struct MHD_Connection *connection,
                                 struct qd_str json, struct qd_error *ret_error)
{
    struct qd_place *place = &http->place;
    struct qd_out request;

    qd_out_init(&request, http->request, sizeof(http->request));
    qd_place_clear(place);
    (void)qd_worker_enter(place->worker);
    enum qd_error_code code = admit(http, connection, ret_error);
    if (code == QD_ERROR_NONE) {
        code = qd_rls_json_read(json, &request, ret_error);
    }
    if (code == QD_ERROR_NONE) {
        struct qd_str bytes = {(const char *)http->request, qd_out_used(&request)};
        code = qd_rls_decide(place, NULL, bytes, ret_error);
    }
    qd_worker_leave(place->worker);
    if (code == QD_ERROR_NONE && place->out.full) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "the answer is too large");
    }
    return code;
}

static void peer_of(struct MHD_Connection *connection, char text[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    (void)snprintf(text, INET6_ADDRSTRLEN, "unknown");
    if (info == NULL || info->client_addr == NULL) {
        return;
    }
    if (info->client_addr->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, info->client_addr, sizeof(four));
        (void)inet_ntop(AF_INET, &four.sin_addr, text, INET6_ADDRSTRLEN);
    } else if (info->client_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, info->client_addr, sizeof(six));
        (void)inet_ntop(AF_INET6, &six.sin6_addr, text, INET6_ADDRSTRLEN);
    }
}

/* As a call over gRPC is (measure.c). */
static void measure(struct qd_rls_http *http, struct MHD_Connection *connection,
                    enum qd_error_code code, struct qd_mono_ns begun)
{
    struct qd_worker_figures *figures = &http->place.worker->figures;
    uint64_t ns = qd_clock_mono(&http->place.node->clock).ns - begun.ns;
    char peer[INET6_ADDRSTRLEN];

    qd_histogram_add(&figures->latency[QD_MEASURED_JSON], QD_HISTOGRAM_LATENCY, ns);
    if (code != QD_ERROR_NONE) {
        qd_count(&figures->calls_failed[QD_MEASURED_JSON]);
    }
    peer_of(connection, peer);
    qd_call_log_json(peer, code, ns);
}

static enum MHD_Result answer_json(struct qd_rls_http *http, struct MHD_Connection *connection,
                                   struct qd_str json)
{
    struct qd_mono_ns begun = qd_clock_mono(&http->place.node->clock);
    struct qd_error error;

    enum qd_error_code code = decide(http, connection, json, &error);
    measure(http, connection, code, begun);
    if (code != QD_ERROR_NONE) {
        return answer_error(http, connection, &error);
    }
    struct qd_str bytes = {(const char *)http->place.out.begin, qd_out_used(&http->place.out)};
    struct qd_rls_json_answer said = qd_rls_json_write(bytes, &http->place.allocator);
    if (said.text == NULL) {
        return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    }
    unsigned status = said.overall_code == QD_RLS_OK           ? MHD_HTTP_OK
                      : said.overall_code == QD_RLS_OVER_LIMIT ? MHD_HTTP_TOO_MANY_REQUESTS
                                                               : MHD_HTTP_INTERNAL_SERVER_ERROR;
    enum MHD_Result queued = answer(connection, status, "application/json", said.text, said.len);
    free(said.text);
    return queued;
}

static enum MHD_Result answer_health(struct qd_rls_http *http, struct MHD_Connection *connection)
{
    bool healthy = qd_rpc_serving(http->rpc) && qd_rpc_has_rls(http->rpc);

    return healthy ? answer_text(connection, MHD_HTTP_OK, "OK")
                   : answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "not serving\n");
}

/* --- requests --- */

static bool is_too_large(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length != NULL && strtoull(length, NULL, 10) > QD_MESSAGE_BYTES_MAX;
}

static enum MHD_Result answer_too_large(struct MHD_Connection *connection)
{
    return answer_text(connection, MHD_HTTP_CONTENT_TOO_LARGE,
                       "a request has at most 262144 bytes\n");
}

/* After the headers: what needs no body is answered at once. */
static enum MHD_Result begin(struct qd_rls_http *http, struct MHD_Connection *connection,
                             const char *url, const char *method, void **state)
{
    bool gets =
        strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;

    if (strcmp(url, "/healthcheck") == 0) {
        return gets ? answer_health(http, connection)
                    : answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD it\n");
    }
    if (strcmp(url, "/json") != 0) {
        return answer_text(connection, MHD_HTTP_NOT_FOUND,
                           "no such page; there are: /json /healthcheck\n");
    }
    if (strcmp(method, MHD_HTTP_METHOD_POST) != 0) {
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "POST a request\n");
    }
    if (is_too_large(connection)) {
        return answer_too_large(connection);
    }
    struct body *body = malloc(sizeof(*body));
    if (body == NULL) {
        return MHD_NO;
    }
    body->used = 0;
    body->too_large = false;
    *state = body;
    return MHD_YES;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    struct qd_rls_http *http = context;
    struct body *body = *state;

    (void)version;
    if (body == NULL) {
        return begin(http, connection, url, method, state);
    }
    if (*upload_size == 0 && body->too_large) {
        return answer_too_large(connection);
    }
    if (*upload_size == 0) {
        return answer_json(http, connection, (struct qd_str){body->bytes, body->used});
    }
    body->too_large |= *upload_size > sizeof(body->bytes) - body->used; /* it had no length */
    if (!body->too_large) {
        memcpy(body->bytes + body->used, upload, *upload_size);
        body->used += *upload_size;
    }
    *upload_size = 0;
    return MHD_YES;
}

static void completed(void *context, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode why)
{
    struct qd_rls_http *http = context;

    (void)why;
    qd_gate_answered(http->gate, connection);
    free(*state);
    *state = NULL;
}

/* --- listening --- */

/* "HOST:PORT" or "[HOST]:PORT". */
static struct addrinfo *resolve(const char *address, struct qd_error *ret_error)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    bool bracketed = len >= 2 && address[0] == '[' && address[len - 1] == ']';
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;

    if (colon == NULL || len >= sizeof(host)) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s: not HOST:PORT", address);
        return NULL;
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)(bracketed ? len - 2 : len),
                   address + bracketed);
    int code = getaddrinfo(host, colon + 1, &hints, &list);
    if (code != 0) {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s: cannot listen: %s", address,
                           gai_strerror(code));
        return NULL;
    }
    return list;
}

static bool listen_on(struct qd_rls_http *http, const struct addrinfo *where, uint32_t connections)
{
    /* Not epoll: libmicrohttpd 0.9.75, once it had all the connections it may have, sometimes took
     * no new one until these timed out, though they were closed. */
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD;

    if (where->ai_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, where->ai_addr, sizeof(six));
        /* Any host is any host of IPv4, too, as at the other ports. */
        bool any = IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr);
        flags |= any ? MHD_USE_DUAL_STACK : MHD_USE_IPv6;
    }
    http->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, handle, http, MHD_OPTION_SOCK_ADDR, where->ai_addr,
                         MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT,
                         QD_GATE_IDLE_S, MHD_OPTION_NOTIFY_CONNECTION, qd_gate_notify, http->gate,
                         MHD_OPTION_NOTIFY_COMPLETED, completed, http, MHD_OPTION_END);
    return http->daemon != NULL;
}

static bool prepare(struct qd_rls_http *http, struct qd_rpc *rpc, uint32_t connections)
{
    http->rpc = rpc;
    http->place.node = qd_rpc_node(rpc);
    http->gate = qd_gate_new(connections, http->place.node->http_cut[QD_HTTP_PORT_RLS]);
    http->sweeper =
        http->gate != NULL ? qd_ticker_start(SWEEP_MS, qd_gate_sweep, http->gate) : NULL;
    return http->sweeper != NULL && qd_place_init(&http->place, rpc);
}

struct qd_rls_http *qd_rls_http_start(struct qd_rpc *rpc, const char *address, uint32_t connections,
                                      struct qd_error *ret_error)
{
    struct addrinfo *list = resolve(address, ret_error);
    if (list == NULL) {
        return NULL;
    }
    struct qd_rls_http *http = calloc(1, sizeof(*http));
    bool prepared = http != NULL && prepare(http, rpc, connections);
    bool started = prepared && listen_on(http, list, connections);

    if (!prepared) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory or threads");
    } else if (!started) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL,
                           "%s: cannot listen: %s; choose another address with --http-listen",
                           address, strerror(errno));
    }
    freeaddrinfo(list);
    if (!started) {
        qd_rls_http_stop(http);
        return NULL;
    }
    return http;
}

uint16_t qd_rls_http_port(const struct qd_rls_http *http)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);

    return info != NULL ? info->port : 0;
}

void qd_rls_http_stop(struct qd_rls_http *http)
{
    if (http == NULL) {
        return;
    }
    qd_ticker_stop(http->sweeper);
    if (http->daemon != NULL) {
        MHD_stop_daemon(http->daemon);
    }
    qd_gate_free(http->gate);
    qd_place_release(&http->place);
    free(http);
}
