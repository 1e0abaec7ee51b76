#include "server/rpc/server.h"

#include "server/rls/show.h"
#include "server/rpc/accept.h"
#include "server/rpc/grpc_log.h"
#include "server/rpc/report_batch.h"
#include "server/rpc/rls.h"
#include "server/rpc/server_internal.h"

#include <assert.h>
#include <grpc/compression.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

#define WIRE_BYTES_MAX (1U << 20)
#define HANDSHAKE_MS   5000
#define KEEPALIVE_MS   60000
#define MEMORY_QUOTA   ((size_t)512 << 20)

bool qd_rpc_serving(const struct qd_rpc *rpc)
{
    return atomic_load(&rpc->serving);
}

bool qd_rpc_has_rls(const struct qd_rpc *rpc)
{
    return atomic_load(&rpc->rls) != NULL;
}

struct qd_node *qd_rpc_node(const struct qd_rpc *rpc)
{
    return rpc->node;
}

const struct qd_rpc_hooks *qd_rpc_hooks_of(const struct qd_rpc *rpc)
{
    return &rpc->config.hooks;
}

int qd_rpc_port(const struct qd_rpc *rpc)
{
    return rpc->listeners[0].port;
}

int qd_rpc_admin_port(const struct qd_rpc *rpc)
{
    return rpc->listeners[1].port;
}

static grpc_arg int_arg(const char *name, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER};

    /* gRPC doesn't change what it is given; its struct says char * all the same. */
    union {
        const char *in;
        char *out;
    } key = {.in = name};
    arg.key = key.out;
    arg.value.integer = value;
    return arg;
}

static grpc_server *make_server(const struct qd_rpc *rpc, grpc_resource_quota *quota)
{
    union {
        const char *in;
        char *out;
    } key = {.in = GRPC_ARG_RESOURCE_QUOTA};
    grpc_arg args[16 + QD_ACCEPT_PORTS_MAX];
    size_t n = qd_accept_args(rpc->accept, args);
    args[n] = (grpc_arg){.type = GRPC_ARG_POINTER, .key = key.out};
    args[n].value.pointer.p = quota;
    args[n++].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    args[n++] = int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, WIRE_BYTES_MAX);
    args[n++] = int_arg(GRPC_ARG_MAX_METADATA_SIZE, QD_METADATA_BYTES_MAX);
    /* gRPC inflates a message before it looks at its size, and before anybody asks who sent it: 0.9
     * MB on the wire were 900 MB in memory. Messages of bytes as they are only. */
    args[n++] =
        int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
    args[n++] = int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)rpc->config.streams_max);
    args[n++] = int_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_MS);
    /* X3: windows that do not grow with the line's bandwidth: what is under way and not answered
     * stays small (guard.h). Messages are small, too. */
    args[n++] = int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    args[n++] = int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS);
    args[n++] = int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    /* X3: no strikes. After the last one gRPC 1.51 adds an error to a list for each further ping,
     * and goes through all of it, as long as its last words are on their way: that costs far more
     * than the answers do. */
    args[n++] = int_arg(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    /* Of gRPC's own listeners: two servers on one port would share it silently. */
    args[n++] = int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0);
    if (rpc->config.connection_age_s > 0) {
        args[n++] =
            int_arg(GRPC_ARG_MAX_CONNECTION_AGE_MS, (int)rpc->config.connection_age_s * 1000);
        args[n++] = int_arg(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 30000);
    }
    assert(n <= sizeof(args) / sizeof(args[0]));
    grpc_channel_args channel_args = {n, args};
    return grpc_server_create(&channel_args, NULL);
}

uint32_t qd_rpc_methods(const struct qd_method *const **ret_methods)
{
    static const struct qd_method *const services[] = {qd_quota_methods,      qd_usage_methods,
                                                       qd_admin_methods,      qd_health_methods,
                                                       qd_reflection_methods, qd_rls_methods};

    *ret_methods = services;
    return sizeof(services) / sizeof(services[0]);
}

