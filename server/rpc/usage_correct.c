/* quota.v1.UsageService: CorrectUsage and PriceUnpriced (L3, P8). */
#include "quota/v1/usage.pb-c.h"
#include "server/rpc/text.h"
#include "server/rpc/usage.h"
#include "server/shard/correct.h"
#include "server/shard/price_unpriced.h"

#include <stdio.h>
#include <stdlib.h>

/* --- CorrectUsage --- */

static enum qd_error_code read_lists(const Quota__V1__CorrectUsageRequest *q,
                                     struct qd_correct_args *args, struct qd_error *ret_error)
{
    if (q->n_usage >= QD_ARG_METERS) {
        return qd_error_set(ret_error, QD_ERROR_TOO_MANY_METERS,
                            "usage: %zu meters given; at most %d are accepted", q->n_usage,
                            QD_METERS_MAX);
    }
    if (q->n_labels >= QD_ARG_LABELS) {
        return qd_error_set(ret_error, QD_ERROR_TOO_MANY_LABELS,
                            "labels: %zu given; at most %d are accepted", q->n_labels,
                            QD_LABELS_MAX);
    }
    args->usage_count = q->n_usage;
    for (size_t i = 0; i < q->n_usage; i++) {
        args->usage[i] = (struct qd_amount_arg){qd_str_of(q->usage[i]->meter), q->usage[i]->amount};
    }
    args->label_count = q->n_labels;
    for (size_t i = 0; i < q->n_labels; i++) {
        args->labels[i] =
            (struct qd_label){qd_str_of(q->labels[i]->key), qd_str_of(q->labels[i]->value)};
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code read_correction(const Quota__V1__CorrectUsageRequest *q,
                                          struct qd_correct_args *args, struct qd_error *ret_error)
{
    *args = (struct qd_correct_args){.sequence = q->sequence,
                                     .node = qd_str_of(q->node),
                                     .correction_id = qd_str_of(q->correction_id),
                                     .reason = qd_str_of(q->reason),
                                     .dry_run = q->dry_run,
                                     .take_back = q->take_back,
                                     .tenant = qd_str_of(q->tenant),
                                     .model = qd_str_of(q->model),
                                     .pool = qd_str_of(q->pool),
                                     .user = qd_str_of(q->user)};
    if (q->report != NULL) {
        args->key_tenant = qd_str_of(q->report->tenant);
        args->key_source = qd_str_of(q->report->source);
        args->key_request_id = qd_str_of(q->report->request_id);
        args->key_attempt = q->report->attempt;
        args->key_part = q->report->sequence;
    }
    return read_lists(q, args, ret_error);
}

/* X1: by whatever it names the entry, and wherever it moves it. */
static enum qd_error_code confine(const struct qd_caller *caller,
                                  const Quota__V1__CorrectUsageRequest *q,
                                  struct qd_correct_args *args, struct qd_error *ret_error)
{
    args->within = qd_caller_tenant(caller);
    if ((q->report != NULL &&
         qd_caller_reaches(caller, args->key_tenant, ret_error) != QD_ERROR_NONE) ||
        (args->tenant.len > 0 &&
         qd_caller_reaches(caller, args->tenant, ret_error) != QD_ERROR_NONE)) {
        return ret_error->code;
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_usage_correct(struct qd_place *place, struct qd_call *call,
                                    struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__CorrectUsageRequest *q =
        qd_place_unpack(place, &quota__v1__correct_usage_request__descriptor, bytes, ret_error);
    struct qd_correct_args args;

    if (q == NULL || read_correction(q, &args, ret_error) != QD_ERROR_NONE ||
        confine(&call->caller, q, &args, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    args.actor = qd_place_actor(place, call);
    struct qd_correct_work *work = qd_correct_work_new();
    if (work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    enum qd_error_code code = qd_correct(place->worker, &args, work, ret_error);
    if (code == QD_ERROR_NONE) {
        const struct qd_correction *c = &work->correction;
        qd_usage_put_entry(place, 1, &c->reversal);
        if (c->rebooks) {
            qd_usage_put_entry(place, 2, &c->rebooked);
        }
        qd_out_number(&place->out, 3, work->duplicate);
    }
    qd_correct_work_free(work);
    return code;
}

/* --- PriceUnpriced --- */

static void put_page(struct qd_out *out, const struct qd_price_unpriced_page *page)
{
    char cursor[24];

    qd_out_number(out, 1, page->priced);
    qd_out_number(out, 2, page->unpriced);
    for (uint32_t i = 0; i < page->still_count; i++) {
        uint8_t *message = qd_out_begin(out, 3);
        qd_out_text(out, 1, page->still[i].model);
        qd_out_text(out, 2, page->still[i].pool);
        qd_out_number(out, 3, page->still[i].entries);
        qd_out_end(out, message);
    }
    qd_out_int128(out, 4, page->cost_pico_usd);
    qd_out_int128(out, 5, page->charge_pico_usd);
    (void)snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)page->next_cursor);
    qd_out_text(out, 6, cursor);
    qd_out_number(out, 7, page->end);
}

enum qd_error_code qd_usage_price_unpriced(struct qd_place *place, struct qd_call *call,
                                           struct qd_str bytes, struct qd_error *ret_error)
{
    const Quota__V1__PriceUnpricedRequest *q =
        qd_place_unpack(place, &quota__v1__price_unpriced_request__descriptor, bytes, ret_error);
    struct qd_price_unpriced_args args = {.dry_run = q != NULL && q->dry_run};

    if (q == NULL) {
        return ret_error->code;
    }
    args.tenant = qd_str_of(q->tenant);
    args.actor = qd_place_actor(place, call);
    if (qd_optional_tenant(args.tenant, ret_error) != QD_ERROR_NONE ||
        qd_caller_narrow(&call->caller, &args.tenant, ret_error) != QD_ERROR_NONE ||
        qd_usage_read_cursor(place, q->cursor, &args.cursor, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    args.model = qd_str_of(q->model);
    args.since.ns = q->since_unix_ns;
    struct qd_price_unpriced_page *page = malloc(sizeof(*page));
    if (page == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    enum qd_error_code code = qd_price_unpriced(place->worker, &args, page, ret_error);
    if (code == QD_ERROR_NONE) {
        put_page(&place->out, page);
    }
    free(page);
    return code;
}
