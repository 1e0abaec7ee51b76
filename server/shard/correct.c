#include "server/shard/correct.h"

#include "server/core/mutant.h"
#include "server/ledger/scan.h"
#include "server/shard/directory.h"
#include "server/shard/recount.h"
#include "server/shard/tenants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What is kept with the key, for whoever asks again. */
#define ANSWER_REBOOKED "rebooked"

struct qd_correct_work *qd_correct_work_new(void)
{
    struct qd_correct_work *work = calloc(1, sizeof(*work));

    if (work != NULL) {
        qd_receipt_init(&work->receipt);
    }
    return work;
}

void qd_correct_work_free(struct qd_correct_work *work)
{
    if (work != NULL) {
        qd_receipt_release(&work->receipt);
        qd_buf_release(&work->original_bytes);
        qd_buf_release(&work->rebooked_bytes);
        qd_buf_release(&work->hashed);
        free(work);
    }
}

/* --- the entry --- */

static enum qd_error_code store_failed(const struct qd_store_error *error,
                                       struct qd_error *ret_error)
{
    return qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                        "the ledger cannot be read: %s; nothing was corrected: retry", error->text);
}

enum qd_error_code qd_correct_read(struct qd_node *node, uint64_t sequence, struct qd_str within,
                                   struct qd_correct_work *work, struct qd_error *ret_error)
{
    struct qd_store_error error = {0};
    struct qd_entry *original = &work->correction.original;
    enum qd_store_err err =
        qd_ledger_read(node->ledger, sequence, &work->original_bytes, original, &error);

    if (err == QD_STORE_NOT_FOUND) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_ENTRY,
                            "entry: %" PRIu64 " is not in the ledger, whose last one is %" PRIu64
                            " (old ones expire); quotactl ledger ls shows them",
                            sequence, qd_ledger_watermark(node->ledger).sequence);
    }
    if (err != QD_STORE_OK) {
        return store_failed(&error, ret_error);
    }
    if (!qd_path_within(original->tenant, within)) {
        return qd_error_set(ret_error, QD_ERROR_TENANT_FORBIDDEN,
                            "entry: %" PRIu64 " is of a tenant that is not within %s", sequence,
                            qd_quote(within).text);
    }
    if (qd_entry_is_reversal(original)) {
        return qd_error_set(ret_error, QD_ERROR_NOT_CORRECTABLE,
                            "entry: %" PRIu64 " takes entry %" PRIu64
                            " back and cannot be taken back itself: report or correct what is "
                            "right instead",
                            sequence, original->corrects_sequence);
    }
    if (!qd_reversal_possible(original)) {
        return qd_error_set(
            ret_error, QD_ERROR_NOT_CORRECTABLE,
            "entry: %" PRIu64
            " is no usage; a grant is undone by another grant: quotactl tenants grant",
            sequence);
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code find(struct qd_node *node, const struct qd_correct_args *args,
                               uint64_t *ret_sequence, struct qd_error *ret_error)
{
    struct qd_store_error error = {0};
    struct qd_entry key = {.tenant = args->key_tenant,
                           .source =
                               args->key_source.len > 0 ? args->key_source : qd_slice_of("gateway"),
                           .request_id = args->key_request_id,
                           .attempt = args->key_attempt,
                           .part = args->key_part};

    if (args->node.len > 0 && !qd_slice_equal(args->node, qd_slice_of(node->name))) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_ENTRY,
                            "node: %s has no entries here, this is node \"%s\"",
                            qd_quote(args->node).text, node->name);
    }
    if (args->sequence > 0) {
        *ret_sequence = args->sequence;
        return QD_ERROR_NONE;
    }
    enum qd_store_err err = qd_ledger_find(node->ledger, &key, ret_sequence, &error);
    if (err == QD_STORE_NOT_FOUND) {
        return qd_error_set(ret_error, QD_ERROR_UNKNOWN_ENTRY,
                            "report: tenant %s has none with request_id %s, source %s, attempt %u, "
                            "sequence %u; quotactl ledger ls shows entries",
                            qd_quote(key.tenant).text, qd_quote(key.request_id).text,
                            qd_quote(key.source).text, key.attempt, key.part);
    }
    return err == QD_STORE_OK ? QD_ERROR_NONE : store_failed(&error, ret_error);
}

/* --- booking --- */

