#include "server/rpc/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG          4096 /* the kernel cuts it to net.core.somaxconn */
#define PORT_TRIES       16   /* port 0, several addresses: one number has to be free for all */
#define HOST_BYTES       256U
#define USER_TIMEOUT_MS  20000 /* sent and not acknowledged for so long: the peer is gone */
#define SERVICE_TEXT_MAX 8U
#define RECEIVE_BYTES    (64 << 10) /* what waits to be read of one connection (X3) */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* What is set here, accepted connections inherit. No SO_REUSEPORT: two servers on one port would
 * share its connections silently. */
static void set_options(int fd, const struct addrinfo *info, bool any_host)
{
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BYTES);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    if (info->ai_family == AF_INET6) {
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, any_host ? 0 : 1);
    }
}

static bool is_any(const struct addrinfo *info)
{
    const struct sockaddr_in6 *six = (const void *)info->ai_addr;

    return info->ai_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr);
}

static int port_of(int fd)
{
    union address name;
    socklen_t size = sizeof(name);

    memset(&name, 0, sizeof(name));
    if (getsockname(fd, &name.any, &size) != 0) {
        return 0;
    }
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

/* 0, or an errno: nothing is open then. */
static int open_one(const struct addrinfo *info, int port, int *ret_fd)
{
    union address name;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return errno;
    }
    memset(&name, 0, sizeof(name));
    memcpy(&name, info->ai_addr, info->ai_addrlen < sizeof(name) ? info->ai_addrlen : sizeof(name));
    if (info->ai_family == AF_INET6) {
        name.v6.sin6_port = htons((uint16_t)port);
    } else {
        name.v4.sin_port = htons((uint16_t)port);
    }
    set_options(fd, info, is_any(info));
    if (bind(fd, &name.any, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int why = errno;
        (void)close(fd);
        return why;
    }
    *ret_fd = fd;
    return 0;
}

/* This machine has no such family, or not that address of it. */
static bool is_absent(int why)
{
    return why == EADDRNOTAVAIL || why == EAFNOSUPPORT;
}

/* 0, or an errno: nothing is open then. */
static int open_all(struct qd_listen *listen, const struct addrinfo *list, int port)
{
    int absent = EADDRNOTAVAIL;

    listen->count = 0;
    listen->port = port;
    for (const struct addrinfo *a = list; a != NULL && listen->count < QD_LISTEN_SOCKETS_MAX;
         a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6) {
            continue;
        }
        int why = open_one(a, listen->port, &listen->fds[listen->count]);
        if (is_absent(why)) {
            absent = why;
            continue;
        }
        if (why != 0) {
            qd_listen_close(listen);
            return why;
        }
        listen->port = port_of(listen->fds[listen->count++]);
    }
    return listen->count > 0 ? 0 : absent;
}

/* "[::1]:70" -> "::1", "70" */
static bool split(const char *address, char host[HOST_BYTES], char port[SERVICE_TEXT_MAX])
{
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;

    if (len == 0 || len >= HOST_BYTES || strlen(colon + 1) >= SERVICE_TEXT_MAX) {
        return false;
    }
    if (address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    (void)snprintf(host, HOST_BYTES, "%.*s", (int)len, address);
    (void)snprintf(port, SERVICE_TEXT_MAX, "%s", colon + 1);
    return true;
}

enum qd_error_code qd_listen_open(struct qd_listen *listen, const char *address, const char *flag,
                                  struct qd_error *ret_error)
{
    char host[HOST_BYTES];
    char port[SERVICE_TEXT_MAX];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;

    memset(listen, 0, sizeof(*listen));
    if (!split(address, host, port)) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "%s: is not HOST:PORT", address);
    }
    int code = getaddrinfo(host, port, &hints, &list);
    if (code != 0) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL,
                            "%s: cannot listen: %s; choose another address with %s", address,
                            gai_strerror(code), flag);
    }
    /* The list was made for this port; it is the same in each entry. */
    const struct sockaddr_in *first = (const void *)list->ai_addr;
    int wanted = ntohs(first->sin_port); /* at the same place in IPv6's */
    int why = open_all(listen, list, wanted);
    for (int tries = 1; wanted == 0 && why == EADDRINUSE && tries < PORT_TRIES; tries++) {
        why = open_all(listen, list, wanted);
    }
    freeaddrinfo(list);
    if (why == EADDRINUSE) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL,
                            "%s: cannot listen; is another quotad running? choose another address "
                            "with %s",
                            address, flag);
    }
    return why == 0 ? QD_ERROR_NONE
                    : qd_error_set(ret_error, QD_ERROR_INTERNAL,
                                   "%s: cannot listen: %s; choose another address with %s", address,
                                   strerror(why), flag);
}

void qd_listen_close(struct qd_listen *listen)
{
    for (uint32_t i = 0; i < listen->count; i++) {
        (void)close(listen->fds[i]);
    }
    listen->count = 0;
}
