/* Threads that tell events while watchers come, take what they hear under a lock of their own, as
 * the server's do, and go: no data race (ThreadSanitizer), nobody is woken after it has left, and
 * what a watcher heard and missed is what was told. */
#include "server/shard/broadcast.h"

#include "tests/race/race.h"

#include <pthread.h>
#include <string.h>

#define TELLERS  2U
#define VISITORS 4U
#define EVENTS   4000U
#define VISITS   300U

static struct qd_broadcast broadcast;
static pthread_barrier_t start;
static _Atomic unsigned telling = TELLERS;

struct visitor {
    pthread_mutex_t lock; /* as rpc's watch_lock: under the broadcast's, over the queue's */
    struct qd_watch *watch;
    bool here;
    uint64_t heard, lost;
    uint64_t last[TELLERS];
};

static void take(struct visitor *v, unsigned at_most)
{
    struct qd_event event;
    uint64_t lost = 0;

    while (at_most-- > 0 && qd_watch_next(v->watch, &event, &lost)) {
        unsigned teller = (unsigned)(event.entry % TELLERS);
        REQUIRE(strcmp(event.name, teller == 0 ? "acme/a" : "globex") == 0);
        REQUIRE(event.reservation > v->last[teller]); /* a teller's come in order */
        v->last[teller] = event.reservation;
        v->heard++;
        v->lost += lost;
    }
}

static void wake(void *context)
{
    struct visitor *v = context;

    (void)pthread_mutex_lock(&v->lock);
    if (v->here && v->watch != NULL) {
        take(v, 1);
    }
    (void)pthread_mutex_unlock(&v->lock);
}

static void come(struct visitor *v, const char *tenant)
{
    struct qd_watch_filter filter = {.kinds = 1U << QD_EVENT_EXPIRED};

    memset(v, 0, sizeof(*v));
    (void)pthread_mutex_init(&v->lock, NULL);
    (void)snprintf(filter.tenant, sizeof(filter.tenant), "%s", tenant);
    struct qd_watch *watch = qd_broadcast_join(&broadcast, &filter, wake, v);
    REQUIRE(watch != NULL);
    (void)pthread_mutex_lock(&v->lock);
    v->watch = watch;
    v->here = true;
    (void)pthread_mutex_unlock(&v->lock);
}

static void go(struct visitor *v)
{
    (void)pthread_mutex_lock(&v->lock);
    v->here = false;
    (void)pthread_mutex_unlock(&v->lock);
    qd_broadcast_leave(&broadcast, v->watch);
    (void)pthread_mutex_destroy(&v->lock); /* a late wake would use it */
    memset(v, 0xee, sizeof(*v));
}

static void *teller(void *argument)
{
    unsigned number = *(unsigned *)argument;
    struct qd_event event = {.kind = QD_EVENT_EXPIRED, .entry = number};

    (void)snprintf(event.name, sizeof(event.name), "%s", number == 0 ? "acme/a" : "globex");
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 1; i <= EVENTS; i++) {
        event.reservation = i;
        qd_broadcast_tell(&broadcast, &event);
    }
    atomic_fetch_sub(&telling, 1);
    return NULL;
}

static void *visitor(void *argument)
{
    struct visitor v;

    (void)argument;
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < VISITS; i++) {
        come(&v, i % 2 == 0 ? "acme" : "");
        (void)pthread_mutex_lock(&v.lock);
        take(&v, 3);
        (void)pthread_mutex_unlock(&v.lock);
        go(&v);
    }
    return NULL;
}

int main(void)
{
    static struct visitor resident;
    unsigned numbers[TELLERS];
    pthread_t tellers[TELLERS];
    pthread_t visitors[VISITORS];

    qd_broadcast_init(&broadcast);
    (void)pthread_barrier_init(&start, NULL, TELLERS + VISITORS);
    come(&resident, "");
    resident.here = false; /* woken, it takes nothing */
    for (unsigned i = 0; i < TELLERS; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&tellers[i], NULL, teller, &numbers[i]) == 0);
    }
    for (unsigned i = 0; i < VISITORS; i++) {
        REQUIRE(pthread_create(&visitors[i], NULL, visitor, NULL) == 0);
    }
    while (atomic_load(&telling) > 0) { /* it falls behind now and then */
        (void)pthread_mutex_lock(&resident.lock);
        take(&resident, 100);
        (void)pthread_mutex_unlock(&resident.lock);
        REQUIRE(qd_broadcast_watchers(&broadcast) <= VISITORS + 1);
    }
    for (unsigned i = 0; i < TELLERS; i++) {
        (void)pthread_join(tellers[i], NULL);
    }
    for (unsigned i = 0; i < VISITORS; i++) {
        (void)pthread_join(visitors[i], NULL);
    }
    take(&resident, UINT32_MAX);
    REQUIRE(resident.heard + resident.lost == (uint64_t)TELLERS * EVENTS);
    REQUIRE(resident.lost <= atomic_load(&broadcast.lost));
    (void)printf("ok: %llu heard, %llu lost\n", (unsigned long long)resident.heard,
                 (unsigned long long)resident.lost);
    go(&resident);
    REQUIRE(qd_broadcast_watchers(&broadcast) == 0);
    qd_broadcast_release(&broadcast);
    (void)pthread_barrier_destroy(&start);
    return 0;
}
