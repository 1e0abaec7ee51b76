#include "event.h"

#include "mutant.h"

#include <string.h>

static void forget(struct qd_core *core)
{
    qd_names_drop(&core->names, core->events[core->event_first].name);
    core->event_first = (core->event_first + 1) % QD_EVENTS;
    core->event_count--;
}

static struct qd_event_kept *push(struct qd_core *core, enum qd_event_kind kind,
                                  struct qd_wall_ns now)
{
    if (core->event_count == QD_EVENTS) {
        forget(core);
        core->stats.events_lost++;
        core->event_lost++;
    }
    struct qd_event_kept *event =
        &core->events[(core->event_first + core->event_count++) % QD_EVENTS];
    memset(event, 0, sizeof(*event));
    event->kind = kind;
    event->at = now;
    return event;
}

static void hold_name(struct qd_core *core, struct qd_event_kept *event, uint32_t name)
{
    qd_names_hold(&core->names, name);
    event->name = name;
}

static void copy_name(char *ret, size_t size, struct qd_str name)
{
    size_t len = name.len < size - 1 ? name.len : size - 1;
    if (len > 0) {
        memcpy(ret, name.ptr, len);
    }
    ret[len] = '\0';
}

/* Thousands of holds may end at once. All are counted; the first few are events of their own, and
 * leave the ring to what happens once. */
void qd_event_expired(struct qd_core *core, const struct qd_reservation *r, struct qd_wall_ns now)
{
    if (core->event_count >= QD_EVENTS_EXPIRED) {
        return;
    }
    struct qd_event_kept *event = push(core, QD_EVENT_EXPIRED, now);
    event->reservation = r->number;
    hold_name(core, event, r->name);
}

/* The names may be what is full. */
void qd_event_full(struct qd_core *core, struct qd_str name, struct qd_wall_ns now)
{
    struct qd_event_kept *event = push(core, QD_EVENT_FULL, now);
    event->name = qd_names_intern(&core->names, name);
    if (event->name == 0) {
        copy_name(event->text, sizeof(event->text), name);
    }
}

/* Whether `used` is at `permille` of the capacity or above. */
static bool reached(int64_t used, int64_t capacity, unsigned permille)
{
    return (qd_int128)used * 1000 >= (qd_int128)capacity * permille;
}

static bool has_periods(const struct qd_at *at)
{
    return at->class == QD_CLASS_GAUGE && at->limit->algorithm != QD_CONCURRENCY &&
           !QD_MUTANT(P3_once);
}

static int64_t used_now(const struct qd_at *at, struct qd_wall_ns now)
{
    int64_t total = qd_counter_total(at, now);
    bool gauge = at->limit->algorithm == QD_CONCURRENCY;
    return gauge ? total : total - qd_counter_held(at);
}

/* How many thresholds are reported, now that this much is used. */
static unsigned alert_now(const struct qd_at *at, int64_t used)
{
    const uint16_t *permille = at->limit->threshold_permille;
    int64_t capacity = qd_counter_capacity(at);
    unsigned alert = (unsigned)at->counter->alert;
    /* A state that comes back may know more thresholds than there are now: those are left, too. */
    while (alert > 0 && !has_periods(at) &&
           (permille[alert - 1] == 0 || !reached(used, capacity, permille[alert - 1] * 9U / 10U))) {
        alert--;
    }
    return alert;
}

static bool reaches_next(const struct qd_at *at, int64_t used, unsigned alert)
{
    const uint16_t *permille = at->limit->threshold_permille;
    return alert < QD_THRESHOLDS_MAX && permille[alert] != 0 &&
           reached(used, qd_counter_capacity(at), permille[alert]);
}

void qd_event_threshold(const struct qd_at *at, struct qd_wall_ns now)
{
    int64_t used = used_now(at, now);
    unsigned alert = alert_now(at, used);
    for (; reaches_next(at, used, alert); alert++) {
        struct qd_event_kept *event = push(at->core, QD_EVENT_THRESHOLD, now);
        event->limit = at->limit;
        event->permille = at->limit->threshold_permille[alert];
        event->shared = at->counter->depth == 0;
        event->used = used;
        event->amount = qd_counter_capacity(at);
        event->period = qd_counter_period(at);
        hold_name(at->core, event, qd_table_name_handle(at));
    }
    at->counter->alert = alert & 15U;
}

void qd_event_leave(const struct qd_at *at, struct qd_wall_ns now)
{
    if (!QD_MUTANT(P3_drained)) {
        at->counter->alert = alert_now(at, used_now(at, now)) & 15U;
    }
}

void qd_event_mark(const struct qd_at *at, struct qd_wall_ns now)
{
    if (QD_MUTANT(P3_mark)) {
        qd_event_watch(at, now);
        return;
    }
    int64_t used = used_now(at, now);
    unsigned alert = alert_now(at, used);
    while (reaches_next(at, used, alert)) {
        alert++;
    }
    at->counter->alert = alert & 15U;
}

void qd_event_amended(const struct qd_at *at, const struct qd_limit *limit, int64_t capacity,
                      struct qd_wall_ns now)
{
    const uint16_t *permille = at->limit->threshold_permille;
    unsigned alert = (unsigned)at->counter->alert;
    if (alert == 0) {
        return;
    }
    if (limit != at->limit && !QD_MUTANT(P3_amended)) {
        unsigned reported = limit->threshold_permille[alert - 1];
        for (alert = 0;
             alert < QD_THRESHOLDS_MAX && permille[alert] != 0 && permille[alert] <= reported;
             alert++) {
        }
    }
    if (has_periods(at) && qd_counter_capacity(at) > capacity) {
        int64_t used = used_now(at, now);
        while (alert > 0 && !reached(used, qd_counter_capacity(at), permille[alert - 1])) {
            alert--;
        }
    }
    at->counter->alert = alert & 15U;
}

bool qd_core_event(struct qd_core *core, struct qd_event *ret_event)
{
    if (core->event_count == 0) {
        return false;
    }
    const struct qd_event_kept *kept = &core->events[core->event_first];
    ret_event->kind = kept->kind;
    ret_event->at = kept->at;
    ret_event->limit = kept->limit;
    ret_event->reservation = kept->reservation;
    ret_event->permille = kept->permille;
    ret_event->used = kept->used;
    ret_event->amount = kept->amount;
    ret_event->period = kept->period;
    ret_event->shared = kept->shared;
    ret_event->entry = 0;
    ret_event->lost = core->event_lost;
    core->event_lost = 0;
    struct qd_str text = {kept->text, strlen(kept->text)};
    copy_name(ret_event->name, sizeof(ret_event->name),
              kept->name != 0 ? qd_names_text(&core->names, kept->name) : text);
    forget(core);
    return true;
}
