#include "server/ledger/ticker.h"

#include "server/core/types.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct qd_ticker {
    uint32_t period_ms;
    void (*tick)(void *context);
    void *context;
    struct timespec due; /* the next tick */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
};

static bool is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* One period after the last, however long that took; at once if that has passed. */
static void set_due(struct qd_ticker *ticker)
{
    struct timespec now;
    int64_t ns = ticker->due.tv_nsec + (int64_t)ticker->period_ms * QD_NS_PER_MS;

    ticker->due.tv_sec += (time_t)(ns / QD_NS_PER_S);
    ticker->due.tv_nsec = (long)(ns % QD_NS_PER_S);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (is_before(ticker->due, now)) {
        ticker->due = now; /* what is late is not made up for */
    }
}

/* True: the next tick is due; false: stop. */
static bool wait_period(struct qd_ticker *ticker)
{
    int code = 0;

    set_due(ticker);
    (void)pthread_mutex_lock(&ticker->mutex);
    while (!ticker->stop && code != ETIMEDOUT) {
        code = pthread_cond_timedwait(&ticker->wake, &ticker->mutex, &ticker->due);
    }
    bool go_on = !ticker->stop;
    (void)pthread_mutex_unlock(&ticker->mutex);
    return go_on;
}

static void *ticker_main(void *argument)
{
    struct qd_ticker *ticker = argument;

    (void)clock_gettime(CLOCK_MONOTONIC, &ticker->due);
    do {
        ticker->tick(ticker->context);
    } while (wait_period(ticker));
    return NULL;
}

static void release(struct qd_ticker *ticker)
{
    (void)pthread_cond_destroy(&ticker->wake);
    (void)pthread_mutex_destroy(&ticker->mutex);
    free(ticker);
}

struct qd_ticker *qd_ticker_start(uint32_t period_ms, void (*tick)(void *context), void *context)
{
    struct qd_ticker *ticker = calloc(1, sizeof(*ticker));
    pthread_condattr_t monotonic;

    if (ticker == NULL) {
        return NULL;
    }
    ticker->period_ms = period_ms;
    ticker->tick = tick;
    ticker->context = context;
    (void)pthread_mutex_init(&ticker->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&ticker->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (pthread_create(&ticker->thread, NULL, ticker_main, ticker) != 0) {
        release(ticker);
        return NULL;
    }
    return ticker;
}

void qd_ticker_stop(struct qd_ticker *ticker)
{
    if (ticker == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&ticker->mutex);
    ticker->stop = true;
    (void)pthread_cond_signal(&ticker->wake);
    (void)pthread_mutex_unlock(&ticker->mutex);
    (void)pthread_join(ticker->thread, NULL);
    release(ticker);
}
