/* kill -9 at random instants: by the writer's own log every acknowledged report is there, exactly
 * once. QD_LONG asks for more of them. ctest-timeout: 600 */
#include "server/ledger/ledger.h"
#include "server/ledger/scan.h"
#include "server/ledger/verify.h"
#include "storage/store_rocksdb.h"
#include "tests/lib/prng.h"
#include "tests/lib/tempdir.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS      12
#define ROUNDS_LONG 60
#define WRITERS     4
#define REPORTS_MAX 1000000
#define NOW_NS      (INT64_C(1790000000) * QD_NS_PER_S)

struct node {
    struct qd_store *store;
    struct qd_ledger *ledger;
};

static bool open_node(const char *path, struct node *ret_node)
{
    struct qd_store_rocksdb_config config = {.path = path};
    struct qd_ledger_config ledger = {0};
    struct qd_store_error error = {0};
    if (qd_store_rocksdb_open(&config, &ret_node->store, &error) != QD_STORE_OK ||
        qd_ledger_open(ret_node->store, &ledger, &ret_node->ledger, &error) != QD_STORE_OK) {
        fprintf(stderr, "%s\n", error.text);
        return false;
    }
    return true;
}

static void close_node(struct node *node)
{
    qd_ledger_close(node->ledger);
    qd_store_close(node->store);
}

/* What the writer tells the test about an acknowledged report: one atomic write to the pipe. */
struct acknowledgement {
    uint32_t request;
    uint64_t sequence;
};

struct writer {
    struct node *node;
    int pipe;
    uint32_t first; /* requests first, first + WRITERS, ... */
};

static enum qd_book_result report(struct qd_ledger *ledger, uint32_t request,
                                  struct qd_receipt *receipt)
{
    char request_id[16];
    (void)snprintf(request_id, sizeof request_id, "k%u", request);
    struct qd_entry entry = {
        .kind = QD_ENTRY_USAGE,
        .event_time = {NOW_NS},
        .charged_time = {NOW_NS},
        .tenant = qd_slice_of("acme"),
        .request_id = qd_slice_of(request_id),
        .quantities = {{qd_slice_of("requests"), 1}},
        .quantity_count = 1,
    };
    struct qd_booking booking = {.entry = &entry, .now = {NOW_NS}};
    return qd_ledger_book(ledger, &booking, receipt);
}

static void *write_main(void *argument)
{
    struct writer *writer = argument;
    struct qd_receipt receipt;
    qd_receipt_init(&receipt);
    for (uint32_t request = writer->first; request < REPORTS_MAX; request += WRITERS) {
        if (report(writer->node->ledger, request, &receipt) != QD_BOOK_BOOKED) {
            _exit(3);
        }
        struct acknowledgement said = {request, receipt.sequence};
        if (write(writer->pipe, &said, sizeof said) != sizeof said) {
            _exit(4);
        }
    }
    return NULL;
}

static void write_until_killed(const char *path, int pipe, uint32_t first)
{
    struct node node;
    pthread_t thread;
    struct writer writers[WRITERS];
    if (!open_node(path, &node)) {
        _exit(2);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&node, pipe, first + i};
        if (pthread_create(&thread, NULL, write_main, &writers[i]) != 0) {
            _exit(5);
        }
    }
    (void)pause();
    _exit(6);
}

static uint64_t acknowledged[REPORTS_MAX]; /* request -> sequence */

static void read_log(int pipe, uint32_t *ret_next, size_t *ret_count)
{
    struct acknowledgement said;
    while (read(pipe, &said, sizeof said) == sizeof said) {
        acknowledged[said.request] = said.sequence;
        *ret_next = said.request >= *ret_next ? said.request + 1 : *ret_next;
        ++*ret_count;
    }
}

static bool check_entry(void *context, const struct qd_entry *entry)
{
    uint64_t *seen = context;
    uint32_t request = (uint32_t)strtoul(entry->request_id.ptr + 1, NULL, 10);
    cr_assert_eq(seen[request], 0, "request %u is booked twice", request);
    seen[request] = entry->sequence;
    return true;
}

static void check_node(const char *path, size_t count)
{
    struct node node;
    uint64_t last;
    struct qd_verify_report verified;
    uint64_t *seen = calloc(REPORTS_MAX, sizeof *seen);
    cr_assert(open_node(path, &node));
    cr_assert_eq(qd_ledger_visit(node.ledger, 0, 0, check_entry, seen, &last, NULL), QD_STORE_OK);
    for (size_t i = 0; i < REPORTS_MAX; i++) {
        cr_assert(acknowledged[i] == 0 || seen[i] == acknowledged[i], "request %zu is lost", i);
    }
    cr_assert_eq(qd_ledger_verify(node.ledger, &verified, NULL), QD_STORE_OK);
    cr_assert(verified.clean, "%s", verified.difference);
    cr_assert_geq(verified.entries, count);
    cr_assert_eq(last, verified.entries);
    close_node(&node);
    free(seen);
}

Test(kill, X5_every_acknowledged_report_survives_kill_9, .timeout = 600)
{
    struct qd_prng prng;
    struct qd_tempdir dir;
    size_t count = 0;
    uint32_t next = 0;
    qd_prng_init(&prng, qd_prng_seed("kill", 41));
    qd_tempdir_init(&dir);
    int rounds = getenv("QD_LONG") != NULL ? ROUNDS_LONG : ROUNDS;
    /* A slow disk takes more of them. */
    for (int round = 0; round < rounds || (count <= 100 && round < 10 * rounds); round++) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            write_until_killed(dir.path, ends[1], next);
        }
        close(ends[1]);
        struct timespec nap = {.tv_nsec = qd_prng_between(&prng, 1, 400) * QD_NS_PER_MS};
        nanosleep(&nap, NULL);
        cr_assert_eq(kill(child, SIGKILL), 0);
        read_log(ends[0], &next, &count);
        close(ends[0]);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "the writer ended by itself: %d", WEXITSTATUS(status));
        check_node(dir.path, count);
        next += 2 * WRITERS; /* beyond those that were under way unacknowledged */
    }
    cr_assert_gt(count, 100);
    qd_tempdir_release(&dir);
}
