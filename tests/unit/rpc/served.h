/* A real server over a store with a gate, and a channel to it.
 *
 * Threads:  the test's own.
 */
#ifndef QD_TESTS_UNIT_RPC_SERVED_H
#define QD_TESTS_UNIT_RPC_SERVED_H

#include "server/rpc/server.h"
#include "storage/store.h"

#include <grpc/grpc.h>

struct served {
    struct qd_store *store; /* a gate */
    struct qd_ledger *ledger;
    struct qd_tenant_store *tenants;
    struct qd_node *node;
    struct qd_rpc *rpc; /* NULL: the test has stopped it */
    grpc_channel *channel;
    grpc_completion_queue *queue; /* to pluck from */
};

void served_open(struct served *s);
void served_close(struct served *s);

#endif /* QD_TESTS_UNIT_RPC_SERVED_H */
