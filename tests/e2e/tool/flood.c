/* Floods for a port of quotad (X3), on loopback only, and a client that calls meanwhile.
 *
 *   flood KIND HOST:PORT [OPTION...]
 *       Connections, so many at once, for so long; those that the server closes are made again.
 *       Ends sooner when nothing is left to do.
 *       Prints: `connects=N closed=N sent=BYTES heard=BYTES`.
 *         -c CONNECTIONS  at once
 *         -t SECONDS
 *         -n CONNECTS     in all, at most
 *         -b BYTES        sent on each, at most
 *         -l MS           each is hung up then, and made again
 *   flood call HOST:PORT [-t SECONDS]
 *       One call after another, each on a connection of its own, 20 a second. Prints:
 *       `calls=N failed=N slowest_ms=N`. Exit 0.
 *   flood until HOST:PORT [-t SECONDS] [-n CALLS]
 *       Calls until CALLS (20) succeed one after the other on one connection, then exit 0; 1 after
 *       SECONDS without.
 *   -f FROM: from this address.
 *   -s: over TLS, whoever answers.
 */
#include "tests/e2e/tool/flood.h"
#include "tests/e2e/tool/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CALL_MS      1000
#define CALL_PAUSE   50
#define EVENTS       256
#define MAKE_A_ROUND 200

struct options {
    struct sockaddr_in to, from;
    uint64_t connections, seconds, connects, bytes, lasts_ms;
    bool tls;
};

struct link {
    struct wire wire;
    bool ended;
    uint64_t bytes, made_ms;
    struct flood_peer peer;
};

struct flood {
    const struct flood_kind *kind;
    const struct options *options;
    struct link *links;
    int epoll;
    uint64_t open, connects, closed, sent, heard;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&pause, NULL);
}

static bool dial(struct wire *wire, const struct options *o)
{
    return wire_dial(wire, &o->from, &o->to, o->tls);
}

/* --- a flood --- */

static void hang_up(struct flood *f, struct link *l)
{
    wire_close(&l->wire);
    free(l->peer.out.data);
    *l = (struct link){.wire = {.fd = -1}};
    f->open--;
}

static void make(struct flood *f, struct link *l)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = l}};
    memset(l, 0, sizeof(*l));
    if (!dial(&l->wire, f->options)) {
        return;
    }
    l->ended = f->kind->next == NULL;
    l->made_ms = now_ms();
    f->open++;
    f->connects++;
    (void)epoll_ctl(f->epoll, EPOLL_CTL_ADD, l->wire.fd, &event);
}

/* False: the connection is gone. */
static bool listen_to(struct flood *f, struct link *l)
{
    static char heard[65536];

    for (;;) {
        ssize_t n = wire_receive(&l->wire, heard, sizeof(heard));
        if (n > 0) {
            f->heard += (uint64_t)n;
        } else {
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        }
    }
}

/* One chunk's worth, so that all get their turn. False: the connection is gone. */
static bool say(struct flood *f, struct link *l)
{
    struct flood_peer *p = &l->peer;

    if (p->sent == p->out.size && !l->ended) {
        p->out.size = p->sent = 0;
        l->ended = !f->kind->next(p);
    }
    if (p->sent == p->out.size) {
        return true;
    }
    ssize_t n = wire_send(&l->wire, p->out.data + p->sent, p->out.size - p->sent);
    if (n < 0) {
        return errno == EAGAIN || errno == ENOTCONN || errno == EINTR;
    }
    p->sent += (size_t)n;
    l->bytes += (uint64_t)n;
    f->sent += (uint64_t)n;
    l->ended |= f->options->bytes > 0 && l->bytes >= f->options->bytes;
    return true;
}

static bool may_connect(const struct flood *f)
{
    return f->options->connects == 0 || f->connects < f->options->connects;
}

