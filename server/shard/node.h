/* One node: the slices, the clock, the published policy, run-time tenants, the ledger, and the
 * flows of requests through them.
 *
 * Layer:    shard
 * Threads:  request functions from any thread that has a worker; publish, and the functions of the
 * directory, from any thread (they serialize themselves). Memory:   everything is allocated at
 * init; a request allocates nothing.
 *
 * Order of locks: admin (policy and directory changes) -> directory -> home shard -> commons.
 */
#ifndef QD_SHARD_NODE_H
#define QD_SHARD_NODE_H

#include "server/core/policy.h"
#include "server/ledger/ledger.h"
#include "server/measure/histogram.h"
#include "server/policy/policy_file.h"
#include "server/policy/resolve.h"
#include "server/shard/broadcast.h"
#include "server/shard/clock.h"
#include "server/shard/frontier.h"
#include "server/shard/quiesce.h"
#include "server/shard/request.h"
#include "server/shard/shards.h"
#include "server/shard/stored.h"
#include "server/shard/turns.h"

/* A policy as published: immutable, freed through qd_quiesce. */
struct qd_published {
    struct qd_policy *policy;
    const struct qd_policy_info *info;
    struct qd_wall_ns loaded_at;
    bool has_shadow; /* some limit only watches */
    bool has_shared; /* some limit is shared by all tenants */
};

/* Whose latency is measured by itself, for /metrics: as few as tell what is slow. */
enum qd_measured {
    QD_MEASURED_CHECK,
    QD_MEASURED_REPORT,
    QD_MEASURED_EXTEND,
    QD_MEASURED_CANCEL,
    QD_MEASURED_STREAM,     /* a message of StreamQuota */
    QD_MEASURED_RATE_LIMIT, /* Envoy's ShouldRateLimit */
    QD_MEASURED_JSON,       /* the same over HTTP */
    QD_MEASURED_OTHER,
    QD_MEASURED_COUNT
};

/* Figures of one thread; others read them with relaxed order, and may see them a little late. */
struct qd_worker_figures {
    _Atomic uint64_t checks_allowed, checks_denied, checks_failed;
    _Atomic uint64_t unknown_tenant, blocked, draining;
    _Atomic uint64_t reports, reports_duplicate, reports_failed, reports_late;
    _Atomic uint64_t extends, cancels, undelivered;
    _Atomic uint64_t binds, bind_full, evictions, restores, failed_open, unsettled, unreadable;
    _Atomic uint64_t bad_requests;
    _Atomic uint64_t rls_ok, rls_over, rls_unlimited, rls_unknown, rls_shadowed, rls_full;
    struct qd_histogram latency[QD_MEASURED_COUNT]; /* ns, from a call's event to its reply */
    _Atomic uint64_t calls_failed[QD_MEASURED_COUNT];
    _Atomic uint64_t errors[QD_ERROR_COUNT]; /* of calls, and of a stream's items */
};

struct qd_node;

/* One thread's place, with room for what it works on. */
struct qd_worker {
    struct qd_node *node;
    struct qd_quiesce_slot *slot;
    struct qd_worker *next;
    struct qd_worker_figures figures;
    struct qd_resolution resolution;
    struct qd_bind_item items[QD_LIMITS_PER_CHECK_MAX];
    struct qd_limit_state states[QD_LIMITS_PER_CHECK_MAX];
};

/* Of snapshot.h, since the start. */
struct qd_snapshot_figures {
    _Atomic uint64_t rounds, bytes, failures;
    _Atomic int64_t stored_at; /* the end of the last round that stored all, wall ns; 0: none */
    bool failed;               /* something of the round under way was not; the storing thread's */
    _Atomic bool unsynced;     /* something was written since the last sync */
};

/* Why a connection was closed as soon as it was accepted (X2). */
enum qd_refusal {
    QD_REFUSED_TOTAL,       /* --max-connections */
    QD_REFUSED_ADDRESS,     /* --max-connections-per-address */
    QD_REFUSED_CUT,         /* a connection of that address was cut off just now */
    QD_REFUSED_DESCRIPTORS, /* the process, or the machine, has no descriptor left */
    QD_REFUSAL_COUNT,
};

