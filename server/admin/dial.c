#include "server/admin/dial.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* RFC 9113, 3.4: the client's preface, and an empty SETTINGS frame. */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
#define PREFACE_SIZE  (sizeof(preface) - 1)
#define FRAME_HEADER  9
#define FRAME_TYPE_AT 3
#define TYPE_SETTINGS 4

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait until `fd` is ready; false when the time is over. */
static bool wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        if (left <= 0) {
            errno = ETIMEDOUT;
            return false;
        }
        struct pollfd one = {.fd = fd, .events = events};
        int ready = poll(&one, 1, (int)left);
        if (ready > 0) {
            return true;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
    }
}

static bool connect_to(int fd, const struct addrinfo *address, int64_t deadline_ms)
{
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0) {
        return true;
    }
    if (errno != EINPROGRESS || !wait_for(fd, POLLOUT, deadline_ms)) {
        return false;
    }
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0) {
        return false;
    }
    errno = code;
    return code == 0;
}

static bool exchange(int fd, int64_t deadline_ms)
{
    if (send(fd, preface, PREFACE_SIZE, MSG_NOSIGNAL) != (ssize_t)PREFACE_SIZE) {
        return false;
    }
    unsigned char header[FRAME_HEADER];
    size_t have = 0;
    while (have < sizeof(header)) {
        if (!wait_for(fd, POLLIN, deadline_ms)) {
            return false;
        }
        ssize_t n = recv(fd, header + have, sizeof(header) - have, 0);
        if (n == 0) {
            errno = ECONNRESET;
            return false;
        }
        if (n > 0) {
            have += (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return false;
        }
    }
    errno = EPROTO;
    return header[FRAME_TYPE_AT] == TYPE_SETTINGS;
}

bool qd_dial_http2(const char *host, uint16_t port, char *error, size_t error_size)
{
    char service[8];
    const char *name = host;
    if (strcmp(host, "0.0.0.0") == 0) {
        name = "127.0.0.1";
    } else if (strcmp(host, "::") == 0 || strcmp(host, "[::]") == 0) {
        name = "::1";
    }
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int code = getaddrinfo(name, service, &hints, &list);
    if (code != 0) {
        snprintf(error, error_size, "cannot dial %s:%s: %s", name, service, gai_strerror(code));
        return false;
    }
    int64_t deadline_ms = now_ms() + QD_DIAL_TIMEOUT_MS;
    bool good = false;
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        good = connect_to(fd, list, deadline_ms) && exchange(fd, deadline_ms);
    }
    if (!good) {
        snprintf(error, error_size, "gRPC port %s:%s does not answer: %s", name, service,
                 strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    freeaddrinfo(list);
    return good;
}