static void register_method(struct qd_rpc *rpc, grpc_server *server, const struct qd_method *m)
{
    uint32_t i = rpc->method_count++;

    assert(i < QD_METHODS_MAX);
    rpc->methods[i] = m;
    rpc->servers[i] = server;
    rpc->registered[i] = NULL;
    rpc->measured[i] = m->kind != QD_METHOD_UNKNOWN ? qd_measured_of(m->path) : QD_MEASURED_OTHER;
    if (m->kind != QD_METHOD_UNKNOWN) {
        rpc->registered[i] = grpc_server_register_method(
            server, m->path, NULL,
            qd_method_has_payload(m) ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER
                                     : GRPC_SRM_PAYLOAD_NONE,
            0);
        assert(rpc->registered[i] != NULL);
    }
}

static bool has_admin_listener(const struct qd_rpc *rpc)
{
    return rpc->config.admin_listen != NULL && rpc->config.admin_listen[0] != '\0';
}

/* What the administrators' listener serves, beside what tells of it: AdminService, and nobody else
 * does. */
static bool serves(const struct qd_rpc *rpc, bool is_admin, const struct qd_method *service)
{
    if (service == qd_health_methods || service == qd_reflection_methods) {
        return true;
    }
    return (service == qd_admin_methods) == is_admin || !has_admin_listener(rpc);
}

static void register_methods(struct qd_rpc *rpc, grpc_server *server, bool is_admin)
{
    static const struct qd_method unknown = {
        "", QD_METHOD_UNKNOWN, 2, NULL, NULL, QD_ROLES_OPEN, QD_BOUND_FREE};
    const struct qd_method *const *services;
    uint32_t count = qd_rpc_methods(&services);

    for (uint32_t i = 0; i < count; i++) {
        for (const struct qd_method *m = services[i];
             serves(rpc, is_admin, services[i]) && m->path != NULL; m++) {
            register_method(rpc, server, m);
        }
    }
    register_method(rpc, server, &unknown);
}

static void make_listeners(struct qd_rpc *rpc)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("quotad");

    grpc_resource_quota_resize(quota, MEMORY_QUOTA); /* of all together */
    rpc->listener_count = has_admin_listener(rpc) ? 2 : 1;
    for (uint32_t i = 0; i < rpc->listener_count; i++) {
        grpc_server *server = make_server(rpc, quota);
        rpc->listeners[i] = (struct qd_listener){.server = server};
        register_methods(rpc, server, i == 1);
        for (uint32_t k = 0; k < rpc->config.threads; k++) {
            grpc_server_register_completion_queue(server, rpc->threads[k].cq, NULL);
        }
        grpc_server_register_completion_queue(server, rpc->shutdown_cq, NULL);
    }
    grpc_resource_quota_unref(quota);
}

static bool start_threads(struct qd_rpc *rpc)
{
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_rpc_thread *t = &rpc->threads[i];
        t->place.node = rpc->node;
        if (!qd_place_init(&t->place, rpc) ||
            pthread_create(&t->thread, NULL, qd_events_main, t) != 0) {
            return false;
        }
        t->started = true;
    }
    for (uint32_t i = 0; i < rpc->booking_count; i++) {
        struct qd_booking_thread *b = &rpc->booking[i];
        b->rpc = rpc;
        b->queue = i < rpc->config.booking_threads ? &rpc->bookings : &rpc->queries;
        b->place.node = rpc->node;
        if (!qd_place_init(&b->place, rpc) ||
            (b->place.reports = qd_report_batch_new(b->place.worker)) == NULL ||
            pthread_create(&b->thread, NULL, qd_booking_main, b) != 0) {
            return false;
        }
        b->started = true;
    }
    return true;
}

static struct qd_rpc *rpc_new(struct qd_node *node, const struct qd_rpc_config *config)
{
    struct qd_rpc *rpc = calloc(1, sizeof(*rpc));

