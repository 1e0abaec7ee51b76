#include "server/rpc/guard.h"

#include "server/log/log.h"
#include "server/net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUIET_MS      250
#define HEAP_QUIET_MS 1000
#define BUSY_MS       50
#define BUSY_MS_MAX   1000
#define BUSY_BYTES    ((uint64_t)128 << 10) /* came since the last look */
#define COST_SHARE    20                    /* a look may take this part of a processor's time */
#define SWEEP_FULL_MS 20                    /* while a cap refuses */
#define FADE_MS       1000
#define ALIKE         4U /* who has this part of the greatest excess, or more, is like it */
#define TRIM_MS       5000

static uint64_t ms_of(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t clock_ms(void)
{
    return ms_of(CLOCK_MONOTONIC);
}

/* What this thread has worked: not what it waited while others did. */
static uint64_t worked_ms(void)
{
    return ms_of(CLOCK_THREAD_CPUTIME_ID);
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
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    guard->processors = processors > 0 ? (uint32_t)processors : 1;
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

/* While the heap is high there are no turns. */
static bool is_banned(struct qd_guard *guard, const struct sockaddr_storage *peer, uint64_t now_ms)
{
    uint8_t address[QD_ADDRESS_BYTES];

    qd_address_of((const struct sockaddr *)peer, address);
    struct qd_ban *ban = qd_bans_find(&guard->bans, address, now_ms);
    return ban != NULL && (qd_heap_is_high(&guard->heap) || !qd_ban_takes_turn(ban, now_ms));
}

static enum qd_refusal admit(struct qd_guard *guard, int fd, const struct sockaddr_storage *peer)
{
    uint64_t now_ms = clock_ms();

    if (is_banned(guard, peer, now_ms)) {
        return QD_REFUSED_CUT;
    }
    guard->connections.now_ms = now_ms;
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

bool qd_guard_asks_who(const struct qd_guard *guard)
{
    return atomic_load_explicit(&guard->asks_who, memory_order_relaxed);
}

void qd_guard_cancelled(struct qd_guard *guard, const uint8_t *from)
{
    atomic_fetch_add_explicit(&guard->cancelled_new, 1, memory_order_relaxed);
    /* Who looks at connections, or accepts them, may take a while: a call less does no harm. */
    if (from != NULL && pthread_mutex_trylock(&guard->lock) == 0) {
        qd_leavers_add_call(&guard->connections.leavers, from);
        (void)pthread_mutex_unlock(&guard->lock);
    }
}

void qd_guard_report(struct qd_guard *guard, const char *peer, enum qd_cutoff why)
{
    (void)pthread_mutex_lock(&guard->lock);
    if (guard->reports < QD_GUARD_REPORTS) { /* who is left out is reported again */
        struct qd_guard_report *report = &guard->reported[guard->reports++];
        (void)snprintf(report->peer, sizeof(report->peer), "%s", peer);
        report->why = why;
    }
    (void)pthread_cond_signal(&guard->heard);
    (void)pthread_mutex_unlock(&guard->lock);
}

/* --- cutting off --- */

static void tell(enum qd_cutoff why, const uint8_t address[16])
{
    static const char *const causes[QD_CUT_COUNT] = {[QD_CUT_UNANSWERED] = "unanswered",
                                                     [QD_CUT_MEMORY] = "memory",
                                                     [QD_CUT_CALLS] = "calls",
                                                     [QD_CUT_MOST] = "most",
                                                     [QD_CUT_LEFT] = "left",
                                                     [QD_CUT_CAPTIVE] = "captive"};
    static struct qd_log_sampler sampler = {.per_second = 1};
    char text[INET6_ADDRSTRLEN] = "";
    uint64_t left_out;

    if (qd_log_sample(&sampler, &left_out)) {
        (void)inet_ntop(AF_INET6, address, text, sizeof(text));
        qd_log(QD_LOG_WARN,
               why == QD_CUT_MOST
                   ? "connection cut off: no call object is left, and it has the most calls"
               : why == QD_CUT_LEFT ? "address hardly let in for a while: its clients dial, call "
                                      "and hang up, again and again"
                                    : "connection cut off: it costs much more than it asks for",
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
    const uint8_t *address = c->peers[c->by_fd[fd].peer].address;
    uint64_t now_ms = clock_ms();
    tell(why, address);
    if (why != QD_CUT_MOST) {
        qd_bans_add(&guard->bans, address, now_ms, now_ms + QD_GUARD_BAN_MS);
    }
    qd_heap_cut(&guard->heap, now_ms);
    atomic_fetch_add_explicit(&guard->figures->cut[why], 1, memory_order_relaxed);
    qd_connections_cut(c, fd);
    guard->trims = true;
}

/* A heap that is high tells that it is a flood that holds the node up. */
static bool is_sparing(const struct qd_guard *guard, uint64_t now_ms)
{
    return qd_standstill_holds(&guard->standstill, now_ms) && !qd_heap_is_high(&guard->heap);
}

/* Calls that were reset while the node stood still are in hand until it has gone through them: who
 * is reported for that, wrongly or not, is reported again. */
static void cut_reported(struct qd_guard *guard, uint64_t now_ms)
{
    if (is_sparing(guard, now_ms)) {
        guard->reports = 0;
    }
    for (uint32_t i = 0; i < guard->reports; i++) {
        int fd = qd_connections_find(&guard->connections, guard->reported[i].peer);
        if (fd >= 0) {
            cut(guard, fd, guard->reported[i].why);
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
static void cut_worst(struct qd_guard *guard, uint64_t all)
{
    struct qd_connections *c = &guard->connections;
    int fd;

    while (c->unanswered > all && (fd = qd_connections_worst(c, QD_UNANSWERED_LEAST)) >= 0) {
        c->unanswered -= c->by_fd[fd].unanswered;
        cut(guard, fd, QD_CUT_UNANSWERED);
    }
}

/* The heap is high: which connections make it so shows nowhere; those that send much more than is
 * usual do, most likely. A flood's are alike: they go together. */
static void cut_greedy(struct qd_guard *guard)
{
    struct qd_connections *c = &guard->connections;
    int fd = qd_connections_greediest(c, QD_UNANSWERED_LEAST);
    uint64_t least = fd >= 0 ? c->by_fd[fd].excess / ALIKE : 0;

    least = least > QD_UNANSWERED_LEAST ? least : QD_UNANSWERED_LEAST;
    while (fd >= 0) {
        cut(guard, fd, QD_CUT_MEMORY);
        fd = qd_connections_greediest(c, least);
    }
}

/* Those of its connections whose clients have gone: nobody waits for what they sent, and gRPC would
 * go through it all. */
static void ban_leaver(struct qd_guard *guard, const uint8_t address[QD_ADDRESS_BYTES])
{
    uint64_t now_ms = clock_ms();
    int fd = -1;

    tell(QD_CUT_LEFT, address);
    while ((fd = qd_connections_left(&guard->connections, address, fd + 1)) >= 0) {
        cut(guard, fd, QD_CUT_LEFT);
    }
    qd_bans_add(&guard->bans, address, now_ms, now_ms + QD_GUARD_BAN_MS);
    qd_heap_cut(&guard->heap, now_ms);
    guard->trims = true;
}

static void set_cancelled(struct qd_guard *guard, uint64_t calls)
{
    guard->cancelled = calls;
    atomic_store_explicit(&guard->asks_who, calls >= QD_GUARD_CANCELLED, memory_order_relaxed);
}

static void ban_leavers(struct qd_guard *guard)
{
    uint64_t more = atomic_exchange_explicit(&guard->cancelled_new, 0, memory_order_relaxed);
    uint8_t address[QD_ADDRESS_BYTES];

    set_cancelled(guard, guard->cancelled + more);
    while (qd_leavers_take(&guard->connections.leavers, address)) {
        ban_leaver(guard, address);
    }
}

/* The node's own pause cancelled calls, and made clients dial again. */
static void forget_leavers(struct qd_guard *guard)
{
    atomic_store_explicit(&guard->cancelled_new, 0, memory_order_relaxed);
    set_cancelled(guard, 0);
    guard->connections.leavers = (struct qd_leavers){0};
}

static void fade(struct qd_guard *guard, uint64_t now_ms)
{
    if (now_ms - guard->faded_ms >= FADE_MS) {
        qd_connections_fade(&guard->connections);
        set_cancelled(guard, guard->cancelled / 2);
        guard->faded_ms = now_ms;
    }
}

static void cut_unanswered(struct qd_guard *guard)
{
    struct qd_connections *c = &guard->connections;
    int fd;

    while ((fd = qd_connections_worst(c, QD_UNANSWERED_MAX)) >= 0) {
        c->unanswered -= c->by_fd[fd].unanswered;
        cut(guard, fd, QD_CUT_UNANSWERED);
    }
    cut_worst(guard, QD_UNANSWERED_ALL);
}

/* When to do again what took so much work. After a cut, the next wave may come at any time. */
static uint64_t next_look(const struct qd_guard *guard, uint64_t quiet_ms, uint64_t work_ms)
{
    uint64_t now_ms = clock_ms();
    uint64_t pause_ms = BUSY_MS + work_ms * COST_SHARE;

    if (guard->quiet && !qd_heap_was_cut(&guard->heap, now_ms)) {
        return now_ms + quiet_ms + pause_ms;
    }
    return now_ms + (pause_ms < BUSY_MS_MAX ? pause_ms : BUSY_MS_MAX);
}

static void look(struct qd_guard *guard, uint64_t now_ms)
{
    uint64_t began_ms = worked_ms();
    bool was_quiet = guard->quiet;

    guard->connections.now_ms = now_ms;
    guard->quiet = qd_connections_look(&guard->connections) < BUSY_BYTES;
    if (is_sparing(guard, now_ms)) {
        forget_leavers(guard);
    } else {
        cut_captive(guard, now_ms);
        cut_unanswered(guard);
        ban_leavers(guard);
    }
    show_open(guard);
    guard->next_ms = next_look(guard, QUIET_MS, worked_ms() - began_ms);
    if (was_quiet && !guard->quiet) {
        guard->next_heap_ms = now_ms;
    }
}

/* What is in use is not for free to know: malloc goes through all that is free. Not under the lock,
 * therefore. */
static void look_at_heap(struct qd_guard *guard)
{
    uint64_t began_ms = worked_ms();

    (void)pthread_mutex_unlock(&guard->lock);
    size_t used = mallinfo2().uordblks;
    (void)pthread_mutex_lock(&guard->lock);
    uint64_t now_ms = clock_ms();
    bool calm = qd_connections_worst(&guard->connections, QD_UNANSWERED_LEAST) < 0;
    qd_heap_look(&guard->heap, used, calm, now_ms);
    if (qd_heap_is_high(&guard->heap)) {
        cut_greedy(guard);
        qd_bans_extend(&guard->bans, now_ms, now_ms + QD_GUARD_BAN_MS);
    }
    fade(guard, now_ms);
    guard->next_heap_ms = next_look(guard, HEAP_QUIET_MS, worked_ms() - began_ms);
}

/* The heap keeps what a flood made it take, unless it is told. gRPC clears away for a while: it is
 * told again and again until that is long ago. Not under the lock: it takes a while. */
static void trim(struct qd_guard *guard, uint64_t now_ms)
{
    if (!guard->trims || !guard->quiet || now_ms < guard->next_trim_ms) {
        return;
    }
    guard->trims = qd_heap_was_cut(&guard->heap, now_ms);
    guard->next_trim_ms = now_ms + TRIM_MS;
    (void)pthread_mutex_unlock(&guard->lock);
    (void)malloc_trim(0);
    (void)pthread_mutex_lock(&guard->lock);
}

static void wait_for_work(struct qd_guard *guard)
{
    uint64_t next_ms = guard->standstill.beat_ms + QD_STANDSTILL_BEAT_MS;
    next_ms = guard->next_ms < next_ms ? guard->next_ms : next_ms;
    next_ms = guard->next_heap_ms < next_ms ? guard->next_heap_ms : next_ms;
    struct timespec until = {(time_t)(next_ms / 1000), (long)(next_ms % 1000) * 1000000};

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
        qd_standstill_beat(&guard->standstill, now_ms, ms_of(CLOCK_PROCESS_CPUTIME_ID),
                           guard->processors);
        cut_reported(guard, now_ms);
        if (now_ms >= guard->next_ms) {
            look(guard, now_ms);
        }
        if (now_ms >= guard->next_heap_ms) {
            look_at_heap(guard);
            trim(guard, clock_ms());
        }
        wait_for_work(guard);
    }
    (void)pthread_mutex_unlock(&guard->lock);
    return NULL;
}

bool qd_guard_start(struct qd_guard *guard)
{
    qd_heap_init(&guard->heap, mallinfo2().uordblks, clock_ms());
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
