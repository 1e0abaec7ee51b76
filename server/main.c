/* quotad: the composition root. Reads the configuration, opens what is durable, makes the node,
 * serves until told to stop. Nothing else happens here. */
#include "server/admin/event_log.h"
#include "server/admin/http.h"
#include "server/admin/loop.h"
#include "server/boot.h"
#include "server/certificate_file.h"
#include "server/config.h"
#include "server/credentials_file.h"
#include "server/descriptors.h"
#include "server/log/log.h"
#include "server/rls_dir.h"
#include "server/rpc/audit.h"
#include "server/rpc/rls_http.h"
#include "server/rpc/server.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

struct app {
    struct qd_config config;
    struct qd_descriptors descriptors;
    struct qd_boot boot;
    struct qd_rpc *rpc;
    pthread_mutex_t shown_lock;
    struct qd_rpc *shown; /* what the admin port looks at; NULL: it stops. Under shown_lock */
    struct qd_loop *loop;
    struct qd_rls_watch *rls;
    struct qd_credentials_watch *credentials;
    struct qd_reread *certificate; /* NULL: plaintext */
    struct qd_rls_http *http;      /* NULL: --http-listen is not given */
    pthread_t stopper;
    bool stopping;
};

static int fail(const char *text)
{
    (void)fprintf(stderr, "quotad: %s\n", text);
    return EXIT_FAILURE;
}

/* --- stopping (X5): not serving -> drain-delay -> finish what is in flight -> sync -> exit 0 ---
 */

static void set_shown(struct app *app, struct qd_rpc *rpc)
{
    (void)pthread_mutex_lock(&app->shown_lock);
    app->shown = rpc;
    (void)pthread_mutex_unlock(&app->shown_lock);
}

/* The admin port lives on while the server stops, and is asked then, too. */
static bool show_rls(void *context, FILE *body)
{
    struct app *app = context;

    (void)pthread_mutex_lock(&app->shown_lock);
    bool done = app->shown != NULL && qd_rpc_show_rls(app->shown, body);
    (void)pthread_mutex_unlock(&app->shown_lock);
    return done;
}

static void stop_rereading(struct app *app)
{
    qd_rls_watch_stop(app->rls);
    app->rls = NULL;
    qd_credentials_watch_stop(app->credentials);
    app->credentials = NULL;
    qd_reread_stop(app->certificate);
    app->certificate = NULL;
}

static void *stop_main(void *argument)
{
    struct app *app = argument;

    stop_rereading(app);
    qd_rls_http_stop(app->http);
    app->http = NULL;
    set_shown(app, NULL);
    qd_rpc_stop(app->rpc, (uint32_t)qd_config_number(&app->config, QD_SET_DRAIN_GRACE));
    app->rpc = NULL;
    qd_loop_end(app->loop);
    return NULL;
}

/* Load balancers see it, and send elsewhere; whoever does not yet is served as before. */
static void on_unready(void *context)
{
    struct app *app = context;

    atomic_store(&app->boot.node->leaving, true);
    qd_rpc_set_serving(app->rpc, false);
}

/* As `quotactl drain`: no new reservations; reports and extensions go on, as long as it takes to
 * stop. */
static void on_drain(void *context)
{
    struct app *app = context;

    atomic_store(&app->boot.node->draining, true);
    app->stopping = pthread_create(&app->stopper, NULL, stop_main, app) == 0;
    if (!app->stopping) {
        qd_loop_end(app->loop);
    }
}

static void on_abort(void *context)
{
    (void)context;
    _exit(EXIT_FAILURE); /* what was acknowledged is on disk */
}

/* --- serving --- */

static void on_log(void *context, int level, const char *event, const char *text)
{
    (void)context;
    qd_log((enum qd_log_level)level, event, "text=%s", qd_log_quote(text).text);
}

/* X2: so many connections at once may come from one address. */
static uint32_t per_address(const struct app *app)
{
    int64_t given = qd_config_number(&app->config, QD_SET_ADDRESS_CONNECTIONS);
    uint32_t all = app->descriptors.connections;

    return given > 0 ? (uint32_t)given : all / 2 > 0 ? all / 2 : 1;
}