/* Why an open connection was cut off (X3). */
enum qd_cutoff {
    QD_CUT_UNANSWERED, /* it sent much that has no answer: header blocks without an end, ... */
    QD_CUT_MEMORY,     /* the same, while memory was short */
    QD_CUT_CALLS,      /* it had more calls in hand than may be: resets, answers not taken */
    QD_CUT_MOST,       /* no call object was left, and none had more calls: no fault of its own */
    QD_CUT_LEFT,       /* its client had gone, one of many that hung up on their calls */
    QD_CUT_CAPTIVE,    /* it kept the thread that accepts busy */
    QD_CUT_COUNT,
};

/* Of the gRPC ports. Written by the thread that accepts. */
struct qd_connection_figures {
    _Atomic uint64_t accepted, refused[QD_REFUSAL_COUNT], cut[QD_CUT_COUNT];
    _Atomic uint64_t open; /* a closed one may be counted for a second more */
};

/* The ports that libmicrohttpd serves, and why a connection of theirs was cut: as server/net/gate.h
 * has it. */
enum qd_http_port {
    QD_HTTP_PORT_ADMIN,
    QD_HTTP_PORT_RLS,
    QD_HTTP_PORTS
};
#define QD_HTTP_CUTS 2U

/* Of the gRPC port's TLS, written by whoever loads its files. */
struct qd_tls_figures {
    _Atomic int64_t ends_s; /* the certificate in force, Unix time; 0: no TLS */
    _Atomic bool is_old;    /* its files have changed and were refused */
};

/* Of Envoy's rate limits in force, written by whoever publishes them. */
struct qd_rls_figures {
    _Atomic bool in_force; /* false: --rls-config is not given */
    _Atomic uint64_t domains;
    _Atomic uint64_t rules;
};

struct qd_directory;
struct qd_rls_stats;
struct qd_tenant_store;

/* Hears each event, on whichever thread tells it: must not wait. */
struct qd_node_listener {
    void (*on_event)(void *context, const struct qd_event *event);
    void *context;
};

struct qd_node {
    struct qd_shards shards;
    struct qd_clock clock;
    struct qd_quiesce quiesce;
    struct qd_directory *directory; /* NULL only before init has ended */
    struct qd_ledger *ledger;
    struct qd_store *store;
    struct qd_tenant_store *tenants; /* durable records of the directory */
    struct qd_token_key token_key;
    char name[64];
    uint64_t name_hash;
    uint64_t incarnation;
    uint32_t tenants_max;
    struct qd_wall_ns started_at;
    _Atomic(struct qd_published *) published;
    _Atomic bool draining;
    _Atomic bool leaving; /* not ready, so that nobody is sent here; still serves as before */
    _Atomic bool runtime_shadow; /* some run-time tenant had a limit that only watches */
    _Atomic bool evicted;        /* some counter's state lies in the store */
    bool booting; /* the ledger is being counted: slices have counted no more than a part of it */
    struct qd_stored_place
        resumed; /* a slice of the process before, whose cut the store has then */
    _Atomic uint64_t revision;
    _Atomic uint64_t reload_failures; /* policies refused since the start */
    _Atomic bool reload_refused;      /* the last one was: an older policy is in force */
    _Atomic int64_t reloaded_at;      /* the last one that was not, or the start; wall ns */
    _Atomic uint64_t rls_refused;     /* loads of --rls-config since the start that were refused */
    struct qd_rls_figures rls;
    _Atomic bool rls_is_old;          /* the last one was: older rate limits are in force */
    _Atomic int64_t backup_at;        /* the last backup that was made, wall ns; 0: none */
    _Atomic bool credentials_are_old; /* the last load of --credentials was refused */
    struct qd_tls_figures tls;
    _Atomic uint32_t calls_waiting; /* for a thread that may wait for the disk */
    pthread_mutex_t admin;          /* serializes changes of policy and tenants */
    struct qd_turns turns;          /* of reports that settle the same reservation */
    /* Shared by each report from its price to its counters: who has it alone finds all that was
     * priced booked, and all that is booked counted. */
    pthread_rwlock_t booking;
    pthread_mutex_t workers_lock;
    struct qd_worker *workers;
    struct qd_worker *adopter;   /* for the thread that heals the ledger: one at a time */
    struct qd_frontier frontier; /* which entries of the ledger the counters have counted */
    struct qd_snapshot_figures snapshot;
    struct qd_connection_figures connections;
    _Atomic uint64_t http_cut[QD_HTTP_PORTS][QD_HTTP_CUTS];
    struct qd_broadcast broadcast;     /* of events, to whoever watches (I2) */
    struct qd_node_listener listener;  /* set once, before any thread tells; on_event may be NULL */
    _Atomic uint64_t rebuild_left_out; /* entries whose budgets found no room at boot */
    struct qd_rls_stats *rls_stats;    /* by rule of Envoy's rate limits; NULL: none are kept */
};

