#include "server/shard/report.h"

#include "server/core/hash.h"
#include "server/core/mutant.h"
#include "server/ledger/reversal.h"
#include "server/shard/closed.h"
#include "server/shard/validate.h"
#include "storage/codec.h"

#include <stdio.h>
#include <string.h>

/* --- validation --- */

static enum qd_error_code validate_names(const struct qd_report_args *args,
                                         struct qd_error *ret_error)
{
    if (qd_validate_name("model", args->model, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("pool", args->pool, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("user", args->user, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("source", args->source, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("request_id", args->request_id, ret_error) != QD_ERROR_NONE ||
        qd_validate_request_labels(args->labels, args->label_count, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (qd_slice_equal(args->source, qd_slice_of(QD_CORRECTION_SOURCE))) { /* L3, S6 */
        return qd_error_set(ret_error, QD_ERROR_INVALID_NAME,
                            "source: \"" QD_CORRECTION_SOURCE
                            "\" is the ledger's own; name the reporter, e.g. \"gateway\"");
    }
    if (args->sequence > INT32_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "sequence: %u is out of range; accepted are 0 to %d", args->sequence,
                            INT32_MAX);
    }
    if (args->outcome > 4) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "outcome: %u is unknown; accepted are 0 to 4", args->outcome);
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code read_reference(struct qd_report_work *w, struct qd_error *ret_error)
{
    const struct qd_report_args *args = w->args;

    w->has_reference = args->reservation.len > 0;
    if (args->tenant.len > 0 || !w->has_reference) {
        if (qd_validate_tenant(args->tenant, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
    }
    if (w->has_reference) {
        return qd_reference_read(w->worker->node, args->reservation, args->tenant, &w->reference,
                                 ret_error);
    }
    if (args->request_id.len == 0) { /* S6, S7: without an id a retry would book twice */
        return qd_error_set(
            ret_error, QD_ERROR_REQUEST_ID_REQUIRED,
            "request_id: required without a reservation: it makes a retry harmless");
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_report_validate(struct qd_report_work *w, struct qd_error *ret_error)
{
    static const enum qd_outcome outcomes[] = {QD_OUTCOME_OK, QD_OUTCOME_OK,
                                               QD_OUTCOME_NOT_DISPATCHED, QD_OUTCOME_FAILED,
                                               QD_OUTCOME_DISCONNECTED};
    const struct qd_report_args *args = w->args;
    const struct qd_policy *policy = w->published->policy;

    if (validate_names(args, ret_error) != QD_ERROR_NONE ||
        read_reference(w, ret_error) != QD_ERROR_NONE ||
        qd_validate_usage("usage", policy, args->usage, args->usage_count, &w->usage, ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    w->outcome = outcomes[args->outcome];
    w->final = !args->partial;
    if (w->outcome == QD_OUTCOME_NOT_DISPATCHED && w->usage.present != 0) { /* S4 */
        return qd_error_set(
            ret_error, QD_ERROR_USAGE_NOT_EMPTY,
            "usage: must be empty with outcome NOT_DISPATCHED; report what was used with FAILED or "
            "DISCONNECTED");
    }
    w->event_time = args->event_time_given ? (struct qd_wall_ns){args->event_time_ns}
                    : w->has_reference     ? w->reference.token.event_time
                                           : w->now;
    return qd_validate_event_time("event_time", w->event_time, w->now, policy->report_horizon_ns,
                                  QD_ERROR_REPORT_TOO_OLD, ret_error);
}

/* --- the reservation's state --- */

void qd_report_identify(struct qd_report_work *w)
{
    const struct qd_report_args *args = w->args;
    struct qd_entry *e = &w->entry;

    memset(e, 0, sizeof(*e));
    e->source = qd_report_pick(args->source, (struct qd_str){"gateway", 7});
    e->request_id = args->request_id;
    e->attempt = args->attempt;
    e->part = QD_MUTANT(S6_sequence) ? 0 : args->sequence;
    if (w->has_reference) {
        const struct qd_token *t = &w->reference.token;
        e->request_id = qd_report_pick(args->request_id, t->request_id);
        e->attempt = args->attempt != 0 ? args->attempt : t->attempt;
        e->reservation_incarnation = t->incarnation;
        e->reservation = t->reservation;
        if (e->request_id.len == 0) { /* S6: the reservation's own number stands in */
            char id[QD_SHORT_ID_MAX];
            size_t len = qd_short_id_encode(t->reservation, id);
            int n = snprintf(w->stand_in_id, sizeof(w->stand_in_id), "%.*s@%016llx.%llu", (int)len,
                             id, (unsigned long long)t->node, (unsigned long long)t->incarnation);
            e->request_id = (struct qd_str){w->stand_in_id, (size_t)n};
        }
    }
}

/* Which report closed it: a retry of that one finds the reservation as it was the first time. */
struct qd_hash128 qd_report_identity(const struct qd_entry *e)
{
    struct qd_hasher h;

    qd_hasher_init(&h, 0);
    qd_hasher_str(&h, e->source);
    qd_hasher_str(&h, e->request_id);
    qd_hasher_u64(&h, e->attempt);
    qd_hasher_u64(&h, e->part);
    return qd_hasher_end(&h);
}

enum qd_error_code qd_report_look_at_reservation(struct qd_report_work *w,
                                                 struct qd_error *ret_error)
{
    struct qd_node *node = w->worker->node;
    struct qd_reference *r = &w->reference;
    struct qd_hold hold;

    if (!w->has_reference) {
        return QD_ERROR_NONE;
    }
    if (r->ours) {
        qd_shards_lock(&node->shards, r->home);
        w->open = qd_core_hold(r->home->core, r->reservation, &hold);
        w->live = w->open && !hold.expired;
        qd_shards_unlock(&node->shards, r->home);
    }
    if (w->live) { /* one that is kept may have been closed by a report before */
        return QD_ERROR_NONE;
    }
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    struct qd_store_error error;
    qd_closed_key(&r->token, &key);
    enum qd_store_err err =
        key.failed ? QD_STORE_NO_MEMORY
                   : qd_store_get(node->store, QD_STORE_SNAPSHOT, qd_buf_str(&key), &value, &error);
    struct qd_hash128 identity = qd_report_identity(&w->entry);
    bool by_this = err == QD_STORE_OK && value.size == sizeof(identity) &&
                   memcmp(value.data, &identity, sizeof(identity)) == 0;
    w->closed_before = err == QD_STORE_OK && !by_this;
    qd_buf_release(&key);
    qd_buf_release(&value);
    if (err != QD_STORE_OK && err != QD_STORE_NOT_FOUND) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                            "the store cannot be read (%s); nothing was booked: "
                            "retry",
                            qd_store_err_text(err));
    }
    return QD_ERROR_NONE;
}
