/* HOST:PORT as listening sockets. */
#include "server/rpc/listen.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct qd_error error;

static bool connects(const char *host, int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(inet_pton(AF_INET, host, &name.sin_addr), 1);
    bool done = connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0;
    (void)close(fd);
    return done;
}

Test(listen, I10_port_0_is_any_free_one)
{
    struct qd_listen listen;

    cr_assert_eq(qd_listen_open(&listen, "127.0.0.1:0", "--listen", &error), QD_ERROR_NONE);
    cr_expect_eq(listen.count, 1);
    cr_expect_gt(listen.port, 0);
    cr_expect(connects("127.0.0.1", listen.port));
    cr_expect_not(connects("127.0.0.2", listen.port));
    qd_listen_close(&listen);
    cr_expect_not(connects("127.0.0.1", listen.port));
}

Test(listen, I10_a_name_is_listened_on_at_each_of_its_addresses_by_one_port)
{
    struct qd_listen listen;

    cr_assert_eq(qd_listen_open(&listen, "localhost:0", "--listen", &error), QD_ERROR_NONE);
    for (uint32_t i = 0; i < listen.count; i++) {
        struct sockaddr_in6 name = {0};
        socklen_t size = sizeof(name);
        cr_assert_eq(getsockname(listen.fds[i], (struct sockaddr *)&name, &size), 0);
        cr_expect_eq(ntohs(name.sin6_port), listen.port); /* at the same place in IPv4's */
    }
    cr_expect(connects("127.0.0.1", listen.port));
    qd_listen_close(&listen);
}

Test(listen, I10_all_addresses)
{
    struct qd_listen listen;

    cr_assert_eq(qd_listen_open(&listen, "0.0.0.0:0", "--listen", &error), QD_ERROR_NONE);
    cr_expect(connects("127.0.0.2", listen.port));
    qd_listen_close(&listen);
    if (qd_listen_open(&listen, "[::]:0", "--listen", &error) == QD_ERROR_NONE) { /* has IPv6 */
        cr_expect(connects("127.0.0.2", listen.port));
        qd_listen_close(&listen);
    }
}

Test(listen, X4_a_port_in_use_is_refused_and_a_port_just_left_is_not)
{
    struct qd_listen first, second;
    char address[32];
    char wanted[160];

    cr_assert_eq(qd_listen_open(&first, "127.0.0.1:0", "--listen", &error), QD_ERROR_NONE);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", first.port);
    (void)snprintf(wanted, sizeof(wanted),
                   "%s: cannot listen; is another quotad running? choose another address with "
                   "--admin",
                   address);
    cr_expect_eq(qd_listen_open(&second, address, "--admin", &error), QD_ERROR_INTERNAL);
    cr_expect_str_eq(error.text, wanted);
    cr_expect_eq(second.count, 0);
    cr_expect(connects("127.0.0.1", first.port));
    qd_listen_close(&first);
    cr_assert_eq(qd_listen_open(&second, address, "--admin", &error), QD_ERROR_NONE, "%s",
                 error.text);
    qd_listen_close(&second);
}

Test(listen, I10_what_cannot_be_listened_on_says_why)
{
    struct qd_listen listen;

    cr_expect_eq(qd_listen_open(&listen, "nowhere.invalid:1", "--listen", &error),
                 QD_ERROR_INTERNAL);
    cr_expect_eq(strncmp(error.text, "nowhere.invalid:1: cannot listen: ", 34), 0, "%s",
                 error.text);
    cr_expect_eq(qd_listen_open(&listen, "192.0.2.1:0", "--listen", &error), QD_ERROR_INTERNAL);
    cr_expect_str_eq(error.text, "192.0.2.1:0: cannot listen: Cannot assign requested address; "
                                 "choose another address with --listen");
    static const char *const wrong[] = {"", "7070", ":7070", "localhost:1234567890"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_expect_eq(qd_listen_open(&listen, wrong[i], "--listen", &error), QD_ERROR_INTERNAL);
        cr_expect_not_null(strstr(error.text, "is not HOST:PORT"), "%s", error.text);
    }
}

Test(listen, X3_connections_inherit_what_bounds_a_dead_peer)
{
    struct qd_listen listen;
    struct sockaddr_in name = {.sin_family = AF_INET};
    int value = 0;
    socklen_t size = sizeof(value);

    cr_assert_eq(qd_listen_open(&listen, "127.0.0.1:0", "--listen", &error), QD_ERROR_NONE);
    name.sin_port = htons((uint16_t)listen.port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(client, (struct sockaddr *)&name, sizeof(name)), 0);
    int server = accept(listen.fds[0], NULL, NULL);
    cr_assert_geq(server, 0);
    cr_expect_eq(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    cr_expect_neq(value, 0);
    cr_expect_eq(getsockopt(server, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    cr_expect_eq(value, 20000);
    (void)close(server);
    (void)close(client);
    qd_listen_close(&listen);
}
