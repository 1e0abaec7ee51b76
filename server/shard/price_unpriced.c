#include "server/shard/price_unpriced.h"

#include "server/ledger/scan.h"

#include <stdlib.h>
#include <string.h>

#define SCAN_MAX 20000U /* entries looked at for one page: some ten milliseconds */

struct pricing_run {
    struct qd_worker *worker;
    const struct qd_published *published;
    const struct qd_price_unpriced_args *args;
    struct qd_price_unpriced_page *page;
    uint64_t found[QD_CORRECT_BATCH_MAX];
    uint32_t found_count;
    struct qd_correct_work *works[QD_CORRECT_BATCH_MAX]; /* that have a price now */
    uint32_t work_count;
    struct qd_correct_args as_priced;
};

/* What every one of them is corrected by: it stays as it is, but for its price. */
static const struct qd_correct_args as_priced = {
    .correction_id = {"price-unpriced", 14},
    .reason = {"priced later", 12},
};

static bool note_entry(void *context, const struct qd_entry *entry)
{
    struct pricing_run *run = context;

    if (qd_reversal_possible(entry) && entry->event_time.ns >= run->args->since.ns) {
        run->found[run->found_count++] = entry->sequence;
    }
    return run->found_count < QD_CORRECT_BATCH_MAX;
}

static enum qd_error_code list(struct pricing_run *run, struct qd_error *ret_error)
{
    const struct qd_price_unpriced_args *args = run->args;
    struct qd_ledger_list list = {.cursor = args->cursor,
                                  .page_max = QD_CORRECT_BATCH_MAX,
                                  .scan_max = SCAN_MAX,
                                  .tenant = args->tenant,
                                  .model = args->model,
                                  .unpriced_only = true};
    struct qd_ledger_page page;
    struct qd_store_error error = {0};

    /* Nothing is recorded earlier before its event than the future that the ledger accepts. */
    if (args->since.ns > QD_LEDGER_FUTURE_DEFAULT_NS) {
        list.recorded_from.ns = args->since.ns - QD_LEDGER_FUTURE_DEFAULT_NS;
    }
    if (qd_ledger_list(run->worker->node->ledger, &list, note_entry, run, &page, &error) !=
        QD_STORE_OK) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "the ledger cannot be read: %s",
                            error.text);
    }
    run->page->next_cursor = page.next_cursor;
    run->page->end = page.end;
    return QD_ERROR_NONE;
}

static void copy_text(char to[QD_ENTRY_NAME_MAX + 1], struct qd_str from)
{
    if (from.len > 0) {
        memcpy(to, from.ptr, from.len);
    }
    to[from.len] = '\0';
}

/* As many as a page has entries: there is room. */
static void note_unpriced(struct qd_price_unpriced_page *page, const struct qd_entry *entry)
{
    uint32_t i = 0;

    while (i < page->still_count &&
           !(qd_slice_equal(entry->model, qd_slice_of(page->still[i].model)) &&
             qd_slice_equal(entry->pool, qd_slice_of(page->still[i].pool)))) {
        i++;
    }
    if (i == page->still_count) {
        copy_text(page->still[i].model, entry->model);
        copy_text(page->still[i].pool, entry->pool);
        page->still[i].entries = 0;
        page->still_count++;
    }
    page->still[i].entries++;
    page->unpriced++;
}

/* By a price that is known: what a cap assumes may be too much, and would stay (P8). */
static bool is_priced(const struct qd_correction *c)
{
    return (c->rebooked.flags & QD_ENTRY_UNPRICED) == 0 && !c->priced.capped;
}

/* Among the works, if it stands uncorrected and has a price now. */
static enum qd_error_code look_at(struct pricing_run *run, uint64_t sequence,
                                  struct qd_error *ret_error)
{
    struct qd_node *node = run->worker->node;
    struct qd_store_error error = {0};
    uint64_t reversal = 0;
    struct qd_correct_work *work = qd_correct_work_new();

    if (work == NULL) {
        return qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
    }
    enum qd_error_code code = qd_correct_read(node, sequence, run->args->tenant, work, ret_error);
    if (code == QD_ERROR_NONE && qd_reversal_find(node->ledger, &work->correction.original,
                                                  &reversal, &error) != QD_STORE_OK) {
        code = qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "the ledger cannot be read: %s",
                            error.text);
    }
    if (code == QD_ERROR_NONE && reversal == 0) {
        code = qd_correction_make(&work->correction, run->published->policy, &run->as_priced,
                                  ret_error);
        bool priced = is_priced(&work->correction);
        if (code == QD_ERROR_NONE && priced) {
            run->works[run->work_count++] = work;
            return QD_ERROR_NONE;
        }
        note_unpriced(run->page,
                      &work->correction.original); /* or its price is beyond all bounds */
        code = QD_ERROR_NONE;
    }
    qd_correct_work_free(work);
    return code;
}

static enum qd_error_code book(struct pricing_run *run, struct qd_error *ret_error)
{
    struct qd_price_unpriced_page *page = run->page;
    enum qd_error_code code = QD_ERROR_NONE;

    if (!run->args->dry_run && run->work_count > 0) {
        qd_correct_book(run->worker, run->published, &run->as_priced, "PriceUnpriced", run->works,
                        run->work_count);
    }
    for (uint32_t i = 0; i < run->work_count; i++) {
        const struct qd_correct_work *work = run->works[i];
        if (work->code == QD_ERROR_NONE && !work->duplicate) {
            page->priced++;
            page->cost_pico_usd += work->correction.rebooked.cost_pico_usd;
            page->charge_pico_usd += work->correction.rebooked.charge_pico_usd;
        } else if (work->code != QD_ERROR_NONE && work->code != QD_ERROR_ENTRY_CORRECTED) {
            *ret_error = work->error;
            code = work->code;
        }
    }
    return code;
}

/* Prices stay until what they priced is booked: node->booking is shared. */
static enum qd_error_code price_found(struct pricing_run *run, struct qd_error *ret_error)
{
    enum qd_error_code code = QD_ERROR_NONE;

    run->published = atomic_load_explicit(&run->worker->node->published, memory_order_acquire);
    for (uint32_t i = 0; i < run->found_count && code == QD_ERROR_NONE; i++) {
        code = look_at(run, run->found[i], ret_error);
    }
    if (code == QD_ERROR_NONE) {
        code = book(run, ret_error);
    }
    for (uint32_t i = 0; i < run->work_count; i++) {
        qd_correct_work_free(run->works[i]);
    }
    return code;
}

enum qd_error_code qd_price_unpriced(struct qd_worker *worker,
                                     const struct qd_price_unpriced_args *args,
                                     struct qd_price_unpriced_page *ret_page,
                                     struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;
    struct pricing_run run = {
        .worker = worker, .args = args, .page = ret_page, .as_priced = as_priced};

    run.as_priced.actor = args->actor;

    memset(ret_page, 0, sizeof(*ret_page));
    if (list(&run, ret_error) != QD_ERROR_NONE) { /* which may take long: nobody waits for it */
        return ret_error->code;
    }
    (void)pthread_rwlock_rdlock(&node->booking);
    enum qd_error_code code = price_found(&run, ret_error);
    (void)pthread_rwlock_unlock(&node->booking);
    return code;
}
