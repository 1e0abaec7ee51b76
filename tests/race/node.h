/* A node over the memory store, for race programs that link qd_shard.
 *
 * Threads:  make and free from one, while no other uses it.
 * Memory:   race_node_make gives what race_node_free takes.
 */
#ifndef QD_TESTS_RACE_NODE_H
#define QD_TESTS_RACE_NODE_H

#include "server/ledger/tenant_store.h"
#include "server/shard/node.h"
#include "server/shard/reports.h"
#include "storage/store_memory.h"
#include "tests/race/policy.h"

static inline struct qd_str str(const char *text)
{
    return (struct qd_str){text, strlen(text)};
}

struct race_node {
    struct qd_clock_source clock; /* set by the caller before race_node_make; zeros: the system's */
    struct qd_store *store;
    struct qd_ledger *ledger;
    struct qd_tenant_store *tenants;
    struct qd_node *node;
};

/* A node of four shards on r->store with `policy`, which becomes its own. */
static inline void race_node_open(struct race_node *r, struct qd_policy *policy)
{
    struct qd_ledger_config ledger = {0};
    struct qd_core_config slice = {.hash_seed = 7,
                                   .narrow_windows = 256,
                                   .wide_windows = 256,
                                   .buckets = 256,
                                   .gauges = 256,
                                   .bindings = 256,
                                   .reservations = 8192,
                                   .progress = 64,
                                   .estimators = 16,
                                   .roots = 64,
                                   .name_bytes = 65536};
    struct qd_node_config config = {.shards = {.count = 4, .slice = slice, .common = slice},
                                    .clock = r->clock.mono != NULL ? r->clock : qd_clock_system,
                                    .name = "race",
                                    .tenants_max = 100};
    struct qd_error error;

    static uint64_t boots;

    config.incarnation = ++boots;
    REQUIRE(qd_ledger_open(r->store, &ledger, &r->ledger, NULL) == QD_STORE_OK);
    REQUIRE(qd_tenant_store_open(r->store, &r->tenants, NULL) == QD_STORE_OK);
    config.store = r->store;
    config.ledger = r->ledger;
    r->node = qd_node_new(&config, &error);
    REQUIRE(r->node != NULL);
    r->node->tenants = r->tenants;
    qd_node_publish(r->node, policy, NULL);
}

static inline void race_node_make(struct race_node *r, struct qd_policy *policy)
{
    r->store = qd_store_memory_new();
    race_node_open(r, policy);
}

static inline void race_node_close(struct race_node *r)
{
    qd_node_free(r->node);
    qd_tenant_store_close(r->tenants);
    qd_ledger_close(r->ledger);
}

/* The process dies, and the next one finds its store. */
static inline void race_node_again(struct race_node *r, struct qd_policy *policy)
{
    race_node_close(r);
    race_node_open(r, policy);
}

static inline void race_node_free(struct race_node *r)
{
    race_node_close(r);
    qd_store_close(r->store);
}

#endif /* QD_TESTS_RACE_NODE_H */
