/* Answers ShouldRateLimit calls by COUNT rules, for test_rls_rules.sh, which counts what a call
 * takes:
 *
 *   rls_rules COUNT CALLS [KEY]
 *
 * The calls, of three descriptors each, are the same whatever COUNT is: exact values and a bare
 * key, one below another. Their counters are there before the CALLS are made, which alone are
 * counted by callgrind with --instr-atstart=no. Prints how many descriptors met a rule.
 *
 * With a KEY a call has one descriptor instead, of that key: "users", which has COUNT wildcards
 * that share their first piece, and a value that one of them matches; or a long value which meets
 * the bare key in the end: "route", which has COUNT wildcards that it almost matches, or "path". */
#include "envoy/service/ratelimit/v3/rls.pb-c.h"
#include "server/ledger/ledger.h"
#include "server/policy/policy_file.h"
#include "server/rpc/rls.h"
#include "server/rpc/server_internal.h"
#include "storage/store_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION  (void)0
#endif

#define BODIES     32U
#define BODY_MAX   512U
#define LONG_VALUE 60000U
#define RULES_MIN  100U

static void *must(void *thing, const char *what)
{
    if (thing == NULL) {
        (void)fprintf(stderr, "rls_rules: %s\n", what);
        exit(1);
    }
    return thing;
}

static struct qd_rls_set *load(unsigned long count, unsigned long wildcards)
{
    char *yaml = NULL;
    size_t size = 0;
    FILE *out = must(open_memstream(&yaml, &size), "no memory");
    struct qd_problems *problems = must(qd_problems_new(QD_PROBLEMS_DEFAULT), "no memory");

    (void)fputs("domain: d\ndescriptors:\n"
                "- {key: path, rate_limit: {unit: day, requests_per_unit: 9000000}}\n"
                "- {key: path, value: '/static*', rate_limit: {unlimited: true}}\n",
                out);
    for (unsigned long i = 0; i < count / 2; i++) {
        (void)fprintf(out,
                      "- {key: path, value: /v%lu, rate_limit: {unit: day, requests_per_unit: "
                      "9000000}}\n",
                      i);
    }
    (void)fputs("- {key: route, rate_limit: {unit: day, requests_per_unit: 9000000}}\n", out);
    for (unsigned long i = 0; i < wildcards; i++) {
        (void)fprintf(out, "- {key: route, value: '*/v%lu/*/x*'}\n", i);
    }
    for (unsigned long i = 0; i < wildcards; i++) {
        (void)fprintf(out,
                      "- {key: users, value: '/api/*/users/%05lu*', rate_limit: {unit: day, "
                      "requests_per_unit: 9000000}}\n",
                      i);
    }
    (void)fprintf(out, "- key: tier\n  value: gold\n  descriptors:\n");
    for (unsigned long i = 0; i < count / 2; i++) {
        (void)fprintf(out,
                      "  - {key: user, value: u%lu, rate_limit: {unit: hour, requests_per_unit: "
                      "9000000}}\n",
                      i);
    }
    (void)fclose(out);
    struct qd_rls_rules *rules =
        must(qd_rls_rules_load_bytes("rules.yaml", yaml, size, problems), "rules refused");
    free(yaml);
    qd_problems_free(problems);
    return must(qd_rls_set_new(rules), "no memory");
}

/* One node without tenants, on a memory store. */
static struct qd_node *make_node(struct qd_store *store, struct qd_ledger *ledger)
{
    static const char yaml[] = "version: 1\ntenants: {}\n";
    struct qd_error error;
    struct qd_core_config slice = {.hash_seed = 7,
                                   .narrow_windows = 1024,
                                   .wide_windows = 1024,
                                   .buckets = 64,
                                   .gauges = 64,
                                   .bindings = 1024,
                                   .reservations = 64,
                                   .progress = 16,
                                   .estimators = 16,
                                   .roots = 1024,
                                   .name_bytes = 1 << 20};
    struct qd_node_config config = {.shards = {.count = 16, .slice = slice, .common = slice},
                                    .clock = qd_clock_system,
                                    .store = store,
                                    .ledger = ledger,
                                    .name = "rules",
                                    .incarnation = 1,
                                    .tenants_max = 16};
    struct qd_problems *problems = must(qd_problems_new(QD_PROBLEMS_DEFAULT), "no memory");
    struct qd_node *node = must(qd_node_new(&config, &error), "no node");

    qd_node_publish(node,
                    must(qd_policy_load_bytes("policy.yaml", NULL, yaml, strlen(yaml), problems),
                         "policy refused"),
                    NULL);
    qd_problems_free(problems);
    return node;
}

typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry entry;

static void fill_entry(entry *e, char *key, char *value)
{
    envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__entry__init(e);
    e->key = key;
    e->value = value;
}

