/* The public calls: check the arguments, encode, launch, and wait if asked to. */
#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "/quota.v1.QuotaService/"

/* Beyond these the server refuses anyway; here they bound the memory of a mistaken count. */
enum {
    METERS_MAX = 64,
    LABELS_MAX = 64,
    CANDIDATES_MAX = 64
};

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool counts_fit(size_t meters, size_t labels, size_t candidates, struct quota_error *error)
{
    if (meters > METERS_MAX) {
        lq_error_set(error, QUOTA_INVALID, "%zu meters given; at most 32 are accepted", meters);
        return false;
    }
    if (labels > LABELS_MAX) {
        lq_error_set(error, QUOTA_INVALID, "%zu labels given; at most 16 are accepted", labels);
        return false;
    }
    if (candidates > CANDIDATES_MAX) {
        lq_error_set(error, QUOTA_INVALID, "%zu candidates given; at most 16 are accepted",
                     candidates);
        return false;
    }
    return true;
}

static struct quota_stream *stream_of(const struct quota_call *options)
{
    return options != NULL ? options->stream : NULL;
}

static struct lq_call *out_of_memory(struct lq_call *call, struct quota_error *error)
{
    lq_call_free(call);
    lq_error_set(error, QUOTA_NO_MEMORY, "out of memory");
    return NULL;
}

/* False: out of memory. */
static bool keep_reservation(struct lq_call *call, const char *reservation, bool settles)
{
    call->settles = settles;
    call->reservation = given(reservation) ? strdup(reservation) : NULL;
    return call->reservation != NULL || !given(reservation);
}

/* The id that makes a check repeatable: the caller's, or a new one. */
static char *request_id_for(struct quota_client *client, const struct quota_check *check)
{
    if (given(check->request_id)) {
        return strdup(check->request_id);
    }
    if (check->dry_run || check->no_reservation) {
        return strdup(""); /* Nothing of it stays on the server that a repeat could find. */
    }
    char text[48];
    pthread_mutex_lock(&client->lock);
    client->id_count += 1;
    (void)snprintf(text, sizeof text, "lq-%016" PRIx64 "-%" PRIu64, client->id_prefix,
                   client->id_count);
    pthread_mutex_unlock(&client->lock);
    return strdup(text);
}

static struct lq_call *new_check(struct quota_client *client, const struct quota_check *check,
                                 const struct quota_call *options, struct quota_error *error)
{
    if (!given(check->tenant)) {
        lq_error_set(error, QUOTA_INVALID,
                     "check.tenant is missing; accepted: a path such as \"acme/search\"");
        return NULL;
    }
    if (!counts_fit(check->estimate_count, check->label_count, check->candidate_count, error)) {
        return NULL;
    }
    grpc_slice request;
    char *id = request_id_for(client, check);
    if (id == NULL || !lq_encode_check(check, id, &request)) {
        free(id);
        return out_of_memory(NULL, error);
    }
    struct lq_call *call = lq_call_new(client, LQ_CHECK, SERVICE "CheckQuota", request, options);
    if (call == NULL) {
        free(id);
        return out_of_memory(NULL, error);
    }
    call->request_id = id;
    call->repeatable = check->dry_run || !check->no_reservation;
    call->renew = !check->no_renewal && !client->config.no_renewal;
    call->ttl_ms = check->ttl_ms > 0 ? check->ttl_ms : LQ_TTL_DEFAULT_MS;
    call->on_stop = check->on_stop;
    call->on_stop_context = check->on_stop_context;
    return call;
}

static struct lq_call *new_report(struct quota_client *client, const struct quota_report *report,
                                  const struct quota_call *options, struct quota_error *error)
{
    if (!given(report->reservation) && !(given(report->tenant) && given(report->request_id))) {
        lq_error_set(error, QUOTA_INVALID,
                     "a report needs a reservation, or, for post-paid usage, tenant and "
                     "request_id");
        return NULL;
    }
    if (!counts_fit(report->usage_count, report->label_count, 0, error)) {
        return NULL;
    }
    grpc_slice request;
    if (!lq_encode_report(report, client->source, &request)) {
        return out_of_memory(NULL, error);
    }
    struct lq_call *call = lq_call_new(client, LQ_REPORT, SERVICE "ReportUsage", request, options);
    bool settles = given(report->reservation) && !report->partial;
    return call != NULL && keep_reservation(call, report->reservation, settles)
               ? call
               : out_of_memory(call, error);
}

