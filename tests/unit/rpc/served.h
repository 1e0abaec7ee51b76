/* A real server over a store with a gate, and a channel to it.
 *
 * Threads:  the test's own.
 */
#ifndef QD_TESTS_UNIT_RPC_SERVED_H
#define QD_TESTS_UNIT_RPC_SERVED_H

#include "server/rpc/server.h"
#include "storage/store.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#define SERVED_METADATA_MAX 2U

struct served {
    struct qd_store *store;  /* a gate */
    struct qd_store *memory; /* behind it */
    struct qd_ledger *ledger;
    struct qd_tenant_store *tenants;
    struct qd_node *node;
    struct qd_rpc *rpc; /* NULL: the test has stopped it */
    grpc_channel *channel;
    grpc_completion_queue *queue; /* to pluck from */
    const char *token;            /* that served_call brings; NULL: none */
    char reason[64];              /* of served_call's last error; "": none */
    /* What served_call sends along. */
    grpc_metadata metadata[SERVED_METADATA_MAX];
    size_t metadata_count;
};

/* How it is otherwise than usual; all 0: as usual. */
struct served_with {
    const char *policy;           /* NULL: a small one */
    struct qd_clock_source clock; /* all NULL: the system's */
    uint32_t counters;            /* of each kind, and bindings; 0: 64 */
    struct qd_rpc_config rpc;     /* what served_config sets and is 0 here is as there */
    bool no_channel;              /* the test dials itself */
    bool no_server;               /* only the node and what is below it */
};
void served_open(struct served *s, const struct served_with *with);
void served_close(struct served *s);

/* On any port of 127.0.0.1, with one booking thread: the next report waits in the queue. */
struct qd_rpc_config served_config(void);

/* Another channel, on a connection of its own, with these credentials, which it takes. The channel
 * before it is the caller's from then on. */
void served_dial(struct served *s, grpc_channel_credentials *credentials);

/* A unary call under way. */
struct served_pending {
    grpc_call *call;
    grpc_byte_buffer *sent;
    grpc_byte_buffer *received;
    grpc_metadata_array initial, trailing;
    grpc_slice details;
    grpc_slice bearer; /* the token that it brings */
    grpc_status_code status;
};

/* Call a unary method, "/quota.v1.UsageService/QueryUsage". */
void served_begin(struct served *s, const char *path, const ProtobufCMessage *request,
                  int64_t deadline_ms, struct served_pending *ret_pending);
/* Wait for its end: the answer, an `answer_type` to free, or NULL with *ret_status. */
void *served_end(struct served *s, struct served_pending *pending,
                 const ProtobufCMessageDescriptor *answer_type, grpc_status_code *ret_status);
/* Both. */
void *served_call(struct served *s, const char *path, const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *answer_type, grpc_status_code *ret_status);

#endif /* QD_TESTS_UNIT_RPC_SERVED_H */
