#include "server/shard/recount.h"

#include "server/shard/bind.h"
#include "server/shard/reset.h"

static void entry_usage(const struct qd_policy *policy, const struct qd_entry *entry,
                        struct qd_usage *ret_usage)
{
    ret_usage->present = 0;
    for (size_t i = 0; i < entry->quantity_count; i++) {
        int meter = qd_policy_meter(policy, entry->quantities[i].meter);
        if (meter >= 0 && entry->quantities[i].amount >= 0) {
            qd_usage_set(ret_usage, (unsigned)meter, entry->quantities[i].amount);
        }
    }
    if ((entry->flags & QD_ENTRY_UNPRICED) == 0) {
        qd_usage_set(ret_usage, QD_METER_COST, entry->cost_nano_usd);
        qd_usage_set(ret_usage, QD_METER_CHARGE, entry->charge_nano_usd);
    }
    qd_policy_derive(policy, ret_usage);
}

/* X5: whom the counters counted, which may be another than the report's. */
static struct qd_subject_args counted_subject(const struct qd_entry *entry)
{
    const struct qd_entry_reserved *r = &entry->reserved;
    struct qd_subject_args args = {entry->tenant, entry->model,  entry->pool,       entry->user,
                                   {NULL, 0},     entry->labels, entry->label_count};

    if ((r->differs & QD_RESERVED_MODEL) != 0) {
        args.model = r->model;
    }
    if ((r->differs & QD_RESERVED_POOL) != 0) {
        args.pool = r->pool;
    }
    if ((r->differs & QD_RESERVED_USER) != 0) {
        args.user = r->user;
    }
    if ((r->differs & QD_RESERVED_LABELS) != 0) {
        args.labels = r->labels;
        args.label_count = r->label_count;
    }
    return args;
}

static bool count_usage(struct qd_worker *worker, const struct qd_published *published,
                        const struct qd_entry *entry)
{
    struct qd_node *node = worker->node;
    struct qd_subject subject;
    struct qd_settled settled;
    struct qd_subject_args args = counted_subject(entry);

    qd_subject_init(&subject, published->policy, node->shards.seed, &args);
    struct qd_settle settle = {.binding = subject.key,
                               .epoch = published->policy->epoch,
                               .charged_at = entry->charged_time,
                               .outcome = entry->outcome,
                               .final = (entry->flags & QD_ENTRY_FINAL) != 0,
                               .budgets_only = true};
    entry_usage(published->policy, entry, &settle.used);
    if (!qd_usage_has(&settle.used, QD_METER_REQUESTS)) {
        qd_usage_set(&settle.used, QD_METER_REQUESTS, 0); /* the entry says all that was counted */
    }
    struct qd_shard *home = qd_shards_of(&node->shards, entry->tenant);
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    bool whole = true;
    qd_shards_lock(&node->shards, home);
    if (qd_core_settle(home->core, qd_shards_commons(&node->shards), &settle, now, &settled) ==
        QD_RESULT_NEEDS_BINDING) {
        qd_shards_unlock(&node->shards, home);
        uint64_t unsettled = atomic_load_explicit(&worker->figures.unsettled, memory_order_relaxed);
        enum qd_bind_outcome outcome =
            qd_bind_to_settle(worker, published, &subject, home, now, &settle.binding);
        if (outcome == QD_BIND_NO_ROOM ||
            atomic_load_explicit(&worker->figures.unsettled, memory_order_relaxed) != unsettled) {
            node->rebuild_left_out++; /* D12: never silently */
            whole = false;
        }
        if (outcome != QD_BIND_DONE) {
            return false;
        }
        (void)qd_core_settle(home->core, qd_shards_commons(&node->shards), &settle, now, &settled);
    }
    qd_shards_unlock(&node->shards, home);
    return whole;
}

bool qd_recount(struct qd_worker *worker, const struct qd_published *published,
                const struct qd_entry *entry)
{
    switch (entry->kind) {
    case QD_ENTRY_USAGE:
        return count_usage(worker, published, entry);
    case QD_ENTRY_ADJUSTMENT:
        qd_reset_again(worker, published, entry);
        return true;
    case QD_ENTRY_CORRECTION: /* they come with their own call */
    case QD_ENTRY_GRANT:      /* in the tenants' records */
        break;
    }
    return true;
}
