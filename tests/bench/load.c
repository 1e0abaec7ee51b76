/* Load on a quotad (or on bench_nothing_server): checks over HTTP/2, closed loop or open loop.
 *
 *   bench_load --target HOST:PORT [--stream] [--batch N] [--connections N] [--in-flight N] [--rate
 * PER_S]
 *              [--warmup S] [--seconds S] [--tenants N] [--denied-percent N] [--model NAME]
 * [--ttl-ms N]
 *              [--full] [--no-reservation] [--report] [--rules N]
 * [--tls-ca FILE] [--server-pid PID]
 *
 * Closed loop (no --rate): every connection keeps --in-flight calls (or, with --stream, batches on
 * one stream) unanswered. Open loop: calls come at random (Poisson) at --rate, and each latency
 * counts from the instant at which the call was due, whether or not it could be sent then. Prints
 * key=value lines for the measured seconds, and exits 1 when any answer was an error.
 *
 * Threads: one. In the open loop it hardly sleeps, so give it a core of its own. */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/connection.h"
#include "tests/bench/histogram.h"
#include "tests/lib/prng.h"

#define CONNECTIONS_MAX 256U
#define BACKLOG_MAX     200000U
#define ORDER_ITEMS     131072U
#define NS_PER_S        1000000000ULL
#define IDLE_NS         (10 * NS_PER_S / 1000)
#define SPIN_NS         10000ULL
#define DRAIN_NS        (5 * NS_PER_S)
#define UNARY_PATH      "/quota.v1.QuotaService/CheckQuota"
#define REPORT_PATH     "/quota.v1.QuotaService/ReportUsage"
#define STREAM_PATH     "/quota.v1.QuotaService/StreamQuota"
#define RLS_PATH        "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

struct options {
    const char *host;
    const char *port;
    const char *authority;
    bool stream;
    unsigned connections;
    unsigned in_flight;
    double rate; /* 0: closed loop */
    double warmup_s;
    double measure_s;
    long server_pid;    /* 0: not known */
    const char *tls_ca; /* NULL: plaintext */
    struct bodies_spec spec;
};

enum phase {
    WARMING,
    MEASURING,
    DRAINING
};

struct counts {
    uint64_t allowed;
    uint64_t denied;
    uint64_t item_errors;
    uint64_t call_errors;
    uint64_t allow_bytes;
    uint64_t deny_bytes;
};

struct load {
    struct options options;
    struct bodies *bodies;
    struct connection connections[CONNECTIONS_MAX];
    bool dirty[CONNECTIONS_MAX];
    enum phase phase;
    struct counts counts;
    struct histogram latency;
    uint64_t now_ns;
    uint64_t outstanding;
    char error[CALL_ERROR_MAX];
};

static struct load load;

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- answers --------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static uint64_t read_varint(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; reader->at < reader->end && shift < 64; shift += 7) {
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) {
            break;
        }
    }
    return value;
}

/* A CheckQuotaResponse: its verdict is its first field, and answers always have one. A
 * RateLimitResponse's overall code is the same, with the same numbers. */
static void count_check(const uint8_t *bytes, size_t size)
{
    if (size >= 2 && bytes[0] == 0x08 && bytes[1] == 1) {
        load.counts.allowed++;
        load.counts.allow_bytes += size;
    } else if (size >= 2 && bytes[0] == 0x08) {
        load.counts.denied++;
        load.counts.deny_bytes += size;
    } else {
        load.counts.item_errors++;
    }
}

/* A StreamResponse: an id (field 1), then one of five messages: a check's answer is field 2. */
static void count_item(struct reader item)
{
    while (item.at < item.end) {
        uint64_t tag = read_varint(&item);
        uint64_t value = read_varint(&item);
        if (tag == (1U << 3)) {
            continue;
        }
        if (tag == (2U << 3 | 2U) && value <= (uint64_t)(item.end - item.at)) {
            count_check(item.at, value);
        } else {
            load.counts.item_errors++;
            snprintf(load.error, sizeof load.error, "an item was answered by field %u: %.*s",
                     (unsigned)(tag >> 3), (int)(item.end - item.at), (const char *)item.at);
        }
        return;
    }
    load.counts.item_errors++;
}

