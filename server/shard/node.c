#include "server/shard/node.h"

#include "server/core/hash.h"
#include "server/shard/closed.h"
#include "server/shard/directory.h"
#include "server/shard/price_keep.h"
#include "server/shard/recover.h"
#include "server/shard/rls_stats.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of closed reservations are kept for the report horizon, and the longest hold, and a day. */
#define QD_CLOSED_MARGIN_NS (QD_TTL_MAX_NS + QD_NS_PER_DAY)
#define QD_SWEEP_BUDGET     256U /* of them that one tick forgets */

/* Holds that one tick ends at most, in each shard, before it lets others in. */
/* Holds that one round ends in a slice, and in one that is late. */
#define QD_EXPIRE_ROUND 8U
#define QD_EXPIRE_LATE  256U

/* S1: no boot repeats another's numbers, so that a short id from before a restart names nobody
 * else's reservation. The first one's ids stay short; 2^32 a slice and boot, and 2^20 boots. */
static uint64_t first_number(uint64_t incarnation)
{
    return (((incarnation - 1) & 0xfffff) << 32) + 1;
}

/* Who wants it alone comes before the reports that come later, however many there are. */
static void init_booking(pthread_rwlock_t *booking)
{
    pthread_rwlockattr_t how;

    (void)pthread_rwlockattr_init(&how);
    (void)pthread_rwlockattr_setkind_np(&how, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(booking, &how);
    (void)pthread_rwlockattr_destroy(&how);
}

struct qd_node *qd_node_new(const struct qd_node_config *config, struct qd_error *ret_error)
{
    struct qd_node *node = aligned_alloc(QD_CACHE_LINE, (sizeof(*node) + QD_CACHE_LINE - 1) /
                                                            QD_CACHE_LINE * QD_CACHE_LINE);

    if (node == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    memset(node, 0, sizeof(*node));
    struct qd_shards_config shards = config->shards;
    shards.slice.first_number = first_number(config->incarnation);
    if (!qd_shards_init(&node->shards, &shards)) {
        (void)qd_error_set(
            ret_error, QD_ERROR_INTERNAL,
            "out of memory for the tables; lower --max-counters or --max-reservations");
        free(node);
        return NULL;
    }
    node->directory = qd_directory_new(config->tenants_max, config->shards.slice.hash_seed);
    if (node->directory == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory; lower --max-tenants");
        qd_shards_release(&node->shards);
        free(node);
        return NULL;
    }
    if (!qd_frontier_init(&node->frontier, 0)) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
        qd_directory_free(node->directory);
        qd_shards_release(&node->shards);
        free(node);
        return NULL;
    }
    qd_clock_init(&node->clock, config->clock);
    qd_quiesce_init(&node->quiesce);
    node->store = config->store;
    node->ledger = config->ledger;
    node->token_key = config->token_key;
    node->incarnation = config->incarnation;
    node->tenants_max = config->tenants_max;
    node->started_at = qd_clock_now(&node->clock);
    (void)snprintf(node->name, sizeof(node->name), "%s", config->name);
    node->name_hash = qd_hash64_bytes(node->name, strlen(node->name), 0);
    atomic_init(&node->published, NULL);
    atomic_init(&node->draining, false);
    atomic_init(&node->leaving, false);
    atomic_init(&node->evicted, false);
    atomic_init(&node->revision, 0);
    atomic_init(&node->reload_failures, 0);
    atomic_init(&node->reload_refused, false);
    atomic_init(&node->reloaded_at, node->started_at.ns);
    (void)pthread_mutex_init(&node->admin, NULL);
    (void)pthread_mutex_init(&node->workers_lock, NULL);
    qd_turns_init(&node->turns);
    qd_broadcast_init(&node->broadcast);
    init_booking(&node->booking);
    node->adopter = qd_worker_new(node);
    if (node->adopter == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
        qd_node_free(node);
        return NULL;
    }
    qd_ledger_on_found(node->ledger, qd_node_adopt, node);
    return node;
}

static void published_free(void *thing)
{
    struct qd_published *published = thing;

    if (published != NULL) {
        qd_policy_free(published->policy);
        free(published);
    }
}

void qd_node_free(struct qd_node *node)
{
    if (node == NULL) {
        return;
    }
    qd_ledger_on_found(node->ledger, NULL, NULL);
    qd_worker_free(node->adopter);
    assert(node->workers == NULL);
    qd_quiesce_release(&node->quiesce);
    qd_directory_free(node->directory);
    published_free(atomic_load(&node->published));
    qd_shards_release(&node->shards);
    qd_turns_release(&node->turns);
    qd_frontier_release(&node->frontier);
    qd_broadcast_release(&node->broadcast);
    qd_rls_stats_free(node->rls_stats);
    (void)pthread_mutex_destroy(&node->admin);
    (void)pthread_mutex_destroy(&node->workers_lock);
    (void)pthread_rwlock_destroy(&node->booking);
    free(node);
}

/* --- workers --- */

struct qd_worker *qd_worker_new(struct qd_node *node)
{
    struct qd_worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL) {
        return NULL;
    }
    worker->node = node;
    worker->slot = qd_quiesce_join(&node->quiesce);
    if (worker->slot == NULL) {
        free(worker);
        return NULL;
    }
    (void)pthread_mutex_lock(&node->workers_lock);
    worker->next = node->workers;
    node->workers = worker;
    (void)pthread_mutex_unlock(&node->workers_lock);
    return worker;
}

