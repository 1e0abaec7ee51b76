/* From protobuf to the public structs. The unpacked message stays in the answer's arena, and the
 * public strings point into it. */
#include "client/client.h"

#include "quota/v1/quota.pb-c.h"

#include <stdio.h>
#include <string.h>

/* The public numbers are the wire's. */
_Static_assert((int)QUOTA_DENIED == (int)QUOTA__V1__VERDICT__VERDICT_DENIED, "verdict");
_Static_assert((int)QUOTA_REASON_LIMIT == (int)QUOTA__V1__REASON__REASON_LIMIT, "reason");
_Static_assert((int)QUOTA_REASON_CAPACITY == (int)QUOTA__V1__REASON__REASON_CAPACITY, "reason");
_Static_assert((int)QUOTA_REASON_UNDECIDED == (int)QUOTA__V1__REASON__REASON_UNDECIDED, "reason");
_Static_assert((int)QUOTA_PREPAID == (int)QUOTA__V1__ALGORITHM__ALGORITHM_PREPAID, "algorithm");
_Static_assert((int)QUOTA_OUTCOME_DISCONNECTED == (int)QUOTA__V1__OUTCOME__OUTCOME_DISCONNECTED,
               "outcome");
_Static_assert((int)QUOTA_SETTLEMENT_LATE == (int)QUOTA__V1__SETTLEMENT__SETTLEMENT_LATE,
               "settlement");
_Static_assert((int)QUOTA_TIER_FLEX == (int)QUOTA__V1__SERVICE_TIER__SERVICE_TIER_FLEX, "tier");
_Static_assert((int)QUOTA_CACHE_WRITE_1H == (int)QUOTA__V1__CACHE_WRITE_TTL__CACHE_WRITE_TTL_1H,
               "cache write");

static void *unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size,
                    struct lq_arena **ret_arena, struct quota_error *error)
{
    struct lq_arena *arena = lq_arena_new();
    void *message =
        arena != NULL ? protobuf_c_message_unpack(type, &arena->wire, size, bytes) : NULL;
    if (message != NULL) {
        *ret_arena = arena;
        return message;
    }
    if (arena == NULL || arena->failed) {
        lq_error_set(error, QUOTA_NO_MEMORY, "out of memory while reading the answer");
    } else {
        lq_error_set(error, QUOTA_INTERNAL, "the answer (%zu bytes) is not a %s", size, type->name);
    }
    lq_arena_free(arena);
    return NULL;
}

static struct quota_amount *amounts(struct lq_arena *arena, size_t count,
                                    Quota__V1__Amount *const *wire)
{
    struct quota_amount *ret = lq_arena_take(arena, (count + 1) * sizeof *ret);
    for (size_t i = 0; ret != NULL && i < count; i++) {
        ret[i] = (struct quota_amount){wire[i]->meter, wire[i]->amount};
    }
    return ret;
}

static struct quota_entry *entries(struct lq_arena *arena, size_t count,
                                   Quota__V1__Entry *const *wire)
{
    struct quota_entry *ret = lq_arena_take(arena, (count + 1) * sizeof *ret);
    for (size_t i = 0; ret != NULL && i < count; i++) {
        ret[i] = (struct quota_entry){wire[i]->key, wire[i]->value};
    }
    return ret;
}

static struct quota_limit limit_of(struct lq_arena *arena, const Quota__V1__LimitState *wire)
{
    return (struct quota_limit){
        .name = wire->name,
        .tenant = wire->tenant,
        .keys = entries(arena, wire->n_keys, wire->keys),
        .key_count = wire->n_keys,
        .algorithm = (enum quota_algorithm)wire->algorithm,
        .meter = wire->meter,
        .unit = wire->unit,
        .used = wire->used,
        .held = wire->held,
        .estimate = wire->estimate,
        .limit = wire->limit,
        .resets_at_unix_ns = wire->resets_at_unix_ns,
        .window_ns = wire->window_ns,
        .shadow = wire->action == QUOTA__V1__LIMIT_ACTION__LIMIT_ACTION_SHADOW,
        .hard = wire->hard != 0,
    };
}

static struct quota_limit *limits(struct lq_arena *arena, size_t count,
                                  Quota__V1__LimitState *const *wire)
{
    struct quota_limit *ret = lq_arena_take(arena, (count + 1) * sizeof *ret);
    for (size_t i = 0; ret != NULL && i < count; i++) {
        ret[i] = limit_of(arena, wire[i]);
    }
    return ret;
}

static struct quota_limit *limit_or_null(struct lq_arena *arena, Quota__V1__LimitState *wire)
{
    return wire != NULL ? limits(arena, 1, &wire) : NULL;
}

/* A struct that was only half filled for lack of memory must not be seen. */
static bool complete(struct lq_arena *arena, struct quota_error *error)
{
    if (!arena->failed) {
        return true;
    }
    lq_error_set(error, QUOTA_NO_MEMORY, "out of memory while reading the answer");
    return false;
}