static void on_message(void *user, struct call *call, const uint8_t *message, size_t size)
{
    (void)user;
    if (load.options.spec.report) {
        load.counts.allowed++;
        load.counts.allow_bytes += size;
        return;
    }
    if (!load.options.stream) {
        count_check(message, size);
        return;
    }
    unsigned batch = load.options.spec.batch;
    struct reader reader = {message, message + size};
    while (reader.at < reader.end) {
        uint64_t tag = read_varint(&reader);
        uint64_t length = read_varint(&reader);
        assert(tag == (1U << 3 | 2U) && length <= (uint64_t)(reader.end - reader.at));
        struct reader item = {reader.at, reader.at + length};
        count_item(item);
        reader.at += length;
        call->waiting--;
    }
    while (load.phase != DRAINING && call->waiting + batch <= load.options.in_flight * batch) {
        call_send(call, bodies_next(load.bodies));
        call->waiting += batch;
    }
    if (load.phase == DRAINING && call->waiting == 0) {
        call_end(call);
    }
}

static void start_call(struct connection *connection, uint64_t due_ns)
{
    const char *path = load.options.spec.report      ? REPORT_PATH
                       : load.options.spec.rules > 0 ? RLS_PATH
                                                     : UNARY_PATH;
    struct call *call = connection_call(connection, path, bodies_next(load.bodies), true);
    call->due_ns = due_ns;
    load.outstanding++;
    load.dirty[connection - load.connections] = true;
}

static void on_close(void *user, struct call *call)
{
    (void)user;
    load.outstanding--;
    if (call->status != 0) {
        load.counts.call_errors++;
        memcpy(load.error, call->error, sizeof load.error);
    } else if (load.phase == MEASURING) {
        histogram_add(&load.latency, load.now_ns - call->due_ns);
    }
    if (!load.options.stream && load.options.rate <= 0 && load.phase != DRAINING) {
        start_call(call->connection, load.now_ns);
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void open_connections(int epoll)
{
    struct connection_events events = {on_message, on_close, NULL};
    for (unsigned i = 0; i < load.options.connections; i++) {
        struct connection *connection = &load.connections[i];
        if (!connection_open(connection, load.options.host, load.options.port,
                             load.options.authority, load.options.tls_ca, &events)) {
            fprintf(stderr, "bench_load: cannot connect to %s: %s\n", load.options.authority,
                    strerror(errno));
            exit(1);
        }
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.u32 = i}};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
            abort();
        }
    }
}

static void first_calls(void)
{
    for (unsigned i = 0; i < load.options.connections; i++) {
        load.dirty[i] = true;
        if (load.options.stream) {
            struct call *call =
                connection_call(&load.connections[i], STREAM_PATH, bodies_next(load.bodies), false);
            call->waiting = load.options.spec.batch;
            load.outstanding++;
            for (unsigned j = 1; j < load.options.in_flight; j++) {
                call_send(call, bodies_next(load.bodies));
                call->waiting += load.options.spec.batch;
            }
            continue;
        }
        for (unsigned j = 0; load.options.rate <= 0 && j < load.options.in_flight; j++) {
            start_call(&load.connections[i], load.now_ns);
        }
    }
}

static void flush_dirty(void)
{
    for (unsigned i = 0; i < load.options.connections; i++) {
        if (load.dirty[i]) {
            load.dirty[i] = false;
            if (!connection_flush(&load.connections[i])) {
                fprintf(stderr, "bench_load: the connection was lost: %s\n", strerror(errno));
                exit(1);
            }
        }
    }
}

