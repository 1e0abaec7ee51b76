/* quotad's configuration: flags over QUOTAD_* environment over file over defaults (I10).
 *
 * Layer:    composition (main.c)
 * Units:    each setting's own, in its help text; durations are kept in ms.
 * Threads:  filled in once at start, immutable afterwards.
 * Memory:   the struct owns its texts; release it.
 *
 * One table (QD_SETTINGS) makes the flags, the environment names (`data-dir` is QUOTAD_DATA_DIR),
 * the keys of the file (`data-dir: DIR`), `--help` and `--print-config`.
 */
#ifndef QD_SERVER_CONFIG_H
#define QD_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qd_setting_kind {
    QD_SETTING_TEXT,
    QD_SETTING_FLAG,     /* true or false */
    QD_SETTING_COUNT,    /* a whole number within min..max; 40k, 1M as well */
    QD_SETTING_ADDRESS,  /* HOST:PORT; port 0: any free one; "" where that is the default */
    QD_SETTING_DURATION, /* 500ms, 30s, 5m, 2h; within min..max ms */
    QD_SETTING_LEVEL,    /* debug, info, warn, error */
};

/* ID, name, argument's name, kind, min, max, default ("" for none), help. */
#define QD_SETTINGS(X)                                                                            \
    X(POLICY, "policy", "FILE", TEXT, 0, 0, "", "policy in YAML; reloaded when it changes")       \
    X(RLS_CONFIG, "rls-config", "DIR", TEXT, 0, 0, "",                                            \
      "Envoy's rate limits: envoyproxy/ratelimit's YAML files; reloaded when they change")        \
    X(RLS_MERGE_DOMAINS, "rls-merge-domains", NULL, FLAG, 0, 1, "false",                          \
      "several files of --rls-config may have one domain")                                        \
    X(RLS_TENANT_DOMAIN, "rls-tenant-domain", "NAME", TEXT, 0, 0, "quotad",                       \
      "Envoy's domain whose descriptors name tenants of the policy; '': none")                    \
    X(RLS_HEADERS, "rls-headers", NULL, FLAG, 0, 1, "false",                                      \
      "Envoy's rate limits: answers carry RateLimit-Limit, -Remaining and -Reset headers")        \
    X(RLS_HEADER_NAMES, "rls-header-names", "NAMES", TEXT, 0, 0,                                  \
      "RateLimit-Limit,RateLimit-Remaining,RateLimit-Reset", "the names of these headers")        \
    X(RLS_DENIAL_HEADERS, "rls-denial-headers", NULL, FLAG, 0, 1, "false",                        \
      "Envoy's rate limits: what is over carries retry-after, ratelimit and ratelimit-policy")    \
    X(RLS_METADATA, "rls-metadata", NULL, FLAG, 0, 1, "false",                                    \
      "Envoy's rate limits: answers carry dynamic metadata")                                      \
    X(RLS_SHADOW, "rls-shadow", NULL, FLAG, 0, 1, "false",                                        \
      "Envoy's rate limits: decide and count, but answer OK")                                     \
    X(RLS_STOP_WHEN_OVER, "rls-stop-when-over", NULL, FLAG, 0, 1, "false",                        \
      "Envoy's rate limits: where one descriptor is over, the others count nothing")              \
    X(RLS_WHEN_FULL, "rls-when-full", "HOW", TEXT, 0, 0, "error",                                 \
      "Envoy's rate limits without room for another counter: error (Envoy's failure_mode_deny "   \
      "decides), or deny")                                                                        \
    X(RLS_NEAR_LIMIT, "rls-near-limit", "PERCENT", COUNT, 0, 100, "80",                           \
      "Envoy's rate limits: hits above this part of a limit are near_limit in /metrics")          \
    X(RLS_SLIDING, "rls-sliding", "DOMAINS", TEXT, 0, 0, "",                                      \
      "Envoy's rate limits: these domains' windows slide; with commas between them, or `*`")      \
    X(DEV, "dev", NULL, FLAG, 0, 1, "false", "no policy: any tenant, any model, generous limits") \
    X(DATA_DIR, "data-dir", "DIR", TEXT, 0, 0, "quotad-data",                                     \
      "the ledger and run-time tenants; made if missing")                                         \
    X(BACKUP_DIR, "backup-dir", "DIR", TEXT, 0, 0, "",                                            \
      "where backups are made, a folder each; default: backups in the data directory")            \
    X(LISTEN, "listen", "HOST:PORT", ADDRESS, 0, 65535, "127.0.0.1:7070", "gRPC; port 0: any")    \
    X(ADMIN_RPC_LISTEN, "admin-rpc-listen", "HOST:PORT", ADDRESS, 0, 65535, "",                   \
      "gRPC of AdminService, which --listen then does not serve; default: --listen does")         \
    X(TLS_CERT, "tls-cert", "FILE", TEXT, 0, 0, "",                                               \
      "gRPC by TLS: certificate and what leads to its authority, PEM; reloaded when it changes")  \
    X(TLS_KEY, "tls-key", "FILE", TEXT, 0, 0, "", "its key, PEM, that others cannot read")        \
    X(TLS_CLIENT_CA, "tls-client-ca", "FILE", TEXT, 0, 0, "",                                     \
      "ask clients for certificates of these authorities, PEM")                                   \
    X(TLS_CLIENT_AUTH, "tls-client-auth", "HOW", TEXT, 0, 0, "require",                           \
      "require, or optional: a client may come without a certificate")                            \
    X(CREDENTIALS, "credentials", "FILE", TEXT, 0, 0, "",                                         \
      "who may call, as what, for which tenant, in YAML; reloaded when it changes")               \
    X(ADMIN_LISTEN, "admin-listen", "HOST:PORT", ADDRESS, 0, 65535, "127.0.0.1:7071",             \
      "admin HTTP: /livez /readyz /metrics /debug/config")                                        \
    X(MAX_CONNECTIONS, "max-connections", "N", COUNT, 1, 1048576, "10k",                          \
      "gRPC connections at once; fewer where the system's limit of open files is lower")          \
    X(ADDRESS_CONNECTIONS, "max-connections-per-address", "N", COUNT, 0, 1048576, "0",            \
      "of them from one address (IPv6: one /64); 0: half of what there may be")                   \
    X(HTTP_LISTEN, "http-listen", "HOST:PORT", ADDRESS, 0, 65535, "",                             \
      "Envoy's rate limits over plain HTTP: POST /json, GET /healthcheck; none if not given")     \
    X(PORT_FILE, "port-file", "FILE", TEXT, 0, 0, "",                                             \
      "write the ports in use there once the node is ready: grpc=N, admin=N, admin_grpc=N, "      \
      "http=N")                                                                                   \
    X(NODE_NAME, "node-name", "NAME", TEXT, 0, 0, "",                                             \
      "kept by the ledger from its first start on; default: the host's name")                     \
    X(THREADS, "threads", "N", COUNT, 0, 128, "0", "RPC threads; 0: one per core")                \
    X(SHARDS, "shards", "N", COUNT, 1, 256, "16",                                                 \
      "slices of the tables, a power of two; a change ends open holds: they settle by tokens")    \
    X(MAX_COUNTERS, "max-counters", "N", COUNT, 1024, 67108864, "1M",                             \
      "live counters of each kind (windows, buckets, gauges)")                                    \
    X(MAX_BINDINGS, "max-bindings", "N", COUNT, 1024, 67108864, "1M",                             \
      "cached answers to `which limits apply`")                                                   \
    X(MAX_RESERVATIONS, "max-reservations", "N", COUNT, 1024, 67108864, "1M", "open holds")       \
    X(MAX_TENANTS, "max-tenants", "N", COUNT, 16, 16777216, "1M", "run-time tenants")             \
    X(ROOT_COUNTERS, "root-counters", "N", COUNT, 0, 67108864, "0",                               \
      "live counters of one root tenant, at most; 0: no quota")                                   \
    X(ROOT_RESERVATIONS, "root-reservations", "N", COUNT, 0, 67108864, "0",                       \
      "open holds of one root tenant, at most; 0: half of a slice's table")                       \
    X(HUGE_PAGES, "huge-pages", NULL, FLAG, 0, 1, "true", "ask for huge pages for the tables")    \
    X(DRAIN_GRACE, "drain-grace", "TIME", DURATION, 0, 3600000, "10s",                            \
      "how long SIGTERM waits for what is in flight")                                             \
    X(DRAIN_DELAY, "drain-delay", "TIME", DURATION, 0, 3600000, "0s",                             \
      "how long SIGTERM is not ready, and answers, before it stops: for load balancers")          \
    X(METRICS_TENANTS, "metrics-tenants", "N", COUNT, 0, 1000, "20",                              \
      "tenants with series of their own in /metrics; the rest is `other`")                        \
    X(METRICS_RULES, "metrics-rules", "N", COUNT, 0, 10000, "200",                                \
      "rules of --rls-config with series of their own in /metrics; the rest is `other`")          \
    X(LOG_LEVEL, "log-level", "LEVEL", LEVEL, 0, 0, "info", "debug, info, warn or error")

