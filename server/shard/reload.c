#include "server/shard/reload.h"

#include "server/shard/price_keep.h"

#include <stdio.h>
#include <string.h>

static bool is_in_force(const struct qd_node *node, const struct qd_policy *policy)
{
    /* What is published changes under the admin lock only, and it is held here. */
    const struct qd_published *now = atomic_load_explicit(&node->published, memory_order_acquire);
    return now && now->info && strcmp(now->info->sha256, qd_policy_info(policy)->sha256) == 0;
}

/* With the admin lock: what is published stays. */
static void note(const struct qd_node *node, uint64_t *ret_revision, char ret_sha256[65])
{
    const struct qd_published *now = atomic_load_explicit(&node->published, memory_order_acquire);

    *ret_revision = now && now->policy ? now->policy->revision : 0;
    (void)snprintf(ret_sha256, 65, "%s", now && now->info ? now->info->sha256 : "");
}

/* P7: no report is between its price and its entry meanwhile, so what was used is in the ledger. */
static bool admit_and_publish(struct qd_node *node, struct qd_policy *policy,
                              struct qd_problems *problems)
{
    pthread_rwlock_wrlock(&node->booking);
    bool admitted = qd_prices_admit(node->store, node->ledger, policy, problems);
    if (admitted) {
        qd_node_publish(node, policy, problems);
    }
    pthread_rwlock_unlock(&node->booking);
    return admitted;
}

enum qd_reload qd_reload_file(struct qd_node *node, const char *path, struct qd_problems *problems,
                              struct qd_reload_change *ret_change)
{
    enum qd_reload result = QD_RELOAD_DONE;
    struct qd_reload_change change;
    pthread_mutex_lock(&node->admin);
    note(node, &change.before_revision, change.before_sha256);
    struct qd_policy *policy = qd_policy_load_file(path, problems);
    if (!policy) {
        result = QD_RELOAD_BAD;
    } else if (is_in_force(node, policy)) {
        /* P7: what a failing store could not keep then. */
        qd_prices_keep(node->store, policy, qd_clock_now(&node->clock), problems);
        qd_policy_free(policy);
        result = QD_RELOAD_UNCHANGED;
    } else if (!admit_and_publish(node, policy, problems)) {
        qd_policy_free(policy);
        result = QD_RELOAD_BAD;
    }
    if (result == QD_RELOAD_BAD) {
        atomic_fetch_add_explicit(&node->reload_failures, 1, memory_order_relaxed);
    } else {
        atomic_store_explicit(&node->reloaded_at, qd_clock_now(&node->clock).ns,
                              memory_order_relaxed);
    }
    atomic_store_explicit(&node->reload_refused, result == QD_RELOAD_BAD, memory_order_relaxed);
    if (result == QD_RELOAD_DONE && ret_change) {
        note(node, &change.after_revision, change.after_sha256);
        *ret_change = change;
    }
    pthread_mutex_unlock(&node->admin);
    return result;
}
