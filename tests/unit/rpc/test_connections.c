/* The caps on connections, against a plain list of what is open. */
#include "server/net/address.h"
#include "server/rpc/connections.h"
#include "tests/lib/prng.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage storage;
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};

    memset(&storage, 0, sizeof(storage));
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
        memcpy(&storage, &four, sizeof(four));
    } else {
        cr_assert_eq(inet_pton(AF_INET6, text, &six.sin6_addr), 1, "%s", text);
        memcpy(&storage, &six, sizeof(six));
    }
    return storage;
}

static enum qd_refusal add(struct qd_connections *c, int *ret_fd, const char *text)
{
    struct sockaddr_storage peer = address(text);

    *ret_fd = socket(AF_INET, SOCK_STREAM, 0);
    enum qd_refusal why = qd_connections_add(c, *ret_fd, &peer);
    if (why != QD_REFUSAL_COUNT) {
        (void)close(*ret_fd);
    }
    return why;
}

Test(connections, X2_a_cap_in_total)
{
    struct qd_connections c;
    int fd[4];

    cr_assert(qd_connections_init(&c, 3, 3));
    cr_expect_eq(add(&c, &fd[0], "10.0.0.1"), QD_REFUSAL_COUNT);
    cr_expect_eq(add(&c, &fd[1], "10.0.0.2"), QD_REFUSAL_COUNT);
    cr_expect_eq(add(&c, &fd[2], "10.0.0.3"), QD_REFUSAL_COUNT);
    cr_expect_eq(add(&c, &fd[3], "10.0.0.4"), QD_REFUSED_TOTAL);
    cr_expect_eq(c.open, 3);
    (void)close(fd[1]);
    qd_connections_sweep(&c);
    cr_expect_eq(c.open, 2);
    cr_expect_eq(add(&c, &fd[1], "10.0.0.4"), QD_REFUSAL_COUNT);
    for (int i = 0; i < 3; i++) {
        (void)close(fd[i]);
    }
    qd_connections_sweep(&c);
    cr_expect_eq(c.open, 0);
    cr_expect_eq(c.fd_end, 0);
    qd_connections_release(&c);
}

Test(connections, X2_a_cap_of_each_address)
{
    struct qd_connections c;
    int fd[5];

    cr_assert(qd_connections_init(&c, 10, 2));
    cr_expect_eq(add(&c, &fd[0], "10.0.0.1"), QD_REFUSAL_COUNT);
    cr_expect_eq(add(&c, &fd[1], "::ffff:10.0.0.1"), QD_REFUSAL_COUNT); /* the same address */
    cr_expect_eq(add(&c, &fd[2], "10.0.0.1"), QD_REFUSED_ADDRESS);
    cr_expect_eq(add(&c, &fd[2], "10.0.0.2"), QD_REFUSAL_COUNT);
    /* Who has one address of a /64 has all of them. */
    cr_expect_eq(add(&c, &fd[3], "2001:db8:1:2::1"), QD_REFUSAL_COUNT);
    cr_expect_eq(add(&c, &fd[4], "2001:db8:1:2:ffff::2"), QD_REFUSAL_COUNT);
    int over;
    cr_expect_eq(add(&c, &over, "2001:db8:1:2:abcd::3"), QD_REFUSED_ADDRESS);
    cr_expect_eq(add(&c, &over, "2001:db8:1:3::1"), QD_REFUSAL_COUNT);
    (void)close(over);
    for (int i = 0; i < 5; i++) {
        (void)close(fd[i]);
    }
    qd_connections_release(&c);
}

Test(connections, X2_a_number_that_comes_back_is_another_connection)
{
    struct qd_connections c;
    int fd, again;

    cr_assert(qd_connections_init(&c, 1, 1));
    cr_expect_eq(add(&c, &fd, "10.0.0.1"), QD_REFUSAL_COUNT);
    (void)close(fd); /* no sweep: the number alone tells */
    cr_expect_eq(add(&c, &again, "10.0.0.1"), QD_REFUSAL_COUNT);
    cr_expect_eq(again, fd);
    cr_expect_eq(c.open, 1);
    (void)close(again);
    /* Now the number is a file's. */
    FILE *file = fopen("/dev/null", "r");
    cr_assert_eq(fileno(file), fd);
    qd_connections_sweep(&c);
    cr_expect_eq(c.open, 0);
    (void)fclose(file);
    qd_connections_release(&c);
}

