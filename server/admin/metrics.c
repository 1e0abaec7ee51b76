#include "server/admin/metrics.h"

#include "server/admin/exposition.h"
#include "server/admin/metrics_parts.h"
#include "server/admin/process.h"
#include "server/net/gate.h"
#include "server/shard/rls_stats.h"

#include <inttypes.h>
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
    X(rls_unknown)       \
    X(rls_shadowed)      \
    X(rls_full)          \
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
    qd_expose_head(out, "quotad_checks_total", "counter", "Checks answered, by verdict.");
    qd_expose_labelled(out, "quotad_checks_total", "verdict", "allowed", f->checks_allowed);
    qd_expose_labelled(out, "quotad_checks_total", "verdict", "denied", f->checks_denied);
    qd_expose_labelled(out, "quotad_checks_total", "verdict", "error", f->checks_failed);
    qd_expose_head(out, "quotad_denials_total", "counter",
                   "Checks denied before any limit was looked at, by reason.");
    qd_expose_labelled(out, "quotad_denials_total", "reason", "unknown_tenant", f->unknown_tenant);
    qd_expose_labelled(out, "quotad_denials_total", "reason", "blocked", f->blocked);
    qd_expose_labelled(out, "quotad_denials_total", "reason", "draining", f->draining);
    qd_expose_head(out, "quotad_reports_total", "counter",
                   "Reports answered, by what became of them.");
    qd_expose_labelled(out, "quotad_reports_total", "result", "booked", f->reports);
    qd_expose_labelled(out, "quotad_reports_total", "result", "duplicate", f->reports_duplicate);
    qd_expose_labelled(out, "quotad_reports_total", "result", "error", f->reports_failed);
    qd_expose_one(out, "quotad_reports_late_total", "counter",
                  "Reports whose reservation had been closed or had expired.", f->reports_late);
    qd_expose_one(
        out, "quotad_reports_unsettled_total", "counter",
        "Reports that are booked, but whose limits could not be found any more: no counter took "
        "them.",
        f->unsettled);
    qd_expose_one(out, "quotad_extends_total", "counter", "Reservations extended.", f->extends);
    qd_expose_one(out, "quotad_cancels_total", "counter", "Reservations cancelled.", f->cancels);
    qd_expose_one(out, "quotad_undelivered_total", "counter",
                  "Allowed answers that could not be delivered; their holds were given back.",
                  f->undelivered);
    qd_expose_head(
        out, "quotad_rls_descriptors_total", "counter",
        "Descriptors of Envoy's rate limit service, by what they met: room in their limit, none, "
        "no limit, or a domain that no file has.");
    qd_expose_labelled(out, "quotad_rls_descriptors_total", "result", "ok", f->rls_ok);
    qd_expose_labelled(out, "quotad_rls_descriptors_total", "result", "over_limit", f->rls_over);
    qd_expose_labelled(out, "quotad_rls_descriptors_total", "result", "no_limit", f->rls_unlimited);
    qd_expose_labelled(out, "quotad_rls_descriptors_total", "result", "unknown_domain",
                       f->rls_unknown);
    qd_expose_one(out, "quotad_rls_shadowed_total", "counter",
                  "ShouldRateLimit calls that --rls-shadow answered with OK though they were over.",
                  f->rls_shadowed);
    qd_expose_one(out, "quotad_rls_full_total", "counter",
                  "Descriptors of Envoy's rate limit service that --rls-when-full denied for want "
                  "of room for a counter; they are among the over_limit ones.",
                  f->rls_full);
    qd_expose_one(out, "quotad_bad_requests_total", "counter", "Requests refused as invalid.",
                  f->bad_requests);
    qd_expose_one(out, "quotad_failed_open_total", "counter",
                  "Checks let through by a limit's failure mode `open`.", f->failed_open);
}

/* How many there may be; commons' few places are left out. Alerts compare them with what there is.
 */
