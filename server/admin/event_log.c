#include "server/admin/event_log.h"

#include "server/log/log.h"
#include "server/shard/token.h"

#include <inttypes.h>

/* One for each kind: a flood of expiries hides no threshold. */
static struct qd_log_sampler samplers[QD_EVENT_KINDS] = {
    [QD_EVENT_THRESHOLD] = {.per_second = 20},
    [QD_EVENT_EXPIRED] = {.per_second = 5},
    [QD_EVENT_FULL] = {.per_second = 5},
    [QD_EVENT_CORRECTION] = {.per_second = 20},
};

void qd_event_log(void *context, const struct qd_event *event)
{
    uint64_t left_out = 0;
    char id[QD_SHORT_ID_MAX];

    (void)context;
    if (!qd_log_sample(&samplers[event->kind], &left_out)) {
        return;
    }
    switch (event->kind) {
    case QD_EVENT_THRESHOLD:
        qd_log(QD_LOG_WARN, "threshold passed",
               "counter=%s limit=%s percent=%u.%u used=%" PRId64 " amount=%" PRId64
               " left_out=%" PRIu64,
               qd_log_quote(event->name).text, event->limit->name, event->permille / 10U,
               event->permille % 10U, event->used, event->amount, left_out);
        break;
    case QD_EVENT_EXPIRED:
        qd_log(QD_LOG_INFO, "reservation expired unreported",
               "tenant=%s reservation=%.*s left_out=%" PRIu64, qd_log_quote(event->name).text,
               (int)qd_short_id_encode(event->reservation, id), id, left_out);
        break;
    case QD_EVENT_FULL:
        qd_log(QD_LOG_ERROR, "a table is full", "tenant=%s left_out=%" PRIu64,
               qd_log_quote(event->name).text, left_out);
        break;
    case QD_EVENT_CORRECTION:
        qd_log(QD_LOG_INFO, "correction booked", "tenant=%s sequence=%" PRIu64 " left_out=%" PRIu64,
               qd_log_quote(event->name).text, event->entry, left_out);
        break;
    case QD_EVENT_KINDS:
        break;
    }
}