void qd_worker_free(struct qd_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    struct qd_node *node = worker->node;
    (void)pthread_mutex_lock(&node->workers_lock);
    struct qd_worker **at = &node->workers;
    while (*at != worker) {
        at = &(*at)->next;
    }
    *at = worker->next;
    (void)pthread_mutex_unlock(&node->workers_lock);
    qd_quiesce_part(worker->slot);
    free(worker);
}

uint64_t qd_node_reports_late(struct qd_node *node)
{
    uint64_t sum = 0;

    (void)pthread_mutex_lock(&node->workers_lock);
    for (struct qd_worker *w = node->workers; w != NULL; w = w->next) {
        sum += atomic_load_explicit(&w->figures.reports_late, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&node->workers_lock);
    return sum;
}

/* --- policy --- */

static bool any_shadow(const struct qd_limit_use *uses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (uses[i].limit->action == QD_SHADOW) {
            return true;
        }
    }
    return false;
}

static void look_at_policy(const struct qd_policy *policy, struct qd_published *p)
{
    p->has_shared = policy->limit_count > 0;
    p->has_shadow = any_shadow(policy->limits, policy->limit_count);
    for (size_t i = 0; i < policy->model_count; i++) {
        p->has_shared |= policy->models[i].limit_count > 0;
        p->has_shadow |= any_shadow(policy->models[i].limits, policy->models[i].limit_count);
    }
    for (size_t i = 0; i < policy->pool_count; i++) {
        p->has_shared |= policy->pools[i].limit_count > 0;
        p->has_shadow |= any_shadow(policy->pools[i].limits, policy->pools[i].limit_count);
    }
    for (size_t i = 0; i < policy->plan_count; i++) {
        p->has_shadow |= any_shadow(policy->plans[i].limits, policy->plans[i].limit_count);
    }
    for (size_t i = 0; i < policy->tenant_count; i++) {
        p->has_shadow |= any_shadow(policy->tenants[i].limits, policy->tenants[i].limit_count);
    }
}