static struct qd_tls_files tls_files(const struct qd_config *config)
{
    return (struct qd_tls_files){
        .cert = qd_config_get(config, QD_SET_TLS_CERT),
        .key = qd_config_get(config, QD_SET_TLS_KEY),
        .client_ca = qd_config_get(config, QD_SET_TLS_CLIENT_CA),
        .client_optional = strcmp(qd_config_get(config, QD_SET_TLS_CLIENT_AUTH), "optional") == 0,
    };
}

static bool read_rls_options(const struct qd_config *config, struct qd_rls_options *options,
                             struct qd_error *error)
{
    options->headers = qd_config_number(config, QD_SET_RLS_HEADERS) != 0;
    options->denial_headers = qd_config_number(config, QD_SET_RLS_DENIAL_HEADERS) != 0;
    options->metadata = qd_config_number(config, QD_SET_RLS_METADATA) != 0;
    options->shadow = qd_config_number(config, QD_SET_RLS_SHADOW) != 0;
    options->stop_when_over = qd_config_number(config, QD_SET_RLS_STOP_WHEN_OVER) != 0;
    options->deny_when_full = strcmp(qd_config_get(config, QD_SET_RLS_WHEN_FULL), "deny") == 0;
    if (!qd_rls_options_header_names(options, qd_config_get(config, QD_SET_RLS_HEADER_NAMES))) {
        (void)qd_error_set(error, QD_ERROR_INVALID_FIELD,
                           "--rls-header-names: not three names of headers with commas between "
                           "them, such as RateLimit-Limit,RateLimit-Remaining,RateLimit-Reset");
        return false;
    }
    if (!qd_rls_options_sliding(options, qd_config_get(config, QD_SET_RLS_SLIDING))) {
        (void)qd_error_set(error, QD_ERROR_INVALID_FIELD,
                           "--rls-sliding: not names of domains with commas between them, at most "
                           "%u, nor `*`",
                           QD_RLS_SLIDING_MAX);
        return false;
    }
    return true;
}

/* A slip of the pen would go unseen; but a reload may bring the domain. */
static void warn_of_unknown_domains(const struct qd_rls_set *set,
                                    const struct qd_rls_options *options)
{
    for (size_t i = 0; set != NULL && i < options->sliding_count; i++) {
        if (qd_rls_rules_domain(set->rules, options->sliding[i]) == NULL) {
            char name[128];
            (void)snprintf(name, sizeof(name), "%.*s", (int)options->sliding[i].len,
                           options->sliding[i].ptr);
            qd_log(QD_LOG_WARN, "a domain of --rls-sliding is in no file of --rls-config",
                   "domain=%s", qd_log_quote(name).text);
        }
    }
}

static bool start_rpc(struct app *app, struct qd_error *error)
{
    struct qd_rpc_config config = {
        .listen = qd_config_get(&app->config, QD_SET_LISTEN),
        .admin_listen = qd_config_get(&app->config, QD_SET_ADMIN_RPC_LISTEN),
        .threads = app->boot.threads,
        .booking_threads = 8,
        .query_threads = 4,
        .booking_queue = 4096,
        .streams_max = 1000,
        .connection_age_s = 900,
        .connections_max = app->descriptors.connections,
        .connections_per_address = per_address(app),
        .tls = tls_files(&app->config),
        .rls = app->boot.rls,
        .credentials = app->boot.credentials,
        .tenant_domain = qd_config_get(&app->config, QD_SET_RLS_TENANT_DOMAIN),
        .hooks = {.context = app->boot.node,
                  .reload = qd_boot_reload,
                  .checkpoint = qd_boot_checkpoint,
                  .log = on_log},
    };

    app->boot.policy_file = qd_config_number(&app->config, QD_SET_DEV)
                                ? NULL
                                : qd_config_get(&app->config, QD_SET_POLICY);
    config.hooks.context = &app->boot;
    if (!read_rls_options(&app->config, &config.rls_options, error)) {
        return false;
    }
    warn_of_unknown_domains(config.rls, &config.rls_options);
    app->boot.node->listener = (struct qd_node_listener){.on_event = qd_event_log};
    app->rpc = qd_rpc_start(app->boot.node, &config, error);
    app->boot.rls = NULL; /* the server's */
    app->boot.credentials = NULL;
    return app->rpc != NULL;
}

static bool start_http(struct app *app, struct qd_error *error)
{
    const char *address = qd_config_get(&app->config, QD_SET_HTTP_LISTEN);

    if (address[0] == '\0') {
        return true;
    }
    app->http = qd_rls_http_start(app->rpc, address, app->descriptors.http, error);
    return app->http != NULL;
}

