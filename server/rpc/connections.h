/* Which connections are open, and how many of each address: the caps (X2).
 *
 * Layer:    rpc
 * Threads:  one at a time.
 * Memory:   what init allocates, by the caps; no more.
 *
 * gRPC does not say when it closes a connection. But a socket's inode number is its own: a
 * descriptor that has another, or none, is no longer that connection. So each is remembered by
 * (descriptor, inode), and looked at again by a sweep, or when its number comes back. Between
 * sweeps closed ones count as open, never the other way round.
 * Addresses are counted as server/net/address.h says.
 */
#ifndef QD_RPC_CONNECTIONS_H
#define QD_RPC_CONNECTIONS_H

#include "server/rpc/leavers.h"
#include "server/shard/node.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define QD_CONNECTIONS_MAX (1U << 20)

/* Bytes received that a byte sent answers. The most that is needed: 1 MiB in a message that is
 * refused as too large has 150 bytes of answer; a report of 256 KiB has 100; uploads have window
 * updates, 13 bytes for each 32 KiB. */
#define QD_ANSWER_WORTH 8192U
/* What is usual for a call: 150 bytes are answered by 60. Batches of reports need more. */
#define QD_ANSWER_USUAL 64U

struct qd_connection {
    uint64_t inode; /* 0: none is known by this descriptor */
    uint32_t peer;  /* index in peers */
    bool is_cut;    /* it was ended here; gRPC has not closed it yet */
    bool has_left;  /* its end has been seen; likewise */
    uint64_t made_ms;
    /* Bytes, as of the last look. */
    uint64_t received;
    uint64_t answered;   /* sent, and acknowledged by the peer's machine */
    uint64_t unanswered; /* received, less QD_ANSWER_WORTH for each that was sent since */
    uint64_t excess;     /* of late, less QD_ANSWER_USUAL for each; qd_connections_fade */
};

/* An address with open connections. */
struct qd_peer {
    uint8_t address[16];
    uint32_t count; /* 0: free */
    uint32_t next;  /* in its bucket, or of the free ones; QD_PEER_NONE: the last */
};

struct qd_connections {
    uint32_t max;
    uint32_t per_address_max;
    uint32_t open;
    uint64_t
        now_ms;   /* of the caller's clock, which sets it: for how long a connection has lasted */
    uint32_t fds; /* length of by_fd */
    uint32_t fd_end;      /* all known descriptors are below */
    uint32_t peer_free;   /* first of the free ones */
    uint32_t bucket_mask; /* buckets: a power of two, less 1 */
    uint64_t unanswered;  /* of all, as of the last look */
    uint64_t seed;        /* nobody can choose addresses that share a bucket */
    struct qd_leavers leavers;
    struct qd_connection *by_fd;
    struct qd_peer *peers;
    uint32_t *buckets;
};

/* Both caps are at least 1. False: out of memory. */
bool qd_connections_init(struct qd_connections *connections, uint32_t max,
                         uint32_t per_address_max);
void qd_connections_release(struct qd_connections *connections);

/* Remember a socket that was just accepted: QD_REFUSAL_COUNT. Or the cap that it is over: it isn't
 * remembered then; after a sweep it may fit. */
enum qd_refusal qd_connections_add(struct qd_connections *connections, int fd,
                                   const struct sockaddr_storage *peer);

/* Forget what is closed. */
void qd_connections_sweep(struct qd_connections *connections);

/* Forget what is closed, and see what has come and gone on the others since the last look. Returns
 * the bytes that came on all of them. */
uint64_t qd_connections_look(struct qd_connections *connections);

/* That with the most unanswered, if these are `least` or more; -1: none. */
int qd_connections_worst(const struct qd_connections *connections, uint64_t least);

/* Likewise, that with the greatest excess. */
int qd_connections_greediest(const struct qd_connections *connections, uint64_t least);

/* The first of this address whose client has hung up, from the descriptor `from` on; -1: there is
 * none. */
int qd_connections_left(const struct qd_connections *connections, const uint8_t address[16],
                        int from);

/* Half of each one's excess is forgotten, and half of what leavers did: it is of late. */
void qd_connections_fade(struct qd_connections *connections);

/* That from this address and port (gRPC's text: "ipv4:127.0.0.1:4711"); -1: none. */
int qd_connections_find(const struct qd_connections *connections, const char *peer);

/* The address in gRPC's text, as the caps count it. False: it is none ("unknown"). */
bool qd_connections_address(const char *peer, uint8_t ret_address[16]);

/* End a connection at once: what came and was not read is thrown away. gRPC finds its end, and
 * closes the descriptor. */
void qd_connections_cut(struct qd_connections *connections, int fd);

#endif /* QD_RPC_CONNECTIONS_H */
