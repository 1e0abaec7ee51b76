/* Threads that check and report while PutTenant adds a limit to their tenant, with and without
 * limits that all tenants share: no data race (ThreadSanitizer), and what is reported once the
 * limit is there counts in it, also for requests that were under way before (P2, S2). */
#include "server/shard/bind.h"
#include "server/shard/directory.h"
#include "server/shard/tenants.h"
#include "tests/race/node.h"

#include <pthread.h>

#define REPORTERS 3U
#define BEFORE    30U /* reports, before the limit is put */
#define AFTER     30U /* of each reporter, once it is there */
#define TENANTS   10U
#define USED      7

static struct qd_node *node;
static char tenant[16];
static _Atomic bool put;
static _Atomic unsigned reported;       /* begun */
static _Atomic unsigned reported_after; /* begun when the limit was there */
static pthread_barrier_t start;

static struct qd_policy *policy_of(bool shared)
{
    char yaml[512];

    (void)snprintf(yaml, sizeof(yaml),
                   "version: 1\n"
                   "models:\n  m: {max_output_tokens: 10, pool: p}\n"
                   "pools:\n  p: {%s}\n"
                   "plans:\n  wide: {requests: 1M/min}\n"
                   "tenants:\n  \"*\": {plan: wide}\n",
                   shared ? "limits: {tokens: 100M/min}" : "");
    return race_policy(yaml);
}

struct places {
    struct qd_worker *worker;
    struct qd_check_args check;
    struct qd_check_answer answer;
    struct qd_report_args report;
    struct qd_report_answer reply;
    struct qd_error error;
};

static void request(struct places *p)
{
    p->check.tenant = str(tenant);
    p->check.model = str("m");
    p->check.estimate[0] = (struct qd_amount_arg){str("input_tokens"), 5};
    p->check.estimate_count = 1;
    (void)qd_worker_enter(p->worker);
    REQUIRE(qd_node_check(p->worker, &p->check, &p->answer, &p->error) == QD_ERROR_NONE);
    REQUIRE(p->answer.allowed);
    p->report.reservation = (struct qd_str){p->answer.token, p->answer.token_len};
    p->report.usage[0] = (struct qd_amount_arg){str("input_tokens"), USED};
    p->report.usage_count = 1;
    atomic_fetch_add(&reported, 1);
    if (atomic_load(&put)) {
        atomic_fetch_add(&reported_after, 1);
    }
    REQUIRE(qd_node_report(p->worker, &p->report, &p->reply, &p->error) == QD_ERROR_NONE);
    qd_worker_leave(p->worker);
}

static void *reporter(void *argument)
{
    struct places *p = calloc(1, sizeof(*p));

    (void)argument;
    REQUIRE(p != NULL);
    p->worker = qd_worker_new(node);
    REQUIRE(p->worker != NULL);
    (void)pthread_barrier_wait(&start);
    for (unsigned left = AFTER; left > 0; left -= atomic_load(&put) ? 1 : 0) {
        request(p);
    }
    qd_worker_free(p->worker);
    free(p);
    return NULL;
}

static enum qd_error_code edit(void *context, const struct qd_policy *policy, bool exists,
                               struct qd_tenant_record *record, struct qd_error *error)
{
    (void)context;
    (void)policy;
    (void)exists;
    (void)error;
    record->listed = true;
    record->limit_count = 1;
    record->limits[0] = (struct qd_label){
        str("later"), str("{limit: 1G, meter: input_tokens, algorithm: prepaid}")};
    return QD_ERROR_NONE;
}

static void put_limit(void)
{
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    struct qd_tenants_edit change = {str(tenant), "PutTenant", edit, NULL, true, {NULL, 0}};
    struct qd_error error;

    REQUIRE(work != NULL);
    REQUIRE(qd_tenants_change(node, &change, work, &error) == QD_ERROR_NONE);
    qd_buf_release(&work->bytes);
    free(work);
}

/* What the limit has counted. */
static int64_t used(void)
{
    struct qd_attributes a = {.tenant = str(tenant), .model = str("m"), .family = str("m")};
    struct qd_worker *worker = qd_worker_new(node);
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    struct qd_limit_state state = {0};

    REQUIRE(worker != NULL);
    const struct qd_published *published = qd_worker_enter(worker);
    qd_directory_lock_shared(node->directory);
    qd_bind_resolve(worker, published, &a, false, now);
    for (size_t i = 0; i < worker->resolution.count; i++) {
        const struct qd_resolved_limit *limit = &worker->resolution.limit[i];
        if (strcmp(limit->use->limit->name, "later") == 0) {
            struct qd_shard *home = qd_shards_of(&node->shards, a.tenant);
            REQUIRE(qd_core_counter(home->core, limit->counter, now, &state));
        }
    }
    qd_directory_unlock_shared(node->directory);
    qd_worker_leave(worker);
    qd_worker_free(worker);
    return state.used;
}

static void race(unsigned number)
{
    pthread_t threads[REPORTERS];

    (void)snprintf(tenant, sizeof(tenant), "t%u", number);
    atomic_store(&put, false);
    atomic_store(&reported, 0);
    atomic_store(&reported_after, 0);
    for (unsigned i = 0; i < REPORTERS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, reporter, NULL) == 0);
    }
    (void)pthread_barrier_wait(&start);
    while (atomic_load(&reported) < BEFORE) {
        (void)sched_yield();
    }
    put_limit();
    atomic_store(&put, true);
    for (unsigned i = 0; i < REPORTERS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    int64_t counted = used();
    REQUIRE(counted % USED == 0);
    REQUIRE(atomic_load(&reported_after) >= REPORTERS * (AFTER - 1));
    REQUIRE(counted >= (int64_t)atomic_load(&reported_after) * USED);
    REQUIRE(counted <= (int64_t)atomic_load(&reported) * USED);
    (void)printf("%u reports, %u of them after the limit was put, %lld counted\n",
                 atomic_load(&reported), atomic_load(&reported_after), (long long)(counted / USED));
}

int main(void)
{
    REQUIRE(pthread_barrier_init(&start, NULL, REPORTERS + 1) == 0);
    for (unsigned shared = 0; shared < 2; shared++) {
        struct race_node r = {0};
        race_node_make(&r, policy_of(shared == 1));
        node = r.node;
        for (unsigned i = 0; i < TENANTS; i++) {
            race(i);
        }
        REQUIRE(atomic_load(&node->shards.shared) == (shared == 1));
        race_node_free(&r);
    }
    (void)pthread_barrier_destroy(&start);
    return 0;
}
