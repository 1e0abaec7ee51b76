/* Threads that check and report for more tenants than the tables hold, while a thread stores
 * snapshots all the time: no data race (ThreadSanitizer), and whenever the process dies, the next
 * boot counts each report once (X5, D7, D12). */
#include "server/shard/node.h"
#include "server/shard/reconcile.h"
#include "server/shard/recover.h"
#include "server/shard/reports.h"
#include "server/shard/snapshot.h"
#include "storage/store_memory.h"
#include "tests/race/node.h"

#include <pthread.h>
#include <time.h>

#define REPORTERS 3
#define ROUNDS    600
#define BOOTS     4
#define TENANTS   1500 /* of four slices with 256 gauges each */

#define FASTER 200 /* time goes, so that idle counters can make room (D12) */

static struct qd_node *node;
static int64_t began_ns;
static _Atomic unsigned running;
static _Atomic uint64_t evicted;
static _Atomic uint64_t unsettled; /* found no room: not counted, and the figures would differ */

static int64_t now_ns(void)
{
    struct timespec now;

    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * QD_NS_PER_S + now.tv_nsec;
}

static struct qd_mono_ns fast_mono(void *context)
{
    (void)context;
    return (struct qd_mono_ns){(uint64_t)(now_ns() - began_ns) * FASTER + 1};
}

static struct qd_wall_ns fast_wall(void *context)
{
    return (struct qd_wall_ns){INT64_C(1790000000) * QD_NS_PER_S + (int64_t)fast_mono(context).ns};
}

static struct qd_policy *policy(void)
{
    return race_policy("version: 1\n"
                       "models:\n  m: {max_output_tokens: 10, pool: p}\n"
                       "pools:\n  p: {limits: {input_tokens: 100M/month}}\n"
                       "plans:\n  paid: {input_tokens: 1M/month}\n"
                       "tenants:\n  \"*\": {plan: paid}\n");
}

struct reporter {
    struct qd_worker *worker;
    struct qd_check_args check;
    struct qd_check_answer answer;
    struct qd_report_args report;
    struct qd_report_answer reply;
    struct qd_error error;
};

static void *reporter_main(void *argument)
{
    struct reporter *r = calloc(1, sizeof(*r));
    unsigned seed = *(unsigned *)argument;
    char tenant[32];

    REQUIRE(r != NULL);
    r->worker = qd_worker_new(node);
    REQUIRE(r->worker != NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        (void)snprintf(tenant, sizeof(tenant), "t%u", (i * 7919 + seed * 104729) % TENANTS);
        memset(&r->check, 0, sizeof(r->check));
        r->check.tenant = str(tenant);
        r->check.model = str("m");
        r->check.estimate[0] = (struct qd_amount_arg){str("input_tokens"), 5};
        r->check.estimate_count = 1;
        r->check.ttl_ms = 1000;
        (void)qd_worker_enter(r->worker);
        REQUIRE(qd_node_check(r->worker, &r->check, &r->answer, &r->error) == QD_ERROR_NONE);
        if (r->answer.allowed && r->answer.token_len > 0) {
            memset(&r->report, 0, sizeof(r->report));
            r->report.reservation = (struct qd_str){r->answer.token, r->answer.token_len};
            r->report.usage[0] = (struct qd_amount_arg){str("input_tokens"), 7};
            r->report.usage_count = 1;
            REQUIRE(qd_node_report(r->worker, &r->report, &r->reply, &r->error) == QD_ERROR_NONE);
        }
        qd_worker_leave(r->worker);
    }
    atomic_fetch_add(&evicted, r->worker->figures.evictions);
    atomic_fetch_add(&unsettled, r->worker->figures.unsettled);
    qd_worker_free(r->worker);
    free(r);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void *snapshot_main(void *argument)
{
    struct qd_store_error error;

    (void)argument;
    while (atomic_load(&running) > 0) {
        REQUIRE(qd_snapshot_round(node, false, &error));
    }
    return NULL;
}

/* Each boot finds the store as the last process left it, in the middle of anything. */
static void boot(struct race_node *race, bool first)
{
    struct qd_recovery recovery;
    struct qd_reconciled verified;
    struct qd_error error;

    struct qd_worker *worker = qd_worker_new(race->node);
    REQUIRE(worker != NULL);
    REQUIRE(qd_node_recover(race->node, worker, &recovery, &error));
    REQUIRE(first || !recovery.from_ledger);
    (void)qd_worker_enter(worker);
    REQUIRE(qd_node_reconcile(worker, &verified, &error) == QD_ERROR_NONE);
    qd_worker_leave(worker);
    if (!verified.clean) {
        (void)fprintf(stderr, "%s\n", verified.difference);
    }
    REQUIRE(verified.clean);
    (void)printf("boot: %llu counters, %llu entries counted, %llu budgets verified\n",
                 (unsigned long long)recovery.counters, (unsigned long long)recovery.entries,
                 (unsigned long long)verified.budgets);
    qd_worker_free(worker);
}

int main(void)
{
    struct race_node race = {.clock = {fast_mono, fast_wall, NULL}};
    pthread_t threads[REPORTERS];
    pthread_t snapshots;
    unsigned numbers[REPORTERS];

    began_ns = now_ns();
    race_node_make(&race, policy());
    for (unsigned n = 0; n < BOOTS; n++) {
        boot(&race, n == 0);
        node = race.node;
        atomic_store(&running, REPORTERS);
        for (unsigned i = 0; i < REPORTERS; i++) {
            numbers[i] = n * REPORTERS + i;
            REQUIRE(pthread_create(&threads[i], NULL, reporter_main, &numbers[i]) == 0);
        }
        REQUIRE(pthread_create(&snapshots, NULL, snapshot_main, NULL) == 0);
        for (unsigned i = 0; i < REPORTERS; i++) {
            (void)pthread_join(threads[i], NULL);
        }
        (void)pthread_join(snapshots, NULL);
        race_node_again(&race, policy());
    }
    boot(&race, false);
    (void)printf("%llu counters made room\n", (unsigned long long)atomic_load(&evicted));
    REQUIRE(atomic_load(&evicted) > 0 && atomic_load(&unsettled) == 0);
    race_node_free(&race);
    return 0;
}