static void write_capacities(const struct qd_node *node, FILE *out)
{
    const struct qd_core_config *slice = &node->shards.capacity;
    uint64_t slices = node->shards.count;

    qd_expose_head(
        out, "quotad_counters_max", "gauge",
        "Places for counters, by kind; a fixed window, a budget or a concurrency is a gauge.");
    qd_expose_labelled(out, "quotad_counters_max", "kind", "narrow_window",
                       slice->narrow_windows * slices);
    qd_expose_labelled(out, "quotad_counters_max", "kind", "wide_window",
                       slice->wide_windows * slices);
    qd_expose_labelled(out, "quotad_counters_max", "kind", "bucket", slice->buckets * slices);
    qd_expose_labelled(out, "quotad_counters_max", "kind", "gauge", slice->gauges * slices);
    qd_expose_one(out, "quotad_bindings_max", "gauge", "Places for bindings.",
                  slice->bindings * slices);
    qd_expose_one(out, "quotad_reservations_max", "gauge", "Places for open reservations.",
                  slice->reservations * slices);
}

static void write_tables(FILE *out, const struct qd_figures *f, const struct qd_core_stats *s)
{
    static const char *const kinds[] = {"narrow_window", "wide_window", "bucket", "gauge"};
    qd_expose_head(
        out, "quotad_counters", "gauge",
        "Live counters in memory, by kind; a fixed window, a budget or a concurrency is a gauge.");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        qd_expose_labelled(out, "quotad_counters", "kind", kinds[i], s->counters_live[i]);
    }
    qd_expose_one(out, "quotad_bindings", "gauge", "Cached bindings.", s->bindings_live);
    qd_expose_one(out, "quotad_reservations_open", "gauge", "Open reservations.",
                  s->reservations_open);
    qd_expose_one(out, "quotad_reservations_kept", "gauge",
                  "Expired reservations that stay charged until a report or their window's end.",
                  s->reservations_kept);
    qd_expose_one(out, "quotad_roots", "gauge", "Root tenants in memory.", s->roots_live);
    qd_expose_one(out, "quotad_reservations_expired_total", "counter",
                  "Holds that ended unreported.", s->expired);
    qd_expose_one(out, "quotad_shadow_denials_total", "counter",
                  "Checks that a shadow limit would have denied.", s->shadow_denied);
    qd_expose_one(out, "quotad_stopped_total", "counter", "Extensions answered with stop.",
                  s->stopped);
    qd_expose_one(out, "quotad_capacity_denials_total", "counter",
                  "Checks denied because a table was full.", s->capacity_denied);
    qd_expose_one(
        out, "quotad_reservations_kept_forgotten_total", "counter",
        "Expired reservations that were forgotten before a report came, because the table was "
        "full; their charge stays, a late report is booked without them.",
        s->kept_forgotten);
    qd_expose_one(
        out, "quotad_evicted_states_lost_total", "counter",
        "States of evicted counters that the store gave back damaged or not at all; those "
        "counters began empty.",
        s->states_lost);
    qd_expose_one(
        out, "quotad_evicted_states_unreadable_total", "counter",
        "Bindings that did without a limit, by its failure mode, because the store could not be "
        "read for what its evicted counter had.",
        f->unreadable);
    qd_expose_one(out, "quotad_bindings_made_total", "counter",
                  "Bindings resolved from the policy.", f->binds);
    qd_expose_one(out, "quotad_bindings_failed_total", "counter",
                  "Bindings that found a table full, and nothing that could make room.",
                  f->bind_full);
    qd_expose_one(out, "quotad_evictions_total", "counter",
                  "Counters moved from memory to the store.", f->evictions);
    qd_expose_one(out, "quotad_restores_total", "counter", "Counters moved back from the store.",
                  f->restores);
}

