/* The loop thread: timers, signals, policy reload, admin HTTP, on libev.
 *
 * Layer:    admin
 * Threads:  new, run and free on one thread (the main one); qd_loop_end from any.
 * Memory:   owns its watchers and the HTTP daemon; node, texts and hooks are the caller's.
 *
 *   SIGHUP, a change of the policy file or of a file that it imports -> reload, on a
 *   thread of its own
 *   SIGTERM, SIGINT -> hooks.unready, and drain_delay_ms later hooks.drain, once; a second one ->
 *   hooks.abort
 *   4 times a second -> qd_node_tick (clock, expiry, old policies)
 */
#ifndef QD_ADMIN_LOOP_H
#define QD_ADMIN_LOOP_H

#include "server/shard/reload.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define QD_LOOP_ERROR_MAX 256

struct qd_loop_config {
    struct qd_node *node;
    const char *policy_file; /* NULL: --dev, nothing to reload */
    const char *admin_listen;
    uint32_t admin_connections; /* of that port, at most */
    const char *grpc_host;
    uint16_t grpc_port;
    bool grpc_tls; /* it speaks TLS: /livez does too */
    size_t metrics_tenants;
    const char *config_text; /* for /debug/config; holds no secrets (X7) */
    /* For /rlconfig: Envoy's rate limits in force, as text. On the HTTP port's thread, until
     * qd_loop_free. False: it cannot just now. NULL: never. */
    bool (*show_rls)(void *context, FILE *body);
    int64_t drain_delay_ms; /* from unready to drain; 0: none */
    /* The policy file, or one that it imports, has changed and is in force. On a thread that may
     * block. */
    void (*reloaded)(void *context, const struct qd_reload_change *change);
    /* Be seen as not ready, and go on answering: must not block. */
    void (*unready)(void *context);
    /* Begin to stop: must not block; call qd_loop_end when all is done. */
    void (*drain)(void *context);
    /* Stop now. */
    void (*abort)(void *context);
    void *context;
};

struct qd_loop;

/* NULL: `error` says why (the address is in use, ...). */
struct qd_loop *qd_loop_new(const struct qd_loop_config *config, char error[QD_LOOP_ERROR_MAX]);
void qd_loop_free(struct qd_loop *loop);

/* Serve until qd_loop_end. */
void qd_loop_run(struct qd_loop *loop);

/* End the loop. From any thread. */
void qd_loop_end(struct qd_loop *loop);

uint16_t qd_loop_admin_port(const struct qd_loop *loop);

#endif /* QD_ADMIN_LOOP_H */
