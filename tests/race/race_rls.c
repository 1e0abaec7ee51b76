/* Threads that ask for rate limits with places of their own, as the gRPC and HTTP threads have,
 * while a thread loads other files all the time and one reads the statistics: no data race
 * (ThreadSanitizer), no hit is lost, and a set that nobody looks at any more is freed (I3). */
#include "server/admin/metrics.h"
#include "server/rpc/call.h"
#include "server/rpc/rls.h"
#include "server/rpc/server_internal.h"
#include "server/shard/rls_stats.h"
#include "tests/race/node.h"

#include <pthread.h>

#define ASKERS 3
#define ROUNDS 3000
#define SERIES 20

static struct qd_rpc rpc; /* as much of one as decisions look at */
static _Atomic unsigned running;

static struct qd_rls_set *set_of(unsigned round)
{
    char yaml[512];
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);
    int len = snprintf(yaml, sizeof(yaml),
                       "domain: d\n"
                       "descriptors:\n"
                       "- {key: k, detailed_metric: true, rate_limit: {unit: year, "
                       "requests_per_unit: %u}, metadata: {round: r%u}}\n"
                       "- {key: n, rate_limit: {unit: day, requests_per_unit: 9}}\n"
                       "- {key: r%u, rate_limit: {unit: day, requests_per_unit: 1}}\n",
                       1000000 + round, round, round % 7);
    struct qd_rls_rules *rules = qd_rls_rules_load_bytes("a.yaml", yaml, (size_t)len, problems);

    REQUIRE(rules != NULL && qd_rls_rules_failed_count(rules) == 0);
    qd_problems_free(problems);
    return qd_rls_set_new(rules);
}

static void put_descriptor(struct qd_out *out, const char *key, const char *value)
{
    uint8_t *descriptor = qd_out_begin(out, 2);
    uint8_t *entry = qd_out_begin(out, 1);

    qd_out_text(out, 1, key);
    qd_out_text(out, 2, value);
    qd_out_end(out, entry);
    qd_out_end(out, descriptor);
}

/* Three descriptors: two that all rules have, the first with its values, and one of some. */
static void *asker_main(void *argument)
{
    struct qd_place *place = calloc(1, sizeof(*place));
    uint8_t bytes[256];
    struct qd_error error;

    (void)argument;
    REQUIRE(place != NULL);
    place->node = rpc.node;
    REQUIRE(qd_place_init(place, &rpc));
    for (unsigned i = 0; i < ROUNDS; i++) {
        char value[16];
        struct qd_out out;
        qd_out_init(&out, bytes, sizeof(bytes));
        qd_out_text(&out, 1, "d");
        (void)snprintf(value, sizeof(value), "v%u", i % 40);
        put_descriptor(&out, "k", value);
        put_descriptor(&out, "n", "x");
        (void)snprintf(value, sizeof(value), "r%u", i % 7);
        put_descriptor(&out, value, "");
        qd_place_clear(place);
        (void)qd_worker_enter(place->worker);
        struct qd_str request = {(const char *)bytes, qd_out_used(&out)};
        REQUIRE(qd_rls_decide(place, NULL, request, &error) == QD_ERROR_NONE);
        qd_worker_leave(place->worker);
        REQUIRE(!place->out.full && qd_out_used(&place->out) > 0);
    }
    qd_place_release(place);
    free(place);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void *reader_main(void *argument)
{
    (void)argument;
    while (atomic_load(&running) > 0) {
        char *page = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&page, &size);
        REQUIRE(out != NULL);
        qd_metrics_write(rpc.node, 5, out);
        REQUIRE(fclose(out) == 0);
        REQUIRE(strstr(page, "quotad_rls_rule_hits_total{domain=\"\",rule=\"other\"") != NULL);
        free(page);
    }
    return NULL;
}

/* Not of a rule that all files name. Values of `k` have what series are left, until the next load.
 */
static void I3_no_hit_is_lost(void)
{
    struct qd_rls_table *table = qd_rls_stats_hold(rpc.node->rls_stats);
    uint64_t hits = 0;

    for (size_t i = 0; i < qd_rls_table_count(table); i++) {
        struct qd_rls_series series;
        qd_rls_table_get(table, i, &series);
        if (strcmp(series.rule, "n") == 0) {
            hits += series.hits[QD_RLS_TOTAL_HITS];
        }
    }
    (void)printf("%llu hits; %zu series\n", (unsigned long long)hits, qd_rls_table_count(table));
    REQUIRE(qd_rls_table_count(table) <= SERIES + 1);
    REQUIRE(hits == (uint64_t)ASKERS * ROUNDS);
    qd_rls_table_release(table);
}

int main(void)
{
    struct race_node race = {0};
    pthread_t askers[ASKERS];
    pthread_t reader;
    unsigned reloads = 0;

    race_node_make(&race, race_policy("version: 1\nplans: {p: {requests: 1/min}}\n"
                                      "tenants: {'*': {plan: p}}\n"));
    race.node->rls_stats = qd_rls_stats_new(SERIES, 80);
    REQUIRE(race.node->rls_stats != NULL);
    rpc.node = race.node;
    rpc.config.rls_options.metadata = true;
    atomic_init(&rpc.rls, set_of(0));
    qd_rls_set_keep_stats(atomic_load(&rpc.rls), race.node->rls_stats);
    atomic_store(&running, ASKERS);
    for (unsigned i = 0; i < ASKERS; i++) {
        REQUIRE(pthread_create(&askers[i], NULL, asker_main, NULL) == 0);
    }
    REQUIRE(pthread_create(&reader, NULL, reader_main, NULL) == 0);
    while (atomic_load(&running) > 0) {
        qd_rpc_publish_rls(&rpc, set_of(++reloads));
        qd_node_tick(race.node); /* frees what was replaced */
    }
    for (unsigned i = 0; i < ASKERS; i++) {
        REQUIRE(pthread_join(askers[i], NULL) == 0);
    }
    REQUIRE(pthread_join(reader, NULL) == 0);
    (void)printf("%u reloads\n", reloads);
    REQUIRE(reloads > 1);
    I3_no_hit_is_lost();
    qd_rls_set_free(atomic_load(&rpc.rls));
    race_node_free(&race);
    return 0;
}