/* Without --rls-config there is no such series: 0 domains would be an alarm. */
static void write_rls(const struct qd_rls_figures *rls, FILE *out)
{
    if (atomic_load_explicit(&rls->in_force, memory_order_acquire)) {
        qd_expose_one(out, "quotad_rls_domains", "gauge",
                      "Domains of --rls-config in force; 0: nothing is limited by its files.",
                      atomic_load_explicit(&rls->domains, memory_order_relaxed));
        qd_expose_one(out, "quotad_rls_rules", "gauge", "Their rate limits.",
                      atomic_load_explicit(&rls->rules, memory_order_relaxed));
    }
}

static void write_policy(struct qd_node *node, FILE *out)
{
    bool refused = atomic_load_explicit(&node->reload_refused, memory_order_relaxed);
    bool old = atomic_load_explicit(&node->rls_is_old, memory_order_relaxed);

    qd_expose_one(out, "quotad_policy_revision", "gauge", "Revision of the policy in force.",
                  atomic_load_explicit(&node->revision, memory_order_relaxed));
    qd_expose_one(out, "quotad_policy_reload_failures_total", "counter",
                  "Policies that were refused.",
                  atomic_load_explicit(&node->reload_failures, memory_order_relaxed));
    qd_expose_one(out, "quotad_policy_last_reload_successful", "gauge",
                  "0: the last policy was refused, and an older one goes on.", refused ? 0 : 1);
    qd_expose_time(out, "quotad_policy_last_reload_success_timestamp_seconds", "gauge",
                   "When a policy was taken last, or found unchanged, Unix time.",
                   atomic_load_explicit(&node->reloaded_at, memory_order_relaxed));
    qd_expose_one(out, "quotad_rls_reload_failures_total", "counter",
                  "Loads of --rls-config that were refused.",
                  atomic_load_explicit(&node->rls_refused, memory_order_relaxed));
    qd_expose_one(out, "quotad_rls_last_reload_successful", "gauge",
                  "0: the last load of --rls-config was refused, and older rate limits go on.",
                  old ? 0 : 1);
    old = atomic_load_explicit(&node->credentials_are_old, memory_order_relaxed);
    qd_expose_one(out, "quotad_credentials_last_reload_successful", "gauge",
                  "0: the last load of --credentials was refused, and older ones go on.",
                  old ? 0 : 1);
}

static void write_process(FILE *out)
{
    struct qd_process process;

    qd_process_read(&process);
    qd_expose_time(out, "process_cpu_seconds_total", "counter",
                   "Processor time that this process has used.", process.cpu_ns);
    qd_expose_time(out, "process_start_time_seconds", "gauge",
                   "When this process started, Unix time.", process.started_ns);
    qd_expose_one(out, "process_resident_memory_bytes", "gauge", "Memory in use.",
                  process.resident_bytes);
    qd_expose_one(out, "process_virtual_memory_bytes", "gauge",
                  "Address space, most of it never used.", process.stat.virtual_bytes);
    qd_expose_one(out, "process_open_fds", "gauge", "Open file descriptors.", process.open_fds);
    qd_expose_one(out, "process_max_fds", "gauge", "How many there may be.", process.max_fds);
    qd_expose_one(out, "process_threads", "gauge", "Threads.", process.stat.threads);
}

/* As /readyz. */
static bool is_ready(struct qd_node *node)
{
    struct qd_ledger_status status;

    qd_ledger_status(node->ledger, &status);
    return !atomic_load_explicit(&node->draining, memory_order_relaxed) &&
           !atomic_load_explicit(&node->leaving, memory_order_relaxed) &&
           atomic_load_explicit(&node->revision, memory_order_relaxed) > 0 && !status.failed;
}

