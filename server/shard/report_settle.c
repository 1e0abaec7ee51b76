#include "server/shard/report.h"

#include "server/core/mutant.h"
#include "server/shard/snapshot.h"

#define QD_SETTLE_TRIES 8U

/* X5: only what is booked reaches the counters. What cannot be bound any more (its tenant is gone,
 * tables are full) stays in the ledger alone, and is counted. */
/* Bind what the settling lacks; the home shard is locked afterwards. */
static void bind_again(struct qd_report_work *w, struct qd_shard *home, struct qd_settle *settle)
{
    struct qd_node *node = w->worker->node;
    enum qd_bind_outcome outcome =
        qd_bind_to_settle(w->worker, w->published, &w->reserved, home, w->now, &settle->binding);

    if (outcome == QD_BIND_DONE) {
        return;
    }
    if (outcome == QD_BIND_STALE) {
        w->published = atomic_load_explicit(&node->published, memory_order_acquire);
        struct qd_attributes *at = &w->reserved.attributes;
        struct qd_subject_args subject = {at->tenant, at->model,  at->pool,       at->user,
                                          {NULL, 0},  at->labels, at->label_count};
        qd_subject_init(&w->reserved, w->published->policy, node->shards.seed, &subject);
        settle->binding = w->reserved.key;
        settle->epoch = w->published->policy->epoch;
    } else { /* D12: counted; the hold at least is settled */
        qd_count(&w->worker->figures.unsettled);
        settle->unbound = true;
    }
    qd_shards_lock(&node->shards, home);
}

void qd_report_apply(struct qd_report_work *w, struct qd_report_answer *a)
{
    struct qd_node *node = w->worker->node;
    const struct qd_token *t = w->has_reference ? &w->reference.token : NULL;
    struct qd_shard *home = qd_shards_of(&node->shards, w->entry.tenant);
    struct qd_settled settled = {0};
    struct qd_settle settle = {.reservation = t != NULL ? w->reference.reservation : 0,
                               .charged_at = w->charged_at,
                               .used = w->usage,
                               .outcome = w->outcome,
                               .final = w->final,
                               .attempt = w->entry.attempt};

    if (t != NULL && !w->closed_before) {
        settle.estimate = t->estimate;
    }
    struct qd_str id =
        t != NULL ? qd_report_pick(w->args->request_id, t->request_id) : w->args->request_id;
    if (id.len > 0) {
        settle.request = qd_request_hash(node, w->entry.tenant, id);
    }
    if (QD_MUTANT(S7) && t == NULL) {
        return;
    }
    /* S2: a part settles only what it carries. The last one knows that no request is left to count.
     */
    if (w->final && w->outcome != QD_OUTCOME_FAILED &&
        !qd_usage_has(&settle.used, QD_METER_REQUESTS)) {
        qd_usage_set(&settle.used, QD_METER_REQUESTS, 0); /* counted before, or not at all */
    }
    qd_policy_derive(w->published->policy, &settle.used);
    settle.binding = w->reserved.key;
    settle.epoch = w->published->policy->epoch;
    qd_shards_lock(&node->shards, home);
    for (unsigned tries = 0; tries < QD_SETTLE_TRIES; tries++) {
        enum qd_result result =
            qd_core_settle(home->core, qd_shards_commons(&node->shards), &settle, w->now, &settled);
        if (result != QD_RESULT_NEEDS_BINDING) {
            break;
        }
        qd_shards_unlock(&node->shards, home);
        bind_again(w, home, &settle);
    }
    qd_snapshot_counted(home, a->entry_sequence);
    if (qd_shards_commons(&node->shards) != NULL) {
        qd_snapshot_counted(&node->shards.commons, a->entry_sequence);
    }
    qd_shards_unlock(&node->shards, home);
    a->limits_over = settled.over_limits;
}

/* S6: the request was booked before this hold was made (it was checked again to be retried):
 * nothing will settle the hold, and nothing was used under it. A part's retry leaves it for the
 * parts to come. */
void qd_report_release(struct qd_report_work *w)
{
    struct qd_node *node = w->worker->node;
    struct qd_reference *r = &w->reference;

    if (!w->open || !w->final) {
        return;
    }
    qd_shards_lock(&node->shards, r->home);
    (void)qd_core_cancel(r->home->core, qd_shards_commons(&node->shards), r->reservation, w->now);
    qd_shards_unlock(&node->shards, r->home);
}
