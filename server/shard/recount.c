#include "server/shard/recount.h"

#include "server/shard/corrected.h"
#include "server/shard/reset.h"
#include "server/shard/snapshot.h"

/* Of a reversal: what the entry counted that it takes back. */
void qd_recount_usage(const struct qd_policy *policy, const struct qd_entry *entry,
                      struct qd_usage *ret_usage)
{
    int sign = qd_entry_is_reversal(entry) ? -1 : 1;

    ret_usage->present = 0;
    for (size_t i = 0; i < entry->quantity_count; i++) {
        int meter = qd_policy_meter(policy, entry->quantities[i].meter);
        int64_t amount = sign * entry->quantities[i].amount;
        if (meter >= 0 && amount >= 0) {
            qd_usage_set(ret_usage, (unsigned)meter, amount);
        }
    }
    if ((entry->flags & QD_ENTRY_UNPRICED) == 0) {
        qd_usage_set(ret_usage, QD_METER_COST, sign * entry->cost_nano_usd);
        qd_usage_set(ret_usage, QD_METER_CHARGE, sign * entry->charge_nano_usd);
    }
    qd_policy_derive(policy, ret_usage);
}

struct qd_subject_args qd_recount_subject(const struct qd_entry *entry)
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

/* The slice's number of its reservation, if that is open here; else 0. Numbers of other nodes may
 * look alike: their holds were made at another time. */
static uint64_t open_hold(struct qd_node *node, struct qd_shard *home, const struct qd_entry *entry)
{
    uint64_t reservation = 0;
    struct qd_hold hold;

    if (entry->reservation == 0 ||
        qd_shards_by_number(&node->shards, entry->reservation, &reservation) != home ||
        !qd_core_hold(home->core, reservation, &hold) ||
        hold.made_at.ns != entry->charged_time.ns) {
        return 0;
    }
    return reservation;
}

static void form_settle(struct qd_node *node, const struct qd_published *published,
                        const struct qd_entry *entry, const struct qd_recount_how *how,
                        struct qd_settle *settle)
{
    bool correction = entry->kind == QD_ENTRY_CORRECTION;

    *settle = (struct qd_settle){.epoch = published->policy->epoch,
                                 /* What is reported of the future counts when it is reported. */
                                 .charged_at = entry->charged_time.ns < entry->recorded_time.ns
                                                   ? entry->charged_time
                                                   : entry->recorded_time,
                                 .outcome = entry->outcome,
                                 .final = (entry->flags & QD_ENTRY_FINAL) != 0,
                                 .budgets_only = how->budgets_only || correction,
                                 .recounted = !how->live,
                                 .takes_back = qd_entry_is_reversal(entry),
                                 .attempt = entry->attempt};
    settle->where = how->in_home && how->in_commons ? QD_SETTLE_BOTH
                    : how->in_home                  ? QD_SETTLE_HOME
                                                    : QD_SETTLE_COMMONS;
    if (!settle->budgets_only && how->in_home && entry->request_id.len > 0) {
        settle->request = qd_request_hash(node, entry->tenant, entry->request_id);
    }
    qd_recount_usage(published->policy, entry, &settle->used);
    if (!qd_usage_has(&settle->used, QD_METER_REQUESTS)) {
        qd_usage_set(&settle->used, QD_METER_REQUESTS, 0); /* the entry says all that was counted */
    }
}

static enum qd_result settle(struct qd_node *node, struct qd_shard *home,
                             const struct qd_entry *entry, struct qd_settle *settle,
                             struct qd_wall_ns now)
{
    struct qd_settled settled;

    bool may_hold = !settle->budgets_only && settle->where != QD_SETTLE_COMMONS;

    settle->reservation = may_hold ? open_hold(node, home, entry) : 0;
    return qd_core_settle(home->core, qd_shards_commons(&node->shards), settle, now, &settled);
}

/* With the home shard locked (and commons, if anything is shared). */
static void note(struct qd_node *node, struct qd_shard *home, const struct qd_entry *entry,
                 const struct qd_recount_how *how)
{
    if (how->live) {
        qd_snapshot_counted(home, entry->sequence);
        if (qd_shards_commons(&node->shards) != NULL) {
            qd_snapshot_counted(&node->shards.commons, entry->sequence);
        }
    }
}