#define OPEN_MAX_ 24
#define STEPS     20000

struct naive {
    int fds[OPEN_MAX_];
    unsigned addresses[OPEN_MAX_];
    uint32_t count;
};

static uint32_t count_of(const struct naive *n, unsigned who)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < n->count; i++) {
        count += n->addresses[i] == who;
    }
    return count;
}

static void open_one(struct qd_connections *c, struct naive *n, unsigned who)
{
    char text[32];
    int fd;

    qd_connections_sweep(c);
    (void)snprintf(text, sizeof(text), "10.0.0.%u", who);
    enum qd_refusal why = add(c, &fd, text);
    enum qd_refusal wanted = n->count == OPEN_MAX_   ? QD_REFUSED_TOTAL
                             : count_of(n, who) == 5 ? QD_REFUSED_ADDRESS
                                                     : QD_REFUSAL_COUNT;
    cr_assert_eq(why, wanted);
    if (why == QD_REFUSAL_COUNT) {
        n->fds[n->count] = fd;
        n->addresses[n->count++] = who;
    }
}

Test(connections, X2_any_order_of_opening_and_closing)
{
    struct qd_connections c;
    struct naive n = {.count = 0};
    struct qd_prng prng;

    qd_prng_init(&prng, qd_prng_seed("connections", 5));
    cr_assert(qd_connections_init(&c, OPEN_MAX_, 5));
    for (int step = 0; step < STEPS; step++) {
        if (qd_prng_below(&prng, 5) < 3) {
            open_one(&c, &n, (unsigned)qd_prng_below(&prng, 9));
        } else if (n.count > 0) {
            uint32_t i = (uint32_t)qd_prng_below(&prng, n.count);
            (void)close(n.fds[i]);
            n.count--;
            n.fds[i] = n.fds[n.count];
            n.addresses[i] = n.addresses[n.count];
        }
        cr_assert_geq(c.open, n.count);
    }
    qd_connections_sweep(&c);
    cr_expect_eq(c.open, n.count);
    for (uint32_t i = 0; i < n.count; i++) {
        (void)close(n.fds[i]);
    }
    qd_connections_sweep(&c);
    cr_expect_eq(c.open, 0);
    qd_connections_release(&c);
}

static void expect_same(const char *peer, const char *text)
{
    struct sockaddr_storage of = address(text);
    uint8_t expected[16];
    uint8_t read[16];

    qd_address_of((const struct sockaddr *)&of, expected);
    cr_expect(qd_connections_address(peer, read), "%s", peer);
    cr_expect_arr_eq(read, expected, sizeof(read), "%s", peer);
}

/* Calls and connections of an address are the same address's. */
Test(connections, X3_a_peers_text_is_the_address_that_the_caps_count)
{
    static const char *const none[] = {"unknown",
                                       "",
                                       "unix:/run/quotad.sock",
                                       "ipv4:",
                                       "ipv4:1.2.3:80",
                                       "ipv6:%5B",
                                       "ipv6:%5Bnonsense%5D:1",
                                       "ipv6:[::1]:1",
                                       "ipv4:1111111111111111111111111111111111111111111111111:1"};
    uint8_t bytes[16];

    expect_same("ipv4:127.0.0.1:4711", "127.0.0.1");
    expect_same("ipv4:10.1.2.3:1", "::ffff:10.1.2.3");
    expect_same("ipv6:%5B::1%5D:4711", "::1");
    expect_same("ipv6:%5B2001:db8::7%5D:4711", "2001:db8::1234"); /* the same 64 bits */
    expect_same("ipv6:%5Bfe80::1%252%5D:4711", "fe80::1");
    expect_same("ipv6:%5B::ffff:10.1.2.3%5D:1", "10.1.2.3");
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        cr_expect_not(qd_connections_address(none[i], bytes), "%s", none[i]);
    }
}
