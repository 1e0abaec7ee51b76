#include "server/ledger/heart.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct qd_heart {
    struct qd_heart_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
    bool failed; /* what `changed` was told last */
};

/* True: the period is over; false: stop. */
static bool wait_period(struct qd_heart *heart)
{
    struct timespec end;
    int code = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t ns = end.tv_nsec + (int64_t)heart->config.period_ms * QD_NS_PER_MS;
    end.tv_sec += (time_t)(ns / QD_NS_PER_S);
    end.tv_nsec = (long)(ns % QD_NS_PER_S);
    (void)pthread_mutex_lock(&heart->mutex);
    while (!heart->stop && code != ETIMEDOUT) {
        code = pthread_cond_timedwait(&heart->wake, &heart->mutex, &end);
    }
    bool go_on = !heart->stop;
    (void)pthread_mutex_unlock(&heart->mutex);
    return go_on;
}

static void tell(struct qd_heart *heart, const struct qd_store_error *failure)
{
    bool failed = failure != NULL;

    if (failed != heart->failed && heart->config.changed != NULL) {
        heart->config.changed(heart->config.context, failure);
    }
    heart->failed = failed;
}

static void beat(struct qd_heart *heart)
{
    struct qd_ledger *ledger = heart->config.ledger;
    struct qd_wall_ns now = heart->config.now(heart->config.context);
    struct qd_ledger_status status;
    struct qd_store_error error;

    qd_ledger_status(ledger, &status);
    if (status.failed) {
        tell(heart, &status.failure);
    } else if (now.ns - status.watermark.complete_through.ns <
               (int64_t)heart->config.period_ms * QD_NS_PER_MS) {
        tell(heart, NULL);
        return; /* bookings carry the watermark */
    }
    if (qd_ledger_heartbeat(ledger, now, &error) == QD_STORE_OK) {
        tell(heart, NULL);
    } else {
        tell(heart, &error);
    }
}

static void *heart_main(void *argument)
{
    struct qd_heart *heart = argument;

    do {
        beat(heart);
    } while (wait_period(heart));
    return NULL;
}

struct qd_heart *qd_heart_start(const struct qd_heart_config *config)
{
    struct qd_heart *heart = calloc(1, sizeof(*heart));
    pthread_condattr_t monotonic;

    if (heart == NULL) {
        return NULL;
    }
    heart->config = *config;
    if (heart->config.period_ms == 0) {
        heart->config.period_ms = QD_HEART_PERIOD_MS;
    }
    (void)pthread_mutex_init(&heart->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&heart->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (pthread_create(&heart->thread, NULL, heart_main, heart) != 0) {
        (void)pthread_cond_destroy(&heart->wake);
        (void)pthread_mutex_destroy(&heart->mutex);
        free(heart);
        return NULL;
    }
    return heart;
}

void qd_heart_stop(struct qd_heart *heart)
{
    if (heart == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&heart->mutex);
    heart->stop = true;
    (void)pthread_cond_signal(&heart->wake);
    (void)pthread_mutex_unlock(&heart->mutex);
    (void)pthread_join(heart->thread, NULL);
    (void)pthread_cond_destroy(&heart->wake);
    (void)pthread_mutex_destroy(&heart->mutex);
    free(heart);
}