    if (rpc == NULL) {
        return NULL;
    }
    rpc->node = node;
    rpc->config = *config;
    rpc->threads = aligned_alloc(64, config->threads * sizeof(struct qd_rpc_thread));
    rpc->booking_count = config->booking_threads + config->query_threads;
    rpc->booking = calloc(rpc->booking_count, sizeof(struct qd_booking_thread));
    if (rpc->threads == NULL || rpc->booking == NULL) {
        free(rpc->threads);
        free(rpc->booking);
        free(rpc);
        return NULL;
    }
    memset(rpc->threads, 0, config->threads * sizeof(struct qd_rpc_thread));
    (void)pthread_mutex_init(&rpc->booking_lock, NULL);
    qd_booking_queue_init(&rpc->bookings);
    qd_booking_queue_init(&rpc->queries);
    (void)pthread_mutex_init(&rpc->watch_lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&rpc->watch_left, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return rpc;
}

static void rpc_free(struct qd_rpc *rpc)
{
    if (rpc == NULL) {
        return;
    }
    qd_accept_free(rpc->accept);
    (void)pthread_mutex_destroy(&rpc->booking_lock);
    (void)pthread_cond_destroy(&rpc->bookings.ready);
    (void)pthread_cond_destroy(&rpc->queries.ready);
    (void)pthread_mutex_destroy(&rpc->watch_lock);
    (void)pthread_cond_destroy(&rpc->watch_left);
    qd_tls_free(rpc->tls); /* gRPC asks it no more */
    free(rpc->threads);
    free(rpc->booking);
    free(rpc);
}

/* X2: no cap was asked for: a caller's tests. */
#define CONNECTIONS_DEFAULT 1000U

static struct qd_accept *accept_new(struct qd_rpc *rpc)
{
    const struct qd_rpc_config *c = &rpc->config;
    uint32_t max = c->connections_max > 0 ? c->connections_max : CONNECTIONS_DEFAULT;
    struct qd_accept_config config = {
        .connections_max = max,
        .per_address_max = c->connections_per_address > 0 ? c->connections_per_address : max,
        .grpc_listener = c->grpc_listener,
        .figures = &rpc->node->connections,
        .hooks = &c->hooks,
    };

    return qd_accept_new(&config);
}

static bool open_tls(struct qd_rpc *rpc, struct qd_error *ret_error)
{
    const struct qd_tls_files *files = &rpc->config.tls;

    if (files->cert == NULL || files->cert[0] == '\0') {
        return true;
    }
    rpc->config.tls.figures = &rpc->node->tls;
    rpc->tls = qd_tls_open(files, ret_error);
    return rpc->tls != NULL;
}

/* One port of the server: its address, and what a connection has to show. */
static enum qd_error_code open_listener(struct qd_rpc *rpc, const char *address, const char *flag,
                                        struct qd_listener *listener, struct qd_error *ret_error)
{
    grpc_server_credentials *credentials =
        rpc->tls != NULL ? qd_tls_credentials(rpc->tls) : grpc_insecure_server_credentials_create();
    enum qd_error_code code = qd_accept_listen(rpc->accept, listener->server, address, flag,
                                               credentials, &listener->port, ret_error);

    grpc_server_credentials_release(credentials);
    return code;
}

static bool open_listeners(struct qd_rpc *rpc, struct qd_error *ret_error)
{
    static const char *const flags[] = {"--listen", "--admin-rpc-listen"};
    const char *const addresses[QD_LISTENERS_MAX] = {rpc->config.listen, rpc->config.admin_listen};

    if (!open_tls(rpc, ret_error)) {
        return false;
    }
    for (uint32_t i = 0; i < QD_LISTENERS_MAX && i < rpc->listener_count; i++) {
        struct qd_listener *listener = &rpc->listeners[i];
        if (open_listener(rpc, addresses[i], flags[i], listener, ret_error) != QD_ERROR_NONE) {
            return false;
        }
    }
    return true;
}

/* What /metrics says of a set; NULL: there is none. */
static void tell_rls(struct qd_node *node, const struct qd_rls_set *set)
{
    struct qd_rls_counts counts = {0, 0};

    if (set != NULL) {
        counts = qd_rls_rules_counts(set->rules);
    }
    atomic_store_explicit(&node->rls.domains, counts.domains, memory_order_relaxed);
    atomic_store_explicit(&node->rls.rules, counts.rules, memory_order_relaxed);
    /* Release: who sees that there is a set sees its counts, or newer ones. */
    atomic_store_explicit(&node->rls.in_force, set != NULL, memory_order_release);
}

struct qd_rpc *qd_rpc_start(struct qd_node *node, const struct qd_rpc_config *config,
                            struct qd_error *ret_error)
{
    struct qd_rpc *rpc = rpc_new(node, config);