static enum qd_error_code corrected_before(const struct qd_correct_work *work, uint64_t reversal,
                                           bool rebooked, struct qd_error *ret_error)
{
    uint64_t original = work->correction.original.sequence;

    if (rebooked) {
        return qd_error_set(ret_error, QD_ERROR_ENTRY_CORRECTED,
                            "entry: %" PRIu64 " was corrected before, by entry %" PRIu64
                            "; entry %" PRIu64
                            " stands instead: correct that one. Nothing was booked",
                            original, reversal, reversal + 1);
    }
    return qd_error_set(ret_error, QD_ERROR_ENTRY_CORRECTED,
                        "entry: %" PRIu64 " was taken back before, by entry %" PRIu64
                        "; nothing stands instead. Nothing was booked",
                        original, reversal);
}

/* The audit record's text and what it has hashes of (X6). */
static void describe(struct qd_correct_work *work, const struct qd_correct_args *args)
{
    const struct qd_correction *c = &work->correction;
    struct qd_tenant_note *note = &work->note;
    int n = snprintf(work->detail, sizeof(work->detail), "entry %" PRIu64 " %s, id %.*s: %.*s",
                     c->original.sequence, c->rebooks ? "corrected" : "taken back",
                     (int)args->correction_id.len, args->correction_id.ptr, (int)args->reason.len,
                     args->reason.ptr);

    note->change.detail = (struct qd_str){work->detail, (size_t)n};
    note->before = qd_buf_str(&work->original_bytes);
    qd_buf_clear(&work->hashed);
    if (c->rebooks) {
        qd_entry_encode(&c->rebooked, &work->hashed);
    }
    note->after = qd_buf_str(&work->hashed);
}

static void prepare(struct qd_correct_work *work, const struct qd_correct_args *args,
                    const char *action, struct qd_wall_ns now)
{
    const struct qd_correction *c = &work->correction;

    work->note = (struct qd_tenant_note){
        .change = {.actor = qd_actor_or_local(args->actor),
                   .action = qd_slice_of(action),
                   .now = now},
        .booking = {.entry = &c->reversal,
                    .companion = c->rebooks ? &c->rebooked : NULL,
                    .content = qd_correction_content(args),
                    .answer = c->rebooks ? qd_slice_of(ANSWER_REBOOKED) : (struct qd_str){NULL, 0},
                    .now = now},
        .receipt = &work->receipt};
    describe(work, args);
}

/* The only place where a correction reaches the counters: afterwards both of its sequences are
 * applied (X5). Who watches corrections is told from here, too. */
static void count_both(struct qd_worker *worker, const struct qd_published *published,
                       const struct qd_correction *c)
{
    static const struct qd_recount_how how = {
        .budgets_only = true, .in_home = true, .in_commons = true, .live = true};

    bool counted = qd_recount(worker, published, &c->reversal, &how);
    if (c->rebooks && !QD_MUTANT(L3_recount)) {
        counted = qd_recount(worker, published, &c->rebooked, &how) && counted;
    }
    if (!counted) { /* D12: never silently */
        qd_count(&worker->figures.unsettled);
    }
    qd_node_tell_correction(worker->node, c->reversal.tenant, c->reversal.sequence,
                            c->original.reservation);
}

/* S6: the first answer again, from the ledger. */
static void answer_again(struct qd_node *node, struct qd_correct_work *work)
{
    struct qd_correction *c = &work->correction;
    const struct qd_receipt *receipt = &work->receipt;
    struct qd_store_error error = {0};

    work->duplicate = true;
    c->rebooks = receipt->answer.len > 0;
    if (receipt->has_first) {
        c->reversal = receipt->first;
    }
    enum qd_store_err err = QD_STORE_OK;
    if (c->rebooks) {
        err = qd_ledger_read(node->ledger, receipt->sequence + 1, &work->rebooked_bytes,
                             &c->rebooked, &error);
    }
    if (err != QD_STORE_OK || !receipt->has_first) {
        work->code =
            qd_error_set(&work->error, QD_ERROR_STORE_ERROR,
                         "corrected before, by entry %" PRIu64 ", which cannot be read any more",
                         receipt->sequence);
    }
}

static void end_booking(struct qd_worker *worker, const struct qd_published *published,
                        struct qd_correct_work *work)
{
    struct qd_correction *c = &work->correction;
    const struct qd_receipt *receipt = &work->receipt;
    struct qd_error *error = &work->error;

    work->code = QD_ERROR_NONE;
    switch (work->note.job.result) {
    case QD_BOOK_BOOKED:
        c->reversal.sequence = receipt->sequence;
        c->reversal.recorded_time = receipt->recorded_time;
        c->rebooked.sequence = receipt->sequence + 1;
        c->rebooked.recorded_time.ns = receipt->recorded_time.ns + 1;
        count_both(worker, published, c);
        break;
    case QD_BOOK_DUPLICATE:
        answer_again(worker->node, work);
        break;
    case QD_BOOK_CONFLICT:
        work->code = corrected_before(work, receipt->sequence, receipt->answer.len > 0, error);
        break;
    case QD_BOOK_STORE_ERROR:
        work->code =
            qd_error_set(error, QD_ERROR_STORE_ERROR,
                         "not known to be corrected: %s; retry the same correction", receipt->text);
        break;
    case QD_BOOK_TOO_OLD:
    case QD_BOOK_IN_FUTURE:
    case QD_BOOK_INVALID:
        work->code = qd_error_set(error, QD_ERROR_INVALID_FIELD, "%s", receipt->text);
        break;
    }
}

