#include "server/net/gate.h"

#include "server/net/address.h"

#include <assert.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
/* So long after its last answer, or since it came, a connection may have to give way. */
#define UNFINISHED_NS (NS_PER_S / 5) /* with a part of a request, or none yet */
#define IDLE_NS       (2 * NS_PER_S)

struct place {
    bool taken;
    bool cut; /* the daemon has not closed it yet */
    int fd;
    int64_t answered_ns; /* the last time; or when it came */
    bool answered;
    uint64_t received; /* bytes, until it was answered */
    uint8_t address[QD_ADDRESS_BYTES];
};

struct qd_gate {
    pthread_mutex_t lock;
    uint32_t count; /* of places */
    uint32_t address_max;
    _Atomic uint64_t *cut;
    struct place places[];
};

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

struct qd_gate *qd_gate_new(uint32_t places, _Atomic uint64_t *cut)
{
    struct qd_gate *gate = calloc(1, sizeof(*gate) + places * sizeof(gate->places[0]));

    assert(places >= QD_GATE_PLACES_MIN);
    if (gate == NULL) {
        return NULL;
    }
    (void)pthread_mutex_init(&gate->lock, NULL);
    gate->count = places;
    gate->address_max = (places - 1) - (places - 1) / 4;
    gate->cut = cut;
    return gate;
}

void qd_gate_free(struct qd_gate *gate)
{
    if (gate != NULL) {
        (void)pthread_mutex_destroy(&gate->lock);
        free(gate);
    }
}

/* Locked, as all below. The daemon finds the connection's end and closes it; until it has told so,
 * the descriptor is this connection's. */
static void cut(struct qd_gate *gate, struct place *place, enum qd_gate_cut why)
{
    (void)shutdown(place->fd, SHUT_RDWR);
    place->cut = true;
    (void)atomic_fetch_add_explicit(&gate->cut[why], 1, memory_order_relaxed);
}

static bool is_open_of(const struct place *p, const uint8_t *address)
{
    return p->taken && !p->cut &&
           (address == NULL || memcmp(p->address, address, sizeof(p->address)) == 0);
}

static uint64_t received(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);

    memset(&info, 0, sizeof(info));
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_received : 0;
}

static bool is_unfinished(const struct place *place)
{
    return !place->answered || received(place->fd) > place->received;
}

/* Of two, NULL or such that may have to give way, the one that does: rather a drip than one that
 * idles between two requests. */
static struct place *worse(struct place *a, struct place *b, int64_t now)
{
    bool unfinished = is_unfinished(b);

    if (now - b->answered_ns < (unfinished ? UNFINISHED_NS : IDLE_NS)) {
        return a;
    }
    if (a == NULL || is_unfinished(a) != unfinished) {
        return a == NULL || unfinished ? b : a;
    }
    return b->answered_ns < a->answered_ns ? b : a;
}

/* How many are open, of an address or (NULL) of all. */
static uint32_t count(const struct qd_gate *gate, const uint8_t *address)
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < gate->count; i++) {
        open += is_open_of(&gate->places[i], address);
    }
    return open;
}

/* Which of them gives way; NULL: none. */
static struct place *choose(struct qd_gate *gate, const uint8_t *address)
{
    struct place *worst = NULL;
    int64_t now = now_ns();

    for (uint32_t i = 0; i < gate->count; i++) {
        if (is_open_of(&gate->places[i], address)) {
            worst = worse(worst, &gate->places[i], now);
        }
    }
    return worst;
}

static struct place *free_place(struct qd_gate *gate)
{
    for (uint32_t i = 0; i < gate->count; i++) {
        if (!gate->places[i].taken) {
            return &gate->places[i];
        }
    }
    return NULL;
}

static struct place *enter(struct qd_gate *gate, int fd, const struct sockaddr *peer)
{
    struct place *place = free_place(gate);
    bool crowded;
    bool alone; /* that address */

    assert(place != NULL); /* the daemon has as many connections as there are places */
    *place = (struct place){.taken = true, .fd = fd, .answered_ns = now_ns()};
    qd_address_of(peer, place->address);
    alone = count(gate, place->address) > gate->address_max;
    crowded = alone || count(gate, NULL) > gate->count - 1;
    if (crowded) {
        struct place *worst = choose(gate, alone ? place->address : NULL);
        cut(gate, worst != NULL ? worst : place, QD_GATE_CROWDED);
    }
    return place;
}

void qd_gate_notify(void *context, struct MHD_Connection *connection, void **socket_context,
                    enum MHD_ConnectionNotificationCode code)
{
    struct qd_gate *gate = context;
    struct place *place = *socket_context;

    (void)pthread_mutex_lock(&gate->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *socket_context = enter(
            gate, fd,
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
    } else if (place != NULL) {
        place->taken = false;
    }
    (void)pthread_mutex_unlock(&gate->lock);
}

void qd_gate_answered(struct qd_gate *gate, struct MHD_Connection *connection)
{
    struct place *place =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;

    (void)pthread_mutex_lock(&gate->lock);
    place->answered_ns = now_ns();
    place->answered = true;
    place->received = received(place->fd);
    (void)pthread_mutex_unlock(&gate->lock);
}

void qd_gate_sweep(void *context)
{
    struct qd_gate *gate = context;
    int64_t before = now_ns() - QD_GATE_PATIENCE_S * NS_PER_S;

    (void)pthread_mutex_lock(&gate->lock);
    for (uint32_t i = 0; i < gate->count; i++) {
        struct place *p = &gate->places[i];
        if (p->taken && !p->cut && p->answered_ns < before) {
            cut(gate, p, QD_GATE_SLOW);
        }
    }
    (void)pthread_mutex_unlock(&gate->lock);
}
