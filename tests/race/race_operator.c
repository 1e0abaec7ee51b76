/* Threads that check and report while operators list and release their reservations, list and
 * reset counters, ask for limits, scrape the metrics, and reload the policy file from two places at
 * once: no data race (ThreadSanitizer), and every reservation ends once (S9): by a report, by an
 * operator, or not at all. */
#include "server/admin/metrics.h"
#include "server/ledger/ledger.h"
#include "server/policy/policy_file.h"
#include "server/rpc/admin.h"
#include "server/shard/node.h"
#include "server/shard/reload.h"
#include "storage/store_memory.h"

#include "quota/v1/admin.pb-c.h"
#include "tests/lib/tempdir.h"
#include "tests/race/node.h"

#include <pthread.h>

#define CHECKERS 2U
#define ROUNDS   1500U
#define RELOADS  40

static struct qd_node *node;
static struct qd_tempdir dir;
static char policy_path[PATH_MAX];
static _Atomic unsigned running = CHECKERS;
static _Atomic uint64_t released;
static _Atomic uint64_t listed;
static _Atomic unsigned reloads = 2; /* threads */
static pthread_barrier_t start;

static const char *policy_text(unsigned i, char yaml[512])
{
    (void)snprintf(yaml, 512,
                   "version: 1\n"
                   "models:\n  m: {max_output_tokens: 10, pool: p}\n"
                   "pools:\n  p: {limits: {tokens: 100M/min}}\n"
                   "prices:\n  m: {input_tokens: $1/1M, output_tokens: $2/1M}\n"
                   "plans:\n  wide: {requests: %u/min, cost: $5000/month, concurrency: 10000}\n"
                   "tenants:\n  \"*\": {plan: wide}\n",
                   1000000 + i);
    return yaml;
}

/* ---- gateways */

struct places {
    struct qd_worker *worker;
    struct qd_check_args check;
    struct qd_check_answer answer;
    struct qd_report_args report;
    struct qd_report_answer reply;
    struct qd_error error;
};

static void *checker(void *argument)
{
    static const char *const tenants[] = {"acme", "acme/search", "globex", "initech/a/b"};
    struct places *p = calloc(1, sizeof(*p));
    unsigned seed = *(unsigned *)argument;

    REQUIRE(p != NULL);
    p->worker = qd_worker_new(node);
    REQUIRE(p->worker != NULL);
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < ROUNDS; i++) {
        memset(&p->check, 0, sizeof(p->check));
        p->check.tenant = str(tenants[(i + seed) % 4]);
        p->check.model = str("m");
        p->check.estimate[0] = (struct qd_amount_arg){str("input_tokens"), 5};
        p->check.estimate_count = 1;
        (void)qd_worker_enter(p->worker);
        REQUIRE(qd_node_check(p->worker, &p->check, &p->answer, &p->error) == QD_ERROR_NONE);
        REQUIRE(p->answer.allowed && p->answer.token_len > 0);
        if (i % 2 == 0) { /* the others stay open, for the operators */
            memset(&p->report, 0, sizeof(p->report));
            p->report.reservation = (struct qd_str){p->answer.token, p->answer.token_len};
            p->report.usage[0] = (struct qd_amount_arg){str("input_tokens"), 7};
            p->report.usage_count = 1;
            REQUIRE(qd_node_report(p->worker, &p->report, &p->reply, &p->error) == QD_ERROR_NONE);
        }
        qd_worker_leave(p->worker);
    }
    atomic_fetch_sub(&running, 1); /* first: with the worker its figures go */
    qd_worker_free(p->worker);
    free(p);
    return NULL;
}

/* ---- operators */

typedef enum qd_error_code (*handler)(struct qd_place *place, struct qd_call *call,
                                      struct qd_str bytes, struct qd_error *ret_error);

/* Call an AdminService handler as the RPC layer does; what it answers lies in place->out. */
static struct qd_str call(struct qd_place *place, handler handle, const ProtobufCMessage *request)
{
    uint8_t bytes[512];
    struct qd_error error;
    struct qd_call by_anyone;
    size_t size = protobuf_c_message_pack(request, bytes);

