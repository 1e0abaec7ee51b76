#include "server/admin/loop.h"

#include "server/admin/pages.h"
#include "server/admin/reloader.h"
#include "server/log/log.h"
#include "server/policy/look.h"

#include <ev.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_S         0.25
#define EXPIRE_S       0.02
#define RELOAD_DELAY_S 0.2 /* editors write a file in several steps */
#define WATCHED_MAX    16U /* the policy file and what it imports */
#define WATCH_PERIOD_S 1.0

struct watched {
    char *path;
    uint64_t seen; /* what it looked like */
};

struct qd_loop {
    struct qd_loop_config config;
    struct ev_loop *ev;
    struct qd_http *http;
    struct qd_worker *worker;
    struct qd_reloader *reloader;
    struct ev_timer tick;
    struct ev_timer expire;
    struct ev_timer reload_timer;
    struct ev_timer drain_timer;
    struct ev_signal hup, term, interrupt;
    struct ev_async wake;
    struct ev_timer watch_timer;
    struct watched watched[WATCHED_MAX];
    size_t watched_count;
    uint64_t watched_revision; /* the policy whose files are watched */
    _Atomic bool want_end;
    bool draining;
};

static void unwatch(struct watched *watched, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(watched[i].path);
    }
}

/* What `before` had seen of the file still counts: a change since the policy was read is news. */
static void watch_file(struct qd_loop *loop, const char *path, const struct watched *before,
                       size_t before_count)
{
    if (loop->watched_count == WATCHED_MAX) {
        qd_log(QD_LOG_WARN, "too many imported files to watch; send SIGHUP after a change",
               "file=%s", qd_log_quote(path).text);
        return;
    }
    char *copy = strdup(path);
    if (!copy) {
        return; /* SIGHUP still works */
    }
    struct watched *file = &loop->watched[loop->watched_count++];
    file->path = copy;
    for (size_t i = 0; i < before_count; i++) {
        if (strcmp(before[i].path, path) == 0) {
            file->seen = before[i].seen;
            return;
        }
    }
    file->seen = qd_look_at(path, 0);
}

/* Watch the policy file and what the policy in force imports. */
static void watch_policy(struct qd_loop *loop)
{
    if (!loop->config.policy_file) {
        return;
    }
    struct watched before[WATCHED_MAX];
    size_t before_count = loop->watched_count;
    memcpy(before, loop->watched, sizeof(before));
    loop->watched_count = 0;
    watch_file(loop, loop->config.policy_file, before, before_count);
    const struct qd_published *now = qd_worker_enter(loop->worker);
    for (size_t i = 0; now && i < now->info->import_count; i++) {
        watch_file(loop, now->info->imports[i], before, before_count);
    }
    loop->watched_revision = now ? now->policy->revision : 0;
    qd_worker_leave(loop->worker);
    unwatch(before, before_count);
}

/* Another policy may import other files. */
static void watch_policy_in_force(struct qd_loop *loop)
{
    struct qd_node *node = loop->config.node;
    if (atomic_load_explicit(&node->revision, memory_order_relaxed) != loop->watched_revision) {
        watch_policy(loop);
    }
}

static void on_watch_timer(struct ev_loop *ev, struct ev_timer *watcher, int events)
{
    (void)events;
    struct qd_loop *loop = watcher->data;
    watch_policy_in_force(loop); /* ReloadPolicy doesn't tell the loop */
    bool changed = false;
    for (size_t i = 0; i < loop->watched_count; i++) {
        uint64_t now = qd_look_at(loop->watched[i].path, 0);
        changed |= now != loop->watched[i].seen;
        loop->watched[i].seen = now;
    }
    if (changed) {
        ev_timer_again(ev, &loop->reload_timer);
    }
}

static void on_reload_timer(struct ev_loop *ev, struct ev_timer *watcher, int events)
{
    (void)events;
    struct qd_loop *loop = watcher->data;
    ev_timer_stop(ev, watcher);
    qd_reloader_ask(loop->reloader);
}

static void on_hup(struct ev_loop *ev, struct ev_signal *watcher, int events)
{
    (void)ev;
    (void)events;
    struct qd_loop *loop = watcher->data;
    qd_reloader_ask(loop->reloader);
}

static void begin_drain(struct qd_loop *loop, const char *why)
{
    if (loop->draining) {
        return;
    }
    loop->draining = true;
    qd_log(QD_LOG_INFO, "draining", "why=%s", why);
    loop->config.unready(loop->config.context);
    if (loop->config.drain_delay_ms <= 0) {
        loop->config.drain(loop->config.context);
        return;
    }
    /* Load balancers look every few seconds: until they did, requests still come here. */
    ev_timer_set(&loop->drain_timer, (double)loop->config.drain_delay_ms / 1000.0, 0.0);
    ev_timer_start(loop->ev, &loop->drain_timer);
}

static void on_drain_timer(struct ev_loop *ev, struct ev_timer *watcher, int events)
{
    (void)ev;
    (void)events;
    struct qd_loop *loop = watcher->data;
    qd_log(QD_LOG_INFO, "stopping", NULL);
    loop->config.drain(loop->config.context);
}

static void on_stop(struct ev_loop *ev, struct ev_signal *watcher, int events)
{
    (void)ev;
    (void)events;
    struct qd_loop *loop = watcher->data;
    if (loop->draining) {
        qd_log(QD_LOG_WARN, "second signal: stopping at once", NULL);
        loop->config.abort(loop->config.context);
        return;
    }
    begin_drain(loop, "signal");
}

static void on_tick(struct ev_loop *ev, struct ev_timer *watcher, int events)
{
    (void)ev;
    (void)events;
    struct qd_loop *loop = watcher->data;
    qd_node_tick(loop->config.node);
}

