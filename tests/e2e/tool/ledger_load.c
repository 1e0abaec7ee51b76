/* Load for a node that will be killed: checks, reports and retries, and a log of what was
 * acknowledged, which is the client's truth.
 *
 *     ledger_load ADDRESS_FILE LOG THREADS SEED
 *
 * Each thread appends to LOG.<thread>: "sent KEY TENANT INPUT OUTPUT" before a report leaves,
 * "acked KEY SEQUENCE" once it is booked, both written before it goes on. KEY is
 * SOURCE/REQUEST_ID/SEQUENCE. A report without an answer is sent again until it has one. The node's
 * address is read from ADDRESS_FILE before each new connection: it may come back elsewhere.
 *
 * SIGTERM: no new reports; those under way get their answers, then exit 0. Exit 1: an answer that
 * contradicts what was acknowledged before. tool/compare_ledger.awk compares the logs with an
 * export. */
#include "client/quota.h"
#include "tests/lib/prng.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX    16
#define RECENT         64 /* acknowledged reports that a thread sends again now and then */
#define PARTS          3  /* of one request's usage */
#define RACE_NS        INT64_C(50000000) /* threads that race take one key in so long */
#define TRY_MS         2000
#define PAUSE_NS       20000000L
#define GIVE_UP_NS     INT64_C(90000000000) /* a report without an answer for so long */
#define ADDRESS_MAX    128
#define TOKEN_MAX      1100
#define REQUEST_ID_MAX 48

struct report {
    const char *tenant;
    const char *source;
    char request_id[REQUEST_ID_MAX];
    char token[TOKEN_MAX]; /* "": post-paid */
    uint32_t sequence;
    bool partial;
    int64_t input;
    int64_t output;
    uint64_t booked_as; /* entry's sequence; 0: not acknowledged yet */
};

struct loader {
    unsigned number;
    int log;
    struct qd_prng prng;
    const char *address_file;
    char address[ADDRESS_MAX];
    struct quota_client *client;
    char source[16];
    uint64_t requests;
    struct report recent[RECENT];
    size_t recent_count;
    pthread_t thread;
};

static atomic_bool stop;
static atomic_bool failed;
static atomic_ullong acknowledged;

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((format(printf, 2, 3))) static void complain(const struct report *report,
                                                           const char *format, ...)
{
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "ledger_load: %s/%s/%u (entry %" PRIu64 "): %s\n", report->source,
                  report->request_id, report->sequence, report->booked_as, text);
    atomic_store(&failed, true);
    atomic_store(&stop, true);
}

/* One line, whole, in the kernel's hands before the thread goes on: it outlives this process. */
static void log_line(const struct loader *loader, const char *text)
{
    size_t size = strlen(text);
    if (write(loader->log, text, size) != (ssize_t)size) {
        perror("ledger_load: log");
        exit(EXIT_FAILURE);
    }
}

static void log_sent(const struct loader *loader, const struct report *r)
{
    char line[256];
    (void)snprintf(line, sizeof line, "sent %s/%s/%u %s %" PRId64 " %" PRId64 "\n", r->source,
                   r->request_id, r->sequence, r->tenant, r->input, r->output);
    log_line(loader, line);
}

static void log_acked(const struct loader *loader, const struct report *r, uint64_t entry)
{
    char line[256];
    (void)snprintf(line, sizeof line, "acked %s/%s/%u %" PRIu64 "\n", r->source, r->request_id,
                   r->sequence, entry);
    log_line(loader, line);
    (void)atomic_fetch_add(&acknowledged, 1);
}

/* --- the node, wherever it is now --- */

static void connect_again(struct loader *loader)
{
    char address[ADDRESS_MAX] = {0};
    FILE *file = fopen(loader->address_file, "re");
    if (file != NULL) {
        if (fgets(address, sizeof address, file) != NULL) {
            address[strcspn(address, "\n")] = '\0';
        }
        (void)fclose(file);
    }
    if (address[0] == '\0' || (loader->client != NULL && strcmp(address, loader->address) == 0)) {
        return;
    }
    quota_client_free(loader->client);
    loader->client = NULL;
    memcpy(loader->address, address, sizeof address);
    struct quota_config config = {.address = loader->address,
                                  .source = loader->source,
                                  .check_timeout_ms = TRY_MS,
                                  .report_timeout_ms = TRY_MS,
                                  .tries_max = 1,
                                  .no_renewal = true,
                                  .seed = loader->number + 1};
    struct quota_error error;
    if (quota_client_new(&config, &error, &loader->client) != QUOTA_OK) {
        (void)fprintf(stderr, "ledger_load: %s\n", error.message);
        exit(EXIT_FAILURE);
    }
}