    if (rpc == NULL || (rpc->accept = accept_new(rpc)) == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory or descriptors");
        rpc_free(rpc);
        return NULL;
    }
    qd_grpc_log_take(&config->hooks);
    grpc_init();
    for (uint32_t i = 0; i < config->threads; i++) {
        rpc->threads[i].rpc = rpc;
        rpc->threads[i].cq = grpc_completion_queue_create_for_next(NULL);
    }
    atomic_init(&rpc->rls, config->rls);
    tell_rls(node, config->rls);
    if (config->tenant_domain != NULL) {
        rpc->tenant_domain = (struct qd_str){config->tenant_domain, strlen(config->tenant_domain)};
    }
    atomic_init(&rpc->credentials, config->credentials);
    rpc->shutdown_cq = grpc_completion_queue_create_for_next(NULL);
    make_listeners(rpc);
    if (!open_listeners(rpc, ret_error)) {
        qd_rpc_stop(rpc, 0);
        return NULL;
    }
    atomic_store(&rpc->serving, true);
    for (uint32_t i = 0; i < rpc->listener_count; i++) {
        grpc_server_start(rpc->listeners[i].server);
    }
    if (!start_threads(rpc) || !qd_accept_start(rpc->accept)) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "cannot start threads: out of memory");
        qd_rpc_stop(rpc, 0);
        return NULL;
    }
    return rpc;
}

/* All listeners close at once, and share the time. One that was never started closes likewise. */
static void wait_shutdown(struct qd_rpc *rpc, uint32_t grace_ms)
{
    gpr_timespec end =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(grace_ms, GPR_TIMESPAN));
    uint32_t left = rpc->listener_count;

    for (uint32_t i = 0; i < rpc->listener_count; i++) {
        grpc_server_shutdown_and_notify(rpc->listeners[i].server, rpc->shutdown_cq,
                                        &rpc->listeners[i]);
    }
    while (left > 0 &&
           grpc_completion_queue_next(rpc->shutdown_cq, end, NULL).type == GRPC_OP_COMPLETE) {
        left--;
    }
    for (uint32_t i = 0; i < rpc->listener_count && left > 0; i++) {
        grpc_server_cancel_all_calls(rpc->listeners[i].server);
    }
    for (; left > 0; left--) {
        (void)grpc_completion_queue_next(rpc->shutdown_cq, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                         NULL);
    }
}

