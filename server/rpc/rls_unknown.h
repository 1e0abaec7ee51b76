/* The warning of a domain that nothing limits: most likely a typing error in Envoy's configuration.
 *
 * Layer:    rpc
 * Threads:  any.
 * Memory:   none kept.
 */
#ifndef QD_RPC_RLS_UNKNOWN_H
#define QD_RPC_RLS_UNKNOWN_H

#include "server/shard/clock.h"
#include "server/shard/error.h"

#include <stdint.h>

#define QD_RLS_UNKNOWN_EVERY_S 10

/* A request came in a domain that no file has; there are `domains` that one has. One line in
 * QD_RLS_UNKNOWN_EVERY_S says so, with how many requests had none since the last. */
void qd_rls_unknown_tell(struct qd_str domain, uint64_t domains, struct qd_wall_ns now);

#endif /* QD_RPC_RLS_UNKNOWN_H */
