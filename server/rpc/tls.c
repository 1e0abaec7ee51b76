#include "server/rpc/tls.h"

#include "server/core/hash.h"
#include "server/log/log.h"
#include "server/policy/look.h"
#include "server/rpc/pem.h"
#include "server/rpc/tls_trial.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_NS  INT64_C(1000000000)
#define RETRY_NS INT64_C(30000000000)

struct material {
    struct qd_pem cert;
    struct qd_pem key;
    struct qd_pem client_ca;
    struct qd_pem_span span; /* of the certificate */
};

/* What a port's gRPC was given. */
struct port {
    struct qd_tls *tls;
    uint64_t generation;
};

struct qd_tls {
    struct qd_tls_files files;
    pthread_mutex_t lock; /* of all below; ports shake hands on many threads */
    struct material material;
    uint64_t generation;       /* counts what was loaded */
    struct qd_hash128 content; /* of the certificate and the authorities in force */
    uint64_t seen;             /* what the files looked like that were tried last */
    bool is_old;               /* those were refused */
    int64_t refused_ns;        /* monotonic */
    int64_t looked_ns;         /* monotonic */
    /* When what was refused because it is too early is tried again, Unix time; 0: never. */
    _Atomic int64_t begins_s;
    struct port ports[QD_TLS_PORTS_MAX];
    size_t port_count;
};

static bool asks_clients(const struct qd_tls *tls)
{
    return tls->files.client_ca != NULL && tls->files.client_ca[0] != '\0';
}

/* --- the files --- */

/* Files whose time has come look different from then on. */
static uint64_t look(const struct qd_tls *tls)
{
    int64_t begins_s = atomic_load_explicit(&tls->begins_s, memory_order_relaxed);
    uint64_t begun = begins_s != 0 && begins_s <= (int64_t)time(NULL) ? 1 : 0;
    uint64_t seen = qd_look_at(tls->files.key, qd_look_at(tls->files.cert, begun));

    return asks_clients(tls) ? qd_look_at(tls->files.client_ca, seen) : seen;
}

static void release(struct material *m)
{
    qd_pem_release(&m->cert);
    qd_pem_release(&m->key);
    qd_pem_release(&m->client_ca);
}

static bool read_all(const struct qd_tls *tls, struct material *m, struct qd_error *ret_error)
{
    const struct qd_tls_files *f = &tls->files;
    bool ask = asks_clients(tls);

    if (!qd_pem_read(f->cert, false, &m->cert, ret_error) ||
        !qd_pem_read(f->key, true, &m->key, ret_error) ||
        !qd_pem_check_pair(f->cert, &m->cert, f->key, &m->key, &m->span, ret_error)) {
        return false;
    }
    if (ask && (!qd_pem_read(f->client_ca, false, &m->client_ca, ret_error) ||
                !qd_pem_check_authorities(f->client_ca, &m->client_ca, ret_error))) {
        return false;
    }
    struct qd_tls_trial trial = {f->cert, &m->cert, &m->key, ask ? f->client_ca : NULL,
                                 &m->client_ca};
    return qd_tls_trial_run(&trial, ret_error);
}

static bool is_valid(const struct qd_pem_span *span, int64_t now_s)
{
    return span->begins_s <= now_s && now_s <= span->ends_s;
}

#define TIME_TEXT_BYTES 32

static const char *time_text(int64_t unix_s, char text[TIME_TEXT_BYTES])
{
    time_t time = (time_t)unix_s;
    struct tm tm;

    bool good = gmtime_r(&time, &tm) != NULL &&
                strftime(text, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0;
    return good ? text : "another age";
}

/* Clients refuse a certificate out of its time, so it takes the place of a valid one never. A
 * start, or where neither is valid, has nothing better: the clock may be what is wrong. */
static bool check_time(struct qd_tls *tls, const struct material *m, struct qd_error *ret_error)
{
    int64_t now_s = (int64_t)time(NULL);
    bool early = m->span.begins_s > now_s;
    const char *cert = tls->files.cert;
    char when[TIME_TEXT_BYTES];

    if (is_valid(&m->span, now_s)) {
        return true;
    }
    if (!is_valid(&tls->material.span, now_s)) {
        qd_log(QD_LOG_WARN,
               early ? "the TLS certificate is not valid yet: clients refuse it"
                     : "the TLS certificate has expired: clients refuse it",
               "file=%s", qd_log_quote(cert).text);
        return true;
    }
    if (early) {
        atomic_store_explicit(&tls->begins_s, m->span.begins_s, memory_order_relaxed);
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                           "%s: not valid before %s, and the one in force is valid; it is taken "
                           "then",
                           cert, time_text(m->span.begins_s, when));
    } else {
        (void)qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                           "%s: it has expired at %s, and the one in force is valid", cert,
                           time_text(m->span.ends_s, when));
    }
    return false;
}