static void drain_queue(grpc_completion_queue *cq)
{
    grpc_completion_queue_shutdown(cq);
    while (grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(cq);
}

uint64_t qd_rpc_tls_look(const struct qd_rpc *rpc)
{
    return qd_tls_look(rpc->tls);
}

bool qd_rpc_tls_read_again(struct qd_rpc *rpc, struct qd_hash128 *ret_content, uint64_t *ret_look)
{
    return qd_tls_read_again(rpc->tls, ret_content, ret_look);
}

void qd_rpc_publish_rls(struct qd_rpc *rpc, struct qd_rls_set *set)
{
    struct qd_node *node = rpc->node;

    tell_rls(node, set);                    /* before it may be replaced and freed */
    (void)pthread_mutex_lock(&node->admin); /* the list of what is retired */
    if (node->rls_stats != NULL) {
        qd_rls_set_keep_stats(set, node->rls_stats);
    }
    struct qd_rls_set *old = atomic_exchange(&rpc->rls, set);
    if (old != NULL) {
        (void)qd_quiesce_retire(&node->quiesce, old, qd_rls_set_free);
    }
    (void)pthread_mutex_unlock(&node->admin);
}

void qd_rpc_publish_credentials(struct qd_rpc *rpc, struct qd_credentials *credentials)
{
    struct qd_node *node = rpc->node;

    (void)pthread_mutex_lock(&node->admin); /* as above; and these stay until it is unlocked */
    struct qd_credentials *old = atomic_exchange(&rpc->credentials, credentials);
    qd_watch_admit_all(rpc, credentials);
    if (old != NULL) {
        (void)qd_quiesce_retire(&node->quiesce, old, qd_credentials_free);
    }
    (void)pthread_mutex_unlock(&node->admin);
}

void qd_rpc_stop(struct qd_rpc *rpc, uint32_t grace_ms)
{
    if (rpc == NULL) {
        return;
    }
    atomic_store_explicit(&rpc->stopping, true, memory_order_release);
    qd_rpc_set_serving(rpc, false);
    qd_watch_end_all(rpc, grace_ms);
    qd_accept_stop(rpc->accept);       /* gRPC takes no socket after its shutdown has begun */
    if (rpc->listeners[0].port != 0) { /* else none has a socket */
        wait_shutdown(rpc, grace_ms);
    }
    qd_booking_stop(rpc); /* all calls have ended: nothing waits for it */
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_rpc_thread *t = &rpc->threads[i];
        if (t->started) {
            grpc_completion_queue_shutdown(t->cq);
            (void)pthread_join(t->thread, NULL);
            grpc_completion_queue_destroy(t->cq);
        } else if (t->cq != NULL) {
            drain_queue(t->cq);
        }
    }
    for (uint32_t i = 0; i < rpc->listener_count; i++) {
        grpc_server_destroy(rpc->listeners[i].server);
    }
    drain_queue(rpc->shutdown_cq);
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_call *next = NULL;
        for (struct qd_call *call = rpc->threads[i].pool; call != NULL; call = next) {
            next = call->next;
            grpc_metadata_array_destroy(&call->metadata);
            free(call);
        }
        qd_place_release(&rpc->threads[i].place);
    }
    qd_rls_set_free(atomic_load(&rpc->rls));
    qd_credentials_free(atomic_load(&rpc->credentials));
    grpc_shutdown_blocking();
    rpc_free(rpc);
}

static void add_errors(const struct qd_place *place, struct qd_rpc_figures *f)
{
    for (size_t k = 0; k < QD_ERROR_COUNT; k++) {
        uint64_t count =
            atomic_load_explicit(&place->worker->figures.errors[k], memory_order_relaxed);
        f->errors_by_code[k] += count;
        f->errors += count;
    }
}

void qd_rpc_figures(struct qd_rpc *rpc, struct qd_rpc_figures *ret_figures)
{
    struct qd_rpc_figures *f = ret_figures;

    memset(f, 0, sizeof(*f));
    for (uint32_t i = 0; i < rpc->config.threads; i++) {
        struct qd_rpc_thread *t = &rpc->threads[i];
        f->calls += atomic_load_explicit(&t->calls, memory_order_relaxed);
        f->stream_messages += atomic_load_explicit(&t->stream_messages, memory_order_relaxed);
        add_errors(&t->place, f);
    }
    for (uint32_t i = 0; i < rpc->booking_count; i++) {
        add_errors(&rpc->booking[i].place, f);
    }
    f->booking_refused = atomic_load_explicit(&rpc->booking_refused, memory_order_relaxed);
    (void)pthread_mutex_lock(&rpc->booking_lock);
    f->booking_waiting = rpc->bookings.waiting + rpc->queries.waiting;
    (void)pthread_mutex_unlock(&rpc->booking_lock);
}
