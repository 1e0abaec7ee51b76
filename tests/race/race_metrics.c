/* /metrics read while threads check, report and store snapshots: no data race (ThreadSanitizer),
 * each page whole, and the last one has counted everything once (I6). */
#include "server/admin/metrics.h"
#include "server/measure/histogram.h"
#include "server/shard/node.h"
#include "server/shard/reports.h"
#include "server/shard/snapshot.h"
#include "tests/race/node.h"

#include <pthread.h>

#define REPORTERS 3
#define ROUNDS    1000

static struct qd_node *node;
static _Atomic unsigned running;

static struct qd_policy *policy(void)
{
    return race_policy("version: 1\n"
                       "models:\n  m: {max_output_tokens: 10}\n"
                       "plans:\n  paid: {input_tokens: 1M/month}\n"
                       "tenants:\n  \"*\": {plan: paid}\n");
}

struct reporter {
    pthread_t thread;
    struct qd_worker *worker;
    unsigned number;
    struct qd_report_args report;
    struct qd_report_answer reply;
    struct qd_error error;
};

static void *reporter_main(void *argument)
{
    struct reporter *r = argument;
    char tenant[32];
    char id[32];

    for (unsigned i = 0; i < ROUNDS; i++) {
        (void)snprintf(tenant, sizeof(tenant), "t%u", i % 30);
        (void)snprintf(id, sizeof(id), "%u-%u", r->number, i);
        memset(&r->report, 0, sizeof(r->report));
        r->report.tenant = str(tenant);
        r->report.model = str("m");
        r->report.request_id = str(id);
        r->report.usage[0] = (struct qd_amount_arg){str("input_tokens"), 7};
        r->report.usage_count = 1;
        (void)qd_worker_enter(r->worker);
        REQUIRE(qd_node_report(r->worker, &r->report, &r->reply, &r->error) == QD_ERROR_NONE);
        qd_worker_leave(r->worker);
        /* As rpc does, in front of each reply. */
        qd_histogram_add(&r->worker->figures.latency[QD_MEASURED_REPORT], QD_HISTOGRAM_LATENCY, i);
        qd_count(&r->worker->figures.errors[QD_ERROR_INTERNAL]);
    }
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

/* The page; its last family is there, so it is whole. Freed by the caller. */
static char *scrape(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    REQUIRE(out != NULL);
    qd_metrics_write(node, 5, out);
    REQUIRE(fclose(out) == 0 && text != NULL);
    REQUIRE(strstr(text, "\nquotad_backup_last_success_timestamp_seconds ") != NULL);
    return text;
}

int main(void)
{
    static struct reporter reporters[REPORTERS];
    struct race_node race = {.store = NULL};
    pthread_t snapshots;
    unsigned pages = 0;
    char wanted[128];

    race_node_make(&race, policy());
    node = race.node;
    atomic_store(&running, REPORTERS);
    for (unsigned i = 0; i < REPORTERS; i++) {
        reporters[i].number = i;
        reporters[i].worker = qd_worker_new(node);
        REQUIRE(reporters[i].worker != NULL);
        REQUIRE(pthread_create(&reporters[i].thread, NULL, reporter_main, &reporters[i]) == 0);
    }
    REQUIRE(pthread_create(&snapshots, NULL, snapshot_main, NULL) == 0);
    while (atomic_load(&running) > 0) {
        free(scrape());
        pages++;
    }
    for (unsigned i = 0; i < REPORTERS; i++) {
        (void)pthread_join(reporters[i].thread, NULL);
    }
    (void)pthread_join(snapshots, NULL);
    char *last = scrape();
    static const char *const counted[] = {
        "\nquotad_reports_total{result=\"booked\"} ",
        "\nquotad_request_duration_seconds_count{method=\"ReportUsage\"} ",
        "\nquotad_errors_total{reason=\"INTERNAL\"} ",
        "\nquotad_ledger_commit_duration_seconds_count ",
        "\nquotad_ledger_group_bookings_sum ",
    };
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        (void)snprintf(wanted, sizeof(wanted), "%s%d\n", counted[i], REPORTERS * ROUNDS);
        REQUIRE(strstr(last, wanted) != NULL);
    }
    free(last);
    (void)printf("%u pages\n", pages);
    for (unsigned i = 0; i < REPORTERS; i++) {
        qd_worker_free(reporters[i].worker);
    }
    race_node_free(&race);
    return 0;
}