/* A turn for each connection that can send or has something to hear. */
static void go_round(struct flood *f)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(f->epoll, events, EVENTS, 1);

    for (int i = 0; i < count; i++) {
        struct link *l = events[i].data.ptr;
        bool gone = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
        if (!gone && (f->kind->reads || l->ended) && (events[i].events & EPOLLIN) != 0) {
            gone = !listen_to(f, l);
        }
        if (!gone && (events[i].events & EPOLLOUT) != 0) {
            gone = !say(f, l);
        }
        if (gone) {
            f->closed++;
            hang_up(f, l);
        } else if (!l->ended || l->peer.sent < l->peer.out.size) { /* edges: ask again */
            struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = l}};
            (void)epoll_ctl(f->epoll, EPOLL_CTL_MOD, l->wire.fd, &event);
        }
    }
}

static void hang_up_old(struct flood *f)
{
    uint64_t now = now_ms();

    for (uint64_t i = 0; i < f->options->connections; i++) {
        struct link *l = &f->links[i];
        if (l->wire.fd >= 0 && now - l->made_ms >= f->options->lasts_ms) {
            hang_up(f, l);
        }
    }
}

static void run_flood(struct flood *f)
{
    uint64_t end = now_ms() + f->options->seconds * 1000;
    uint64_t next = 0;

    for (uint64_t i = 0; i < f->options->connections; i++) {
        f->links[i].wire.fd = -1;
    }
    while (now_ms() < end && (f->open > 0 || may_connect(f))) {
        for (int made = 0;
             made < MAKE_A_ROUND && f->open < f->options->connections && may_connect(f) &&
             (f->kind->returns || f->connects < f->options->connections);
             next++) {
            struct link *l = &f->links[next % f->options->connections];
            if (l->wire.fd < 0) {
                make(f, l);
                made++;
            }
        }
        go_round(f);
        if (f->options->lasts_ms > 0) {
            hang_up_old(f);
        }
    }
    for (uint64_t i = 0; i < f->options->connections; i++) {
        if (f->links[i].wire.fd >= 0) {
            hang_up(f, &f->links[i]);
        }
    }
}

static int flood_main(const struct flood_kind *kind, const struct options *options)
{
    struct flood f = {.kind = kind, .options = options};

    f.links = calloc(options->connections, sizeof(*f.links));
    f.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (f.links == NULL || f.epoll < 0) {
        perror("flood");
        return 1;
    }
    run_flood(&f);
    (void)printf("connects=%llu closed=%llu sent=%llu heard=%llu\n", (unsigned long long)f.connects,
                 (unsigned long long)f.closed, (unsigned long long)f.sent,
                 (unsigned long long)f.heard);
    free(f.links);
    (void)close(f.epoll);
    return 0;
}

/* --- a client --- */

/* Wait for the socket, until `end`. */
static bool wait_for(int fd, short events, uint64_t end)
{
    struct pollfd ready = {.fd = fd, .events = events};
    uint64_t now = now_ms();

    return now < end && poll(&ready, 1, (int)(end - now)) == 1;
}

static bool read_whole(struct wire *wire, uint8_t *bytes, size_t size, uint64_t end)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = wire_receive(wire, bytes + got, size - got);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0 || errno != EAGAIN || !wait_for(wire->fd, POLLIN, end)) {
            return false;
        }
    }
    return true;
}