static struct lq_call *new_extend(struct quota_client *client, const struct quota_extend *extend,
                                  const struct quota_call *options, struct quota_error *error)
{
    if (!given(extend->reservation)) {
        lq_error_set(error, QUOTA_INVALID,
                     "extend.reservation is missing; accepted: the token of "
                     "a check's answer");
        return NULL;
    }
    if (!counts_fit(extend->used_so_far_count, 0, 0, error)) {
        return NULL;
    }
    grpc_slice request;
    if (!lq_encode_extend(extend, &request)) {
        return out_of_memory(NULL, error);
    }
    struct lq_call *call =
        lq_call_new(client, LQ_EXTEND, SERVICE "ExtendReservation", request, options);
    return call != NULL && keep_reservation(call, extend->reservation, false)
               ? call
               : out_of_memory(call, error);
}

static struct lq_call *new_cancel(struct quota_client *client, const struct quota_cancel *cancel,
                                  const struct quota_call *options, struct quota_error *error)
{
    if (!given(cancel->reservation)) {
        lq_error_set(error, QUOTA_INVALID,
                     "cancel.reservation is missing; accepted: the token of "
                     "a check's answer");
        return NULL;
    }
    grpc_slice request;
    if (!lq_encode_cancel(cancel, &request)) {
        return out_of_memory(NULL, error);
    }
    struct lq_call *call =
        lq_call_new(client, LQ_CANCEL, SERVICE "CancelReservation", request, options);
    return call != NULL && keep_reservation(call, cancel->reservation, true)
               ? call
               : out_of_memory(call, error);
}

/* Launch a call of the callback form. */
static enum quota_status launch(struct lq_call *call, const struct quota_call *options)
{
    call->counted = true;
    enum quota_status status = lq_call_launch(call, stream_of(options));
    if (status != QUOTA_OK) {
        lq_call_free(call);
    }
    return status;
}

/* Launch and wait; the client's thread fills `answer`, of the call's kind, whose error is `error`.
 */
static enum quota_status wait_for(struct lq_call *call, const struct quota_call *options,
                                  void *answer, struct quota_error *error)
{
    struct quota_client *client = call->client;
    if (lq_on_own_thread(client)) {
        lq_call_free(call);
        lq_error_set(error, QUOTA_INVALID,
                     "a blocking call from a callback would wait for itself; use the _start form");
        return error->status;
    }
    struct lq_waiter waiter = {.answer = answer};
    pthread_cond_init(&waiter.cond, NULL);
    call->waiter = &waiter;
    enum quota_status status = lq_call_launch(call, stream_of(options));
    if (status == QUOTA_OK) {
        pthread_mutex_lock(&client->lock);
        while (!waiter.done) {
            pthread_cond_wait(&waiter.cond, &client->lock);
        }
        pthread_mutex_unlock(&client->lock);
        status = error->status;
    } else {
        lq_call_free(call);
        lq_error_set(error, status, "%s",
                     status == QUOTA_CANCELLED ? "the client is closing" : "out of memory");
    }
    pthread_cond_destroy(&waiter.cond);
    return status;
}

enum quota_status quota_client_check(struct quota_client *client, const struct quota_check *check,
                                     const struct quota_call *call,
                                     struct quota_check_answer *ret_answer)
{
    *ret_answer = (struct quota_check_answer){.message = "", .request_id = ""};
    struct lq_call *made = new_check(client, check, call, &ret_answer->error);
    return made != NULL ? wait_for(made, call, ret_answer, &ret_answer->error)
                        : ret_answer->error.status;
}

enum quota_status quota_client_check_start(struct quota_client *client,
                                           const struct quota_check *check,
                                           const struct quota_call *call,
                                           quota_check_callback callback, void *context)
{
    struct quota_error error;
    struct lq_call *made = new_check(client, check, call, &error);
    if (made == NULL) {
        return error.status;
    }
    made->callback.check = callback;
    made->context = context;
    return launch(made, call);
}

enum quota_status quota_client_report(struct quota_client *client,
                                      const struct quota_report *report,
                                      const struct quota_call *call,
                                      struct quota_report_answer *ret_answer)
{
    *ret_answer =
        (struct quota_report_answer){.node = "", .cost_pico_usd = "", .charge_pico_usd = ""};
    struct lq_call *made = new_report(client, report, call, &ret_answer->error);
    if (made == NULL) {
        return ret_answer->error.status;
    }
    return wait_for(made, call, ret_answer, &ret_answer->error);
}

