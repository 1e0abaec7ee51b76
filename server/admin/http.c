#include "server/admin/http.h"

#include "server/ledger/ticker.h"
#include "server/net/gate.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000U

struct qd_http {
    struct MHD_Daemon *daemon;
    struct qd_gate *gate;
    struct qd_ticker *sweeper;
    const struct qd_http_page *pages;
    void *context;
    uint16_t port;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
                              const char *content_type, void *text, size_t size,
                              enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(size, text, mode);
    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE) {
            free(text);
        }
        return MHD_NO;
    }
    enum MHD_Result queued =
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    if (queued == MHD_YES) {
        queued = MHD_queue_response(connection, status, response);
    }
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8", text, strlen(text),
                  MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result answer_page(struct qd_http *http, struct MHD_Connection *connection,
                                   const struct qd_http_page *page)
{
    char *text = NULL;
    size_t size = 0;
    FILE *body = open_memstream(&text, &size);
    if (!body) {
        return MHD_NO;
    }
    struct qd_http_request request = {
        .verbose = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "verbose", 7,
                                                 NULL, NULL) == MHD_YES};
    unsigned status = page->make(http->context, &request, body);
    if (fclose(body) != 0) {
        free(text);
        return MHD_NO;
    }
    return answer(connection, status, page->content_type, text, size, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result not_found(struct qd_http *http, struct MHD_Connection *connection)
{
    char text[512];
    size_t used = (size_t)snprintf(text, sizeof(text), "no such page; there are:");
    for (const struct qd_http_page *p = http->pages; p->path; p++) {
        int n = snprintf(text + used, sizeof(text) - used, " %s", p->path);
        if (n < 0 || used + (size_t)n + 2 >= sizeof(text)) {
            break;
        }
        used += (size_t)n;
    }
    snprintf(text + used, sizeof(text) - used, "\n");
    return answer_text(connection, MHD_HTTP_NOT_FOUND, text);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    (void)version;
    (void)upload;
    struct qd_http *http = context;
    if (*upload_size != 0) {
        *upload_size = 0; /* a body is read and dropped */
        return MHD_YES;
    }
    if (!*state) {
        *state = http; /* libmicrohttpd calls once for the headers, and again for the answer */
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        char text[] = "this port answers GET and HEAD only\n";
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, text);
    }
    for (const struct qd_http_page *page = http->pages; page->path; page++) {
        if (strcmp(url, page->path) == 0) {
            return answer_page(http, connection, page);
        }
    }
    return not_found(http, connection);
}

static int bind_first(const struct addrinfo *list, char *error, const char *address)
{
    int fd = -1;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        int one = 1;
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
                        bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 64) != 0)) {
            snprintf(error, QD_HTTP_ERROR_MAX,
                     "cannot listen on %s: %s; pass another --admin-listen", address,
                     strerror(errno));
            close(fd);
            fd = -1;
        }
    }
    return fd;
}

static int listen_on(const char *address, char *error)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof(host)) {
        snprintf(error, QD_HTTP_ERROR_MAX, "\"%s\" is not HOST:PORT", address);
        return -1;
    }
    snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    const char *name = host;
    size_t length = strlen(host);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0'; /* [::1] */
        name = host + 1;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int code = getaddrinfo(name, colon + 1, &hints, &list);
    if (code != 0) {
        snprintf(error, QD_HTTP_ERROR_MAX, "cannot listen on %s: %s", address, gai_strerror(code));
        return -1;
    }
    int fd = bind_first(list, error, address);
    freeaddrinfo(list);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        return 0;
    }
    if (name.ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, &name, sizeof(six));
        return ntohs(six.sin6_port);
    }
    struct sockaddr_in four;
    memcpy(&four, &name, sizeof(four));
    return ntohs(four.sin_port);
}

static void completed(void *context, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode why)
{
    struct qd_http *http = context;
    (void)state;
    (void)why;
    qd_gate_answered(http->gate, connection);
}

/* On `fd`, which is the daemon's once it has started. */
static bool start(struct qd_http *http, int fd, const struct qd_http_config *config)
{
    http->gate = qd_gate_new(config->connections, config->cut);
    if (!http->gate) {
        return false;
    }
    http->daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, config->connections, MHD_OPTION_CONNECTION_TIMEOUT,
        QD_GATE_IDLE_S, MHD_OPTION_NOTIFY_CONNECTION, qd_gate_notify, http->gate,
        MHD_OPTION_NOTIFY_COMPLETED, completed, http, MHD_OPTION_END);
    http->sweeper = http->daemon ? qd_ticker_start(SWEEP_MS, qd_gate_sweep, http->gate) : NULL;
    return http->daemon != NULL;
}

struct qd_http *qd_http_new(const struct qd_http_config *config, char error[QD_HTTP_ERROR_MAX])
{
    struct qd_http *http = calloc(1, sizeof(*http));
    if (!http) {
        snprintf(error, QD_HTTP_ERROR_MAX, "out of memory");
        return NULL;
    }
    int fd = listen_on(config->address, error);
    if (fd < 0) {
        free(http);
        return NULL;
    }
    http->pages = config->pages;
    http->context = config->context;
    http->port = port_of(fd);
    if (!start(http, fd, config)) {
        snprintf(error, QD_HTTP_ERROR_MAX, "cannot start HTTP on %s", config->address);
        close(fd);
        qd_http_free(http);
        return NULL;
    }
    if (!http->sweeper) {
        snprintf(error, QD_HTTP_ERROR_MAX, "cannot start a thread: out of memory or threads");
        qd_http_free(http);
        return NULL;
    }
    return http;
}

void qd_http_free(struct qd_http *http)
{
    if (!http) {
        return;
    }
    qd_ticker_stop(http->sweeper);
    if (http->daemon) {
        MHD_stop_daemon(http->daemon);
    }
    qd_gate_free(http->gate);
    free(http);
}

uint16_t qd_http_port(const struct qd_http *http)
{
    return http->port;
}
