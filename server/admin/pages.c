#include "server/admin/pages.h"

#include "server/admin/dial.h"
#include "server/admin/metrics.h"

#include <inttypes.h>

#define HTTP_OK          200U
#define HTTP_UNAVAILABLE 503U

static uint64_t refusals(const struct qd_node *node)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < QD_REFUSAL_COUNT; i++) {
        sum += atomic_load_explicit(&node->connections.refused[i], memory_order_relaxed);
    }
    return sum;
}

/* X3: who is told that there is no room for him was accepted, by a listener that does not hang. A
 * restart would help nobody but the flood. */
static unsigned live(void *context, const struct qd_http_request *request, FILE *body)
{
    (void)request;
    const struct qd_loop_config *config = context;
    char error[256];
    uint64_t before = refusals(config->node);
    if (!(config->grpc_tls ? qd_dial_tls : qd_dial_http2)(config->grpc_host, config->grpc_port,
                                                          error, sizeof(error))) {
        if (refusals(config->node) != before) {
            fputs("ok, but connections are refused: see quotad_connections_refused_total\n", body);
            return HTTP_OK;
        }
        fprintf(body, "%s\n", error);
        return HTTP_UNAVAILABLE;
    }
    fputs("ok\n", body);
    return HTTP_OK;
}

/* One line of /readyz?verbose; the form is that of Kubernetes' own health pages. */
static bool check(FILE *body, bool verbose, bool good, const char *name, const char *detail)
{
    if (verbose || !good) {
        fprintf(body, "[%c]%s %s%s%s\n", good ? '+' : '-', name, good ? "ok" : "failed",
                *detail ? ": " : "", detail);
    }
    return good;
}

static bool check_policy(struct qd_node *node, FILE *body, bool verbose)
{
    char detail[128] = "";
    uint64_t revision = atomic_load_explicit(&node->revision, memory_order_relaxed);
    if (revision > 0) {
        /* An older policy that goes on is no reason to take the node out. But said. */
        bool refused = atomic_load_explicit(&node->reload_refused, memory_order_relaxed);
        snprintf(detail, sizeof(detail), "r%" PRIu64 "%s", revision,
                 refused ? "; its newer file was refused, the log says why" : "");
    }
    return check(body, verbose, revision > 0, "policy", detail);
}

static bool check_ledger(struct qd_node *node, FILE *body, bool verbose)
{
    struct qd_ledger_status status;
    char detail[sizeof(status.failure.text) + 128] = "";
    qd_ledger_status(node->ledger, &status);
    if (status.failed) { /* X4 */
        /* RocksDB takes up again by itself after a full disk, and after nothing else. */
        snprintf(detail, sizeof(detail), "%s; reports are refused until %s, checks go on",
                 status.failure.text,
                 status.failure.code == QD_STORE_FULL
                     ? "it can write"
                     : "the disk is well and the node is started again");
    }
    if (status.damage.code != QD_STORE_OK) {
        /* No reason to take the node out: it is about reports that were booked before. */
        fprintf(body, "[!]ledger damaged: %s; reports that need it are refused, restore a backup\n",
                status.damage.text);
    }
    return check(body, verbose, !status.failed, "ledger", detail);
}

/* Not a reason to take the node out: it goes on by its own clock. But said. */
static void check_clock(struct qd_node *node, FILE *body, bool verbose)
{
    struct qd_wall_ns since;
    int64_t step_ns = qd_clock_alarm(&node->clock, &since);
    if (step_ns != 0) {
        fprintf(body,
                "[!]clock the system's clock stepped by %" PRId64
                " ms; the node goes on by its own, restart it to follow\n",
                step_ns / QD_NS_PER_MS);
    } else if (verbose) {
        fputs("[+]clock ok\n", body);
    }
}

static unsigned ready(void *context, const struct qd_http_request *request, FILE *body)
{
    const struct qd_loop_config *config = context;
    struct qd_node *node = config->node;
    bool draining = atomic_load_explicit(&node->draining, memory_order_relaxed) ||
                    atomic_load_explicit(&node->leaving, memory_order_relaxed);
    bool good = check(body, request->verbose, !draining, "serving", draining ? "draining" : "");
    good = check_policy(node, body, request->verbose) && good;
    good = check_ledger(node, body, request->verbose) && good;
    check_clock(node, body, request->verbose);
    fputs(good ? "ready\n" : "not ready\n", body);
    return good ? HTTP_OK : HTTP_UNAVAILABLE;
}

static unsigned metrics(void *context, const struct qd_http_request *request, FILE *body)
{
    (void)request;
    const struct qd_loop_config *config = context;
    qd_metrics_write(config->node, config->metrics_tenants, body);
    return HTTP_OK;
}

static unsigned debug_config(void *context, const struct qd_http_request *request, FILE *body)
{
    (void)request;
    const struct qd_loop_config *config = context;
    fputs(config->config_text, body);
    return HTTP_OK;
}

static unsigned rate_limits(void *context, const struct qd_http_request *request, FILE *body)
{
    (void)request;
    const struct qd_loop_config *config = context;
    if (!config->show_rls || !config->show_rls(config->context, body)) {
        fputs("not just now: the node stops, or is very busy\n", body);
        return HTTP_UNAVAILABLE;
    }
    return HTTP_OK;
}

#define TEXT "text/plain; charset=utf-8"
const struct qd_http_page qd_pages[] = {
    {"/livez", TEXT, live},
    {"/readyz", TEXT, ready},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics},
    {"/debug/config", TEXT, debug_config},
    {"/rlconfig", TEXT, rate_limits}, /* as the reference server's debug port has it */
    {NULL, NULL, NULL},
};
