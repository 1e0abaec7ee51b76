#include "server/admin/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIGURES(X)       \
    X(checks_allowed)    \
    X(checks_denied)     \
    X(checks_failed)     \
    X(unknown_tenant)    \
    X(blocked)           \
    X(draining)          \
    X(reports)           \
    X(reports_duplicate) \
    X(reports_failed)    \
    X(reports_late)      \
    X(extends)           \
    X(cancels)           \
    X(undelivered)       \
    X(binds)             \
    X(bind_full)         \
    X(evictions)         \
    X(restores)          \
    X(failed_open)       \
    X(unreadable)        \
    X(unsettled)         \
    X(rls_ok)            \
    X(rls_over)          \
    X(rls_unlimited)     \
    X(bad_requests)

void qd_figures_sum(struct qd_node *node, struct qd_figures *ret_figures)
{
    struct qd_figures sum = {0};
    pthread_mutex_lock(&node->workers_lock);
    for (struct qd_worker *w = node->workers; w; w = w->next) {
#define ADD(field) sum.field += atomic_load_explicit(&w->figures.field, memory_order_relaxed);
        FIGURES(ADD)
#undef ADD
    }
    pthread_mutex_unlock(&node->workers_lock);
    *ret_figures = sum;
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void labelled(FILE *out, const char *name, const char *label, const char *word,
                     uint64_t value)
{
    fprintf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, word, value);
}

static void add_stats(struct qd_core_stats *sum, const struct qd_core_stats *s)
{
    sum->settled += s->settled;
    sum->expired += s->expired;
    sum->stopped += s->stopped;
    sum->shadow_denied += s->shadow_denied;
    sum->capacity_denied += s->capacity_denied;
    sum->events_lost += s->events_lost;
    sum->kept_forgotten += s->kept_forgotten;
    sum->states_lost += s->states_lost;
    for (size_t i = 0; i < sizeof(sum->counters_live) / sizeof(sum->counters_live[0]); i++) {
        sum->counters_live[i] += s->counters_live[i];
    }
    sum->bindings_live += s->bindings_live;
    sum->reservations_open += s->reservations_open;
    sum->reservations_kept += s->reservations_kept;
    sum->roots_live += s->roots_live;
    sum->estimators_live += s->estimators_live;
    sum->name_bytes_used += s->name_bytes_used;
}

static void sum_stats(struct qd_node *node, struct qd_core_stats *ret_sum)
{
    memset(ret_sum, 0, sizeof(*ret_sum));
    for (uint32_t i = 0; i <= node->shards.count; i++) {
        bool is_home = i < node->shards.count;
        struct qd_shard *shard = is_home ? &node->shards.home[i] : &node->shards.commons;
        struct qd_core_stats stats;
        pthread_mutex_lock(&shard->lock);
        qd_core_stats(shard->core, &stats);
        pthread_mutex_unlock(&shard->lock);
        add_stats(ret_sum, &stats);
    }
}

static void write_requests(FILE *out, const struct qd_figures *f)
{
    head(out, "quotad_checks_total", "counter", "Checks answered, by verdict.");
    labelled(out, "quotad_checks_total", "verdict", "allowed", f->checks_allowed);
    labelled(out, "quotad_checks_total", "verdict", "denied", f->checks_denied);
    labelled(out, "quotad_checks_total", "verdict", "error", f->checks_failed);
    head(out, "quotad_denials_total", "counter",
         "Checks denied before any limit was looked at, by reason.");
    labelled(out, "quotad_denials_total", "reason", "unknown_tenant", f->unknown_tenant);
    labelled(out, "quotad_denials_total", "reason", "blocked", f->blocked);
    labelled(out, "quotad_denials_total", "reason", "draining", f->draining);
    head(out, "quotad_reports_total", "counter", "Reports answered, by what became of them.");
    labelled(out, "quotad_reports_total", "result", "booked", f->reports);
    labelled(out, "quotad_reports_total", "result", "duplicate", f->reports_duplicate);
    labelled(out, "quotad_reports_total", "result", "error", f->reports_failed);
    one(out, "quotad_reports_late_total", "counter",
        "Reports whose reservation had been closed or had expired.", f->reports_late);
    one(out, "quotad_reports_unsettled_total", "counter",
        "Reports that are booked, but whose limits could not be found any more: no counter took "
        "them.",
        f->unsettled);
    one(out, "quotad_extends_total", "counter", "Reservations extended.", f->extends);
    one(out, "quotad_cancels_total", "counter", "Reservations cancelled.", f->cancels);
    one(out, "quotad_undelivered_total", "counter",
        "Allowed answers that could not be delivered; their holds were given back.",
        f->undelivered);
    head(out, "quotad_rls_descriptors_total", "counter",
         "Descriptors of Envoy's rate limit service, by what they met: room in their limit, none, "
         "or "
         "no limit.");
    labelled(out, "quotad_rls_descriptors_total", "result", "ok", f->rls_ok);
    labelled(out, "quotad_rls_descriptors_total", "result", "over_limit", f->rls_over);
    labelled(out, "quotad_rls_descriptors_total", "result", "no_limit", f->rls_unlimited);
    one(out, "quotad_bad_requests_total", "counter", "Requests refused as invalid.",
        f->bad_requests);
    one(out, "quotad_failed_open_total", "counter",
        "Checks let through by a limit's failure mode `open`.", f->failed_open);
}