/* Waits for at most `wait_ns` and reads until the edge: the events are edge-triggered. */
static void serve_events(int epoll, uint64_t wait_ns)
{
    struct epoll_event events[CONNECTIONS_MAX];
    struct timespec wait = {.tv_nsec = (long)wait_ns};
    int count = epoll_pwait2(epoll, events, CONNECTIONS_MAX, &wait, NULL);
    load.now_ns = clock_ns();
    for (int i = 0; i < count; i++) {
        unsigned index = events[i].data.u32;
        if ((events[i].events & ~(unsigned)EPOLLOUT) != 0 &&
            !connection_read(&load.connections[index])) {
            fprintf(stderr, "bench_load: the server closed the connection\n");
            exit(1);
        }
        load.dirty[index] = true;
    }
}

static uint64_t gap_ns(struct qd_prng *prng)
{
    double uniform = ((double)(qd_prng_next(prng) >> 11) + 1.0) / 9007199254740992.0;
    return (uint64_t)(-log(uniform) * (double)NS_PER_S / load.options.rate);
}

/* Until `end_ns`. In the open loop *due_ns is when the next call is due. */
static void run_until(int epoll, uint64_t end_ns, struct qd_prng *prng, uint64_t *due_ns)
{
    static unsigned turn;
    while (load.now_ns < end_ns) {
        bool open_loop = load.options.rate > 0;
        uint64_t wait_ns = IDLE_NS;
        if (open_loop) { /* sleeping costs a few us: only where there is time for it */
            wait_ns = *due_ns > load.now_ns + SPIN_NS ? *due_ns - load.now_ns - SPIN_NS : 0;
            wait_ns = wait_ns < IDLE_NS ? wait_ns : IDLE_NS;
        }
        serve_events(epoll, wait_ns);
        while (open_loop && *due_ns <= load.now_ns) {
            start_call(&load.connections[turn++ % load.options.connections], *due_ns);
            *due_ns += gap_ns(prng);
        }
        flush_dirty();
        if (load.outstanding > BACKLOG_MAX) {
            fprintf(stderr, "bench_load: the server does not keep up: %lu calls wait\n",
                    (unsigned long)load.outstanding);
            exit(1);
        }
    }
}

/* Lets the server answer what it has, so that it does not go on with it under the next load. */
static void drain(int epoll)
{
    uint64_t end_ns = load.now_ns + DRAIN_NS;
    while (load.outstanding > 0 && load.now_ns < end_ns) {
        flush_dirty();
        serve_events(epoll, IDLE_NS);
    }
}

/* ---- what is printed ------------------------------------------------------------------------- */

static double own_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* CPU seconds of another process, 0 when it cannot be told. */
static double cpu_s_of(long pid)
{
    char path[64];
    char line[1024] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = pid > 0 ? fopen(path, "r") : NULL;
    if (file == NULL) {
        return 0;
    }
    char *read = fgets(line, sizeof line, file);
    fclose(file);
    unsigned long user = 0;
    unsigned long kernel = 0;
    const char *name_end = read == NULL ? NULL : strrchr(line, ')');
    if (name_end == NULL ||
        sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &kernel) != 2) {
        return 0;
    }
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static double mean(uint64_t sum, uint64_t count)
{
    return count == 0 ? 0 : (double)sum / (double)count;
}

static void print_figures(const struct counts *counts, double seconds, double client_s,
                          double server_s)
{
    uint64_t answers = counts->allowed + counts->denied;
    printf("rate=%.0f\n", (double)answers / seconds);
    printf("seconds=%.3f\n", seconds);
    printf("allowed=%lu\ndenied=%lu\n", (unsigned long)counts->allowed,
           (unsigned long)counts->denied);
    printf("errors=%lu\n", (unsigned long)(counts->item_errors + counts->call_errors));
    printf("allow_bytes=%.0f\ndeny_bytes=%.0f\n", mean(counts->allow_bytes, counts->allowed),
           mean(counts->deny_bytes, counts->denied));
    printf("client_cpu_percent=%.0f\n", 100 * client_s / seconds);
    printf("server_cpu_percent=%.0f\n", 100 * server_s / seconds);
    if (!load.options.stream) {
        printf("p50_ns=%lu\np90_ns=%lu\np99_ns=%lu\np999_ns=%lu\n",
               (unsigned long)histogram_quantile(&load.latency, 500),
               (unsigned long)histogram_quantile(&load.latency, 900),
               (unsigned long)histogram_quantile(&load.latency, 990),
               (unsigned long)histogram_quantile(&load.latency, 999));
    }
}

