#include "server/shard/reconcile.h"

#include "server/ledger/scan.h"
#include "server/shard/corrected.h"
#include "server/shard/describe.h"
#include "server/shard/directory.h"
#include "server/shard/recount.h"
#include "server/shard/reset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPY_TRIES 100

struct account {
    int64_t sum;   /* of its entries */
    bool resolved; /* some entry of its period finds it */
};

struct reconcile {
    struct qd_worker *worker;
    const struct qd_published *published;
    struct qd_budget *budgets; /* sorted by id; names point into `names` */
    struct account *accounts;  /* beside them */
    size_t count;
    size_t capacity;
    struct qd_buf names;
    uint64_t through; /* the counters have counted the ledger up to here */
    uint64_t first;   /* where it begins today */
    uint64_t entries;
    struct qd_wall_ns now;
};

/* --- copying the budgets --- */

static bool add_budget(struct reconcile *r, const struct qd_budget *budget)
{
    if (r->count == r->capacity) {
        size_t capacity = r->capacity * 2 + 256;
        struct qd_budget *more = realloc(r->budgets, capacity * sizeof(*more));
        if (more == NULL) {
            return false;
        }
        r->budgets = more;
        r->capacity = capacity;
    }
    r->budgets[r->count] = *budget;
    /* The buffer moves as it grows: its place in it, made a pointer when all are copied. */
    r->budgets[r->count++].name.ptr = NULL;
    qd_buf_append_str(&r->names, budget->name);
    return !r->names.failed;
}

static bool copy_slice(struct reconcile *r, struct qd_core *core)
{
    struct qd_budget budget;
    uint64_t cursor = 0;
    bool ok = true;

    while (ok && qd_core_budget_next(core, &cursor, r->now, &budget)) {
        ok = add_budget(r, &budget);
    }
    return ok;
}

static int compare_budgets(const void *a, const void *b)
{
    const struct qd_budget *left = a;
    const struct qd_budget *right = b;

    return left->id.hi != right->id.hi
               ? (left->id.hi > right->id.hi) - (left->id.hi < right->id.hi)
               : (left->id.lo > right->id.lo) - (left->id.lo < right->id.lo);
}

/* All that is booked is counted at this moment, and nothing more (X5); but for what a failed write
 * left in the ledger and the node is counting right now: then *ret_again. False: no memory. */
static bool copy_budgets(struct reconcile *r, bool *ret_again)
{
    struct qd_node *node = r->worker->node;
    struct qd_shards *shards = &node->shards;
    bool ok = true;

    (void)pthread_rwlock_wrlock(&node->booking);
    r->now = qd_clock_now(&node->clock);
    r->through = qd_ledger_watermark(node->ledger).sequence;
    for (uint32_t i = 0; ok && i < shards->count; i++) {
        qd_shards_lock(shards, &shards->home[i]);
        ok = copy_slice(r, shards->home[i].core);
        qd_shards_unlock(shards, &shards->home[i]);
    }
    (void)pthread_mutex_lock(&shards->commons.lock);
    ok = ok && copy_slice(r, shards->commons.core);
    (void)pthread_mutex_unlock(&shards->commons.lock);
    (void)pthread_rwlock_unlock(&node->booking);
    *ret_again = r->through != qd_ledger_watermark(node->ledger).sequence ||
                 qd_frontier_through(&node->frontier) != r->through;
    const char *at = (const char *)r->names.data;
    for (size_t i = 0; ok && i < r->count; i++) {
        r->budgets[i].name.ptr = at;
        at += r->budgets[i].name.len;
    }
    if (r->count > 0) {
        qsort(r->budgets, r->count, sizeof(*r->budgets), compare_budgets);
    }
    r->accounts = calloc(r->count + 1, sizeof(*r->accounts));
    return ok && r->accounts != NULL;
}

static void forget_copies(struct reconcile *r)
{
    free(r->budgets);
    free(r->accounts);
    qd_buf_release(&r->names);
    r->budgets = NULL;
    r->accounts = NULL;
    r->count = r->capacity = 0;
}

static bool copy_whole(struct reconcile *r)
{
    const struct timespec moment = {.tv_nsec = 10 * QD_NS_PER_MS};
    bool again = false;
    bool ok = true;

    for (unsigned i = 0; i == 0 || (ok && again && i < COPY_TRIES); i++) {
        if (i > 0) {
            forget_copies(r);
            (void)nanosleep(&moment, NULL);
        }
        ok = copy_budgets(r, &again); /* in the end it is compared as it is */
    }
    return ok;
}

/* --- counting the entries --- */

