/* Threads that report while others correct the same entries, take them back and price what has no
 * price: no data race (ThreadSanitizer), no entry is taken back twice, and the budgets have counted
 * what the ledger sums up (L3, X5). */
#include "server/ledger/scan.h"
#include "server/ledger/usage.h"
#include "server/ledger/verify.h"
#include "server/shard/correct.h"
#include "server/shard/price_unpriced.h"
#include "tests/race/node.h"

#include <pthread.h>
#include <stdlib.h>

#define REPORTERS  2U
#define CORRECTORS 2U
#define ROUNDS     400U

static struct qd_node *node;
static pthread_barrier_t start;
static _Atomic unsigned reporting = REPORTERS;
static _Atomic uint64_t corrected;
static _Atomic uint64_t too_late;
static _Atomic uint64_t priced;

static const char without_price[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 10}\n  new: {max_output_tokens: 10}\n"
    "unknown_price: unpriced\n"
    "prices:\n  m: {input_token: $1/1M}\n"
    "plans:\n  p:\n    tokens: {meter: input_tokens, limit: 100M/month}\n    cost: $500/month\n"
    "tenants:\n  \"*\": {plan: p}\n";
static const char with_price[] =
    "version: 1\n"
    "models:\n  m: {max_output_tokens: 10}\n  new: {max_output_tokens: 10}\n"
    "unknown_price: unpriced\n"
    "prices:\n  m: {input_token: $1/1M}\n  new: {input_token: $3/1M}\n"
    "plans:\n  p:\n    tokens: {meter: input_tokens, limit: 100M/month}\n    cost: $500/month\n"
    "tenants:\n  \"*\": {plan: p}\n";

static void *reporter(void *argument)
{
    unsigned self = *(unsigned *)argument;
    struct qd_worker *worker = qd_worker_new(node);
    struct qd_report_args *args = calloc(1, sizeof(*args));
    struct qd_report_answer *answer = calloc(1, sizeof(*answer));
    struct qd_error error;

    REQUIRE(worker != NULL && args != NULL && answer != NULL);
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "r%u-%u", self, i);
        args->tenant = str("acme");
        args->model = str(i % 4 == 0 ? "new" : "m");
        args->request_id = str(id);
        args->usage[0] = (struct qd_amount_arg){str("input_tokens"), 10 + i};
        args->usage_count = 1;
        (void)qd_worker_enter(worker);
        REQUIRE(qd_node_report(worker, args, answer, &error) == QD_ERROR_NONE);
        qd_worker_leave(worker);
    }
    atomic_fetch_sub(&reporting, 1);
    qd_worker_free(worker);
    free(args);
    free(answer);
    return NULL;
}

/* All correctors go through the same entries, each with its own idea of what is right. */
static void *corrector(void *argument)
{
    unsigned self = *(unsigned *)argument;
    struct qd_worker *worker = qd_worker_new(node);
    uint64_t last = 0;
    bool more = true;

    REQUIRE(worker != NULL);
    (void)pthread_barrier_wait(&start);
    while (more) {
        more = atomic_load(&reporting) > 0;
        uint64_t through = qd_ledger_watermark(node->ledger).sequence;
        for (uint64_t sequence = last + 1; sequence <= through; sequence += 3) {
            struct qd_correct_args args = {
                .sequence = sequence, .correction_id = str("c"), .reason = str("race")};
            struct qd_correct_work *work = qd_correct_work_new();
            struct qd_error error;
            args.take_back = (sequence + self) % 5 == 0;
            args.usage[0] =
                (struct qd_amount_arg){str("input_tokens"), (int64_t)(self + sequence % 7)};
            args.usage_count = args.take_back ? 0 : 1;
            (void)qd_worker_enter(worker);
            enum qd_error_code code = qd_correct(worker, &args, work, &error);
            qd_worker_leave(worker);
            REQUIRE(code == QD_ERROR_NONE || code == QD_ERROR_ENTRY_CORRECTED ||
                    code == QD_ERROR_NOT_CORRECTABLE);
            atomic_fetch_add(&corrected, code == QD_ERROR_NONE && !work->duplicate);
            atomic_fetch_add(&too_late, code == QD_ERROR_ENTRY_CORRECTED || work->duplicate);
            qd_correct_work_free(work);
        }
        /* Some of what is corrected is corrected again, by chance; but not for ever. */
        last = through;
        more = more && through < (uint64_t)REPORTERS * ROUNDS * 4;
    }
    qd_worker_free(worker);
    return NULL;
}