static enum quota_status send_once(struct loader *loader, const struct report *r,
                                   struct quota_report_answer *answer)
{
    struct quota_amount usage[] = {{"input_tokens", r->input}, {"output_tokens", r->output}};
    struct quota_report report = {
        .reservation = r->token[0] != '\0' ? r->token : NULL,
        .tenant = r->tenant,
        .model = "m",
        .source = r->source,
        .request_id = r->request_id,
        .sequence = r->sequence,
        .partial = r->partial,
        .usage = usage,
        .usage_count = 2,
    };
    return quota_client_report(loader->client, &report, NULL, answer);
}

/* Whether it is booked is not known: the node died, or refuses reports until it can write. */
static bool is_unknown(enum quota_status status)
{
    return status == QUOTA_UNAVAILABLE || status == QUOTA_TIMEOUT || status == QUOTA_CANCELLED;
}

/* Send until there is an answer: it. False: given up. */
static bool send_until_answered(struct loader *loader, const struct report *r,
                                struct quota_report_answer *answer)
{
    int64_t give_up = now_ns() + GIVE_UP_NS;
    while (is_unknown(send_once(loader, r, answer))) {
        quota_report_answer_release(answer);
        if (now_ns() > give_up) {
            complain(r, "no answer for %" PRId64 " s", GIVE_UP_NS / 1000000000);
            return false;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        connect_again(loader);
    }
    return true;
}

static void remember(struct loader *loader, const struct report *r)
{
    size_t at = loader->recent_count < RECENT ? loader->recent_count++
                                              : (size_t)qd_prng_below(&loader->prng, RECENT);
    loader->recent[at] = *r;
}

/* Report it until it is booked. `mine`: nobody else sends this key. */
static void deliver(struct loader *loader, struct report *r, bool mine)
{
    struct quota_report_answer answer;
    log_sent(loader, r);
    if (!send_until_answered(loader, r, &answer)) {
        return;
    }
    if (answer.error.status != QUOTA_OK) {
        complain(r, "refused: %s", answer.error.message);
    } else {
        r->booked_as = answer.entry_sequence;
        log_acked(loader, r, answer.entry_sequence);
        if (mine) {
            remember(loader, r);
        }
    }
    quota_report_answer_release(&answer);
}

/* --- what a gateway does --- */

static void begin_report(struct loader *loader, struct report *r)
{
    static const char *const tenants[] = {"acme", "beta", "beta/search", "gamma"};
    *r = (struct report){.tenant = tenants[qd_prng_below(&loader->prng, 4)],
                         .source = loader->source,
                         .input = (int64_t)qd_prng_below(&loader->prng, 500) + 1,
                         .output = (int64_t)qd_prng_below(&loader->prng, 200)};
    (void)snprintf(r->request_id, sizeof r->request_id, "r%" PRIu64, loader->requests++);
}

/* Reserve for it; without an answer, or denied, it will be post-paid. */
static void reserve(struct loader *loader, struct report *r)
{
    struct quota_amount estimate[] = {{"input_tokens", r->input}};
    struct quota_check check = {.tenant = r->tenant,
                                .model = "m",
                                .request_id = r->request_id,
                                .estimate = estimate,
                                .estimate_count = 1,
                                .max_output_tokens = 200,
                                .max_output_tokens_given = true};
    struct quota_check_answer answer;
    if (quota_client_check(loader->client, &check, NULL, &answer) == QUOTA_OK &&
        answer.reservation.token != NULL) {
        (void)snprintf(r->token, sizeof r->token, "%s", answer.reservation.token);
    }
    quota_check_answer_release(&answer);
}

/* A request's usage in parts, in some order: the last one sent need not be the final one. */
static void deliver_parts(struct loader *loader, const struct report *whole)
{
    uint32_t order[PARTS] = {0, 1, 2};
    for (uint32_t i = PARTS - 1; i > 0; i--) {
        uint32_t j = (uint32_t)qd_prng_below(&loader->prng, i + 1);
        uint32_t other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    for (uint32_t i = 0; i < PARTS && !atomic_load(&failed); i++) {
        struct report part = *whole;
        part.sequence = order[i];
        part.partial = order[i] + 1 < PARTS;
        part.input += order[i];
        deliver(loader, &part, true);
    }
}

/* One key that several threads report at the same time, with the same content. */
static void race(struct loader *loader)
{
    struct report r = {.tenant = "acme", .source = "race"};
    int64_t round = now_ns() / RACE_NS;
    r.input = round % 997 + 1;
    (void)snprintf(r.request_id, sizeof r.request_id, "race%" PRId64, round);
    deliver(loader, &r, false);
}

/* What was acknowledged is sent again: the first answer, whatever happened since (S6). */
static void repeat(struct loader *loader)
{
    const struct report *r = &loader->recent[qd_prng_below(&loader->prng, loader->recent_count)];
    struct quota_report_answer answer;
    if (!send_until_answered(loader, r, &answer)) {
        return;
    }
    if (answer.error.status != QUOTA_OK) {
        complain(r, "a retry is refused: %s", answer.error.message);
    } else if (!answer.duplicate || answer.entry_sequence != r->booked_as) {
        complain(r, "a retry is booked as entry %" PRIu64 "%s: the first one is lost",
                 answer.entry_sequence, answer.duplicate ? " (duplicate)" : "");
    }
    quota_report_answer_release(&answer);
}

/* The same key with other content books nothing. */
static void contradict(struct loader *loader)
{
    struct report r = loader->recent[qd_prng_below(&loader->prng, loader->recent_count)];
    struct quota_report_answer answer;
    r.input += 1000;
    if (!send_until_answered(loader, &r, &answer)) {
        return;
    }
    if (answer.error.status != QUOTA_CONFLICT) {
        complain(&r, "other content under its key is no conflict: status %s, %s",
                 quota_status_name(answer.error.status), answer.error.message);
    }
    quota_report_answer_release(&answer);
}

static void *load_main(void *argument)
{
    struct loader *loader = argument;
    struct report r;
    while (!atomic_load(&stop)) {
        uint64_t draw = qd_prng_below(&loader->prng, 100);
        connect_again(loader);
        if (draw < 10 && loader->recent_count > 0) {
            repeat(loader);
        } else if (draw < 15 && loader->recent_count > 0) {
            contradict(loader);
        } else if (draw < 25) {
            race(loader);
        } else {
            begin_report(loader, &r);
            if (draw < 70) {
                reserve(loader, &r);
            }
            if (draw < 40) {
                deliver_parts(loader, &r);
            } else {
                deliver(loader, &r, true);
            }
        }
    }
    quota_client_free(loader->client);
    return NULL;
}

static void on_term(int signal)
{
    (void)signal;
    atomic_store(&stop, true);
}

static void start(struct loader *loader, unsigned number, char **argv)
{
    char path[4096];
    *loader = (struct loader){.number = number, .address_file = argv[1]};
    (void)snprintf(loader->source, sizeof loader->source, "g%u", number);
    (void)snprintf(path, sizeof path, "%s.%u", argv[2], number);
    loader->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    qd_prng_init(&loader->prng, strtoull(argv[4], NULL, 10) * THREADS_MAX + number);
    connect_again(loader);
    if (loader->log < 0 || loader->client == NULL ||
        pthread_create(&loader->thread, NULL, load_main, loader) != 0) {
        (void)fprintf(stderr, "ledger_load: cannot start: %s, %s\n", path, argv[1]);
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    static struct loader loaders[THREADS_MAX];
    unsigned threads = argc == 5 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if (threads == 0 || threads > THREADS_MAX) {
        (void)fprintf(stderr, "usage: ledger_load ADDRESS_FILE LOG THREADS(1-%d) SEED\n",
                      THREADS_MAX);
        return 64;
    }
    (void)signal(SIGTERM, on_term);
    for (unsigned i = 0; i < threads; i++) {
        start(&loaders[i], i, argv);
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(loaders[i].thread, NULL);
    }
    (void)printf("%llu acknowledged\n", (unsigned long long)atomic_load(&acknowledged));
    return atomic_load(&failed) ? EXIT_FAILURE : EXIT_SUCCESS;
}