static void add_entry(struct reconcile *r, const struct qd_entry *entry,
                      const struct qd_limit *limit, struct qd_hash128 counter,
                      const struct qd_usage *usage, const struct qd_corrected *corrected)
{
    struct qd_budget wanted = {.id = counter};
    const struct qd_budget *found =
        r->count > 0 ? bsearch(&wanted, r->budgets, r->count, sizeof(*r->budgets), compare_budgets)
                     : NULL;

    /* What is reported of the future counts when it is reported. */
    int64_t charged_ns = entry->charged_time.ns < entry->recorded_time.ns ? entry->charged_time.ns
                                                                          : entry->recorded_time.ns;
    if (found == NULL || charged_ns < found->start.ns || charged_ns >= found->end.ns) {
        return;
    }
    struct account *account = &r->accounts[found - r->budgets];
    account->resolved = true;
    bool never_counted = corrected != NULL && found->since >= corrected->sequence &&
                         qd_corrected_has(corrected, counter); /* L3 */
    if (entry->sequence > found->since && !never_counted) {
        int64_t booking = qd_core_booking(limit, usage);
        account->sum += qd_entry_is_reversal(entry) ? -booking : booking; /* L3 */
    }
}

static void forget(void *context, size_t place)
{
    struct reconcile *r = context;

    r->accounts[place].sum = 0;
}

static bool count_entry(void *context, const struct qd_entry *entry)
{
    struct reconcile *r = context;
    struct qd_directory *directory = r->worker->node->directory;
    struct qd_subject_args args = qd_recount_subject(entry);
    struct qd_subject subject;
    struct qd_corrected corrected;
    struct qd_usage usage;

    if (entry->sequence > r->through) {
        return false;
    }
    r->entries++;
    if (entry->kind == QD_ENTRY_ADJUSTMENT) {
        qd_reset_find(r->worker, r->published, entry, r->budgets, r->count, forget, r);
    }
    if (!qd_entry_is_usage(entry)) {
        return true;
    }
    qd_subject_init(&subject, r->published->policy, r->worker->node->shards.seed, &args);
    qd_recount_usage(r->published->policy, entry, &usage);
    bool corrects = qd_corrected_find(r->worker, r->published, entry, r->now, &corrected);
    qd_directory_lock_shared(directory);
    qd_bind_resolve(r->worker, r->published, &subject.attributes, false, r->now);
    const struct qd_resolution *resolution = &r->worker->resolution;
    for (size_t i = 0; i < resolution->count; i++) {
        const struct qd_resolved_limit *limit = &resolution->limit[i];
        if (qd_limit_is_budget(limit->use->limit)) {
            add_entry(r, entry, limit->use->limit, limit->counter, &usage,
                      corrects ? &corrected : NULL);
        }
    }
    qd_directory_unlock_shared(directory);
    return true;
}

/* --- comparing --- */

/* "pro.cost (acme)": as denials name it. */
static void say_difference(const struct qd_budget *budget, int64_t sum, char *text, size_t size)
{
    struct qd_limit_state state = {
        .limit = budget->limit, .name = budget->name, .depth = budget->depth};
    char full[QD_STATE_NAME_MAX];
    struct qd_text name;

    qd_text_init(&name, full, sizeof(full));
    qd_describe_name(&name, &state);
    (void)snprintf(text, size,
                   "limit %.*s of %.*s has counted %" PRId64
                   ", its entries in the ledger are %" PRId64 " (in its smallest unit)",
                   (int)name.used, full, (int)budget->name.len, budget->name.ptr, budget->used,
                   sum);
}

static void compare(const struct reconcile *r, struct qd_reconciled *answer)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct qd_budget *budget = &r->budgets[i];
        const struct account *account = &r->accounts[i];
        /* A balance without a period, of which the first entries have expired (L7). */
        bool whole = budget->end.ns != QD_WALL_NEVER || budget->since + 1 >= r->first;
        if ((!account->resolved && budget->used != 0) || !whole) {
            answer->skipped++;
            continue;
        }
        answer->budgets++;
        if (account->sum != budget->used && answer->clean) {
            answer->clean = false;
            say_difference(budget, account->sum, answer->difference, sizeof(answer->difference));
        }
    }
}

static struct qd_wall_ns earliest(const struct reconcile *r)
{
    struct qd_wall_ns since = r->now;

    for (size_t i = 0; i < r->count; i++) {
        since.ns = r->budgets[i].start.ns < since.ns ? r->budgets[i].start.ns : since.ns;
    }
    return (struct qd_wall_ns){since.ns > 0 ? since.ns : 0};
}

enum qd_error_code qd_node_reconcile(struct qd_worker *worker, struct qd_reconciled *ret_answer,
                                     struct qd_error *ret_error)
{
    struct qd_ledger *ledger = worker->node->ledger;
    struct reconcile r = {.worker = worker,
                          .published =
                              atomic_load_explicit(&worker->node->published, memory_order_acquire)};
    struct qd_store_error error = {0};
    enum qd_store_err err = QD_STORE_NO_MEMORY;

    *ret_answer = (struct qd_reconciled){.clean = true};
    if (copy_whole(&r)) {
        err = qd_ledger_seek_time(ledger, (struct qd_wall_ns){0}, &r.first, &error);
    }
    if (err == QD_STORE_OK) {
        err = qd_ledger_visit_since(ledger, earliest(&r), count_entry, &r, &error);
    }
    if (err == QD_STORE_OK) {
        compare(&r, ret_answer);
        ret_answer->entries = r.entries;
    }
    forget_copies(&r);
    if (err != QD_STORE_OK) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "counters cannot be verified: %s",
                            error.text[0] != '\0' ? error.text : qd_store_err_text(err));
    }
    return QD_ERROR_NONE;
}