/* ---- the command line ------------------------------------------------------------------------ */

static double parse_number(const char *name, double low, double high)
{
    char *end = NULL;
    double number = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(number >= low && number <= high)) {
        fprintf(stderr, "bench_load: --%s %s: accepted: %g to %g\n", name, optarg, low, high);
        exit(1);
    }
    return number;
}

static void parse_target(struct options *options)
{
    char *colon = strrchr(optarg, ':');
    if (colon == NULL) {
        fprintf(stderr, "bench_load: --target %s: accepted: HOST:PORT\n", optarg);
        exit(1);
    }
    options->authority = strdup(optarg);
    *colon = '\0';
    options->host = optarg;
    options->port = colon + 1;
}

enum {
    OPT_TARGET = 1,
    OPT_STREAM,
    OPT_BATCH,
    OPT_CONNECTIONS,
    OPT_IN_FLIGHT,
    OPT_RATE,
    OPT_WARMUP,
    OPT_SECONDS,
    OPT_TENANTS,
    OPT_DENIED,
    OPT_MODEL,
    OPT_TTL,
    OPT_FULL,
    OPT_NO_RESERVATION,
    OPT_REPORT,
    OPT_RULES,
    OPT_TLS_CA,
    OPT_PID,
};

static const struct option ACCEPTED[] = {
    {"target", required_argument, NULL, OPT_TARGET},
    {"stream", no_argument, NULL, OPT_STREAM},
    {"batch", required_argument, NULL, OPT_BATCH},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"rate", required_argument, NULL, OPT_RATE},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"tenants", required_argument, NULL, OPT_TENANTS},
    {"denied-percent", required_argument, NULL, OPT_DENIED},
    {"model", required_argument, NULL, OPT_MODEL},
    {"ttl-ms", required_argument, NULL, OPT_TTL},
    {"full", no_argument, NULL, OPT_FULL},
    {"no-reservation", no_argument, NULL, OPT_NO_RESERVATION},
    {"report", no_argument, NULL, OPT_REPORT},
    {"rules", required_argument, NULL, OPT_RULES},
    {"tls-ca", required_argument, NULL, OPT_TLS_CA},
    {"server-pid", required_argument, NULL, OPT_PID},
    {NULL, 0, NULL, 0},
};

static void take_option(int option, struct options *options)
{
    switch (option) {
    case OPT_TARGET:
        parse_target(options);
        break;
    case OPT_STREAM:
        options->stream = true;
        break;
    case OPT_BATCH:
        options->spec.batch = (unsigned)parse_number("batch", 1, 256);
        break;
    case OPT_CONNECTIONS:
        options->connections = (unsigned)parse_number("connections", 1, CONNECTIONS_MAX);
        break;
    case OPT_IN_FLIGHT:
        options->in_flight = (unsigned)parse_number("in-flight", 1, 1000);
        break;
    case OPT_RATE:
        options->rate = parse_number("rate", 1, 1e7);
        break;
    case OPT_WARMUP:
        options->warmup_s = parse_number("warmup", 0, 3600);
        break;
    case OPT_SECONDS:
        options->measure_s = parse_number("seconds", 0.1, 3600);
        break;
    case OPT_TENANTS:
        options->spec.tenants = (unsigned)parse_number("tenants", 1, 1e6);
        break;
    case OPT_DENIED:
        options->spec.denied_percent = (unsigned)parse_number("denied-percent", 0, 100);
        break;
    case OPT_MODEL:
        options->spec.model = optarg;
        break;
    case OPT_TTL:
        options->spec.ttl_ms = (int64_t)parse_number("ttl-ms", 1000, 21600000);
        break;
    case OPT_FULL:
        options->spec.brief = false;
        break;
    case OPT_NO_RESERVATION:
        options->spec.reserve = false;
        break;
    case OPT_REPORT:
        options->spec.report = true;
        break;
    case OPT_RULES:
        options->spec.rules = (unsigned)parse_number("rules", 1, 1e6);
        break;
    case OPT_TLS_CA:
        options->tls_ca = optarg;
        break;
    case OPT_PID:
        options->server_pid = (long)parse_number("server-pid", 1, 1e9);
        break;
    default:
        exit(1);
    }
}

