#include "server/rpc/guard.h"

#include "server/log/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define QUIET_MS      1000
#define BUSY_MS       50
#define BUSY_BYTES    ((uint64_t)128 << 10) /* came since the last look */
#define COST_SHARE    20                    /* a look may take this part of the time */
#define SWEEP_FULL_MS 20                    /* while a cap refuses */
/* The machine, or the process, stood still: nobody could answer. The next look tells more. */
#define LATE_MS 500
#define HEAP_MS 1000

static uint64_t clock_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool qd_guard_init(struct qd_guard *guard, uint32_t connections_max, uint32_t per_address_max,
                   struct qd_connection_figures *figures)
{
    pthread_condattr_t monotonic;

    memset(guard, 0, sizeof(*guard));
    if (!qd_connections_init(&guard->connections, connections_max, per_address_max)) {
        return false;
    }
    guard->figures = figures;
    guard->handed = -1;
    (void)pthread_mutex_init(&guard->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&guard->heard, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return true;
}

void qd_guard_release(struct qd_guard *guard)
{
    qd_connections_release(&guard->connections);
    (void)pthread_cond_destroy(&guard->heard);
    (void)pthread_mutex_destroy(&guard->lock);
}

/* --- what the accept loop asks --- */

static bool is_banned(const struct qd_guard *guard, const struct sockaddr_storage *peer,
                      uint64_t now_ms)
{
    uint8_t address[16];

    qd_connections_address(peer, address);
    for (uint32_t i = 0; i < QD_GUARD_BANS; i++) {
        const struct qd_ban *ban = &guard->bans[i];
        if (ban->until_ms > now_ms && memcmp(ban->address, address, sizeof(address)) == 0) {
            return true;
        }
    }
    return false;
}

static enum qd_refusal admit(struct qd_guard *guard, int fd, const struct sockaddr_storage *peer)
{
    uint64_t now_ms = clock_ms();

