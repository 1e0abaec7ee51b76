/* How a client shows who it is, and knows its server: TLS and a token, from files.
 *
 * Layer:    client. Threads: once made it is immutable.
 * Memory:   the client's. What was read of a secret is cleared before it is freed (X7); gRPC keeps
 *           a copy while the client lives, and frees it as it is.
 */
#ifndef LQ_SECURE_H
#define LQ_SECURE_H

#include "client/quota.h"

#include <grpc/grpc.h>

struct lq_secure {
    bool has_token;
    grpc_metadata authorization; /* of each call */
};

/* The credentials of the channel, to be released; NULL with *error: a file is wrong. Fills *secure
 * in, which is to be released. */
grpc_channel_credentials *lq_secure_open(const struct quota_config *config,
                                         struct lq_secure *secure, struct quota_error *error);
void lq_secure_release(struct lq_secure *secure);

/* What a call begins with. */
grpc_op lq_secure_begin(struct lq_secure *secure);

#endif /* LQ_SECURE_H */