    REQUIRE(size <= sizeof(bytes));
    memset(&by_anyone, 0, sizeof(by_anyone));
    qd_caller_anyone(&by_anyone.caller);
    qd_place_clear(place);
    (void)qd_worker_enter(place->worker);
    enum qd_error_code code =
        handle(place, &by_anyone, (struct qd_str){(const char *)bytes, size}, &error);
    qd_worker_leave(place->worker);
    if (code != QD_ERROR_NONE) {
        (void)fprintf(stderr, "%s\n", error.text);
        abort();
    }
    REQUIRE(!place->out.full);
    return (struct qd_str){(const char *)place->out.begin, qd_out_used(&place->out)};
}

/* protobuf-c's fields are char *, though packing only reads them. */
static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}

static void list_all(struct qd_place *place)
{
    Quota__V1__ListReservationsRequest request;
    char token[64] = "";

    quota__v1__list_reservations_request__init(&request);
    request.page_size = 50;
    do {
        request.page_token = token;
        struct qd_str bytes = call(place, qd_admin_list_reservations, &request.base);
        Quota__V1__ListReservationsResponse *page = quota__v1__list_reservations_response__unpack(
            NULL, bytes.len, (const uint8_t *)bytes.ptr);
        REQUIRE(page != NULL && page->n_reservations <= 50);
        atomic_fetch_add(&listed, page->n_reservations);
        for (size_t i = 0; i < page->n_reservations; i++) {
            REQUIRE(strncmp(page->reservations[i]->id, "r_", 2) == 0);
            REQUIRE(page->reservations[i]->tenant[0] != '\0');
        }
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        quota__v1__list_reservations_response__free_unpacked(page, NULL);
    } while (token[0] != '\0');
}

static void release_all(struct qd_place *place, const char *tenant, bool dry_run)
{
    Quota__V1__ReleaseReservationRequest request;

    quota__v1__release_reservation_request__init(&request);
    request.tenant = text_of(tenant);
    request.dry_run = dry_run;
    struct qd_str bytes = call(place, qd_admin_release_reservation, &request.base);
    Quota__V1__ReleaseReservationResponse *answer = quota__v1__release_reservation_response__unpack(
        NULL, bytes.len, (const uint8_t *)bytes.ptr);
    REQUIRE(answer != NULL);
    atomic_fetch_add(&released, dry_run ? 0 : answer->released);
    quota__v1__release_reservation_response__free_unpacked(answer, NULL);
}

static void look_around(struct qd_place *place, unsigned i)
{
    Quota__V1__ListCountersRequest counters;
    Quota__V1__GetEffectiveLimitsRequest limits;
    Quota__V1__ResetCounterRequest reset;

    quota__v1__list_counters_request__init(&counters);
    counters.order = i % 2 == 0 ? QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_UNSPECIFIED
                                : QUOTA__V1__COUNTER_ORDER__COUNTER_ORDER_FULLEST;
    (void)call(place, qd_admin_list_counters, &counters.base);
    quota__v1__get_effective_limits_request__init(&limits);
    limits.tenant = text_of("acme/search");
    limits.model = text_of("m");
    (void)call(place, qd_admin_get_effective_limits, &limits.base);
    if (i % 4 == 0) {
        quota__v1__reset_counter_request__init(&reset);
        reset.tenant = text_of("globex");
        reset.limit = text_of("wide.requests");
        (void)call(place, qd_admin_reset_counter, &reset.base);
    }
}

static void *operator(void *argument)
{
    struct qd_place *place = calloc(1, sizeof(*place));

    (void)argument;
    REQUIRE(place != NULL);
    place->node = node;
    REQUIRE(qd_place_init(place, NULL));
    (void)pthread_barrier_wait(&start);
    /* At least until it has seen and released some: there are, also after the checks. */
    for (unsigned i = 0;
         atomic_load(&running) > 0 || atomic_load(&listed) == 0 || atomic_load(&released) == 0;
         i++) {
        list_all(place);
        release_all(place, i % 2 == 0 ? "acme" : "globex", i % 3 == 0);
        look_around(place, i);
    }
    qd_place_release(place);
    free(place);
    return NULL;
}

/* The value of a line "NAME VALUE"; ends the program when there is none. */
static uint64_t figure(const char *page, const char *name)
{
    const char *line = strstr(page, name);
    REQUIRE(line != NULL && line[strlen(name)] == ' ');
    return strtoull(line + strlen(name) + 1, NULL, 10);
}

static uint64_t scrape(const char *name)
{
    char *page = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&page, &size);

    REQUIRE(out != NULL);
    qd_metrics_write(node, 2, out);
    REQUIRE(fclose(out) == 0 && size > 1000);
    uint64_t value = figure(page, name);
    free(page);
    return value;
}