static bool watch_rls(struct app *app)
{
    struct qd_rls_dir dir = qd_rls_dir_of(&app->config);

    if (dir.path[0] == '\0') {
        return true;
    }
    app->rls = qd_rls_watch_start(&dir, app->boot.rls_mark, app->boot.node, app->rpc);
    return app->rls != NULL;
}

static bool watch_credentials(struct app *app)
{
    const char *path = qd_config_get(&app->config, QD_SET_CREDENTIALS);

    if (path[0] == '\0') {
        return true;
    }
    app->credentials =
        qd_credentials_watch_start(path, app->boot.credentials_mark, app->boot.node, app->rpc);
    return app->credentials != NULL;
}

static bool watch_certificate(struct app *app)
{
    const char *path = qd_config_get(&app->config, QD_SET_TLS_CERT);

    if (path[0] == '\0') {
        return true;
    }
    app->certificate = qd_certificate_watch_start(path, app->boot.node, app->rpc);
    return app->certificate != NULL;
}

static void host_of(const char *address, char *host, size_t size)
{
    const char *colon = strrchr(address, ':');
    int len = colon != NULL ? (int)(colon - address) : (int)strlen(address);

    if (len > 1 && address[0] == '[') {
        address++;
        len -= 2;
    }
    (void)snprintf(host, size, "%.*s", len, address);
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

/* The address, if others than this machine reach it; or NULL. */
static const char *reached_by_others(const struct app *app, enum qd_setting_id listen)
{
    const char *address = qd_config_get(&app->config, listen);
    char host[128];

    host_of(address, host, sizeof(host));
    return address[0] == '\0' || is_loopback(host) ? NULL : address;
}

/* X1: what a laptop may do is no good on a network. Said, because nothing else would. */
static void warn_of_network(const struct app *app, enum qd_setting_id listen)
{
    const char *address = reached_by_others(app, listen);
    bool tls = *qd_config_get(&app->config, QD_SET_TLS_CERT) != '\0';
    bool credentials = *qd_config_get(&app->config, QD_SET_CREDENTIALS) != '\0';

    if (address == NULL) {
        return;
    }
    if (!credentials) {
        qd_log(
            QD_LOG_WARN,
            "everybody who reaches the gRPC port may check, report and limit for any tenant, and "
            "only this machine may do the rest; pass --credentials FILE",
            "listen=%s", qd_log_quote(address).text);
    } else if (!tls) {
        qd_log(QD_LOG_WARN,
               "the gRPC port is plaintext: credentials are accepted from this machine only; pass "
               "--tls-cert FILE and --tls-key FILE",
               "listen=%s", qd_log_quote(address).text);
    }
}

/* Neither of the HTTP ports has TLS. */
static void warn_of_http(const struct app *app)
{
    const char *admin = reached_by_others(app, QD_SET_ADMIN_LISTEN);
    const char *http = reached_by_others(app, QD_SET_HTTP_LISTEN);
    bool credentials = *qd_config_get(&app->config, QD_SET_CREDENTIALS) != '\0';

    if (admin != NULL) {
        qd_log(QD_LOG_WARN,
               "the admin port knows no credentials: everybody who reaches it sees metrics and "
               "/debug, tenants' names among them; let only probes and scrapers reach it",
               "listen=%s", qd_log_quote(admin).text);
    }
    if (http != NULL) {
        qd_log(QD_LOG_WARN,
               credentials
                   ? "the HTTP port is plaintext: tokens are accepted from this machine only"
                   : "everybody who reaches the HTTP port may count against any rate limit",
               "listen=%s", qd_log_quote(http).text);
    }
}

/* X6 */
static void on_policy_reloaded(void *context, const struct qd_reload_change *change)
{
    const struct app *app = context;
    char detail[512];
    int len = snprintf(detail, sizeof(detail), "r%llu to r%llu, %s",
                       (unsigned long long)change->before_revision,
                       (unsigned long long)change->after_revision, app->boot.policy_file);

    qd_audit_write_by(
        app->boot.node, QD_ACTOR_FILE,
        &(struct qd_audit_action){
            .action = "ReloadPolicy",
            .subject = qd_slice_of("(policy)"),
            .detail = {detail, (size_t)len < sizeof(detail) ? (size_t)len : sizeof(detail) - 1},
            .before = qd_slice_of(change->before_sha256),
            .after = qd_slice_of(change->after_sha256)});
}

static bool start_loop(struct app *app, const char *host, const char *config_text,
                       char error[QD_LOOP_ERROR_MAX])
{
    struct qd_loop_config config = {
        .node = app->boot.node,
        .policy_file = app->boot.policy_file,
        .admin_listen = qd_config_get(&app->config, QD_SET_ADMIN_LISTEN),
        .admin_connections = app->descriptors.admin,
        .grpc_host = host,
        .grpc_port = (uint16_t)qd_rpc_port(app->rpc),
        .grpc_tls = *qd_config_get(&app->config, QD_SET_TLS_CERT) != '\0',
        .metrics_tenants = (size_t)qd_config_number(&app->config, QD_SET_METRICS_TENANTS),
        .config_text = config_text,
        .show_rls = show_rls,
        .drain_delay_ms = qd_config_number(&app->config, QD_SET_DRAIN_DELAY),
        .reloaded = on_policy_reloaded,
        .unready = on_unready,
        .drain = on_drain,
        .abort = on_abort,
        .context = app};

    set_shown(app, app->rpc);
    app->loop = qd_loop_new(&config, error);
    return app->loop != NULL;
}

/* Tests ask for any free port and read here which ones were taken. Written whole, then renamed. */
static bool write_ports(struct app *app)
{
    const char *path = qd_config_get(&app->config, QD_SET_PORT_FILE);
    char temporary[512];

    if (path == NULL || path[0] == '\0') {
        return true;
    }
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    FILE *file = fopen(temporary, "w");
    if (file == NULL) {
        return false;
    }
    (void)fprintf(file, "grpc=%d\nadmin=%u\n", qd_rpc_port(app->rpc),
                  qd_loop_admin_port(app->loop));
    if (app->http != NULL) {
        (void)fprintf(file, "http=%u\n", qd_rls_http_port(app->http));
    }
    if (qd_rpc_admin_port(app->rpc) != 0) {
        (void)fprintf(file, "admin_grpc=%d\n", qd_rpc_admin_port(app->rpc));
    }
    bool ok = fclose(file) == 0;
    return ok && rename(temporary, path) == 0;
}

static void say_recovery(const struct qd_recovery *r)
{
    if (r->damage[0] != '\0') {
        qd_log(
            QD_LOG_WARN,
            "the snapshot cannot be used: budgets are counted from the ledger, rates start empty",
            "why=%s", qd_log_quote(r->damage).text);
    }
    if (r->holds_lost > 0) {
        qd_log(QD_LOG_WARN,
               "reservations have no place: they settle by their tokens; --shards was changed, or "
               "--max-reservations is too small",
               "holds=%llu", (unsigned long long)r->holds_lost);
    }
    if (r->from_ledger && r->entries > 0) {
        (void)printf("ledger: %llu entries, budgets rebuilt\n", (unsigned long long)r->entries);
    } else if (r->counters > 0 || r->holds > 0 || r->entries > 0) {
        (void)printf("resumed: %llu counters, %llu reservations, %llu entries after the snapshot\n",
                     (unsigned long long)r->counters, (unsigned long long)r->holds,
                     (unsigned long long)r->entries);
    }
}

/* What a newcomer sees. */
static void say_hello(struct app *app, const char *host, const char *admin_host)
{
    (void)printf("quotad %s  gRPC %s:%d  admin http://%s:%u\n", QD_VERSION, host,
                 qd_rpc_port(app->rpc), admin_host, qd_loop_admin_port(app->loop));
    if (app->http != NULL) {
        (void)printf("rate limits over HTTP at port %u: /json /healthcheck\n",
                     qd_rls_http_port(app->http));
    }
    if (qd_rpc_admin_port(app->rpc) != 0) {
        (void)printf("AdminService at gRPC port %d only\n", qd_rpc_admin_port(app->rpc));
    }
    (void)printf("policy r1 OK: %s\n", app->boot.summary);
    say_recovery(&app->boot.recovery);
    (void)fflush(stdout);
    if (app->boot.node->rebuild_left_out > 0) { /* D12 */
        qd_log(QD_LOG_WARN, "budgets count too little: no room for some; raise --max-counters",
               "entries=%llu", (unsigned long long)app->boot.node->rebuild_left_out);
    }
}

static int serve(struct app *app, const char *config_text)
{
    struct qd_error error;
    char loop_error[QD_LOOP_ERROR_MAX];
    char host[128];
    char admin_host[128];
    int code = EXIT_SUCCESS;

    host_of(qd_config_get(&app->config, QD_SET_LISTEN), host, sizeof(host));
    host_of(qd_config_get(&app->config, QD_SET_ADMIN_LISTEN), admin_host, sizeof(admin_host));
    if (!start_rpc(app, &error)) {
        return fail(error.text);
    }
    if (!start_loop(app, host, config_text, loop_error)) {
        code = fail(loop_error);
    } else if (!start_http(app, &error)) {
        code = fail(error.text);
    } else if (!watch_rls(app)) {
        code = fail("cannot watch --rls-config: out of memory or threads");
    } else if (!watch_credentials(app)) {
        code = fail("cannot watch --credentials: out of memory or threads");
    } else if (!watch_certificate(app)) {
        code = fail("cannot watch --tls-cert: out of memory or threads");
    } else if (!write_ports(app)) {
        code = fail("cannot write --port-file");
    } else {
        say_hello(app, host, admin_host);
        warn_of_network(app, QD_SET_LISTEN);
        warn_of_network(app, QD_SET_ADMIN_RPC_LISTEN);
        warn_of_http(app);
        qd_log(QD_LOG_INFO, "serving", "node=%s incarnation=%llu threads=%u", app->boot.node->name,
               (unsigned long long)app->boot.node->incarnation, app->boot.threads);
        qd_loop_run(app->loop);
    }
    if (app->stopping) {
        (void)pthread_join(app->stopper, NULL);
    }
    stop_rereading(app);
    qd_rls_http_stop(app->http);
    set_shown(app, NULL);
    qd_rpc_stop(app->rpc, 0);
    qd_node_tick(app->boot.node); /* P3: a threshold that was reached last is told, too */
    qd_loop_free(app->loop);
    qd_log(QD_LOG_INFO, "stopped", NULL);
    return code;
}

static char *take_descriptors(struct app *app)
{
    bool http = *qd_config_get(&app->config, QD_SET_HTTP_LISTEN) != '\0';
    struct qd_descriptors wanted = {
        .connections = (uint32_t)qd_config_number(&app->config, QD_SET_MAX_CONNECTIONS),
        .admin = QD_HTTP_CONNECTIONS_MAX,
        .http = http ? QD_RLS_HTTP_CONNECTIONS_MAX : 0};

    return qd_descriptors_take(&wanted, &app->descriptors);
}

/* X3: what a flood made the heap take goes back to the system. malloc_trim leaves the end of each
 * thread's arena as it is, and by itself glibc keeps up to 64 MB there, once a large block was
 * freed. Before there are threads. */
static void keep_little_free(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20); /* with the above it would stay at 128 KiB */
}

