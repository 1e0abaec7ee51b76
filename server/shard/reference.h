/* What a caller means by `reservation`: a token, or the short id of a hold made here (S1).
 *
 * Layer:    shard
 * Threads:  any; takes the home shard's lock for short ids.
 * Memory:   the caller's; the token's strings point into `buffer`: do not copy it.
 */
#ifndef QD_SHARD_REFERENCE_H
#define QD_SHARD_REFERENCE_H

#include "server/shard/node.h"

struct qd_reference {
    struct qd_token token;
    struct qd_token_buffer buffer;
    bool ours;             /* made by this incarnation: `reservation` may be in memory */
    uint64_t reservation;  /* the slice's number; 0: not ours */
    struct qd_shard *home; /* of the tenant */
};

/* QD_ERROR_NONE; INVALID_TOKEN, TENANT_MISMATCH; UNKNOWN_RESERVATION for a short id that isn't
 * known here. `tenant` may be empty: any. */
enum qd_error_code qd_reference_read(struct qd_node *node, struct qd_str reservation,
                                     struct qd_str tenant, struct qd_reference *ret_reference,
                                     struct qd_error *ret_error);

#endif /* QD_SHARD_REFERENCE_H */
