#include "event.h"

#include "mutant.h"

#include <string.h>

static struct qd_event *push(struct qd_core *core)
{
    if (core->event_count == QD_EVENTS) {
        core->event_first = (core->event_first + 1) % QD_EVENTS;
        core->event_count--;
        core->stats.events_lost++;
    }
    struct qd_event *event = &core->events[(core->event_first + core->event_count++) % QD_EVENTS];
    memset(event, 0, sizeof(*event));
    return event;
}

static void put_name(struct qd_event *event, struct qd_str name)
{
    size_t size = name.len < sizeof(event->name) - 1 ? name.len : sizeof(event->name) - 1;
    if (size > 0) {
        memcpy(event->name, name.ptr, size);
    }
    event->name[size] = '\0';
}

/* Thousands of holds may end at once. All are counted; the first few are events of their own, and
 * leave the ring to what happens once. */
void qd_event_expired(struct qd_core *core, const struct qd_reservation *r)
{
    if (core->event_count >= QD_EVENTS_EXPIRED) {
        return;
    }
    struct qd_event *event = push(core);
    event->kind = QD_EVENT_EXPIRED;
    event->reservation = r->number;
    put_name(event, qd_names_text(&core->names, r->name));
}

void qd_event_full(struct qd_core *core, struct qd_str name)
{
    struct qd_event *event = push(core);
    event->kind = QD_EVENT_FULL;
    put_name(event, name);
}

/* Whether `used` is at `permille` of the capacity or above. */
static bool reached(int64_t used, int64_t capacity, unsigned permille)
{
    return (qd_int128)used * 1000 >= (qd_int128)capacity * permille;
}

void qd_event_threshold(const struct qd_at *at, int64_t used)
{
    const uint16_t *permille = at->limit->threshold_permille;
    int64_t capacity = qd_counter_capacity(at);
    unsigned alert = (unsigned)at->counter->alert;
    while (alert > 0 && !reached(used, capacity, permille[alert - 1] * 9U / 10U)) {
        alert--;
    }
    while (alert < QD_THRESHOLDS_MAX && permille[alert] != 0 &&
           reached(used, capacity, permille[alert])) {
        struct qd_event *event = push(at->core);
        event->kind = QD_EVENT_THRESHOLD;
        event->limit = at->limit;
        event->permille = permille[alert];
        event->used = used;
        event->amount = capacity;
        put_name(event, qd_table_name(at));
        alert++;
    }
    at->counter->alert = alert & 15U;
}

bool qd_core_event(struct qd_core *core, struct qd_event *ret_event)
{
    if (core->event_count == 0) {
        return false;
    }
    *ret_event = core->events[core->event_first];
    core->event_first = (core->event_first + 1) % QD_EVENTS;
    core->event_count--;
    return true;
}