/* Only a call that succeeds is answered by a message. */
static bool answered(struct wire *wire, uint32_t stream, uint64_t end)
{
    uint8_t head[9], payload[65536];

    while (read_whole(wire, head, sizeof(head), end)) {
        size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        uint32_t on =
            (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
        if (size > sizeof(payload) || !read_whole(wire, payload, size, end)) {
            return false;
        }
        if (head[3] == 0 && on == stream) {
            return true;
        }
        if (on == stream && (head[3] == 3 || (head[4] & 1) != 0)) {
            return false; /* reset, or a status alone */
        }
    }
    return false;
}

static bool write_whole(struct wire *wire, const uint8_t *bytes, size_t size, uint64_t end)
{
    for (size_t gone = 0; gone < size;) {
        ssize_t n = wire_send(wire, bytes + gone, size - gone);
        if (n > 0) {
            gone += (size_t)n;
        } else if (n == 0 || errno != EAGAIN || !wait_for(wire->fd, POLLIN | POLLOUT, end)) {
            return false;
        }
    }
    return true;
}

static bool call(struct wire *wire, uint32_t stream)
{
    struct flood_bytes out = {0};
    uint64_t end = now_ms() + CALL_MS;

    if (stream == 1) {
        flood_preface(&out, 65535);
    }
    flood_call(&out, stream);
    bool ok = wait_for(wire->fd, POLLOUT, end) && write_whole(wire, out.data, out.size, end) &&
              answered(wire, stream, end);
    free(out.data);
    return ok;
}

static int call_main(const struct options *o)
{
    uint64_t end = now_ms() + o->seconds * 1000;
    unsigned long long calls = 0, failed = 0, slowest = 0;

    while (now_ms() < end) {
        uint64_t began = now_ms();
        struct wire wire;
        bool ok = dial(&wire, o) && call(&wire, 1);
        wire_close(&wire);
        calls++;
        failed += !ok;
        slowest = now_ms() - began > slowest ? now_ms() - began : slowest;
        pause_ms(CALL_PAUSE);
    }
    (void)printf("calls=%llu failed=%llu slowest_ms=%llu\n", calls, failed, slowest);
    return 0;
}

static bool calls_succeed(const struct options *o)
{
    struct wire wire;
    bool ok = dial(&wire, o);

    for (uint32_t i = 0; ok && i < o->connects; i++) {
        ok = call(&wire, 2 * i + 1);
    }
    wire_close(&wire);
    return ok;
}

static int until_main(const struct options *o)
{
    uint64_t began = now_ms();

    while (now_ms() < began + o->seconds * 1000) {
        if (calls_succeed(o)) {
            (void)printf("after_ms=%llu\n", (unsigned long long)(now_ms() - began));
            return 0;
        }
        pause_ms(CALL_PAUSE);
    }
    (void)printf("never\n");
    return 1;
}

/* --- options --- */

static int usage(void)
{
    (void)fprintf(stderr, "flood KIND|call|until HOST:PORT [-c CONNECTIONS] [-t SECONDS] "
                          "[-n COUNT] [-b BYTES] [-l MS] [-f FROM] [-s]\n");
    for (const struct flood_kind *k = flood_kinds; k->name != NULL; k++) {
        (void)fprintf(stderr, "  %-16s %s\n", k->name, k->text);
    }
    return 2;
}

static bool parse_address(const char *text, struct sockaddr_in *ret)
{
    char host[64];
    unsigned port = 0;

    ret->sin_family = AF_INET;
    if (sscanf(text, "%63[0-9.]:%u", host, &port) < 1 ||
        inet_pton(AF_INET, host, &ret->sin_addr) != 1) {
        return false;
    }
    ret->sin_port = htons((uint16_t)port);
    return (ntohl(ret->sin_addr.s_addr) >> 24) == 127; /* nobody else is flooded */
}

static bool parse(int argc, char **argv, struct options *o)
{
    int option;
    bool ok = argc > 2 && parse_address(argv[2], &o->to) && parse_address("127.0.0.1", &o->from);

    optind = 3;
    while (ok && (option = getopt(argc, argv, "c:t:n:b:l:f:s")) != -1) {
        switch (option) {
        case 'c':
            o->connections = strtoull(optarg, NULL, 10);
            break;
        case 't':
            o->seconds = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            o->connects = strtoull(optarg, NULL, 10);
            break;
        case 'b':
            o->bytes = strtoull(optarg, NULL, 10);
            break;
        case 'l':
            o->lasts_ms = strtoull(optarg, NULL, 10);
            break;
        case 's':
            o->tls = true;
            break;
        case 'f':
            ok = parse_address(optarg, &o->from);
            break;
        default:
            ok = false;
        }
    }
    return ok && o->connections > 0 && o->connections <= 100000;
}

int main(int argc, char **argv)
{
    struct options o = {.connections = 1, .seconds = 10};

    if (!parse(argc, argv, &o)) {
        return usage();
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (strcmp(argv[1], "call") == 0) {
        return call_main(&o);
    }
    if (strcmp(argv[1], "until") == 0) {
        o.connects = o.connects > 0 ? o.connects : 20;
        return until_main(&o);
    }
    for (const struct flood_kind *k = flood_kinds; k->name != NULL; k++) {
        if (strcmp(argv[1], k->name) == 0) {
            return flood_main(k, &o);
        }
    }
    return usage();
}