static void write_tables(FILE *out, const struct qd_figures *f, const struct qd_core_stats *s)
{
    static const char *const kinds[] = {"narrow_window", "wide_window", "bucket", "gauge"};
    head(out, "quotad_counters", "gauge", "Live counters in memory, by kind.");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        labelled(out, "quotad_counters", "kind", kinds[i], s->counters_live[i]);
    }
    one(out, "quotad_bindings", "gauge", "Cached bindings.", s->bindings_live);
    one(out, "quotad_reservations_open", "gauge", "Open reservations.", s->reservations_open);
    one(out, "quotad_reservations_kept", "gauge",
        "Expired reservations that stay charged until a report or their window's end.",
        s->reservations_kept);
    one(out, "quotad_roots", "gauge", "Root tenants in memory.", s->roots_live);
    one(out, "quotad_reservations_expired_total", "counter", "Holds that ended unreported.",
        s->expired);
    one(out, "quotad_shadow_denials_total", "counter",
        "Checks that a shadow limit would have denied.", s->shadow_denied);
    one(out, "quotad_stopped_total", "counter", "Extensions answered with stop.", s->stopped);
    one(out, "quotad_capacity_denials_total", "counter", "Checks denied because a table was full.",
        s->capacity_denied);
    one(out, "quotad_reservations_kept_forgotten_total", "counter",
        "Expired reservations that were forgotten before a report came, because the table was "
        "full; their charge stays, a late report is booked without them.",
        s->kept_forgotten);
    one(out, "quotad_counter_states_lost_total", "counter",
        "States of evicted counters that the store gave back damaged or not at all; those "
        "counters began empty.",
        s->states_lost);
    one(out, "quotad_counter_states_unreadable_total", "counter",
        "Bindings that did without a limit, by its failure mode, because the store could not be "
        "read for what its evicted counter had.",
        f->unreadable);
    one(out, "quotad_bindings_made_total", "counter", "Bindings resolved from the policy.",
        f->binds);
    one(out, "quotad_bindings_failed_total", "counter", "Bindings that found a table full.",
        f->bind_full);
    one(out, "quotad_evictions_total", "counter", "Counters moved from memory to the store.",
        f->evictions);
    one(out, "quotad_restores_total", "counter", "Counters moved back from the store.",
        f->restores);
}

struct top_root {
    char name[sizeof(((struct qd_root_count *)NULL)->name)];
    uint64_t allowed;
    uint64_t denied;
};

struct top {
    struct top_root *roots; /* a heap would do; a sorted array of at most 1000 is simpler */
    size_t count;
    size_t max;
    uint64_t other_allowed;
    uint64_t other_denied;
};

static uint64_t total(const struct top_root *root)
{
    return root->allowed + root->denied;
}

/* Insert in descending order; what falls off the end is `other`. */
static void top_add(struct top *top, const struct qd_root_count *count)
{
    struct top_root root = {.allowed = count->allowed, .denied = count->denied};
    memcpy(root.name, count->name, sizeof(root.name));
    size_t at = top->count;
    while (at > 0 && total(&top->roots[at - 1]) < total(&root)) {
        at--;
    }
    if (at == top->max) {
        top->other_allowed += root.allowed;
        top->other_denied += root.denied;
        return;
    }
    if (top->count == top->max) {
        top->count--;
        top->other_allowed += top->roots[top->count].allowed;
        top->other_denied += top->roots[top->count].denied;
    }
    memmove(&top->roots[at + 1], &top->roots[at], (top->count - at) * sizeof(root));
    top->roots[at] = root;
    top->count++;
}

