#include "server/rpc/connections.h"

#include "server/core/hash.h"
#include "server/net/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define QD_PEER_NONE UINT32_MAX
/* The kernel gives the lowest free number: those of connections are below their count and that of
 * all other files. */
#define OTHER_FDS_MAX 8192U
/* TCP_ESTABLISHED of <netinet/tcp.h>, which does not go with <linux/tcp.h>. */
#define ESTABLISHED 1

static bool allocate(struct qd_connections *c)
{
    uint32_t buckets = 16;

    while (buckets < c->max) {
        buckets *= 2;
    }
    c->bucket_mask = buckets - 1;
    c->fds = c->max + OTHER_FDS_MAX;
    c->by_fd = calloc(c->fds, sizeof(*c->by_fd));
    c->peers = calloc(c->max, sizeof(*c->peers));
    c->buckets = malloc(buckets * sizeof(*c->buckets));
    return c->by_fd != NULL && c->peers != NULL && c->buckets != NULL;
}

bool qd_connections_init(struct qd_connections *connections, uint32_t max, uint32_t per_address_max)
{
    struct qd_connections *c = connections;

    assert(max > 0 && max <= QD_CONNECTIONS_MAX && per_address_max > 0);
    memset(c, 0, sizeof(*c));
    c->max = max;
    c->per_address_max = per_address_max;
    if (!allocate(c)) {
        qd_connections_release(c);
        return false;
    }
    if (getrandom(&c->seed, sizeof(c->seed), 0) != sizeof(c->seed)) {
        c->seed = (uint64_t)(uintptr_t)c->by_fd; /* worse than random, better than known */
    }
    for (uint32_t i = 0; i < max; i++) {
        c->peers[i].next = i + 1 < max ? i + 1 : QD_PEER_NONE;
    }
    for (uint32_t i = 0; i <= c->bucket_mask; i++) {
        c->buckets[i] = QD_PEER_NONE;
    }
    return true;
}

void qd_connections_release(struct qd_connections *connections)
{
    free(connections->by_fd);
    free(connections->peers);
    free(connections->buckets);
    memset(connections, 0, sizeof(*connections));
}

/* --- addresses --- */

static uint32_t *bucket_of(struct qd_connections *c, const uint8_t address[16])
{
    return &c->buckets[qd_hash64_bytes(address, 16, c->seed) & c->bucket_mask];
}

/* QD_PEER_NONE: it has no open connection. */
static uint32_t find(struct qd_connections *c, const uint8_t address[16])
{
    uint32_t i = *bucket_of(c, address);

    while (i != QD_PEER_NONE && memcmp(c->peers[i].address, address, 16) != 0) {
        i = c->peers[i].next;
    }
    return i;
}

/* There is a free one: no more addresses are known than connections. */
static uint32_t make(struct qd_connections *c, const uint8_t address[16])
{
    uint32_t i = c->peer_free;
    uint32_t *bucket = bucket_of(c, address);

    assert(i != QD_PEER_NONE);
    c->peer_free = c->peers[i].next;
    memcpy(c->peers[i].address, address, 16);
    c->peers[i].count = 0;
    c->peers[i].next = *bucket;
    *bucket = i;
    return i;
}

static void drop(struct qd_connections *c, uint32_t peer)
{
    uint32_t *link = bucket_of(c, c->peers[peer].address);

    while (*link != peer) {
        link = &c->peers[*link].next;
    }
    *link = c->peers[peer].next;
    c->peers[peer].next = c->peer_free;
    c->peer_free = peer;
}

/* --- connections --- */