static void on_expire(struct ev_loop *ev, struct ev_timer *watcher, int events)
{
    (void)ev;
    (void)events;
    struct qd_loop *loop = watcher->data;
    qd_node_expire(loop->config.node);
}

/* Acquire pairs with qd_loop_end's release. */
static void on_wake(struct ev_loop *ev, struct ev_async *watcher, int events)
{
    (void)events;
    struct qd_loop *loop = watcher->data;
    if (atomic_load_explicit(&loop->want_end, memory_order_acquire)) {
        ev_break(ev, EVBREAK_ALL);
    } else {
        watch_policy_in_force(loop);
    }
}

/* On the reloader's thread. */
static void on_reloaded(void *context, const struct qd_reload_change *change)
{
    const struct qd_loop *loop = context;
    loop->config.reloaded(loop->config.context, change);
}

static void on_reload_done(void *context)
{
    struct qd_loop *loop = context;
    ev_async_send(loop->ev, &loop->wake);
}

void qd_loop_end(struct qd_loop *loop)
{
    atomic_store_explicit(&loop->want_end, true, memory_order_release);
    ev_async_send(loop->ev, &loop->wake);
}

static void start_watchers(struct qd_loop *loop)
{
    ev_timer_init(&loop->tick, on_tick, TICK_S, TICK_S);
    ev_timer_init(&loop->expire, on_expire, EXPIRE_S, EXPIRE_S);
    ev_timer_init(&loop->reload_timer, on_reload_timer, 0.0, RELOAD_DELAY_S);
    ev_timer_init(&loop->drain_timer, on_drain_timer, 0.0, 0.0);
    ev_timer_init(&loop->watch_timer, on_watch_timer, WATCH_PERIOD_S, WATCH_PERIOD_S);
    ev_signal_init(&loop->hup, on_hup, SIGHUP);
    ev_signal_init(&loop->term, on_stop, SIGTERM);
    ev_signal_init(&loop->interrupt, on_stop, SIGINT);
    ev_async_init(&loop->wake, on_wake);
    loop->tick.data = loop;
    loop->expire.data = loop;
    loop->reload_timer.data = loop;
    loop->drain_timer.data = loop;
    loop->watch_timer.data = loop;
    loop->hup.data = loop;
    loop->term.data = loop;
    loop->interrupt.data = loop;
    loop->wake.data = loop;
    ev_timer_start(loop->ev, &loop->tick);
    ev_timer_start(loop->ev, &loop->expire);
    ev_timer_start(loop->ev, &loop->watch_timer);
    ev_signal_start(loop->ev, &loop->hup);
    ev_signal_start(loop->ev, &loop->term);
    ev_signal_start(loop->ev, &loop->interrupt);
    ev_async_start(loop->ev, &loop->wake);
    watch_policy(loop);
}

struct qd_loop *qd_loop_new(const struct qd_loop_config *config, char error[QD_LOOP_ERROR_MAX])
{
    struct qd_loop *loop = calloc(1, sizeof(*loop));
    if (!loop) {
        snprintf(error, QD_LOOP_ERROR_MAX, "out of memory");
        return NULL;
    }
    loop->config = *config;
    loop->worker = qd_worker_new(config->node);
    loop->ev = ev_default_loop(EVFLAG_AUTO);
    if (!loop->worker || !loop->ev) {
        snprintf(error, QD_LOOP_ERROR_MAX, "cannot start the loop: out of memory or descriptors");
        qd_loop_free(loop);
        return NULL;
    }
    loop->http =
        qd_http_new(&(struct qd_http_config){.address = config->admin_listen,
                                             .pages = qd_pages,
                                             .context = &loop->config,
                                             .connections = config->admin_connections,
                                             .cut = config->node->http_cut[QD_HTTP_PORT_ADMIN]},
                    error);
    if (!loop->http) {
        qd_loop_free(loop);
        return NULL;
    }
    start_watchers(loop);
    struct qd_reloader_config reloader = {.node = config->node,
                                          .policy_file = config->policy_file,
                                          .reloaded = on_reloaded,
                                          .done = on_reload_done,
                                          .context = loop};
    loop->reloader = qd_reloader_new(&reloader);
    if (!loop->reloader) {
        snprintf(error, QD_LOOP_ERROR_MAX, "cannot start a thread: out of memory or threads");
        qd_loop_free(loop);
        return NULL;
    }
    return loop;
}

void qd_loop_free(struct qd_loop *loop)
{
    if (!loop) {
        return;
    }
    qd_reloader_free(loop->reloader); /* it wakes the loop: before its watchers go */
    if (loop->wake.data) {
        unwatch(loop->watched, loop->watched_count);
        ev_timer_stop(loop->ev, &loop->tick);
        ev_timer_stop(loop->ev, &loop->expire);
        ev_timer_stop(loop->ev, &loop->watch_timer);
        ev_timer_stop(loop->ev, &loop->reload_timer);
        ev_timer_stop(loop->ev, &loop->drain_timer);
        ev_signal_stop(loop->ev, &loop->hup);
        ev_signal_stop(loop->ev, &loop->term);
        ev_signal_stop(loop->ev, &loop->interrupt);
        ev_async_stop(loop->ev, &loop->wake);
    }
    qd_http_free(loop->http);
    if (loop->ev) {
        ev_loop_destroy(loop->ev);
    }
    qd_worker_free(loop->worker);
    free(loop);
}

void qd_loop_run(struct qd_loop *loop)
{
    ev_run(loop->ev, 0);
}

uint16_t qd_loop_admin_port(const struct qd_loop *loop)
{
    return qd_http_port(loop->http);
}