static void *scraper(void *argument)
{
    uint64_t last = 0;

    (void)argument;
    (void)pthread_barrier_wait(&start);
    do {
        uint64_t now = scrape("\nquotad_reports_total{result=\"booked\"}");
        REQUIRE(now >= last || atomic_load(&running) < CHECKERS);
        last = now;
    } while (atomic_load(&running) > 0);
    return NULL;
}

static void *reloader(void *argument)
{
    struct qd_problems *problems = qd_problems_new(QD_PROBLEMS_DEFAULT);

    (void)argument;
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 0; i < RELOADS || atomic_load(&node->revision) < 5; i++) {
        REQUIRE(qd_reload_file(node, policy_path, problems, NULL) != QD_RELOAD_BAD);
    }
    qd_problems_free(problems);
    atomic_fetch_sub(&reloads, 1);
    return NULL;
}

/* Another policy, moved into its place whole, as an editor does. */
static void change_file(unsigned i)
{
    char yaml[512];
    char next[PATH_MAX];
    const char *text = policy_text(i, yaml);

    qd_tempdir_write(&dir, "next.yaml", text, strlen(text));
    REQUIRE(rename(qd_tempdir_path(&dir, "next.yaml", next), policy_path) == 0);
}

/* What the slices have counted, added up. */
static void core_stats(struct qd_core_stats *ret_sum)
{
    memset(ret_sum, 0, sizeof(*ret_sum));
    for (uint32_t i = 0; i < node->shards.count; i++) {
        struct qd_core_stats stats;
        qd_core_stats(node->shards.home[i].core, &stats);
        ret_sum->allowed += stats.allowed;
        ret_sum->settled += stats.settled;
        ret_sum->late += stats.late;
        ret_sum->cancelled += stats.cancelled;
        ret_sum->reservations_open += stats.reservations_open;
    }
}

/* Every reservation ended once, or is open. One that an operator released while its report was
 * being written counts as late, whatever the report was told. */
static void check_ends(void)
{
    struct qd_core_stats core;
    uint64_t open = scrape("\nquotad_reservations_open");

    core_stats(&core);
    (void)printf("%llu allowed, %llu settled (%llu late), %llu released, %llu open, r%llu\n",
                 (unsigned long long)core.allowed, (unsigned long long)core.settled,
                 (unsigned long long)core.late, (unsigned long long)core.cancelled,
                 (unsigned long long)open, (unsigned long long)atomic_load(&node->revision));
    REQUIRE(core.allowed == (uint64_t)CHECKERS * ROUNDS && core.settled == core.allowed / 2);
    REQUIRE(core.cancelled == atomic_load(&released) && core.reservations_open == open);
    REQUIRE(core.settled - core.late + core.cancelled + open == core.allowed);
    REQUIRE(core.settled > core.late && core.cancelled > 0 && open > 0);
}

int main(void)
{
    struct race_node race = {0};
    pthread_t threads[CHECKERS + 4];
    unsigned numbers[CHECKERS];
    char yaml[512];

    qd_tempdir_init(&dir);
    (void)qd_tempdir_path(&dir, "policy.yaml", policy_path);
    change_file(0);
    race_node_make(&race, race_policy(policy_text(0, yaml)));
    node = race.node;
    REQUIRE(pthread_barrier_init(&start, NULL, CHECKERS + 5) == 0);
    for (unsigned i = 0; i < CHECKERS; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&threads[i], NULL, checker, &numbers[i]) == 0);
    }
    REQUIRE(pthread_create(&threads[CHECKERS], NULL, operator, NULL) == 0);
    REQUIRE(pthread_create(&threads[CHECKERS + 1], NULL, scraper, NULL) == 0);
    REQUIRE(pthread_create(&threads[CHECKERS + 2], NULL, reloader, NULL) == 0);
    REQUIRE(pthread_create(&threads[CHECKERS + 3], NULL, reloader, NULL) == 0);
    (void)pthread_barrier_wait(&start);
    for (unsigned i = 1; atomic_load(&running) > 0 || atomic_load(&reloads) > 0; i++) {
        change_file(i);
        qd_node_tick(node);
    }
    for (unsigned i = 0; i < CHECKERS + 4; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    check_ends();
    REQUIRE(qd_quiesce_collect(&node->quiesce) == 0);
    race_node_free(&race);
    (void)pthread_barrier_destroy(&start);
    qd_tempdir_release(&dir);
    return 0;
}