/* Bind what the settling lacks; the home shard is locked afterwards. False: its limits found no
 * room, or are gone; what its hold has charged is settled all the same. */
static bool bind_again(struct qd_worker *worker, const struct qd_published **published,
                       const struct qd_entry *entry, struct qd_subject *subject,
                       struct qd_shard *home, struct qd_wall_ns now, struct qd_settle *s)
{
    struct qd_node *node = worker->node;
    uint64_t unsettled = atomic_load_explicit(&worker->figures.unsettled, memory_order_relaxed);
    enum qd_bind_outcome outcome;

    while ((outcome = qd_bind_to_settle(worker, *published, subject, home, now, &s->binding)) ==
           QD_BIND_STALE) { /* another policy was published meanwhile */
        struct qd_subject_args args = qd_recount_subject(entry);
        *published = atomic_load_explicit(&node->published, memory_order_acquire);
        qd_subject_init(subject, (*published)->policy, node->shards.seed, &args);
        s->binding = subject->key;
        s->epoch = (*published)->policy->epoch;
    }
    if (outcome != QD_BIND_DONE) {
        s->unbound = true;
        qd_shards_lock(&node->shards, home);
    }
    return outcome == QD_BIND_DONE &&
           atomic_load_explicit(&worker->figures.unsettled, memory_order_relaxed) == unsettled;
}

static bool count_usage(struct qd_worker *worker, const struct qd_published *published,
                        const struct qd_entry *entry, const struct qd_recount_how *how)
{
    struct qd_node *node = worker->node;
    struct qd_shard *home = qd_shards_of(&node->shards, entry->tenant);
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    struct qd_subject_args args = qd_recount_subject(entry);
    struct qd_subject subject;
    struct qd_corrected corrected;
    struct qd_settle s;
    bool whole = true;

    bool corrects = qd_corrected_find(worker, published, entry, now, &corrected);
    qd_subject_init(&subject, published->policy, node->shards.seed, &args);
    form_settle(node, published, entry, how, &s);
    s.corrected = corrects ? &corrected : NULL;
    s.binding = subject.key;
    qd_shards_lock(&node->shards, home);
    while (settle(node, home, entry, &s, now) == QD_RESULT_NEEDS_BINDING) {
        qd_shards_unlock(&node->shards, home);
        whole = bind_again(worker, &published, entry, &subject, home, now, &s);
        if (!whole) {
            node->rebuild_left_out++; /* D12: never silently */
        }
    }
    note(node, home, entry, how);
    qd_shards_unlock(&node->shards, home);
    return whole;
}

static bool count_reset(struct qd_worker *worker, const struct qd_published *published,
                        const struct qd_entry *entry, const struct qd_recount_how *how)
{
    struct qd_shards *shards = &worker->node->shards;
    struct qd_shard *home = qd_shards_of(shards, entry->tenant);

    bool whole = qd_reset_again(worker, published, entry, how);
    if (!whole) {
        worker->node->rebuild_left_out++; /* D12: never silently */
    }
    qd_shards_lock(shards, home);
    note(worker->node, home, entry, how);
    qd_shards_unlock(shards, home);
    return whole;
}

static bool count(struct qd_worker *worker, const struct qd_published *published,
                  const struct qd_entry *entry, const struct qd_recount_how *how)
{
    switch (entry->kind) {
    case QD_ENTRY_USAGE:
    case QD_ENTRY_CORRECTION:
        return count_usage(worker, published, entry, how);
    case QD_ENTRY_ADJUSTMENT:
        return count_reset(worker, published, entry, how);
    case QD_ENTRY_GRANT: /* in the tenants' records */
        break;
    }
    return true;
}

bool qd_recount(struct qd_worker *worker, const struct qd_published *published,
                const struct qd_entry *entry, const struct qd_recount_how *how)
{
    bool whole = count(worker, published, entry, how);

    if (how->live) {
        qd_frontier_mark(&worker->node->frontier, entry->sequence);
    }
    return whole;
}
