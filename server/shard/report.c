/* ReportUsage's flow: reference, validate, price, book in the ledger, apply to the counters (S2-S7,
 * X5). */
#include "server/core/check.h"
#include "server/core/decimal.h"
#include "server/core/hash.h"
#include "server/core/mutant.h"
#include "server/shard/bind.h"
#include "server/shard/closed.h"
#include "server/shard/node.h"
#include "server/shard/pricing.h"
#include "server/shard/reference.h"
#include "server/shard/stored_answer.h"
#include "server/shard/validate.h"
#include "storage/codec.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define QD_SETTLE_TRIES 8U

/* What one report works on. */
struct work {
    struct qd_worker *worker;
    const struct qd_published *published;
    const struct qd_report_args *args;
    struct qd_wall_ns now;
    bool has_reference;
    struct qd_reference reference;
    struct qd_usage usage; /* as given, and `requests` where this part counts them */
    struct qd_wall_ns event_time;
    struct qd_wall_ns charged_at;
    enum qd_outcome outcome;
    bool final;
    bool closed_before;         /* the reservation was settled by an earlier report */
    bool open;                  /* its hold is in memory */
    struct qd_subject reserved; /* what the counters know it as */
    struct qd_entry entry;
    struct qd_hash128 content; /* of the report as given (S6) */
    struct qd_priced priced;
    char stand_in_id[64];
};

static struct qd_str pick(struct qd_str given, struct qd_str otherwise)
{
    return given.len > 0 ? given : otherwise;
}

/* --- validation --- */

