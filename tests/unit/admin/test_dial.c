/* I6: /livez dials the gRPC port; a port that accepts but says nothing isn't alive. */
#include "server/admin/dial.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    bool tls;
    int fd;
    uint16_t port;
    const char *answer;
    size_t size;
};

static void open_port(struct peer *peer)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    peer->fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(peer->fd, (struct sockaddr *)&name, size), 0);
    cr_assert_eq(listen(peer->fd, 4), 0);
    cr_assert_eq(getsockname(peer->fd, (struct sockaddr *)&name, &size), 0);
    peer->port = ntohs(name.sin_port);
}

static void *serve(void *context)
{
    struct peer *peer = context;
    char buffer[4096];
    int fd = accept(peer->fd, NULL, NULL);
    ssize_t n = read(fd, buffer, sizeof(buffer));
    if (peer->tls) { /* a handshake's record, a ClientHello */
        cr_assert(n > 100 && memcmp(buffer, "\x16\3\1", 3) == 0 && buffer[5] == 1);
    } else {
        cr_assert(n >= 24 && memcmp(buffer, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) == 0);
    }
    n = write(fd, peer->answer, peer->size);
    cr_assert_eq(n, (ssize_t)peer->size);
    close(fd);
    return NULL;
}

static bool dial_peer(bool tls, const char *answer, size_t size, char *error, size_t error_size)
{
    struct peer peer = {.tls = tls, .answer = answer, .size = size};
    pthread_t thread;
    open_port(&peer);
    cr_assert_eq(pthread_create(&thread, NULL, serve, &peer), 0);
    bool good = (tls ? qd_dial_tls : qd_dial_http2)("0.0.0.0", peer.port, error, error_size);
    pthread_join(thread, NULL);
    close(peer.fd);
    return good;
}

static bool dial_served(const char *answer, size_t size, char *error, size_t error_size)
{
    return dial_peer(false, answer, size, error, error_size);
}

Test(dial, I6_a_settings_frame_is_life)
{
    char error[200] = "";
    cr_expect(dial_served("\0\0\0\4\0\0\0\0\0", 9, error, sizeof(error)), "%s", error);
}

Test(dial, I6_another_protocol_is_not)
{
    char error[200] = "";
    cr_expect_not(dial_served("HTTP/1.1 400 Bad Request\r\n", 26, error, sizeof(error)));
    cr_expect_not_null(strstr(error, "does not answer: Protocol error"), "%s", error);
    cr_expect_not(dial_served("\0\0", 2, error, sizeof(error)));
    cr_expect_not_null(strstr(error, "does not answer: Connection reset by peer"), "%s", error);
}

Test(dial, I6_a_wedged_listener_is_not)
{
    struct peer peer = {0};
    char error[200] = "";
    char expected[200];
    open_port(&peer); /* the kernel accepts; nobody answers */
    cr_expect_not(qd_dial_http2("127.0.0.1", peer.port, error, sizeof(error)));
    snprintf(expected, sizeof(expected),
             "gRPC port 127.0.0.1:%u does not answer: Connection timed out", (unsigned)peer.port);
    cr_expect_str_eq(error, expected);
    close(peer.fd);
}

Test(dial, I6_a_closed_port_is_not)
{
    struct peer peer = {0};
    char error[200] = "";
    open_port(&peer);
    close(peer.fd);
    cr_expect_not(qd_dial_http2("127.0.0.1", peer.port, error, sizeof(error)));
    cr_expect_not_null(strstr(error, "does not answer: Connection refused"), "%s", error);
}

Test(dial, I6_a_TLS_record_is_life)
{
    char error[200] = "";
    cr_expect(dial_peer(true, "\x16\3\3\0\4", 5, error, sizeof(error)), "%s", error);
    /* An alert: it wants a client's certificate, say. */
    cr_expect(dial_peer(true, "\x15\3\3\0\2", 5, error, sizeof(error)), "%s", error);
}

Test(dial, I6_plaintext_is_no_TLS)
{
    char error[200] = "";
    cr_expect_not(dial_peer(true, "\0\0\0\4\0\0\0\0\0", 9, error, sizeof(error)));
    cr_expect_not_null(strstr(error, "does not answer: Protocol error"), "%s", error);
    cr_expect_not(dial_peer(true, "\x16\3", 2, error, sizeof(error)));
    cr_expect_not_null(strstr(error, "does not answer: Connection reset by peer"), "%s", error);
}