void qd_correct_book(struct qd_worker *worker, const struct qd_published *published,
                     const struct qd_correct_args *args, const char *action,
                     struct qd_correct_work *const *works, uint32_t count)
{
    struct qd_node *node = worker->node;
    struct qd_tenant_note *notes[QD_CORRECT_BATCH_MAX];
    struct qd_wall_ns now = qd_clock_now(&node->clock);

    for (uint32_t i = 0; i < count; i++) {
        prepare(works[i], args, action, now);
        notes[i] = &works[i]->note;
    }
    qd_tenant_store_note_all(node->tenants, node->ledger, notes, count);
    for (uint32_t i = 0; i < count; i++) {
        end_booking(worker, published, works[i]);
    }
}

/* --- the call --- */

/* Of a dry run: would it be the first correction? */
static enum qd_error_code look_for_another(struct qd_node *node, struct qd_correct_work *work,
                                           struct qd_error *ret_error)
{
    struct qd_store_error error = {0};
    struct qd_entry next;
    uint64_t reversal = 0;

    if (qd_reversal_find(node->ledger, &work->correction.original, &reversal, &error) !=
        QD_STORE_OK) {
        return store_failed(&error, ret_error);
    }
    if (reversal == 0) {
        return QD_ERROR_NONE;
    }
    bool rebooked = qd_ledger_read(node->ledger, reversal + 1, &work->rebooked_bytes, &next,
                                   NULL) == QD_STORE_OK &&
                    next.kind == QD_ENTRY_CORRECTION && !qd_entry_is_reversal(&next) &&
                    next.corrects_sequence == work->correction.original.sequence;
    return corrected_before(work, reversal, rebooked, ret_error);
}

/* P2: usage is moved to tenants that the policy knows; a slip of the pen would be nobody's. */
static enum qd_error_code check_tenant(struct qd_worker *worker,
                                       const struct qd_published *published,
                                       const struct qd_correct_args *args,
                                       struct qd_error *ret_error)
{
    struct qd_directory *directory = worker->node->directory;
    const struct qd_attributes attributes = {.tenant = args->tenant};

    qd_directory_lock_shared(directory);
    qd_bind_resolve(worker, published, &attributes, false, qd_clock_now(&worker->node->clock));
    bool unknown = worker->resolution.status == QD_RESOLVE_UNKNOWN_TENANT;
    qd_directory_unlock_shared(directory);
    return unknown ? qd_error_set(ret_error, QD_ERROR_UNKNOWN_TENANT,
                                  "tenant: %s is unknown: nothing in the policy matches it; "
                                  "nothing was booked",
                                  qd_quote(args->tenant).text)
                   : QD_ERROR_NONE;
}

static enum qd_error_code correct_alone(struct qd_worker *worker,
                                        const struct qd_correct_args *args,
                                        struct qd_correct_work *work, struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;
    const struct qd_published *published =
        atomic_load_explicit(&node->published, memory_order_acquire);
    uint64_t sequence = 0;

    if (find(node, args, &sequence, ret_error) != QD_ERROR_NONE ||
        qd_correct_read(node, sequence, args->within, work, ret_error) != QD_ERROR_NONE ||
        qd_correction_make(&work->correction, published->policy, args, ret_error) !=
            QD_ERROR_NONE ||
        (args->tenant.len > 0 &&
         check_tenant(worker, published, args, ret_error) != QD_ERROR_NONE)) {
        return ret_error->code;
    }
    if (args->dry_run) {
        return look_for_another(node, work, ret_error);
    }
    qd_correct_book(worker, published, args, "CorrectUsage", &work, 1);
    if (work->code != QD_ERROR_NONE) {
        *ret_error = work->error;
    }
    return work->code;
}

enum qd_error_code qd_correct(struct qd_worker *worker, const struct qd_correct_args *args,
                              struct qd_correct_work *work, struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;

    if (qd_correction_validate(args, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    (void)pthread_rwlock_rdlock(&node->booking);
    enum qd_error_code code = correct_alone(worker, args, work, ret_error);
    (void)pthread_rwlock_unlock(&node->booking);
    return code;
}