static enum qd_error_code validate_names(const struct qd_report_args *args,
                                         struct qd_error *ret_error)
{
    if (qd_validate_name("model", args->model, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("pool", args->pool, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("user", args->user, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("source", args->source, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("request_id", args->request_id, ret_error) != QD_ERROR_NONE ||
        qd_validate_labels(args->labels, args->label_count, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (args->sequence > INT32_MAX) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "sequence: %u is out of range; accepted are 0 to %d", args->sequence,
                            INT32_MAX);
    }
    if (args->outcome > 4) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "outcome: %u is unknown; accepted are 0 to 4", args->outcome);
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code read_reference(struct work *w, struct qd_error *ret_error)
{
    const struct qd_report_args *args = w->args;

    w->has_reference = args->reservation.len > 0;
    if (args->tenant.len > 0 || !w->has_reference) {
        if (qd_validate_tenant(args->tenant, ret_error) != QD_ERROR_NONE) {
            return ret_error->code;
        }
    }
    if (w->has_reference) {
        return qd_reference_read(w->worker->node, args->reservation, args->tenant, &w->reference,
                                 ret_error);
    }
    if (args->request_id.len == 0) { /* S6, S7: without an id a retry would book twice */
        return qd_error_set(
            ret_error, QD_ERROR_REQUEST_ID_REQUIRED,
            "request_id: required without a reservation: it makes a retry harmless");
    }
    return QD_ERROR_NONE;
}

static enum qd_error_code validate(struct work *w, struct qd_error *ret_error)
{
    static const enum qd_outcome outcomes[] = {QD_OUTCOME_OK, QD_OUTCOME_OK,
                                               QD_OUTCOME_NOT_DISPATCHED, QD_OUTCOME_FAILED,
                                               QD_OUTCOME_DISCONNECTED};
    const struct qd_report_args *args = w->args;
    const struct qd_policy *policy = w->published->policy;

    if (validate_names(args, ret_error) != QD_ERROR_NONE ||
        read_reference(w, ret_error) != QD_ERROR_NONE ||
        qd_validate_usage("usage", policy, args->usage, args->usage_count, &w->usage, ret_error) !=
            QD_ERROR_NONE) {
        return ret_error->code;
    }
    w->outcome = outcomes[args->outcome];
    w->final = !args->partial;
    if (w->outcome == QD_OUTCOME_NOT_DISPATCHED && w->usage.present != 0) { /* S4 */
        return qd_error_set(
            ret_error, QD_ERROR_USAGE_NOT_EMPTY,
            "usage: must be empty with outcome NOT_DISPATCHED; report what was used with FAILED or "
            "DISCONNECTED");
    }
    w->event_time = args->event_time_given ? (struct qd_wall_ns){args->event_time_ns}
                    : w->has_reference     ? w->reference.token.event_time
                                           : w->now;
    return qd_validate_event_time("event_time", w->event_time, w->now, policy->report_horizon_ns,
                                  QD_ERROR_REPORT_TOO_OLD, ret_error);
}

/* --- the reservation's state --- */

static void set_identity(struct work *w)
{
    const struct qd_report_args *args = w->args;
    struct qd_entry *e = &w->entry;

    memset(e, 0, sizeof(*e));
    e->source = pick(args->source, (struct qd_str){"gateway", 7});
    e->request_id = args->request_id;
    e->attempt = args->attempt;
    e->part = QD_MUTANT(S6_sequence) ? 0 : args->sequence;
    if (w->has_reference) {
        const struct qd_token *t = &w->reference.token;
        e->request_id = pick(args->request_id, t->request_id);
        e->attempt = args->attempt != 0 ? args->attempt : t->attempt;
        e->reservation_incarnation = t->incarnation;
        e->reservation = t->reservation;
        if (e->request_id.len == 0) { /* S6: the reservation's own number stands in */
            char id[QD_SHORT_ID_MAX];
            size_t len = qd_short_id_encode(t->reservation, id);
            int n = snprintf(w->stand_in_id, sizeof(w->stand_in_id), "%.*s@%016llx.%llu", (int)len,
                             id, (unsigned long long)t->node, (unsigned long long)t->incarnation);
            e->request_id = (struct qd_str){w->stand_in_id, (size_t)n};
        }
    }
}

/* Which report closed it: a retry of that one finds the reservation as it was the first time. */
static struct qd_hash128 identity_of(const struct qd_entry *e)
{
    struct qd_hasher h;

    qd_hasher_init(&h, 0);
    qd_hasher_str(&h, e->source);
    qd_hasher_str(&h, e->request_id);
    qd_hasher_u64(&h, e->attempt);
    qd_hasher_u64(&h, e->part);
    return qd_hasher_end(&h);
}

static enum qd_error_code look_at_reservation(struct work *w, struct qd_error *ret_error)
{
    struct qd_node *node = w->worker->node;
    struct qd_reference *r = &w->reference;
    struct qd_hold hold;
    bool live = false; /* one that is kept may have been closed by a report before */

    if (!w->has_reference) {
        return QD_ERROR_NONE;
    }
    if (r->ours) {
        qd_shards_lock(&node->shards, r->home);
        w->open = qd_core_hold(r->home->core, r->reservation, &hold);
        live = w->open && !hold.expired;
        qd_shards_unlock(&node->shards, r->home);
    }
    if (live) {
        return QD_ERROR_NONE;
    }
    struct qd_buf key = {0};
    struct qd_buf value = {0};
    struct qd_store_error error;
    qd_closed_key(&r->token, &key);
    enum qd_store_err err =
        key.failed ? QD_STORE_NO_MEMORY
                   : qd_store_get(node->store, QD_STORE_SNAPSHOT, qd_buf_str(&key), &value, &error);
    struct qd_hash128 identity = identity_of(&w->entry);
    bool by_this = err == QD_STORE_OK && value.size == sizeof(identity) &&
                   memcmp(value.data, &identity, sizeof(identity)) == 0;
    w->closed_before = err == QD_STORE_OK && !by_this;
    qd_buf_release(&key);
    qd_buf_release(&value);
    if (err != QD_STORE_OK && err != QD_STORE_NOT_FOUND) {
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                            "the store cannot be read (%s); nothing was booked: "
                            "retry",
                            qd_store_err_text(err));
    }
    return QD_ERROR_NONE;
}

/* The check counted the request itself; the report that settles it says so in the ledger, once. */
static void count_requests(struct work *w)
{
    bool served = w->outcome == QD_OUTCOME_OK || w->outcome == QD_OUTCOME_DISCONNECTED;
    if (qd_usage_has(&w->usage, QD_METER_REQUESTS) || !served) {
        return;
    }
    if (!w->has_reference) {
        /* S7: of two sources' first parts, the one that is not times alone is the request. */
        const uint32_t times = QD_METER_BIT(QD_METER_GPU_MS) |
                               QD_METER_BIT(QD_METER_PROCESSING_MS) |
                               QD_METER_BIT(QD_METER_MEMORY_GB_MS);
        bool only_times = w->usage.present != 0 && (w->usage.present & ~times) == 0;
        if (w->args->sequence == 0 && !only_times) {
            qd_usage_set(&w->usage, QD_METER_REQUESTS, 1);
        }
    } else if (w->final && !w->closed_before) {
        int64_t requests = qd_usage_has(&w->reference.token.estimate, QD_METER_REQUESTS)
                               ? w->reference.token.estimate.amount[QD_METER_REQUESTS]
                               : 1;
        qd_usage_set(&w->usage, QD_METER_REQUESTS, requests);
    }
}

/* --- the entry --- */

static void set_labels(struct work *w)
{
    const struct qd_label *labels = w->args->labels;
    struct qd_entry *e = &w->entry;

    e->label_count = w->args->label_count;
    if (e->label_count == 0 && w->has_reference) {
        labels = w->reference.token.labels;
        e->label_count = w->reference.token.label_count;
    }
    QD_CHECK(e->label_count <= QD_ENTRY_LABELS_MAX); /* X2 */
    for (size_t i = 0; i < e->label_count; i++) {
        e->labels[i] = labels[i];
    }
}

static void set_quantities(struct work *w)
{
    const struct qd_policy *policy = w->published->policy;
    struct qd_entry *e = &w->entry;

    e->quantity_count = 0;
    for (uint32_t left = w->usage.present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        const char *name = policy->meters[meter].name;
        e->quantities[e->quantity_count++] =
            (struct qd_entry_quantity){{name, strlen(name)}, w->usage.amount[meter]};
    }
}

static void set_money(struct work *w)
{
    struct qd_entry *e = &w->entry;
    const struct qd_priced *p = &w->priced;

    e->price_count = p->version_count;
    for (size_t i = 0; i < p->version_count && i < QD_ENTRY_PRICES_MAX; i++) {
        e->prices[i] = (struct qd_str){p->versions[i], strlen(p->versions[i])};
    }
    if (p->priced) {
        e->cost_pico_usd = p->cost_pico;
        e->charge_pico_usd = p->charge_pico;
        e->cost_nano_usd = p->cost_nano;
        e->charge_nano_usd = p->charge_nano;
        qd_usage_set(&w->usage, QD_METER_COST, p->cost_nano);
        qd_usage_set(&w->usage, QD_METER_CHARGE, p->charge_nano);
    } else {
        e->flags |= QD_ENTRY_UNPRICED; /* P8 */
    }
}

/* P8: a known price is never booked as none. */
static enum qd_error_code too_dear(const struct work *w, struct qd_error *ret_error)
{
    unsigned meter = (unsigned)__builtin_ctz(w->priced.overflow_meters);

    return qd_error_set(
        ret_error, QD_ERROR_INVALID_AMOUNT,
        "usage: %s: with %lld the report costs more than $9,223,372, the most that one report may; "
        "nothing was booked: correct the amount, or report it in parts",
        w->published->policy->meters[meter].name, (long long)qd_usage_get(&w->usage, meter));
}

static enum qd_error_code make_entry(struct work *w, struct qd_error *ret_error)
{
    const struct qd_report_args *args = w->args;
    const struct qd_policy *policy = w->published->policy;
    const struct qd_token *t = w->has_reference ? &w->reference.token : NULL;
    struct qd_entry *e = &w->entry;
    struct qd_subject_args subject = {.tenant = t != NULL ? t->tenant : args->tenant,
                                      .model = t != NULL ? t->model : args->model,
                                      .pool = t != NULL ? t->pool : args->pool,
                                      .user = t != NULL ? t->user : args->user,
                                      .labels = t != NULL ? t->labels : args->labels,
                                      .label_count =
                                          t != NULL ? t->label_count : args->label_count};
    enum qd_price_tier tier = QD_TIER_STANDARD;
    enum qd_cache_write_ttl ttl = QD_CACHE_WRITE_5M;

    if (qd_validate_tier(args->tier, &tier, ret_error) != QD_ERROR_NONE ||
        qd_validate_cache_ttl(args->cache_write_ttl, &ttl, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (t != NULL && args->tier == 0) {
        tier = t->tier;
    }
    if (t != NULL && args->cache_write_ttl == 0) {
        ttl = t->cache_write_ttl;
    }
    qd_subject_init(&w->reserved, policy, w->worker->node->shards.seed, &subject);
    e->tenant = subject.tenant;
    e->model = pick(args->model, subject.model);
    e->pool = pick(args->pool, subject.pool);
    e->user = pick(args->user, subject.user);
    e->kind = QD_ENTRY_USAGE;
    e->outcome = w->outcome;
    e->tier = tier;
    e->event_time = w->event_time;
    w->charged_at = t != NULL ? t->made_at : w->event_time;
    e->charged_time =
        w->charged_at; /* X5: a restart counts it in the period that it counts in now */
    e->flags = w->final ? QD_ENTRY_FINAL : 0;
    set_labels(w);
    set_quantities(w);
    e->cache_write_1h_tokens =
        ttl == QD_CACHE_WRITE_1H ? qd_usage_get(&w->usage, QD_METER_CACHE_WRITE_TOKENS) : 0;
    qd_entry_sort(e);
    /* S6: as given. What is added below may differ for a retry that comes after another source, or
     * after a reload: the pool that the policy gives the model. */
    w->content = qd_ledger_content(e, args->event_time_given);
    e->pool = pick(e->pool, w->reserved.attributes.pool);
    count_requests(w);
    set_quantities(w);
    struct qd_pricing pricing = {.policy = policy,
                                 .model =
                                     e->model.len > 0 ? qd_policy_model(policy, e->model) : NULL,
                                 .pool = e->pool.len > 0 ? qd_policy_pool(policy, e->pool) : NULL,
                                 .usage = &w->usage,
                                 .tier = tier,
                                 .cache_write_ttl = ttl,
                                 .at = w->event_time};
    qd_pricing_compute(&pricing, &w->priced);
    if (w->priced.overflow_meters != 0) {
        return too_dear(w, ret_error);
    }
    set_money(w);
    qd_entry_sort(e);
    const struct qd_attributes *counted = &w->reserved.attributes;
    /* X5: a restart counts where it counts now. */
    qd_entry_set_reserved(e, counted->model, counted->pool, counted->user, counted->labels,
                          counted->label_count);
    return QD_ERROR_NONE;
}

/* --- the answer --- */

/* Held against used, for the parts that close a reservation alone. */
static void compare_with_estimate(const struct work *w, struct qd_report_answer *a)
{
    uint32_t shown = ~(QD_METER_BIT(QD_METER_REQUESTS) | QD_METER_BIT(QD_METER_TOKENS) |
                       QD_METER_BIT(QD_METER_CONCURRENCY));

    if (!w->has_reference || !w->final || w->args->sequence != 0 || w->closed_before) {
        return;
    }
    const struct qd_usage *held = &w->reference.token.estimate;
    bool nothing_kept = w->outcome == QD_OUTCOME_NOT_DISPATCHED;
    for (uint32_t left = (held->present | w->usage.present) & shown; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        if (!nothing_kept && !qd_usage_has(&w->usage, meter)) {
            continue;
        }
        int64_t difference = qd_usage_get(held, meter) - qd_usage_get(&w->usage, meter);
        if (difference > 0) {
            qd_usage_set(&a->released, meter, difference);
        } else if (difference < 0) {
            qd_usage_set(&a->overrun, meter, -difference);
        }
    }
}

static void make_answer(const struct work *w, struct qd_report_answer *a)
{
    memset(a, 0, sizeof(*a));
    a->policy_revision = w->published->policy->revision;
    a->unpriced = !w->priced.priced;
    a->unpriced_meters = w->priced.unpriced_meters;
    if (w->priced.priced) {
        char text[QD_DECIMAL_TEXT_MAX];
        a->cost_nano = w->priced.cost_nano;
        a->charge_nano = w->priced.charge_nano;
        (void)qd_decimal_format(w->priced.cost_pico, 0, text);
        (void)snprintf(a->cost_pico, sizeof(a->cost_pico), "%.*s", (int)sizeof(a->cost_pico) - 1,
                       text);
        (void)qd_decimal_format(w->priced.charge_pico, 0, text);
        (void)snprintf(a->charge_pico, sizeof(a->charge_pico), "%.*s",
                       (int)sizeof(a->charge_pico) - 1, text);
    }
    a->settlement = !w->has_reference              ? QD_SETTLEMENT_NONE
                    : !w->open || w->closed_before ? QD_SETTLEMENT_LATE
                    : w->final                     ? QD_SETTLEMENT_CLOSED
                                                   : QD_SETTLEMENT_PARTIAL;
    compare_with_estimate(w, a);
}

/* --- booking and settling --- */

static enum qd_error_code booking_error(enum qd_book_result result,
                                        const struct qd_receipt *receipt,
                                        struct qd_error *ret_error)
{
    switch (result) {
    case QD_BOOK_CONFLICT:
        return qd_error_set(ret_error, QD_ERROR_REPORT_CONFLICT, "%s", receipt->text);
    case QD_BOOK_TOO_OLD:
        return qd_error_set(ret_error, QD_ERROR_REPORT_TOO_OLD, "%s", receipt->text);
    case QD_BOOK_IN_FUTURE:
        return qd_error_set(ret_error, QD_ERROR_INVALID_TIME, "%s", receipt->text);
    case QD_BOOK_INVALID:
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD, "%s", receipt->text);
    case QD_BOOK_STORE_ERROR:
        return qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                            "not booked: %s; retry the same report", receipt->text);
    case QD_BOOK_BOOKED:
    case QD_BOOK_DUPLICATE:
        break;
    }
    return QD_ERROR_NONE;
}

/* One entry, its key, its rollup and the reservation's end: one synced write (L2). */
static enum qd_error_code book(struct work *w, struct qd_report_answer *a, bool *ret_duplicate,
                               struct qd_error *ret_error)
{
    struct qd_receipt receipt;
    struct qd_batch extra;
    struct qd_buf bytes = {0};
    struct qd_buf key = {0};

    qd_receipt_init(&receipt);
    qd_batch_init(&extra);
    qd_stored_answer_encode(a, &bytes);
    if (w->has_reference && w->final && !w->closed_before) {
        qd_closed_key(&w->reference.token, &key);
        struct qd_hash128 identity = identity_of(&w->entry);
        qd_batch_put(&extra, QD_STORE_SNAPSHOT, qd_buf_str(&key),
                     (struct qd_str){(const char *)&identity, sizeof(identity)});
    }
    struct qd_booking booking = {.entry = &w->entry,
                                 .content = w->content,
                                 .answer = qd_buf_str(&bytes),
                                 .extra = &extra,
                                 .now = w->now};
    enum qd_book_result result = qd_ledger_book(w->worker->node->ledger, &booking, &receipt);
    enum qd_error_code code = booking_error(result, &receipt, ret_error);
    *ret_duplicate = result == QD_BOOK_DUPLICATE;
    if (*ret_duplicate && !qd_stored_answer_decode(receipt.answer, a)) {
        code = qd_error_set(ret_error, QD_ERROR_STORE_ERROR,
                            "booked before as entry %llu, but its answer cannot be read",
                            (unsigned long long)receipt.sequence);
    }
    a->entry_sequence = receipt.sequence;
    a->duplicate = *ret_duplicate;
    qd_buf_release(&bytes);
    qd_buf_release(&key);
    qd_batch_release(&extra);
    qd_receipt_release(&receipt);
    return code;
}

/* X5: only what is booked reaches the counters. What cannot be bound any more (its tenant is gone,
 * tables are full) stays in the ledger alone, and is counted. */
/* Bind what the settling lacks; the home shard is locked afterwards. */
static void bind_again(struct work *w, struct qd_shard *home, struct qd_settle *settle)
{
    struct qd_node *node = w->worker->node;
    enum qd_bind_outcome outcome =
        qd_bind_to_settle(w->worker, w->published, &w->reserved, home, w->now, &settle->binding);

    if (outcome == QD_BIND_DONE) {
        return;
    }
    if (outcome == QD_BIND_STALE) {
        w->published = atomic_load_explicit(&node->published, memory_order_acquire);
        struct qd_attributes *at = &w->reserved.attributes;
        struct qd_subject_args subject = {at->tenant, at->model,  at->pool,       at->user,
                                          {NULL, 0},  at->labels, at->label_count};
        qd_subject_init(&w->reserved, w->published->policy, node->shards.seed, &subject);
        settle->binding = w->reserved.key;
        settle->epoch = w->published->policy->epoch;
    } else { /* D12: counted; the hold at least is settled */
        qd_count(&w->worker->figures.unsettled);
        settle->unbound = true;
    }
    qd_shards_lock(&node->shards, home);
}

static void apply(struct work *w, struct qd_report_answer *a)
{
    struct qd_node *node = w->worker->node;
    const struct qd_token *t = w->has_reference ? &w->reference.token : NULL;
    struct qd_shard *home = qd_shards_of(&node->shards, w->entry.tenant);
    struct qd_settled settled = {0};
    struct qd_settle settle = {.reservation = t != NULL ? w->reference.reservation : 0,
                               .charged_at = w->charged_at,
                               .used = w->usage,
                               .outcome = w->outcome,
                               .final = w->final,
                               .attempt = w->entry.attempt};

    if (t != NULL && !w->closed_before) {
        settle.estimate = t->estimate;
    }
    struct qd_str id = t != NULL ? pick(w->args->request_id, t->request_id) : w->args->request_id;
    if (id.len > 0) {
        XXH64_hash_t tenant =
            XXH3_64bits_withSeed(w->entry.tenant.ptr, w->entry.tenant.len, node->shards.seed);
        XXH128_hash_t hash = XXH3_128bits_withSeed(id.ptr, id.len, tenant);
        settle.request = (struct qd_hash128){hash.low64 | 1, hash.high64};
    }
    if (QD_MUTANT(S7) && t == NULL) {
        return;
    }
    /* S2: a part settles only what it carries. The last one knows that no request is left to count.
     */
    if (w->final && w->outcome != QD_OUTCOME_FAILED &&
        !qd_usage_has(&settle.used, QD_METER_REQUESTS)) {
        qd_usage_set(&settle.used, QD_METER_REQUESTS, 0); /* counted before, or not at all */
    }
    qd_policy_derive(w->published->policy, &settle.used);
    settle.binding = w->reserved.key;
    settle.epoch = w->published->policy->epoch;
    qd_shards_lock(&node->shards, home);
    for (unsigned tries = 0; tries < QD_SETTLE_TRIES; tries++) {
        enum qd_result result =
            qd_core_settle(home->core, qd_shards_commons(&node->shards), &settle, w->now, &settled);
        if (result != QD_RESULT_NEEDS_BINDING) {
            break;
        }
        qd_shards_unlock(&node->shards, home);
        bind_again(w, home, &settle);
    }
    qd_shards_unlock(&node->shards, home);
    a->limits_over = settled.over_limits;
}

/* S6: the request was booked before this hold was made (it was checked again to be retried):
 * nothing will settle the hold, and nothing was used under it. A part's retry leaves it for the
 * parts to come. */
static void release_booked(struct work *w)
{
    struct qd_node *node = w->worker->node;
    struct qd_reference *r = &w->reference;

    if (!w->open || !w->final) {
        return;
    }
    qd_shards_lock(&node->shards, r->home);
    (void)qd_core_cancel(r->home->core, qd_shards_commons(&node->shards), r->reservation, w->now);
    qd_shards_unlock(&node->shards, r->home);
}

static pthread_mutex_t *stripe(struct work *w)
{
    return &w->worker->node->report_locks[w->reference.token.reservation % QD_REPORT_LOCKS];
}

/* A reset comes before both or after both: see reset.h. */
static enum qd_error_code book_and_apply(struct work *w, struct qd_report_answer *a,
                                         bool *ret_duplicate, struct qd_error *ret_error)
{
    struct qd_node *node = w->worker->node;

    (void)pthread_rwlock_rdlock(&node->booking);
    enum qd_error_code code = book(w, a, ret_duplicate, ret_error);
    if (code == QD_ERROR_NONE && (!*ret_duplicate || QD_MUTANT(S6_apply))) {
        apply(w, a);
    } else if (code == QD_ERROR_NONE) {
        release_booked(w);
    }
    (void)pthread_rwlock_unlock(&node->booking);
    return code;
}

enum qd_error_code qd_node_report(struct qd_worker *worker, const struct qd_report_args *args,
                                  struct qd_report_answer *ret_answer, struct qd_error *ret_error)
{
    struct work work;
    struct work *w = &work;
    bool duplicate = false;

    w->worker = worker;
    w->args = args;
    w->published = atomic_load_explicit(&worker->node->published, memory_order_acquire);
    w->now = qd_clock_now(&worker->node->clock);
    w->has_reference = false;
    w->open = false;
    w->closed_before = false;
    const struct qd_policy *policy = w->published->policy; /* whose meters the answer speaks of */
    enum qd_error_code code = validate(w, ret_error);
    if (code == QD_ERROR_NONE) {
        /* Two sources that close the same reservation at once: one of them closes, one is late. */
        bool locked = w->has_reference && pthread_mutex_lock(stripe(w)) == 0;
        set_identity(w);
        code = look_at_reservation(w, ret_error);
        if (code == QD_ERROR_NONE) {
            code = make_entry(w, ret_error);
        }
        if (code == QD_ERROR_NONE) {
            make_answer(w, ret_answer);
            code = book_and_apply(w, ret_answer, &duplicate, ret_error);
        }
        ret_answer->policy = policy;
        if (locked) {
            (void)pthread_mutex_unlock(stripe(w));
        }
    }
    if (code != QD_ERROR_NONE) {
        qd_count(&worker->figures.reports_failed);
    } else if (duplicate) {
        qd_count(&worker->figures.reports_duplicate);
    } else {
        qd_count(&worker->figures.reports);
        if (ret_answer->settlement == QD_SETTLEMENT_LATE) {
            qd_count(&worker->figures.reports_late);
        }
    }
    return code;
}
