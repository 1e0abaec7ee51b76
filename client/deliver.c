/* The end of a call: its answer, to a callback or to a waiting thread. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

static void set_error(struct quota_error *error, const struct lq_result *result)
{
    error->status = result->status;
    memcpy(error->reason, result->reason, sizeof error->reason);
    memcpy(error->message, result->message, sizeof error->message);
}

/* Nobody answered: the verdict that the caller chose for this. */
static void decide_alone(struct lq_call *call, struct quota_check_answer *answer)
{
    enum quota_status status = answer->error.status;
    bool unreachable = status == QUOTA_UNAVAILABLE || status == QUOTA_TIMEOUT;
    if (!unreachable || call->failure_mode == QUOTA_FAIL_ERROR) {
        return;
    }
    struct lq_arena *arena = lq_arena_new();
    const char *message = arena != NULL ? lq_arena_text(arena, answer->error.message) : NULL;
    answer->memory = arena;
    answer->message = message != NULL ? message : "";
    answer->reason = QUOTA_REASON_UNREACHABLE;
    answer->verdict = call->failure_mode == QUOTA_FAIL_OPEN ? QUOTA_ALLOWED : QUOTA_DENIED;
    answer->error = (struct quota_error){.status = QUOTA_OK};
    pthread_mutex_lock(&call->client->lock);
    call->client->stats.by_failure_mode += 1;
    pthread_mutex_unlock(&call->client->lock);
}

static void deliver_check(struct lq_call *call, const struct lq_result *result)
{
    struct quota_check_answer answer = {.message = ""};
    if (result->status == QUOTA_OK) {
        lq_decode_check(result->reply, result->reply_size, &answer);
    } else {
        set_error(&answer.error, result);
        decide_alone(call, &answer);
    }
    const char *id = call->request_id != NULL ? call->request_id : "";
    if (call->waiter != NULL && answer.memory != NULL) {
        id = lq_arena_text(answer.memory, id); /* The call goes before the answer does. */
    } else if (call->waiter != NULL) {
        id = "";
    }
    answer.request_id = id != NULL ? id : "";
    if (call->renew && answer.error.status == QUOTA_OK && answer.verdict == QUOTA_ALLOWED &&
        answer.reservation.token != NULL) {
        lq_renew_add(call, &answer);
    }
    if (call->waiter != NULL) {
        *(struct quota_check_answer *)call->waiter->answer = answer;
        return;
    }
    if (call->callback.check != NULL) {
        call->callback.check(call->context, &answer);
    }
    quota_check_answer_release(&answer);
}

static void deliver_report(struct lq_call *call, const struct lq_result *result)
{
    struct quota_report_answer answer = {.node = "", .cost_pico_usd = "", .charge_pico_usd = ""};
    if (result->status == QUOTA_OK) {
        lq_decode_report(result->reply, result->reply_size, &answer);
    } else {
        set_error(&answer.error, result);
    }
    if (call->waiter != NULL) {
        *(struct quota_report_answer *)call->waiter->answer = answer;
        return;
    }
    if (call->callback.report != NULL) {
        call->callback.report(call->context, &answer);
    }
    quota_report_answer_release(&answer);
}

static void deliver_extend(struct lq_call *call, const struct lq_result *result)
{
    struct quota_extend_answer answer = {.message = ""};
    if (result->status == QUOTA_OK) {
        lq_decode_extend(result->reply, result->reply_size, &answer);
        if (answer.error.status == QUOTA_OK && call->reservation != NULL) {
            lq_renew_touch(call->client, call->reservation);
        }
    } else {
        set_error(&answer.error, result);
    }
    if (call->waiter != NULL) {
        *(struct quota_extend_answer *)call->waiter->answer = answer;
        return;
    }
    if (call->callback.extend != NULL) {
        call->callback.extend(call->context, &answer);
    }
    quota_extend_answer_release(&answer);
}

static void deliver_cancel(struct lq_call *call, const struct lq_result *result)
{
    struct quota_cancel_answer answer = {.cancelled = false};
    if (result->status == QUOTA_OK) {
        lq_decode_cancel(result->reply, result->reply_size, &answer);
    } else {
        set_error(&answer.error, result);
    }
    if (call->waiter != NULL) {
        *(struct quota_cancel_answer *)call->waiter->answer = answer;
    } else if (call->callback.cancel != NULL) {
        call->callback.cancel(call->context, &answer);
    }
}

static void deliver_bytes(struct lq_call *call, const struct lq_result *result)
{
    struct quota_bytes answer = {.data = NULL};
    set_error(&answer.error, result);
    if (result->status == QUOTA_OK && result->reply_size > 0) {
        answer.memory = malloc(result->reply_size);
        if (answer.memory == NULL) {
            lq_error_set(&answer.error, QUOTA_NO_MEMORY, "out of memory while reading the answer");
        } else {
            memcpy(answer.memory, result->reply, result->reply_size);
            answer.data = answer.memory;
            answer.size = result->reply_size;
        }
    }
    if (call->waiter != NULL) {
        *(struct quota_bytes *)call->waiter->answer = answer;
    } else if (call->callback.invoke != NULL) {
        call->callback.invoke(call->context, answer);
    } else {
        quota_bytes_release(&answer);
    }
}

void lq_call_deliver(struct lq_call *call, const struct lq_result *result)
{
    switch (call->kind) {
    case LQ_CHECK:
        deliver_check(call, result);
        break;
    case LQ_REPORT:
        deliver_report(call, result);
        break;
    case LQ_EXTEND:
        deliver_extend(call, result);
        break;
    case LQ_CANCEL:
        deliver_cancel(call, result);
        break;
    case LQ_INVOKE:
        deliver_bytes(call, result);
        break;
    }
}

void quota_check_answer_release(struct quota_check_answer *answer)
{
    lq_arena_free(answer->memory);
    *answer = (struct quota_check_answer){.message = "", .request_id = ""};
}

void quota_report_answer_release(struct quota_report_answer *answer)
{
    lq_arena_free(answer->memory);
    *answer = (struct quota_report_answer){.node = "", .cost_pico_usd = "", .charge_pico_usd = ""};
}

void quota_extend_answer_release(struct quota_extend_answer *answer)
{
    lq_arena_free(answer->memory);
    *answer = (struct quota_extend_answer){.message = ""};
}

void quota_bytes_release(struct quota_bytes *bytes)
{
    free(bytes->memory);
    *bytes = (struct quota_bytes){.data = NULL};
}