static void price_all(struct qd_worker *worker)
{
    struct qd_price_unpriced_page *page = calloc(1, sizeof(*page));
    struct qd_price_unpriced_args args = {.cursor = 0};
    struct qd_error error;

    REQUIRE(page != NULL);
    do {
        (void)qd_worker_enter(worker);
        REQUIRE(qd_price_unpriced(worker, &args, page, &error) == QD_ERROR_NONE);
        qd_worker_leave(worker);
        args.cursor = page->next_cursor;
        atomic_fetch_add(&priced, page->priced);
    } while (!page->end);
    free(page);
}

static void *pricer(void *argument)
{
    struct qd_worker *worker = qd_worker_new(node);

    (void)argument;
    REQUIRE(worker != NULL);
    (void)pthread_barrier_wait(&start);
    while (atomic_load(&reporting) > 0) {
        price_all(worker);
    }
    qd_worker_free(worker);
    return NULL;
}

/* As a reload does it. */
static void publish(const char *yaml)
{
    struct qd_policy *policy = race_policy(yaml);

    (void)pthread_mutex_lock(&node->admin);
    (void)pthread_rwlock_wrlock(&node->booking);
    qd_node_publish(node, policy, NULL);
    (void)pthread_rwlock_unlock(&node->booking);
    (void)pthread_mutex_unlock(&node->admin);
}

/* --- afterwards --- */

static bool count_reversal(void *context, const struct qd_entry *entry)
{
    unsigned *reversals = context;

    if (qd_entry_is_reversal(entry)) {
        REQUIRE(reversals[entry->corrects_sequence]++ == 0);
    }
    return true;
}

static int64_t counted(const char *limit)
{
    struct qd_shard *home = qd_shards_of(&node->shards, str("acme"));
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    struct qd_limit_state state;
    struct qd_hash128 id;
    uint64_t cursor = 0;
    int64_t used = 0;

    while (qd_core_counter_next(home->core, &cursor, now, &id, &state)) {
        used += strcmp(state.limit->name, limit) == 0 ? state.used : 0;
    }
    return used;
}

static int64_t summed(const char *meter)
{
    struct qd_wall_ns ends[2] = {{0}, {INT64_MAX / 2 / QD_ROLLUP_NS * QD_ROLLUP_NS}};
    struct qd_usage_query query = {.boundaries = ends, .boundary_count = 2};
    struct qd_usage_weight weight = {str(meter), 1};
    qd_int128 sum = 0;

    REQUIRE(qd_usage_sum(node->ledger, &query, &weight, 1, &sum, NULL) == QD_STORE_OK);
    return (int64_t)sum;
}

static void check_all(void)
{
    struct qd_verify_report verified;
    uint64_t last = qd_ledger_watermark(node->ledger).sequence;
    unsigned *reversals = calloc(last + 1, sizeof(*reversals));
    uint64_t seen;

    REQUIRE(reversals != NULL);
    REQUIRE(qd_ledger_visit(node->ledger, 0, 0, count_reversal, reversals, &seen, NULL) ==
            QD_STORE_OK);
    REQUIRE(qd_ledger_verify(node->ledger, &verified, NULL) == QD_STORE_OK && verified.clean);
    (void)printf("%llu entries, %llu corrected, %llu too late, %llu priced; %lld tokens\n",
                 (unsigned long long)last, (unsigned long long)atomic_load(&corrected),
                 (unsigned long long)atomic_load(&too_late),
                 (unsigned long long)atomic_load(&priced), (long long)counted("tokens"));
    REQUIRE(counted("tokens") == summed("input_tokens"));
    REQUIRE(counted("cost") == summed("cost"));
    REQUIRE(atomic_load(&corrected) > 0);
    free(reversals);
}

int main(void)
{
    struct race_node race = {0};
    pthread_t threads[REPORTERS + CORRECTORS + 2];
    unsigned numbers[REPORTERS + CORRECTORS];
    unsigned count = 0;

    race_node_make(&race, race_policy(without_price));
    node = race.node;
    REQUIRE(pthread_barrier_init(&start, NULL, REPORTERS + CORRECTORS + 3) == 0);
    for (unsigned i = 0; i < REPORTERS + CORRECTORS; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&threads[count++], NULL, i < REPORTERS ? reporter : corrector,
                               &numbers[i]) == 0);
    }
    REQUIRE(pthread_create(&threads[count++], NULL, pricer, NULL) == 0);
    REQUIRE(pthread_create(&threads[count++], NULL, pricer, NULL) == 0);
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; atomic_load(&reporting) > 0; i++) {
        publish(i % 2 == 0 ? with_price : without_price);
        qd_node_tick(node);
    }
    for (unsigned i = 0; i < count; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    check_all();
    race_node_free(&race);
    (void)pthread_barrier_destroy(&start);
    return 0;
}