static void write_node(struct qd_node *node, FILE *out)
{
    struct qd_wall_ns since;

    qd_expose_head(out, "quotad_build_info", "gauge", "1; the version is in the label.");
    qd_expose_labelled(out, "quotad_build_info", "version", QD_VERSION, 1);
    qd_expose_one(out, "quotad_ready", "gauge", "1: /readyz says ready.", is_ready(node) ? 1 : 0);
    qd_expose_one(out, "quotad_draining", "gauge", "1 while the node drains.",
                  atomic_load_explicit(&node->draining, memory_order_relaxed) ? 1 : 0);
    qd_expose_time(out, "quotad_clock_step_seconds", "gauge",
                   "System clock minus the node's, while a step is not followed; else 0.",
                   qd_clock_alarm(&node->clock, &since));
}

/* Without TLS there is no such series: an end of 0 would be an alarm. */
static void write_tls(const struct qd_tls_figures *tls, FILE *out)
{
    int64_t ends_s = atomic_load_explicit(&tls->ends_s, memory_order_relaxed);

    if (ends_s != 0) {
        qd_expose_one(out, "quotad_tls_certificate_expiry_timestamp_seconds", "gauge",
                      "Until when the gRPC port's certificate is good, Unix time.",
                      (uint64_t)ends_s);
        qd_expose_one(out, "quotad_tls_last_reload_successful", "gauge",
                      "0: the TLS files have changed and were refused; the certificate before is "
                      "in force.",
                      atomic_load_explicit(&tls->is_old, memory_order_relaxed) ? 0 : 1);
    }
}

static void write_connections(struct qd_node *node, FILE *out)
{
    static const char *const reasons[QD_REFUSAL_COUNT] = {
        [QD_REFUSED_TOTAL] = "max_connections",
        [QD_REFUSED_ADDRESS] = "max_connections_per_address",
        [QD_REFUSED_CUT] = "cut",
        [QD_REFUSED_DESCRIPTORS] = "descriptors",
    };
    const struct qd_connection_figures *c = &node->connections;
    qd_expose_one(out, "quotad_connections", "gauge", "Open gRPC connections.",
                  atomic_load_explicit(&c->open, memory_order_relaxed));
    qd_expose_one(out, "quotad_connections_accepted_total", "counter", "gRPC connections accepted.",
                  atomic_load_explicit(&c->accepted, memory_order_relaxed));
    qd_expose_head(out, "quotad_connections_refused_total", "counter",
                   "gRPC connections closed at once, by the bound that they were over.");
    for (size_t i = 0; i < QD_REFUSAL_COUNT; i++) {
        qd_expose_labelled(out, "quotad_connections_refused_total", "reason", reasons[i],
                           atomic_load_explicit(&c->refused[i], memory_order_relaxed));
    }
    static const char *const cuts[QD_CUT_COUNT] = {
        [QD_CUT_UNANSWERED] = "unanswered",
        [QD_CUT_MEMORY] = "memory",
        [QD_CUT_CALLS] = "calls",
        [QD_CUT_MOST] = "most",
        [QD_CUT_LEFT] = "left",
        [QD_CUT_CAPTIVE] = "captive",
    };
    qd_expose_head(out, "quotad_connections_cut_total", "counter",
                   "gRPC connections cut off because they cost more than they asked for, by cause "
                   "(most: no call object was left, and none had more calls; left: its client had "
                   "gone, as many of its address).");
    for (size_t i = 0; i < QD_CUT_COUNT; i++) {
        qd_expose_labelled(out, "quotad_connections_cut_total", "reason", cuts[i],
                           atomic_load_explicit(&c->cut[i], memory_order_relaxed));
    }
}

_Static_assert(QD_HTTP_CUTS == (unsigned)QD_GATE_CUTS, "the gate counts there");