int main(int argc, char **argv)
{
    struct app app;
    char text[QD_CONFIG_ERROR_MAX];
    int code = EXIT_SUCCESS;

    memset(&app, 0, sizeof(app));
    keep_little_free();
    (void)pthread_mutex_init(&app.shown_lock, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (!qd_config_init(&app.config)) {
        return fail("out of memory");
    }
    enum qd_config_parsed parsed = qd_config_parse(&app.config, argc, argv, environ, text);
    char *config_text = qd_config_text(&app.config);
    if (parsed == QD_CONFIG_BAD) {
        (void)fail(text);
        code = EXIT_USAGE;
    } else if (parsed == QD_CONFIG_PRINT) {
        (void)fputs(config_text != NULL ? config_text : "", stdout);
    } else {
        qd_log_set_level((enum qd_log_level)qd_config_number(&app.config, QD_SET_LOG_LEVEL));
        char *why = take_descriptors(&app);
        app.boot.store_files = app.descriptors.store;
        if (why == NULL) {
            why = qd_boot_open(&app.boot, &app.config);
        }
        if (why != NULL) {
            code = fail(why);
            free(why);
        } else {
            code = serve(&app, config_text);
        }
        qd_boot_close(&app.boot);
    }
    free(config_text);
    qd_config_release(&app.config);
    return code;
}