static uint64_t inode_of(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

/* Once for each, when it shows. One that has lasted may have ended in any way: its client was
 * restarted, or went on to another node, or gRPC closed it for its age. */
static void note_leaving(struct qd_connections *c, struct qd_connection *connection)
{
    if (connection->is_cut || connection->has_left) {
        return;
    }
    connection->has_left = true;
    if (c->now_ms - connection->made_ms <= QD_LEAVERS_SOON_MS &&
        connection->received >= QD_LEAVERS_LEAST) {
        qd_leavers_add_hang_up(&c->leavers, c->peers[connection->peer].address);
    }
}

static void forget(struct qd_connections *c, uint32_t fd)
{
    uint32_t peer = c->by_fd[fd].peer;

    assert(c->open > 0 && c->peers[peer].count > 0);
    note_leaving(c, &c->by_fd[fd]);
    c->by_fd[fd].inode = 0;
    c->open--;
    if (--c->peers[peer].count == 0) {
        drop(c, peer);
    }
}

enum qd_refusal qd_connections_add(struct qd_connections *connections, int fd,
                                   const struct sockaddr_storage *peer)
{
    struct qd_connections *c = connections;
    uint8_t address[16];
    uint64_t inode = inode_of(fd);

    assert(fd >= 0);
    if ((uint32_t)fd >= c->fds || inode == 0) {
        return QD_REFUSED_DESCRIPTORS;
    }
    if (c->by_fd[fd].inode != 0) { /* its number came back: that one is closed */
        forget(c, (uint32_t)fd);
    }
    qd_address_of((const struct sockaddr *)peer, address);
    uint32_t known = find(c, address);
    if (c->open >= c->max) {
        return QD_REFUSED_TOTAL;
    }
    if (known != QD_PEER_NONE && c->peers[known].count >= c->per_address_max) {
        return QD_REFUSED_ADDRESS;
    }
    if (known == QD_PEER_NONE) {
        known = make(c, address);
    }
    c->by_fd[fd] = (struct qd_connection){.inode = inode, .peer = known, .made_ms = c->now_ms};
    c->peers[known].count++;
    c->open++;
    if (c->fd_end <= (uint32_t)fd) {
        c->fd_end = (uint32_t)fd + 1;
    }
    return QD_REFUSAL_COUNT;
}

void qd_connections_sweep(struct qd_connections *connections)
{
    struct qd_connections *c = connections;
    uint32_t end = 0;

    for (uint32_t fd = 0; fd < c->fd_end; fd++) {
        if (c->by_fd[fd].inode == 0) {
            continue;
        }
        if (inode_of((int)fd) != c->by_fd[fd].inode) {
            forget(c, fd);
        } else {
            end = fd + 1;
        }
    }
    c->fd_end = end;
}

/* --- what they send --- */

static bool read_info(int fd, struct tcp_info *ret_info)
{
    socklen_t size = sizeof(*ret_info);

    memset(ret_info, 0, sizeof(*ret_info)); /* an older kernel tells less */
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret_info, &size) == 0;
}

static uint64_t left_of(uint64_t bytes, uint64_t less)
{
    return bytes > less ? bytes - less : 0;
}

static uint64_t look_at(struct qd_connections *c, int fd)
{
    struct qd_connection *connection = &c->by_fd[fd];
    struct tcp_info info;

    if (connection->is_cut || !read_info(fd, &info)) {
        return 0;
    }
    uint64_t came = info.tcpi_bytes_received - connection->received;
    uint64_t went = info.tcpi_bytes_acked - connection->answered;
    connection->unanswered = left_of(connection->unanswered + came, went * QD_ANSWER_WORTH);
    connection->excess = left_of(connection->excess + came, went * QD_ANSWER_USUAL);
    connection->received = info.tcpi_bytes_received;
    connection->answered = info.tcpi_bytes_acked;
    if (info.tcpi_state != ESTABLISHED) {
        note_leaving(c, connection);
    }
    return came;
}

uint64_t qd_connections_look(struct qd_connections *connections)
{
    struct qd_connections *c = connections;
    uint64_t came = 0;

    qd_connections_sweep(c);
    c->unanswered = 0;
    for (uint32_t fd = 0; fd < c->fd_end; fd++) {
        if (c->by_fd[fd].inode != 0) {
            came += look_at(c, (int)fd);
            c->unanswered += c->by_fd[fd].unanswered;
        }
    }
    return came;
}

int qd_connections_worst(const struct qd_connections *connections, uint64_t least)
{
    const struct qd_connections *c = connections;
    int worst = -1;

    for (uint32_t fd = 0; fd < c->fd_end; fd++) {
        if (c->by_fd[fd].inode != 0 && c->by_fd[fd].unanswered >= least) {
            least = c->by_fd[fd].unanswered + 1;
            worst = (int)fd;
        }
    }
    return worst;
}

int qd_connections_greediest(const struct qd_connections *connections, uint64_t least)
{
    const struct qd_connections *c = connections;
    int greediest = -1;

    for (uint32_t fd = 0; fd < c->fd_end; fd++) {
        if (c->by_fd[fd].inode != 0 && c->by_fd[fd].excess >= least) {
            least = c->by_fd[fd].excess + 1;
            greediest = (int)fd;
        }
    }
    return greediest;
}

