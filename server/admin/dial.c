#include "server/admin/dial.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
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

/* RFC 8446, 5.1: type, version, length. */
#define RECORD_HEADER    5
#define RECORD_ALERT     21
#define RECORD_HANDSHAKE 22
#define HELLO_MAX        2048

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

/* Say something, and hear the first `size` bytes of the answer. */
static bool exchange(int fd, const void *words, size_t words_size, unsigned char *header,
                     size_t size, int64_t deadline_ms)
{
    if (send(fd, words, words_size, MSG_NOSIGNAL) != (ssize_t)words_size) {
        return false;
    }
    size_t have = 0;
    while (have < size) {
        if (!wait_for(fd, POLLIN, deadline_ms)) {
            return false;
        }
        ssize_t n = recv(fd, header + have, size - have, 0);
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
    return true;
}

static bool speak_http2(int fd, int64_t deadline_ms)
{
    unsigned char header[FRAME_HEADER];

    if (!exchange(fd, preface, PREFACE_SIZE, header, sizeof(header), deadline_ms)) {
        return false;
    }
    errno = EPROTO;
    return header[FRAME_TYPE_AT] == TYPE_SETTINGS;
}

/* A ClientHello as OpenSSL would send it; 0: out of memory. */
static size_t client_hello(unsigned char *hello, size_t size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = context != NULL ? SSL_new(context) : NULL;
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    int got = 0;

    if (ssl != NULL && in != NULL && out != NULL) {
        SSL_set_bio(ssl, in, out);
        (void)SSL_connect(ssl); /* it wants to read an answer that is not there */
        got = BIO_read(out, hello, (int)size);
    } else {
        BIO_free(in);
        BIO_free(out);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    return got > 0 ? (size_t)got : 0;
}

/* A record of the handshake, or an alert: whoever refuses us has read what we said. */
static bool speak_tls(int fd, int64_t deadline_ms)
{
    unsigned char hello[HELLO_MAX];
    unsigned char header[RECORD_HEADER];
    size_t size = client_hello(hello, sizeof(hello));

    if (size == 0) {
        errno = ENOMEM;
        return false;
    }
    if (!exchange(fd, hello, size, header, sizeof(header), deadline_ms)) {
        return false;
    }
    errno = EPROTO;
    return (header[0] == RECORD_HANDSHAKE || header[0] == RECORD_ALERT) && header[1] == 3;
}

typedef bool (*speaker)(int fd, int64_t deadline_ms);

static bool dial(const char *host, uint16_t port, speaker speak, char *error, size_t error_size)
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
        good = connect_to(fd, list, deadline_ms) && speak(fd, deadline_ms);
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

bool qd_dial_http2(const char *host, uint16_t port, char *error, size_t error_size)
{
    return dial(host, port, speak_http2, error, error_size);
}

bool qd_dial_tls(const char *host, uint16_t port, char *error, size_t error_size)
{
    return dial(host, port, speak_tls, error, error_size);
}