struct qd_node_config {
    struct qd_shards_config shards;
    struct qd_clock_source clock;
    struct qd_store *store;   /* required; stays the caller's */
    struct qd_ledger *ledger; /* required; stays the caller's */
    const char *name;
    uint64_t incarnation;
    struct qd_token_key token_key;
    uint32_t tenants_max;
};

/* Make a node without a policy: publish one before any request. NULL: *ret_error says why. */
struct qd_node *qd_node_new(const struct qd_node_config *config, struct qd_error *ret_error);
/* No worker may be left. */
void qd_node_free(struct qd_node *node);

struct qd_worker *qd_worker_new(struct qd_node *node);
void qd_worker_free(struct qd_worker *worker);
/* How many reports all workers have answered with QD_SETTLEMENT_LATE. */
uint64_t qd_node_reports_late(struct qd_node *node);

/* Around each piece of work; the policy that qd_worker_enter returns is valid until leave. */
static inline const struct qd_published *qd_worker_enter(struct qd_worker *worker)
{
    qd_quiesce_enter(&worker->node->quiesce, worker->slot);
    return atomic_load_explicit(&worker->node->published, memory_order_seq_cst);
}
static inline void qd_worker_leave(struct qd_worker *worker)
{
    qd_quiesce_leave(worker->slot);
}

/* With node->admin locked (or before any request): publish a policy and take it over: sets its
 * revision, swaps it in under all locks (P6). Limits of run-time tenants are compiled anew; one
 * that no longer compiles is left out and reported in `problems` (may be NULL) as a warning. */
void qd_node_publish(struct qd_node *node, struct qd_policy *policy, struct qd_problems *problems);

/* Something happened: count it, tell the listener (which logs) and all watchers. From any thread;
 * no slice's lock may be held. event->reservation is the node's number, not a slice's. */
void qd_node_tell(struct qd_node *node, const struct qd_event *event);

/* L3: tell that an entry that corrects another is booked. `reservation` is the one that the
 * corrected entry settled, or 0. */
void qd_node_tell_correction(struct qd_node *node, struct qd_str tenant, uint64_t sequence,
                             uint64_t reservation);

/* A round of ending due holds, some of each slice: fifty times a second, loop thread. */
void qd_node_expire(struct qd_node *node);

/* Timers, a few times a second, loop thread: clock, expiry, freeing of old policies, events of the
 * core. */
void qd_node_tick(struct qd_node *node);

/* --- requests: QD_ERROR_NONE, or an error with its sentence; *ret_answer is then undefined --- */

enum qd_error_code qd_node_check(struct qd_worker *worker, const struct qd_check_args *args,
                                 struct qd_check_answer *ret_answer, struct qd_error *ret_error);

/* As a dry run, with the state of every limit that applies to the candidate of the answer. */
struct qd_explanation {
    size_t count;
    struct qd_state_copy states[QD_LIMITS_PER_CHECK_MAX];
};
enum qd_error_code qd_node_explain(struct qd_worker *worker, const struct qd_check_args *args,
                                   struct qd_check_answer *ret_answer,
                                   struct qd_explanation *ret_explanation,
                                   struct qd_error *ret_error);

/* The answer to a check could not be delivered: give its hold back, unless it was delivered
 * otherwise (S1). */
void qd_node_undelivered(struct qd_worker *worker, uint64_t number);

enum qd_error_code qd_node_extend(struct qd_worker *worker, const struct qd_extend_args *args,
                                  struct qd_extend_answer *ret_answer, struct qd_error *ret_error);

enum qd_error_code qd_node_cancel(struct qd_worker *worker, struct qd_str reservation,
                                  struct qd_str tenant, bool *ret_cancelled,
                                  struct qd_error *ret_error);

static inline void qd_count(_Atomic uint64_t *figure)
{
    /* One writer: a plain add suffices, readers only need a whole value. */
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

#endif /* QD_SHARD_NODE_H */
