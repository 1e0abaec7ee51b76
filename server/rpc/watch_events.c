/* quota.v1.UsageService/WatchEvents: the node's events as a stream (I2). The numbers are those of
 * proto/quota/v1/usage.proto. */
#include "quota/v1/usage.pb-c.h"
#include "server/rpc/codec.h"
#include "server/rpc/server_internal.h"
#include "server/rpc/text.h"
#include "server/shard/bind.h"
#include "server/shard/describe.h"
#include "server/shard/validate.h"

#include <stdio.h>

#define KINDS_MAX 16U /* X2 */

/* By number on the wire. */
static const enum qd_event_kind kinds[] = {
    [QUOTA__V1__EVENT_KIND__EVENT_KIND_THRESHOLD_REACHED] = QD_EVENT_THRESHOLD,
    [QUOTA__V1__EVENT_KIND__EVENT_KIND_RESERVATION_EXPIRED] = QD_EVENT_EXPIRED,
    [QUOTA__V1__EVENT_KIND__EVENT_KIND_CORRECTION_BOOKED] = QD_EVENT_CORRECTION,
    [QUOTA__V1__EVENT_KIND__EVENT_KIND_TABLE_FULL] = QD_EVENT_FULL,
};
#define KIND_LAST (sizeof(kinds) / sizeof(kinds[0]) - 1)

static uint64_t number_of(enum qd_event_kind kind)
{
    uint64_t number = KIND_LAST;

    while (number > 1 && kinds[number] != kind) {
        number--;
    }
    return number;
}

static void put_limit(struct qd_out *out, const struct qd_event *event, struct qd_str name)
{
    char buffer[QD_EVENT_NAME_MAX];
    struct qd_text text;
    struct qd_limit_state state = {.limit = event->limit, .name = name};

    qd_text_init(&text, buffer, sizeof(buffer));
    qd_describe_name(&text, &state);
    qd_out_str(out, 4, (struct qd_str){buffer, text.used});
}

static void put_event(struct qd_out *out, const struct qd_event *event, uint64_t lost,
                      const char *node)
{
    char id[QD_SHORT_ID_MAX];
    struct qd_str name = {event->name, strlen(event->name)};
    struct qd_str keys;
    struct qd_str tenant = qd_name_tenant(name, &keys);

    qd_out_number(out, 1, number_of(event->kind));
    qd_out_number(out, 2, (uint64_t)event->at.ns);
    if (!event->shared) {
        qd_out_str(out, 3, tenant);
    }
    if (event->limit != NULL) {
        put_limit(out, event, name);
        qd_codec_put_keys(out, 5, keys);
        qd_out_number(out, 6, event->permille);
        qd_out_number(out, 7, (uint64_t)event->used);
        qd_out_number(out, 8, (uint64_t)event->amount);
        qd_out_text(out, 9, qd_describe_unit(event->limit));
        qd_out_number(out, 10, (uint64_t)event->period.start.ns);
        qd_out_number(out, 11, (uint64_t)event->period.end.ns);
    }
    if (event->reservation != 0) {
        qd_out_str(out, 12, (struct qd_str){id, qd_short_id_encode(event->reservation, id)});
    }
    qd_out_number(out, 13, event->entry);
    qd_out_number(out, 14, lost);
    qd_out_text(out, 15, node);
}

static bool next_event(struct qd_rpc *rpc, struct qd_call *call, struct qd_out *out)
{
    struct qd_event event;
    uint64_t lost = 0;

    if (!qd_watch_next(call->watch.events, &event, &lost)) {
        return false;
    }
    put_event(out, &event, lost, rpc->node->name);
    return true;
}

static void wake(void *context)
{
    struct qd_call *call = context;

    qd_call_wake(call->thread->rpc, call);
}

void qd_event_watch_end(struct qd_rpc *rpc, struct qd_watch *events)
{
    qd_broadcast_leave(&rpc->node->broadcast, events);
}

static enum qd_error_code read_kinds(const Quota__V1__WatchEventsRequest *q, uint32_t *ret_kinds,
                                     struct qd_error *ret_error)
{
    if (q->n_kinds > KINDS_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "kinds: %zu given; at most %u are accepted", q->n_kinds, KINDS_MAX);
    }
    for (size_t i = 0; i < q->n_kinds; i++) {
        if (q->kinds[i] < 1 || (size_t)q->kinds[i] > KIND_LAST) {
            return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                                "kinds[%zu]: %d is no kind of event; accepted are 1 to %zu, leave "
                                "it out for all",
                                i, (int)q->kinds[i], KIND_LAST);
        }
        *ret_kinds |= 1U << kinds[q->kinds[i]];
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_usage_watch_events(struct qd_place *place, struct qd_call *call,
                                         struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_watch_filter filter = {.kinds = 0};
    const Quota__V1__WatchEventsRequest *q =
        qd_place_unpack(place, &quota__v1__watch_events_request__descriptor, bytes, ret_error);

    if (q == NULL) {
        return ret_error->code;
    }
    struct qd_str tenant = qd_str_of(q->tenant);
    if (qd_optional_tenant(tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &tenant, ret_error) != QD_ERROR_NONE ||
        read_kinds(q, &filter.kinds, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    (void)snprintf(filter.tenant, sizeof(filter.tenant), "%.*s", (int)tenant.len, tenant.ptr);
    call->watch.next = next_event;
    call->watch.events = qd_broadcast_join(&place->node->broadcast, &filter, wake, call);
    if (call->watch.events == NULL) {
        return qd_error_set(ret_error, QD_ERROR_OVERLOADED,
                            "%u watchers are open on this node, which is as many as it takes; end "
                            "one, or filter what one hears for several",
                            QD_WATCHERS_MAX);
    }
    return QD_ERROR_NONE;
}
