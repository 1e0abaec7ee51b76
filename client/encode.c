/* From the public structs to protobuf. NULL strings are absent fields. */
#include "client/client.h"

#include "quota/v1/quota.pb-c.h"

#include <string.h>

/* protobuf-c's fields are `char *`, though packing only reads them. */
static char *text(const char *value)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = value != NULL ? value : protobuf_c_empty_string};
    return cast.out;
}

static Quota__V1__Amount **amounts(struct lq_arena *arena, const struct quota_amount *list,
                                   size_t count)
{
    Quota__V1__Amount **ret = lq_arena_take(arena, (count + 1) * sizeof(Quota__V1__Amount *));
    Quota__V1__Amount *items = lq_arena_take(arena, (count + 1) * sizeof *items);
    if (ret == NULL || items == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        quota__v1__amount__init(&items[i]);
        items[i].meter = text(list[i].meter);
        items[i].amount = list[i].amount;
        ret[i] = &items[i];
    }
    return ret;
}

static Quota__V1__Entry **entries(struct lq_arena *arena, const struct quota_entry *list,
                                  size_t count)
{
    Quota__V1__Entry **ret = lq_arena_take(arena, (count + 1) * sizeof(Quota__V1__Entry *));
    Quota__V1__Entry *items = lq_arena_take(arena, (count + 1) * sizeof *items);
    if (ret == NULL || items == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        quota__v1__entry__init(&items[i]);
        items[i].key = text(list[i].key);
        items[i].value = text(list[i].value);
        ret[i] = &items[i];
    }
    return ret;
}

static Quota__V1__Candidate **candidates(struct lq_arena *arena, const struct quota_candidate *list,
                                         size_t count)
{
    Quota__V1__Candidate **ret = lq_arena_take(arena, (count + 1) * sizeof(Quota__V1__Candidate *));
    Quota__V1__Candidate *items = lq_arena_take(arena, (count + 1) * sizeof *items);
    if (ret == NULL || items == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        quota__v1__candidate__init(&items[i]);
        items[i].model = text(list[i].model);
        items[i].pool = text(list[i].pool);
        items[i].provider = text(list[i].provider);
        ret[i] = &items[i];
    }
    return ret;
}

static void pack(const ProtobufCMessage *message, grpc_slice *ret)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    *ret = grpc_slice_malloc(size);
    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(*ret));
}

bool lq_encode_check(const struct quota_check *check, const char *request_id, grpc_slice *ret)
{
    struct lq_arena *arena = lq_arena_new();
    if (arena == NULL) {
        return false;
    }
    Quota__V1__CheckQuotaRequest wire;
    quota__v1__check_quota_request__init(&wire);
    wire.tenant = text(check->tenant);
    wire.model = text(check->model);
    wire.pool = text(check->pool);
    wire.user = text(check->user);
    wire.labels = entries(arena, check->labels, check->label_count);
    wire.n_labels = check->label_count;
    wire.estimate = amounts(arena, check->estimate, check->estimate_count);
    wire.n_estimate = check->estimate_count;
    wire.candidates = candidates(arena, check->candidates, check->candidate_count);
    wire.n_candidates = check->candidate_count;
    if (check->max_output_tokens_given) {
        wire.max_output_tokens_presence_case =
            QUOTA__V1__CHECK_QUOTA_REQUEST__MAX_OUTPUT_TOKENS_PRESENCE_MAX_OUTPUT_TOKENS;
        wire.max_output_tokens = check->max_output_tokens;
    }
    wire.request_id = text(request_id);
    wire.attempt = check->attempt;
    wire.ttl_ms = check->ttl_ms;
    wire.dry_run = check->dry_run;
    wire.no_reservation = check->no_reservation;
    wire.brief = check->brief;
    wire.priority = check->priority;
    wire.weight = check->weight;
    wire.tier = (Quota__V1__ServiceTier)check->tier;
    wire.cache_write_ttl = (Quota__V1__CacheWriteTtl)check->cache_write;
    if (check->event_time_unix_ns != 0) {
        wire.event_time_presence_case =
            QUOTA__V1__CHECK_QUOTA_REQUEST__EVENT_TIME_PRESENCE_EVENT_TIME_UNIX_NS;
        wire.event_time_unix_ns = check->event_time_unix_ns;
    }
    bool ok = !arena->failed;
    if (ok) {
        pack(&wire.base, ret);
    }
    lq_arena_free(arena);
    return ok;
}

bool lq_encode_report(const struct quota_report *report, const char *source, grpc_slice *ret)
{
    struct lq_arena *arena = lq_arena_new();
    if (arena == NULL) {
        return false;
    }
    Quota__V1__ReportUsageRequest wire;
    quota__v1__report_usage_request__init(&wire);
    wire.reservation = text(report->reservation);
    wire.tenant = text(report->tenant);
    wire.model = text(report->model);
    wire.pool = text(report->pool);
    wire.user = text(report->user);
    wire.labels = entries(arena, report->labels, report->label_count);
    wire.n_labels = report->label_count;
    wire.source = text(report->source != NULL ? report->source : source);
    wire.request_id = text(report->request_id);
    wire.attempt = report->attempt;
    wire.sequence = report->sequence;
    wire.partial = report->partial;
    wire.outcome = (Quota__V1__Outcome)report->outcome;
    wire.usage = amounts(arena, report->usage, report->usage_count);
    wire.n_usage = report->usage_count;
    wire.tier = (Quota__V1__ServiceTier)report->tier;
    wire.cache_write_ttl = (Quota__V1__CacheWriteTtl)report->cache_write;
    if (report->event_time_unix_ns != 0) {
        wire.event_time_presence_case =
            QUOTA__V1__REPORT_USAGE_REQUEST__EVENT_TIME_PRESENCE_EVENT_TIME_UNIX_NS;
        wire.event_time_unix_ns = report->event_time_unix_ns;
    }
    bool ok = !arena->failed;
    if (ok) {
        pack(&wire.base, ret);
    }
    lq_arena_free(arena);
    return ok;
}

bool lq_encode_extend(const struct quota_extend *extend, grpc_slice *ret)
{
    struct lq_arena *arena = lq_arena_new();
    if (arena == NULL) {
        return false;
    }
    Quota__V1__ExtendReservationRequest wire;
    quota__v1__extend_reservation_request__init(&wire);
    wire.reservation = text(extend->reservation);
    wire.tenant = text(extend->tenant);
    wire.used_so_far = amounts(arena, extend->used_so_far, extend->used_so_far_count);
    wire.n_used_so_far = extend->used_so_far_count;
    wire.ttl_ms = extend->ttl_ms;
    bool ok = !arena->failed;
    if (ok) {
        pack(&wire.base, ret);
    }
    lq_arena_free(arena);
    return ok;
}

bool lq_encode_cancel(const struct quota_cancel *cancel, grpc_slice *ret)
{
    Quota__V1__CancelReservationRequest wire;
    quota__v1__cancel_reservation_request__init(&wire);
    wire.reservation = text(cancel->reservation);
    wire.tenant = text(cancel->tenant);
    pack(&wire.base, ret);
    return true;
}
