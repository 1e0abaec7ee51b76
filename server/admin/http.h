/* The admin HTTP port: libmicrohttpd (I6).
 *
 * Layer:    admin
 * Threads:  new and free from one; the pages are made on a thread of its own.
 * Memory:   owns its daemon; the pages' context is the caller's.
 *
 * GET and HEAD only. A page is made anew for each request, one after the other: no page waits for a
 * disk or a peer (/livez waits at most a second, for the node itself). Who sends or reads slowly
 * gives way to others (server/net/gate.h). By poll(2): with epoll, libmicrohttpd 0.9.75 that has
 * met its bound on connections may look at nobody for 18 s (X3).
 */
#ifndef QD_ADMIN_HTTP_H
#define QD_ADMIN_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define QD_HTTP_CONNECTIONS_MAX 64U /* X2: the most that are of any use */
#define QD_HTTP_ERROR_MAX       256

struct qd_http_request {
    bool verbose; /* ?verbose was given */
};

/* Write a page to `body` and answer its HTTP status. */
struct qd_http_page {
    const char *path; /* "/metrics"; NULL ends the table */
    const char *content_type;
    unsigned (*make)(void *context, const struct qd_http_request *request, FILE *body);
};

struct qd_http;

struct qd_http_config {
    const char *address; /* "127.0.0.1:7071"; port 0: any */
    const struct qd_http_page *pages;
    void *context;         /* theirs */
    uint32_t connections;  /* at once, at least QD_GATE_PLACES_MIN */
    _Atomic uint64_t *cut; /* [QD_GATE_CUTS]: connections that were; outlives the port */
};

/* Listen. NULL: `error` says why. */
struct qd_http *qd_http_new(const struct qd_http_config *config, char error[QD_HTTP_ERROR_MAX]);
void qd_http_free(struct qd_http *http);

/* The port in use. */
uint16_t qd_http_port(const struct qd_http *http);

#endif /* QD_ADMIN_HTTP_H */