void qd_node_publish(struct qd_node *node, struct qd_policy *policy, struct qd_problems *problems)
{
    struct qd_published *published = calloc(1, sizeof(*published));

    if (published == NULL) {
        abort(); /* a few bytes: nothing could go on */
    }
    policy->revision = atomic_fetch_add(&node->revision, 1) + 1;
    published->policy = policy;
    published->info = qd_policy_info(policy);
    published->loaded_at = qd_clock_now(&node->clock);
    look_at_policy(policy, published);
    /* Records first: between the two steps a request resolves them with the old policy and binds
     * under its epoch; the swap makes every such binding stale. */
    (void)qd_directory_recompile(node->directory, policy, problems);
    atomic_store_explicit(&node->runtime_shadow, qd_directory_has_shadow(node->directory),
                          memory_order_relaxed);
    qd_shards_lock_all(&node->shards);
    struct qd_published *old = atomic_exchange(&node->published, published);
    if (published->has_shared) {
        atomic_store_explicit(&node->shards.shared, true, memory_order_relaxed);
    }
    /* Unlocking looks at `shared` only where qd_shards_lock did; lock_all holds commons in any
     * case. */
    qd_shards_unlock_all(&node->shards);
    struct qd_store_error label_error;
    if (qd_ledger_set_rollup_labels(node->ledger, policy->rollup_labels, policy->rollup_label_count,
                                    &label_error) != QD_STORE_OK &&
        problems != NULL) {
        qd_problems_add(problems, QD_SEVERITY_WARNING, "", 0, 0, "rollup_labels: %s",
                        label_error.text);
    }
    qd_prices_keep(node->store, policy, published->loaded_at, problems);
    if (old != NULL) {
        (void)qd_quiesce_retire(&node->quiesce, old, published_free);
    }
    (void)qd_quiesce_collect(&node->quiesce);
}

/* --- ticks --- */

/* Holds end on whole seconds, so thousands are due at once. Checks end one each by the way, and a
 * round here a few of each slice: nobody waits for long behind them. What has waited for more than
 * a second is ended in larger numbers. */
void qd_node_expire(struct qd_node *node)
{
    struct qd_wall_ns now = qd_clock_now(&node->clock);

    for (uint32_t i = 0; i < node->shards.count; i++) {
        struct qd_shard *home = &node->shards.home[i];
        qd_shards_lock(&node->shards, home);
        size_t budget = qd_core_expire_is_late(home->core, now) ? QD_EXPIRE_LATE : QD_EXPIRE_ROUND;
        (void)qd_core_expire(home->core, qd_shards_commons(&node->shards), now, budget);
        qd_shards_unlock(&node->shards, home);
    }
}

static void drain_events(struct qd_node *node, struct qd_shard *shard)
{
    struct qd_event event;

    for (unsigned i = 0; i < 256; i++) {
        (void)pthread_mutex_lock(&shard->lock);
        bool found = qd_core_event(shard->core, &event);
        (void)pthread_mutex_unlock(&shard->lock);
        if (!found) {
            return;
        }
        if (event.reservation != 0) {
            event.reservation = qd_shards_number(&node->shards, shard, event.reservation);
        }
        qd_node_tell(node, &event);
    }
}

void qd_node_tell(struct qd_node *node, const struct qd_event *event)
{
    if (node->listener.on_event != NULL) {
        node->listener.on_event(node->listener.context, event);
    }
    qd_broadcast_tell(&node->broadcast, event);
}

void qd_node_tell_correction(struct qd_node *node, struct qd_str tenant, uint64_t sequence,
                             uint64_t reservation)
{
    struct qd_event event = {.kind = QD_EVENT_CORRECTION,
                             .at = qd_clock_now(&node->clock),
                             .reservation = reservation,
                             .entry = sequence};

    (void)snprintf(event.name, sizeof(event.name), "%.*s", (int)tenant.len, tenant.ptr);
    qd_node_tell(node, &event);
}

void qd_node_tick(struct qd_node *node)
{
    qd_clock_discipline(&node->clock);
    qd_node_expire(node);
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    for (uint32_t i = 0; i < node->shards.count; i++) {
        drain_events(node, &node->shards.home[i]);
    }
    drain_events(node, &node->shards.commons);
    if (pthread_mutex_trylock(&node->admin) == 0) { /* a publish collects by itself */
        (void)qd_quiesce_collect(&node->quiesce);
        /* Under the admin lock the published policy stays. */
        const struct qd_published *published = atomic_load(&node->published);
        if (published != NULL) {
            struct qd_wall_ns before = {now.ns - published->policy->report_horizon_ns -
                                        QD_CLOSED_MARGIN_NS};
            (void)qd_closed_sweep(node->store, before, QD_SWEEP_BUDGET);
        }
        (void)pthread_mutex_unlock(&node->admin);
    }
}
