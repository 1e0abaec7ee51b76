/* The gRPC server: completion-queue threads that decide inline, and threads that book reports.
 *
 * Layer:    rpc
 * Threads:  start, drain and stop from one thread (the loop's). Handlers run on the server's own
 * threads. Memory:   calls come from pools; a handler works in its thread's arena.
 *
 * A check is decoded, decided and answered on the thread that read it. A report waits for the disk:
 * it goes to one of the booking threads, whose reports share synced writes.
 */
#ifndef QD_RPC_SERVER_H
#define QD_RPC_SERVER_H

#include "server/rpc/rls_options.h"
#include "server/rpc/tls.h"
#include "server/shard/node.h"

#include <limits.h>
#include <stdio.h>

#define QD_MESSAGE_BYTES_MAX  (256U << 10) /* X2 */
#define QD_METADATA_BYTES_MAX (16U << 10)  /* X2 */
#define QD_BATCH_MAX          256U         /* items of one StreamQuota message (X2) */

/* A backup that was made. */
struct qd_checkpoint {
    char name[72];
    char path[PATH_MAX]; /* of its folder, on this machine */
    uint64_t bytes;
    uint64_t files;
    uint64_t sequence; /* of the last ledger entry in it: all up to it are, none beyond */
    struct qd_wall_ns complete_through;
};

/* What the services need from the composition root. Called on RPC threads. */
struct qd_rpc_hooks {
    void *context;
    /* Load and publish the policy file again. */
    enum qd_error_code (*reload)(void *context, uint64_t expected_revision,
                                 struct qd_problems *problems, bool *ret_changed,
                                 struct qd_error *ret_error);
    /* Copy what is durable to a folder `name` (NULL: one is made up) of --backup-dir. */
    enum qd_error_code (*checkpoint)(void *context, const char *name,
                                     struct qd_checkpoint *ret_checkpoint,
                                     struct qd_error *ret_error);
    /* Something worth a log line happened. */
    void (*log)(void *context, int level, const char *event, const char *text);
};

struct qd_rls_set;     /* rls.h */
struct qd_credentials; /* credentials.h */

struct qd_rpc_config {
    const char *listen;       /* "127.0.0.1:7070"; port 0: any */
    const char *admin_listen; /* AdminService is served there only; NULL or "": on `listen` */
    uint32_t threads;         /* completion queues */
    uint32_t booking_threads;
    uint32_t query_threads;    /* queries and administration: no report waits for them (I9) */
    uint32_t booking_queue;    /* reports that may wait, and as many queries */
    uint32_t streams_max;      /* concurrent calls of one connection */
    uint32_t connection_age_s; /* 0: no limit */
    /* X2; 0: 1000, and no cap of one address. */
    uint32_t connections_max;
    uint32_t connections_per_address;
    bool grpc_listener;      /* gRPC accepts, without caps: for tests */
    struct qd_tls_files tls; /* `cert` NULL or "": plaintext. The names outlive the server */
    struct qd_rls_set *rls;  /* the server's from then on; NULL: none */
    struct qd_rls_options rls_options;
    const char *tenant_domain; /* of rate limit requests that name tenants; NULL or "": none */
    /* Who may call (X1); the server's from then on; NULL: nobody is asked (caller.h). */
    struct qd_credentials *credentials;
    struct qd_rpc_hooks hooks;
};

struct qd_rpc; /* opaque */

/* Bind and serve. NULL: *ret_error says why ("127.0.0.1:7070: cannot listen: ..."). */
struct qd_rpc *qd_rpc_start(struct qd_node *node, const struct qd_rpc_config *config,
                            struct qd_error *ret_error);

/* The port that it listens on. */
int qd_rpc_port(const struct qd_rpc *rpc);
/* Of `admin_listen`; 0: there is none. */
int qd_rpc_admin_port(const struct qd_rpc *rpc);

/* Decide by this set of rate limits from now on, which becomes the server's (I3). One thread at a
 * time. */
void qd_rpc_publish_rls(struct qd_rpc *rpc, struct qd_rls_set *set);

/* The rate limits in force as text (server/rls/show.h); a comment if there are none. From any
 * thread, before qd_rpc_stop. False: nothing was written; too many threads read just now. */
bool qd_rpc_show_rls(struct qd_rpc *rpc, FILE *out);

/* Callers are known by these credentials from now on, which become the server's: also the streams
 * that are open, with their next message; watches at once. */
void qd_rpc_publish_credentials(struct qd_rpc *rpc, struct qd_credentials *credentials);

/* qd_tls_look and qd_tls_read_again of a server that speaks TLS. */
uint64_t qd_rpc_tls_look(const struct qd_rpc *rpc);
bool qd_rpc_tls_read_again(struct qd_rpc *rpc, struct qd_hash128 *ret_content, uint64_t *ret_look);

/* Health turns NOT_SERVING (or SERVING again); watchers are told. */
void qd_rpc_set_serving(struct qd_rpc *rpc, bool serving);

/* Watchers hear NOT_SERVING and are ended. Take no new calls, finish those in flight (at most
 * `grace_ms`, then cancel them), join the threads, free all. */
void qd_rpc_stop(struct qd_rpc *rpc, uint32_t grace_ms);

struct qd_rpc_figures {
    uint64_t calls;  /* begun */
    uint64_t errors; /* calls that ended with a status that is not OK, and items of streams */
    uint64_t stream_messages;
    uint64_t booking_waiting; /* now */
    uint64_t booking_refused;
    uint64_t errors_by_code[QD_ERROR_COUNT];
};
void qd_rpc_figures(struct qd_rpc *rpc, struct qd_rpc_figures *ret_figures);

#endif /* QD_RPC_SERVER_H */
