/* AdminService: GetStatus, Drain. */
#include "quota/v1/admin.pb-c.h"
#include "server/rpc/admin.h"
#include "server/rpc/audit.h"
#include "server/rpc/text.h"
#include "server/shard/directory.h"

#include <stdio.h>

enum {
    STATE_SERVING = 2,
    STATE_DRAINING = 3,
    STATE_DEGRADED = 4
};

/* Sums over all slices. */
struct totals {
    struct qd_core_stats stats;
    uint64_t counters;
    uint64_t capacity_counters;
    uint64_t bindings;
    uint64_t reservations;
    uint64_t kept;
    uint64_t roots; /* of the home slices, as their capacity */
    uint64_t name_bytes;
};

static void add_totals(struct totals *t, struct qd_shard *shard, bool is_home)
{
    struct qd_core_stats s;

    (void)pthread_mutex_lock(&shard->lock);
    qd_core_stats(shard->core, &s);
    (void)pthread_mutex_unlock(&shard->lock);
    for (size_t i = 0; i < 4; i++) {
        t->counters += s.counters_live[i];
    }
    t->bindings += s.bindings_live;
    t->reservations += s.reservations_open;
    t->kept += s.reservations_kept;
    t->roots += is_home ? s.roots_live : 0;
    t->name_bytes += is_home ? s.name_bytes_used : 0;
    t->stats.allowed += s.allowed;
    t->stats.denied += s.denied;
    t->stats.shadow_denied += s.shadow_denied;
    t->stats.settled += s.settled;
    t->stats.cancelled += s.cancelled;
    t->stats.expired += s.expired;
    t->stats.capacity_denied += s.capacity_denied;
    t->stats.evicted += s.evicted;
    t->stats.kept_forgotten += s.kept_forgotten;
    t->stats.states_lost += s.states_lost;
}

static void sum_up(struct qd_node *node, struct totals *ret_totals)
{
    memset(ret_totals, 0, sizeof(*ret_totals));
    for (uint32_t i = 0; i < node->shards.count; i++) {
        add_totals(ret_totals, &node->shards.home[i], true);
    }
    add_totals(ret_totals, &node->shards.commons, false);
}

static void put_table(struct qd_out *out, const char *name, uint64_t used, uint64_t capacity)
{
    uint8_t *table = qd_out_begin(out, 8);

    qd_out_text(out, 1, name);
    qd_out_number(out, 2, used);
    qd_out_number(out, 3, capacity);
    qd_out_end(out, table);
}

static void put_stat(struct qd_out *out, const char *name, uint64_t value)
{
    uint8_t *stat = qd_out_begin(out, 11);

    qd_out_text(out, 1, name);
    qd_out_number(out, 2, value);
    qd_out_end(out, stat);
}

static void put_stats(struct qd_out *out, const struct qd_core_stats *s, uint64_t reports_late)
{
    put_stat(out, "checks_allowed", s->allowed);
    put_stat(out, "checks_denied", s->denied);
    put_stat(out, "checks_shadow_denied", s->shadow_denied);
    put_stat(out, "reservations_settled", s->settled);
    put_stat(out, "reservations_cancelled", s->cancelled);
    put_stat(out, "reservations_expired", s->expired);
    put_stat(out, "reports_late", reports_late);
    put_stat(out, "checks_capacity_denied", s->capacity_denied);
    put_stat(out, "counters_evicted", s->evicted);
    put_stat(out, "reservations_kept_forgotten", s->kept_forgotten);
    put_stat(out, "counter_states_lost", s->states_lost);
}

static void put_alarm(struct qd_out *out, const char *code, const char *message,
                      struct qd_wall_ns since)
{
    uint8_t *alarm = qd_out_begin(out, 12);

    qd_out_text(out, 1, code);
    qd_out_text(out, 2, message);
    qd_out_number(out, 3, (uint64_t)since.ns);
    qd_out_end(out, alarm);
}

/* What is wrong now; returns how many. */
static unsigned put_alarms(struct qd_place *place, const struct qd_ledger_status *ledger,
                           bool write)
{
    struct qd_wall_ns since = {0};
    int64_t step = qd_clock_alarm(&place->node->clock, &since);
    char text[QD_STORE_ERROR_TEXT_MAX + 160];
    unsigned count = 0;

    if (step != 0) {
        (void)snprintf(text, sizeof(text),
                       "the system's clock is %lld ms off: not followed; set it right, or restart "
                       "quotad to %s",
                       (long long)(step / QD_NS_PER_MS),
                       step > 0 ? "take it over" : "come near it at half speed");
        count++;
        if (write) {
            put_alarm(&place->out, "CLOCK_STEP", text, since);
        }
    }
    if (atomic_load_explicit(&place->node->reload_refused, memory_order_relaxed)) {
        count++;
        if (write) {
            put_alarm(&place->out, "POLICY_INVALID",
                      "the policy's newer file was refused, an older policy goes on; run: quotactl "
                      "policy reload, it says why",
                      (struct qd_wall_ns){0});
        }
    }
    if (ledger->failed) {
        (void)snprintf(text, sizeof(text),
                       "the ledger cannot be written: %s; reports are refused, checks go on",
                       ledger->failure.text);
        count++;
        if (write) {
            put_alarm(&place->out, "STORE_ERROR", text, (struct qd_wall_ns){0});
        }
    }
    return count;
}