static void top_collect(struct qd_node *node, struct top *top)
{
    for (uint32_t i = 0; i < node->shards.count; i++) {
        struct qd_shard *shard = &node->shards.home[i];
        pthread_mutex_lock(&shard->lock);
        for (uint32_t r = 0; r < QD_ROOT_COUNTS; r++) {
            if (shard->roots[r].hash != 0) {
                top_add(top, &shard->roots[r]);
            }
        }
        top->other_allowed += shard->other_allowed;
        top->other_denied += shard->other_denied;
        pthread_mutex_unlock(&shard->lock);
    }
}

/* Names are path segments (P2): nothing in them needs escaping. */
static void write_tenant(FILE *out, const char *tenant, uint64_t allowed, uint64_t denied)
{
    static const char name[] = "quotad_tenant_checks_total";
    fprintf(out, "%s{tenant=\"%s\",verdict=\"allowed\"} %" PRIu64 "\n", name, tenant, allowed);
    fprintf(out, "%s{tenant=\"%s\",verdict=\"denied\"} %" PRIu64 "\n", name, tenant, denied);
}

static void write_tenants(struct qd_node *node, size_t max, FILE *out)
{
    struct top top = {.max = max < QD_METRICS_TOP_MAX ? max : QD_METRICS_TOP_MAX};
    top.roots = calloc(top.max + 1, sizeof(*top.roots));
    if (!top.roots) {
        return; /* a scrape without these series */
    }
    top_collect(node, &top);
    head(out, "quotad_tenant_checks_total", "counter",
         "Checks by root tenant: the busiest ones, all others as `other`.");
    for (size_t i = 0; i < top.count; i++) {
        write_tenant(out, top.roots[i].name, top.roots[i].allowed, top.roots[i].denied);
    }
    write_tenant(out, "other", top.other_allowed, top.other_denied);
    free(top.roots);
}

static void write_ledger(struct qd_node *node, FILE *out)
{
    struct qd_ledger_status status;
    qd_ledger_status(node->ledger, &status);
    one(out, "quotad_ledger_sequence", "gauge", "Sequence number of the last ledger entry.",
        status.watermark.sequence);
    one(out, "quotad_ledger_complete_through_seconds", "gauge",
        "Every entry recorded up to here is in, Unix time; stands still while the store fails.",
        (uint64_t)(status.watermark.complete_through.ns / QD_NS_PER_S));
    one(out, "quotad_ledger_groups_total", "counter", "Synced batches written.", status.groups);
    one(out, "quotad_ledger_errors_total", "counter", "Bookings that the store refused.",
        status.store_errors);
    one(out, "quotad_ledger_expired_entries", "gauge", "Entries that ledger_retention has deleted.",
        status.expired.through);
    one(out, "quotad_ledger_expired_keys_through", "gauge",
        "Idempotency keys of reports up to this entry are deleted.", status.expired.keys_through);
    one(out, "quotad_ledger_failed", "gauge", "1 while reports are refused: the store fails.",
        status.failed ? 1 : 0);
}

static void write_snapshots(struct qd_node *node, FILE *out)
{
    const struct qd_snapshot_figures *s = &node->snapshot;
    one(out, "quotad_snapshot_rounds_total", "counter",
        "Times that all counters and reservations that had changed were stored.",
        atomic_load_explicit(&s->rounds, memory_order_relaxed));
    one(out, "quotad_snapshot_bytes_total", "counter", "Bytes written for that.",
        atomic_load_explicit(&s->bytes, memory_order_relaxed));
    one(out, "quotad_snapshot_failures_total", "counter",
        "Writes of them that the store refused; a crash would forget rates since.",
        atomic_load_explicit(&s->failures, memory_order_relaxed));
}

