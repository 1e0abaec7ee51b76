#include "server/shard/broadcast.h"

#include "server/shard/bind.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Locks: the broadcast's for the list, a watcher's for its queue; in this order. */
struct qd_watch {
    struct qd_watch *next;
    struct qd_broadcast *broadcast;
    struct qd_watch_filter filter;
    size_t tenant_len;
    qd_watch_wake wake;
    void *context;
    pthread_mutex_t lock;
    uint32_t first;
    uint32_t count;
    uint64_t lost; /* before the first */
    struct qd_event events[QD_WATCH_EVENTS];
};

void qd_broadcast_init(struct qd_broadcast *broadcast)
{
    memset(broadcast, 0, sizeof(*broadcast));
    (void)pthread_mutex_init(&broadcast->lock, NULL);
}

void qd_broadcast_release(struct qd_broadcast *broadcast)
{
    assert(broadcast->watchers == NULL);
    (void)pthread_mutex_destroy(&broadcast->lock);
}

static void watch_free(struct qd_watch *watch)
{
    (void)pthread_mutex_destroy(&watch->lock);
    free(watch);
}

struct qd_watch *qd_broadcast_join(struct qd_broadcast *broadcast,
                                   const struct qd_watch_filter *filter, qd_watch_wake wake,
                                   void *context)
{
    struct qd_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL) {
        return NULL;
    }
    watch->broadcast = broadcast;
    watch->filter = *filter;
    watch->tenant_len = strlen(filter->tenant);
    watch->wake = wake;
    watch->context = context;
    (void)pthread_mutex_init(&watch->lock, NULL);
    (void)pthread_mutex_lock(&broadcast->lock);
    bool room = broadcast->count < QD_WATCHERS_MAX; /* X2 */
    if (room) {
        watch->next = broadcast->watchers;
        broadcast->watchers = watch;
        broadcast->count++;
    }
    (void)pthread_mutex_unlock(&broadcast->lock);
    if (!room) {
        watch_free(watch);
        return NULL;
    }
    return watch;
}

void qd_broadcast_leave(struct qd_broadcast *broadcast, struct qd_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&broadcast->lock);
    struct qd_watch **at = &broadcast->watchers;
    while (*at != watch) {
        at = &(*at)->next;
    }
    *at = watch->next;
    broadcast->count--;
    (void)pthread_mutex_unlock(&broadcast->lock);
    watch_free(watch);
}

static bool is_of_tenant(const struct qd_watch *watch, const struct qd_event *event)
{
    struct qd_str keys;
    struct qd_str name = {event->name, strlen(event->name)};
    struct qd_str tenant = qd_name_tenant(name, &keys);
    size_t len = watch->tenant_len;

    if (event->shared) {
        return len == 0;
    }
    return len == 0 || (tenant.len >= len && memcmp(tenant.ptr, watch->filter.tenant, len) == 0 &&
                        (tenant.len == len || tenant.ptr[len] == '/'));
}

static bool hears(const struct qd_watch *watch, const struct qd_event *event)
{
    return (watch->filter.kinds == 0 || (watch->filter.kinds >> event->kind & 1U) != 0) &&
           is_of_tenant(watch, event);
}

static void drop_oldest(struct qd_watch *watch)
{
    watch->first = (watch->first + 1) % QD_WATCH_EVENTS;
    watch->count--;
    watch->lost++;
    atomic_fetch_add_explicit(&watch->broadcast->lost, 1, memory_order_relaxed);
}

/* Whose they were, nobody knows: each watcher may have missed them. */
static void lose(struct qd_watch *watch, uint64_t lost)
{
    if (lost > 0) {
        (void)pthread_mutex_lock(&watch->lock);
        watch->lost += lost;
        (void)pthread_mutex_unlock(&watch->lock);
    }
}

static void push(struct qd_watch *watch, const struct qd_event *event)
{
    (void)pthread_mutex_lock(&watch->lock);
    if (watch->count == QD_WATCH_EVENTS) {
        drop_oldest(watch);
    }
    watch->events[(watch->first + watch->count++) % QD_WATCH_EVENTS] = *event;
    (void)pthread_mutex_unlock(&watch->lock);
}

void qd_broadcast_tell(struct qd_broadcast *broadcast, const struct qd_event *event)
{
    assert(event->kind < QD_EVENT_KINDS);
    atomic_fetch_add_explicit(&broadcast->told[event->kind], 1, memory_order_relaxed);
    (void)pthread_mutex_lock(&broadcast->lock);
    for (struct qd_watch *watch = broadcast->watchers; watch != NULL; watch = watch->next) {
        lose(watch, event->lost);
        if (hears(watch, event)) {
            push(watch, event);
            watch->wake(watch->context);
        }
    }
    (void)pthread_mutex_unlock(&broadcast->lock);
}

bool qd_watch_next(struct qd_watch *watch, struct qd_event *ret_event, uint64_t *ret_lost)
{
    (void)pthread_mutex_lock(&watch->lock);
    bool found = watch->count > 0;
    if (found) {
        *ret_event = watch->events[watch->first];
        *ret_lost = watch->lost;
        watch->lost = 0;
        watch->first = (watch->first + 1) % QD_WATCH_EVENTS;
        watch->count--;
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return found;
}

struct qd_str qd_watch_tenant(const struct qd_watch *watch)
{
    return (struct qd_str){watch->filter.tenant, watch->tenant_len};
}

uint32_t qd_broadcast_watchers(struct qd_broadcast *broadcast)
{
    (void)pthread_mutex_lock(&broadcast->lock);
    uint32_t count = broadcast->count;
    (void)pthread_mutex_unlock(&broadcast->lock);
    return count;
}