void qd_connections_fade(struct qd_connections *connections)
{
    struct qd_connections *c = connections;

    for (uint32_t fd = 0; fd < c->fd_end; fd++) {
        c->by_fd[fd].excess /= 2;
    }
    qd_leavers_halve(&c->leavers);
}

int qd_connections_left(const struct qd_connections *connections, const uint8_t address[16],
                        int from)
{
    const struct qd_connections *c = connections;

    for (uint32_t fd = (uint32_t)from; fd < c->fd_end; fd++) {
        const struct qd_connection *connection = &c->by_fd[fd];
        if (connection->inode != 0 && connection->has_left && !connection->is_cut &&
            memcmp(c->peers[connection->peer].address, address, 16) == 0) {
            return (int)fd;
        }
    }
    return -1;
}

/* As gRPC writes it: a v4 address in IPv6's clothes is a v4 address, and an URI has no brackets. */
static void peer_text(int fd, char *text, size_t size)
{
    struct sockaddr_in6 six;
    struct sockaddr_in four;
    struct sockaddr_storage name;
    socklen_t length = sizeof(name);
    char host[INET6_ADDRSTRLEN] = "";

    text[0] = '\0';
    memset(&name, 0, sizeof(name));
    if (getpeername(fd, (struct sockaddr *)&name, &length) != 0) {
        return;
    }
    if (name.ss_family == AF_INET) {
        memcpy(&four, &name, sizeof(four));
        (void)inet_ntop(AF_INET, &four.sin_addr, host, sizeof(host));
        (void)snprintf(text, size, "ipv4:%s:%u", host, ntohs(four.sin_port));
        return;
    }
    memcpy(&six, &name, sizeof(six));
    bool mapped = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr);
    (void)inet_ntop(mapped ? AF_INET : AF_INET6, six.sin6_addr.s6_addr + (mapped ? 12 : 0), host,
                    sizeof(host));
    (void)snprintf(text, size, mapped ? "ipv4:%s:%u" : "ipv6:%%5B%s%%5D:%u", host,
                   ntohs(six.sin6_port));
}

int qd_connections_find(const struct qd_connections *connections, const char *peer)
{
    const struct qd_connections *c = connections;
    char text[INET6_ADDRSTRLEN + 24];

    for (uint32_t fd = 0; fd < c->fd_end; fd++) {
        if (c->by_fd[fd].inode != 0 && inode_of((int)fd) == c->by_fd[fd].inode) {
            peer_text((int)fd, text, sizeof(text));
            if (strcmp(text, peer) == 0) {
                return (int)fd;
            }
        }
    }
    return -1;
}

bool qd_connections_address(const char *peer, uint8_t ret_address[16])
{
    static const char v4[] = "ipv4:";
    static const char v6[] = "ipv6:%5B";
    bool is_six = strncmp(peer, v6, sizeof(v6) - 1) == 0;
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    char host[INET6_ADDRSTRLEN];

    if (!is_six && strncmp(peer, v4, sizeof(v4) - 1) != 0) {
        return false;
    }
    peer += is_six ? sizeof(v6) - 1 : sizeof(v4) - 1;
    size_t length = strcspn(peer, is_six ? "%" : ":"); /* up to a scope, too */
    if (length >= sizeof(host)) {
        return false;
    }
    memcpy(host, peer, length);
    host[length] = '\0';
    if (inet_pton(is_six ? AF_INET6 : AF_INET, host,
                  is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr) != 1) {
        return false;
    }
    qd_address_of(is_six ? (const struct sockaddr *)&six : (const struct sockaddr *)&four,
                  ret_address);
    return true;
}

void qd_connections_cut(struct qd_connections *connections, int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct qd_connection *connection = &connections->by_fd[fd];

    /* gRPC may close it meanwhile; but nobody accepts a connection with its number before the
     * caller is done, and what else may have it does not mind, or is dialled again. */
    if (inode_of(fd) == connection->inode) {
        (void)connect(fd, &none, sizeof(none)); /* not shutdown: that leaves what was received */
    }
    connection->is_cut = true; /* the kernel counts from 0 again */
    connection->unanswered = 0;
    connection->excess = 0;
}