static void parse_options(int argc, char **argv, struct options *ret_options)
{
    int option;
    while ((option = getopt_long(argc, argv, "", ACCEPTED, NULL)) != -1) {
        take_option(option, ret_options);
    }
    if (ret_options->host == NULL) {
        fprintf(stderr, "bench_load: --target HOST:PORT is missing\n");
        exit(1);
    }
    if (ret_options->spec.report &&
        (ret_options->stream || ret_options->connections * ret_options->in_flight > REPORTS_MAX)) {
        fprintf(stderr, "bench_load: --report is unary, at most %u in flight\n", REPORTS_MAX);
        exit(1);
    }
    if (!ret_options->stream) {
        ret_options->spec.batch = 0;
        return;
    }
    unsigned slots = bodies_slots(&ret_options->spec);
    if (ret_options->rate > 0 || ret_options->in_flight > CALL_OUTGOING_MAX ||
        ret_options->in_flight * ret_options->connections > slots) {
        fprintf(stderr,
                "bench_load: --stream is a closed loop of at most %u batches of this size in "
                "flight, %u on a connection\n",
                slots, CALL_OUTGOING_MAX);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    load.options = (struct options){.connections = 16,
                                    .in_flight = 32,
                                    .warmup_s = 1,
                                    .measure_s = 3,
                                    .spec = {.tenants = 10000,
                                             .denied_percent = 10,
                                             .batch = 64,
                                             .items = ORDER_ITEMS,
                                             .model = "bench",
                                             .ttl_ms = 2000,
                                             .brief = true,
                                             .reserve = true}};
    parse_options(argc, argv, &load.options);
    load.bodies = bodies_new(&load.options.spec);
    prctl(PR_SET_TIMERSLACK, 1UL);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    open_connections(epoll);

    struct qd_prng prng;
    qd_prng_init(&prng, 1);
    load.now_ns = clock_ns();
    uint64_t due_ns = load.now_ns;
    uint64_t measure_ns = load.now_ns + (uint64_t)(load.options.warmup_s * 1e9);
    first_calls();
    flush_dirty();
    run_until(epoll, measure_ns, &prng, &due_ns);

    load.counts = (struct counts){.item_errors = load.counts.item_errors,
                                  .call_errors = load.counts.call_errors};
    load.phase = MEASURING;
    uint64_t began_ns = load.now_ns;
    double client_s = own_cpu_s();
    double server_s = cpu_s_of(load.options.server_pid);
    run_until(epoll, began_ns + (uint64_t)(load.options.measure_s * 1e9), &prng, &due_ns);
    load.phase = DRAINING;
    struct counts counts = load.counts;
    print_figures(&counts, (double)(load.now_ns - began_ns) / 1e9, own_cpu_s() - client_s,
                  cpu_s_of(load.options.server_pid) - server_s);
    drain(epoll);
    bodies_free(load.bodies);
    if (counts.item_errors + counts.call_errors > 0) {
        fprintf(stderr, "bench_load: errors, the last: %s\n", load.error);
        return 1;
    }
    return 0; /* the process ends: its connections go with it */
}