enum qd_error_code qd_admin_get_status(struct qd_place *place, struct qd_call *call,
                                       struct qd_str bytes, struct qd_error *ret_error)
{
    struct qd_node *node = place->node;
    struct qd_out *out = &place->out;
    const struct qd_core_config *capacity = &node->shards.capacity;
    uint64_t shards = node->shards.count;
    struct qd_ledger_status ledger;
    struct totals t;

    (void)call;
    if (qd_place_unpack(place, &quota__v1__get_status_request__descriptor, bytes, ret_error) ==
        NULL) {
        return ret_error->code;
    }
    sum_up(node, &t);
    qd_ledger_status(node->ledger, &ledger);
    bool draining = atomic_load(&node->draining) || !qd_rpc_serving(place->rpc);
    bool degraded = put_alarms(place, &ledger, false) > 0;
    qd_out_text(out, 1, node->name);
    qd_out_number(out, 2, node->incarnation);
    qd_out_text(out, 3, QD_VERSION);
    qd_out_number(out, 4, draining ? STATE_DRAINING : degraded ? STATE_DEGRADED : STATE_SERVING);
    qd_out_number(out, 5, (uint64_t)node->started_at.ns);
    qd_out_number(out, 6, (uint64_t)qd_clock_now(&node->clock).ns);
    qd_admin_put_policy(place, 7);
    put_table(out, "counters", t.counters,
              shards * ((uint64_t)capacity->narrow_windows + capacity->wide_windows +
                        capacity->buckets + capacity->gauges));
    put_table(out, "reservations", t.reservations + t.kept, shards * capacity->reservations);
    put_table(out, "tenants", qd_directory_count(node->directory), node->tenants_max);
    put_table(out, "bindings", t.bindings, shards * capacity->bindings);
    put_table(out, "roots", t.roots, shards * capacity->roots);
    put_table(out, "name_bytes", t.name_bytes, shards * capacity->name_bytes);
    qd_out_number(out, 9, ledger.watermark.sequence);
    qd_out_number(out, 10, (uint64_t)ledger.watermark.complete_through.ns);
    put_stats(out, &t.stats, qd_node_reports_late(node));
    (void)put_alarms(place, &ledger, true);
    qd_out_number(out, 13, t.reservations);
    qd_out_number(out, 14, atomic_load_explicit(&node->reload_refused, memory_order_relaxed));
    qd_out_number(out, 15, atomic_load_explicit(&node->reload_failures, memory_order_relaxed));
    return QD_ERROR_NONE;
}

enum qd_error_code qd_admin_drain(struct qd_place *place, struct qd_call *call, struct qd_str bytes,
                                  struct qd_error *ret_error)
{
    struct qd_node *node = place->node;
    const Quota__V1__DrainRequest *q =
        qd_place_unpack(place, &quota__v1__drain_request__descriptor, bytes, ret_error);
    int64_t last = 0;
    uint64_t open = 0;

    if (q == NULL) {
        return ret_error->code;
    }
    bool was = atomic_exchange(&node->draining, q->cancel == 0);
    qd_rpc_set_serving(place->rpc, q->cancel != 0);
    qd_audit_write(place, call,
                   &(struct qd_audit_action){
                       .action = "Drain",
                       .subject = qd_slice_of("(node)"),
                       .detail = qd_slice_of(q->cancel ? "serves again" : "no new reservations"),
                       .before = qd_slice_of(was ? "draining" : "serving"),
                       .after = qd_slice_of(q->cancel ? "serving" : "draining")});
    for (uint32_t i = 0; i < node->shards.count; i++) {
        struct qd_shard *home = &node->shards.home[i];
        struct qd_hold hold;
        uint64_t cursor = 0;
        bool more = true;
        while (more) {
            (void)pthread_mutex_lock(&home->lock);
            for (unsigned k = 0; k < 256 && more; k++) {
                more = qd_core_hold_next(home->core, &cursor, &hold);
                if (more && !hold.expired) {
                    open++;
                    last = hold.expires.ns > last ? hold.expires.ns : last;
                }
            }
            (void)pthread_mutex_unlock(&home->lock);
        }
    }
    qd_out_number(&place->out, 1, q->cancel ? STATE_SERVING : STATE_DRAINING);
    qd_out_number(&place->out, 2, open);
    qd_out_number(&place->out, 3, (uint64_t)last);
    return QD_ERROR_NONE;
}
