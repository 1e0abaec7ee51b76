#include "server/ledger/heart.h"

#include "server/ledger/ticker.h"

#include <stdlib.h>

struct qd_heart {
    struct qd_heart_config config;
    struct qd_ticker *ticker;
    uint32_t tick_ms;
    uint32_t since_beat_ms;
    bool failed;  /* what `changed` was told last */
    bool written; /* something was, so that all that is visible is durable */
};

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
        heart->written = true;
        tell(heart, NULL);
    } else {
        tell(heart, &error);
    }
}

/* A step is bounded, and so are the steps of a beat: a stop waits for one beat at most. */
static void sweep(struct qd_heart *heart)
{
    bool more = heart->config.sweep != NULL && !heart->failed;

    for (unsigned i = 0; i < QD_HEART_SWEEPS && more; i++) {
        more = heart->config.sweep(heart->config.context);
    }
}

static void tell_durable(struct qd_heart *heart)
{
    struct qd_ledger_status status;

    if (heart->config.durable == NULL) {
        return;
    }
    qd_ledger_status(heart->config.ledger, &status);
    heart->written |= status.groups > 0;
    if (heart->written && !status.failed) {
        heart->config.durable(heart->config.context, status.watermark.sequence);
    }
}

static void tick(void *context)
{
    struct qd_heart *heart = context;

    if (heart->since_beat_ms >= heart->config.period_ms) {
        beat(heart);
        sweep(heart);
        heart->since_beat_ms = 0;
    }
    tell_durable(heart);
    heart->since_beat_ms += heart->tick_ms;
}

struct qd_heart *qd_heart_start(const struct qd_heart_config *config)
{
    struct qd_heart *heart = calloc(1, sizeof(*heart));

    if (heart == NULL) {
        return NULL;
    }
    heart->config = *config;
    if (heart->config.period_ms == 0) {
        heart->config.period_ms = QD_HEART_PERIOD_MS;
    }
    heart->tick_ms =
        heart->config.period_ms < QD_HEART_TICK_MS ? heart->config.period_ms : QD_HEART_TICK_MS;
    heart->since_beat_ms = heart->config.period_ms; /* the first tick beats */
    heart->ticker = qd_ticker_start(heart->tick_ms, tick, heart);
    if (heart->ticker == NULL) {
        free(heart);
        return NULL;
    }
    return heart;
}

void qd_heart_stop(struct qd_heart *heart)
{
    if (heart != NULL) {
        qd_ticker_stop(heart->ticker);
        free(heart);
    }
}
