#include "server/shard/reference.h"

#include "server/core/mutant.h"
#include "server/shard/validate.h"

#include <string.h>

static enum qd_error_code not_open(struct qd_str id, struct qd_error *ret_error)
{
    return qd_error_set(
        ret_error, QD_ERROR_UNKNOWN_RESERVATION,
        "reservation: %s is not known on this node; use the token that CheckQuota returned "
        "(begins with qr1.), or run: quotactl reservations ls",
        qd_quote(id).text);
}

/* The token behind a short id, copied out from under the lock. Its hold may have ended: a retry
 * finds what was booked (S6), until another hold takes the note's place. */
static bool recall(struct qd_node *node, struct qd_str id, char text[QD_TOKEN_NOTE_BYTES],
                   struct qd_str *ret_token)
{
    uint64_t number = 0;
    uint64_t reservation = 0;
    bool found = false;

    if (!qd_short_id_decode(id, &number)) {
        return false;
    }
    struct qd_shard *home = qd_shards_by_number(&node->shards, number, &reservation);
    qd_shards_lock(&node->shards, home);
    struct qd_str token = qd_shard_recall(home, reservation);
    if (token.len > 0) {
        memcpy(text, token.ptr, token.len);
        *ret_token = (struct qd_str){text, token.len};
        found = true;
    }
    qd_shards_unlock(&node->shards, home);
    return found;
}

/* S1: made by this boot, or by an earlier one and brought back by the snapshot. */
static bool is_ours(struct qd_node *node, const struct qd_reference *r)
{
    uint64_t reservation = 0;
    struct qd_hold hold;

    if (r->token.node != node->name_hash || r->token.incarnation == node->incarnation) {
        return r->token.node == node->name_hash;
    }
    if (qd_shards_by_number(&node->shards, r->token.reservation, &reservation) != r->home) {
        return false;
    }
    qd_shards_lock(&node->shards, r->home);
    bool found =
        qd_core_hold(r->home->core, reservation, &hold) && hold.made_at.ns == r->token.made_at.ns;
    qd_shards_unlock(&node->shards, r->home);
    return found;
}

enum qd_error_code qd_reference_read(struct qd_node *node, struct qd_str reservation,
                                     struct qd_str tenant, struct qd_reference *ret_reference,
                                     struct qd_error *ret_error)
{
    char text[QD_TOKEN_NOTE_BYTES];
    struct qd_str token = reservation;

    if (reservation.len > 2 && memcmp(reservation.ptr, "r_", 2) == 0 &&
        !recall(node, reservation, text, &token)) {
        return not_open(reservation, ret_error);
    }
    struct qd_reference *r = ret_reference;
    if (!qd_token_decode(&node->token_key, token, &r->buffer, &r->token)) {
        return qd_error_set(
            ret_error, QD_ERROR_INVALID_TOKEN,
            "reservation: %s is no reservation of this cluster; pass the token as CheckQuota "
            "returned it (begins with qr1.), or its short id (r_...)",
            qd_quote(reservation).text);
    }
    bool same = tenant.len == 0 || (tenant.len == r->token.tenant.len &&
                                    memcmp(tenant.ptr, r->token.tenant.ptr, tenant.len) == 0);
    if (!same && !QD_MUTANT(S1_tenant)) {
        return qd_error_set(
            ret_error, QD_ERROR_TENANT_MISMATCH,
            "reservation: it is not %s's; leave `tenant` out, or give the tenant of the check",
            qd_quote(tenant).text);
    }
    r->home = qd_shards_of(&node->shards, r->token.tenant);
    r->reservation = 0;
    r->ours = is_ours(node, r);
    if (r->ours) {
        (void)qd_shards_by_number(&node->shards, r->token.reservation, &r->reservation);
    }
    return QD_ERROR_NONE;
}
