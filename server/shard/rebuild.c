/* Counting budgets' used anew from the ledger, at boot. */
#include "server/ledger/scan.h"
#include "server/policy/intern.h"
#include "server/shard/evict.h"
#include "server/shard/node.h"
#include "server/shard/recount.h"

#include <assert.h>

struct rebuild {
    struct qd_worker *worker;
    const struct qd_published *published;
    uint64_t entries;
};

static bool rebuild_entry(void *context, const struct qd_entry *entry)
{
    struct rebuild *r = context;

    r->entries += qd_recount(r->worker, r->published, entry) && entry->kind == QD_ENTRY_USAGE;
    return true;
}

/* How long ago the open period of a budget can have begun, at most; 0: it keeps nothing to rebuild.
 */
static int64_t longest_period(const struct qd_limit *limit)
{
    static const int64_t days[] = {[QD_CALENDAR_HOUR] = 1,
                                   [QD_CALENDAR_DAY] = 2,
                                   [QD_CALENDAR_WEEK] = 8,
                                   [QD_CALENDAR_MONTH] = 32,
                                   [QD_CALENDAR_YEAR] = 367};

    if (!qd_limit_is_budget(limit)) {
        return 0;
    }
    if (limit->algorithm == QD_PREPAID) {
        return INT64_MAX; /* a balance has no period */
    }
    return limit->algorithm == QD_CALENDAR ? days[limit->calendar.unit] * QD_NS_PER_DAY
                                           : limit->window_ns;
}

/* The earliest time that some budget still counts; INT64_MAX: there are no budgets. */
static struct qd_wall_ns rebuild_since(struct qd_wall_ns now)
{
    int64_t longest = 0;

    for (uint32_t i = 0; i < qd_intern_limit_count(); i++) {
        const struct qd_limit *limit = qd_intern_limit_at(i);
        int64_t period = limit != NULL ? longest_period(limit) : 0;
        longest = period > longest ? period : longest;
    }
    return (struct qd_wall_ns){longest == 0 ? INT64_MAX : longest < now.ns ? now.ns - longest : 0};
}

bool qd_node_rebuild(struct qd_node *node, struct qd_worker *worker, uint64_t *ret_entries,
                     struct qd_error *ret_error)
{
    struct rebuild r = {.worker = worker};
    struct qd_store_error error;
    enum qd_store_err err = QD_STORE_OK;

    if (!qd_evict_wipe(node->store, &error)) {
        (void)qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "%s", error.text);
        return false;
    }
    r.published = qd_worker_enter(worker);
    assert(r.published != NULL);
    struct qd_wall_ns since = rebuild_since(qd_clock_now(&node->clock));
    if (since.ns != INT64_MAX) {
        err = qd_ledger_visit_since(node->ledger, since, rebuild_entry, &r, &error);
    }
    qd_worker_leave(worker);
    *ret_entries = r.entries;
    if (err != QD_STORE_OK) {
        (void)qd_error_set(ret_error, QD_ERROR_STORE_ERROR, "%s", error.text);
        return false;
    }
    return true;
}
