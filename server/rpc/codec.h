/* The messages of quota.v1.QuotaService, to and from the shell's plain values, without allocation.
 *
 * Layer:    rpc
 * Threads:  none of its own.
 * Memory:   arguments point into the bytes that were decoded; encoders fill the caller's buffer.
 */
#ifndef QD_RPC_CODEC_H
#define QD_RPC_CODEC_H

#include "server/rpc/wire.h"
#include "server/shard/node.h"

/* False: not a message of that type. What it means is validated by the shell. */
bool qd_codec_check(struct qd_str bytes, struct qd_check_args *ret_args);
bool qd_codec_report(struct qd_str bytes, struct qd_report_args *ret_args);
bool qd_codec_extend(struct qd_str bytes, struct qd_extend_args *ret_args);
/* CancelReservationRequest: {1: reservation, 2: tenant}. */
bool qd_codec_cancel(struct qd_str bytes, struct qd_str *ret_reservation,
                     struct qd_str *ret_tenant);

/* Fields of the answers; the caller looks at out->full once at the end. */
void qd_codec_put_check(struct qd_out *out, const struct qd_check_answer *answer, bool brief,
                        struct qd_wall_ns now);
void qd_codec_put_report(struct qd_out *out, const struct qd_report_answer *answer,
                         const char *node);
void qd_codec_put_extend(struct qd_out *out, const struct qd_extend_answer *answer,
                         struct qd_wall_ns now);
void qd_codec_put_cancel(struct qd_out *out, bool cancelled);

/* A quota.v1.LimitState as field `id`. */
void qd_codec_put_state(struct qd_out *out, uint32_t id, const struct qd_policy *policy,
                        const struct qd_limit_state *state, struct qd_wall_ns now);

/* "model=gpt-4o user=u1" as Entry messages, repeated field `id`. */
void qd_codec_put_keys(struct qd_out *out, uint32_t id, struct qd_str text);

/* Headers that a gateway copies to a denied request's answer (I5), as repeated field `id`. */
void qd_codec_put_headers(struct qd_out *out, uint32_t id, const struct qd_check_answer *answer,
                          struct qd_wall_ns now);

#endif /* QD_RPC_CODEC_H */
