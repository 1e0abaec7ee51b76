#include "server/rpc/accept.h"

#include "server/log/log.h"
#include "server/rpc/grpc_log.h"
#include "server/rpc/guard.h"
#include "server/rpc/handover.h"
#include "server/rpc/listen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_security.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BURST          64    /* of one socket, then the others' turn */
#define BACK_OFF_MS    100   /* no descriptor, not even the spare one */
#define TELL_MS        10000 /* X8: a flood is a line each so often */
#define POLLED_MAX     (QD_ACCEPT_PORTS_MAX * QD_LISTEN_SOCKETS_MAX + 1)
#define LINE_BYTES_MAX 160

struct accept_port {
    struct qd_listen listen;
    struct qd_handover handover;
};

struct polled {
    struct pollfd fds[POLLED_MAX]; /* [0]: wake */
    struct qd_handover *handovers[POLLED_MAX];
    nfds_t count;
};

struct qd_accept {
    struct qd_accept_config config;
    struct accept_port ports[QD_ACCEPT_PORTS_MAX];
    uint32_t port_count;
    bool ours; /* else gRPC's own listeners */
    struct qd_guard guard;
    bool guarded; /* it is initialised */
    int spare;    /* a descriptor to give up; -1: given up */
    int wake;     /* an eventfd, written to be heard by the thread */
    _Atomic bool stopping;
    pthread_t thread;
    bool started;
    /* The thread's own. */
    uint64_t told_ms;
    uint64_t refused;          /* since it was told */
    const char *refused_cause; /* the last one's; NULL: nothing to tell */
};

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void take_spare(struct qd_accept *a)
{
    if (a->spare < 0) {
        a->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

struct qd_accept *qd_accept_new(const struct qd_accept_config *config)
{
    struct qd_accept *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        return NULL;
    }
    a->config = *config;
    a->ours = !config->grpc_listener && qd_handover_supported(grpc_g_stands_for());
    a->wake = -1;
    for (unsigned i = 0; i < QD_ACCEPT_PORTS_MAX; i++) {
        qd_handover_init(&a->ports[i].handover, i);
    }
    a->spare = -1;
    take_spare(a);
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->guarded =
        qd_guard_init(&a->guard, config->connections_max, config->per_address_max, config->figures);
    if (a->spare < 0 || a->wake < 0 || !a->guarded) {
        qd_accept_free(a);
        return NULL;
    }
    return a;
}

void qd_accept_free(struct qd_accept *accept)
{
    if (accept == NULL) {
        return;
    }
    assert(!accept->started);
    if (accept->spare >= 0) {
        (void)close(accept->spare);
    }
    if (accept->wake >= 0) {
        (void)close(accept->wake);
    }
    if (accept->guarded) {
        qd_guard_release(&accept->guard);
    }
    free(accept);
}

size_t qd_accept_args(struct qd_accept *accept, grpc_arg *ret_args)
{
    for (size_t i = 0; i < QD_ACCEPT_PORTS_MAX; i++) {
        ret_args[i] = qd_handover_arg(&accept->ports[i].handover);
    }
    return QD_ACCEPT_PORTS_MAX;
}

static void tell(struct qd_accept *a, const char *event, const char *text)
{
    if (a->config.hooks->log != NULL) {
        a->config.hooks->log(a->config.hooks->context, QD_LOG_WARN, event, text);
    }
}

static enum qd_error_code listen_by_grpc(struct qd_accept *a, grpc_server *server,
                                         const char *address, const char *flag,
                                         grpc_server_credentials *credentials, int *ret_port,
                                         struct qd_error *ret_error)
{
    char text[LINE_BYTES_MAX];

    (void)snprintf(
        text, sizeof(text),
        "this gRPC (core %s, \"%s\") is not known to take sockets: its own listener serves, "
        "and --max-connections does not hold",
        grpc_version_string(), grpc_g_stands_for());
    tell(a, "no caps on connections", text);
    qd_grpc_log_mute(true);
    *ret_port = grpc_server_add_http2_port(server, address, credentials);
    qd_grpc_log_mute(false);
    return *ret_port != 0 ? QD_ERROR_NONE
                          : qd_error_set(ret_error, QD_ERROR_INTERNAL,
                                         "%s: cannot listen; is another quotad running? choose "
                                         "another address with %s",
                                         address, flag);
}

enum qd_error_code qd_accept_listen(struct qd_accept *accept, grpc_server *server,
                                    const char *address, const char *flag,
                                    grpc_server_credentials *credentials, int *ret_port,
                                    struct qd_error *ret_error)
{
    assert(accept->port_count < QD_ACCEPT_PORTS_MAX && !accept->started);
    if (!accept->ours) {
        return listen_by_grpc(accept, server, address, flag, credentials, ret_port, ret_error);
    }
    struct accept_port *port = &accept->ports[accept->port_count];
    enum qd_error_code code = qd_listen_open(&port->listen, address, flag, ret_error);
    if (code != QD_ERROR_NONE) {
        return code;
    }
    qd_grpc_log_mute(true);
    bool attached = qd_handover_attach(&port->handover, server, credentials);
    qd_grpc_log_mute(false);
    if (!attached) {
        qd_listen_close(&port->listen);
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "%s: gRPC does not take its credentials",
                            address);
    }
    accept->port_count++;
    *ret_port = port->listen.port;
    return QD_ERROR_NONE;
}

static void wake(struct qd_accept *a)
{
    uint64_t one = 1;

    (void)!write(a->wake, &one, sizeof(one));
}