    if (is_banned(guard, peer, now_ms)) {
        return QD_REFUSED_CUT;
    }
    enum qd_refusal why = qd_connections_add(&guard->connections, fd, peer);
    if (why != QD_REFUSAL_COUNT && now_ms - guard->swept_ms >= SWEEP_FULL_MS) {
        qd_connections_sweep(&guard->connections);
        guard->swept_ms = now_ms;
        why = qd_connections_add(&guard->connections, fd, peer);
    }
    return why;
}

static void show_open(const struct qd_guard *guard)
{
    atomic_store_explicit(&guard->figures->open, guard->connections.open, memory_order_relaxed);
}

enum qd_refusal qd_guard_accept(struct qd_guard *guard, int listener, int *ret_fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    enum qd_refusal why = QD_REFUSED_DESCRIPTORS;

    memset(&peer, 0, sizeof(peer));
    /* Under the lock: no number comes back between a look at it and a cut. */
    (void)pthread_mutex_lock(&guard->lock);
    *ret_fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int error = errno;
    if (*ret_fd >= 0) {
        why = admit(guard, *ret_fd, &peer);
        show_open(guard);
    }
    (void)pthread_mutex_unlock(&guard->lock);
    errno = error;
    return why;
}

static void set_handed(struct qd_guard *guard, int fd)
{
    (void)pthread_mutex_lock(&guard->lock);
    guard->handed = fd;
    guard->handed_ms = clock_ms();
    (void)pthread_mutex_unlock(&guard->lock);
}

void qd_guard_hands(struct qd_guard *guard, int fd)
{
    set_handed(guard, fd);
}

void qd_guard_has_handed(struct qd_guard *guard)
{
    set_handed(guard, -1);
}

void qd_guard_report(struct qd_guard *guard, const char *peer)
{
    (void)pthread_mutex_lock(&guard->lock);
    if (guard->reports < QD_GUARD_REPORTS) { /* who is left out is reported again */
        (void)snprintf(guard->reported[guard->reports++], QD_PEER_TEXT_MAX, "%s", peer);
    }
    (void)pthread_cond_signal(&guard->heard);
    (void)pthread_mutex_unlock(&guard->lock);
}

/* --- cutting off --- */

static void ban(struct qd_guard *guard, const uint8_t address[16])
{
    uint32_t i = 0;

    while (i < QD_GUARD_BANS && memcmp(guard->bans[i].address, address, 16) != 0) {
        i++;
    }
    if (i == QD_GUARD_BANS) {
        i = guard->next_ban++ % QD_GUARD_BANS;
    }
    memcpy(guard->bans[i].address, address, 16);
    guard->bans[i].until_ms = clock_ms() + QD_GUARD_BAN_MS;
}

static void tell(enum qd_cutoff why, const uint8_t address[16])
{
    static const char *const causes[QD_CUT_COUNT] = {[QD_CUT_UNANSWERED] = "unanswered",
                                                     [QD_CUT_MEMORY] = "memory",
                                                     [QD_CUT_CALLS] = "calls",
                                                     [QD_CUT_CAPTIVE] = "captive"};
    static struct qd_log_sampler sampler = {.per_second = 1};
    char text[INET6_ADDRSTRLEN] = "";
    uint64_t left_out;

    if (qd_log_sample(&sampler, &left_out)) {
        (void)inet_ntop(AF_INET6, address, text, sizeof(text));
        qd_log(QD_LOG_WARN, "connection cut off: it costs much more than it asks for",
               "address=%s reason=%s left_out=%llu", text, causes[why],
               (unsigned long long)left_out);
    }
}

static void cut(struct qd_guard *guard, int fd, enum qd_cutoff why)
{
    struct qd_connections *c = &guard->connections;

    if (c->by_fd[fd].inode == 0 || c->by_fd[fd].is_cut) {
        return;
    }
    tell(why, c->peers[c->by_fd[fd].peer].address);
    ban(guard, c->peers[c->by_fd[fd].peer].address);
    atomic_fetch_add_explicit(&guard->figures->cut[why], 1, memory_order_relaxed);
    qd_connections_cut(c, fd);
    guard->trims = true;
}

static void cut_reported(struct qd_guard *guard)
{
    for (uint32_t i = 0; i < guard->reports; i++) {
        int fd = qd_connections_find(&guard->connections, guard->reported[i]);
        if (fd >= 0) {
            cut(guard, fd, QD_CUT_CALLS);
        }
    }
    guard->reports = 0;
}

/* One that has sent little holds the thread because the machine has no time for it, most likely. */
static bool is_captor(const struct qd_guard *guard, uint64_t now_ms)
{
    const struct qd_connections *c = &guard->connections;
    uint64_t held_ms = now_ms - guard->handed_ms;
    bool sends = guard->handed >= 0 && (uint32_t)guard->handed < c->fds &&
                 c->by_fd[guard->handed].received >= QD_UNANSWERED_LEAST;

    return guard->handed >= 0 && held_ms >= (sends ? QD_CAPTIVE_MS : QD_CAPTIVE_IDLE_MS);
}

static void cut_captive(struct qd_guard *guard, uint64_t now_ms)
{
    if (is_captor(guard, now_ms)) {
        cut(guard, guard->handed, QD_CUT_CAPTIVE);
        guard->handed_ms = now_ms; /* gRPC goes on with what it has read */
    }
}

/* The worst ones, until all together have no more than `all` unanswered. */
static void cut_worst(struct qd_guard *guard, uint64_t all, enum qd_cutoff why)
{
    struct qd_connections *c = &guard->connections;
    int fd;

    while (c->unanswered > all && (fd = qd_connections_worst(c, QD_UNANSWERED_LEAST)) >= 0) {
        c->unanswered -= c->by_fd[fd].unanswered;
        cut(guard, fd, why);
    }
}

/* What the heap holds is not for free to know. While nobody could be cut off, it is what the node
 * needs. Memory comes back some time after a cut: half of what is unanswered goes, then it is
 * looked at again. */
static void watch_heap(struct qd_guard *guard, uint64_t now_ms)
{
    struct qd_connections *c = &guard->connections;

    if (qd_connections_worst(c, QD_UNANSWERED_LEAST) < 0) {
        if (now_ms - guard->heap_ms >= HEAP_MS) {
            guard->heap_before = mallinfo2().uordblks;
            guard->heap_ms = now_ms;
        }
    } else if (mallinfo2().uordblks >= guard->heap_before + QD_GUARD_HEAP_BYTES) {
        cut_worst(guard, c->unanswered / 2, QD_CUT_MEMORY);
    }
}

static void cut_unanswered(struct qd_guard *guard, uint64_t now_ms)
{
    struct qd_connections *c = &guard->connections;
    int fd;

    while ((fd = qd_connections_worst(c, QD_UNANSWERED_MAX)) >= 0) {
        c->unanswered -= c->by_fd[fd].unanswered;
        cut(guard, fd, QD_CUT_UNANSWERED);
    }
    cut_worst(guard, QD_UNANSWERED_ALL, QD_CUT_UNANSWERED);
    watch_heap(guard, now_ms);
}

/* Was it quiet since the last look? */
static bool look(struct qd_guard *guard, uint64_t now_ms)
{
    bool late = guard->next_ms != 0 && now_ms > guard->next_ms + LATE_MS;
    uint64_t came = qd_connections_look(&guard->connections);

    if (!late) {
        cut_unanswered(guard, now_ms);
    }
    show_open(guard);
    uint64_t end_ms = clock_ms();
    bool quiet = came < BUSY_BYTES;
    uint64_t pause_ms = quiet ? QUIET_MS : BUSY_MS + (end_ms - now_ms) * COST_SHARE;
    guard->next_ms = end_ms + (pause_ms < QUIET_MS ? pause_ms : QUIET_MS);
    return quiet;
}

/* The heap keeps what a flood made it take, unless it is told. Not under the lock: it takes a
 * while. */
static void trim(struct qd_guard *guard)
{
    guard->trims = false;
    (void)pthread_mutex_unlock(&guard->lock);
    (void)malloc_trim(0);
    (void)pthread_mutex_lock(&guard->lock);
}

static void wait_for_work(struct qd_guard *guard)
{
    struct timespec until = {(time_t)(guard->next_ms / 1000),
                             (long)(guard->next_ms % 1000) * 1000000};

    if (guard->reports == 0 && !guard->stopping) {
        (void)pthread_cond_timedwait(&guard->heard, &guard->lock, &until);
    }
}

static void *guard_main(void *argument)
{
    struct qd_guard *guard = argument;

    (void)pthread_mutex_lock(&guard->lock);
    while (!guard->stopping) {
        uint64_t now_ms = clock_ms();
        cut_reported(guard);
        if (now_ms >= guard->next_ms) {
            cut_captive(guard, now_ms);
            bool quiet = look(guard, now_ms);
            if (quiet && guard->trims) {
                trim(guard);
            }
        }
        wait_for_work(guard);
    }
    (void)pthread_mutex_unlock(&guard->lock);
    return NULL;
}

bool qd_guard_start(struct qd_guard *guard)
{
    guard->heap_before = mallinfo2().uordblks;
    guard->started = pthread_create(&guard->thread, NULL, guard_main, guard) == 0;
    return guard->started;
}

void qd_guard_stop(struct qd_guard *guard)
{
    if (!guard->started) {
        return;
    }
    (void)pthread_mutex_lock(&guard->lock);
    guard->stopping = true;
    (void)pthread_cond_signal(&guard->heard);
    (void)pthread_mutex_unlock(&guard->lock);
    (void)pthread_join(guard->thread, NULL);
    guard->started = false;
}
