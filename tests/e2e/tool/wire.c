#include "tests/e2e/tool/wire.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Whom it speaks with does not matter. */
static SSL_CTX *context(void)
{
    static SSL_CTX *made;
    static const unsigned char h2[] = {2, 'h', '2'};

    if (made == NULL) {
        made = SSL_CTX_new(TLS_client_method());
        if (made == NULL || SSL_CTX_set_alpn_protos(made, h2, sizeof(h2)) != 0) {
            (void)fprintf(stderr, "flood: no TLS\n");
            exit(1);
        }
        SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return made;
}

static int dial(const struct sockaddr_in *from, const struct sockaddr_in *to)
{
    struct linger none = {.l_onoff = 1};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)from, sizeof(*from)) != 0 ||
        (connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0 && errno != EINPROGRESS)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

bool wire_dial(struct wire *wire, const struct sockaddr_in *from, const struct sockaddr_in *to,
               bool tls)
{
    *wire = (struct wire){.fd = dial(from, to)};
    if (wire->fd < 0 || !tls) {
        return wire->fd >= 0;
    }
    wire->tls = SSL_new(context());
    if (wire->tls == NULL || SSL_set_fd(wire->tls, wire->fd) != 1) {
        wire_close(wire);
        return false;
    }
    SSL_set_connect_state(wire->tls);
    return true;
}

static ssize_t result(struct wire *wire, int n)
{
    if (n > 0) {
        return n;
    }
    switch (SSL_get_error(wire->tls, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        errno = errno == ENOTCONN ? ENOTCONN : EPIPE; /* it is still on its way */
        return -1;
    default:
        errno = EPIPE;
        return -1;
    }
}

ssize_t wire_send(struct wire *wire, const void *bytes, size_t size)
{
    if (wire->tls == NULL) {
        return send(wire->fd, bytes, size, MSG_NOSIGNAL);
    }
    return result(wire, SSL_write(wire->tls, bytes, (int)size));
}

ssize_t wire_receive(struct wire *wire, void *bytes, size_t size)
{
    if (wire->tls == NULL) {
        return recv(wire->fd, bytes, size, 0);
    }
    return result(wire, SSL_read(wire->tls, bytes, (int)size));
}

void wire_close(struct wire *wire)
{
    SSL_free(wire->tls);
    if (wire->fd >= 0) {
        (void)close(wire->fd);
    }
    *wire = (struct wire){.fd = -1};
}
