/* ExtendReservation and CancelReservation (S1, S3). */
#include "server/shard/bind.h"
#include "server/shard/describe.h"
#include "server/shard/node.h"
#include "server/shard/pricing.h"
#include "server/shard/reference.h"
#include "server/shard/validate.h"

#include <string.h>

static void add_money(const struct qd_policy *policy, const struct qd_token *token,
                      struct qd_usage *usage)
{
    struct qd_priced priced;
    struct qd_pricing pricing = {
        .policy = policy,
        .model = token->model.len > 0 ? qd_policy_model(policy, token->model) : NULL,
        .pool = token->pool.len > 0 ? qd_policy_pool(policy, token->pool) : NULL,
        .usage = usage,
        .tier = token->tier,
        .cache_write_ttl = token->cache_write_ttl,
        .at = token->event_time};

    qd_pricing_compute(&pricing, &priced);
    if (priced.priced) {
        qd_usage_set(usage, QD_METER_COST, priced.cost_nano);
        qd_usage_set(usage, QD_METER_CHARGE, priced.charge_nano);
    }
}

static enum qd_error_code gone(struct qd_error *ret_error)
{
    return qd_error_set(ret_error, QD_ERROR_UNKNOWN_RESERVATION,
                        "reservation: settled, cancelled or expired, or made by another node or "
                        "boot; report what was "
                        "used, or check again");
}

static void stop(struct qd_extend_answer *a, struct qd_limit_state *stopping, struct qd_wall_ns now)
{
    struct qd_text text;

    a->go_on = false;
    a->denial = stopping->limit != NULL ? QD_DENIAL_LIMIT : QD_DENIAL_BLOCKED;
    qd_text_init(&text, a->message, sizeof(a->message));
    if (stopping->limit == NULL) {
        qd_text_add(&text, "the tenant is blocked; end the answer and report");
    } else {
        size_t len = stopping->name.len < sizeof(a->stopping.name) ? stopping->name.len
                                                                   : sizeof(a->stopping.name);
        a->stopping.state = *stopping;
        if (len > 0) {
            memcpy(a->stopping.name, stopping->name.ptr, len);
        }
        a->stopping.state.name = (struct qd_str){a->stopping.name, len};
        qd_describe_denial(&text, &a->stopping.state, now, false, 0);
        qd_text_add(&text, "; end the answer and report");
    }
    a->message_len = text.used;
}

enum qd_error_code qd_node_extend(struct qd_worker *worker, const struct qd_extend_args *args,
                                  struct qd_extend_answer *ret_answer, struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;
    const struct qd_published *published =
        atomic_load_explicit(&node->published, memory_order_acquire);
    struct qd_wall_ns now = qd_clock_now(&node->clock);
    struct qd_reference reference;
    struct qd_usage used;
    struct qd_limit_state stopping;
    int64_t ttl_ns = 0;

    if (qd_reference_read(node, args->reservation, args->tenant, &reference, ret_error) !=
            QD_ERROR_NONE ||
        qd_validate_usage("used_so_far", published->policy, args->used, args->used_count, &used,
                          ret_error) != QD_ERROR_NONE ||
        qd_validate_ttl(args->ttl_ms, reference.token.ttl_ns, &ttl_ns, ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (ttl_ns < QD_NS_PER_S) {
        ttl_ns = QD_TTL_DEFAULT_NS;
    }
    if (!reference.ours) {
        return gone(ret_error);
    }
    if (used.present != 0) {
        add_money(published->policy, &reference.token, &used);
        qd_policy_derive(published->policy, &used);
    }
    qd_count(&worker->figures.extends);
    memset(&stopping, 0, sizeof(stopping));
    ret_answer->policy = published->policy;
    ret_answer->go_on = true;
    ret_answer->denial = QD_DENIAL_NONE;
    ret_answer->message_len = 0;
    ret_answer->stopping.state.limit = NULL;
    qd_shards_lock(&node->shards, reference.home);
    enum qd_result result =
        qd_core_extend(reference.home->core, qd_shards_commons(&node->shards),
                       reference.reservation, &used, ttl_ns, now, &ret_answer->expires, &stopping);
    if (result == QD_STOP) {
        stop(ret_answer, &stopping, now); /* S3 */
    }
    qd_shards_unlock(&node->shards, reference.home);
    return result == QD_OK || result == QD_STOP ? QD_ERROR_NONE : gone(ret_error);
}

enum qd_error_code qd_node_cancel(struct qd_worker *worker, struct qd_str reservation,
                                  struct qd_str tenant, bool *ret_cancelled,
                                  struct qd_error *ret_error)
{
    struct qd_node *node = worker->node;
    struct qd_reference reference;
    bool cancelled = false;

    enum qd_error_code code = qd_reference_read(node, reservation, tenant, &reference, ret_error);
    if (code == QD_ERROR_UNKNOWN_RESERVATION) { /* cancelling twice is harmless */
        *ret_cancelled = false;
        return QD_ERROR_NONE;
    }
    if (code != QD_ERROR_NONE) {
        return code;
    }
    if (reference.ours) {
        qd_shards_lock(&node->shards, reference.home);
        cancelled = qd_core_cancel(reference.home->core, qd_shards_commons(&node->shards),
                                   reference.reservation, qd_clock_now(&node->clock)) == QD_OK;
        qd_shards_unlock(&node->shards, reference.home);
    }
    qd_count(&worker->figures.cancels);
    *ret_cancelled = cancelled;
    return QD_ERROR_NONE;
}