void lq_decode_check(const uint8_t *bytes, size_t size, struct quota_check_answer *answer)
{
    struct lq_arena *arena = NULL;
    Quota__V1__CheckQuotaResponse *wire =
        unpack(&quota__v1__check_quota_response__descriptor, bytes, size, &arena, &answer->error);
    if (wire == NULL) {
        return;
    }
    answer->memory = arena;
    answer->verdict = (enum quota_verdict)wire->verdict;
    answer->reason = (enum quota_reason)wire->reason;
    answer->limit = limit_or_null(arena, wire->limit);
    answer->retry_after_ns = wire->retry_after_ns;
    answer->retry_useful = wire->retry_useful != 0;
    answer->retry_is_hint = wire->retry_is_hint != 0;
    answer->repeated = wire->repeated_check != 0;
    answer->message = wire->message;
    answer->candidate = wire->candidate;
    if (wire->reservation != NULL && wire->reservation->token[0] != '\0') {
        answer->reservation = (struct quota_reservation){
            .token = wire->reservation->token,
            .id = wire->reservation->id,
            .expires_at_unix_ns = wire->reservation->expires_at_unix_ns,
        };
    }
    answer->would_deny = limits(arena, wire->n_would_deny, wire->would_deny);
    answer->would_deny_count = wire->n_would_deny;
    struct quota_entry *headers =
        lq_arena_take(arena, (wire->n_headers + 1) * sizeof(struct quota_entry));
    for (size_t i = 0; headers != NULL && i < wire->n_headers; i++) {
        headers[i] = (struct quota_entry){wire->headers[i]->name, wire->headers[i]->value};
    }
    answer->headers = headers;
    answer->header_count = wire->n_headers;
    answer->held = amounts(arena, wire->n_held, wire->held);
    answer->held_count = wire->n_held;
    answer->policy_revision = wire->policy_revision;
    (void)complete(arena, &answer->error);
}

void lq_decode_report(const uint8_t *bytes, size_t size, struct quota_report_answer *answer)
{
    struct lq_arena *arena = NULL;
    Quota__V1__ReportUsageResponse *wire =
        unpack(&quota__v1__report_usage_response__descriptor, bytes, size, &arena, &answer->error);
    if (wire == NULL) {
        return;
    }
    answer->memory = arena;
    answer->duplicate = wire->duplicate != 0;
    answer->unpriced = wire->unpriced != 0;
    answer->settlement = (enum quota_settlement)wire->settlement;
    answer->entry_sequence = wire->entry_sequence;
    answer->node = wire->node;
    answer->cost_nano_usd = wire->cost_nano_usd;
    answer->charge_nano_usd = wire->charge_nano_usd;
    answer->cost_pico_usd = wire->cost_pico_usd;
    answer->charge_pico_usd = wire->charge_pico_usd;
    const char **meters =
        lq_arena_take(arena, (wire->n_unpriced_meters + 1) * sizeof(const char *));
    for (size_t i = 0; meters != NULL && i < wire->n_unpriced_meters; i++) {
        meters[i] = wire->unpriced_meters[i];
    }
    answer->unpriced_meters = meters;
    answer->unpriced_meter_count = wire->n_unpriced_meters;
    answer->released = amounts(arena, wire->n_released, wire->released);
    answer->released_count = wire->n_released;
    answer->overrun = amounts(arena, wire->n_overrun, wire->overrun);
    answer->overrun_count = wire->n_overrun;
    answer->limits_over = wire->limits_over;
    answer->policy_revision = wire->policy_revision;
    (void)complete(arena, &answer->error);
}

void lq_decode_extend(const uint8_t *bytes, size_t size, struct quota_extend_answer *answer)
{
    struct lq_arena *arena = NULL;
    Quota__V1__ExtendReservationResponse *wire = unpack(
        &quota__v1__extend_reservation_response__descriptor, bytes, size, &arena, &answer->error);
    if (wire == NULL) {
        return;
    }
    answer->memory = arena;
    answer->stop = wire->continuation == QUOTA__V1__CONTINUATION__CONTINUATION_STOP;
    answer->reason = (enum quota_reason)wire->reason;
    answer->limit = limit_or_null(arena, wire->limit);
    answer->message = wire->message;
    answer->expires_at_unix_ns = wire->expires_at_unix_ns;
    (void)complete(arena, &answer->error);
}

void lq_decode_cancel(const uint8_t *bytes, size_t size, struct quota_cancel_answer *answer)
{
    struct lq_arena *arena = NULL;
    Quota__V1__CancelReservationResponse *wire = unpack(
        &quota__v1__cancel_reservation_response__descriptor, bytes, size, &arena, &answer->error);
    if (wire != NULL) {
        answer->cancelled = wire->cancelled != 0;
        lq_arena_free(arena);
    }
}

void lq_decode_item_error(const uint8_t *bytes, size_t size, struct lq_result *result)
{
    struct lq_arena *arena = NULL;
    struct quota_error error = {.status = QUOTA_OK};
    Quota__V1__ItemError *wire =
        unpack(&quota__v1__item_error__descriptor, bytes, size, &arena, &error);
    if (wire == NULL) {
        result->status = error.status;
        (void)snprintf(result->message, sizeof result->message, "%s", error.message);
        return;
    }
    result->status = lq_status_from_grpc(wire->code);
    if (result->status == QUOTA_OK) {
        result->status = QUOTA_INTERNAL; /* "Never 0." */
    }
    lq_result_reason(result, wire->code, wire->reason);
    if (wire->retry_after_ms > 0) {
        result->pause_ns = (int64_t)wire->retry_after_ms * LQ_NS_PER_MS;
    }
    (void)snprintf(result->message, sizeof result->message, "%s", wire->message);
    lq_arena_free(arena);
}
