#include "server/rpc/connections.h"

#include "server/core/hash.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define QD_PEER_NONE UINT32_MAX
/* The kernel gives the lowest free number: those of connections are below their count and that of
 * all other files. */
#define OTHER_FDS_MAX 8192U

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

static void address_of(const struct sockaddr_storage *peer, uint8_t address[16])
{
    memset(address, 0, 16);
    if (peer->ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, peer, sizeof(six));
        memcpy(address, &six.sin6_addr, IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) ? 16 : 8);
    } else {
        struct sockaddr_in four;
        memcpy(&four, peer, sizeof(four));
        address[10] = address[11] = 0xff; /* as IPv6 writes it */
        memcpy(address + 12, &four.sin_addr, 4);
    }
}

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

static void forget(struct qd_connections *c, uint32_t fd)
{
    uint32_t peer = c->by_fd[fd].peer;

    assert(c->open > 0 && c->peers[peer].count > 0);
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
    address_of(peer, address);
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
    c->by_fd[fd] = (struct qd_connection){inode, known};
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
