/* Threads that check, settle, extend and cancel on a few hot tenants while others reload the
 * policy, change tenants and tick: no data race (ThreadSanitizer), no more admitted than the limit
 * (D1), every policy freed, every report booked. */
#include "server/ledger/tenant_store.h"
#include "server/shard/directory.h"
#include "server/shard/node.h"
#include "server/shard/tenants.h"
#include "storage/store_memory.h"
#include "tests/race/node.h"

#include <pthread.h>

#define CHECKERS 3
#define ROUNDS   1500
#define RELOADS  60
#define LIMIT    500
#define CAPPED   "capped"

static struct qd_node *node;
static _Atomic unsigned running;
static _Atomic uint64_t allowed_capped;
static _Atomic uint64_t reported;

/* Limits that all tenants share: commons is locked with each slice, never, or from a reload on. */
enum sharing {
    SHARED,
    UNSHARED,
    SHARED_LATER,
};
static enum sharing sharing;

/* The amount of `wide` goes up and down; `capped` stays. */
static struct qd_policy *policy_of(unsigned i)
{
    char yaml[512];
    bool shared = sharing == SHARED || (sharing == SHARED_LATER && i >= RELOADS / 2);

    (void)snprintf(yaml, sizeof(yaml),
                   "version: 1\n"
                   "models:\n  m: {max_output_tokens: 10, pool: p}\n"
                   "pools:\n  p: {%s}\n"
                   "plans:\n  wide: {requests: %u/min, concurrency: 10000}\n"
                   "  capped: {requests: {limit: %d, algorithm: prepaid}}\n"
                   "tenants:\n  capped: {plan: capped}\n  \"*\": {plan: wide}\n",
                   shared ? "limits: {tokens: 100M/min}" : "", 1000000 + i, LIMIT);
    return race_policy(yaml);
}

struct places {
    struct qd_worker *worker;
    struct qd_check_args check;
    struct qd_check_answer answer;
    struct qd_report_args report;
    struct qd_report_answer reply;
    struct qd_extend_args extend;
    struct qd_extend_answer extended;
    struct qd_error error;
};

static void settle(struct places *p, unsigned i)
{
    struct qd_str token = {p->answer.token, p->answer.token_len};
    bool cancelled = false;

    switch (i % 4) {
    case 0:
        memset(&p->report, 0, sizeof(p->report));
        p->report.reservation = token;
        p->report.usage[0] = (struct qd_amount_arg){str("input_tokens"), 7};
        p->report.usage_count = 1;
        REQUIRE(qd_node_report(p->worker, &p->report, &p->reply, &p->error) == QD_ERROR_NONE);
        atomic_fetch_add(&reported, 1);
        break;
    case 1:
        REQUIRE(qd_node_cancel(p->worker, token, str(""), &cancelled, &p->error) == QD_ERROR_NONE);
        REQUIRE(cancelled);
        break;
    case 2:
        memset(&p->extend, 0, sizeof(p->extend));
        p->extend.reservation = token;
        REQUIRE(qd_node_extend(p->worker, &p->extend, &p->extended, &p->error) == QD_ERROR_NONE);
        qd_node_undelivered(p->worker, p->answer.number);
        break;
    default: /* lost: it expires */
        qd_node_undelivered(p->worker, p->answer.number);
        break;
    }
}

static void *checker(void *argument)
{
    static const char *const tenants[] = {"hot", "hot/a", "other", CAPPED};
    struct places *p = calloc(1, sizeof(*p));
    unsigned seed = *(unsigned *)argument;

    REQUIRE(p != NULL);
    p->worker = qd_worker_new(node);
    REQUIRE(p->worker != NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        const char *tenant = tenants[(i + seed) % 4];
        memset(&p->check, 0, sizeof(p->check));
        p->check.tenant = str(tenant);
        p->check.model = str("m");
        p->check.estimate[0] = (struct qd_amount_arg){str("input_tokens"), 5};
        p->check.estimate_count = 1;
        bool capped = strcmp(tenant, CAPPED) == 0;
        (void)qd_worker_enter(p->worker);
        REQUIRE(qd_node_check(p->worker, &p->check, &p->answer, &p->error) == QD_ERROR_NONE);
        if (p->answer.allowed && capped) {
            atomic_fetch_add(&allowed_capped, 1); /* held for good: never more than LIMIT */
        } else if (p->answer.allowed && p->answer.token_len > 0) {
            settle(p, i);
        }
        qd_worker_leave(p->worker);
    }
    qd_worker_free(p->worker);
    free(p);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static enum qd_error_code edit(void *context, const struct qd_policy *policy, bool exists,
                               struct qd_tenant_record *record, struct qd_error *error)
{
    (void)context;
    (void)policy;
    (void)exists;
    (void)error;
    record->plan = str("wide");
    record->listed = true;
    return QD_ERROR_NONE;
}

static void *changer(void *argument)
{
    struct qd_tenants_work *work = calloc(1, sizeof(*work));
    struct qd_error error;
    uint32_t deleted = 0;

    (void)argument;
    for (unsigned i = 0; atomic_load(&running) > 0; i++) {
        struct qd_tenants_edit change = {
            str(i % 2 == 0 ? "hot" : "hot/a"), "PutTenant", edit, NULL, true, {NULL, 0}};
        REQUIRE(qd_tenants_change(node, &change, work, &error) == QD_ERROR_NONE);
        if (i % 3 == 0) {
            (void)qd_tenants_delete(node, str("hot"), true, str(""), &deleted, &error);
        }
    }
    qd_buf_release(&work->bytes);
    free(work);
    return NULL;
}

static void race_all(enum sharing how)
{
    struct race_node race = {0};
    struct qd_ledger_status status;
    pthread_t threads[CHECKERS];
    unsigned numbers[CHECKERS];
    pthread_t change;

    sharing = how;
    atomic_store(&allowed_capped, 0);
    atomic_store(&reported, 0);
    race_node_make(&race, policy_of(0));
    node = race.node;
    atomic_store(&running, CHECKERS);
    for (unsigned i = 0; i < CHECKERS; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&threads[i], NULL, checker, &numbers[i]) == 0);
    }
    REQUIRE(pthread_create(&change, NULL, changer, NULL) == 0);
    for (unsigned i = 1; atomic_load(&running) > 0 || i <= RELOADS; i++) {
        if (i <= RELOADS) {
            (void)pthread_mutex_lock(&node->admin);
            qd_node_publish(node, policy_of(i), NULL);
            (void)pthread_mutex_unlock(&node->admin);
        }
        qd_node_tick(node);
    }
    for (unsigned i = 0; i < CHECKERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_join(change, NULL);
    qd_ledger_status(race.ledger, &status);
    REQUIRE(atomic_load(&allowed_capped) == LIMIT); /* more asked than may have it */
    REQUIRE(status.booked > 0);
    REQUIRE(status.booked == atomic_load(&reported));
    REQUIRE(qd_quiesce_collect(&node->quiesce) == 0);
    REQUIRE(atomic_load(&node->shards.shared) == (how != UNSHARED));
    (void)printf("ok: %llu booked, %llu capped checks allowed, r%llu\n",
                 (unsigned long long)status.booked,
                 (unsigned long long)atomic_load(&allowed_capped),
                 (unsigned long long)atomic_load(&node->revision));
    race_node_free(&race);
}

int main(void)
{
    race_all(SHARED);
    race_all(UNSHARED);
    race_all(SHARED_LATER);
    return 0;
}