static void tell_figures(struct qd_tls_figures *figures, bool good, int64_t ends_s)
{
    if (figures == NULL) {
        return;
    }
    atomic_store_explicit(&figures->is_old, !good, memory_order_relaxed);
    if (good) {
        atomic_store_explicit(&figures->ends_s, ends_s, memory_order_relaxed);
    }
}

/* Not of the key: it goes with its certificate. */
static struct qd_hash128 content_of(const struct material *m)
{
    struct qd_hash128 cert = qd_hash_bytes(m->cert.text, m->cert.size, 0);

    return qd_hash_bytes(m->client_ca.text, m->client_ca.size, cert.lo);
}

/* Load what is there now. False: what was in force stays. */
static bool load(struct qd_tls *tls, struct qd_error *ret_error)
{
    struct material fresh = {.cert = {NULL, 0}};

    atomic_store_explicit(&tls->begins_s, 0, memory_order_relaxed);
    tls->seen = look(tls); /* before: what changes meanwhile is loaded next time */
    bool good = read_all(tls, &fresh, ret_error) && check_time(tls, &fresh, ret_error);
    tell_figures(tls->files.figures, good, fresh.span.ends_s);
    if (!good) {
        release(&fresh);
        return false;
    }
    release(&tls->material);
    tls->material = fresh;
    tls->generation++;
    tls->content = content_of(&fresh);
    return true;
}

/* --- at a handshake --- */

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void read_again(struct qd_tls *tls)
{
    struct qd_error error;

    if (look(tls) == tls->seen) {
        return;
    }
    tls->is_old = !load(tls, &error);
    tls->refused_ns = now_ns();
    if (!tls->is_old) {
        qd_log(QD_LOG_INFO, "TLS certificate reloaded", "file=%s",
               qd_log_quote(tls->files.cert).text);
    } else {
        qd_log(QD_LOG_WARN, "TLS files refused; those in force stay", "why=%s",
               qd_log_quote(error.text).text);
    }
}

static void look_again(struct qd_tls *tls)
{
    int64_t now = now_ns();

    if (now - tls->looked_ns >= LOOK_NS) {
        tls->looked_ns = now;
        read_again(tls);
    }
}

static grpc_ssl_server_certificate_config *config_of(const struct qd_tls *tls)
{
    const struct material *m = &tls->material;
    grpc_ssl_pem_key_cert_pair pair = {m->key.text, m->cert.text};
    /* gRPC 1.51 aborts without authorities, also where no client is asked: any will do then. */
    const char *authorities = asks_clients(tls) ? m->client_ca.text : m->cert.text;

    return grpc_ssl_server_certificate_config_create(authorities, &pair, 1);
}

static grpc_ssl_certificate_config_reload_status fetch(void *context,
                                                       grpc_ssl_server_certificate_config **config)
{
    struct port *port = context;
    struct qd_tls *tls = port->tls;
    grpc_ssl_certificate_config_reload_status status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;

    (void)pthread_mutex_lock(&tls->lock);
    look_again(tls);
    if (port->generation != tls->generation) {
        port->generation = tls->generation;
        *config = config_of(tls);
        status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
    }
    (void)pthread_mutex_unlock(&tls->lock);
    return status;
}

/* --- life --- */

struct qd_tls *qd_tls_open(const struct qd_tls_files *files, struct qd_error *ret_error)
{
    struct qd_tls *tls = calloc(1, sizeof(*tls));

    if (tls == NULL) {
        (void)qd_error_set(ret_error, QD_ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    tls->files = *files;
    (void)pthread_mutex_init(&tls->lock, NULL);
    tls->looked_ns = now_ns();
    if (!load(tls, ret_error)) {
        qd_tls_free(tls);
        return NULL;
    }
    return tls;
}

uint64_t qd_tls_look(const struct qd_tls *tls)
{
    return look(tls);
}

bool qd_tls_read_again(struct qd_tls *tls, struct qd_hash128 *ret_content, uint64_t *ret_look)
{
    (void)pthread_mutex_lock(&tls->lock);
    if (tls->is_old && now_ns() - tls->refused_ns >= RETRY_NS) {
        tls->seen = 0; /* what was missing may have been a descriptor */
    }
    read_again(tls);
    *ret_content = tls->content;
    *ret_look = tls->seen;
    bool good = !tls->is_old;
    (void)pthread_mutex_unlock(&tls->lock);
    return good;
}

void qd_tls_free(struct qd_tls *tls)
{
    if (tls != NULL) {
        release(&tls->material);
        (void)pthread_mutex_destroy(&tls->lock);
        free(tls);
    }
}

grpc_server_credentials *qd_tls_credentials(struct qd_tls *tls)
{
    grpc_ssl_client_certificate_request_type ask =
        !asks_clients(tls)           ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
        : tls->files.client_optional ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY
                                     : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;

    assert(tls->port_count < QD_TLS_PORTS_MAX);
    struct port *port = &tls->ports[tls->port_count++];
    *port = (struct port){tls, 0};
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(ask, fetch, port));
}
