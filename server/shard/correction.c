#include "server/shard/correction.h"

#include "server/core/check.h"
#include "server/core/hash.h"
#include "server/core/mutant.h"
#include "server/shard/validate.h"

#include <string.h>

/* --- what is asked for --- */

static bool says_what_is_right(const struct qd_correct_args *args)
{
    return args->usage_count > 0 || args->tenant.len > 0 || args->model.len > 0 ||
           args->pool.len > 0 || args->user.len > 0 || args->label_count > 0;
}

static enum qd_error_code validate_names(const struct qd_correct_args *args,
                                         struct qd_error *ret_error)
{
    if (args->tenant.len > 0 && qd_validate_tenant(args->tenant, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (qd_validate_name("correction_id", args->correction_id, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("model", args->model, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("pool", args->pool, ret_error) != QD_ERROR_NONE ||
        qd_validate_name("user", args->user, ret_error) != QD_ERROR_NONE ||
        qd_validate_labels(args->labels, args->label_count, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (args->reason.len == 0 || args->reason.len > QD_REASON_MAX || !qd_utf8_valid(args->reason)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "reason: required, 1 to %d bytes of UTF-8 without control characters: "
                            "who reads the ledger later sees it",
                            QD_REASON_MAX);
    }
    return QD_ERROR_NONE;
}

enum qd_error_code qd_correction_validate(const struct qd_correct_args *args,
                                          struct qd_error *ret_error)
{
    bool by_key = args->key_request_id.len > 0;

    if ((args->sequence > 0) == by_key) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "entry, report: name the entry by its number or by its report's key, "
                            "one of them; quotactl ledger ls shows entries");
    }
    if (by_key && qd_validate_tenant(args->key_tenant, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (args->correction_id.len == 0) {
        return qd_error_set(ret_error, QD_ERROR_REQUEST_ID_REQUIRED,
                            "correction_id: required: it makes a retry harmless");
    }
    if (args->take_back && says_what_is_right(args)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "take_back: nothing is booked instead, so nothing else can be given");
    }
    if (!args->take_back && !says_what_is_right(args)) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "nothing to correct: give what is right (usage, tenant, model, pool, "
                            "user, labels), or take_back");
    }
    return validate_names(args, ret_error);
}

/* protobuf-c's absent text is an empty one. */
static void hash_text(struct qd_hasher *h, struct qd_str text)
{
    qd_hasher_str(h, text.len > 0 ? text : (struct qd_str){NULL, 0});
}

struct qd_hash128 qd_correction_content(const struct qd_correct_args *args)
{
    struct qd_hasher h;

    qd_hasher_init(&h, 0);
    hash_text(&h, args->correction_id);
    hash_text(&h, args->reason);
    qd_hasher_u64(&h, args->take_back);
    qd_hasher_u64(&h, args->usage_count);
    for (size_t i = 0; i < args->usage_count; i++) {
        hash_text(&h, args->usage[i].meter);
        qd_hasher_u64(&h, (uint64_t)args->usage[i].amount);
    }
    hash_text(&h, args->tenant);
    hash_text(&h, args->model);
    hash_text(&h, args->pool);
    hash_text(&h, args->user);
    qd_hasher_u64(&h, args->label_count);
    for (size_t i = 0; i < args->label_count; i++) {
        hash_text(&h, args->labels[i].name);
        hash_text(&h, args->labels[i].value);
    }
    return qd_hasher_end(&h);
}

/* --- what stands instead --- */

/* A field that is given replaces the entry's; counters then know it by that, too (X5). */
static void replace(struct qd_entry *e, struct qd_str given, struct qd_str *field,
                    enum qd_entry_reserved_field reserved)
{
    if (given.len > 0) {
        *field = given;
        e->reserved.differs &= (uint8_t)~reserved;
    }
}

static void set_subject(struct qd_entry *e, const struct qd_correct_args *args)
{
    if (args->tenant.len > 0 && !qd_slice_equal(args->tenant, e->tenant)) {
        e->tenant = args->tenant;
        e->reserved.differs = 0; /* what was reserved was another's */
    }
    replace(e, args->model, &e->model, QD_RESERVED_MODEL);
    replace(e, args->pool, &e->pool, QD_RESERVED_POOL);
    replace(e, args->user, &e->user, QD_RESERVED_USER);
    if (args->label_count > 0) {
        QD_CHECK(args->label_count <= QD_ENTRY_LABELS_MAX); /* X2 */
        memcpy(e->labels, args->labels, args->label_count * sizeof(e->labels[0]));
        e->label_count = args->label_count;
        e->reserved.differs &= (uint8_t)~QD_RESERVED_LABELS;
    }
}

/* By the policy's meters. False: it has one of them no more. */
static bool usage_of(const struct qd_policy *policy, const struct qd_entry *e,
                     struct qd_usage *ret_usage)
{
    bool all = true;

    ret_usage->present = 0;
    for (size_t i = 0; i < e->quantity_count; i++) {
        int meter = qd_policy_meter(policy, e->quantities[i].meter);
        if (meter >= 0) {
            qd_usage_set(ret_usage, (unsigned)meter, e->quantities[i].amount);
        }
        all = all && meter >= 0;
    }
    return all;
}

static enum qd_error_code set_usage(struct qd_entry *e, const struct qd_policy *policy,
                                    const struct qd_correct_args *args, struct qd_usage *ret_usage,
                                    struct qd_error *ret_error)
{
    int64_t requests;
    bool long_cached = e->cache_write_1h_tokens > 0;

    if (qd_validate_usage("usage", policy, args->usage, args->usage_count, ret_usage, ret_error) !=
        QD_ERROR_NONE) {
        return ret_error->code;
    }
    if (!qd_usage_has(ret_usage, QD_METER_REQUESTS) &&
        qd_entry_quantity(e, qd_slice_of("requests"), &requests)) {
        qd_usage_set(ret_usage, QD_METER_REQUESTS, requests);
    }
    e->quantity_count = 0;
    for (uint32_t left = ret_usage->present; left != 0; left &= left - 1) {
        unsigned meter = (unsigned)__builtin_ctz(left);
        e->quantities[e->quantity_count++] = (struct qd_entry_quantity){
            qd_slice_of(policy->meters[meter].name), ret_usage->amount[meter]};
    }
    e->cache_write_1h_tokens =
        long_cached ? qd_usage_get(ret_usage, QD_METER_CACHE_WRITE_TOKENS) : 0;
    return QD_ERROR_NONE;
}

/* P8: what has no price, or no meter any more, is not $0. */
static void leave_unpriced(struct qd_entry *e)
{
    e->flags |= QD_ENTRY_UNPRICED;
    e->price_count = 0;
    e->cost_pico_usd = e->charge_pico_usd = 0;
    e->cost_nano_usd = e->charge_nano_usd = 0;
}

/* P7: at the prices of when it happened, not of today. */
static enum qd_error_code set_money(struct qd_entry *e, const struct qd_policy *policy,
                                    const struct qd_usage *usage, struct qd_priced *p,
                                    struct qd_error *ret_error)
{
    struct qd_pricing pricing = {
        .policy = policy,
        .model = e->model.len > 0 ? qd_policy_model(policy, e->model) : NULL,
        .pool = e->pool.len > 0 ? qd_policy_pool(policy, e->pool) : NULL,
        .usage = usage,
        .tier = e->tier,
        .cache_write_ttl = e->cache_write_1h_tokens > 0 ? QD_CACHE_WRITE_1H : QD_CACHE_WRITE_5M,
        .at = e->event_time};

    qd_pricing_compute(&pricing, p);
    if (p->overflow_meters != 0) {
        return qd_error_set(ret_error, QD_ERROR_INVALID_AMOUNT,
                            "usage: it costs more than $9,223,372, the most that one entry may; "
                            "nothing was booked");
    }
    if (!p->priced && (e->flags & QD_ENTRY_UNPRICED) == 0 &&
        policy->unknown_price == QD_UNKNOWN_PRICE_DENY) { /* P8: what was paid for stays so */
        return qd_error_set(ret_error, QD_ERROR_INVALID_FIELD,
                            "model: the entry has a price, and the policy has none for model %s at "
                            "the time of the entry: add it under `prices:`; nothing was booked",
                            qd_quote(e->model).text);
    }
    if (!p->priced) {
        leave_unpriced(e);
        return QD_ERROR_NONE;
    }
    e->flags &= (uint8_t)~QD_ENTRY_UNPRICED;
    e->price_count = 0;
    for (size_t i = 0; i < p->version_count && i < QD_ENTRY_PRICES_MAX; i++) {
        e->prices[e->price_count++] = qd_slice_of(p->versions[i]);
    }
    e->cost_pico_usd = p->cost_pico;
    e->charge_pico_usd = p->charge_pico;
    e->cost_nano_usd = p->cost_nano;
    e->charge_nano_usd = p->charge_nano;
    return QD_ERROR_NONE;
}

enum qd_error_code qd_correction_make(struct qd_correction *c, const struct qd_policy *policy,
                                      const struct qd_correct_args *args,
                                      struct qd_error *ret_error)
{
    struct qd_entry *e = &c->rebooked;
    struct qd_usage usage;

    qd_reversal_make(&c->original, c->id, args->reason, &c->reversal);
    c->rebooks = !args->take_back;
    if (!c->rebooks) {
        return QD_ERROR_NONE;
    }
    *e = c->original;
    set_subject(e, args);
    if (args->usage_count == 0 && !usage_of(policy, e, &usage)) {
        leave_unpriced(e);
    } else if ((args->usage_count > 0 &&
                set_usage(e, policy, args, &usage, ret_error) != QD_ERROR_NONE) ||
               set_money(e, policy, &usage, &c->priced, ret_error) != QD_ERROR_NONE) {
        return ret_error->code;
    }
    qd_reversal_mark_rebooked(&c->reversal, e);
    qd_entry_sort(e);
    return QD_ERROR_NONE;
}