static size_t make_body(unsigned number, uint8_t bytes[BODY_MAX])
{
    static char domain[] = "d", path[] = "path", tier[] = "tier", gold[] = "gold", user[] = "user";
    char values[3][32];
    Envoy__Service__Ratelimit__V3__RateLimitRequest request;
    descriptor d[3], *descriptors[3];
    entry e[4], *entries[4];

    envoy__service__ratelimit__v3__rate_limit_request__init(&request);
    (void)snprintf(values[0], sizeof(values[0]), "/v%u", number * 7 % (RULES_MIN / 2));
    (void)snprintf(values[1], sizeof(values[1]), "/any%u", number % 4);
    (void)snprintf(values[2], sizeof(values[2]), "u%u", number * 13 % (RULES_MIN / 2));
    fill_entry(&e[0], path, values[0]);
    fill_entry(&e[1], path, values[1]);
    fill_entry(&e[2], tier, gold);
    fill_entry(&e[3], user, values[2]);
    for (size_t i = 0; i < 4; i++) {
        entries[i] = &e[i];
    }
    for (size_t i = 0; i < 3; i++) {
        envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__init(&d[i]);
        d[i].entries = &entries[i];
        d[i].n_entries = i == 2 ? 2 : 1;
        descriptors[i] = &d[i];
    }
    request.domain = domain;
    request.descriptors = descriptors;
    request.n_descriptors = 3;
    if (protobuf_c_message_get_packed_size(&request.base) > BODY_MAX) {
        (void)must(NULL, "a body is too long");
    }
    return protobuf_c_message_pack(&request.base, bytes);
}

/* One descriptor; the caller frees it. */
static uint8_t *make_body_of(char *key, size_t *ret_size)
{
    static char domain[] = "d", user[] = "/api/v1/users/00042", value[LONG_VALUE + 1];
    Envoy__Service__Ratelimit__V3__RateLimitRequest request;
    descriptor d, *descriptors[] = {&d};
    entry e, *entries[] = {&e};

    for (size_t i = 0; i < LONG_VALUE; i++) {
        value[i] = "/v99"[i % 4];
    }
    fill_entry(&e, key, strcmp(key, "users") == 0 ? user : value);
    envoy__extensions__common__ratelimit__v3__rate_limit_descriptor__init(&d);
    d.entries = entries;
    d.n_entries = 1;
    envoy__service__ratelimit__v3__rate_limit_request__init(&request);
    request.domain = domain;
    request.descriptors = descriptors;
    request.n_descriptors = 1;
    uint8_t *bytes = must(malloc(protobuf_c_message_get_packed_size(&request.base)), "no memory");
    *ret_size = protobuf_c_message_pack(&request.base, bytes);
    return bytes;
}

static void call_all(struct qd_place *place, const struct qd_str *bodies, unsigned long calls)
{
    struct qd_error error;
    struct qd_call *call = must(calloc(1, sizeof(*call)), "no memory");

    for (unsigned long i = 0; i < calls; i++) {
        qd_place_clear(place);
        (void)qd_worker_enter(place->worker);
        if (qd_rls_methods[0].handle(place, call, bodies[i % BODIES], &error) != QD_ERROR_NONE) {
            (void)must(NULL, error.text);
        }
        qd_worker_leave(place->worker);
    }
    free(call);
}

int main(int argc, char **argv)
{
    static uint8_t bytes[BODIES][BODY_MAX];
    struct qd_str bodies[BODIES];
    uint8_t *own_body = NULL;
    size_t own_size = 0;
    struct qd_ledger_config in_ledger = {0};
    struct qd_ledger *ledger = NULL;
    struct qd_place place = {0};

    if (argc < 3 || argc > 4 || strtoul(argv[1], NULL, 10) < RULES_MIN) {
        (void)fputs("usage: rls_rules COUNT CALLS [KEY]; COUNT is at least 100\n", stderr);
        return 1;
    }
    struct qd_rpc *rpc = must(calloc(1, sizeof(*rpc)), "no memory");
    struct qd_store *store = must(qd_store_memory_new(), "no memory");
    if (qd_ledger_open(store, &in_ledger, &ledger, NULL) != QD_STORE_OK) {
        return 1;
    }
    rpc->tenant_domain = (struct qd_str){"quotad", 6};
    unsigned long count = strtoul(argv[1], NULL, 10);
    atomic_init(&rpc->rls, load(count, argc == 4 ? count : 0));
    place.node = rpc->node = make_node(store, ledger);
    if (!qd_place_init(&place, rpc)) {
        return 1;
    }
    if (argc == 4) {
        own_body = make_body_of(argv[3], &own_size);
    }
    for (unsigned i = 0; i < BODIES; i++) {
        bodies[i] = own_body != NULL ? (struct qd_str){(char *)own_body, own_size}
                                     : (struct qd_str){(char *)bytes[i], make_body(i, bytes[i])};
    }
    call_all(&place, bodies, BODIES);
    CALLGRIND_START_INSTRUMENTATION;
    call_all(&place, bodies, strtoul(argv[2], NULL, 10));
    CALLGRIND_STOP_INSTRUMENTATION;
    printf("%llu\n", (unsigned long long)atomic_load(&place.worker->figures.rls_ok));
    qd_place_release(&place);
    qd_node_free(rpc->node);
    qd_rls_set_free(atomic_load(&rpc->rls));
    qd_ledger_close(ledger);
    qd_store_close(store);
    free(own_body);
    free(rpc);
    return 0;
}