enum quota_status quota_client_report_start(struct quota_client *client,
                                            const struct quota_report *report,
                                            const struct quota_call *call,
                                            quota_report_callback callback, void *context)
{
    struct quota_error error;
    struct lq_call *made = new_report(client, report, call, &error);
    if (made == NULL) {
        return error.status;
    }
    made->callback.report = callback;
    made->context = context;
    return launch(made, call);
}

enum quota_status quota_client_extend(struct quota_client *client,
                                      const struct quota_extend *extend,
                                      const struct quota_call *call,
                                      struct quota_extend_answer *ret_answer)
{
    *ret_answer = (struct quota_extend_answer){.message = ""};
    struct lq_call *made = new_extend(client, extend, call, &ret_answer->error);
    return made != NULL ? wait_for(made, call, ret_answer, &ret_answer->error)
                        : ret_answer->error.status;
}

enum quota_status quota_client_extend_start(struct quota_client *client,
                                            const struct quota_extend *extend,
                                            const struct quota_call *call,
                                            quota_extend_callback callback, void *context)
{
    struct quota_error error;
    struct lq_call *made = new_extend(client, extend, call, &error);
    if (made == NULL) {
        return error.status;
    }
    made->callback.extend = callback;
    made->context = context;
    return launch(made, call);
}

enum quota_status quota_client_cancel(struct quota_client *client,
                                      const struct quota_cancel *cancel,
                                      const struct quota_call *call,
                                      struct quota_cancel_answer *ret_answer)
{
    *ret_answer = (struct quota_cancel_answer){.cancelled = false};
    struct lq_call *made = new_cancel(client, cancel, call, &ret_answer->error);
    if (made == NULL) {
        return ret_answer->error.status;
    }
    return wait_for(made, call, ret_answer, &ret_answer->error);
}

enum quota_status quota_client_cancel_start(struct quota_client *client,
                                            const struct quota_cancel *cancel,
                                            const struct quota_call *call,
                                            quota_cancel_callback callback, void *context)
{
    struct quota_error error;
    struct lq_call *made = new_cancel(client, cancel, call, &error);
    if (made == NULL) {
        return error.status;
    }
    made->callback.cancel = callback;
    made->context = context;
    return launch(made, call);
}

void lq_cancel_late(struct quota_client *client, const char *reservation)
{
    const struct quota_cancel cancel = {.reservation = reservation};
    struct quota_error error;
    struct lq_call *made = new_cancel(client, &cancel, NULL, &error);
    if (made != NULL && lq_call_launch(made, NULL) != QUOTA_OK) {
        lq_call_free(made);
    }
}

static struct lq_call *new_invoke(struct quota_client *client, const char *method,
                                  const void *request, size_t request_size,
                                  const struct quota_call *call, struct quota_error *error)
{
    if (!given(method) || method[0] != '/') {
        lq_error_set(error, QUOTA_INVALID,
                     "method \"%s\" is not valid; accepted: \"/package.Service/Method\"",
                     method != NULL ? method : "");
        return NULL;
    }
    grpc_slice bytes = grpc_slice_from_copied_buffer(request, request_size);
    struct lq_call *made = lq_call_new(client, LQ_INVOKE, method, bytes, call);
    if (made == NULL) {
        lq_error_set(error, QUOTA_NO_MEMORY, "out of memory");
    }
    return made;
}

enum quota_status quota_client_invoke(struct quota_client *client, const char *method,
                                      const void *request, size_t request_size,
                                      const struct quota_call *call, struct quota_bytes *ret_reply)
{
    *ret_reply = (struct quota_bytes){.data = NULL};
    struct lq_call *made =
        new_invoke(client, method, request, request_size, call, &ret_reply->error);
    return made != NULL ? wait_for(made, NULL, ret_reply, &ret_reply->error)
                        : ret_reply->error.status;
}

enum quota_status quota_client_invoke_start(struct quota_client *client, const char *method,
                                            const void *request, size_t request_size,
                                            const struct quota_call *call,
                                            quota_invoke_callback callback, void *context)
{
    struct quota_error error;
    struct lq_call *made = new_invoke(client, method, request, request_size, call, &error);
    if (made == NULL) {
        return error.status;
    }
    made->callback.invoke = callback;
    made->context = context;
    return launch(made, NULL);
}
