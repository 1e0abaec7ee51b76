/* What the heart deletes: idempotency keys that no report can repeat any more (S6), closed
 * reservations that none can name, entries that the policy keeps no longer (L7), journals that are
 * void, and evicted counters that are over (D12). */
#include "server/ledger/expire.h"

#include "server/boot.h"
#include "server/log/log.h"
#include "server/policy/retention.h"
#include "server/shard/closed.h"
#include "server/shard/evicted.h"
#include "server/shard/journal.h"

#define CLOSED_PER_STEP     10000
#define EVICTED_PER_STEP    2000
#define JOURNAL_LOOK_NS     (5 * (uint64_t)QD_NS_PER_S)
#define JOURNAL_PAUSE_NS    (10 * (uint64_t)QD_NS_PER_MINUTE)
#define JOURNAL_QUIET_BYTES (UINT64_C(1) << 20) /* from one look to the next */
#define JOURNAL_VOID_BYTES  (UINT64_C(16) << 20)

/* How long entries are kept now; 0: for ever. Never shorter than some budget looks back when it is
 * rebuilt, also one of a run-time tenant, or of an earlier policy. */
static int64_t kept_ns(struct qd_boot *boot, int64_t retention_ns)
{
    int64_t budgets = qd_retention_of_budgets_ns();
    int64_t needed = budgets < INT64_MAX ? budgets + QD_RETENTION_MARGIN_NS : INT64_MAX;
    bool longer = retention_ns > 0 && needed > retention_ns;

    if (longer && !boot->keeps_longer) {
        qd_log(QD_LOG_WARN,
               "entries are kept longer than ledger_retention says: a budget counts them",
               "kept_days=%lld prepaid=%d",
               needed < INT64_MAX ? (long long)(needed / QD_NS_PER_DAY) : 0LL, needed == INT64_MAX);
    }
    boot->keeps_longer = longer;
    if (!longer) {
        return retention_ns;
    }
    return needed < INT64_MAX ? needed : 0;
}

/* While journals are written RocksDB merges away what is void; on a node that has become quiet it
 * would lie there. Seldom: what lies beside them in their space is written anew, too. */
static void compact_journals(struct qd_boot *boot)
{
    uint64_t now = qd_clock_mono(&boot->node->clock).ns;
    uint64_t written = atomic_load_explicit(&boot->node->snapshot.bytes, memory_order_relaxed);
    bool quiet = written - boot->journal_bytes < JOURNAL_QUIET_BYTES;
    struct qd_store_error error;

    if (now - boot->journal_looked_ns < JOURNAL_LOOK_NS) {
        return; /* the steps of a sweep follow each other at once */
    }
    boot->journal_looked_ns = now;
    boot->journal_bytes = written;
    if (!quiet || now < boot->journal_next_ns ||
        (boot->journal_next_ns != 0 && written - boot->journal_compacted < JOURNAL_VOID_BYTES)) {
        return;
    }
    boot->journal_next_ns = now + JOURNAL_PAUSE_NS;
    if (qd_journal_compact(boot->store, &error) == QD_STORE_OK) {
        boot->journal_compacted = written;
    } else {
        qd_log(QD_LOG_WARN, "the room of old snapshots is not given back yet", "why=%s",
               qd_log_quote(error.text).text);
    }
}

bool qd_boot_sweep(void *context)
{
    struct qd_boot *boot = context;
    struct qd_node *node = boot->node;
    struct qd_store_error error;
    int64_t now = qd_clock_now(&node->clock).ns;
    bool more = false;

    (void)pthread_mutex_lock(&node->admin); /* the published policy stays meanwhile */
    const struct qd_policy *policy = atomic_load(&node->published)->policy;
    int64_t horizon = policy->report_horizon_ns;
    int64_t retention = policy->ledger_retention_ns;
    (void)pthread_mutex_unlock(&node->admin);
    compact_journals(boot);
    int64_t kept = kept_ns(boot, retention);
    struct qd_expiry expiry = {
        .keys_before = {now - horizon - QD_RETENTION_MARGIN_NS},
        .entries_before = {kept > 0 ? now - kept : 0},
    };
    enum qd_store_err err = qd_ledger_expire(boot->ledger, &expiry, &more, &error);
    if (err != QD_STORE_OK) {
        qd_log(QD_LOG_ERROR, "what has expired cannot be deleted; tried again with the next beat",
               "why=%s", qd_log_quote(error.text).text);
    }
    /* All of them in some time; at once where most are over. */
    more |= qd_evicted_sweep(node, &boot->evicted, EVICTED_PER_STEP) > EVICTED_PER_STEP / 2;
    /* The loop forgets a thousand closed reservations a second, and more than that can be reported:
     * the rest goes here. In large steps, because each passes over what the one before deleted. */
    return more ||
           qd_closed_sweep(boot->store, expiry.keys_before, CLOSED_PER_STEP) == CLOSED_PER_STEP;
}