#define QD_SETTING_ENUM(id, ...) QD_SET_##id,
enum qd_setting_id {
    QD_SETTINGS(QD_SETTING_ENUM) QD_SETTING_COUNT_ALL
};
#undef QD_SETTING_ENUM

enum qd_origin {
    QD_ORIGIN_DEFAULT,
    QD_ORIGIN_FILE,
    QD_ORIGIN_ENVIRONMENT,
    QD_ORIGIN_FLAG,
};

struct qd_setting_value {
    char *text;     /* as given */
    int64_t number; /* COUNT, FLAG, DURATION (ms), LEVEL; else 0 */
    enum qd_origin origin;
    char *where; /* "default", "quotad.yaml:3", "QUOTAD_LISTEN", "--listen" */
};

struct qd_config {
    struct qd_setting_value value[QD_SETTING_COUNT_ALL];
};

#define QD_CONFIG_ERROR_MAX 512

/* All defaults. False: out of memory. */
bool qd_config_init(struct qd_config *config);
void qd_config_release(struct qd_config *config);

/* Set one by name. False: `error` says what is wrong and what is accepted; nothing has changed. A
 * value of a weaker origin never replaces one of a stronger. */
bool qd_config_set(struct qd_config *config, const char *name, const char *text,
                   enum qd_origin origin, const char *where, char error[QD_CONFIG_ERROR_MAX]);