static void write_http(struct qd_node *node, FILE *out)
{
    static const char name[] = "quotad_http_connections_cut_total";
    static const char *const ports[QD_HTTP_PORTS] = {
        [QD_HTTP_PORT_ADMIN] = "admin",
        [QD_HTTP_PORT_RLS] = "http",
    };
    static const char *const cuts[QD_HTTP_CUTS] = {
        [QD_GATE_CROWDED] = "crowded",
        [QD_GATE_SLOW] = "slow",
    };
    qd_expose_head(out, name, "counter",
                   "Connections of --admin-listen and --http-listen that were cut: others came and "
                   "had no place, or they were not answered for too long.");
    for (size_t i = 0; i < QD_HTTP_PORTS; i++) {
        for (size_t k = 0; k < QD_HTTP_CUTS; k++) {
            fprintf(out, "%s{port=\"%s\",reason=\"%s\"} %" PRIu64 "\n", name, ports[i], cuts[k],
                    atomic_load_explicit(&node->http_cut[i][k], memory_order_relaxed));
        }
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
    qd_expose_head(
        out, "quotad_events_total", "counter",
        "Events told, by kind. Of holds that expire together only some are told one by one: "
        "quotad_reservations_expired_total counts all.");
    for (size_t i = 0; i < QD_EVENT_KINDS; i++) {
        qd_expose_labelled(out, "quotad_events_total", "kind", kinds[i],
                           atomic_load_explicit(&node->broadcast.told[i], memory_order_relaxed));
    }
    qd_expose_one(out, "quotad_events_lost_total", "counter",
                  "Events that came faster than they could be told to anybody.", s->events_lost);
    qd_expose_one(out, "quotad_event_watchers", "gauge", "Open WatchEvents streams.",
                  qd_broadcast_watchers(&node->broadcast));
    qd_expose_one(out, "quotad_event_watchers_lost_total", "counter",
                  "Events that watchers missed because they read too slowly.",
                  atomic_load_explicit(&node->broadcast.lost, memory_order_relaxed));
}

/* A label's value: any bytes of UTF-8. */
static void put_label(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=\"", name);
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n') {
            fputs("\\n", out);
        } else {
            if (*c == '\\' || *c == '"') {
                fputc('\\', out);
            }
            fputc(*c, out);
        }
    }
    fputc('"', out);
}

static void write_rules(struct qd_rls_stats *stats, FILE *out)
{
    static const char name[] = "quotad_rls_rule_hits_total";
    if (!stats) {
        return;
    }
    qd_expose_head(
        out, name, "counter",
        "Hits of Envoy's rate limits, by rule: those that the files name, then such as have values "
        "of requests in their names, in the order of their coming, all others as `other`, without "
        "a domain. Outcomes overlap: total_hits has all, near_limit is a part of the rest.");
    struct qd_rls_table *table = qd_rls_stats_hold(stats);
    for (size_t i = 0; i < qd_rls_table_count(table); i++) {
        struct qd_rls_series series;
        qd_rls_table_get(table, i, &series);
        for (unsigned k = 0; k < QD_RLS_OUTCOMES; k++) {
            fprintf(out, "%s{", name);
            put_label(out, "domain", series.domain);
            fputc(',', out);
            put_label(out, "rule", series.rule);
            fprintf(out, ",outcome=\"%s\"} %" PRIu64 "\n",
                    qd_rls_outcome_name((enum qd_rls_outcome)k), series.hits[k]);
        }
    }
    qd_rls_table_release(table);
}

void qd_metrics_write(struct qd_node *node, size_t top, FILE *out)
{
    struct qd_figures figures;
    struct qd_core_stats stats;
    qd_figures_sum(node, &figures);
    sum_stats(node, &stats);
    write_node(node, out);
    write_connections(node, out);
    write_http(node, out);
    write_tls(&node->tls, out);
    write_policy(node, out);
    write_rls(&node->rls, out);
    write_process(out);
    qd_metrics_write_calls(node, out);
    write_requests(out, &figures);
    write_tables(out, &figures, &stats);
    write_capacities(node, out);
    qd_metrics_write_tenants(node, top, out);
    write_rules(node->rls_stats, out);
    write_events(node, &stats, out);
    qd_metrics_write_ledger(node, out);
    qd_metrics_write_snapshots(node, out);
}