void qd_accept_report(struct qd_accept *accept, const char *peer, enum qd_cutoff why)
{
    qd_guard_report(&accept->guard, peer, why);
}

bool qd_accept_asks_who(const struct qd_accept *accept)
{
    return qd_guard_asks_who(&accept->guard);
}

void qd_accept_cancelled(struct qd_accept *accept, const uint8_t *from)
{
    qd_guard_cancelled(&accept->guard, from);
}

/* --- the thread --- */

static void add_figure(_Atomic uint64_t *figure)
{
    atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

static void tell_refused(struct qd_accept *a)
{
    char text[LINE_BYTES_MAX];
    uint64_t now = now_ms();

    if (a->refused == 0 || (a->told_ms != 0 && now - a->told_ms < TELL_MS)) {
        return;
    }
    (void)snprintf(text, sizeof(text), "%llu refused: %s", (unsigned long long)a->refused,
                   a->refused_cause);
    tell(a, "connections refused", text);
    a->told_ms = now;
    a->refused = 0;
}

static void refuse(struct qd_accept *a, enum qd_refusal why)
{
    static const char *const causes[QD_REFUSAL_COUNT] = {
        [QD_REFUSED_TOTAL] = "--max-connections",
        [QD_REFUSED_ADDRESS] = "--max-connections-per-address of one address",
        [QD_REFUSED_CUT] = "one of that address was just cut off",
        [QD_REFUSED_DESCRIPTORS] = "no descriptor is left",
    };

    add_figure(&a->config.figures->refused[why]);
    a->refused++;
    a->refused_cause = causes[why];
}

/* At once, and nothing of it stays in the kernel: no TIME_WAIT either. */
static void close_now(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    (void)close(fd);
}

static void hand_over(struct qd_accept *a, struct qd_handover *handover, int fd)
{
    add_figure(&a->config.figures->accepted);
    qd_guard_hands(&a->guard, fd);
    qd_handover_give(handover, fd);
    qd_guard_has_handed(&a->guard);
}

/* No descriptor: whoever waits is told by a close. False: not even that was possible. */
static bool turn_away(struct qd_accept *a, int listener)
{
    if (a->spare < 0) {
        return false;
    }
    (void)close(a->spare);
    a->spare = -1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        refuse(a, QD_REFUSED_DESCRIPTORS);
        close_now(fd);
    }
    take_spare(a); /* another thread may have been faster */
    return fd >= 0;
}

static bool is_exhausted(int why)
{
    return why == EMFILE || why == ENFILE || why == ENOBUFS || why == ENOMEM;
}

/* Accept what waits there. False: the machine lacks something; try again later. */
static bool accept_burst(struct qd_accept *a, int listener, struct qd_handover *handover)
{
    for (int i = 0; i < BURST; i++) {
        int fd;
        enum qd_refusal why = qd_guard_accept(&a->guard, listener, &fd);
        if (fd >= 0 && why == QD_REFUSAL_COUNT) {
            hand_over(a, handover, fd);
        } else if (fd >= 0) {
            refuse(a, why);
            close_now(fd);
        } else if (is_exhausted(errno)) {
            if (!turn_away(a, listener)) {
                return false;
            }
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return true;
        }
        /* Others are the connection's own (ECONNABORTED, a network error): on to the next. */
    }
    return true;
}

static void gather(struct qd_accept *a, struct polled *polled)
{
    polled->fds[0] = (struct pollfd){.fd = a->wake, .events = POLLIN};
    polled->count = 1;
    for (uint32_t p = 0; p < a->port_count; p++) {
        for (uint32_t i = 0; i < a->ports[p].listen.count; i++) {
            polled->fds[polled->count] =
                (struct pollfd){.fd = a->ports[p].listen.fds[i], .events = POLLIN};
            polled->handovers[polled->count++] = &a->ports[p].handover;
        }
    }
}

static bool is_stopping(struct qd_accept *a)
{
    uint64_t count;

    (void)!read(a->wake, &count, sizeof(count));
    return atomic_load_explicit(&a->stopping, memory_order_acquire);
}

static void *accept_main(void *argument)
{
    struct qd_accept *a = argument;
    struct polled polled;
    bool well = true;
    int wait_ms = -1;

    gather(a, &polled);
    for (;;) {
        /* Without descriptors the sockets stay readable: wait for the time, and for the stop. */
        (void)poll(polled.fds, well ? polled.count : 1, well ? wait_ms : BACK_OFF_MS);
        if (is_stopping(a)) {
            return NULL;
        }
        take_spare(a);
        well = true;
        for (nfds_t i = 1; i < polled.count; i++) {
            well = accept_burst(a, polled.fds[i].fd, polled.handovers[i]) && well;
        }
        tell_refused(a);
        wait_ms = a->refused == 0 ? -1 : TELL_MS;
    }
}

bool qd_accept_start(struct qd_accept *accept)
{
    assert(!accept->started);
    if (accept->port_count > 0) {
        accept->started = qd_guard_start(&accept->guard) &&
                          pthread_create(&accept->thread, NULL, accept_main, accept) == 0;
    }
    return accept->started || accept->port_count == 0;
}

void qd_accept_stop(struct qd_accept *accept)
{
    if (accept == NULL) {
        return;
    }
    if (accept->started) {
        atomic_store_explicit(&accept->stopping, true, memory_order_release);
        wake(accept);
        (void)pthread_join(accept->thread, NULL);
        accept->started = false;
    }
    qd_guard_stop(&accept->guard);
    for (uint32_t i = 0; i < accept->port_count; i++) {
        qd_listen_close(&accept->ports[i].listen);
    }
    accept->port_count = 0;
}