static void write_node(struct qd_node *node, FILE *out)
{
    struct qd_wall_ns since;
    head(out, "quotad_build_info", "gauge", "1; the version is in the label.");
    labelled(out, "quotad_build_info", "version", QD_VERSION, 1);
    one(out, "quotad_start_time_seconds", "gauge", "When this process started, Unix time.",
        (uint64_t)(node->started_at.ns / QD_NS_PER_S));
    one(out, "quotad_policy_reload_failures_total", "counter", "Policies that were refused.",
        atomic_load_explicit(&node->reload_failures, memory_order_relaxed));
    one(out, "quotad_policy_reload_refused", "gauge",
        "1: the last policy was refused, and an older one goes on.",
        atomic_load_explicit(&node->reload_refused, memory_order_relaxed) ? 1 : 0);
    one(out, "quotad_policy_revision", "gauge", "Revision of the policy in force.",
        atomic_load_explicit(&node->revision, memory_order_relaxed));
    one(out, "quotad_draining", "gauge", "1 while the node drains.",
        atomic_load_explicit(&node->draining, memory_order_relaxed) ? 1 : 0);
    head(out, "quotad_clock_step_seconds", "gauge",
         "System clock minus the node's, while a step is not followed; else 0.");
    int64_t step_ms = qd_clock_alarm(&node->clock, &since) / QD_NS_PER_MS;
    int64_t size_ms = step_ms < 0 ? -step_ms : step_ms;
    fprintf(out, "quotad_clock_step_seconds %s%" PRId64 ".%03" PRId64 "\n", step_ms < 0 ? "-" : "",
            size_ms / 1000, size_ms % 1000);
}

static void write_connections(struct qd_node *node, FILE *out)
{
    static const char *const reasons[QD_REFUSAL_COUNT] = {
        [QD_REFUSED_TOTAL] = "max_connections",
        [QD_REFUSED_ADDRESS] = "max_connections_per_address",
        [QD_REFUSED_DESCRIPTORS] = "descriptors",
    };
    const struct qd_connection_figures *c = &node->connections;
    one(out, "quotad_connections", "gauge", "Open gRPC connections.",
        atomic_load_explicit(&c->open, memory_order_relaxed));
    one(out, "quotad_connections_accepted_total", "counter", "gRPC connections accepted.",
        atomic_load_explicit(&c->accepted, memory_order_relaxed));
    head(out, "quotad_connections_refused_total", "counter",
         "gRPC connections closed at once, by the bound that they were over.");
    for (size_t i = 0; i < QD_REFUSAL_COUNT; i++) {
        labelled(out, "quotad_connections_refused_total", "reason", reasons[i],
                 atomic_load_explicit(&c->refused[i], memory_order_relaxed));
    }
}

static void write_events(struct qd_node *node, const struct qd_core_stats *s, FILE *out)
{
    static const char *const kinds[QD_EVENT_KINDS] = {
        [QD_EVENT_THRESHOLD] = "threshold",
        [QD_EVENT_EXPIRED] = "expired",
        [QD_EVENT_FULL] = "table_full",
        [QD_EVENT_CORRECTION] = "correction",
    };
    head(out, "quotad_events_total", "counter",
         "Events told, by kind. Of holds that expire together only some are told one by one: "
         "quotad_reservations_expired_total counts all.");
    for (size_t i = 0; i < QD_EVENT_KINDS; i++) {
        labelled(out, "quotad_events_total", "kind", kinds[i],
                 atomic_load_explicit(&node->broadcast.told[i], memory_order_relaxed));
    }
    one(out, "quotad_events_lost_total", "counter",
        "Events that came faster than they could be told to anybody.", s->events_lost);
    one(out, "quotad_event_watchers", "gauge", "Open WatchEvents streams.",
        qd_broadcast_watchers(&node->broadcast));
    one(out, "quotad_event_watchers_lost_total", "counter",
        "Events that watchers missed because they read too slowly.",
        atomic_load_explicit(&node->broadcast.lost, memory_order_relaxed));
}

void qd_metrics_write(struct qd_node *node, size_t top, FILE *out)
{
    struct qd_figures figures;
    struct qd_core_stats stats;
    qd_figures_sum(node, &figures);
    sum_stats(node, &stats);
    write_node(node, out);
    write_connections(node, out);
    write_requests(out, &figures);
    write_tables(out, &figures, &stats);
    write_tenants(node, top, out);
    write_events(node, &stats, out);
    write_ledger(node, out);
    write_snapshots(node, out);
}