/* Every QUOTAD_* variable of `environment` (NULL-terminated NAME=value). One that names no setting
 * is an error, except QUOTAD_CONFIG, which names the file, QUOTAD_ADDRESS, which is quotactl's, and
 * Kubernetes' links to a Service named quotad (QUOTAD_SERVICE_HOST, QUOTAD_PORT_7070_TCP, ...). */
bool qd_config_environment(struct qd_config *config, char *const *environment,
                           char error[QD_CONFIG_ERROR_MAX]);

/* A YAML map of settings. */
bool qd_config_file(struct qd_config *config, const char *path, char error[QD_CONFIG_ERROR_MAX]);
/* The same from bytes, `name` for the messages: for tests and fuzzing. */
bool qd_config_bytes(struct qd_config *config, const char *name, const void *bytes, size_t size,
                     char error[QD_CONFIG_ERROR_MAX]);

/* What contradicts itself: --dev with --policy, neither, shards not a power of two. */
bool qd_config_check(const struct qd_config *config, char error[QD_CONFIG_ERROR_MAX]);

/* Each setting with its value and origin, a line each; free() it. NULL: out of memory. */
char *qd_config_text(const struct qd_config *config);

static inline const char *qd_config_get(const struct qd_config *config, enum qd_setting_id id)
{
    return config->value[id].text;
}
static inline int64_t qd_config_number(const struct qd_config *config, enum qd_setting_id id)
{
    return config->value[id].number;
}

enum qd_config_parsed {
    QD_CONFIG_RUN,
    QD_CONFIG_PRINT, /* --print-config: print qd_config_text and exit 0 */
    QD_CONFIG_BAD,   /* `error` says why */
};

/* Flags, environment and file together. --help and --version print and exit. */
enum qd_config_parsed qd_config_parse(struct qd_config *config, int argc, char **argv,
                                      char *const *environment, char error[QD_CONFIG_ERROR_MAX]);

#endif /* QD_SERVER_CONFIG_H */
